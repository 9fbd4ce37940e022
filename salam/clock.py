"""Where time comes from: the machine's clock, or a simulated one that tests move by hand.

Sans-IO code never reads a clock; it is handed ``now`` in monotonic seconds. Only the I/O layer holds a `Clock`. Wall time exists
for NTP timestamps, token expiry and stored records, and is never used to measure an interval.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol

__all__ = ["Clock", "RealClock", "SimulatedClock", "ntp_seconds"]

# Seconds from the NTP era (1900) to the Unix era (1970): RFC 5905, figure 4.
_NTP_UNIX_OFFSET_S = 2_208_988_800


class Clock(Protocol):
    """A source of time and of waiting."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes backwards."""

    def wall(self) -> float:
        """Unix time in seconds; may jump when the machine's clock is set."""

    async def sleep(self, delay_s: float) -> None:
        """Return once ``delay_s`` seconds of this clock have passed; zero or less yields once."""


class RealClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(max(delay_s, 0.0))


class SimulatedClock:
    """A clock that moves only by `advance`; sleepers wake in the order of their deadlines.

    ``start_s`` is the first monotonic reading and ``wall_start_s`` the first wall reading (Unix seconds). The two move together.
    """

    def __init__(self, start_s: float = 0.0, wall_start_s: float = 1_700_000_000.0) -> None:
        self._now_s = start_s
        self._wall_offset_s = wall_start_s - start_s
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._now_s

    def wall(self) -> float:
        return self._now_s + self._wall_offset_s

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + delay_s, next(self._order), waiter))
        await waiter

    async def advance(self, delta_s: float) -> None:
        """Move time forward by ``delta_s`` seconds and let every sleeper whose deadline passes run, one deadline at a time.

        Raises ValueError when ``delta_s`` is negative.
        """
        if delta_s < 0:
            raise ValueError("a clock cannot be moved backwards")
        target_s = self._now_s + delta_s
        while self._sleepers and self._sleepers[0][0] <= target_s:
            deadline_s, _, waiter = heapq.heappop(self._sleepers)
            self._now_s = deadline_s
            if not waiter.done():
                waiter.set_result(None)
            # The woken task may go back to sleep before the target: give it, and whom it wakes, a turn first.
            for _ in range(3):
                await asyncio.sleep(0)
        self._now_s = target_s


def ntp_seconds(unix_s: float) -> float:
    """Convert Unix seconds to seconds of the NTP era that began in 1900 (RFC 5905)."""
    return unix_s + _NTP_UNIX_OFFSET_S
