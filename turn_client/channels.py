"""Channel numbers: which are free, and which must rest before another peer may have them (RFC 8656 section 12)."""

from __future__ import annotations

import heapq
from collections import deque

__all__ = ["FIRST_CHANNEL", "LAST_CHANNEL", "ChannelNumbers"]

FIRST_CHANNEL = 0x4000
LAST_CHANNEL = 0x4FFF
"""RFC 8656 section 12: 4,096 numbers; the rest of the old range is left to other protocols (RFC 7983)."""
_REST_S = 300.0
"""RFC 8656 section 12: a number is not bound to another peer until five minutes after its binding expired."""


class ChannelNumbers:
    """Hands out channel numbers, the longest unused first."""

    def __init__(self) -> None:
        self._free: deque[int] = deque(range(FIRST_CHANNEL, LAST_CHANNEL + 1))
        self._resting: list[tuple[float, int]] = []

    def take(self, now: float) -> int | None:
        """Return a number that may be bound to any peer, None when all are in use or resting."""
        while self._resting and self._resting[0][0] <= now:
            self._free.append(heapq.heappop(self._resting)[1])
        return self._free.popleft() if self._free else None

    def release(self, number: int, expires_at: float) -> None:
        """Give back a number whose binding the server forgets at ``expires_at`` (or had refused then): it rests from there on."""
        heapq.heappush(self._resting, (expires_at + _REST_S, number))

    def forget_bindings(self, numbers: list[int]) -> None:
        """Give back numbers whose allocation is gone, and free those that rest: bindings end with their allocation.

        They go to the end of the line, so that datagrams still under way are not taken for another peer's.
        """
        self._free.extend(number for _, number in sorted(self._resting))
        self._free.extend(numbers)
        self._resting.clear()
