"""Reading HEVC: the decoder configuration record and the picture size in a sequence parameter set.

Sources: ISO/IEC 14496-15 section 8.3.3.1 (hvcC) and ITU-T H.265 section 7.3.2.2 (SPS).
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest.bits import BitReader, remove_emulation_prevention
from salam import ProtocolError

__all__ = ["HevcConfig", "parse_hevc_config", "parse_hevc_sps"]

_FIXED_BYTES = 23
_SPS_TYPE = 33
# The size stands in the first hundred bytes; the rest of an SPS is not read.
_MAX_SPS_BYTES = 512
# Level 6.2 ends at 16,888 samples a side (H.265 table A.8); beyond that a size is a broken or hostile SPS.
_MAX_SIDE = 16_888
# general_profile_tier_level without its leading byte of sub-layer numbers: 2+1+5+32+4+43+1+8 bits.
_GENERAL_LEVEL_BITS = 96
_SUB_LAYER_PROFILE_BITS = 88
_SUB_LAYER_LEVEL_BITS = 8


@dataclass(frozen=True, slots=True)
class HevcConfig:
    """An hvcC record; ``length_size_bytes`` is the size of each NAL unit's length prefix."""

    length_size_bytes: int
    sequence_parameter_sets: tuple[bytes, ...]


def parse_hevc_config(config: bytes) -> HevcConfig:
    """Return what the hvcC record ``config`` holds; parameter sets other than SPS are passed over.

    Raises ProtocolError when it is malformed or has no SPS.
    """
    if len(config) < _FIXED_BYTES or config[0] != 1:
        raise ProtocolError("an HEVC decoder configuration that is no hvcC version 1")
    length_size = (config[21] & 0x03) + 1
    if length_size == 3:
        raise ProtocolError("an HEVC decoder configuration with three-byte lengths")
    at, sets = _FIXED_BYTES, []
    for _ in range(config[22]):
        header = config[at : at + 3]
        if len(header) < 3:
            raise ProtocolError("an HEVC decoder configuration that ends inside an array")
        at += 3
        for _ in range(int.from_bytes(header[1:], "big")):
            size = int.from_bytes(config[at : at + 2], "big")
            unit = config[at + 2 : at + 2 + size]
            if size == 0 or len(unit) < size:
                raise ProtocolError("an HEVC decoder configuration that ends inside a parameter set")
            if header[0] & 0x3F == _SPS_TYPE:
                sets.append(unit)
            at += 2 + size
    if not sets:
        raise ProtocolError("an HEVC decoder configuration without a sequence parameter set")
    return HevcConfig(length_size, tuple(sets))


def parse_hevc_sps(sps: bytes) -> tuple[int, int]:
    """Return width and height, after cropping, of the SPS NAL unit ``sps`` (with its two-byte header).

    Raises ProtocolError when it is cut short or names an impossible picture.
    """
    if len(sps) < 3 or (sps[0] >> 1) & 0x3F != _SPS_TYPE:
        raise ProtocolError("a NAL unit that is no HEVC SPS")
    bits = BitReader(remove_emulation_prevention(sps[2:_MAX_SPS_BYTES]))
    bits.skip(4)
    sub_layers = bits.unsigned(3)
    bits.skip(1)
    _skip_profile_tier_level(bits, sub_layers)
    bits.exp_golomb()  # sps_seq_parameter_set_id
    chroma_format = bits.exp_golomb()
    if chroma_format > 3:
        raise ProtocolError("an HEVC SPS with an unknown chroma format")
    separate_planes = chroma_format == 3 and bits.flag()
    width, height = bits.exp_golomb(), bits.exp_golomb()
    if bits.flag():
        subsampled = not separate_planes
        crop_x = 2 if subsampled and chroma_format in (1, 2) else 1
        crop_y = 2 if subsampled and chroma_format == 1 else 1
        width -= crop_x * (bits.exp_golomb() + bits.exp_golomb())
        height -= crop_y * (bits.exp_golomb() + bits.exp_golomb())
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ProtocolError("an HEVC SPS with an impossible picture size")
    return width, height


def _skip_profile_tier_level(bits: BitReader, sub_layers: int) -> None:
    """Pass over profile_tier_level (H.265 section 7.3.3)."""
    bits.skip(_GENERAL_LEVEL_BITS)
    present = [(bits.flag(), bits.flag()) for _ in range(sub_layers)]
    if sub_layers:
        bits.skip(2 * (8 - sub_layers))
    for profile, level in present:
        bits.skip(_SUB_LAYER_PROFILE_BITS * profile + _SUB_LAYER_LEVEL_BITS * level)
