"""CMAF fragments: one moof and mdat of one track, written and read back (ISO/IEC 14496-12 section 8.8, ISO/IEC 23000-19)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from transcode.cmaf.boxes import box, find_box, full_box, iter_boxes
from transcode.h264 import BitstreamError

__all__ = ["Fragment", "Sample", "media_fragment", "parse_fragments", "segment_type"]

# sample_depends_on = 2 (no other sample) for a sync sample; = 1 and non-sync for the rest (ISO/IEC 14496-12 section 8.8.3.1).
_SYNC_FLAGS = 0x02000000
_DELTA_FLAGS = 0x01010000
# trun: data offset, and per sample duration, size, flags, composition offset.
_TRUN_FLAGS = 0x000001 | 0x000100 | 0x000200 | 0x000400 | 0x000800
# tfhd: default-base-is-moof, which CMAF demands.
_TFHD_FLAGS = 0x020000
# The moof of `n` samples is this long besides its trun table: moof, mfhd, traf, tfhd, tfdt, trun head.
_MOOF_FIXED_BYTES = 8 + 16 + 8 + 16 + 20 + 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One coded picture or audio frame on its track's timescale."""

    data: bytes
    dts: int
    duration: int
    composition_offset: int
    """Presentation minus decode time."""
    sync: bool


@dataclass(frozen=True, slots=True)
class Fragment:
    """What `parse_fragments` read of one moof and mdat."""

    sequence: int
    samples: tuple[Sample, ...]


def segment_type() -> bytes:
    """Return the styp box that begins a media segment."""
    return box(b"styp", b"msdh", struct.pack(">I", 0), b"msdhmsixcmfc")


def media_fragment(sequence: int, samples: Sequence[Sample]) -> bytes:
    """Return one moof and mdat holding ``samples``, which are in decoding order and follow each other without a gap.

    ``sequence`` counts the fragments of the track. A fragment may be a whole segment or one part of it.
    """
    # trun version 1: composition offsets are signed, although ours are not, so that readers need one case only.
    table = b"".join(
        struct.pack(">IIIi", one.duration, len(one.data), _SYNC_FLAGS if one.sync else _DELTA_FLAGS, one.composition_offset)
        for one in samples
    )
    data_offset = _MOOF_FIXED_BYTES + len(table) + 8
    traf = box(
        b"traf",
        full_box(b"tfhd", 0, _TFHD_FLAGS, struct.pack(">I", 1)),
        full_box(b"tfdt", 1, 0, struct.pack(">Q", samples[0].dts)),
        full_box(b"trun", 1, _TRUN_FLAGS, struct.pack(">Ii", len(samples), data_offset), table),
    )
    moof = box(b"moof", full_box(b"mfhd", 0, 0, struct.pack(">I", sequence)), traf)
    return moof + box(b"mdat", *[one.data for one in samples])


def parse_fragments(segment: bytes) -> list[Fragment]:
    """Read back a media segment that `media_fragment` wrote; raises BitstreamError on anything else."""
    found: list[Fragment] = []
    moof: bytes | None = None
    for kind, payload in iter_boxes(segment):
        if kind == b"moof":
            moof = payload
        elif kind == b"mdat":
            if moof is None:
                raise BitstreamError("an mdat without a moof")
            found.append(_parse_fragment(moof, payload))
            moof = None
    return found


def _parse_fragment(moof: bytes, mdat: bytes) -> Fragment:
    mfhd, tfdt = find_box(moof, b"mfhd"), find_box(moof, b"traf", b"tfdt")
    trun = find_box(moof, b"traf", b"trun")
    try:
        (sequence,) = struct.unpack_from(">I", mfhd, 4)
        (dts,) = struct.unpack_from(">Q", tfdt, 4)
        head, count, offset = struct.unpack_from(">IIi", trun)
        rows = list(struct.iter_unpack(">IIIi", trun[12:]))
    except struct.error as error:
        raise BitstreamError("a fragment's boxes end early") from error
    if head != 1 << 24 | _TRUN_FLAGS or count != len(rows) or offset != len(moof) + 16:
        raise BitstreamError("a trun in another shape than ours")
    samples = []
    position = 0
    for duration, size, flags, composition_offset in rows:
        if position + size > len(mdat):
            raise BitstreamError("a sample ends past its mdat")
        samples.append(Sample(mdat[position : position + size], dts, duration, composition_offset, flags == _SYNC_FLAGS))
        position += size
        dts += duration
    return Fragment(sequence, tuple(samples))
