"""Raw pictures and sound: generated, or decoded from a file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

from salam import ResourceError

__all__ = ["AUDIO_RATE_HZ", "OPUS_FRAME_SAMPLES", "file_pictures", "file_sound", "generated_pictures", "generated_sound"]

AUDIO_RATE_HZ = 48_000
"""The only clock of Opus in RTP (RFC 7587 4.1)."""

OPUS_FRAME_SAMPLES = 960
"""20 ms, the frame size that every browser sends."""

# A male voice at the low end, a child's at the high end: robots in one room can be told apart by ear.
_PITCHES_HZ = (110, 330)


def generated_pictures(width: int, height: int, fps: int, count: int, label: str) -> Iterator[av.VideoFrame]:
    """Yield ``count`` pictures of a moving colour test pattern; ``label`` turns its colours."""
    graph = Graph()
    source = graph.add("testsrc2", f"size={width}x{height}:rate={fps}")
    turned = graph.add("hue", f"h={_fraction_of(label) * 360:.0f}")
    _chain(graph, source, turned, graph.add("format", "yuv420p"), graph.add("buffersink"))
    for _ in range(count):
        frame = graph.pull()
        assert isinstance(frame, av.VideoFrame)
        yield frame


def generated_sound(duration_s: float, label: str) -> Iterator[av.AudioFrame]:
    """Yield 20 ms mono frames of a tone with the rise, fall and pauses of speech; ``label`` sets its pitch."""
    low, high = _PITCHES_HZ
    pitch_hz = low + (high - low) * _fraction_of(label)
    # Four harmonics whose loudness follows syllables (about 3 a second), with a pause of 0.4 s in every 2 s.
    harmonics = "+".join(f"sin({pitch_hz * number:.1f}*2*PI*t)/{number}" for number in (1, 2, 3, 4))
    syllables = "(0.15+0.85*abs(sin(PI*3*t)))*gt(mod(t,2),0.4)"
    graph = Graph()
    source = graph.add("aevalsrc", f"exprs='0.25*({harmonics})*{syllables}':s={AUDIO_RATE_HZ}:nb_samples={OPUS_FRAME_SAMPLES}")
    mono = graph.add("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={AUDIO_RATE_HZ}")
    _chain(graph, source, mono, graph.add("abuffersink"))
    for _ in range(int(duration_s * AUDIO_RATE_HZ / OPUS_FRAME_SAMPLES)):
        frame = graph.pull()
        assert isinstance(frame, av.AudioFrame)
        yield frame


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
        _chain(
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


def _chain(graph: Graph, *nodes: Any) -> None:
    for before, after in zip(nodes, nodes[1:], strict=False):
        before.link_to(after)
    graph.configure()


def _fraction_of(label: str) -> float:
    """Return a number in [0, 1) that is the same for the same label in every process."""
    return zlib.crc32(label.encode()) % 360 / 360
