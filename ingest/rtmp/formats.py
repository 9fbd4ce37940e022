"""From the decoder configuration records of a publication to the formats that the rest of the engine reads."""

from __future__ import annotations

from fractions import Fraction

from ingest.aac import parse_audio_specific_config
from ingest.access_unit import AudioFormat, VideoFormat
from ingest.h264 import parse_avc_config, parse_sps
from ingest.hevc import parse_hevc_config, parse_hevc_sps
from ingest.nal import LENGTH_SIZE_BYTES
from salam import ProtocolError

__all__ = ["read_audio_config", "read_video_config"]

_OPUS_MAGIC = b"OpusHead"
# RFC 7845 section 5.1: the fixed part of the identification header, and the rate that Opus always decodes to.
_OPUS_HEAD_BYTES = 19
_OPUS_RATE_HZ = 48_000
# AV1 in ISOBMFF, section 2.3.3: four bytes, the first with the marker bit and version 1.
_AV1C_BYTES = 4
_AV1C_FIRST = 0x81


def read_video_config(
    codec: str, config: bytes, stated_size: tuple[int, int], stated_frame_rate: Fraction | None
) -> tuple[VideoFormat, int]:
    """Return the format behind ``config`` and the length size (bytes) of the NAL units that will follow.

    What the record leaves open is filled from ``stated_size`` and ``stated_frame_rate``, the publisher's metadata. The format's own
    record always says four-byte lengths, which is what access units have.

    Raises ProtocolError when the record is malformed.
    """
    if codec == "h264":
        avc = parse_avc_config(config)
        sps = parse_sps(avc.sequence_parameter_sets[0])
        patched = _with_four_byte_lengths(config, 4)
        return VideoFormat("h264", patched, sps.width, sps.height, sps.frame_rate or stated_frame_rate), avc.length_size_bytes
    if codec == "hevc":
        hevc = parse_hevc_config(config)
        width, height = parse_hevc_sps(hevc.sequence_parameter_sets[0])
        patched = _with_four_byte_lengths(config, 21)
        return VideoFormat("hevc", patched, width, height, stated_frame_rate), hevc.length_size_bytes
    if codec == "av1":
        if len(config) < _AV1C_BYTES or config[0] != _AV1C_FIRST:
            raise ProtocolError("an AV1 decoder configuration that is no av1C version 1")
        return VideoFormat("av1", config, *stated_size, stated_frame_rate), LENGTH_SIZE_BYTES
    raise ProtocolError(f"{codec} is no video codec")


def read_audio_config(codec: str, config: bytes) -> AudioFormat:
    """Return the format behind ``config``: an AudioSpecificConfig or an OpusHead.

    Raises ProtocolError when it is malformed.
    """
    if codec == "aac":
        aac = parse_audio_specific_config(config)
        return AudioFormat("aac", config, aac.sample_rate_hz, aac.channels)
    if codec == "opus":
        # Versions below 16 share this layout (RFC 7845 section 5.1).
        if len(config) < _OPUS_HEAD_BYTES or not config.startswith(_OPUS_MAGIC) or config[8] > 15 or config[9] == 0:
            raise ProtocolError("an Opus configuration that is no OpusHead")
        return AudioFormat("opus", config, _OPUS_RATE_HZ, config[9])
    raise ProtocolError(f"{codec} is no audio codec")


def _with_four_byte_lengths(config: bytes, at: int) -> bytes:
    if config[at] & 0x03 == 0x03:
        return config
    return config[:at] + bytes((config[at] | 0x03,)) + config[at + 1 :]
