"""The generated broadcaster: what it publishes can be decoded, and failures are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from itertools import islice

import av
import pytest

from bench.broadcast.card import card_pictures, card_sound
from bench.broadcast.flv import FlvTap
from bench.broadcaster import Broadcaster
from ingest import AccessUnit, RtmpServer, StreamInfo, StreamSink
from salam import AuthError, ConfigError, RequestError, ResourceError

Eventually = Callable[..., object]


class Recorder:
    def __init__(self) -> None:
        self.infos: list[StreamInfo] = []
        self.units: list[AccessUnit] = []
        self.ends: list[str] = []

    def on_info(self, info: StreamInfo) -> None:
        self.infos.append(info)

    def on_unit(self, unit: AccessUnit) -> None:
        self.units.append(unit)

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)


class Rig:
    def __init__(self) -> None:
        self.sinks: list[Recorder] = []
        self.server = RtmpServer(host="127.0.0.1", port=0, authorize=self.authorize, open_sink=self.open_sink)

    def authorize(self, name: str, token: str) -> None:
        if token == "wrong":
            raise AuthError(f"the token does not allow publishing {name}")

    def open_sink(self, name: str) -> StreamSink:
        self.sinks.append(Recorder())
        return self.sinks[-1]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    await made.server.start()
    yield made
    await made.server.close()


async def test_it_publishes_until_it_is_stopped(rig: Rig, eventually: Eventually) -> None:
    broadcaster = Broadcaster(f"rtmp://127.0.0.1:{rig.server.port}/live/film", width=426, height=240, fps=10)
    broadcaster.start()
    await eventually(lambda: rig.sinks and sum(unit.kind == "video" for unit in rig.sinks[0].units) >= 21)  # type: ignore[misc]
    await broadcaster.stop()
    await broadcaster.stop()
    assert broadcaster.error is None
    (sink,) = rig.sinks
    await eventually(lambda: sink.ends == ["finished"])  # type: ignore[misc]
    (info,) = sink.infos
    assert info.video is not None
    assert info.audio is not None
    assert (info.video.width, info.video.height, info.video.frame_rate) == (426, 240, Fraction(10))
    assert (info.audio.codec, info.audio.sample_rate_hz) == ("aac", 48_000)
    pictures = [unit for unit in sink.units if unit.kind == "video"]
    assert len(pictures) == broadcaster.pictures_sent
    assert [number for number, unit in enumerate(pictures) if unit.keyframe][:3] == [0, 10, 20]
    assert all(unit.pts == unit.dts for unit in pictures), "B-frames cannot be shown by WebRTC viewers"
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = info.video.config
    assert sum(len(decoder.decode(av.Packet(unit.data))) for unit in pictures) >= len(pictures) - 2


async def test_the_servers_words_are_in_the_error_and_the_token_is_not(rig: Rig, eventually: Eventually) -> None:
    broadcaster = Broadcaster(f"rtmp://127.0.0.1:{rig.server.port}/live/film?token=wrong")
    broadcaster.start()
    await eventually(lambda: broadcaster.error)  # type: ignore[misc]
    await broadcaster.stop()
    assert isinstance(broadcaster.error, RequestError)
    assert "the token does not allow publishing film" in str(broadcaster.error)
    assert "wrong" not in repr(broadcaster.error)


async def test_a_lost_server_is_an_error(eventually: Eventually) -> None:
    rig = Rig()
    await rig.server.start()
    broadcaster = Broadcaster(f"rtmp://127.0.0.1:{rig.server.port}/live/film", width=64, height=64, fps=30)
    broadcaster.start()
    await eventually(lambda: rig.sinks and rig.sinks[0].units)  # type: ignore[misc]
    await rig.server.close()
    await eventually(lambda: broadcaster.error)  # type: ignore[misc]
    await broadcaster.stop()
    assert isinstance(broadcaster.error, ResourceError)


async def test_it_can_be_stopped_while_a_server_says_nothing() -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    async with server:
        broadcaster = Broadcaster(f"rtmp://127.0.0.1:{server.sockets[0].getsockname()[1]}/live/film")
        broadcaster.start()
        await broadcaster.stop()
        assert broadcaster.error is None
    await Broadcaster("rtmp://127.0.0.1/live/never").stop()


@pytest.mark.parametrize(
    "options",
    [{"width": 641}, {"height": 32}, {"width": 1920, "height": 1080}, {"fps": 0}, {"fps": 60}, {"keyframe_interval_s": 0}],
)
def test_what_one_core_cannot_encode_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Broadcaster("rtmp://h/live/s", **options)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (64, 64), (426, 240), (360, 640)])
def test_every_picture_of_the_card_differs(width: int, height: int) -> None:
    pictures = list(islice(card_pictures(width, height, 10), 12))
    assert [picture.pts for picture in pictures] == list(range(12))
    assert len({bytes(picture.planes[0]) for picture in pictures}) == 12
    # The flash is there in the first picture of each second only.
    corner = (height - height // 8) * pictures[0].planes[0].line_size + width - height // 8
    assert [bytes(picture.planes[0])[corner] == 235 for picture in pictures] == [True] + [False] * 9 + [True, False]


def test_the_beep_comes_at_the_start_of_a_second() -> None:
    frames = list(islice(card_sound(), 94))
    loudness = [max(memoryview(frame.planes[0]).cast("f")[: frame.samples]) for frame in frames]
    beeps = [number for number, level in enumerate(loudness) if level > max(loudness) * 0.75]
    assert {0, 46, 47} & set(beeps)
    assert len(beeps) < 12


def test_a_file_written_in_any_pieces_becomes_the_same_messages() -> None:
    tag = b"\x09\x00\x00\x02\x01\x02\x03\x04\x00\x00\x00ab\x00\x00\x00\x0d"
    script = b"\x12\x00\x00\x01" + bytes(7) + b"x\x00\x00\x00\x0c"
    file = b"FLV\x01\x05\x00\x00\x00\x09" + bytes(4) + tag + script + tag
    for size in range(1, len(file)):
        tap, messages = FlvTap(), []
        for at in range(0, len(file), size):
            tap.write(file[at : at + size])
            messages += tap.take()
        assert [(message.type_id, message.timestamp_ms, message.payload) for message in messages] == [
            (9, 0x04010203, b"ab"),
            (18, 0, b"\x02\x00\x0d@setDataFramex"),
            (9, 0x04010203, b"ab"),
        ]
