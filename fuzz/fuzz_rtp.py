"""Fuzz target: the RTP, VP8 and H.264 parsers raise their own exception type or nothing, and what parses survives a round trip."""

from sfu.plane import MediaError, RtpPacket, build_rtp, parse_rtp
from sfu.plane.packets import inspect_payload

_VP8 = bytes((0x90, 0xF0, 0x81, 0x02, 7, 0x21, 0x00, 1, 2, 0x9D, 0x01, 0x2A, 64, 1, 180, 0))
_SPS = bytes.fromhex("6742c01fda02802dd080000003008000001e4f")

SEEDS: list[bytes] = [
    build_rtp(RtpPacket(96, 1, 2, 3, _VP8, marker=True, extensions={1: b"0", 4: bytes(3), 12: b"\x8a"})),
    build_rtp(RtpPacket(96, 1, 2, 3, _VP8, extensions={20: b"a name that is longer than 16 bytes", 3: b""}, padding_bytes=9)),
    build_rtp(RtpPacket(102, 1, 2, 3, _SPS)),
    build_rtp(RtpPacket(102, 1, 2, 3, bytes((24, 0, len(_SPS))) + _SPS + bytes((0, 2, 0x68, 1)))),
    build_rtp(RtpPacket(102, 1, 2, 3, bytes((0x7C, 0x87)) + _SPS[1:])),
]


def one_input(data: bytes) -> None:
    """Parse ``data``, build it again, and look into its payload as every codec."""
    try:
        packet = parse_rtp(data)
    except MediaError:
        return
    if 0 not in packet.extensions:
        again = parse_rtp(build_rtp(packet))
        assert (again.payload, again.sequence, again.extensions) == (packet.payload, packet.sequence, packet.extensions)
    for codec in ("VP8", "H264", "VP9", "opus"):
        try:
            inspect_payload(codec, packet.payload)
        except MediaError:
            continue
