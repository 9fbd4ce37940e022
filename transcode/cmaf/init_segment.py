"""CMAF headers: the initialisation segment of one track (ISO/IEC 23000-19, ISO/IEC 14496-12 and -14 and -15)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from ingest.access_unit import TIMESCALE_HZ
from transcode.cmaf.boxes import box, full_box

__all__ = ["AudioTrack", "VideoTrack", "init_segment"]

# A fixed-point unity matrix (ISO/IEC 14496-12 section 8.2.2.2).
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
# "und", undetermined, as three five-bit letters.
_LANGUAGE = 0x55C4
# One track per file: CMAF demands it, so the id is always the first.
_TRACK_ID = 1


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """An H.264 track; ``config`` is its avcC record, its timescale is that of ingest (90 kHz)."""

    config: bytes
    width: int
    height: int
    sample_aspect: Fraction = Fraction(1)

    @property
    def timescale(self) -> int:
        """Ticks per second."""
        return TIMESCALE_HZ


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """An AAC track; ``config`` is its AudioSpecificConfig, its timescale is the sample rate so that no frame's time is rounded."""

    config: bytes
    sample_rate_hz: int
    channels: int

    @property
    def timescale(self) -> int:
        """Ticks per second."""
        return self.sample_rate_hz


def _avc1(track: VideoTrack) -> bytes:
    head = struct.pack(">6xH16xHHIIIH32xHH", 1, track.width, track.height, 0x480000, 0x480000, 0, 1, 24, 0xFFFF)
    aspect = b""
    if track.sample_aspect != 1:
        aspect = box(b"pasp", struct.pack(">II", track.sample_aspect.numerator, track.sample_aspect.denominator))
    return box(b"avc1", head, box(b"avcC", track.config), aspect)


def _descriptor(tag: int, payload: bytes) -> bytes:
    # One length byte does: an AudioSpecificConfig is a few bytes, far below 128 (ISO/IEC 14496-1 section 8.3.3).
    return bytes([tag, len(payload)]) + payload


def _mp4a(track: AudioTrack) -> bytes:
    # The field has 16.16 bits; a rate that does not fit is told by the AudioSpecificConfig alone.
    rate = track.sample_rate_hz << 16 if track.sample_rate_hz < 0x10000 else 0
    head = struct.pack(">6xH8xHHHHI", 1, track.channels, 16, 0, 0, rate)
    decoder = struct.pack(">BB3xII", 0x40, 0x15, 0, 0) + _descriptor(5, track.config)
    stream = struct.pack(">HB", _TRACK_ID, 0) + _descriptor(4, decoder) + _descriptor(6, b"\2")
    return box(b"mp4a", head, full_box(b"esds", 0, 0, _descriptor(3, stream)))


def init_segment(track: VideoTrack | AudioTrack) -> bytes:
    """Return the CMAF header (ftyp and moov) of ``track``. It has no edit list: presentation starts at the first decode time."""
    video = isinstance(track, VideoTrack)
    entry = _avc1(track) if isinstance(track, VideoTrack) else _mp4a(track)
    shown = (round(track.width * track.sample_aspect), track.height) if isinstance(track, VideoTrack) else (0, 0)
    mvhd = full_box(
        b"mvhd", 0, 0, struct.pack(">IIIIIH10x", 0, 0, 1000, 0, 0x10000, 0x100), _MATRIX, bytes(24), struct.pack(">I", 2)
    )
    tkhd = full_box(
        b"tkhd", 0, 7, struct.pack(">IIIII8xHHH2x", 0, 0, _TRACK_ID, 0, 0, 0, 0, 0 if video else 0x100), _MATRIX,
        struct.pack(">II", shown[0] << 16, shown[1] << 16),
    )  # fmt: skip
    mdhd = full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, track.timescale, 0, _LANGUAGE, 0))
    handler = b"vide" if video else b"soun"
    hdlr = full_box(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, handler), b"Salam\0")
    media_header = full_box(b"vmhd", 0, 1, bytes(8)) if video else full_box(b"smhd", 0, 0, bytes(4))
    references = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    # The sample tables are empty: all samples live in fragments.
    empty = struct.pack(">I", 0)
    tables = box(
        b"stbl",
        full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry),
        full_box(b"stts", 0, 0, empty),
        full_box(b"stsc", 0, 0, empty),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, empty),
    )
    minf = box(b"minf", media_header, references, tables)
    trak = box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, minf))
    trex = full_box(b"trex", 0, 0, struct.pack(">IIIII", _TRACK_ID, 1, 0, 0, 0))
    ftyp = box(b"ftyp", b"iso6", struct.pack(">I", 0), b"iso6cmfcmp41")
    return ftyp + box(b"moov", mvhd, trak, box(b"mvex", trex))
