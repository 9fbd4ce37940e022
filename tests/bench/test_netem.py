"""The network emulator: what each setting does, that seeds repeat, and that no packet is unaccounted for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.netem import CELLULAR, CONGESTED, PERFECT, PRESETS, BurstLoss, Link, LinkConfig
from salam import ConfigError

_probability = st.floats(0, 1)
_configs = st.builds(
    LinkConfig,
    latency_s=st.floats(0, 0.5),
    jitter_s=st.floats(0, 0.2),
    loss=_probability,
    burst_loss=st.none() | st.builds(BurstLoss, _probability, _probability, _probability, _probability),
    duplicate=_probability,
    reorder=_probability,
    reorder_delay_s=st.floats(0, 0.1),
    rate_bps=st.none() | st.floats(10_000, 1e9),
    queue_bytes=st.integers(0, 100_000),
)


def _run(link: Link, packets: int, *, gap_s: float = 0.001, size: int = 1000) -> list[tuple[float, int]]:
    """Push numbered packets at a steady pace and return (arrival, number), polling exactly at the deadlines."""
    arrivals: list[tuple[float, int]] = []
    for number in range(packets):
        now = number * gap_s
        _poll_until(link, now, arrivals)
        link.push(number.to_bytes(4, "big") + bytes(size - 4), now)
    _poll_until(link, math.inf, arrivals)
    return arrivals


def _poll_until(link: Link, until: float, arrivals: list[tuple[float, int]]) -> None:
    while (deadline := link.next_deadline()) <= until and deadline < math.inf:
        arrivals.extend((deadline, int.from_bytes(packet[:4], "big")) for packet in link.poll(deadline))


def test_perfect_link_delivers_at_once() -> None:
    link = Link(PERFECT, seed=1)
    link.push(b"hello", 5.0)
    assert link.next_deadline() == 5.0
    assert link.poll(5.0) == [b"hello"]
    assert link.next_deadline() == math.inf


def test_latency_is_exact_without_jitter() -> None:
    arrivals = _run(Link(LinkConfig(latency_s=0.05), seed=1), 100)
    assert [arrival - number * 0.001 for arrival, number in arrivals] == pytest.approx([0.05] * 100)


def test_jitter_spreads_delay_but_keeps_order() -> None:
    arrivals = _run(Link(LinkConfig(latency_s=0.05, jitter_s=0.02), seed=1), 5000, gap_s=0.05)
    delays = [arrival - number * 0.05 for arrival, number in arrivals]
    assert [number for _, number in arrivals] == list(range(5000))
    assert min(delays) == pytest.approx(0.03, abs=0.001)
    assert max(delays) == pytest.approx(0.07, abs=0.001)
    assert sum(delays) / len(delays) == pytest.approx(0.05, abs=0.001)


def test_uniform_loss_is_near_its_probability() -> None:
    link = Link(LinkConfig(loss=0.05), seed=2)
    arrivals = _run(link, 20_000)
    assert link.stats().lost == 20_000 - len(arrivals)
    assert link.stats().lost / 20_000 == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize(("mean_loss", "burst"), [(0.03, 4), (0.005, 3), (0.1, 10)])
def test_burst_loss_has_the_mean_and_burst_length_asked_for(mean_loss: float, burst: float) -> None:
    model = BurstLoss.of(mean_loss, burst)
    assert model.mean_loss == pytest.approx(mean_loss)
    arrived = {number for _, number in _run(Link(LinkConfig(burst_loss=model), seed=3), 200_000)}
    lost = [number for number in range(200_000) if number not in arrived]
    bursts = sum(1 for number in lost if number - 1 in arrived or number == 0)
    assert len(lost) / 200_000 == pytest.approx(mean_loss, rel=0.15)
    assert len(lost) / bursts == pytest.approx(burst, rel=0.15)


def test_reordering_lets_later_packets_pass() -> None:
    link = Link(LinkConfig(latency_s=0.01, reorder=0.1, reorder_delay_s=0.005), seed=4)
    numbers = [number for _, number in _run(link, 10_000)]
    late = sum(1 for before, after in zip(numbers, numbers[1:], strict=False) if after < before)
    assert sorted(numbers) == list(range(10_000))
    assert link.stats().held_back / 10_000 == pytest.approx(0.1, abs=0.01)
    assert late == pytest.approx(link.stats().held_back, rel=0.2)


def test_duplicates_arrive_as_extra_copies() -> None:
    link = Link(LinkConfig(duplicate=0.2), seed=5)
    numbers = [number for _, number in _run(link, 10_000)]
    assert len(numbers) == 10_000 + link.stats().duplicated
    assert link.stats().duplicated / 10_000 == pytest.approx(0.2, abs=0.02)
    assert set(numbers) == set(range(10_000))


def test_rate_paces_packets_and_the_full_queue_drops_the_tail() -> None:
    # 1,028 bytes at 1 Mbit/s take 8.224 ms each; a queue of ten full packets holds ten behind the one that is being sent.
    link = Link(LinkConfig(rate_bps=1_000_000, queue_bytes=10 * 1028), seed=6)
    for number in range(20):
        link.push(number.to_bytes(4, "big") + bytes(996), 0.0)
    arrivals: list[tuple[float, int]] = []
    _poll_until(link, math.inf, arrivals)
    assert [number for _, number in arrivals] == list(range(11))
    assert [arrival for arrival, _ in arrivals] == pytest.approx([0.008224 * (index + 1) for index in range(11)])
    assert link.stats().queue_dropped == 9


def test_a_packet_larger_than_the_queue_still_passes_an_idle_link() -> None:
    link = Link(LinkConfig(rate_bps=1_000_000, queue_bytes=0), seed=6)
    link.push(bytes(1000), 0.0)
    assert link.poll(1.0) == [bytes(1000)]


def test_a_long_run_over_a_bottleneck_gets_the_rate_of_the_bottleneck() -> None:
    link = Link(CONGESTED, seed=7)
    arrivals = _run(link, 5000, gap_s=0.004)
    last = arrivals[-1][0]
    assert len(arrivals) * 1028 * 8 / last == pytest.approx(1_000_000, rel=0.02)
    delays = [arrival - number * 0.004 for arrival, number in arrivals[500:4500]]
    assert max(delays) < 0.05 + 0.005 + 0.3 + 0.01


def test_a_rate_change_applies_to_what_waits() -> None:
    link = Link(LinkConfig(rate_bps=8 * 1028, queue_bytes=10_000), seed=8)
    for _ in range(3):
        link.push(bytes(1000), 0.0)
    # One packet a second: half of the first is out when the rate doubles.
    link.configure(LinkConfig(rate_bps=16 * 1028, queue_bytes=10_000), 0.5)
    arrivals = []
    while (deadline := link.next_deadline()) < math.inf:
        arrivals += [deadline] * len(link.poll(deadline))
    assert arrivals == pytest.approx([0.75, 1.25, 1.75])


def test_lifting_the_rate_limit_empties_the_queue() -> None:
    link = Link(LinkConfig(rate_bps=8 * 1028, queue_bytes=10_000), seed=8)
    for _ in range(3):
        link.push(bytes(1000), 0.0)
    link.configure(PERFECT, 0.5)
    assert len(link.poll(0.5)) == 3
    assert link.next_deadline() == math.inf


@given(config=_configs, seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_every_packet_is_accounted_for_and_seeds_repeat(config: LinkConfig, seed: int) -> None:
    first, second = Link(config, seed), Link(config, seed)
    arrivals = _run(first, 120)
    # The same pushes, but polled only once at the very end: when packets come out must not depend on how often somebody looks.
    for number in range(120):
        second.push(number.to_bytes(4, "big") + bytes(996), number * 0.001)
    assert [int.from_bytes(packet[:4], "big") for packet in second.poll(1e9)] == [number for _, number in arrivals]
    stats = first.stats()
    assert stats.delivered == len(arrivals)
    assert stats.delivered == stats.offered - stats.lost - stats.queue_dropped + stats.duplicated
    assert stats.delivered_bytes == 1000 * stats.delivered
    assert second.stats() == stats
    assert arrivals == sorted(arrivals, key=lambda arrival: arrival[0])


def test_time_that_goes_backwards_is_taken_as_standing_still() -> None:
    link = Link(LinkConfig(latency_s=0.01), seed=1)
    link.push(b"a", 1.0)
    link.push(b"b", 0.5)
    assert link.poll(1.01) == [b"a", b"b"]


def test_waiting_packets_are_bounded() -> None:
    link = Link(LinkConfig(latency_s=10), seed=1)
    for _ in range(40_000):
        link.push(b"x", 0.0)
    assert link.stats().queue_dropped == 40_000 - 32_768


def test_presets_are_named_and_cellular_is_worse_than_wifi() -> None:
    assert set(PRESETS) == {"perfect", "wifi", "wifi_lossy", "cellular", "congested"}
    assert PRESETS["cellular"] is CELLULAR
    assert CELLULAR.latency_s > PRESETS["wifi"].latency_s


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"loss": 1.5}, "loss"),
        ({"duplicate": -0.1}, "duplicate"),
        ({"latency_s": -1}, "latency_s"),
        ({"latency_s": math.nan}, "latency_s"),
        ({"rate_bps": 0}, "rate_bps"),
        ({"queue_bytes": -1}, "queue_bytes"),
    ],
)
def test_values_out_of_range_are_refused_by_name(settings_: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        LinkConfig(**settings_)  # type: ignore[arg-type]


def test_impossible_burst_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="burst_packets"):
        BurstLoss.of(0.1, 0.5)
    with pytest.raises(ConfigError, match="to_bad"):
        BurstLoss.of(0.9, 1)
