"""Reading H.264: the decoder configuration record and what a sequence parameter set says about the picture.

Sources: ISO/IEC 14496-15 section 5.3.3.1 (avcC) and ITU-T H.264 sections 7.3.2.1 and E.1.1 (SPS and VUI).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ingest.bits import BitReader, remove_emulation_prevention
from salam import ProtocolError

__all__ = ["AvcConfig", "SequenceParameters", "parse_avc_config", "parse_sps"]

# Profiles whose SPS carries chroma format, bit depths and scaling lists (section 7.3.2.1.1).
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_EXTENDED_ASPECT_RATIO = 255
# Level 6.2 ends at 16,384 samples a side; beyond that a size is a broken or hostile SPS.
_MAX_SIDE = 16_384
# Cameras end at 1,000 pictures a second; larger values come from timing fields that were left unset.
_MAX_FRAME_RATE = 1_000
# With every optional table an SPS stays below this; more is not worth walking bit by bit.
_MAX_SPS_BYTES = 1024
# H.264 section 7.4.2.1.1: num_ref_frames_in_pic_order_cnt_cycle is at most 255.
_MAX_ORDER_CYCLE = 255


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """An avcC record; ``length_size_bytes`` is the size of each NAL unit's length prefix."""

    length_size_bytes: int
    sequence_parameter_sets: tuple[bytes, ...]
    picture_parameter_sets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What one SPS says; width and height are of the cropped picture, ``frame_rate`` is None where it is not stated."""

    profile: int
    level: int
    width: int
    height: int
    frame_rate: Fraction | None


def parse_avc_config(config: bytes) -> AvcConfig:
    """Return what the avcC record ``config`` holds; the high-profile extension behind the sets is not needed and not read.

    Raises ProtocolError when it is malformed or has no SPS.
    """
    if len(config) < 7 or config[0] != 1:
        raise ProtocolError("an H.264 decoder configuration that is no avcC version 1")
    length_size = (config[4] & 0x03) + 1
    if length_size == 3:
        raise ProtocolError("an H.264 decoder configuration with three-byte lengths")
    sequence_sets, at = _parameter_sets(config, 6, config[5] & 0x1F)
    if not sequence_sets or at >= len(config):
        raise ProtocolError("an H.264 decoder configuration without parameter sets")
    picture_sets, _ = _parameter_sets(config, at + 1, config[at])
    return AvcConfig(length_size, sequence_sets, picture_sets)


def _parameter_sets(config: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    sets: list[bytes] = []
    for _ in range(count):
        size = int.from_bytes(config[at : at + 2], "big")
        unit = config[at + 2 : at + 2 + size]
        if size == 0 or len(unit) < size:
            raise ProtocolError("an H.264 decoder configuration that ends inside a parameter set")
        sets.append(unit)
        at += 2 + size
    return tuple(sets), at


def parse_sps(sps: bytes) -> SequenceParameters:
    """Return what the SPS NAL unit ``sps`` (with its one-byte header) says.

    Raises ProtocolError when it is cut short or names an impossible picture.
    """
    if len(sps) < 4 or sps[0] & 0x1F != 7:
        raise ProtocolError("a NAL unit that is no H.264 SPS")
    profile, level = sps[1], sps[3]
    bits = BitReader(remove_emulation_prevention(sps[4:_MAX_SPS_BYTES]))
    bits.exp_golomb()  # seq_parameter_set_id
    chroma_format = _chroma_format(bits) if profile in _HIGH_PROFILES else 1
    bits.exp_golomb()  # log2_max_frame_num_minus4
    _skip_picture_order(bits)
    bits.exp_golomb()  # max_num_ref_frames
    bits.skip(1)
    width_blocks, height_units = bits.exp_golomb() + 1, bits.exp_golomb() + 1
    fields_possible = not bits.flag()
    if fields_possible:
        bits.skip(1)
    bits.skip(1)
    width, height = width_blocks * 16, height_units * 16 * (2 if fields_possible else 1)
    if bits.flag():
        crop_x = 2 if chroma_format in (1, 2) else 1
        crop_y = (2 if chroma_format == 1 else 1) * (2 if fields_possible else 1)
        width -= crop_x * (bits.exp_golomb() + bits.exp_golomb())
        height -= crop_y * (bits.exp_golomb() + bits.exp_golomb())
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ProtocolError("an H.264 SPS with an impossible picture size")
    frame_rate = _frame_rate(bits) if bits.flag() else None
    return SequenceParameters(profile, level, width, height, frame_rate)


def _chroma_format(bits: BitReader) -> int:
    chroma_format = bits.exp_golomb()
    if chroma_format > 3:
        raise ProtocolError("an H.264 SPS with an unknown chroma format")
    separate_planes = chroma_format == 3 and bits.flag()
    bits.exp_golomb()  # bit_depth_luma_minus8
    bits.exp_golomb()  # bit_depth_chroma_minus8
    bits.skip(1)
    if bits.flag():
        for index in range(12 if chroma_format == 3 else 8):
            if bits.flag():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    # Separately coded planes are cropped like monochrome (section 7.4.2.1.1, ChromaArrayType).
    return 0 if separate_planes else chroma_format


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last, following = 8, 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_exp_golomb()) % 256
        last = following or last


def _skip_picture_order(bits: BitReader) -> None:
    order_type = bits.exp_golomb()
    if order_type == 0:
        bits.exp_golomb()
    elif order_type == 1:
        bits.skip(1)
        bits.signed_exp_golomb()
        bits.signed_exp_golomb()
        cycle = bits.exp_golomb()
        if cycle > _MAX_ORDER_CYCLE:
            raise ProtocolError("an H.264 SPS with an impossible picture order cycle")
        for _ in range(cycle):
            bits.signed_exp_golomb()


def _frame_rate(bits: BitReader) -> Fraction | None:
    """Read the VUI up to its timing fields; None when they are absent or senseless."""
    if bits.flag() and bits.unsigned(8) == _EXTENDED_ASPECT_RATIO:
        bits.skip(32)
    if bits.flag():
        bits.skip(1)
    if bits.flag():
        bits.skip(4)
        if bits.flag():
            bits.skip(24)
    if bits.flag():
        bits.exp_golomb()
        bits.exp_golomb()
    if not bits.flag():
        return None
    ticks, scale = bits.unsigned(32), bits.unsigned(32)
    # One frame is two ticks, because a tick is a field (section E.2.1).
    if not ticks or not scale or scale > 2 * ticks * _MAX_FRAME_RATE:
        return None
    return Fraction(scale, 2 * ticks)
