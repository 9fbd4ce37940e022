"""What a packet is, by its first byte (RFC 7983, extended by RFC 9443 for QUIC)."""

from __future__ import annotations

import enum

__all__ = ["PacketKind", "classify"]


class PacketKind(enum.Enum):
    """The protocols that share one port in WebRTC."""

    STUN = "stun"
    ZRTP = "zrtp"
    DTLS = "dtls"
    TURN_CHANNEL = "turn_channel"
    QUIC = "quic"
    RTP = "rtp"
    UNKNOWN = "unknown"
    """To be dropped."""


def _kind(first_byte: int) -> PacketKind:
    if first_byte <= 3:
        return PacketKind.STUN
    if 16 <= first_byte <= 19:
        return PacketKind.ZRTP
    if 20 <= first_byte <= 63:
        return PacketKind.DTLS
    if 64 <= first_byte <= 79:
        return PacketKind.TURN_CHANNEL
    if 128 <= first_byte <= 191:
        return PacketKind.RTP
    return PacketKind.QUIC if first_byte >= 80 else PacketKind.UNKNOWN


_KINDS = tuple(_kind(first_byte) for first_byte in range(256))


def classify(first_byte: int) -> PacketKind:
    """Return the protocol of a packet that starts with ``first_byte`` (0 to 255).

    80 to 127 and 192 to 255 are QUIC; on the leg to a TURN server 64 to 79 is always a channel, because QUIC does not share it.
    """
    return _KINDS[first_byte]
