"""The bounds of the RTMP server, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RtmpLimits"]


@dataclass(frozen=True, slots=True)
class RtmpLimits:
    """What one RTMP server, and each connection to it, may use; sizes in bytes, times in seconds."""

    max_connections: int = 512
    """A full server refuses at once instead of slowing everybody: 512 publishers of 8 Mb/s fill a 4 Gb/s link."""

    max_message_bytes: int = 8 * 1024 * 1024
    """The largest picture: a lossless 2160p keyframe of camera material stays below it, and RTMP itself allows 16 MiB."""

    max_unfinished_bytes: int = 12 * 1024 * 1024
    """All unfinished messages of one connection together: one largest picture beside audio and data that are interleaved with
    it."""

    min_chunk_size_bytes: int = 128
    """RTMP's own recommendation (section 5.4.1). One-byte chunks would make every byte cost as much as a kilobyte."""

    max_messages_per_s: int = 10_000
    """A publisher sends 100 to 200; this is a minute's worth that comes at once after the network stalled. A message can be one
    byte long, so without a bound one client could keep the event loop busy."""

    max_chunk_streams: int = 32
    """Chunk stream ids of one connection. Encoders use three to eight; the protocol's 65,597 would be a memory hole."""

    max_outbound_bytes: int = 256 * 1024
    """Replies that a client has not read yet. A publisher is sent a few kilobytes in its life, so more is a client that never
    reads."""

    start_timeout_s: float = 10.0
    """From the first byte to an accepted publish. Encoders on bad links need two or three seconds."""

    silence_timeout_s: float = 10.0
    """Without a usable picture or audio frame for this long, a publication counts as broken (MediaMTX's read timeout is the
    same)."""

    takeover_after_s: float = 2.0
    """A publication silent for this long gives way to a new one of the same name: an encoder that lost its network reconnects
    before the old connection times out."""

    gather_s: float = 1.0
    """How long a publication's first track waits for its second, so that viewers do not see the tracks change at once."""

    linger_s: float = 2.0
    """How long a refused client may take to read the reason before the connection is cut."""
