"""The whole control side without sockets: peers that speak ICE and DTLS, routers that close, time that is simulated."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salam import ClosedError, ConflictError
from sfu import (
    AcceptedTrack,
    Consumer,
    DtlsIdentity,
    DtlsRole,
    Engine,
    ProducerSpec,
    Router,
    RouterListener,
    Transport,
    TransportState,
)
from sfu.dtls import DtlsAssociation, DtlsState
from sfu.paths import NetworkPath
from sfu.plane import PurePlane
from sfu.plane.interface import Codec, ExtensionIds
from sfu.sdp import MediaSection
from turn_client import Attribute, MessageClass, Method, build_message, parse_message

SERVER = DtlsIdentity.generate(1_700_000_000.0)
VP8 = Codec(96, "VP8", 90_000, 97)
OPUS = Codec(111, "opus", 48_000)
EXTENSIONS = ExtensionIds(mid=4, rid=10, repaired_rid=11, transport_cc=3)
VIDEO_SPEC = ProducerSpec("1", "video", VP8, EXTENSIONS, active=True, rids=("q", "h", "f"))
AUDIO_SPEC = ProducerSpec("0", "audio", OPUS, EXTENSIONS, active=True)


def accepted(track_id: str, mid: str, ssrc: int) -> AcceptedTrack:
    return AcceptedTrack(track_id, mid, {"VP8": VP8, "opus": OPUS}, ExtensionIds(mid=1, transport_cc=3), ssrc, ssrc + 1, "cname")


class Listener(RouterListener):
    def __init__(self) -> None:
        self.states: list[TransportState] = []

    def on_transport_state(self, transport: Transport, state: TransportState) -> None:
        self.states.append(state)


class World:
    """An engine, its peers, and the time they share."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.drops: list[str] = []
        self.wakes = 0
        self.plane = PurePlane(ntp_offset_s=0.0)
        self.engine = Engine(
            plane=self.plane,
            identity=SERVER,
            rng=random.Random(3),
            monotonic=lambda: self.now,
            wake=self._wake,
            count_drop=lambda reason, _: self.drops.append(reason),
        )
        self.peers: dict[NetworkPath, Peer] = {}

    def _wake(self) -> None:
        self.wakes += 1

    def router(self) -> tuple[Router, Listener]:
        router = self.engine.create_router("room")
        listener = Listener()
        router.listener = listener
        return router, listener

    def settle(self) -> None:
        """Move datagrams until nobody has anything to say."""
        for _ in range(50):
            moved = False
            for data, path in self.engine.take_datagrams(self.now):
                moved = True
                if path in self.peers:
                    self.peers[path].receive(data)
            for path, peer in self.peers.items():
                for data in peer.take():
                    moved = True
                    self.engine.receive(data, path, self.now)
            if not moved:
                return
        pytest.fail("it never settles")

    def advance(self, seconds: float, *, checks: bool = False) -> None:
        """Let time pass, with every deadline met; ``checks`` makes all peers check every second."""
        end = self.now + seconds
        next_check = self.now + 1.0
        while True:
            self.engine.watch_deadlines()
            deadline = min(self.engine.next_deadline(), next_check if checks else end)
            if deadline >= end:
                break
            self.now = max(self.now, deadline)
            if checks and self.now >= next_check:
                next_check += 1.0
                for peer in self.peers.values():
                    peer.check()
            self.engine.handle_timer(self.now)
            self.settle()
        self.now = end
        self.engine.handle_timer(self.now)
        self.settle()


class Peer:
    """A browser as far as ICE and DTLS go."""

    def __init__(self, world: World, transport: Transport, port: int, identity: DtlsIdentity | None = None) -> None:
        self.world = world
        self.path: NetworkPath = ("192.0.2.1", port)
        self.identity = DtlsIdentity.generate(1_700_000_000.0) if identity is None else identity
        self.dtls = DtlsAssociation(self.identity)
        self.ufrag = f"peer{port}"
        self.local = transport.local("passive")
        self.outbox: list[bytes] = []
        self.answers = 0
        world.peers[self.path] = self

    def describe(self) -> MediaSection:
        return MediaSection(
            "audio", 9, "UDP/TLS/RTP/SAVPF", (), ice_ufrag=self.ufrag, fingerprints=[self.identity.fingerprint], setup="active"
        )

    def check(self) -> None:
        username = f"{self.local.ufrag}:{self.ufrag}".encode()
        self.outbox.append(
            build_message(
                Method.BINDING,
                MessageClass.REQUEST,
                b"transaction!",
                [(Attribute.USERNAME, username), (Attribute.USE_CANDIDATE, b"")],
                integrity_key=self.local.password.encode(),
                fingerprint=True,
            )
        )

    def connect(self) -> None:
        self.check()
        self.dtls.start(DtlsRole.CLIENT, [self.local.fingerprint], self.world.now)
        self.world.settle()

    def receive(self, data: bytes) -> None:
        if data[0] < 4:
            assert parse_message(data).check_integrity(self.local.password.encode())
            self.answers += 1
        elif 20 <= data[0] < 64:
            self.dtls.receive(data, self.world.now)

    def take(self) -> list[bytes]:
        taken, self.outbox = self.outbox + self.dtls.take_datagrams(), []
        return taken


