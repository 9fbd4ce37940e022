"""Wrapping counters made straight, and the map from received to sent numbers.

A forwarder drops some packets on purpose and starts in the middle of others. What it sends must still count up without holes,
except where the network lost something: a hole there may yet be filled by a retransmission, and has to keep its place.
"""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["NumberMap", "Unwrapper", "signed_difference"]

# Runs remembered by a map. Dropping the top temporal layers of 60 fps video starts up to 60 runs of each sort per second, so this
# reaches about two seconds back: longer than a retransmission may take.
_MAX_RUNS = 256


def signed_difference(value: int, reference: int, bits: int = 32) -> int:
    """Return ``value - reference`` modulo 2**bits, as the nearest signed number."""
    half = 1 << (bits - 1)
    return ((value - reference + half) & ((1 << bits) - 1)) - half


class Unwrapper:
    """Turns a counter of ``bits`` bits that wraps into a plain integer, by choosing the value nearest to the highest one seen.

    The first value is placed one whole cycle up, so that values just before it stay positive.
    """

    __slots__ = ("_half", "_mask", "highest")

    def __init__(self, bits: int) -> None:
        self._mask = (1 << bits) - 1
        self._half = 1 << (bits - 1)
        self.highest = -1

    def unwrap(self, value: int) -> int:
        """Return the straight number of ``value`` and remember it when it is the highest."""
        number = self.peek(value)
        if number > self.highest:
            self.highest = number
        return number

    def peek(self, value: int) -> int:
        """Return the straight number of ``value`` without remembering it."""
        highest = self.highest
        if highest < 0:
            return value + self._mask + 1
        half = self._half
        return highest + ((value - highest + half) & self._mask) - half


class NumberMap:
    """Maps straight input numbers to output numbers through intervals of constant shift.

    `restart` begins a new mapping; `forward` maps; `drop` takes numbers out and closes the gap that they would leave. Numbers
    before the start, dropped numbers and numbers older than the remembered runs map to None. Output numbers never decrease as input
    numbers grow, and no two inputs share one.
    """

    __slots__ = ("_shift", "_shifts", "_starts", "highest")

    def __init__(self) -> None:
        # A run reaches from its start to the next one's; a shift of None means dropped. The last run is open and always forwards.
        self._starts: list[int] = []
        self._shifts: list[int | None] = []
        self._shift = 0
        self.highest = -1
        """The highest input number forwarded or dropped, -1 before the first."""

    def restart(self, number: int, output: int) -> None:
        """Map ``number`` to ``output`` and what follows it accordingly; forget everything before."""
        self._shift = output - number
        self._starts = [number]
        self._shifts = [self._shift]
        self.highest = number - 1

    def forward(self, number: int) -> int | None:
        """Return the output of ``number``, None when it must not be sent."""
        if number > self.highest:
            self.highest = number
            return number + self._shift
        starts = self._starts
        if starts and number >= starts[-1]:
            return number + self._shift
        index = bisect_right(starts, number) - 1
        if index < 0:
            return None
        shift = self._shifts[index]
        return None if shift is None else number + shift

    def drop(self, first: int, last: int) -> bool:
        """Take ``first`` to ``last`` out; False when ``first`` is not beyond everything seen, for then nothing can be closed up.

        Numbers between the highest one seen and ``first`` keep their places in the output.
        """
        if first <= self.highest or not self._starts:
            return False
        self._shift -= last - first + 1
        if self._starts[-1] == first and len(self._starts) > 1:
            # The open run is still empty because the number before was dropped too: that interval grows.
            self._starts[-1] = last + 1
            self._shifts[-1] = self._shift
        else:
            if self._starts[-1] == first:
                self._starts.pop()
                self._shifts.pop()
            self._starts += (first, last + 1)
            self._shifts += (None, self._shift)
            if len(self._starts) > _MAX_RUNS:
                del self._starts[:2]
                del self._shifts[:2]
        self.highest = last
        return True
