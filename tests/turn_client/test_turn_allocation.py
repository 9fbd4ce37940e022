"""The life of an allocation against a strict server, in simulated time: authentication, refresh, errors, mobility, closing."""

from dataclasses import replace
from typing import Literal

import pytest

from tests.support.turn_server import StrictTurnServer
from tests.support.turn_world import CLIENT, CREDENTIALS, PEER, SERVER, TurnWorld
from turn_client.allocation import Allocation
from turn_client.config import AllocationConfig
from turn_client.credentials import LongTermCredentials
from turn_client.errors import (
    AllocationLost,
    BadCredentials,
    BidDown,
    InsufficientCapacity,
    NotAllocated,
    QuotaReached,
    RedirectLoop,
    ServerRefused,
    TransactionTimeout,
    TransportFailed,
    TurnError,
)
from turn_client.events import Allocated, AllocationState, Failed, Lost, Redirected
from turn_client.redirects import RedirectGuard
from turn_client.stun import Attribute, parse_message

CONFIG = AllocationConfig(CREDENTIALS)
State = AllocationState


def error_of(world: TurnWorld) -> TurnError:
    [event] = world.of(Failed)
    assert isinstance(event, Failed)
    assert world.allocation.state is State.FAILED
    return event.error


class TestAllocate:
    def test_with_one_challenge(self) -> None:
        world = TurnWorld().start()
        assert world.events == [Allocated((("198.51.100.1", 50_002),), CLIENT, 600.0)]
        assert world.allocation.state is State.ALLOCATED
        assert world.allocation.relayed_addresses == (("198.51.100.1", 50_002),)
        assert world.allocation.mapped_address == CLIENT
        assert world.allocation.lifetime == 600.0
        assert world.server.requests["ALLOCATE"] == 2
        assert world.server.violations == []

    @pytest.mark.parametrize("algorithms", [("sha256",), ("md5", "sha256"), ("sha256", "md5"), ("md5",)])
    @pytest.mark.parametrize("anonymous", [False, True])
    def test_with_password_algorithms(self, algorithms: tuple[str, ...], *, anonymous: bool) -> None:
        def setup(server: StrictTurnServer) -> None:
            server.algorithms, server.anonymous = algorithms, anonymous

        world = TurnWorld(setup=setup).start()
        world.send(b"one")
        world.server.expire_nonces()
        world.run(700)
        assert world.allocation.state is State.ALLOCATED
        assert [data for _, _, data in world.at_peer] == [b"one"]
        assert world.server.errors[438] >= 1
        assert world.server.violations == []

    def test_bid_down_ends_it(self) -> None:
        def setup(server: StrictTurnServer) -> None:
            server.algorithms, server.hide_algorithms = ("sha256",), True

        assert isinstance(error_of(TurnWorld(setup=setup).start()), BidDown)

    def test_a_wrong_password(self) -> None:
        world = TurnWorld(replace(CONFIG, credentials=LongTermCredentials("alice", "wrong"))).start()
        assert isinstance(error_of(world), BadCredentials)
        assert world.server.requests["ALLOCATE"] == 2

    def test_credentials_for_another_realm(self) -> None:
        world = TurnWorld(replace(CONFIG, credentials=LongTermCredentials("alice", "secret", "elsewhere"))).start()
        assert isinstance(error_of(world), BadCredentials)
        assert world.server.requests["ALLOCATE"] == 1

    @pytest.mark.parametrize(("family", "hosts"), [("ipv6", ["2001:db8::1"]), ("both", ["198.51.100.1", "2001:db8::1"])])
    def test_families(self, family: Literal["ipv6", "both"], hosts: list[str]) -> None:
        world = TurnWorld(replace(CONFIG, family=family)).start()
        assert [host for host, _ in world.allocation.relayed_addresses] == hosts
        world.run(3000)
        assert world.allocation.state is State.ALLOCATED

    def test_a_dual_allocation_where_the_server_has_one_family(self) -> None:
        world = TurnWorld(replace(CONFIG, family="both"), setup=lambda server: setattr(server, "supports_ipv6", False)).start()
        assert [host for host, _ in world.allocation.relayed_addresses] == ["198.51.100.1"]

    def test_a_family_that_the_server_has_not(self) -> None:
        world = TurnWorld(replace(CONFIG, family="ipv6"), setup=lambda server: setattr(server, "supports_ipv6", False)).start()
        error = error_of(world)
        assert isinstance(error, ServerRefused)
        assert (error.error_code, error.retryable) == (440, False)

    def test_even_port_and_reservation(self) -> None:
        world = TurnWorld(replace(CONFIG, even_port=True, reserve=True)).start()
        [allocated] = world.of(Allocated)
        assert isinstance(allocated, Allocated)
        token = allocated.reservation_token
        assert token is not None
        second = Allocation(replace(CONFIG, reservation_token=token), SERVER, random=world.random.randbytes)
        second.start(world.now)
        client = ("203.0.113.5", 40_001)
        for _ in range(2):
            for data in second.take_outgoing():
                world.server.receive(data, client, world.now)
            for _, data in world.server.take()[0]:
                second.receive(data, world.now)
        assert second.relayed_addresses == ((allocated.relayed[0][0], allocated.relayed[0][1] + 1),)

    @pytest.mark.parametrize("supported", [True, False])
    def test_dont_fragment_is_asked_for(self, *, supported: bool) -> None:
        world = TurnWorld(
            replace(CONFIG, dont_fragment=True), setup=lambda server: setattr(server, "supports_dont_fragment", supported)
        ).start()
        assert world.allocation.state is State.ALLOCATED
        assert world.allocation.dont_fragment is supported
        for _ in range(3):
            world.allocation.send(PEER, b"whole", world.now, dont_fragment=True)
            world.run(1)
        assert world.server.requests["dont_fragment"] == (3 if supported else 0)
        assert len(world.at_peer) == 3

    def test_software(self) -> None:
        world = TurnWorld(replace(CONFIG, software="salam")).start()
        assert parse_message(world.sent[0]).get(Attribute.SOFTWARE) == b"salam"

    def test_a_mute_server(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "silent", True))
        started = world.now
        world.allocation.start(world.now)
        world.run(100, until=lambda: world.allocation.state is State.FAILED)
        assert isinstance(error_of(world), TransactionTimeout)
        assert world.now - started == pytest.approx(39.5)
        assert len(world.sent) == 7

    def test_no_retransmission_over_a_stream(self) -> None:
        world = TurnWorld(replace(CONFIG, reliable=True), setup=lambda server: setattr(server, "silent", True))
        started = world.now
        world.allocation.start(world.now)
        world.run(100, until=lambda: world.allocation.state is State.FAILED)
        assert isinstance(error_of(world), TransactionTimeout)
        assert world.now - started == pytest.approx(39.5)
        assert len(world.sent) == 1

    def test_an_icmp_error_ends_it_at_once(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "silent", True))
        world.allocation.start(world.now)
        world.allocation.transport_failed("connection refused", world.now)
        world.run(0)
        assert isinstance(error_of(world), TransportFailed)
        assert world.allocation.deadline == float("inf")

    @pytest.mark.parametrize(("code", "kind"), [(486, QuotaReached), (508, InsufficientCapacity)])
    def test_a_full_server_is_left_alone_for_a_minute(self, code: int, kind: type[TurnError]) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "allocate_error", (code, None))).start()
        error = error_of(world)
        assert isinstance(error, kind)
        assert error.retryable
        before = world.server.requests["ALLOCATE"]
        refused_at = world.now
        world.server.allocate_error = None
        world.allocation.start(world.now)
        world.run(55)
        assert world.server.requests["ALLOCATE"] == before
        world.run(20)
        assert world.allocation.state is State.ALLOCATED
        assert world.now - refused_at >= 60

    @pytest.mark.parametrize("code", [403, 420, 440, 442, 500])
    def test_other_refusals(self, code: int) -> None:
        error = error_of(TurnWorld(setup=lambda server: setattr(server, "allocate_error", (code, None))).start())
        assert isinstance(error, ServerRefused)
        assert error.error_code == code
        assert error.retryable is (code == 500)

    def test_our_address_has_an_allocation_already(self) -> None:
        error = error_of(TurnWorld(setup=lambda server: setattr(server, "allocate_error", (437, None))).start())
        assert isinstance(error, AllocationLost)

    def test_start_twice(self) -> None:
        world = TurnWorld().start()
        with pytest.raises(NotAllocated):
            world.allocation.start(world.now)


