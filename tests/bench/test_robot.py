"""Robots in real rooms: the real signaling server and media server over the loopback, through our own network."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from bench import GeneratedMedia, LinkConfig, ReceivedTrack, Robot, UdpProxy
from bench.media import LoopLibrary
from salam import ClosedError, RequestError
from salam_server.call_media import SfuCallMedia
from sfu import Worker
from signaling import Encoding, SignalingServer

Eventually = Callable[..., Awaitable[object]]

_MEDIA = GeneratedMedia(width=320, height=180, fps=15, loop_s=4)


@dataclass(slots=True)
class Rig:
    """A server whose media goes through an emulated network."""

    url: str
    proxy: UdpProxy
    library: LoopLibrary

    def robot(self, name: str, **options: Any) -> Robot:
        """Return a robot for the room of this test."""
        return Robot(self.url, room="room", name=name, library=self.library, **options)


@asynccontextmanager
async def serving(library: LoopLibrary) -> AsyncIterator[Rig]:
    """Run a server in this process until the end of the block."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(UdpProxy(("127.0.0.1", 9), seed=1))
        worker = Worker("127.0.0.1", 0, announced_addresses=("127.0.0.1",), announced_port=proxy.port)
        stack.push_async_callback(worker.close)
        await worker.start()
        proxy.target = ("127.0.0.1", worker.port)
        media = SfuCallMedia(worker)
        stack.push_async_callback(media.close)
        signaling = SignalingServer(issuer=None, dev=True, media=media)
        await signaling.start()
        app = web.Application()
        app.router.add_get("/ws", signaling.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(signaling.close)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield Rig(f"ws://127.0.0.1:{port}/ws", proxy, library)


@pytest.fixture
async def rig(library: LoopLibrary) -> AsyncIterator[Rig]:
    """A fresh server for each test."""
    async with serving(library) as running:
        yield running


def _received(robot: Robot, kind: str) -> ReceivedTrack | None:
    return next((track for track in robot.stats().received if track.kind == kind), None)


def _frames(robot: Robot, kind: str = "video") -> int:
    track = _received(robot, kind)
    return 0 if track is None else track.frames


async def test_two_robots_see_hear_and_read_each_other(rig: Rig, eventually: Eventually) -> None:
    pictures: list[Any] = []
    async with (
        rig.robot("Amira", publish=_MEDIA, strict=True, encoding=Encoding.MSGPACK) as one,
        rig.robot("Yusuf", publish=_MEDIA, strict=True, on_picture=lambda track, picture: pictures.append(picture)) as two,
    ):
        await eventually(lambda: all(_frames(robot, kind) >= 20 for robot in (one, two) for kind in ("audio", "video")))
        assert [other.name for other in one.participants.values()] == ["Yusuf"]
        await one.chat("salam")
        await eventually(lambda: [line.text for line in two.chat_lines] == ["salam"])
        for robot, other in ((one, two), (two, one)):
            video = _received(robot, "video")
            assert video is not None
            assert (video.participant_id, video.source, video.codec) == (other.participant_id, "camera", "VP8")
            assert video.track_id == other.track_ids()["video"]
            assert {receiver.config.codec.name for receiver in robot.strict_receivers()} == {"VP8", "opus"}
            assert [receiver.violations for receiver in robot.strict_receivers()] == [[], []]
            assert robot.stats().dropped == 0
            assert {track.kind: len(track.layers) for track in robot.stats().sent} == {"audio": 1, "video": 3}
        # Both speak in syllables, and the server hears it.
        await eventually(lambda: set(two.speakers) == {one.participant_id, two.participant_id})
        await eventually(lambda: len(pictures) > 40)
        assert two.stats().decode_failures == 0


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_every_layer_can_be_watched(rig: Rig, eventually: Eventually, codec: Any) -> None:
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=4, codec=codec, audio=False)
    async with rig.robot("Amira", publish=media), rig.robot("Yusuf", strict=True, decode=True) as viewer:
        await eventually(lambda: _frames(viewer) >= 5)
        track = _received(viewer, "video")
        assert track is not None
        for rid in ("f", "q", "h", "f"):
            await viewer.set_layer(track.track_id, rid=rid)
            await eventually(lambda rid=rid: _layer(viewer) == rid, what=f"layer {rid}")
            before = _frames(viewer)
            await eventually(lambda before=before: _frames(viewer) > before + 5)
        after = _received(viewer, "video")
        assert after is not None
        assert after.frames_given_up == 0
        assert after.codec == codec
        if codec == "VP8":
            assert (after.width, after.height) == (320, 180)
        assert [receiver.violations for receiver in viewer.strict_receivers()] == [[]]
        assert viewer.stats().decode_failures == 0


