"""An allocation against a strict server: credentials, integrity, mobility, reservations, closing, and misuse."""

from dataclasses import replace

import pytest

from salam import ConfigError
from tests.support.turn_world import CLIENT, CREDENTIALS, PEER, TurnWorld, Weather
from turn_client.config import AllocationConfig
from turn_client.credentials import LongTermCredentials
from turn_client.errors import (
    BadCredentials,
    BadPeer,
    InsufficientCapacity,
    IntegrityViolated,
    NotAllocated,
    TurnError,
    is_hard_network_error,
)
from turn_client.events import Allocated, AllocationState, Closed, CredentialsRejected, Failed, Lost, PeerFailed
from turn_client.stun import Attribute, MessageClass, Method, build_message, encode_error_code, encode_xor_address, parse_message

CONFIG = AllocationConfig(CREDENTIALS)
State = AllocationState


def error_of(world: TurnWorld) -> TurnError:
    [event] = world.of(Failed)
    assert isinstance(event, Failed)
    assert world.allocation.state is State.FAILED
    return event.error


class TestCredentials:
    def test_renewed_for_the_same_user(self) -> None:
        world = TurnWorld().start()
        world.server.users["alice"] = "new"
        world.allocation.renew_credentials(LongTermCredentials("alice", "new"), world.now)
        world.run(600)
        assert world.allocation.state is State.ALLOCATED
        assert world.of(CredentialsRejected) == []

    def test_rejected_then_renewed_in_time(self) -> None:
        world = TurnWorld().start()
        world.server.users["alice"] = "new"
        world.run(545)
        [rejected] = world.of(CredentialsRejected)
        assert isinstance(rejected, CredentialsRejected)
        assert 50 < rejected.expires_in_s <= 60
        assert world.allocation.state is State.ALLOCATED
        world.allocation.renew_credentials(LongTermCredentials("alice", "new"), world.now)
        world.run(600)
        assert world.allocation.state is State.ALLOCATED
        assert world.of(Lost) == []

    def test_rejected_and_never_renewed(self) -> None:
        world = TurnWorld().start()
        world.server.users["alice"] = "new"
        world.run(700)
        assert isinstance(error_of(world), BadCredentials)
        assert len(world.of(Lost)) == 1

    def test_another_user_serves_the_next_allocation(self) -> None:
        """A username with its expiry in it: the allocation stays with its own user for as long as that works."""
        world = TurnWorld(setup=lambda server: server.users.update({"later:alice": "next"})).start()
        world.allocation.renew_credentials(LongTermCredentials("later:alice", "next"), world.now)
        world.run(1200)
        assert world.server.errors[441] == 0
        assert world.allocation.state is State.ALLOCATED
        del world.server.users["alice"]
        world.run(1200)
        # The first user expired; the server refuses the second one for this allocation, and a new one is made.
        assert world.server.errors[441] == 1
        assert [type(event) for event in world.events] == [Allocated, CredentialsRejected, Lost, Allocated]

    def test_another_user_before_the_allocation(self) -> None:
        world = TurnWorld(setup=lambda server: server.users.update({"bob": "b"}))
        world.allocation.renew_credentials(LongTermCredentials("bob", "b"), world.now)
        world.start()
        assert world.server.relays[CLIENT].username == "bob"

    def test_rejected_by_a_request_for_a_peer(self) -> None:
        """Every request that follows is refused alike: it is said once, and the peers are asked for again in time."""
        world = TurnWorld().start()
        world.server.users["alice"] = "new"
        for port in range(1, 5):
            world.send(b"x", (f"198.51.100.{port}", port))
        world.run(1)
        assert len(world.of(CredentialsRejected)) == 1
        assert len(world.of(PeerFailed)) == 4
        world.allocation.renew_credentials(LongTermCredentials("alice", "new"), world.now)
        world.run(31)
        world.send(b"y")
        world.run(1)
        assert [data for _, _, data in world.at_peer] == [b"y"]

    def test_the_next_user_takes_over_in_the_middle_of_it(self) -> None:
        """A server that lets an allocation go over to another user."""
        world = TurnWorld(setup=lambda server: server.users.update({"later:alice": "next"})).start()
        world.allocation.renew_credentials(LongTermCredentials("later:alice", "next"), world.now)
        del world.server.users["alice"]
        world.server.relays[CLIENT].username = "later:alice"
        world.send(b"x")
        world.run(1)
        assert [data for _, _, data in world.at_peer] == [b"x"]
        assert world.of(CredentialsRejected) == []


