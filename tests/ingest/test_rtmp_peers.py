"""Real encoders against the real server: FFmpeg, GStreamer, and PyAV's newer FFmpeg for Enhanced RTMP."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from ingest import AccessUnit, RtmpServer, StreamInfo, StreamSink
from salam import AuthError, Metrics

pytestmark = pytest.mark.peer

Eventually = Callable[..., object]
NeedProgram = Callable[..., str]
FFMPEG_INPUT = "-f lavfi -i testsrc2=size=320x180:rate=15 -f lavfi -i sine=frequency=440:sample_rate=48000".split()
FFMPEG_CODECS = "-c:v libx264 -preset ultrafast -g 15 -bf 2 -threads 1 -c:a aac -f flv".split()


class Decoding:
    """A sink that decodes what it is given, as proof that it can be decoded."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.infos: list[StreamInfo] = []
        self.units: list[AccessUnit] = []
        self.ends: list[str] = []

    def on_info(self, info: StreamInfo) -> None:
        self.infos.append(info)

    def on_unit(self, unit: AccessUnit) -> None:
        self.units.append(unit)

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)

    def pictures(self) -> int:
        """Return how many pictures the video units decode to; fails on any error in them."""
        video = self.infos[-1].video
        assert video is not None
        decoder = av.CodecContext.create("libdav1d" if video.codec == "av1" else video.codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.extradata = video.config
        frames = []
        for unit in [unit for unit in self.units if unit.kind == "video"]:
            frames += decoder.decode(av.Packet(unit.data))
        frames += decoder.decode(None)
        assert all((frame.width, frame.height) == (320, 180) for frame in frames)
        return len(frames)

    def check_order(self) -> None:
        """Decode timestamps never decrease within a kind, and presentation never precedes decoding."""
        for kind in ("video", "audio"):
            stamps = [unit.dts for unit in self.units if unit.kind == kind]
            assert stamps == sorted(stamps)
        assert all(unit.pts >= unit.dts for unit in self.units)


class Rig:
    def __init__(self) -> None:
        self.sinks: dict[str, Decoding] = {}
        self.metrics = Metrics()
        self.server = RtmpServer(host="127.0.0.1", port=0, authorize=self.authorize, open_sink=self.open_sink, metrics=self.metrics)

    def authorize(self, name: str, token: str) -> None:
        if token != "good.token":
            raise AuthError(f"the token does not allow publishing {name}")

    def open_sink(self, name: str) -> StreamSink:
        self.sinks[name] = Decoding(name)
        return self.sinks[name]

    def url(self, name: str, token: str = "good.token") -> str:
        return f"rtmp://127.0.0.1:{self.server.port}/live/{name}?token={token}"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    await made.server.start()
    yield made
    await made.server.close()


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program and make sure that it is gone at the end."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_ffmpeg_publishes_and_finishes(rig: Rig, need_program: NeedProgram) -> None:
    command = [need_program("ffmpeg"), "-v", "error", *FFMPEG_INPUT, "-t", "2", *FFMPEG_CODECS, rig.url("one")]
    async with program(*command) as process:
        output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"")
    sink = rig.sinks["one"]
    assert sink.ends == ["finished"]
    (info,) = sink.infos
    assert info.video is not None
    assert info.audio is not None
    assert (info.video.width, info.video.height, info.video.frame_rate) == (320, 180, Fraction(15))
    assert (info.audio.codec, info.audio.sample_rate_hz, info.audio.channels) == ("aac", 48_000, 1)
    sink.check_order()
    assert sink.pictures() == 30
    assert len([unit for unit in sink.units if unit.kind == "audio"]) >= 93
    assert [unit.keyframe for unit in sink.units if unit.kind == "video"].count(True) == 2
    assert rig.metrics.dropped("rtmp") == 0


async def test_gstreamer_publishes_and_finishes(rig: Rig, need_program: NeedProgram) -> None:
    pipeline = (
        "videotestsrc num-buffers=40 ! video/x-raw,format=I420,width=320,height=180,framerate=15/1 ! x264enc tune=zerolatency"
        " ! h264parse ! flvmux name=mux streamable=true ! rtmp2sink name=sink"
        " audiotestsrc num-buffers=100 ! audioconvert ! voaacenc ! aacparse ! mux."
    ).replace("rtmp2sink name=sink", f'rtmp2sink location="{rig.url("two")}"')
    async with program(need_program("gst-launch-1.0"), "-q", *pipeline.replace('"', "").split()) as process:
        output, _ = await process.communicate()
    assert process.returncode == 0, output
    sink = rig.sinks["two"]
    assert sink.ends == ["finished"]
    sink.check_order()
    assert sink.pictures() == 40


