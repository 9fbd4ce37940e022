"""Raw pictures and sound from a file, and what all sources share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

from salam import ResourceError

__all__ = ["AUDIO_RATE_HZ", "OPUS_FRAME_SAMPLES", "chain", "file_pictures", "file_sound"]

AUDIO_RATE_HZ = 48_000
"""The only clock of Opus in RTP (RFC 7587 4.1)."""

OPUS_FRAME_SAMPLES = 960
"""20 ms, the frame size that every browser sends."""


def file_pictures(path: Path, width: int, height: int, fps: int, count: int) -> Iterator[av.VideoFrame]:
    """Yield up to ``count`` pictures of the file at ``fps`` a second; none when it has no video.

    Raises ResourceError when the file cannot be read or decoded.
    """
    with _opened(path) as container:
        if not container.streams.video:
            return
        stream = container.streams.video[0]
        graph = Graph()
        entry = graph.add_buffer(template=stream)
        chain(
            graph,
            entry,
            graph.add("fps", f"fps={fps}"),
            graph.add("scale", f"{width}:{height}"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        )
        yield from islice(_filtered(path, container, stream, graph), count)


def file_sound(path: Path, duration_s: float) -> Iterator[av.AudioFrame]:
    """Yield up to ``duration_s`` seconds of the file's sound in 20 ms mono frames; none when it has no audio.

    Raises ResourceError when the file cannot be read or decoded.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            return
        resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_RATE_HZ, frame_size=OPUS_FRAME_SAMPLES)
        left = int(duration_s * AUDIO_RATE_HZ / OPUS_FRAME_SAMPLES)
        try:
            for decoded in container.decode(container.streams.audio[0]):
                for frame in resampler.resample(decoded):
                    if not left:
                        return
                    if frame.samples == OPUS_FRAME_SAMPLES:
                        left -= 1
                        yield frame
        except av.FFmpegError as error:
            raise ResourceError(f"the audio of {path.name} cannot be decoded: {error}") from error


def _filtered(path: Path, container: Any, stream: Any, graph: Graph) -> Iterator[av.VideoFrame]:
    try:
        for decoded in container.decode(stream):
            graph.push(decoded)
            yield from _drained(graph)
        graph.push(None)
        yield from _drained(graph)
    except av.FFmpegError as error:
        raise ResourceError(f"the video of {path.name} cannot be decoded: {error}") from error


def _drained(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame


def _opened(path: Path) -> Any:
    try:
        return av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise ResourceError(f"{path.name} cannot be opened as media: {error}") from error


def chain(graph: Graph, *nodes: Any) -> None:
    """Link the nodes one after the other and make the graph ready."""
    for before, after in zip(nodes, nodes[1:], strict=False):
        before.link_to(after)
    graph.configure()
