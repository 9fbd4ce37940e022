"""A call room without sockets: publishing, subscribing, layers, and what bad input leaves behind (nothing)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from salam import ConflictError, LimitError, NotFoundError, RequestError
from salam_server.call_room import CallRoom
from sfu import DtlsIdentity, Engine, SdpError, TransportState, parse_description
from sfu.plane import PurePlane
from sfu.plane.interface import AudioSummary, LayerSummary, ReceiverSummary
from signaling.media import MediaQuality, MediaTrack, OfferedTrack, PublishResult, SubscriptionOffer

OFFER = (Path(__file__).parent / "data" / "chromium_publish_offer.sdp").read_text().replace("\n", "\r\n")
IDENTITY = DtlsIdentity.generate(1_700_000_000.0)
HASH = ":".join(["CD"] * 32)
TRACKS = (OfferedTrack("0", "audio", "microphone"), OfferedTrack("1", "video", "camera"))


class World:
    """One room over one engine, with a listener that notes everything."""

    def __init__(self) -> None:
        self.now = 500.0
        self.engine = Engine(plane=PurePlane(ntp_offset_s=0.0), identity=IDENTITY, rng=random.Random(5), monotonic=lambda: self.now)
        self.router = self.engine.create_router("room")
        self.waiting: list[Callable[[], None]] = []
        self.offers: dict[str, list[SubscriptionOffer]] = {}
        self.layers: list[tuple[str, str, str]] = []
        self.speakers: list[list[tuple[str, int]]] = []
        self.quality: list[MediaQuality] = []
        self.lost: list[tuple[str, str]] = []
        self.room = CallRoom("room", self.router, self, monotonic=lambda: self.now, rng=random.Random(6), soon=self.waiting.append)

    def on_subscription_offer(self, participant_id: str, offer: SubscriptionOffer) -> None:
        self.offers.setdefault(participant_id, []).append(offer)

    def on_layer_changed(self, participant_id: str, track_id: str, rid: str) -> None:
        self.layers.append((participant_id, track_id, rid))

    def on_speakers(self, levels: list[tuple[str, int]]) -> None:
        self.speakers.append(levels)

    def on_quality(self, reports: list[MediaQuality]) -> None:
        self.quality += reports

    def on_connection_lost(self, participant_id: str, connection: str) -> None:
        self.lost.append((participant_id, connection))

    def turn(self) -> None:
        """End the present turn of the event loop."""
        waiting, self.waiting[:] = list(self.waiting), []
        for callback in waiting:
            callback()

    def join(self, *names: str) -> None:
        for name in names:
            self.room.add_participant(name)
        self.turn()

    def publish(self, name: str, offer: str = OFFER, tracks: tuple[OfferedTrack, ...] = TRACKS) -> PublishResult:
        # Each participant's browser has its own session.
        result = self.room.publish(name, offer.replace("o=- ", f"o={name} "), tracks)
        self.turn()
        return result

    def answer(self, name: str, offer: SubscriptionOffer | None = None) -> SubscriptionOffer:
        offer = self.offers[name][-1] if offer is None else offer
        sdp = offer.sdp.replace("a=sendonly", "a=recvonly").replace("a=setup:actpass", "a=setup:active")
        sdp = re.sub(r"a=fingerprint:.*\r\n", f"a=fingerprint:sha-256 {HASH}\r\n", sdp)
        self.room.subscription_answer(name, offer.revision, sdp)
        self.turn()
        return offer

    def targets(self) -> dict[str, int | None]:
        """Target layer of every video consumer, by the publisher's mid."""
        return {
            consumer.producer.spec.mid: consumer.target
            for transport in self.router.transports
            for consumer in transport.consumers
            if consumer.producer.kind == "video"
        }

    def tick(self, seconds: int) -> None:
        for _ in range(seconds * 5):
            self.now += 0.2
            self.room.tick(self.now)
        self.turn()


def video_of(tracks: tuple[MediaTrack, ...]) -> MediaTrack:
    return next(track for track in tracks if track.kind == "video")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def pair(world: World) -> World:
    """Alice publishes, Bob receives."""
    world.join("alice", "bob")
    world.publish("alice")
    world.answer("bob")
    return world


def test_everybody_else_is_offered_what_is_published(world: World) -> None:
    world.join("alice", "bob", "carol")
    result = world.publish("alice")
    assert [(track.kind, track.source, track.mid) for track in result.tracks] == [
        ("audio", "microphone", "0"),
        ("video", "camera", "1"),
    ]
    assert video_of(result.tracks).layers == ("q", "h", "f")
    assert set(world.offers) == {"bob", "carol"}
    (offer,) = world.offers["bob"]
    assert offer.revision == 1
    assert {track.track_id for track in offer.tracks} == {track.track_id for track in result.tracks}
    assert [track.mid for track in offer.tracks] == ["0", "1"]


