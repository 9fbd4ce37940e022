"""AudioSpecificConfig: what an AAC stream is, and whether players take it as it comes (ISO/IEC 14496-3 section 1.6.2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from transcode.h264 import BitstreamError

__all__ = ["AAC_LC", "FRAME_SAMPLES", "AacConfig", "build_aac_config", "parse_aac_config"]

FRAME_SAMPLES = 1024
"""Samples per channel in one AAC-LC frame."""

AAC_LC = 2
"""The audio object type of AAC-LC, the one that every player decodes."""

_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_RATE_WRITTEN_OUT = 15


@dataclass(frozen=True, slots=True)
class AacConfig:
    """The head of an AudioSpecificConfig."""

    object_type: int
    sample_rate_hz: int
    channels: int
    """Channel configuration; 0 when it is written elsewhere."""
    frame_samples: int


def parse_aac_config(record: bytes) -> AacConfig:
    """Parse an AudioSpecificConfig; raises BitstreamError."""
    value, left = int.from_bytes(record[:16], "big"), len(record[:16]) * 8

    def bits(count: int) -> int:
        nonlocal left
        if count > left:
            raise BitstreamError("an AudioSpecificConfig ends early")
        left -= count
        return (value >> left) & ((1 << count) - 1)

    object_type = bits(5)
    if object_type == 31:
        object_type = 32 + bits(6)
    index = bits(4)
    if index == _RATE_WRITTEN_OUT:
        rate = bits(24)
    elif index < len(_RATES_HZ):
        rate = _RATES_HZ[index]
    else:
        raise BitstreamError("an AudioSpecificConfig with a reserved sample rate")
    channels = bits(4)
    if rate < 1000 or rate > 192_000:
        raise BitstreamError("an AudioSpecificConfig with an impossible sample rate")
    # frameLengthFlag: 960 samples instead of 1024, used in digital radio only.
    short = object_type == AAC_LC and left > 0 and bits(1) == 1
    return AacConfig(object_type, rate, 8 if channels == 7 else channels, 960 if short else FRAME_SAMPLES)


def build_aac_config(sample_rate_hz: int, channels: int) -> bytes:
    """Return the AudioSpecificConfig of AAC-LC; raises BitstreamError for a rate that has no index."""
    if sample_rate_hz not in _RATES_HZ:
        raise BitstreamError(f"AAC has no index for {sample_rate_hz} Hz")
    return (AAC_LC << 11 | _RATES_HZ.index(sample_rate_hz) << 7 | channels << 3).to_bytes(2, "big")