class TestIntegrity:
    def answer(self, world: TurnWorld, key: bytes | None) -> bytes:
        request = parse_message(world.sent[-1])
        attributes = [
            (Attribute.XOR_RELAYED_ADDRESS, encode_xor_address("192.0.2.200", 1, request.transaction_id)),
            (Attribute.XOR_MAPPED_ADDRESS, encode_xor_address("192.0.2.200", 1, request.transaction_id)),
        ]
        return build_message(Method.ALLOCATE, MessageClass.SUCCESS, request.transaction_id, attributes, integrity_key=key)

    def signed_request(self, config: AllocationConfig = CONFIG) -> TurnWorld:
        world = TurnWorld(config)
        world.allocation.start(world.now)
        world.run(1, until=lambda: len(world.sent) == 2)
        world.server.silent = True
        return world

    @pytest.mark.parametrize("key", [None, b"wrong"])
    def test_a_forged_answer_is_not_believed(self, key: bytes | None) -> None:
        world = self.signed_request()
        world.allocation.receive(self.answer(world, key), world.now)
        assert world.allocation.state is State.ALLOCATING
        assert world.allocation.stats(world.now).dropped == {"bad_integrity": 1}
        world.server.silent = False
        world.run(2)
        assert world.allocation.relayed_addresses == (("198.51.100.1", 50_002),)

    def test_nothing_but_forged_answers(self) -> None:
        world = self.signed_request()
        world.allocation.receive(self.answer(world, b"wrong"), world.now)
        world.run(60)
        assert isinstance(error_of(world), IntegrityViolated)

    def test_a_forged_answer_over_a_stream_ends_it(self) -> None:
        world = self.signed_request(replace(CONFIG, reliable=True))
        world.allocation.receive(self.answer(world, b"wrong"), world.now)
        world.run(0)
        assert isinstance(error_of(world), IntegrityViolated)

    def test_an_unsigned_redirect_of_a_signed_request(self) -> None:
        world = self.signed_request()
        request = parse_message(world.sent[-1])
        redirect = [(Attribute.ERROR_CODE, encode_error_code(300, "over there"))]
        world.allocation.receive(build_message(Method.ALLOCATE, MessageClass.ERROR, request.transaction_id, redirect), world.now)
        assert world.allocation.state is State.ALLOCATING

    @pytest.mark.parametrize(
        ("message_class", "attributes", "code"),
        [
            (MessageClass.SUCCESS, [], "turn_bad_answer"),
            (MessageClass.SUCCESS, [(0x7ABC, b"")], "turn_unknown_attribute"),
            (MessageClass.ERROR, [], "turn_bad_answer"),
            (MessageClass.ERROR, [(Attribute.ERROR_CODE, encode_error_code(401, ""))], "turn_bad_challenge"),
        ],
    )
    def test_answers_without_sense(self, message_class: MessageClass, attributes: list[tuple[int, bytes]], code: str) -> None:
        world = TurnWorld()
        world.allocation.start(world.now)
        world.run(0)
        request = parse_message(world.sent[-1])
        world.allocation.receive(build_message(Method.ALLOCATE, message_class, request.transaction_id, attributes), world.now)
        world.run(0)
        assert error_of(world).code == code

    def test_strangers_and_garbage_are_counted(self) -> None:
        world = TurnWorld().start()
        for data in (b"", b"\0", b"\x40\0", bytes(20), b"\x40\0\0\x09x", build_message(1, MessageClass.SUCCESS, bytes(12))):
            world.allocation.receive(data, world.now)
        world.allocation.receive(build_message(Method.ALLOCATE, MessageClass.REQUEST, bytes(12)), world.now)
        world.allocation.receive(build_message(Method.DATA, MessageClass.INDICATION, bytes(12)), world.now)
        assert world.allocation.stats(world.now).dropped == {
            "too_short": 3,
            "bad_stun": 1,
            "unknown_channel": 1,
            "unknown_transaction": 1,
            "unexpected_message": 1,
            "bad_indication": 1,
        }


