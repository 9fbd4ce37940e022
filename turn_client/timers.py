"""Deadlines by key: the next one is known at once, moving one is cheap."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Timers"]

KeyT = TypeVar("KeyT", bound=Hashable)

# Entries that were moved or cancelled stay in the heap until they surface. Below this many they are not worth a rebuild.
_SLACK = 64


class Timers(Generic[KeyT]):
    """At most one deadline (monotonic seconds) per key; bounded by twice the live keys and a constant."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, KeyT]] = []
        self._live: dict[KeyT, tuple[float, int]] = {}
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, key: KeyT) -> bool:
        return key in self._live

    @property
    def next_s(self) -> float:
        """The earliest deadline, infinity without one."""
        heap = self._heap
        while heap:
            due_s, order, key = heap[0]
            if self._live.get(key) == (due_s, order):
                return due_s
            heapq.heappop(heap)
        return math.inf

    def set(self, key: KeyT, due_s: float) -> None:
        """Give ``key`` this deadline in place of the one it had."""
        entry = (due_s, next(self._order))
        self._live[key] = entry
        heapq.heappush(self._heap, (*entry, key))
        if len(self._heap) > 2 * len(self._live) + _SLACK:
            self._heap = [(due, order, live) for live, (due, order) in self._live.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: KeyT) -> None:
        """Forget the deadline of ``key``, if it has one."""
        self._live.pop(key, None)

    def due(self, now: float) -> list[KeyT]:
        """Take out the keys whose deadline has come, in the order of their deadlines."""
        keys = []
        while self._live and self.next_s <= now:
            key = heapq.heappop(self._heap)[2]
            del self._live[key]
            keys.append(key)
        return keys
