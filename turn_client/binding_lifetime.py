"""For how long a NAT keeps a mapping that nobody uses: the test of RFC 5780 section 4.6, without I/O.

One socket makes a mapping and falls silent. After a while the other asks the server to answer to that mapping's port, and if the
answer still comes in, the mapping was still there. That is repeated with longer silences, then between the longest that the mapping
outlived and the shortest that it did not. NATs remember for minutes; the run takes several times as long as what it finds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

from turn_client.discovery import PATIENCE_S, LocalSocket, Outgoing
from turn_client.errors import Address
from turn_client.stun import Attribute, MessageClass, Method, StunError, build_message, parse_message
from turn_client.transactions import MIN_RTO_S, Transaction

__all__ = ["LONGEST_S", "PRECISION_S", "BindingLifetime", "LifetimeReport"]

LONGEST_S = 600.0
"""Silences longer than this make no difference to anybody who refreshes at all."""
PRECISION_S = 5.0
"""Nearer than this to the truth is of no use: refreshes keep a distance of seconds anyway."""
# The first silence. No NAT may forget sooner than two minutes (RFC 4787 section 4.3), and many forget after 30 s.
_FIRST_SILENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class LifetimeReport:
    """What was found out; both are 0 when the server did not answer or cannot answer to another port."""

    outlived_s: float = 0.0
    """The longest silence after which the mapping was still there."""
    forgotten_s: float = 0.0
    """The shortest silence after which it was gone; infinity when it outlived every one that was tried."""

    @property
    def known(self) -> bool:
        """Whether there is a result."""
        return self.forgotten_s > 0


class _Step(enum.Enum):
    IDLE = "idle"
    MAPPING = "mapping"
    SILENT = "silent"
    ASKING = "asking"
    DONE = "done"


class BindingLifetime:
    """One run, used as `Discovery` is: `start`, `take_outgoing` after each call, `tick` at `deadline`, `report` when `done`.

    ``server`` must know RESPONSE-PORT, which is tried first, without any silence. ``random`` gives random bytes. `dropped` counts
    datagrams that were no answers of ours.
    """

    def __init__(
        self,
        server: Address,
        *,
        random: Callable[[int], bytes],
        longest_s: float = LONGEST_S,
        precision_s: float = PRECISION_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.dropped = 0
        self._server = server
        self._random = random
        self._longest_s = longest_s
        self._precision_s = precision_s
        self._patience_s = patience_s
        self._step = _Step.IDLE
        self._outgoing: list[Outgoing] = []
        self._transaction: Transaction | None = None
        self._gives_up_at = math.inf
        self._silent_until = math.inf
        self._port = 0
        # The first trial has no silence: it shows that the server can do this at all.
        self._silence_s = 0.0
        self._outlived_s = -1.0
        self._forgotten_s = math.inf

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._step is _Step.DONE

    @property
    def report(self) -> LifetimeReport:
        """The bounds that are known by now."""
        return LifetimeReport() if self._outlived_s < 0 else LifetimeReport(self._outlived_s, self._forgotten_s)

    @property
    def deadline(self) -> float:
        """When `tick` is needed next (monotonic seconds), infinity for never."""
        if self._step is _Step.SILENT:
            return self._silent_until
        return math.inf if self._transaction is None else min(self._transaction.deadline, self._gives_up_at)

    def start(self, now: float) -> None:
        """Send the first request."""
        self._map(now)

    def take_outgoing(self) -> list[Outgoing]:
        """Return what is to be sent now."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, local_socket: LocalSocket, source: Address, data: bytes, now: float) -> None:
        """Take a datagram that came to one of the sockets; whatever is not an answer is counted and dropped."""
        transaction = self._transaction
        try:
            message = parse_message(data)
        except StunError:
            self.dropped += 1
            return
        if transaction is None or message.transaction_id != transaction.transaction_id or source != self._server:
            self.dropped += 1
        elif message.method != Method.BINDING or message.message_class not in (MessageClass.SUCCESS, MessageClass.ERROR):
            self.dropped += 1
        elif message.message_class is MessageClass.ERROR or message.mapped_address is None or local_socket is not LocalSocket.FIRST:
            # Refused, or answered to the port that asked: this server does not know RESPONSE-PORT.
            self._end()
        elif self._step is _Step.MAPPING:
            self._mapped(message.mapped_address[1], now)
        else:
            self._outlived_s = self._silence_s
            self._next_trial(now)

    def tick(self, now: float) -> None:
        """Ask after a silence, send again what is due, and judge what got no answer."""
        if now < self.deadline:
            return
        transaction = self._transaction
        if self._step is _Step.SILENT:
            self._step = _Step.ASKING
            self._send(LocalSocket.SECOND, [(Attribute.RESPONSE_PORT, self._port.to_bytes(2, "big") + bytes(2))], now)
        elif transaction is not None and now < self._gives_up_at and transaction.expire(now):
            sender = LocalSocket.FIRST if self._step is _Step.MAPPING else LocalSocket.SECOND
            self._outgoing.append(Outgoing(sender, self._server, transaction.data))
        elif self._step is _Step.MAPPING or self._outlived_s < 0:
            self._end()
        else:
            self._forgotten_s = self._silence_s
            self._next_trial(now)

    def _map(self, now: float) -> None:
        self._step = _Step.MAPPING
        self._send(LocalSocket.FIRST, [], now)

    def _mapped(self, port: int, now: float) -> None:
        self._step = _Step.SILENT
        self._transaction = None
        self._port = port
        self._silent_until = now + self._silence_s

    def _next_trial(self, now: float) -> None:
        if self._outlived_s >= self._longest_s or self._forgotten_s - self._outlived_s <= self._precision_s:
            self._end()
            return
        if self._forgotten_s < math.inf:
            self._silence_s = (self._outlived_s + self._forgotten_s) / 2
        else:
            self._silence_s = min(max(2 * self._outlived_s, _FIRST_SILENCE_S), self._longest_s)
        self._map(now)

    def _send(self, sender: LocalSocket, attributes: list[tuple[int, bytes]], now: float) -> None:
        transaction_id = self._random(12)
        data = build_message(Method.BINDING, MessageClass.REQUEST, transaction_id, attributes, fingerprint=True)
        self._transaction = Transaction(transaction_id, data, now, rto_s=MIN_RTO_S, reliable=False)
        self._gives_up_at = now + self._patience_s
        self._outgoing.append(Outgoing(sender, self._server, data))

    def _end(self) -> None:
        self._step = _Step.DONE
        self._transaction = None
