"""STUN transactions: when to send again, when to give up, and what the round-trip time was (RFC 8489 section 6.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from turn_client.errors import Address
from turn_client.timers import Timers

__all__ = ["MIN_RTO_S", "RELIABLE_TIMEOUT_S", "RtoCache", "Transaction", "TransactionTable"]

MIN_RTO_S = 0.5
"""RFC 8489 section 6.2.1: "SHOULD be greater than or equal to 500 ms"."""
# A round trip of more than this is a buffer somewhere; RFC 6298 section 2.5 allows a bound.
_MAX_RTO_S = 3.0
# RFC 8489 section 6.2.1: Rc, how often a request is sent at most, and Rm, how many RTOs are waited after the last time.
_MAX_SENDS = 7
_LAST_WAIT_RTOS = 16
RELIABLE_TIMEOUT_S = 39.5
"""Ti of RFC 8489 section 6.2.2: as long as the whole schedule takes over UDP at the smallest RTO."""
# RFC 8489 section 6.2.1: the RTO "SHOULD be considered stale and discarded after 10 minutes".
_RTO_STALE_S = 600.0
# Servers remembered. A client knows a few; a bound keeps a process that follows redirects from growing.
_MAX_SERVERS = 256
# RFC 6298 section 2: gains of the smoothed round-trip time and of its variation, and the weight of the variation.
_ALPHA, _BETA, _K = 1 / 8, 1 / 4, 4


@dataclass(slots=True)
class _Estimate:
    smoothed_s: float
    variation_s: float
    measured_at: float


class RtoCache:
    """Round-trip times by server, shared by the allocations of one client; 256 servers, 10 minutes each."""

    def __init__(self) -> None:
        self._servers: OrderedDict[Address, _Estimate] = OrderedDict()

    def rto_s(self, server: Address, now: float) -> float:
        """The first retransmission time-out to use with ``server``."""
        known = self._fresh(server, now)
        if known is None:
            return MIN_RTO_S
        return min(max(known.smoothed_s + _K * known.variation_s, MIN_RTO_S), _MAX_RTO_S)

    def rtt_s(self, server: Address, now: float) -> float | None:
        """The smoothed round-trip time to ``server``, None when nothing fresh is known."""
        known = self._fresh(server, now)
        return None if known is None else known.smoothed_s

    def sample(self, server: Address, rtt_s: float, now: float) -> None:
        """Take a measurement of an exchange that was not retransmitted (Karn's rule is the caller's)."""
        known = self._fresh(server, now)
        if known is None:
            known = self._servers[server] = _Estimate(rtt_s, rtt_s / 2, now)
        else:
            known.variation_s += _BETA * (abs(known.smoothed_s - rtt_s) - known.variation_s)
            known.smoothed_s += _ALPHA * (rtt_s - known.smoothed_s)
            known.measured_at = now
        self._servers.move_to_end(server)
        if len(self._servers) > _MAX_SERVERS:
            self._servers.popitem(last=False)

    def _fresh(self, server: Address, now: float) -> _Estimate | None:
        known = self._servers.get(server)
        if known is not None and now - known.measured_at > _RTO_STALE_S:
            del self._servers[server]
            return None
        return known


class Transaction:
    """One request and the times at which it is sent; over a reliable transport it is sent once."""

    __slots__ = ("_interval_s", "data", "deadline", "reliable", "rto_s", "sends", "started_at", "transaction_id")

    def __init__(self, transaction_id: bytes, data: bytes, now: float, *, rto_s: float, reliable: bool) -> None:
        self.transaction_id = transaction_id
        self.data = data
        self.started_at = now
        self.rto_s = rto_s
        self.reliable = reliable
        self.sends = 1
        self._interval_s = rto_s
        self.deadline = now + (RELIABLE_TIMEOUT_S if reliable else rto_s)

    def expire(self, now: float) -> bool:
        """Act on the passed deadline: return whether the request is to be sent again; if not, the transaction has timed out.

        The schedule counts from the deadlines, so that a loop which is a little late does not stretch it; a machine that slept
        goes on from ``now`` instead of sending the rest in one burst.
        """
        if self.reliable or self.sends == _MAX_SENDS:
            return False
        base = self.deadline if now - self.deadline < self.rto_s else now
        self.sends += 1
        self._interval_s *= 2
        self.deadline = base + (_LAST_WAIT_RTOS * self.rto_s if self.sends == _MAX_SENDS else self._interval_s)
        return True

    def rtt_s(self, now: float) -> float | None:
        """The round-trip time if an answer came now; None when it cannot be told which sending was answered (Karn)."""
        return now - self.started_at if self.sends == 1 else None


class TransactionTable:
    """The transactions in progress, by transaction id, with their schedule."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._open: dict[bytes, Transaction] = {}
        self._timers: Timers[bytes] = Timers()
        self.retransmissions = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def deadline(self) -> float:
        """When `tick` is needed next (monotonic seconds), infinity for never."""
        return self._timers.next_s

    def open(self, transaction: Transaction) -> None:
        """Send the request for the first time and keep its schedule."""
        self._open[transaction.transaction_id] = transaction
        self._timers.set(transaction.transaction_id, transaction.deadline)
        self._emit(transaction.data)

    def close(self, transaction_id: bytes) -> Transaction | None:
        """End the transaction, None when there is no such one (any more): a late or a foreign answer."""
        self._timers.cancel(transaction_id)
        return self._open.pop(transaction_id, None)

    def get(self, transaction_id: bytes) -> Transaction | None:
        """The transaction in progress with this id."""
        return self._open.get(transaction_id)

    def tick(self, now: float) -> list[Transaction]:
        """Send again what is due; return the transactions that timed out, which are then closed."""
        timed_out = []
        for transaction_id in self._timers.due(now):
            transaction = self._open[transaction_id]
            if transaction.expire(now):
                self._timers.set(transaction_id, transaction.deadline)
                self._emit(transaction.data)
                self.retransmissions += 1
            else:
                del self._open[transaction_id]
                timed_out.append(transaction)
        return timed_out
