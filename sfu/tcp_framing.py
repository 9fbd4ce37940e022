"""RFC 4571 framing: how STUN, DTLS and SRTP packets travel over an ICE-TCP connection (RFC 6544), without I/O."""

from __future__ import annotations

import struct

from salam.errors import ProtocolError

__all__ = ["FrameDecoder", "FramingError", "encode_frame"]

# Packets of WebRTC fit an Ethernet frame of 1500 bytes; a peer on a jumbo network may send a DTLS flight of a few thousand. Text
# protocols that were sent here by mistake start with letters, which read as a length over 16000, and are refused at once.
_MAX_FRAME_BYTES = 8192


class FramingError(ProtocolError):
    """The stream is not RFC 4571 framing, or holds a frame larger than any packet of WebRTC."""

    default_code = "bad_framing"


class FrameDecoder:
    """Cuts a byte stream into packets; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes of the stream and return the packets that are complete now; empty frames are left out.

        Raises FramingError when a frame is too large; the stream is then useless.
        """
        self._buffer += data
        packets: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= 2:
            (length,) = struct.unpack_from("!H", self._buffer, at)
            if length > _MAX_FRAME_BYTES:
                raise FramingError(f"a frame of {length} bytes; at most {_MAX_FRAME_BYTES} are allowed")
            if len(self._buffer) - at - 2 < length:
                break
            if length:
                packets.append(bytes(self._buffer[at + 2 : at + 2 + length]))
            at += 2 + length
        del self._buffer[:at]
        return packets


def encode_frame(packet: bytes) -> bytes:
    """Return ``packet`` with its length before it. Raises ValueError when it has more than 65535 bytes."""
    if len(packet) > 0xFFFF:
        raise ValueError("a frame holds at most 65535 bytes")
    return struct.pack("!H", len(packet)) + packet