def _layer(robot: Robot) -> str:
    track = _received(robot, "video")
    return "" if track is None else track.layer


async def test_losses_on_both_ways_are_repaired(rig: Rig, eventually: Eventually) -> None:
    async with rig.robot("Amira", publish=_MEDIA) as one, rig.robot("Yusuf", publish=_MEDIA) as two:
        await eventually(lambda: _frames(one) >= 5 and _frames(two) >= 5)
        for robot in (one, two):
            track = _received(robot, "video")
            assert track is not None
            await robot.set_layer(track.track_id, rid="f")
            await eventually(lambda robot=robot: _layer(robot) == "f")
        lossy = LinkConfig(latency_s=0.01, jitter_s=0.003, loss=0.05)
        rig.proxy.configure(up=lossy, down=lossy)
        goals = {robot: _frames(robot) + 75 for robot in (one, two)}
        await eventually(lambda: all(_frames(robot) >= goal for robot, goal in goals.items()))
        links = rig.proxy.stats()
        assert links.up.lost > 10
        assert links.down.lost > 10
        for robot in (one, two):
            video = _received(robot, "video")
            assert video is not None
            assert video.packets_repaired > 0
            assert video.nacks_sent >= video.packets_repaired
            # Ten tries at one chance in ten to fail leave next to nothing.
            assert video.frames_given_up <= 3
            (sent,) = [track for track in robot.stats().sent if track.kind == "video"]
            assert sent.packets_resent > 0


async def test_a_muted_robot_falls_silent_and_comes_back(rig: Rig, eventually: Eventually) -> None:
    async with rig.robot("Amira", publish=_MEDIA) as one, rig.robot("Yusuf") as two:
        await eventually(lambda: _frames(two) >= 5 and _frames(two, "audio") >= 5)
        await one.mute("video")

        def shown_as_muted() -> bool:
            return [track.muted for other in two.participants.values() for track in other.tracks if track.kind == "video"] == [True]

        await eventually(shown_as_muted)
        sent = _sent_packets(one)
        heard = _frames(two, "audio")
        await eventually(lambda: _frames(two, "audio") > heard + 20)
        assert _sent_packets(one) == sent
        before = _frames(two)
        await one.mute("video", muted=False)
        await eventually(lambda: _frames(two) > before + 10)
        with pytest.raises(RequestError, match="publishes no audio"):
            await two.mute("audio")


def _sent_packets(robot: Robot) -> int:
    return next(track.packets for track in robot.stats().sent if track.kind == "video")


async def test_a_layer_that_stops_is_replaced_by_a_lower_one(rig: Rig, eventually: Eventually) -> None:
    async with rig.robot("Amira", publish=_MEDIA) as one, rig.robot("Yusuf") as two:
        await eventually(lambda: _frames(two) >= 5)
        track = _received(two, "video")
        assert track is not None
        await two.set_layer(track.track_id, height=180)
        await eventually(lambda: _layer(two) == "f")
        one.set_publishing("f", active=False)
        await eventually(lambda: _layer(two) in ("h", "q"))
        before = _frames(two)
        await eventually(lambda: _frames(two) > before + 10)
        one.set_publishing("f", active=True)
        await eventually(lambda: _layer(two) == "f")
        with pytest.raises(RequestError, match="publishes no layer"):
            two.set_publishing("f", active=False)


async def test_a_connection_moves_to_another_path_without_a_gap(rig: Rig, eventually: Eventually) -> None:
    async with rig.robot("Amira", publish=_MEDIA), rig.robot("Yusuf", strict=True) as viewer:
        await eventually(lambda: _frames(viewer) >= 5)
        clients = rig.proxy.stats().clients
        for count in (1, 2):
            before = _frames(viewer)
            await viewer.restart_ice()
            await eventually(lambda count=count: rig.proxy.stats().clients == clients + count)
            await eventually(lambda before=before: _frames(viewer) > before + 20)
        video = _received(viewer, "video")
        assert video is not None
        assert video.frames_given_up == 0
        assert [receiver.violations for receiver in viewer.strict_receivers()] == [[], []]