class TestMobility:
    CONFIG = replace(CONFIG, mobility=True)
    ELSEWHERE = ("203.0.113.99", 55_555)

    def world(self) -> TurnWorld:
        return TurnWorld(self.CONFIG, setup=lambda server: setattr(server, "mobility", True)).start()

    def test_the_allocation_moves_with_us(self) -> None:
        world = self.world()
        for _ in range(3):
            world.send(b"before")
            world.run(1)
        relayed = world.allocation.relayed_addresses
        assert world.allocation.mobility
        for client in (self.ELSEWHERE, ("203.0.113.98", 1), CLIENT):
            world.move(client)
            world.run(1)
            world.send(b"after")
            world.run(1)
            world.from_peer(b"answer")
            world.run(1)
        assert world.allocation.relayed_addresses == relayed
        assert [data for _, _, data in world.at_peer] == [b"before"] * 3 + [b"after"] * 3
        assert len(world.received()) == 3
        assert world.of(Lost) == []
        world.run(2000)
        assert world.allocation.state is State.ALLOCATED
        assert world.server.violations == []

    def test_requests_that_were_under_way(self) -> None:
        world = self.world()
        world.allocation.bind(PEER, world.now)
        world.send(b"queued")
        world.move(self.ELSEWHERE)
        world.run(2)
        assert [data for _, _, data in world.at_peer] == [b"queued"]
        assert world.allocation.stats(world.now).channels == 1
        assert world.server.violations == []

    def test_a_peer_without_a_channel_waits_for_the_move(self) -> None:
        world = self.world()
        world.send(b"before")
        world.run(1)
        world.move(self.ELSEWHERE)
        world.send(b"during")
        world.run(2)
        assert [data for _, _, data in world.at_peer] == [b"before", b"during"]
        assert world.allocation.stats(world.now).queued_packets == 0

    def test_a_move_into_a_hole(self) -> None:
        world = self.world()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        relayed = world.allocation.relayed_addresses
        world.weather.loss = 1.0
        world.move(self.ELSEWHERE)
        world.run(60)
        world.weather.loss = 0.0
        world.run(30)
        world.send(b"after")
        world.run(1)
        assert world.at_peer[-1][2] == b"after"
        assert world.allocation.relayed_addresses == relayed
        assert world.of(Lost) == []

    def test_a_server_without_mobility(self) -> None:
        world = TurnWorld(self.CONFIG).start()
        assert world.allocation.state is State.ALLOCATED
        assert not world.allocation.mobility
        assert world.server.errors[405] == 1
        world.move(self.ELSEWHERE)
        world.run(1)
        assert [type(event) for event in world.events] == [Allocated, Lost, Allocated]
        assert world.allocation.mapped_address == self.ELSEWHERE

    def test_a_ticket_that_is_not_taken(self) -> None:
        world = self.world()
        world.server.forget_allocations()
        world.move(self.ELSEWHERE)
        world.run(1)
        assert [type(event) for event in world.events] == [Allocated, Lost, Allocated]

    def test_before_the_allocation(self) -> None:
        world = TurnWorld(weather=Weather(loss=1.0))
        world.allocation.start(world.now)
        world.run(1)
        world.weather.loss = 0.0
        world.move(self.ELSEWHERE)
        world.run(1)
        assert world.allocation.mapped_address == self.ELSEWHERE


