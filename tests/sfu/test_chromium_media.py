"""Headless Chromium publishes and receives through the worker: simulcast, layer switches, TCP, renegotiation, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from salam_server.call_media import SfuCallMedia
from sfu import TransportState, Worker
from signaling.media import MediaQuality, MediaTrack, OfferedTrack, PublishResult, SubscriptionOffer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

DATA = Path(__file__).parent / "data"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
]
ROOM = "room"
CAMERA_AND_MICROPHONE = (OfferedTrack("0", "audio", "microphone"), OfferedTrack("1", "video", "camera"))

Eventually = Callable[..., Awaitable[Any]]


class Listener:
    """Collects what the media server reports."""

    def __init__(self) -> None:
        self.offers: asyncio.Queue[SubscriptionOffer] = asyncio.Queue()
        self.layers: list[tuple[str, str]] = []
        self.speakers: list[list[tuple[str, int]]] = []
        self.lost: list[tuple[str, str]] = []

    def on_subscription_offer(self, participant_id: str, offer: SubscriptionOffer) -> None:
        assert participant_id == "bob"
        self.offers.put_nowait(offer)

    def on_layer_changed(self, participant_id: str, track_id: str, rid: str) -> None:
        self.layers.append((track_id, rid))

    def on_speakers(self, levels: list[tuple[str, int]]) -> None:
        self.speakers.append(levels)

    def on_quality(self, reports: list[MediaQuality]) -> None:
        assert all(0 <= report.score <= 3 for report in reports)

    def on_connection_lost(self, participant_id: str, connection: str) -> None:
        self.lost.append((participant_id, connection))


class Call:
    """Alice publishes from one tab, Bob receives in another; signaling is a few function calls."""

    def __init__(self, worker: Worker, media: SfuCallMedia, alice: Page, bob: Page, eventually: Eventually) -> None:
        self.worker = worker
        self.media = media
        self.alice = alice
        self.bob = bob
        self.eventually = eventually
        self.listener = Listener()

    async def open(self) -> None:
        await self.media.open_room(ROOM, self.listener)
        await self.media.add_participant(ROOM, "alice")
        await self.media.add_participant(ROOM, "bob")

    async def publish(
        self, script: str, *arguments: str, tracks: tuple[OfferedTrack, ...] = CAMERA_AND_MICROPHONE, protocol: str = ""
    ) -> PublishResult:
        offer = await self.alice.evaluate(f"(a) => {script}(...a)", list(arguments))
        result = await self.media.publish(ROOM, "alice", offer, tracks)
        await self.alice.evaluate("([sdp, protocol]) => publishAnswer(sdp, protocol)", [result.sdp, protocol])
        return result

    async def take_offer(self, *, protocol: str = "") -> SubscriptionOffer:
        offer = await asyncio.wait_for(self.listener.offers.get(), 30)
        answer = await self.bob.evaluate("([sdp, protocol]) => subscribe(sdp, protocol)", [offer.sdp, protocol])
        await self.media.subscription_answer(ROOM, "bob", offer.revision, answer)
        return offer

    async def inbound(self) -> dict[str, dict[str, Any]]:
        streams: dict[str, dict[str, Any]] = await self.bob.evaluate("() => inbound()")
        return streams

    async def video_plays(self, mid: str, *, height: int = 0) -> None:
        """Wait until the video on ``mid`` gets new frames, of ``height`` lines where given."""
        before = (await self.inbound()).get(mid, {}).get("frames", 0)

        async def plays() -> bool:
            stream = (await self.inbound()).get(mid)
            return stream is not None and stream["frames"] > before + 5 and (not height or stream["height"] == height)

        await self.eventually(plays, what=f"video {mid} plays with {height or 'any'} lines")

    async def audio_plays(self, mid: str) -> None:
        before = (await self.inbound()).get(mid, {}).get("packets", 0)

        async def plays() -> bool:
            return bool((await self.inbound()).get(mid, {}).get("packets", 0) > before + 20)

        await self.eventually(plays, what="audio arrives")

    async def connected(self) -> None:
        def all_connected() -> bool:
            (router,) = self.worker.routers
            return all(entry.state is TransportState.CONNECTED for entry in router.stats())

        await self.eventually(all_connected, what="all transports are connected")


def camera(tracks: tuple[MediaTrack, ...]) -> MediaTrack:
    return next(track for track in tracks if track.kind == "video")


@pytest.fixture
async def call(eventually: Eventually, need_program: Callable[..., str]) -> AsyncIterator[Call]:
    chromium = need_program("chromium", "chromium-browser", "google-chrome")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=(DATA / "media_page.html").read_text(), content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    worker = Worker(port=0)
    await worker.start()
    media = SfuCallMedia(worker)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        alice, bob = await browser.new_page(), await browser.new_page()
        await alice.goto(url)
        await bob.goto(url)
        call = Call(worker, media, alice, bob, eventually)
        await call.open()
        yield call
        await browser.close()
    await media.close()
    assert worker.stats().transports == 0
    await worker.close()
    await runner.cleanup()


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_simulcast_is_published_and_its_layers_are_switched(call: Call, codec: str) -> None:
    result = await call.publish("startPublishing", codec)
    assert camera(result.tracks).layers == ("q", "h", "f")
    offer = await call.take_offer()
    mids = {track.kind: track.mid for track in offer.tracks}
    track_id = camera(result.tracks).track_id
    await call.audio_plays(mids["audio"])
    # The lowest layer comes until the client says what it wants.
    await call.video_plays(mids["video"], height=180)

    async def all_layers_flow() -> bool:
        layers = await call.alice.evaluate("() => outbound()")
        return all(layers.get(f"1/{rid}", 0) > 20 for rid in "qhf")

    await call.eventually(all_layers_flow, what="the browser sends all three layers")
    await call.media.set_layer(ROOM, "bob", track_id, height=0, rid="h")
    await call.video_plays(mids["video"], height=360)
    await call.media.set_layer(ROOM, "bob", track_id, height=1080, rid="")
    await call.video_plays(mids["video"], height=720)
    await call.media.set_layer(ROOM, "bob", track_id, height=100, rid="")
    await call.video_plays(mids["video"], height=180)
    assert [rid for _, rid in call.listener.layers if rid][:4] == ["q", "h", "f", "q"]
    assert (await call.inbound())[mids["video"]]["lost"] == 0

    await call.media.set_layer(ROOM, "bob", track_id, height=0, rid="")
    await call.eventually(lambda: call.listener.layers[-1] == (track_id, ""), what="the video stops")
    await call.eventually(lambda: any(call.listener.speakers), what="the fake device's beeps count as speech")


async def test_everything_runs_over_tcp(call: Call) -> None:
    await call.publish("startPublishing", "vp8", protocol="tcp")
    offer = await call.take_offer(protocol="tcp")
    mids = {track.kind: track.mid for track in offer.tracks}
    await call.video_plays(mids["video"])
    await call.audio_plays(mids["audio"])
    await call.connected()
    (router,) = call.worker.routers
    assert all(entry.tcp for entry in router.stats())
    assert call.worker.stats().tcp_connections >= 2


async def test_tracks_come_and_go(call: Call) -> None:
    first = await call.publish("startPublishing", "vp8")
    offer = await call.take_offer()
    await call.video_plays(camera(offer.tracks).mid)

    with_screen = (*CAMERA_AND_MICROPHONE, OfferedTrack("2", "video", "screen"))
    both = await call.publish("addSecondCamera", "vp8", tracks=with_screen)
    assert {track.track_id for track in first.tracks} < {track.track_id for track in both.tracks}
    offer = await call.take_offer()
    screen = next(track for track in offer.tracks if track.source == "screen")
    await call.video_plays(screen.mid)

    await call.publish("stopSecondCamera")
    offer = await call.take_offer()
    assert screen.track_id not in {track.track_id for track in offer.tracks}
    await call.video_plays(camera(offer.tracks).mid)

    again = await call.publish("resumeSecondCamera", tracks=with_screen)
    offer = await call.take_offer()
    back = next(track for track in offer.tracks if track.source == "screen")
    assert back.track_id != screen.track_id
    assert back.mid == screen.mid
    assert len(again.tracks) == 3
    await call.video_plays(back.mid)
    await call.video_plays(camera(offer.tracks).mid)


async def test_ice_restarts_on_both_connections(call: Call) -> None:
    await call.publish("startPublishing", "vp8")
    offer = await call.take_offer()
    mid = camera(offer.tracks).mid
    await call.video_plays(mid)
    result = await call.publish("restartPublishing")
    await call.video_plays(mid)
    await call.media.restart_subscription(ROOM, "bob")
    restarted = await call.take_offer()
    assert restarted.revision > offer.revision
    await call.video_plays(mid)
    await call.connected()
    assert call.listener.lost == []
    assert len(result.tracks) == 2


async def test_a_reloaded_publisher_and_a_reloaded_subscriber_come_back(call: Call) -> None:
    first = await call.publish("startPublishing", "vp8")
    offer = await call.take_offer()
    await call.video_plays(camera(offer.tracks).mid)

    await call.alice.evaluate("() => closeAll()")
    second = await call.publish("startPublishing", "vp8")
    assert not {track.track_id for track in first.tracks} & {track.track_id for track in second.tracks}
    wanted = {track.track_id for track in second.tracks}
    offer = await call.take_offer()
    while {track.track_id for track in offer.tracks} != wanted:
        offer = await call.take_offer()
    await call.video_plays(camera(offer.tracks).mid)

    await call.bob.evaluate("() => closeAll()")
    await call.media.restart_subscription(ROOM, "bob")
    offer = await call.take_offer()
    await call.video_plays(camera(offer.tracks).mid)

    assert call.worker.stats().transports == 2
    await call.media.remove_participant(ROOM, "alice")
    offer = await call.take_offer()
    assert offer.tracks == ()
    assert call.worker.stats().transports == 1
