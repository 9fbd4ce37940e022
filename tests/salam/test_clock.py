from __future__ import annotations

import asyncio

import pytest

from salam import RealClock, SimulatedClock, ntp_seconds


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    clock = SimulatedClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, delay_s: float) -> None:
        await clock.sleep(delay_s)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(name, delay_s)) for name, delay_s in (("late", 3), ("soon", 1), ("mid", 2))]
    await asyncio.sleep(0)
    await clock.advance(2.5)
    assert woken == [("soon", 1.0), ("mid", 2.0)]
    assert clock.monotonic() == 2.5
    await clock.advance(0.5)
    await asyncio.gather(*tasks)
    assert woken[-1] == ("late", 3.0)


async def test_one_advance_runs_a_loop_of_sleeps() -> None:
    clock = SimulatedClock(start_s=10.0)
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(1.0)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await asyncio.sleep(0)
    await clock.advance(3.0)
    task.cancel()
    assert ticks == [11.0, 12.0, 13.0]


async def test_a_cancelled_sleeper_disturbs_nobody() -> None:
    clock = SimulatedClock()
    cancelled = asyncio.create_task(clock.sleep(1.0))
    other = asyncio.create_task(clock.sleep(2.0))
    await asyncio.sleep(0)
    cancelled.cancel()
    await clock.advance(2.0)
    assert other.done()
    assert cancelled.cancelled()


async def test_time_never_goes_back() -> None:
    with pytest.raises(ValueError):
        await SimulatedClock().advance(-1.0)


async def test_wall_and_monotonic_move_together() -> None:
    clock = SimulatedClock(wall_start_s=1_000.0)
    await clock.advance(5.0)
    assert clock.wall() == 1_005.0


def test_ntp_counts_from_1900() -> None:
    # RFC 5905, figure 4: the Unix era begins at 2,208,988,800.
    assert ntp_seconds(0.0) == 2_208_988_800


async def test_the_real_clock_sleeps() -> None:
    clock = RealClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() > before
