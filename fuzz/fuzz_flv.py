"""Fuzz target: tags, decoder configurations and whole publications take any bytes; the parsers raise ProtocolError or nothing."""

from ingest import AccessUnit, parse_audio_specific_config, parse_avc_config, parse_sps
from ingest.hevc import parse_hevc_config, parse_hevc_sps
from ingest.rtmp import Publication, parse_audio_tag, parse_video_tag
from salam import ProtocolError

_AVCC = bytes.fromhex("014d400cffe10019674d400ceca0a0cfcf8088000003000800000300f078a14cb001000468ce0fc8")
_ASC = bytes.fromhex("1188")
_OPUS_HEAD = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00"

SEEDS: list[bytes] = [
    b"\x17\x00\x00\x00\x00" + _AVCC,
    b"\x17\x01\x00\x00\x28\x00\x00\x00\x02\x65\x88",
    b"\xaf\x00" + _ASC,
    b"\xaf\x01\x21\x10\x05",
    b"\x90avc1" + _AVCC,
    b"\x91avc1\x00\x00\x28\x00\x00\x00\x02\x65\x88",
    b"\x93hvc1\x00\x00\x00\x02\x26\x01",
    b"\x90Opus" + _OPUS_HEAD,
    # A nanosecond modifier before coded frames, and two tracks of one codec.
    b"\x97\x02\x00\x03\xe8\x01av01\x0a\x0b",
    b"\x96\x11avc1\x00\x00\x00\x02\x65\x88\x01\x00\x00\x02\x65\x88",
    _AVCC[8:33],
]


def one_input(data: bytes) -> None:
    """Parse ``data`` as everything that it might be."""
    for parse in (
        parse_video_tag,
        parse_audio_tag,
        parse_avc_config,
        parse_sps,
        parse_hevc_config,
        parse_hevc_sps,
        parse_audio_specific_config,
    ):
        try:
            parse(data)
        except ProtocolError:
            continue
    publication = Publication("fuzz", gather_s=0.0, now=0.0)
    events = publication.on_media("video", b"\x17\x00\x00\x00\x00" + _AVCC, 0, 0.0)
    events += publication.on_metadata(data)
    for kind in ("video", "audio"):
        events += publication.on_media(kind, data, int.from_bytes(data[-4:], "big"), 1.0)
    assert all(event.pts >= event.dts for event in events if isinstance(event, AccessUnit))
