"""`SfuCallMedia` as signaling sees it: rooms that open and close, errors that name what is wrong, nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from salam import ClosedError, ConflictError, NotFoundError, ProtocolError
from salam_server.call_media import SfuCallMedia
from sfu import Worker
from signaling.media import CallMedia, MediaQuality, OfferedTrack, SubscriptionOffer

OFFER = (Path(__file__).parent / "data" / "chromium_publish_offer.sdp").read_text()
Eventually = Callable[..., Awaitable[Any]]
TRACKS = (OfferedTrack("0", "audio", "microphone"), OfferedTrack("1", "video", "camera"))


class Listener:
    def __init__(self) -> None:
        self.offers: list[SubscriptionOffer] = []

    def on_subscription_offer(self, participant_id: str, offer: SubscriptionOffer) -> None:
        self.offers.append(offer)

    def on_layer_changed(self, participant_id: str, track_id: str, rid: str) -> None:
        raise AssertionError("no media flows here")

    def on_speakers(self, levels: list[tuple[str, int]]) -> None:
        raise AssertionError("nobody speaks here")

    def on_quality(self, reports: list[MediaQuality]) -> None:
        raise AssertionError("nothing is measured here")

    def on_connection_lost(self, participant_id: str, connection: str) -> None:
        raise AssertionError("nothing was connected")


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker(port=0)
    await worker.start()
    yield worker
    await worker.close()


@pytest.fixture
async def media(worker: Worker) -> AsyncIterator[SfuCallMedia]:
    media = SfuCallMedia(worker)
    yield media
    await media.close()
    await media.close()
    assert worker.stats().transports == worker.stats().routers == 0


async def test_it_is_what_signaling_asks_for(media: SfuCallMedia) -> None:
    contract: CallMedia = media
    await contract.open_room("room", Listener())
    await contract.close_room("room")
    await contract.close_room("room")
    await contract.open_room("room", Listener())


async def test_two_rooms_do_not_hear_each_other(media: SfuCallMedia, worker: Worker, eventually: Eventually) -> None:
    first, second = Listener(), Listener()
    await media.open_room("first", first)
    await media.open_room("second", second)
    for room in ("first", "second"):
        await media.add_participant(room, "alice")
        await media.add_participant(room, "bob")
    result = await media.publish("first", "alice", OFFER, TRACKS)
    await media.add_participant("first", "carol")
    await eventually(lambda: len(first.offers) == 2, what="both others are offered what alice publishes")
    assert second.offers == []
    assert worker.stats().routers == 2
    assert f" {worker.port} typ host" in result.sdp
    await media.close_room("first")
    assert worker.stats().transports == 0


async def test_what_does_not_exist(media: SfuCallMedia) -> None:
    with pytest.raises(NotFoundError):
        await media.add_participant("nowhere", "alice")
    with pytest.raises(NotFoundError):
        await media.publish("nowhere", "alice", OFFER, TRACKS)
    await media.remove_participant("nowhere", "alice")
    await media.open_room("room", Listener())
    with pytest.raises(ConflictError):
        await media.open_room("room", Listener())
    with pytest.raises(NotFoundError):
        await media.restart_subscription("room", "alice")
    with pytest.raises(NotFoundError):
        await media.subscription_answer("room", "alice", 1, "v=0")
    with pytest.raises(NotFoundError):
        await media.set_muted("room", "track", muted=True)
    await media.add_participant("room", "alice")
    with pytest.raises(ProtocolError):
        await media.publish("room", "alice", "hello", TRACKS)
    await media.remove_participant("room", "alice")


async def test_closing_is_final(media: SfuCallMedia, worker: Worker) -> None:
    await media.open_room("room", Listener())
    await media.close()
    with pytest.raises(ClosedError):
        await media.open_room("other", Listener())
    assert worker.stats().routers == 0