def test_who_comes_later_is_offered_what_is_there(world: World) -> None:
    world.join("alice")
    world.publish("alice")
    world.join("dave")
    assert len(world.offers["dave"][0].tracks) == 2


def test_changes_of_one_turn_are_one_offer(world: World) -> None:
    world.join("alice", "bob", "carol")
    world.room.publish("alice", OFFER.replace("o=- ", "o=a "), TRACKS)
    world.room.publish("carol", OFFER.replace("o=- ", "o=c "), TRACKS)
    world.turn()
    (offer,) = world.offers["bob"]
    assert len(offer.tracks) == 4


def test_one_offer_is_out_at_a_time_and_the_newest_state_follows(world: World) -> None:
    world.join("alice", "bob", "carol", "dave")
    world.publish("alice")
    world.publish("carol")
    world.publish("dave")
    assert len(world.offers["bob"]) == 1
    world.answer("bob")
    assert len(world.offers["bob"]) == 2
    assert len(world.offers["bob"][-1].tracks) == 6
    world.answer("bob", world.offers["bob"][0])
    assert len(world.offers["bob"]) == 2
    world.answer("bob")
    assert len(world.targets()) == 1
    assert sum(len(transport.consumers) for transport in world.router.transports) == 6


def test_an_offer_that_is_never_answered_does_not_block_for_ever(world: World) -> None:
    world.join("alice", "bob", "carol")
    world.publish("alice")
    world.publish("carol")
    world.tick(12)
    assert [len(offer.tracks) for offer in world.offers["bob"]] == [2, 4]


def test_the_lowest_layer_comes_until_the_client_says_more(pair: World) -> None:
    track = video_of(pair.room.tracks)
    assert pair.targets() == {"1": 0}
    pair.room.set_layer("bob", track.track_id, height=360, rid="")
    assert pair.targets() == {"1": 1}
    pair.room.set_layer("bob", track.track_id, height=0, rid="f")
    assert pair.targets() == {"1": 2}
    pair.room.set_layer("bob", track.track_id, height=0, rid="")
    assert pair.targets() == {"1": None}
    with pytest.raises(RequestError, match="q, h, f"):
        pair.room.set_layer("bob", track.track_id, height=0, rid="x")
    with pytest.raises(NotFoundError):
        pair.room.set_layer("bob", "nothing", height=0, rid="")


def test_a_wish_before_the_answer_counts(world: World) -> None:
    world.join("alice", "bob")
    track = video_of(world.publish("alice").tracks)
    world.room.set_layer("bob", track.track_id, height=720, rid="")
    world.answer("bob")
    assert world.targets() == {"1": 2}


def test_a_stalled_layer_is_replaced_until_it_is_back(pair: World) -> None:
    track = video_of(pair.room.tracks)
    pair.room.set_layer("bob", track.track_id, height=720, rid="")
    (producer,) = [one for transport in pair.router.transports for one in transport.producers if one.kind == "video"]
    for spatial in range(3):
        pair.room.on_layer_summary(producer, LayerSummary(producer.producer_id, spatial, True, 100_000, 20.0, 0.0, 0.0))
    pair.room.on_layer_summary(producer, LayerSummary(producer.producer_id, 2, False, 0, 0.0, 0.0, 0.0))
    assert pair.targets() == {"1": 1}
    pair.room.on_layer_summary(producer, LayerSummary(producer.producer_id, 2, True, 900_000, 20.0, 0.0, 0.0))
    assert pair.targets() == {"1": 1}
    pair.tick(4)
    assert pair.targets() == {"1": 2}


def test_downlink_loss_lowers_layers_and_shows_in_the_quality(pair: World) -> None:
    track = video_of(pair.room.tracks)
    pair.room.set_layer("bob", track.track_id, height=720, rid="")
    consumers = [consumer for transport in pair.router.transports for consumer in transport.consumers]
    for _ in range(4):
        for consumer in consumers:
            consumer.loss_fraction = 0.3
            pair.room.on_receiver_summary(consumer, ReceiverSummary(consumer.consumer_id, 0.3, 0.0, 0.05))
        pair.tick(1)
    assert pair.targets() == {"1": 1}
    assert (pair.quality[-1].participant_id, pair.quality[-1].score, pair.quality[-1].reason) == ("bob", 1, "downlink_loss")
    assert pair.quality[-1].loss_percent > 12
    assert pair.quality[-1].rtt_ms == pytest.approx(50)


