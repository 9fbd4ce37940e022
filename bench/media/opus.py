"""The RTP payload format of Opus (RFC 7587): one packet is one frame, and nothing is added."""

from __future__ import annotations

from collections.abc import Sequence

from bench.media.payload import PayloadError, Piece

__all__ = ["OpusDepacketizer", "OpusPacketizer"]


class OpusPacketizer:
    """Turns Opus packets into payloads."""

    def packetize(self, frame: bytes) -> list[bytes]:
        """Return the one payload of ``frame``."""
        return [frame]


class OpusDepacketizer:
    """Turns payloads into Opus packets; every one can be decoded by itself."""

    def read(self, payload: bytes) -> Piece:
        """See `bench.media.payload.Depacketizer.read`."""
        if not payload:
            raise PayloadError("Opus payload is empty")
        return Piece(payload, first=True, keyframe=True)

    def join(self, pieces: Sequence[bytes]) -> bytes:
        """See `bench.media.payload.Depacketizer.join`."""
        return b"".join(pieces)
