"""Sources for the live origin: real encodes, made faster than real time, and the way to feed them."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import av
from aiohttp import web
from aiohttp.test_utils import TestClient
from av.codec.context import Flags
from av.video.frame import PictureType

from ingest.access_unit import TIMESCALE_HZ, AccessUnit, AudioFormat, StreamInfo, StreamSink, VideoFormat
from salam import Metrics
from transcode import LiveOrigin
from transcode.h264 import NalType, build_avc_config, from_annex_b, join_nals

SAMPLE_RATE_HZ = 48_000
FRAME_SAMPLES = 1024


@dataclass
class Source:
    """A publication that is ready to be sent."""

    info: StreamInfo
    units: list[AccessUnit] = field(default_factory=list)


def video_units(
    times: Iterable[int],
    *,
    width: int = 320,
    height: int = 180,
    gop_ticks: int = 2 * TIMESCALE_HZ,
    luma: Callable[[int], int] = lambda pts: 16 + pts // 3000 % 200,
    b_frames: int = 0,
) -> tuple[VideoFormat, list[AccessUnit]]:
    """Encode flat pictures at ``times`` (1/90000 s) with an IDR at least every ``gop_ticks``."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, TIMESCALE_HZ), Fraction(30)
    encoder.flags |= Flags.global_header
    encoder.gop_size, encoder.max_b_frames, encoder.thread_count = 100_000, b_frames, 1
    encoder.options = {"preset": "ultrafast", "forced-idr": "1", "x264-params": f"scenecut=0:bframes={b_frames}:b-adapt=0"}
    encoder.open()
    nals = from_annex_b(encoder.extradata or b"")
    config = build_avc_config(
        [nal for nal in nals if nal[0] & 31 == NalType.SPS], [nal for nal in nals if nal[0] & 31 == NalType.PPS]
    )
    packets = []
    next_key: int | None = None
    for pts in times:
        frame = av.VideoFrame(width, height, "yuv420p")
        for index, plane in enumerate(frame.planes):
            plane.update(bytes([luma(pts) if index == 0 else 128]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, Fraction(1, TIMESCALE_HZ)
        frame.pict_type = PictureType.NONE
        if next_key is None or pts >= next_key:
            frame.pict_type = PictureType.I
            next_key = pts + gop_ticks
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    units = []
    for packet in packets:
        data = join_nals([nal for nal in from_annex_b(bytes(packet)) if nal[0] & 31 not in (7, 8, 9)])
        assert packet.pts is not None
        assert packet.dts is not None
        units.append(AccessUnit("video", data, packet.pts, packet.dts, packet.is_keyframe, packet.pts / TIMESCALE_HZ))
    return VideoFormat("h264", config, width, height, None), units


def audio_units(
    start: int, duration_s: float, *, codec: str = "aac", sample: Callable[[float], float] = lambda _: 0.0
) -> tuple[AudioFormat, list[AccessUnit]]:
    """Encode mono or stereo sound whose value at each time in seconds is ``sample`` of it."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE_HZ, "stereo", "fltp" if codec == "aac" else "s16"
    encoder.time_base = Fraction(1, SAMPLE_RATE_HZ)
    encoder.flags |= Flags.global_header
    encoder.open()
    size = encoder.frame_size
    units = []
    packets = []
    for index in range(int(duration_s * SAMPLE_RATE_HZ) // size):
        wave = array("f", (sample((index * size + at) / SAMPLE_RATE_HZ) for at in range(size)))
        if codec == "aac":
            frame = av.AudioFrame("fltp", "stereo", size)
            for plane in frame.planes:
                plane.update(wave.tobytes().ljust(plane.buffer_size, b"\0"))
        else:
            frame = av.AudioFrame("s16", "stereo", size)
            both = array("h", (round(value * 32767) for value in wave for _ in range(2)))
            frame.planes[0].update(both.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, index * size, Fraction(1, SAMPLE_RATE_HZ)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    for packet in packets:
        assert packet.pts is not None
        pts = start + packet.pts * TIMESCALE_HZ // SAMPLE_RATE_HZ
        units.append(AccessUnit("audio", bytes(packet), pts, pts, True, pts / TIMESCALE_HZ))
    return AudioFormat("aac" if codec == "aac" else "opus", bytes(encoder.extradata or b""), SAMPLE_RATE_HZ, 2), units


def interleave(
    name: str, video: tuple[VideoFormat, list[AccessUnit]] | None, audio: tuple[AudioFormat, list[AccessUnit]] | None
) -> Source:
    """Return a publication of these tracks, ordered as a muxer would."""
    units = sorted([*(video[1] if video else []), *(audio[1] if audio else [])], key=lambda unit: unit.dts)
    return Source(StreamInfo(name, video[0] if video else None, audio[0] if audio else None), units)


def frame_times(duration_s: float, fps: Fraction | int = 30, start: int = 0) -> list[int]:
    """Return the timestamps of a constant frame rate, rounded to milliseconds as RTMP does."""
    count = int(duration_s * fps)
    return [start + round(index * 1000 / fps) * 90 for index in range(count)]


async def feed(origin: LiveOrigin, sink: StreamSink, source: Source, *, info: bool = True) -> None:
    """Send a publication as fast as the origin takes it, without ever being so fast that it gives up pictures."""
    if info:
        sink.on_info(source.info)
    for unit in source.units:
        while any(stream.name == source.info.name and stream.backlog_s > 0.4 for stream in origin.streams()):  # noqa: ASYNC110
            # The backlog is drained by threads, which have no event to wait for.
            await asyncio.sleep(0.005)
        sink.on_unit(unit)


class Site:
    """An origin behind a real HTTP server."""

    def __init__(
        self, origin: LiveOrigin, client: TestClient[web.Request, web.Application], states: list[tuple[str, str]], metrics: Metrics
    ) -> None:
        self.origin = origin
        self.client = client
        self.states = states
        self.metrics = metrics

    async def text(self, path: str) -> str:
        """Return the body of a successful GET below /live/."""
        async with self.client.get(f"/live/{path}") as response:
            body = await response.text()
            assert response.status == 200, body
            return body

    async def data(self, path: str) -> bytes:
        """Return the body of a successful GET below /live/."""
        async with self.client.get(f"/live/{path}") as response:
            assert response.status == 200, path
            return await response.read()

    def state(self, name: str) -> str:
        """Return the state of a stream."""
        return next((stream.state.value for stream in self.origin.streams() if stream.name == name), "offline")