def test_speakers_are_reported_by_participant(pair: World) -> None:
    (producer,) = [one for transport in pair.router.transports for one in transport.producers if one.kind == "audio"]
    for _ in range(10):
        pair.room.on_audio_summary(producer, AudioSummary(producer.producer_id, -20, 5, 5))
        pair.tick(1)
        pair.now -= 0.9
    assert [[key for key, _ in levels] for levels in pair.speakers] == [["alice"]]
    producer.set_paused(paused=True)
    pair.room.on_audio_summary(producer, AudioSummary(producer.producer_id, -20, 5, 5))
    pair.tick(3)
    assert pair.speakers[-1] == []


def test_muting_pauses_the_producer(world: World) -> None:
    world.join("alice")
    tracks = (OfferedTrack("0", "audio", "microphone", muted=True), TRACKS[1])
    result = world.publish("alice", tracks=tracks)
    paused = {one.spec.mid: one.paused for transport in world.router.transports for one in transport.producers}
    assert paused == {"0": True, "1": False}
    world.room.set_muted(result.tracks[0].track_id, muted=False)
    world.room.set_muted(result.tracks[1].track_id, muted=True)
    paused = {one.spec.mid: one.paused for transport in world.router.transports for one in transport.producers}
    assert paused == {"0": False, "1": True}
    with pytest.raises(NotFoundError):
        world.room.set_muted("nothing", muted=True)


def test_the_same_offer_again_keeps_the_tracks(pair: World) -> None:
    before = pair.room.tracks
    result = pair.publish("alice", OFFER.replace(" 2 IN IP4", " 3 IN IP4"))
    assert pair.room.tracks == before == result.tracks
    assert len(pair.offers["bob"]) == 1


def test_a_line_that_stops_ends_its_track(pair: World) -> None:
    at = OFFER.index("m=video")
    result = pair.publish("alice", OFFER[:at] + OFFER[at:].replace("a=sendonly", "a=inactive"))
    assert [track.kind for track in result.tracks] == ["audio"]
    assert [track.kind for track in pair.offers["bob"][-1].tracks] == ["audio"]
    assert pair.targets() == {}


def test_ice_restart_by_the_publisher(pair: World) -> None:
    first = pair.publish("alice")
    again = pair.publish("alice")
    restarted = pair.publish("alice", OFFER.replace("a=ice-ufrag:", "a=ice-ufrag:new"))
    ufrags = [parse_description(result.sdp).transport_section().ice_ufrag for result in (first, again, restarted)]
    assert ufrags[0] == ufrags[1] != ufrags[2]
    assert restarted.tracks == first.tracks


def test_ice_restart_for_the_subscriber(pair: World) -> None:
    first = pair.offers["bob"][-1]
    pair.room.restart_subscription("bob")
    pair.turn()
    second = pair.offers["bob"][-1]
    assert second.revision == first.revision + 1
    assert parse_description(first.sdp).transport_section().ice_ufrag != parse_description(second.sdp).transport_section().ice_ufrag
    assert second.tracks == first.tracks
    pair.answer("bob")
    assert pair.targets() == {"1": 0}


def test_a_reload_replaces_the_publication(pair: World) -> None:
    before = {track.track_id for track in pair.room.tracks}
    pair.publish("alice", re.sub(r"a=fingerprint:.*\r\n", f"a=fingerprint:sha-256 {HASH}\r\n", OFFER))
    after = {track.track_id for track in pair.room.tracks}
    assert len(after) == 2
    assert not before & after
    assert pair.engine.transport_count == 2
    assert {track.track_id for track in pair.offers["bob"][-1].tracks} == after


def test_a_reload_with_the_same_certificate(pair: World) -> None:
    before = {track.track_id for track in pair.room.tracks}
    pair.publish("alice", OFFER.replace("o=- ", "o=- 77").replace("a=ice-ufrag:", "a=ice-ufrag:new"))
    assert not before & {track.track_id for track in pair.room.tracks}


def test_a_peer_that_changes_its_session_id_each_time(pair: World) -> None:
    before = pair.room.tracks
    pair.publish("alice", OFFER.replace("o=- ", "o=- 77"))
    assert pair.room.tracks == before


DATA_ONLY = OFFER[: OFFER.index("m=audio")].replace("BUNDLE 0 1 2", "BUNDLE 2") + OFFER[OFFER.index("m=application") :]


