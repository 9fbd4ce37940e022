"""The schedule of transactions, round-trip times, timers, and what a first byte means."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turn_client.demux import PacketKind, classify
from turn_client.timers import Timers
from turn_client.transactions import MIN_RTO_S, RtoCache, Transaction, TransactionTable

SERVER = ("192.0.2.1", 3478)


def schedule(rto_s: float, *, reliable: bool = False) -> tuple[list[float], float]:
    """When a request without an answer is sent, and when it is given up."""
    sent: list[float] = []
    now = 0.0
    table = TransactionTable(lambda _data: sent.append(now))
    table.open(Transaction(bytes(12), b"request", 0.0, rto_s=rto_s, reliable=reliable))
    while True:
        now = table.deadline
        if table.tick(now):
            return sent, now


class TestSchedule:
    def test_of_rfc_8489(self) -> None:
        sent, ended = schedule(MIN_RTO_S)
        assert sent == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
        assert ended == 39.5

    def test_scales_with_the_rto(self) -> None:
        sent, ended = schedule(1.0)
        assert sent == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0]
        assert ended == 79.0

    def test_over_a_stream(self) -> None:
        assert schedule(MIN_RTO_S, reliable=True) == ([0.0], 39.5)

    def test_a_machine_that_slept_sends_no_burst(self) -> None:
        transaction = Transaction(bytes(12), b"", 0.0, rto_s=0.5, reliable=False)
        assert transaction.expire(1000.0)
        assert transaction.deadline == 1001.0

    def test_a_late_tick_does_not_stretch_it(self) -> None:
        transaction = Transaction(bytes(12), b"", 0.0, rto_s=0.5, reliable=False)
        assert transaction.expire(0.6)
        assert transaction.deadline == 1.5

    def test_karn(self) -> None:
        transaction = Transaction(bytes(12), b"", 0.0, rto_s=0.5, reliable=False)
        assert transaction.rtt_s(0.1) == 0.1
        transaction.expire(0.5)
        assert transaction.rtt_s(0.6) is None

    def test_a_closed_one_is_not_sent_again(self) -> None:
        sent: list[bytes] = []
        table = TransactionTable(sent.append)
        transaction = Transaction(bytes(12), b"x", 0.0, rto_s=0.5, reliable=False)
        table.open(transaction)
        assert table.get(bytes(12)) is transaction
        assert table.close(bytes(12)) is transaction
        assert table.close(bytes(12)) is None
        assert table.deadline == math.inf
        assert table.tick(100.0) == []
        assert (sent, len(table), table.retransmissions) == ([b"x"], 0, 0)


class TestRtoCache:
    def test_starts_at_half_a_second(self) -> None:
        cache = RtoCache()
        assert cache.rto_s(SERVER, 0.0) == 0.5
        assert cache.rtt_s(SERVER, 0.0) is None

    def test_grows_with_the_round_trip(self) -> None:
        cache = RtoCache()
        cache.sample(SERVER, 0.4, 0.0)
        assert cache.rto_s(SERVER, 1.0) == pytest.approx(1.2)
        for _ in range(100):
            cache.sample(SERVER, 0.6, 1.0)
        assert cache.rtt_s(SERVER, 1.0) == pytest.approx(0.6, abs=0.01)
        assert cache.rto_s(SERVER, 1.0) == pytest.approx(0.6, abs=0.05)

    def test_is_never_below_the_least(self) -> None:
        cache = RtoCache()
        cache.sample(SERVER, 0.001, 0.0)
        assert cache.rto_s(SERVER, 0.0) == MIN_RTO_S

    def test_is_bounded_above(self) -> None:
        cache = RtoCache()
        cache.sample(SERVER, 30.0, 0.0)
        assert cache.rto_s(SERVER, 0.0) == 3.0

    def test_forgets_after_ten_minutes(self) -> None:
        cache = RtoCache()
        cache.sample(SERVER, 1.0, 0.0)
        assert cache.rto_s(SERVER, 600.0) == 3.0
        assert cache.rto_s(SERVER, 600.1) == MIN_RTO_S

    def test_remembers_so_many_servers(self) -> None:
        cache = RtoCache()
        for port in range(1, 300):
            cache.sample(("192.0.2.1", port), 1.0, 0.0)
        assert cache.rtt_s(("192.0.2.1", 43), 0.0) is None
        assert cache.rtt_s(("192.0.2.1", 44), 0.0) == 1.0


class TestTimers:
    @given(st.lists(st.tuples(st.sampled_from("set cancel due".split()), st.integers(0, 5), st.integers(0, 100)), max_size=200))
    def test_like_a_dictionary(self, steps: list[tuple[str, int, int]]) -> None:
        timers: Timers[int] = Timers()
        model: dict[int, float] = {}
        for what, key, at in steps:
            if what == "set":
                timers.set(key, at)
                model[key] = at
            elif what == "cancel":
                timers.cancel(key)
                model.pop(key, None)
            else:
                due = timers.due(at)
                assert [model[key] for key in due] == sorted(value for value in model.values() if value <= at)
                for key in due:
                    del model[key]
            assert timers.next_s == min(model.values(), default=math.inf)
            assert len(timers) == len(model)
            assert all((key in timers) is (key in model) for key in range(6))

    def test_garbage_is_bounded(self) -> None:
        timers: Timers[int] = Timers()
        for at in range(10_000):
            timers.set(at % 3, float(at))
        assert timers.due(math.inf) == [9_997 % 3, 9_998 % 3, 9_999 % 3]


def test_first_bytes() -> None:
    expected = [
        (range(4), PacketKind.STUN),
        (range(4, 16), PacketKind.UNKNOWN),
        (range(16, 20), PacketKind.ZRTP),
        (range(20, 64), PacketKind.DTLS),
        (range(64, 80), PacketKind.TURN_CHANNEL),
        (range(80, 128), PacketKind.QUIC),
        (range(128, 192), PacketKind.RTP),
        (range(192, 256), PacketKind.QUIC),
    ]
    assert [classify(byte) for byte in range(256)] == [kind for part, kind in expected for _ in part]
