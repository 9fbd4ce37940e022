"""What the origin must know of H.264: NAL units, parameter sets, and the decoder configuration record.

Everything here parses what a stranger sent: `BitstreamError` is the only exception that leaves this module.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from salam.errors import ProtocolError

__all__ = [
    "AvcConfig",
    "BitstreamError",
    "NalType",
    "SpsInfo",
    "build_avc_config",
    "codecs_string",
    "from_annex_b",
    "iter_nals",
    "join_nals",
    "parse_avc_config",
    "parse_sps",
    "stated_keyframe_interval",
]


class BitstreamError(ProtocolError):
    """Bytes that are no valid elementary stream or decoder configuration."""

    default_code = "bad_bitstream"


class NalType(IntEnum):
    """The types of NAL unit that matter to a packager (ITU-T H.264 table 7-1)."""

    IDR = 5
    SEI = 6
    SPS = 7
    PPS = 8
    ACCESS_UNIT_DELIMITER = 9
    SPS_EXTENSION = 13


# Profiles whose SPS carries chroma format and bit depth (H.264 7.3.2.1.1).
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
# Sample aspect ratios by index (H.264 table E-1); 255 means that the ratio is written out.
_ASPECTS = (
    (0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11),
    (80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip
_ASPECT_WRITTEN_OUT = 255
# Level 6.2 allows pictures of 139,264 macroblocks; no side can be longer than sqrt(8 * that) macroblocks (H.264 table A-1, A.3.1).
_MAX_MACROBLOCKS_PER_SIDE = 1056
# x264 writes its options, as text of less than a kilobyte, into the first picture.
_X264_INTERVAL = re.compile(rb" keyint=(\d{1,9}) ")
_X264_OPTIONS_BYTES = 2048


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """An AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 5.3.3.1)."""

    profile: int
    compatibility: int
    level: int
    length_size: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SpsInfo:
    """What a sequence parameter set says about the picture."""

    profile: int
    width: int
    height: int
    chroma_format: int
    bit_depth: int
    interlaced: bool
    sample_aspect: Fraction
    frame_rate: Fraction | None
    """From the VUI; None when the stream does not say."""


class _Bits:
    """A reader of bits and Exp-Golomb codes over one unescaped RBSP."""

    def __init__(self, payload: bytes) -> None:
        self._value = int.from_bytes(payload, "big")
        self._left = len(payload) * 8

    def u(self, count: int) -> int:
        if count > self._left:
            raise BitstreamError("a parameter set ends early")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            # The longest code of the standard has 32 leading zeros (H.264 9.1).
            if zeros > 32:
                raise BitstreamError("an Exp-Golomb code is longer than 65 bits")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def iter_nals(data: bytes, length_size: int = 4) -> Iterator[bytes]:
    """Yield the NAL units of one length-prefixed access unit; empty ones are left out.

    Raises BitstreamError when a length points past the end.
    """
    position, end = 0, len(data)
    while position < end:
        start = position + length_size
        position = start + int.from_bytes(data[position:start], "big")
        if start > end or position > end:
            raise BitstreamError("a NAL unit's length points past the end of its access unit")
        if position > start:
            yield data[start:position]


def join_nals(nals: list[bytes]) -> bytes:
    """Return ``nals`` as one access unit with four-byte lengths."""
    return b"".join(piece for nal in nals for piece in (len(nal).to_bytes(4, "big"), nal))


def from_annex_b(data: bytes) -> list[bytes]:
    """Return the NAL units of a byte stream (H.264 annex B)."""
    # A NAL unit never ends in a zero byte, so zeros before a start code belong to the start code (H.264 7.4.1).
    return [nal for piece in data.split(b"\0\0\1")[1:] if (nal := piece.rstrip(b"\0"))]


def stated_keyframe_interval(nals: Iterable[bytes]) -> int | None:
    """Return the most pictures between keyframes that x264 says it was set to; None when nothing is said.

    It is the setting, not a promise: scene cuts and forced keyframes come on top.
    """
    for nal in nals:
        if nal[0] & 0x1F == NalType.SEI and (match := _X264_INTERVAL.search(nal, 0, _X264_OPTIONS_BYTES)) is not None:
            return int(match[1])
    return None


def parse_avc_config(record: bytes) -> AvcConfig:
    """Parse an avcC record; raises BitstreamError."""
    if len(record) < 7 or record[0] != 1:
        raise BitstreamError("the H.264 configuration is no avcC record of version 1")
    position = 6
    sets: list[tuple[bytes, ...]] = []
    count = record[5] & 0x1F
    for _ in range(2):
        found = []
        for _ in range(count):
            if position + 2 > len(record):
                raise BitstreamError("an avcC record ends early")
            (size,) = struct.unpack_from(">H", record, position)
            position += 2 + size
            if position > len(record) or size == 0:
                raise BitstreamError("an avcC record ends early")
            found.append(record[position - size : position])
        sets.append(tuple(found))
        if len(sets) == 1:
            if position >= len(record):
                raise BitstreamError("an avcC record ends early")
            count = record[position]
            position += 1
    if not sets[0] or not sets[1]:
        raise BitstreamError("an avcC record without parameter sets")
    return AvcConfig(record[1], record[2], record[3], (record[4] & 3) + 1, sets[0], sets[1])


def build_avc_config(sps: list[bytes], pps: list[bytes]) -> bytes:
    """Return the avcC record for these parameter sets, with four-byte lengths.

    Raises BitstreamError when one is missing or the SPS cannot be read.
    """
    if not sps or not pps or len(sps) > 31 or len(pps) > 255:
        raise BitstreamError("an avcC record needs 1 to 31 sequence and 1 to 255 picture parameter sets")
    info = parse_sps(sps[0])
    record = bytes([1, sps[0][1], sps[0][2], sps[0][3], 0xFF, 0xE0 | len(sps)])
    record += b"".join(struct.pack(">H", len(one)) + one for one in sps)
    record += bytes([len(pps)]) + b"".join(struct.pack(">H", len(one)) + one for one in pps)
    if info.profile in _HIGH_PROFILES:
        depth = info.bit_depth - 8
        record += bytes([0xFC | info.chroma_format, 0xF8 | depth, 0xF8 | depth, 0])
    return record


def codecs_string(record: bytes) -> str:
    """Return the CODECS value of an avcC record, such as ``avc1.64001f`` (RFC 6381 section 3.3)."""
    config = parse_avc_config(record)
    return f"avc1.{config.profile:02x}{config.compatibility:02x}{config.level:02x}"


def _skip_scaling_lists(bits: _Bits, chroma_format: int) -> None:
    for index in range(12 if chroma_format == 3 else 8):
        if not bits.u(1):
            continue
        last = following = 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.u(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > 255:
            raise BitstreamError("an SPS names more than 255 reference frames in a picture order cycle")
        for _ in range(cycle):
            bits.se()
    elif kind > 2:
        raise BitstreamError("an SPS has an unknown picture order count type")


def _read_vui(bits: _Bits) -> tuple[Fraction, Fraction | None]:
    aspect = Fraction(1)
    if bits.u(1):
        index = bits.u(8)
        if index == _ASPECT_WRITTEN_OUT:
            width, height = bits.u(16), bits.u(16)
        else:
            width, height = _ASPECTS[index] if index < len(_ASPECTS) else (0, 1)
        if width and height:
            aspect = Fraction(width, height)
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(4)
        if bits.u(1):
            bits.u(24)
    if bits.u(1):
        bits.ue()
        bits.ue()
    frame_rate = None
    if bits.u(1):
        units, scale = bits.u(32), bits.u(32)
        # Two ticks make a frame, because a tick is a field (H.264 E.2.1). Encoders write nonsense for variable rates: 240 fps
        # bounds it.
        if units and 0 < Fraction(scale, 2 * units) <= 240:
            frame_rate = Fraction(scale, 2 * units)
    return aspect, frame_rate


def parse_sps(nal: bytes) -> SpsInfo:
    """Read a sequence parameter set NAL unit (H.264 7.3.2.1.1 and annex E); raises BitstreamError."""
    if len(nal) < 4 or nal[0] & 0x1F != NalType.SPS:
        raise BitstreamError("not a sequence parameter set")
    if len(nal) > 4096:
        raise BitstreamError("a sequence parameter set of more than 4096 bytes")
    bits = _Bits(nal[4:].replace(b"\0\0\3", b"\0\0"))
    profile, chroma, depth = nal[1], 1, 8
    bits.ue()
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        if chroma > 3:
            raise BitstreamError("an SPS has an unknown chroma format")
        if chroma == 3:
            bits.u(1)
        depth = 8 + bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            _skip_scaling_lists(bits, chroma)
        if depth > 14:
            raise BitstreamError("an SPS has more than 14 bits per sample")
    bits.ue()
    _skip_picture_order(bits)
    bits.ue()
    bits.u(1)
    width, height = bits.ue() + 1, bits.ue() + 1
    frames_only = bits.u(1)
    height *= 2 - frames_only
    if max(width, height) > _MAX_MACROBLOCKS_PER_SIDE:
        raise BitstreamError("an SPS describes a picture larger than any level allows")
    if not frames_only:
        bits.u(1)
    bits.u(1)
    crop = (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if bits.u(1) else (0, 0, 0, 0)
    unit_x = 2 if chroma in (1, 2) else 1
    unit_y = (2 if chroma == 1 else 1) * (2 - frames_only)
    width = width * 16 - (crop[0] + crop[1]) * unit_x
    height = height * 16 - (crop[2] + crop[3]) * unit_y
    if width <= 0 or height <= 0:
        raise BitstreamError("an SPS crops its whole picture away")
    aspect, frame_rate = _read_vui(bits) if bits.u(1) else (Fraction(1), None)
    return SpsInfo(profile, width, height, chroma, depth, not frames_only, aspect, frame_rate)
