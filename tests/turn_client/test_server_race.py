"""Races to a server: the order of the starts, their stagger, who wins, and what is remembered for the next race."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turn_client.race import STAGGER_S, Race, RaceCandidate, RaceState, ServerHealth, race_order
from turn_client.resolution import ServerEndpoint, ServerTransport

UDP, TCP, TLS = TRANSPORTS = tuple(ServerTransport)
V4, V6 = "192.0.2.1", "2001:db8::1"


def way(host: str = V4, transport: ServerTransport = UDP, rank: int = 0, port: int = 3478) -> RaceCandidate:
    return RaceCandidate(ServerEndpoint((host, port), transport, "relay.example"), rank)


def ordered(candidates: Sequence[RaceCandidate], health: ServerHealth | None = None, now: float = 0.0) -> list[RaceCandidate]:
    return race_order(candidates, TRANSPORTS, health or ServerHealth(), now)


def test_rank_then_transport_then_alternating_families() -> None:
    first = [way(V6, UDP), way(V4, UDP), way(V6, UDP, port=2), way(V6, TCP), way(V4, TCP), way(V4, TLS)]
    second = [way(V4, UDP, 1, 9), way(V4, TCP, 1, 9)]
    assert ordered([*second, *reversed(first[3:]), first[0], first[2], first[1]]) == [*first, *second]


def test_the_users_transports_in_the_users_order() -> None:
    candidates = [way(V4, UDP), way(V4, TCP), way(V4, TLS)]
    assert race_order(candidates, [TLS, UDP], ServerHealth(), 0.0) == [way(V4, TLS), way(V4, UDP)]


def test_one_endpoint_is_tried_once_where_it_is_preferred() -> None:
    assert ordered([way(rank=2), way(V6, rank=1), way(rank=0), way(rank=1)]) == [way(rank=0), way(V6, rank=1)]


def test_a_race_is_bounded() -> None:
    assert len(ordered([way(port=port) for port in range(1, 200)])) == 64


def test_the_nearest_of_equals_is_first() -> None:
    health = ServerHealth()
    far, near, unknown = way("192.0.2.1"), way("192.0.2.2"), way("192.0.2.3")
    health.succeeded(far.endpoint, 0.0, rtt_s=0.2)
    health.succeeded(near.endpoint, 0.0, rtt_s=0.1)
    assert ordered([unknown, far, near], health) == [near, far, unknown]
    assert ordered([unknown, far, near], health, now=601.0) == [unknown, far, near]


def test_failures_put_an_endpoint_behind_and_fade() -> None:
    health = ServerHealth()
    preferred, spare, last = way(rank=0), way(rank=1, port=2), way(rank=2, port=3)
    health.failed(preferred.endpoint, 0.0)
    health.failed(last.endpoint, 0.0)
    health.failed(last.endpoint, 0.0)
    assert ordered([preferred, spare, last], health, 1.0) == [spare, preferred, last]
    assert ordered([preferred, spare, last], health, 61.0) == [preferred, spare, last]
    assert not health.avoided(preferred.endpoint, 61.0)
    assert health.avoided(last.endpoint, 61.0)
    health.succeeded(last.endpoint, 62.0)
    assert health.penalty(last.endpoint, 62.0) == 0.0


def test_no_number_of_failures_is_remembered_for_long() -> None:
    health = ServerHealth()
    for _ in range(1000):
        health.failed(way().endpoint, 0.0)
    assert not health.avoided(way().endpoint, 241.0)


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    health = ServerHealth()
    for port in range(1, 400):
        health.failed(way(port=port).endpoint, 0.0)
    assert len(health) == 256
    assert health.penalty(way(port=1).endpoint, 0.0) == 0.0
    assert health.penalty(way(port=399).endpoint, 0.0) == 1.0


def race(count: int = 3, now: float = 10.0) -> tuple[Race, list[RaceCandidate], ServerHealth]:
    health = ServerHealth()
    candidates = [way(transport=transport) for transport in TRANSPORTS][:count]
    return Race(candidates, health, now), candidates, health


def test_starts_are_staggered() -> None:
    machine, (udp, tcp, tls), _ = race()
    assert machine.take_starts() == [udp]
    assert machine.deadline == 10.0 + STAGGER_S
    machine.tick(10.2)
    assert machine.take_starts() == []
    machine.tick(10.25)
    assert machine.take_starts() == [tcp]
    # A loop that comes late starts one, not all.
    machine.tick(99.0)
    assert machine.take_starts() == [tls]
    assert machine.deadline == math.inf
    assert machine.running == (udp, tcp, tls)


def test_a_failure_starts_the_next_at_once() -> None:
    machine, (udp, tcp, _), health = race()
    machine.take_starts()
    machine.failed(udp, OSError("refused"), 10.01)
    assert machine.take_starts() == [tcp]
    assert machine.deadline == pytest.approx(10.01 + STAGGER_S)
    assert health.avoided(udp.endpoint, 10.01)


def test_the_first_to_succeed_wins_and_the_others_are_given_up() -> None:
    machine, (udp, tcp, tls), health = race()
    machine.tick(10.25)
    machine.tick(10.5)
    machine.take_starts()
    assert machine.succeeded(tcp, 10.6, rtt_s=0.35)
    assert (machine.state, machine.winner) == (RaceState.WON, tcp)
    assert machine.take_cancelled() == [udp, tls]
    assert machine.take_cancelled() == []
    assert machine.deadline == math.inf
    # UDP had a head start and lost; TLS had none.
    assert health.avoided(udp.endpoint, 10.6)
    assert not health.avoided(tls.endpoint, 10.6)
    assert health.rtt_s(tcp.endpoint, 10.6) == 0.35
    assert not machine.succeeded(udp, 10.7)
    machine.failed(tls, OSError(), 10.7)
    assert health.penalty(tls.endpoint, 10.7) == 0.0


def test_where_udp_is_blocked_the_next_race_begins_with_what_works() -> None:
    machine, candidates, health = race()
    machine.tick(10.25)
    assert machine.succeeded(candidates[1], 10.3)
    assert ordered(candidates, health, 10.4) == [candidates[1], candidates[2], candidates[0]]
    # And UDP has another chance soon.
    assert ordered(candidates, health, 40.0) == candidates


def test_a_lost_race_tells_what_was_wrong_with_the_preferred_server() -> None:
    machine, (udp, tcp, tls), _ = race()
    for candidate in (udp, tcp, tls):
        assert machine.state is RaceState.RUNNING
        machine.failed(candidate, OSError(candidate.endpoint.transport.value), 11.0)
    assert machine.state is RaceState.LOST
    assert str(machine.error) == "udp"
    assert machine.winner is None


def test_an_abandoned_race_holds_nothing_against_anybody() -> None:
    machine, (udp, _, _), health = race()
    assert machine.take_starts() == [udp]
    machine.tick(10.25)
    machine.abandon()
    assert (machine.state, machine.take_cancelled(), machine.take_starts()) == (RaceState.LOST, [udp], [])
    assert len(health) == 0
    machine.abandon()
    assert machine.take_cancelled() == []


def test_nobody_races_alone() -> None:
    with pytest.raises(ValueError, match="candidate"):
        Race([], ServerHealth(), 0.0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["tick", "fail", "win"]), st.integers(0, 9), st.floats(0, 1)), max_size=40),
    st.integers(1, 8),
)
def test_each_candidate_is_started_once_and_ends_once(steps: list[tuple[str, int, float]], count: int) -> None:
    candidates = [way(port=port) for port in range(1, count + 1)]
    machine = Race(candidates, ServerHealth(), 0.0)
    now = 0.0
    started = machine.take_starts()
    ended: list[RaceCandidate] = []
    for kind, which, wait_s in steps:
        now += wait_s
        running = machine.running
        if kind == "tick" or not running:
            machine.tick(now)
        elif kind == "fail":
            ended.append(running[which % len(running)])
            machine.failed(ended[-1], OSError(), now)
        else:
            ended.append(running[which % len(running)])
            assert machine.succeeded(ended[-1], now)
        started += machine.take_starts()
        ended += machine.take_cancelled()
        if machine.state is RaceState.RUNNING:
            assert machine.running
            assert machine.deadline == math.inf or len(started) < count
    assert started == candidates[: len(started)]
    assert len(set(ended)) == len(ended)
    assert set(started) == set(ended) | set(machine.running)
