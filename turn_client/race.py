"""Which of many ways to a server is tried when: attempts start one after another, run side by side, and the first to succeed wins.

Happy Eyeballs (RFC 8305, as RFC 8656 section 3.9 asks of TURN clients), widened from address families to transports and servers.
No I/O: `Race` says what to start, is told how attempts end, and names the winner.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from turn_client.resolution import ServerEndpoint, ServerTransport

__all__ = ["STAGGER_S", "Race", "RaceCandidate", "RaceState", "ServerHealth", "race_order"]

STAGGER_S = 0.25
"""RFC 8305 section 5: "one recommended value for a default delay is 250 milliseconds"."""

# Servers times transports times addresses that anybody configures on purpose is below this; DNS answers may hold more.
_MAX_CANDIDATES = 64
# Remembered endpoints: several races of the largest size.
_MAX_REMEMBERED = 256
# A failure counts half after a minute: networks change about as often as people move, and servers restart faster.
_HALF_LIFE_S = 60.0
# From this on an endpoint is tried after all that are better; one failure is forgiven after a minute, several take longer.
_AVOID_FROM = 0.5
# More failures than this are not worse: an endpoint is tried first again after four half-lives at the latest.
_MAX_PENALTY = 8.0
# Being slower than one that started later is no proof of anything: forgiven after about a quarter of a minute.
_OVERTAKEN_PENALTY = 0.6
# RFC 8489 section 6.2.1 keeps round-trip times for ten minutes; so do we.
_RTT_STALE_S = 600.0


@dataclass(frozen=True, slots=True)
class RaceCandidate:
    """One way: ``rank`` is 0 for the endpoints that the user prefers, and equal for those between which there is no preference."""

    endpoint: ServerEndpoint
    rank: int = 0


class RaceState(enum.Enum):
    """Where a race stands."""

    RUNNING = "running"
    WON = "won"
    LOST = "lost"


@dataclass(slots=True)
class _Record:
    penalty: float = 0.0
    penalty_at: float = 0.0
    rtt_s: float | None = None
    rtt_at: float = 0.0

    def decayed(self, now: float) -> float:
        return self.penalty * math.exp2(-max(now - self.penalty_at, 0.0) / _HALF_LIFE_S)


class ServerHealth:
    """What is remembered of endpoints between races: failures, which fade, and round-trip times; 256 endpoints."""

    def __init__(self) -> None:
        self._records: OrderedDict[ServerEndpoint, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def failed(self, endpoint: ServerEndpoint, now: float, *, weight: float = 1.0) -> None:
        """An attempt, or a relay in use, failed; ``weight`` is below 1 for what is only a hint."""
        record = self._record(endpoint)
        record.penalty = min(record.decayed(now) + weight, _MAX_PENALTY)
        record.penalty_at = now

    def succeeded(self, endpoint: ServerEndpoint, now: float, *, rtt_s: float | None = None) -> None:
        """An attempt succeeded: earlier failures are forgotten."""
        record = self._record(endpoint)
        record.penalty = 0.0
        if rtt_s is not None:
            record.rtt_s, record.rtt_at = rtt_s, now

    def penalty(self, endpoint: ServerEndpoint, now: float) -> float:
        """0 for a good or an unknown endpoint; every failure adds one, and they halve each minute."""
        record = self._records.get(endpoint)
        return 0.0 if record is None else record.decayed(now)

    def avoided(self, endpoint: ServerEndpoint, now: float) -> bool:
        """Whether others are tried before this one."""
        return self.penalty(endpoint, now) >= _AVOID_FROM

    def rtt_s(self, endpoint: ServerEndpoint, now: float) -> float | None:
        """The last round-trip time, None when nothing is known from the last ten minutes."""
        record = self._records.get(endpoint)
        if record is None or record.rtt_s is None or now - record.rtt_at > _RTT_STALE_S:
            return None
        return record.rtt_s

    def _record(self, endpoint: ServerEndpoint) -> _Record:
        record = self._records.get(endpoint)
        if record is None:
            record = self._records[endpoint] = _Record()
        self._records.move_to_end(endpoint)
        if len(self._records) > _MAX_REMEMBERED:
            self._records.popitem(last=False)
        return record


def race_order(
    candidates: Iterable[RaceCandidate], transports: Sequence[ServerTransport], health: ServerHealth, now: float
) -> list[RaceCandidate]:
    """Put candidates in the order in which they are started.

    What failed lately comes last, the longest healed first. Then by rank, then by transport as ``transports`` prefers, then the
    families alternate and IPv6 begins (RFC 8305 section 4). Within one family those with a known round-trip time come first, the
    nearest before all; otherwise the given order, which is that of DNS, stays. Each endpoint is taken once, where it is preferred
    most.
    """
    unique: dict[ServerEndpoint, RaceCandidate] = {}
    for candidate in candidates:
        known = unique.get(candidate.endpoint)
        if candidate.endpoint.transport in transports and (known is None or candidate.rank < known.rank):
            unique[candidate.endpoint] = candidate

    def group(candidate: RaceCandidate) -> tuple[float, int, int]:
        penalty = health.penalty(candidate.endpoint, now)
        return (penalty if penalty >= _AVOID_FROM else 0.0, candidate.rank, transports.index(candidate.endpoint.transport))

    def distance(candidate: RaceCandidate) -> float:
        rtt_s = health.rtt_s(candidate.endpoint, now)
        return math.inf if rtt_s is None else rtt_s

    ordered: list[RaceCandidate] = []
    for _, members in groupby(sorted(unique.values(), key=group), key=group):
        near = sorted(members, key=distance)
        v6 = [candidate for candidate in near if candidate.endpoint.is_ipv6]
        v4 = [candidate for candidate in near if not candidate.endpoint.is_ipv6]
        ordered += [candidate for pair in zip_longest(v6, v4) for candidate in pair if candidate is not None]
    return ordered[:_MAX_CANDIDATES]


class Race:
    """One race. Call `take_starts` after every other call, and start what it returns; `deadline` is when to call `tick`.

    ``order`` is that of `race_order`. A failure starts the next candidate at once; otherwise it starts ``stagger_s`` seconds after
    the one before. Whoever succeeds first has won; `take_cancelled` then names the attempts to give up.
    Raises ValueError when there are no candidates.
    """

    def __init__(self, order: Sequence[RaceCandidate], health: ServerHealth, now: float, *, stagger_s: float = STAGGER_S) -> None:
        if not order:
            raise ValueError("a race needs at least one candidate")
        self.state = RaceState.RUNNING
        self.winner: RaceCandidate | None = None
        self._health = health
        self._stagger_s = stagger_s
        self._order = tuple(order)
        self._next = 0
        self._next_at = now
        self._running: dict[RaceCandidate, float] = {}
        self._errors: dict[RaceCandidate, Exception] = {}
        self._starts: list[RaceCandidate] = []
        self._cancelled: list[RaceCandidate] = []
        self.tick(now)

    @property
    def deadline(self) -> float:
        """When `tick` is needed next (monotonic seconds), infinity for never."""
        waits = self.state is RaceState.RUNNING and self._next < len(self._order)
        return self._next_at if waits else math.inf

    @property
    def running(self) -> tuple[RaceCandidate, ...]:
        """The attempts under way."""
        return tuple(self._running)

    @property
    def error(self) -> Exception | None:
        """Why the most preferred candidate that failed did; None while none has."""
        return next((self._errors[candidate] for candidate in self._order if candidate in self._errors), None)

    def take_starts(self) -> list[RaceCandidate]:
        """Return the attempts to start now, each once."""
        starts, self._starts = self._starts, []
        return starts

    def take_cancelled(self) -> list[RaceCandidate]:
        """Return the attempts to give up, each once."""
        cancelled, self._cancelled = self._cancelled, []
        return cancelled

    def tick(self, now: float) -> None:
        """Start the next candidate when its time has come; one at a time, even when the loop is late."""
        if now >= self.deadline:
            self._start_next(now)

    def succeeded(self, candidate: RaceCandidate, now: float, *, rtt_s: float | None = None) -> bool:
        """An attempt succeeded; returns whether it has won. One that has not is to be given up by the caller."""
        began = self._running.pop(candidate, None)
        if began is None or self.state is not RaceState.RUNNING:
            return False
        self._health.succeeded(candidate.endpoint, now, rtt_s=rtt_s)
        self.state = RaceState.WON
        self.winner = candidate
        for other, other_began in self._running.items():
            # It had a whole head start and is still not there: the next race starts with another one.
            if began - other_began >= self._stagger_s:
                self._health.failed(other.endpoint, now, weight=_OVERTAKEN_PENALTY)
        self._cancel_running()
        return True

    def failed(self, candidate: RaceCandidate, error: Exception, now: float) -> None:
        """An attempt failed: the next one starts at once."""
        if self._running.pop(candidate, None) is None or self.state is not RaceState.RUNNING:
            return
        self._health.failed(candidate.endpoint, now)
        self._errors[candidate] = error
        if self._next < len(self._order):
            self._start_next(now)
        elif not self._running:
            self.state = RaceState.LOST

    def abandon(self) -> None:
        """End the race without a winner; running attempts are to be given up, and nothing is held against them."""
        if self.state is RaceState.RUNNING:
            self.state = RaceState.LOST
            self._cancel_running()

    def _start_next(self, now: float) -> None:
        candidate = self._order[self._next]
        self._next += 1
        self._next_at = now + self._stagger_s
        self._running[candidate] = now
        self._starts.append(candidate)

    def _cancel_running(self) -> None:
        # What the caller has not been told to start is not to be given up either.
        self._cancelled += [candidate for candidate in self._running if candidate not in self._starts]
        self._running.clear()
        self._starts.clear()