class TestReservation:
    def test_a_lost_allocation_is_made_anew_without_the_token(self) -> None:
        token = bytes(8)
        world = TurnWorld(
            replace(CONFIG, reservation_token=token), setup=lambda server: server.reserved.update({token: 51_001})
        ).start()
        assert world.allocation.relayed_addresses[0][1] == 51_001
        world.server.forget_allocations()
        world.run(600)
        assert world.allocation.state is State.ALLOCATED
        assert len(world.of(Lost)) == 1

    def test_an_unknown_token(self) -> None:
        assert isinstance(error_of(TurnWorld(replace(CONFIG, reservation_token=bytes(8))).start()), InsufficientCapacity)


class TestClose:
    def test_frees_the_allocation(self) -> None:
        world = TurnWorld().start()
        world.send(b"x")
        world.run(1)
        world.allocation.close(world.now)
        world.allocation.close(world.now)
        world.run(1)
        assert world.server.relays == {}
        assert world.events[-1] == Closed("closed")
        assert world.allocation.state is State.CLOSED
        assert world.allocation.deadline == float("inf")
        with pytest.raises(NotAllocated):
            world.allocation.send(PEER, b"late", world.now)

    def test_while_allocating(self) -> None:
        world = TurnWorld()
        world.allocation.start(world.now)
        world.allocation.close(world.now)
        world.run(1)
        assert world.server.relays == {}
        assert world.events == [Closed("closed")]

    def test_before_anything(self) -> None:
        world = TurnWorld()
        world.allocation.close(world.now)
        world.run(1)
        assert world.events == [Closed("closed")]
        assert world.sent == []

    def test_when_the_server_is_gone(self) -> None:
        world = TurnWorld().start()
        world.server.silent = True
        world.allocation.close(world.now)
        world.run(60)
        assert world.allocation.state is State.CLOSED

    def test_when_the_network_is_gone(self) -> None:
        world = TurnWorld().start()
        world.allocation.close(world.now)
        world.allocation.transport_failed("gone", world.now)
        world.run(0)
        assert world.events[-1] == Closed("transport failed")

    def test_when_the_server_forgot(self) -> None:
        world = TurnWorld().start()
        world.server.forget_allocations()
        world.allocation.close(world.now)
        world.run(1)
        assert world.events[-1] == Closed("closed")
        assert world.of(Lost) == []


class TestConfig:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"family": "ipx"},
            {"lifetime_s": 0},
            {"reserve": True},
            {"reservation_token": b"short"},
            {"reservation_token": bytes(8), "even_port": True},
            {"reservation_token": bytes(8), "family": "ipv6"},
            {"even_port": True, "family": "both"},
            {"tcp_relay": True},
            {"tcp_relay": True, "reliable": True, "dont_fragment": True},
            {"software": "x" * 128},
            {"permission_lifetime_s": 0.0},
            {"max_peers": 0},
        ],
    )
    def test_contradictions(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            AllocationConfig(CREDENTIALS, **wrong)  # type: ignore[arg-type]

    def test_misuse(self) -> None:
        world = TurnWorld().start()
        for peer in (
            ("host", 1),
            ("0.0.0.0", 1),
            ("224.0.0.1", 1),
            ("::", 1),
            ("ff02::1", 1),
            ("192.0.2.1", 0),
            ("192.0.2.1", 70_000),
        ):
            with pytest.raises(BadPeer):
                world.allocation.send(peer, b"x", world.now)
        with pytest.raises(TurnError, match="at most"):
            world.allocation.send(PEER, bytes(65_500), world.now)
        with pytest.raises(NotAllocated):
            world.allocation.connect(PEER, world.now)


def test_which_socket_errors_are_final() -> None:
    assert is_hard_network_error(ConnectionRefusedError(111, "refused"))
    assert not is_hard_network_error(OSError(90, "message too long"))
    assert not is_hard_network_error(BlockingIOError(11, "again"))