def connected(world: World, router: Router, port: int = 5000) -> tuple[Transport, Peer]:
    transport = router.create_transport()
    peer = Peer(world, transport, port)
    transport.set_remote(peer.describe(), DtlsRole.SERVER)
    peer.connect()
    assert transport.stats().state is TransportState.CONNECTED
    return transport, peer


def test_a_peer_connects() -> None:
    world = World()
    router, listener = world.router()
    transport, peer = connected(world, router)
    assert peer.dtls.state is DtlsState.CONNECTED
    assert peer.answers == 1
    assert listener.states == [TransportState.CONNECTING, TransportState.CONNECTED]
    assert transport.stats().tcp is False
    assert world.drops == []


def test_a_peer_that_begins_before_its_description_is_known() -> None:
    world = World()
    router, _ = world.router()
    transport = router.create_transport()
    peer = Peer(world, transport, 5000)
    peer.connect()
    assert transport.stats().state is TransportState.CONNECTING
    transport.set_remote(peer.describe(), DtlsRole.SERVER)
    world.settle()
    assert transport.stats().state is TransportState.CONNECTED


def test_silence_is_noticed_and_a_check_heals_it() -> None:
    world = World()
    router, listener = world.router()
    transport, peer = connected(world, router)
    world.advance(60.0, checks=True)
    assert transport.stats().state is TransportState.CONNECTED
    world.advance(10.0)
    assert transport.stats().state is TransportState.DISCONNECTED
    peer.check()
    world.settle()
    assert transport.stats().state is TransportState.CONNECTED
    world.advance(31.0)
    assert transport.stats().state is TransportState.FAILED
    assert listener.states[-2:] == [TransportState.DISCONNECTED, TransportState.FAILED]
    assert not world.engine.knows_path(peer.path)


def test_ice_restart_to_another_address() -> None:
    world = World()
    router, _ = world.router()
    transport, peer = connected(world, router)
    transport.restart_ice()
    other = Peer(world, transport, 6000, peer.identity)
    other.dtls = peer.dtls
    transport.set_remote(other.describe(), DtlsRole.SERVER)
    peer.check()
    world.settle()
    assert peer.answers == 2
    other.check()
    world.settle()
    assert other.answers == 1
    peer.check()
    world.settle()
    assert peer.answers == 2
    assert world.drops == ["stun_unknown_ufrag"]
    assert transport.stats().state is TransportState.CONNECTED


def test_another_certificate_begins_a_new_association() -> None:
    world = World()
    router, listener = world.router()
    transport, _ = connected(world, router)
    transport.restart_ice()
    reloaded = Peer(world, transport, 6000)
    transport.set_remote(reloaded.describe(), DtlsRole.SERVER)
    reloaded.connect()
    assert reloaded.dtls.state is DtlsState.CONNECTED
    assert transport.stats().state is TransportState.CONNECTED
    assert listener.states.count(TransportState.CONNECTED) == 2


def test_a_forged_address_does_not_cut_off_its_owner() -> None:
    world = World()
    router, _ = world.router()
    _, victim = connected(world, router, 5000)
    attacker, forger = connected(world, router, 6000)
    forger.check()
    for datagram in forger.take():
        world.engine.receive(datagram, victim.path, world.now)
    world.settle()
    assert world.drops == ["stun_path_in_use"]
    assert world.engine.knows_path(victim.path)
    before = victim.answers
    victim.check()
    world.settle()
    assert victim.answers == before + 1
    # Once its owner has been silent, the address is free for another peer connection.
    world.advance(8.0)
    late = Peer(world, attacker, 5000)
    late.ufrag = forger.ufrag
    late.check()
    world.settle()
    assert late.answers == 1


def test_goodbye_fails_the_transport() -> None:
    world = World()
    router, _ = world.router()
    transport, peer = connected(world, router)
    peer.dtls.close()
    world.settle()
    assert transport.stats().state is TransportState.FAILED


def test_after_a_goodbye_the_same_certificate_may_come_back() -> None:
    world = World()
    router, _ = world.router()
    transport, peer = connected(world, router)
    peer.dtls.close()
    world.settle()
    back = Peer(world, transport, 6000, peer.identity)
    transport.set_remote(back.describe(), DtlsRole.SERVER)
    back.connect()
    assert transport.stats().state is TransportState.CONNECTED


def test_closing_a_transport_says_goodbye() -> None:
    world = World()
    router, _ = world.router()
    transport, peer = connected(world, router)
    transport.close()
    world.settle()
    assert peer.dtls.state is DtlsState.CLOSED