class TestRedirect:
    OTHER = ("192.0.2.9", 3478)

    def test_is_reported(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "allocate_error", (300, self.OTHER))).start()
        assert world.events == [Redirected(self.OTHER, None)]
        assert world.allocation.state is State.REDIRECTED
        assert world.allocation.deadline == float("inf")

    def test_to_itself_is_a_loop(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "allocate_error", (300, SERVER))).start()
        assert isinstance(error_of(world), RedirectLoop)

    def test_back_and_forth_is_a_loop(self) -> None:
        guard = RedirectGuard()
        guard.asked(SERVER, 0.0)
        guard.check(self.OTHER, 1.0)
        guard.asked(self.OTHER, 1.0)
        with pytest.raises(RedirectLoop, match="five minutes"):
            guard.check(SERVER, 299.0)
        guard.check(SERVER, 301.0)

    def test_ever_new_servers(self) -> None:
        guard = RedirectGuard()
        for hop in range(5):
            guard.check((f"192.0.2.{hop}", 3478), 0.0)
        with pytest.raises(RedirectLoop, match="in a row"):
            guard.check(("192.0.2.100", 3478), 0.0)
        guard.allocated()
        guard.check(("192.0.2.100", 3478), 0.0)

    @pytest.mark.parametrize("to", [None, ("2001:db8::9", 3478), ("192.0.2.9", 0)])
    def test_to_nowhere(self, to: tuple[str, int] | None) -> None:
        error = error_of(TurnWorld(setup=lambda server: setattr(server, "allocate_error", (300, to))).start())
        assert isinstance(error, ServerRefused)
        assert error.error_code == 300


