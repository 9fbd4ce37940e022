"""Decoders for the receiving side, for tests that want to see pictures rather than count packets; blocking, so run them in a
thread."""

from __future__ import annotations

from typing import Any

import av

from bench.media.payload import CodecName

__all__ = ["FrameDecoder"]

_DECODERS = {"VP8": "vp8", "H264": "h264", "opus": "libopus"}


class FrameDecoder:
    """Decodes the frames of one stream. Not safe to use from two threads at a time."""

    def __init__(self, codec: CodecName) -> None:
        context: Any = av.CodecContext.create(_DECODERS[codec], "r")
        context.thread_count = 1
        if codec == "opus":
            context.sample_rate = 48_000
            context.layout = "mono"
        self._context = context
        self.codec = codec
        self.failures = 0

    def decode(self, data: bytes) -> list[Any]:
        """Return the pictures (`av.VideoFrame`) or sound (`av.AudioFrame`) in one frame; what cannot be decoded is counted."""
        try:
            return list(self._context.decode(av.Packet(data)))
        except av.FFmpegError:
            self.failures += 1
            return []