def test_closing_cascades_with_its_reason_and_happens_once() -> None:
    world = World()
    router, _ = world.router()
    publisher, subscriber = router.create_transport(), router.create_transport()
    video, audio = publisher.produce(VIDEO_SPEC), publisher.produce(AUDIO_SPEC)
    consumers = [subscriber.consume(video, accepted("v", "0", 100)), subscriber.consume(audio, accepted("a", "1", 200))]
    reasons: list[str] = []
    for one in (*consumers, video, audio, publisher, subscriber, router):
        one.on_close(reasons.append)
    audio.close()
    audio.close("again")
    assert reasons == ["producer_closed", "closed"]
    router.close("worker_closed")
    router.close()
    assert sorted(reasons[2:]) == ["producer_closed", "router_closed", "router_closed", "transport_closed", "worker_closed"]
    assert [consumer.close_reason for consumer in consumers] == ["producer_closed", "producer_closed"]
    assert video.close_reason == "transport_closed"
    assert world.engine.transport_count == 0
    assert world.engine.routers == ()
    late: list[str] = []
    video.on_close(late.append)
    assert late == ["transport_closed"]
    for command in (router.create_transport, publisher.restart_ice, lambda: publisher.produce(AUDIO_SPEC), video.stats):
        with pytest.raises(ClosedError):
            command()
    with pytest.raises(ClosedError):
        consumers[0].set_target(1)


def test_consumers_end_with_their_transport_and_leave_the_producer() -> None:
    world = World()
    router, _ = world.router()
    publisher, subscriber = router.create_transport(), router.create_transport()
    video = publisher.produce(VIDEO_SPEC)
    consumer = subscriber.consume(video, accepted("v", "0", 100))
    assert [one.consumer_id for one in video.consumers] == [consumer.consumer_id]
    consumer.set_target(1)
    assert consumer.stats().target_spatial == 1
    subscriber.close()
    assert [consumer.close_reason, video.close_reason] == ["transport_closed", None]
    assert len(video.consumers) == 0


def test_a_codec_that_the_subscriber_does_not_take() -> None:
    world = World()
    router, _ = world.router()
    publisher, subscriber = router.create_transport(), router.create_transport()
    video = publisher.produce(VIDEO_SPEC)
    refused = AcceptedTrack("v", "0", {"H264": Codec(98, "H264", 90_000)}, ExtensionIds(), 1, 2, "cname")
    with pytest.raises(ConflictError):
        subscriber.consume(video, refused)
    assert video.consumers == ()
    assert subscriber.stats().consumers == 0


def test_router_names_are_unique_until_closed() -> None:
    world = World()
    router, _ = world.router()
    with pytest.raises(ConflictError):
        world.engine.create_router("room")
    router.close()
    assert world.engine.create_router("room") is not router


def test_strangers_are_counted_and_ignored() -> None:
    world = World()
    router, _ = world.router()
    connected(world, router)
    stranger: NetworkPath = ("203.0.113.5", 1)
    for data in (
        b"\x00\x01\x00\x00",
        build_message(1, MessageClass.REQUEST, b"transaction!"),
        b"\x16\xfe\xfd" + bytes(20),
        b"\x80" + bytes(30),
        b"\xff" * 40,
    ):
        world.engine.receive(data, stranger, world.now)
    assert world.engine.take_datagrams(world.now) == []
    assert world.drops == ["stun_malformed", "stun_unknown_ufrag", "dtls_unknown_path"]
    assert not world.engine.knows_path(stranger)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=120), max_size=20))
def test_garbage_from_an_authenticated_path_changes_nothing(datagrams: list[bytes]) -> None:
    world = World()
    router, _ = world.router()
    transport, peer = connected(world, router)
    for data in datagrams:
        world.engine.receive(data, peer.path, world.now)
    world.settle()
    assert transport.stats().state is TransportState.CONNECTED


def test_a_hundred_peers_come_and_go_without_a_trace() -> None:
    world = World()
    router, _ = world.router()
    identity = DtlsIdentity.generate(1_700_000_000.0)
    for port in range(100):
        transport = router.create_transport()
        peer = Peer(world, transport, 10_000 + port, identity)
        transport.set_remote(peer.describe(), DtlsRole.SERVER)
        peer.check()
        world.settle()
        producer = transport.produce(VIDEO_SPEC)
        consumers: list[Consumer] = [
            other.consume(producer, accepted("v", "0", 100 + port)) for other in router.transports[:3] if other is not transport
        ]
        assert all(not consumer.closed for consumer in consumers)
        if port >= 10:
            router.transports[0].close()
    assert world.engine.transport_count == 10
    router.close()
    world.settle()
    assert world.engine.transport_count == 0
    assert not any(world.engine.knows_path(path) for path in world.peers)
    assert world.engine.next_deadline() > world.now