async def test_several_publish_at_once(rig: Rig, need_program: NeedProgram, eventually: Eventually) -> None:
    ffmpeg = need_program("ffmpeg")
    names = ["red", "green", "blue"]
    commands = [[ffmpeg, "-v", "error", "-re", *FFMPEG_INPUT, "-t", "2", *FFMPEG_CODECS, rig.url(name)] for name in names]
    async with program(*commands[0]) as red, program(*commands[1]) as green, program(*commands[2]) as blue:
        await eventually(lambda: len(rig.server.stats().publications) == 3)  # type: ignore[misc]
        for process in (red, green, blue):
            await process.communicate()
    assert {name: rig.sinks[name].ends for name in names} == {name: ["finished"] for name in names}
    assert {rig.sinks[name].pictures() for name in names} == {30}


async def test_ffmpeg_says_why_it_was_refused(rig: Rig, need_program: NeedProgram) -> None:
    command = [need_program("ffmpeg"), "-v", "error", *FFMPEG_INPUT, "-t", "1", *FFMPEG_CODECS, rig.url("one", "wrong")]
    async with program(*command) as process:
        output, _ = await process.communicate()
    assert process.returncode != 0
    assert b"the token does not allow publishing one" in output
    assert rig.sinks == {}


@pytest.mark.parametrize(("how", "reason"), [(signal.SIGKILL, "dropped"), (signal.SIGINT, "finished")])
async def test_how_an_encoder_ends(
    rig: Rig, need_program: NeedProgram, eventually: Eventually, how: signal.Signals, reason: str
) -> None:
    command = [need_program("ffmpeg"), "-v", "error", "-re", *FFMPEG_INPUT, *FFMPEG_CODECS, rig.url("one")]
    async with program(*command) as process:
        await eventually(lambda: "one" in rig.sinks and len(rig.sinks["one"].units) > 10)  # type: ignore[misc]
        process.send_signal(how)
        await eventually(lambda: rig.sinks["one"].ends == [reason])  # type: ignore[misc]
    # A new publication may continue the stream at once.
    async with program(*command):
        await eventually(lambda: rig.sinks["one"].ends == [] and rig.sinks["one"].units)  # type: ignore[misc]


def publish_enhanced(url: str, codec: str, options: dict[str, str], audio: str) -> None:
    """Publish 15 pictures and a second of silence with the FFmpeg inside PyAV, in a process of its own."""
    with av.open(url, "w", format="flv") as container:
        video_stream = container.add_stream(codec, rate=15, options=options)
        assert isinstance(video_stream, av.VideoStream)
        video_stream.width, video_stream.height, video_stream.pix_fmt = 320, 180, "yuv420p"
        audio_stream = container.add_stream(audio, rate=48_000, layout="stereo")
        assert isinstance(audio_stream, av.AudioStream)
        samples = audio_stream.codec_context.frame_size or 960
        for number in range(15):
            picture = av.VideoFrame(320, 180, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes((number * 16,)) * plane.buffer_size)
            picture.pts = number
            container.mux(video_stream.encode(picture))
        for number in range(48_000 // samples):
            sound = av.AudioFrame("s16" if audio == "libopus" else "fltp", "stereo", samples)
            for channel in sound.planes:
                channel.update(bytes(channel.buffer_size))
            sound.sample_rate, sound.pts = 48_000, number * samples
            container.mux(audio_stream.encode(sound))
        container.mux(video_stream.encode(None))
        container.mux(audio_stream.encode(None))


@pytest.mark.parametrize(
    ("codec", "options", "audio", "names"),
    [
        ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:bframes=0"}, "libopus", ("hevc", "opus")),
        ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}, "aac", ("av1", "aac")),
    ],
)
async def test_enhanced_rtmp(
    rig: Rig, codec: str, options: dict[str, str], audio: str, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # FFmpeg connects while it holds the interpreter lock, so it needs an interpreter of its own.
    script = "import sys; sys.path.insert(0, sys.argv[1]); import test_rtmp_peers as peers; "
    script += f"peers.publish_enhanced(sys.argv[2], {codec!r}, {options!r}, {audio!r})"
    monkeypatch.setenv("SVT_LOG", "0")
    root = Path(__file__).resolve().parent
    monkeypatch.setenv("PYTHONPATH", str(root.parent.parent))
    async with program(sys.executable, "-c", script, str(root), rig.url("new")) as process:
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    sink = rig.sinks["new"]
    assert sink.ends == ["finished"]
    info = sink.infos[-1]
    assert info.video is not None
    assert info.audio is not None
    assert (info.video.codec, info.audio.codec) == names
    assert (info.video.width, info.video.height) == (320, 180)
    assert (info.audio.sample_rate_hz, info.audio.channels) == (48_000, 2)
    sink.check_order()
    assert sink.pictures() == 15
