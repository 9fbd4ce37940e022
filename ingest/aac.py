"""Reading AudioSpecificConfig, the decoder configuration of AAC (ISO/IEC 14496-3, section 1.6.2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.bits import BitReader
from salam import ProtocolError

__all__ = ["AacConfig", "parse_audio_specific_config"]

# Table 1.18.
_SAMPLE_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_EXPLICIT_RATE = 15
# Table 1.19; configuration 0 means that a program config element says it, which nothing on our path needs to read.
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 0, 8, 0)
_ESCAPED_OBJECT_TYPE = 31
_OBJECT_TYPE_SBR = 5
_OBJECT_TYPE_PARAMETRIC_STEREO = 29


@dataclass(frozen=True, slots=True)
class AacConfig:
    """``object_type`` 2 is AAC-LC, 5 HE-AAC, 29 HE-AAC v2; rate and channels are those of the decoded sound, channels 0 if
    unstated."""

    object_type: int
    sample_rate_hz: int
    channels: int


def parse_audio_specific_config(config: bytes) -> AacConfig:
    """Return what ``config`` says.

    Raises ProtocolError when it is cut short or uses a reserved or zero sample rate.
    """
    bits = BitReader(config)
    object_type = _object_type(bits)
    sample_rate_hz = _sample_rate(bits)
    channels = _CHANNELS[bits.unsigned(4)]
    if object_type in (_OBJECT_TYPE_SBR, _OBJECT_TYPE_PARAMETRIC_STEREO):
        # The rate so far is the core's; what comes out has the extension's.
        sample_rate_hz = _sample_rate(bits)
        if object_type == _OBJECT_TYPE_PARAMETRIC_STEREO and channels == 1:
            channels = 2
    return AacConfig(object_type, sample_rate_hz, channels)


def _object_type(bits: BitReader) -> int:
    object_type = bits.unsigned(5)
    return 32 + bits.unsigned(6) if object_type == _ESCAPED_OBJECT_TYPE else object_type


def _sample_rate(bits: BitReader) -> int:
    index = bits.unsigned(4)
    if index == _EXPLICIT_RATE:
        explicit_hz = bits.unsigned(24)
        if explicit_hz == 0:
            raise ProtocolError("an AAC sample rate of zero")
        return explicit_hz
    if index >= len(_SAMPLE_RATES_HZ):
        raise ProtocolError(f"AAC sample rate index {index} is reserved")
    return _SAMPLE_RATES_HZ[index]