@pytest.mark.parametrize("offer", ["", "v=0\r\n", OFFER[: OFFER.index("m=audio")], DATA_ONLY])
def test_a_bad_offer_leaves_nothing_behind(world: World, offer: str) -> None:
    world.join("alice", "bob")
    with pytest.raises(SdpError):
        world.publish("alice", offer)
    assert world.engine.transport_count == 0
    assert world.room.tracks == ()
    assert world.offers == {}


def test_a_bad_second_offer_keeps_the_first(pair: World) -> None:
    before = pair.room.tracks
    with pytest.raises(SdpError):
        pair.publish("alice", OFFER.replace("opus", "speex").replace("VP8", "VP7").replace("packetization-mode=1", "x=1"))
    assert pair.room.tracks == before
    assert pair.engine.transport_count == 2


def test_too_many_tracks(world: World) -> None:
    world.join("alice")
    section = OFFER[OFFER.index("m=video") : OFFER.index("m=application")]
    head = OFFER[: OFFER.index("m=audio")].replace("BUNDLE 0 1 2", "BUNDLE 1")
    with pytest.raises(LimitError):
        world.publish("alice", head + "".join(section.replace("a=mid:1", f"a=mid:{1 + number}") for number in range(17)))
    assert world.engine.transport_count == 0


def test_a_bad_answer_changes_nothing(world: World) -> None:
    world.join("alice", "bob")
    world.publish("alice")
    (offer,) = world.offers["bob"]
    for sdp in ("", "v=0\r\n", OFFER):
        with pytest.raises(SdpError):
            world.room.subscription_answer("bob", offer.revision, sdp)
    world.answer("bob")
    assert world.targets() == {"1": 0}


def test_who_leaves_frees_everything(pair: World) -> None:
    pair.room.remove_participant("alice")
    pair.room.remove_participant("alice")
    pair.turn()
    assert pair.engine.transport_count == 1
    assert pair.room.tracks == ()
    assert pair.offers["bob"][-1].tracks == ()
    pair.room.remove_participant("bob")
    pair.turn()
    assert pair.engine.transport_count == 0
    with pytest.raises(NotFoundError):
        pair.publish("alice")


def test_a_lost_connection_that_was_replaced_is_forgotten(pair: World) -> None:
    (transport,) = [entry for entry in pair.router.transports if entry.producers]
    pair.room.on_transport_state(transport, TransportState.FAILED)
    pair.tick(1)
    assert pair.quality[-1].score == 0
    pair.publish("alice", re.sub(r"a=fingerprint:.*\r\n", f"a=fingerprint:sha-256 {HASH}\r\n", OFFER))
    (fresh,) = [entry for entry in pair.router.transports if entry.producers]
    assert fresh is not transport
    pair.room.on_transport_state(fresh, TransportState.CONNECTED)
    pair.tick(10)
    assert pair.quality[-1].score == 3


def test_wishes_end_with_their_track(pair: World) -> None:
    # Alice may wish for her own track, which never gets an m-line of hers.
    video = video_of(pair.room.tracks)
    for name in ("alice", "bob"):
        pair.room.set_layer(name, video.track_id, height=720, rid="")
    pair.publish("alice", OFFER.replace("a=sendonly", "a=inactive"))
    assert not any(participant.wishes for participant in pair.room.participants)


def test_people_are_in_the_room_once(world: World) -> None:
    world.join("alice")
    with pytest.raises(ConflictError):
        world.join("alice")


def test_closing_the_room_closes_everything(pair: World) -> None:
    pair.room.close()
    pair.turn()
    pair.tick(2)
    assert pair.engine.transport_count == 0
    assert pair.router.closed


def test_a_lost_connection_is_reported_with_its_name(pair: World) -> None:
    publisher, subscriber = pair.router.transports
    pair.room.on_transport_state(publisher, TransportState.DISCONNECTED)
    pair.tick(2)
    assert pair.lost == []
    assert [(report.participant_id, report.score, report.reason) for report in pair.quality] == [("alice", 0, "lost")]
    pair.room.on_transport_state(publisher, TransportState.FAILED)
    pair.room.on_transport_state(subscriber, TransportState.FAILED)
    assert pair.lost == [("alice", "publish"), ("bob", "subscribe")]
    pair.room.on_transport_state(publisher, TransportState.CONNECTED)
    pair.tick(2)
    assert [(report.participant_id, report.score) for report in pair.quality[1:]] == [("alice", 3), ("bob", 0)]
