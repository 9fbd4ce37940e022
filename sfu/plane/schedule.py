"""Alarms of the plane: what is due when, without a clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from sfu.plane.interface import Timer

__all__ = ["Alarm", "Schedule"]


class Alarm:
    """One thing to do at one time; `set` moves it, `cancel` takes it back, and firing disarms it."""

    __slots__ = ("_action", "_schedule", "at", "timer")

    def __init__(self, schedule: Schedule, timer: Timer, action: Callable[[float], None]) -> None:
        self._schedule = schedule
        self._action = action
        self.timer = timer
        self.at = math.inf

    def set(self, at: float) -> None:
        """Fire at ``at`` (monotonic seconds) instead of whenever it was due."""
        if at != self.at:
            self.at = at
            self._schedule.push(self)

    def set_no_later(self, at: float) -> None:
        """Fire at ``at`` unless it is due earlier."""
        if at < self.at:
            self.set(at)

    def cancel(self) -> None:
        """Do not fire."""
        self.at = math.inf

    def fire(self, now: float) -> None:
        """Disarm and act."""
        self.at = math.inf
        self._action(now)


class Schedule:
    """The alarms of one plane in the order of their times."""

    def __init__(self) -> None:
        # Moved and cancelled alarms leave entries behind that are skipped when they come up; each alarm is moved at most a few
        # times per period of its own, so the heap stays within a small multiple of the number of alarms.
        self._heap: list[tuple[float, int, Alarm]] = []
        self._pushes = 0

    def alarm(self, timer: Timer, action: Callable[[float], None]) -> Alarm:
        """Return a new alarm that is not set."""
        return Alarm(self, timer, action)

    def push(self, alarm: Alarm) -> None:
        """Note that ``alarm`` was set; for `Alarm`."""
        self._pushes += 1
        heapq.heappush(self._heap, (alarm.at, self._pushes, alarm))

    def next_deadline(self) -> tuple[float, Timer]:
        """Return the earliest alarm's time and kind, (inf, NONE) without one."""
        heap = self._heap
        while heap:
            at, _, alarm = heap[0]
            if alarm.at == at:
                return at, alarm.timer
            heapq.heappop(heap)
        return math.inf, Timer.NONE

    def run(self, now: float) -> None:
        """Fire every alarm due at ``now``; an alarm that sets itself again to the past fires at the next call."""
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, alarm = heapq.heappop(heap)
            if alarm.at == at:
                # Taken off its time so that a duplicate entry does not fire it twice.
                alarm.cancel()
                due.append(alarm)
        for alarm in due:
            if alarm.at == math.inf:
                alarm.fire(now)