async def test_robots_come_and_go(rig: Rig, eventually: Eventually) -> None:
    async with rig.robot("Viewer") as viewer:
        for name in ("Amira", "Badr", "Celine"):
            async with rig.robot(name, publish=_MEDIA, subscribe=False) as guest:
                await eventually(lambda: _frames(viewer) >= 5 and _frames(viewer, "audio") >= 5, what=f"{name} is seen")
                assert [other.name for other in viewer.participants.values()] == [name]
                assert {track.participant_id for track in viewer.stats().received} == {guest.participant_id}
                assert guest.stats().received == ()
            await eventually(lambda: not viewer.participants and not viewer.stats().received, what=f"{name} is gone")


async def test_late_answers_to_ice_checks_keep_a_connection(
    rig: Rig, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Answers take longer than aioice waits for one, and six checks, after which it gives up, are over within five seconds.
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.2)
    slow = LinkConfig(latency_s=0.4)
    async with rig.robot("Amira", publish=_MEDIA), rig.robot("Yusuf") as two:
        await eventually(lambda: _frames(two) >= 5)
        rig.proxy.configure(up=slow, down=slow)
        await eventually(lambda: _frames(two) >= 150)


async def test_a_lost_connection_is_told_and_mended(rig: Rig, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    # Consent that is given up after a second and a half rather than half a minute.
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.2)
    monkeypatch.setattr("bench.peer.agent.client._CONSENT_EXPIRES_S", 1.0)
    monkeypatch.setattr("bench.peer.agent.client._CONSENT_RETRANSMISSIONS", 1)
    async with rig.robot("Amira", publish=_MEDIA, subscribe=False) as one, rig.robot("Yusuf") as two:
        await eventually(lambda: _frames(two) >= 5)
        assert one.lost == two.lost == {}
        await one.mute("audio")
        tracks = one.track_ids()
        gone, clean = LinkConfig(loss=1.0), LinkConfig()
        rig.proxy.configure(up=gone, down=gone)
        await eventually(lambda: one.lost == {"publish": "ice_lost"} and two.lost == {"subscribe": "ice_lost"})
        assert one.stats().connections_lost >= 1
        assert two.stats().connections_lost >= 1
        before = _frames(two)
        rig.proxy.configure(up=clean, down=clean)
        await eventually(lambda: one.lost == two.lost == {}, timeout_s=60.0)
        await eventually(lambda: _frames(two) > before + 20)
        # They are the tracks from before, and what was muted still is.
        assert one.track_ids() == tracks
        muted = {track.kind: track.muted for other in two.participants.values() for track in other.tracks}
        assert muted == {"audio": True, "video": False}


# Forty tracks take two seconds of an idle processor, and a busy machine gives a tenth of one or less: what does not come within
# four minutes does not come.
@pytest.mark.timeout(300)
async def test_five_robots_receive_everybody_else(rig: Rig, eventually: Eventually) -> None:
    media = GeneratedMedia(width=160, height=90, fps=10, loop_s=2)
    async with AsyncExitStack() as stack:
        entering = (rig.robot(f"Robot {number}", publish=media, connect_timeout_s=200.0) for number in range(5))
        robots = [await stack.enter_async_context(robot) for robot in entering]

        def everybody_flows() -> bool:
            return all(len([track for track in robot.stats().received if track.frames >= 10]) == 8 for robot in robots)

        await eventually(everybody_flows, timeout_s=240.0, what="every robot receives the sound and the picture of the four others")


async def test_bad_urls_and_absent_servers_are_named() -> None:
    with pytest.raises(ClosedError, match="ws://"):
        Robot("ftp://127.0.0.1/ws", room="room", name="Lost")
    with pytest.raises(RequestError) as caught:
        async with Robot("ws://127.0.0.1:9/ws", room="room", name="Lost"):
            pass
    assert caught.value.code == "unreachable"


async def test_nothing_is_left_open(library: LoopLibrary, eventually: Eventually) -> None:
    def sockets() -> int:
        gc.collect()
        folder = "/proc/self/fd"
        links = []
        for number in os.listdir(folder):
            try:
                links.append(os.readlink(f"{folder}/{number}"))
            except OSError:
                continue
        return sum(link.startswith("socket:") for link in links)

    before = sockets()
    async with serving(library) as rig:
        for _ in range(3):
            async with rig.robot("Amira", publish=_MEDIA), rig.robot("Yusuf", publish=_MEDIA) as two:
                await eventually(lambda two=two: _frames(two) >= 3)
    await eventually(lambda: sockets() <= before)
