"""A page that reloads takes its session over and negotiates anew with the whole engine; nobody else sees anybody come or go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench import GeneratedMedia, Robot
from bench.media import LoopLibrary
from bench.peer import RtcPeer
from salam_server import Engine, serving
from signaling import Reconnected, SignalingClient
from signaling.messages import ParticipantJoined, ParticipantLeft, ParticipantUpdated, PublishedTrack, SubscribeOffer
from tests.support.browser import until
from tests.support.engine import dev_settings

pytestmark = pytest.mark.timeout(180)

MEDIA = GeneratedMedia(width=160, height=90, fps=5)


async def publish(client: SignalingClient) -> tuple[RtcPeer, set[str]]:
    """Publish over a new peer connection, as a page does that has just been loaded."""
    peer = RtcPeer("publish")
    offer = await peer.offer(await asyncio.to_thread(LoopLibrary().get, MEDIA))
    kinds = peer.offered_kinds()
    tracks = [PublishedTrack(mid=mid, source="camera" if kind == "video" else "microphone") for mid, kind in kinds.items()]
    answer = await client.publish_offer(offer, tracks)
    await peer.accept_answer(answer.sdp)
    await peer.connected()
    return peer, set(answer.track_ids.values())


async def next_event(events: AsyncIterator[Any], kind: type[Any]) -> Any:
    async with asyncio.timeout(60):
        async for event in events:
            if isinstance(event, kind):
                return event


async def until_hand(client: SignalingClient) -> list[type[Any]]:
    """Return the kinds of comings and goings that ``client`` was told of before somebody raised a hand."""
    told = []
    async for event in client.events():
        if isinstance(event, ParticipantJoined | ParticipantLeft):
            told.append(type(event))
        elif isinstance(event, ParticipantUpdated) and event.participant.hand_raised:
            break
    return told


async def test_a_reloaded_page_publishes_and_receives_again(tmp_path: Path) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        url = f"{site.url}/ws".replace("http", "ws")
        peers: list[RtcPeer] = []

        async def robot_receives(packets: int = 0) -> bool:
            return sum(track.packets for track in robot.stats().received) > packets

        async def received() -> bool:
            return any(track.packets for track in peers[-1].stats().received)

        async def receive(client: SignalingClient, offer: SubscribeOffer) -> None:
            peers.append(RtcPeer("subscribe"))
            await client.subscribe_answer(offer.revision, await peers[-1].answer(offer.sdp))
            await until(received, "media of the robot comes")

        async with (
            Robot(f"{site.url}/ws", room="lobby", name="Robot", publish=MEDIA) as robot,
            SignalingClient.connect(url) as witness,
            SignalingClient.connect(url, jitter=lambda: 0.05) as page,
        ):
            try:
                await witness.join("lobby", "Witness")
                events = page.events()
                before = await page.join("lobby", "Page")
                peers.append((await publish(page))[0])
                await until(robot_receives, "media of the page comes")
                await receive(page, await next_event(events, SubscribeOffer))

                # The page is gone, with everything that it had.
                page.lose_connection()
                for peer in peers:
                    await peer.close()
                assert (await next_event(events, Reconnected)).resumed
                after = await page.join("lobby", "Page")
                assert after.participant_id == before.participant_id
                peer, track_ids = await publish(page)
                peers.append(peer)
                packets = sum(track.packets for track in robot.stats().received)
                await until(lambda: robot_receives(packets + 50), "media of the reloaded page comes")
                await page.restart_ice()
                await receive(page, await next_event(events, SubscribeOffer))
                tracks = {track.track_id for track in robot.participants[after.participant_id].tracks}
                assert tracks == track_ids
                await page.raise_hand()
                async with asyncio.timeout(60):
                    came_and_went = await until_hand(witness)
                assert came_and_went == [ParticipantJoined]
            finally:
                for peer in peers:
                    await peer.close()
