"""Deadlines of a sans-IO core: which is next, why, and which have passed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = ["Deadline", "TimerReason", "Timers"]


class TimerReason(Enum):
    """Why a deadline exists."""

    HELLO = "hello"
    """A connection has to say hello."""
    SILENCE = "silence"
    """A connection has to be heard."""
    HEARTBEAT = "heartbeat"
    """A connection is to be pinged."""
    GRACE = "grace"
    """A lost session has to be resumed."""
    TOKEN = "token"
    """The token of a session expires."""
    ICE_SERVERS = "ice_servers"
    """A session in a room is to be told ICE servers with new credentials."""
    VIEWERS = "viewers"
    """A viewer count is to be told."""


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """``at`` in monotonic seconds, and what it is about: a connection, session or stream, by the reason."""

    at: float
    order: int
    reason: TimerReason
    subject: str | int


class Timers:
    """At most one deadline for each reason and subject."""

    def __init__(self) -> None:
        self._current: dict[tuple[TimerReason, str | int], Deadline] = {}
        self._heap: list[Deadline] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._current)

    def set(self, reason: TimerReason, subject: str | int, at: float) -> None:
        """Set the deadline of ``reason`` and ``subject`` to ``at``, replacing an earlier one."""
        self._order += 1
        # The order is unique, so that the two fields behind it are never compared.
        deadline = Deadline(at, self._order, reason, subject)
        self._current[reason, subject] = deadline
        heapq.heappush(self._heap, deadline)
        # Replaced entries stay in the heap until they surface; this keeps them from ever outnumbering the living.
        if len(self._heap) > 2 * len(self._current) + 64:
            self._heap = list(self._current.values())
            heapq.heapify(self._heap)

    def cancel(self, reason: TimerReason, subject: str | int) -> None:
        """Forget the deadline of ``reason`` and ``subject``, if there is one."""
        self._current.pop((reason, subject), None)

    def has(self, reason: TimerReason, subject: str | int) -> bool:
        """Return whether a deadline of ``reason`` and ``subject`` is set."""
        return (reason, subject) in self._current

    def next(self) -> Deadline | None:
        """Return the earliest deadline."""
        while self._heap:
            deadline = self._heap[0]
            if self._current.get((deadline.reason, deadline.subject)) is deadline:
                return deadline
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> Iterator[Deadline]:
        """Yield and forget the deadlines that have passed at ``now``, earliest first; new ones may be set meanwhile."""
        while (deadline := self.next()) is not None and deadline.at <= now:
            heapq.heappop(self._heap)
            del self._current[deadline.reason, deadline.subject]
            yield deadline
