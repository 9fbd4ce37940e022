"""The one currency of livestream ingest: timestamped, encoded access units, whatever protocol they came by.

Every ingest protocol (RTMP now) turns its wire format into a `StreamInfo` followed by `AccessUnit` objects. Timestamps are already
unwrapped to plain integers that only grow over days, and have one timescale, so that nobody downstream knows about
24-bit, 32-bit or 33-bit wraps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

__all__ = ["TIMESCALE_HZ", "AccessUnit", "AudioFormat", "StreamInfo", "StreamSink", "VideoFormat"]

TIMESCALE_HZ = 90_000
"""Ticks per second of all timestamps: the clock of MPEG-TS and RTP video, which every common frame rate divides or nearly so."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """How the video of a stream is encoded."""

    codec: Literal["h264", "hevc", "av1"]
    config: bytes
    """The decoder configuration record: avcC, hvcC or av1C."""
    width: int = 0
    height: int = 0
    """From the parameter sets where they were read, else 0."""
    frame_rate: Fraction | None = None


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How the audio of a stream is encoded."""

    codec: Literal["aac", "opus"]
    config: bytes
    """AudioSpecificConfig (ISO/IEC 14496-3) or OpusHead."""
    sample_rate_hz: int = 0
    channels: int = 0


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The tracks of a stream; sent again, whole, whenever one changes."""

    name: str
    video: VideoFormat | None
    audio: AudioFormat | None


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One encoded picture, or one encoded audio frame."""

    kind: Literal["video", "audio"]
    data: bytes
    """Length-prefixed NAL units for H.264 and HEVC (as in MP4), OBUs for AV1, a raw frame for AAC and Opus."""
    pts: int
    dts: int
    """In 1/90000 s, unwrapped. Decode timestamps never decrease within a kind of one publication."""
    keyframe: bool
    received_s: float
    """Monotonic arrival time, for latency measurement."""


class StreamSink(Protocol):
    """Where a publication's access units go; all calls are synchronous, on the event loop, and must not block.

    One sink object serves one publication (one connection of a publisher). The order is: one `on_info`, then units and further
    `on_info` calls, then exactly one `on_end`.
    """

    def on_info(self, info: StreamInfo) -> None:
        """The tracks are known, or have changed."""

    def on_unit(self, unit: AccessUnit) -> None:
        """One access unit, in decoding order."""

    def on_end(self, reason: Literal["finished", "dropped", "refused", "shutdown"]) -> None:
        """``finished``: the publisher said goodbye. ``dropped``: the connection broke, so a new one may continue the stream."""


AuthorizePublish = Callable[[str, str], None]
"""Called with (stream name, token from the publish URL, maybe empty); raises `salam.AuthError` when publishing is not allowed."""

OpenSink = Callable[[str], StreamSink]
"""Called with the stream's name once publishing is authorised; raises `salam.ConflictError` when somebody publishes it already, and
`salam.LimitError` when no more streams can be taken."""