class TestRefresh:
    def test_about_a_minute_before_the_end(self) -> None:
        world = TurnWorld().start()
        world.run(530)
        assert world.server.requests["REFRESH"] == 0
        world.run(20)
        assert world.server.requests["REFRESH"] == 1

    def test_several_requests_time_out_at_once(self) -> None:
        """The first one ends the allocation, which must not trip over the others."""
        world = TurnWorld(
            replace(CONFIG, reliable=True, reallocate=False), setup=lambda s: setattr(s, "max_lifetime_s", 38)
        ).start()
        world.run(18)
        world.server.silent = True
        world.now = world.allocation.deadline
        world.allocation.tick(world.now)
        world.allocation.bind(PEER, world.now)
        world.run(60)
        assert isinstance(error_of(world), TransactionTimeout | AllocationLost)

    def test_short_lifetimes_are_outlived(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "max_lifetime_s", 10)).start()
        world.run(100)
        assert world.allocation.state is State.ALLOCATED
        assert world.of(Lost) == []
        assert 18 <= world.server.requests["REFRESH"] <= 22

    def test_a_lifetime_of_nothing(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "max_lifetime_s", 1)).start()
        assert isinstance(error_of(world), AllocationLost)

    def test_the_server_forgets_us(self) -> None:
        world = TurnWorld().start()
        for _ in range(3):
            world.send(b"before")
            world.run(1)
        world.server.forget_allocations()
        world.run(600)
        assert [type(event) for event in world.events if isinstance(event, Lost | Allocated)] == [Allocated, Lost, Allocated]
        world.send(b"after")
        world.run(1)
        world.from_peer(b"answer")
        world.run(1)
        assert world.at_peer[-1] == (world.allocation.relayed_addresses[0], PEER, b"after")
        assert world.received() == [(PEER, b"answer")]
        assert world.server.violations == []
        assert world.allocation.stats(world.now).reallocations == 1

    def test_the_server_forgets_us_and_no_new_one_is_wanted(self) -> None:
        world = TurnWorld(replace(CONFIG, reallocate=False)).start()
        world.server.forget_allocations()
        world.run(600)
        assert isinstance(error_of(world), AllocationLost)

    def test_a_server_that_forgets_again_and_again(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "max_lifetime_s", 4)).start()
        for _ in range(30):
            world.server.forget_allocations()
            world.run(3)
        assert isinstance(error_of(world), AllocationLost)
        assert len(world.of(Lost)) == 3

    def test_a_server_that_falls_silent(self) -> None:
        world = TurnWorld().start()
        world.server.silent = True
        world.run(700)
        assert isinstance(error_of(world), TransactionTimeout | AllocationLost)
        assert world.allocation.relayed_addresses == ()

    def test_a_bad_hour_of_the_network(self) -> None:
        world = TurnWorld().start()
        world.run(530)
        world.weather.loss = 1.0
        world.run(45)
        world.weather.loss = 0.0
        world.run(600)
        assert world.allocation.state is State.ALLOCATED
        assert world.of(Lost) == []

    def test_stale_nonces_cost_one_round_trip(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "nonce_lifetime_s", 30.0)).start()
        world.send(b"x")
        world.run(1200)
        assert world.allocation.state is State.ALLOCATED
        stats = world.allocation.stats(world.now)
        assert stats.stale_nonces == world.server.errors[438] > 0
        assert stats.retransmissions == 0

    def test_a_nonce_that_is_always_stale(self) -> None:
        world = TurnWorld(setup=lambda server: setattr(server, "nonce_lifetime_s", 0.0)).start()
        error = error_of(world)
        assert isinstance(error, ServerRefused)
        assert error.error_code == 438
        assert world.server.requests["ALLOCATE"] == 6

    def test_nat_mappings_are_kept(self) -> None:
        world = TurnWorld().start()
        world.run(100)
        assert world.server.requests["binding_indication"] in (5, 6)
        for _ in range(300):
            world.send(b"x")
            world.run(1)
        assert world.server.requests["binding_indication"] <= 7

    def test_no_keepalive_over_a_stream(self) -> None:
        world = TurnWorld(replace(CONFIG, reliable=True)).start()
        world.run(100)
        assert world.server.requests["binding_indication"] == 0
