"""What kind of NAT is in the way: the tests of RFC 5780 over two sockets and a server with two addresses, without I/O.

Two sockets, because each test needs a port of its own history: filtering is judged on the first socket, which sends to nobody but
the server's first address; mapping is judged on the second. Tests that do not depend on one another run at the same time, so that
the whole takes three round trips, or one ``patience_s`` when something stays silent. Silence is a result: it says what is filtered.

The server names its second address, and a few requests go there. Nothing but the size of a Binding request can be made of that.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from turn_client.attributes import canonical_peer, decode_address
from turn_client.errors import Address, BadPeer
from turn_client.stun import Attribute, MessageClass, Method, StunError, StunMessage, build_message, parse_message
from turn_client.transactions import MIN_RTO_S, Transaction

__all__ = ["PATIENCE_S", "Behaviour", "Discovery", "LocalSocket", "NatReport", "Outgoing"]

PATIENCE_S = 7.5
"""Four sendings, at 0, 0.5, 1.5 and 3.5 s, and as long again for the last answer.

The full schedule of RFC 8489 takes 39.5 s, which is long for a result that is mostly silence; with 5 % of loss each way one test
in ten thousand is judged wrongly.
"""
# RFC 5780 section 7.2.
_CHANGE_ADDRESS_AND_PORT = b"\x00\x00\x00\x06"
_CHANGE_PORT = b"\x00\x00\x00\x02"


class Behaviour(enum.Enum):
    """How a NAT maps or filters (RFC 4787 sections 4.1 and 5)."""

    UNKNOWN = "unknown"
    """The server cannot help to find out, or did not answer."""
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class LocalSocket(enum.IntEnum):
    """Which of the two sockets sends or has received."""

    FIRST = 0
    SECOND = 1


class Outgoing(NamedTuple):
    """A datagram to send."""

    local_socket: LocalSocket
    destination: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class NatReport:
    """What was found out."""

    reachable: bool
    """Whether the server answered at all; if not, UDP is blocked or the server is down, and all the rest is unknown."""
    mapped: Address | None = None
    """The first socket's address as the server sees it."""
    behind_nat: bool | None = None
    port_preserved: bool | None = None
    """Whether the NAT kept the number of the first socket's port."""
    mapping: Behaviour = Behaviour.UNKNOWN
    filtering: Behaviour = Behaviour.UNKNOWN
    hairpinning: bool | None = None
    """Whether two sockets behind the NAT reach each other by their outer addresses; None without a NAT."""
    complete_server: bool = False
    """Whether the server has the second address and port that mapping and filtering need (RFC 5780 section 7.4)."""
    rtt_s: float | None = None
    """The first round trip, None when its request was sent more than once."""

    @property
    def nat_name(self) -> str:
        """The name that people know (RFC 3489 section 5), or ``blocked``, ``open``, ``firewall`` and ``unknown``."""
        if not self.reachable:
            return "blocked"
        if Behaviour.UNKNOWN in (self.mapping, self.filtering):
            return "unknown"
        if not self.behind_nat:
            return "open" if self.filtering is Behaviour.ENDPOINT_INDEPENDENT else "firewall"
        if self.mapping is not Behaviour.ENDPOINT_INDEPENDENT:
            return "symmetric"
        return {
            Behaviour.ENDPOINT_INDEPENDENT: "full-cone",
            Behaviour.ADDRESS_DEPENDENT: "restricted-cone",
            Behaviour.ADDRESS_AND_PORT_DEPENDENT: "port-restricted-cone",
        }[self.filtering]


class _Test(enum.Enum):
    REACH = "reach"
    FILTER_BOTH = "filter address and port"
    FILTER_PORT = "filter port"
    MAP_FIRST = "map to the first address"
    MAP_ADDRESS = "map to the second address"
    MAP_BOTH = "map to the second address and port"
    HAIRPIN = "hairpin"
    HAIRPIN_BACK = "hairpin, the other way"


_HAIRPINS = (_Test.HAIRPIN, _Test.HAIRPIN_BACK)


@dataclass(slots=True)
class _Open:
    test: _Test
    transaction: Transaction
    local_socket: LocalSocket
    destination: Address
    answer_from: Address
    gives_up_at: float

    @property
    def deadline(self) -> float:
        return min(self.transaction.deadline, self.gives_up_at)


class Discovery:
    """One run: `start` it, send what `take_outgoing` returns after each call, call `tick` at `deadline`, read `report` when `done`.

    ``server`` is the server's first address. ``local`` are the addresses that the two sockets send from, as specific as the system
    knows them: whether there is a NAT is told by comparing them with what the server sees. ``random`` gives random bytes.
    `dropped` counts datagrams that were no answers of ours.
    """

    def __init__(
        self,
        server: Address,
        local: tuple[Address, Address],
        *,
        random: Callable[[int], bytes],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.dropped = 0
        self._server = server
        self._local = local
        self._random = random
        self._patience_s = patience_s
        self._open: dict[bytes, _Open] = {}
        self._outgoing: list[Outgoing] = []
        # The mapped address that a test brought; None for silence and for refusals.
        self._mapped: dict[_Test, Address | None] = {}
        self._refused: set[_Test] = set()
        self._hairpinning = False
        self._other: Address | None = None
        self._rtt_s: float | None = None
        self._started = False

    @property
    def done(self) -> bool:
        """Whether all is known that will be."""
        return self._started and not self._open

    @property
    def deadline(self) -> float:
        """When `tick` is needed next (monotonic seconds), infinity for never."""
        return min((found.deadline for found in self._open.values()), default=math.inf)

    def start(self, now: float) -> None:
        """Send the first request."""
        self._started = True
        self._begin(_Test.REACH, LocalSocket.FIRST, self._server, now)

    def take_outgoing(self) -> list[Outgoing]:
        """Return what is to be sent now."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, local_socket: LocalSocket, source: Address, data: bytes, now: float) -> None:
        """Take a datagram that came to one of the sockets; whatever is not an answer to a test is counted and dropped."""
        try:
            message = parse_message(data)
        except StunError:
            self.dropped += 1
            return
        found = self._open.get(message.transaction_id)
        if found is None or message.method != Method.BINDING:
            self.dropped += 1
        elif message.message_class is MessageClass.REQUEST:
            self._own_request(found, local_socket)
        elif local_socket is not found.local_socket or found.test in _HAIRPINS:
            self.dropped += 1
        elif message.message_class is MessageClass.SUCCESS and source == found.answer_from:
            self._answered(found, message, now)
        elif message.message_class is MessageClass.INDICATION or source not in (found.destination, found.answer_from):
            self.dropped += 1
        else:
            # An error, or an answer from where the request went although it should come from elsewhere: this server cannot do it.
            self._refused.add(found.test)
            self._end(found, None, now)

    def tick(self, now: float) -> None:
        """Send again what is due, and judge what stayed silent for too long."""
        for found in list(self._open.values()):
            if now < found.deadline or found.transaction.transaction_id not in self._open:
                continue
            if now < found.gives_up_at and found.transaction.expire(now):
                self._outgoing.append(Outgoing(found.local_socket, found.destination, found.transaction.data))
            else:
                self._end(found, None, now)

    @property
    def report(self) -> NatReport:
        """What was found out; what is not known yet is unknown."""
        mapped = self._mapped.get(_Test.REACH)
        if mapped is None:
            return NatReport(reachable=_Test.REACH in self._refused)
        behind_nat = mapped != self._local[0]
        return NatReport(
            reachable=True,
            mapped=mapped,
            behind_nat=behind_nat,
            port_preserved=mapped[1] == self._local[0][1],
            mapping=self._judge_mapping(),
            filtering=self._judge_filtering(),
            hairpinning=self._hairpinning if behind_nat and _Test.HAIRPIN in self._mapped else None,
            complete_server=self._other is not None,
            rtt_s=self._rtt_s,
        )

    def _begin(
        self,
        test: _Test,
        local_socket: LocalSocket,
        to: Address,
        now: float,
        *,
        change: bytes = b"",
        answer_from: Address | None = None,
    ) -> None:
        attributes = [(Attribute.CHANGE_REQUEST, change)] if change else []
        transaction_id = self._random(12)
        data = build_message(Method.BINDING, MessageClass.REQUEST, transaction_id, attributes, fingerprint=True)
        transaction = Transaction(transaction_id, data, now, rto_s=MIN_RTO_S, reliable=False)
        self._open[transaction_id] = _Open(test, transaction, local_socket, to, answer_from or to, now + self._patience_s)
        self._outgoing.append(Outgoing(local_socket, to, data))

    def _answered(self, found: _Open, message: StunMessage, now: float) -> None:
        mapped = _mapped_address(message)
        if mapped is None:
            self._refused.add(found.test)
        elif found.test is _Test.REACH:
            self._other = _other_address(message, self._server)
            self._rtt_s = found.transaction.rtt_s(now)
        self._end(found, mapped, now)

    def _own_request(self, found: _Open, local_socket: LocalSocket) -> None:
        """One of our requests came back in: only the NAT can have turned it round."""
        if found.test not in _HAIRPINS or local_socket is found.local_socket:
            self.dropped += 1
            return
        self._hairpinning = True
        for other in [other for other in self._open.values() if other.test in _HAIRPINS]:
            self._close(other, None)

    def _close(self, found: _Open, mapped: Address | None) -> None:
        self._mapped[found.test] = mapped
        del self._open[found.transaction.transaction_id]

    def _end(self, found: _Open, mapped: Address | None, now: float) -> None:
        """Note the result of a test and begin those that need it."""
        self._close(found, mapped)
        if mapped is None:
            return
        if found.test is _Test.REACH:
            self._begin(_Test.MAP_FIRST, LocalSocket.SECOND, self._server, now)
            if self._other is not None:
                self._begin_judging(self._other, now)
        elif found.test is _Test.FILTER_BOTH:
            # What comes from another address gets in; whether what comes from another port alone does is no question then.
            for other in [other for other in self._open.values() if other.test is _Test.FILTER_PORT]:
                self._close(other, None)
        elif found.test is _Test.MAP_FIRST:
            first = self._mapped[_Test.REACH]
            if first is not None and first != self._local[0]:
                # Both ways: what one socket sends opens the NAT's filter for what comes from the other.
                self._begin(_Test.HAIRPIN, LocalSocket.SECOND, first, now)
                self._begin(_Test.HAIRPIN_BACK, LocalSocket.FIRST, mapped, now)

    def _begin_judging(self, other: Address, now: float) -> None:
        server = self._server
        first, second = LocalSocket.FIRST, LocalSocket.SECOND
        self._begin(_Test.FILTER_BOTH, first, server, now, change=_CHANGE_ADDRESS_AND_PORT, answer_from=other)
        self._begin(_Test.FILTER_PORT, first, server, now, change=_CHANGE_PORT, answer_from=(server[0], other[1]))
        self._begin(_Test.MAP_ADDRESS, second, (other[0], server[1]), now)
        self._begin(_Test.MAP_BOTH, second, other, now)

    def _judge_filtering(self) -> Behaviour:
        """RFC 5780 section 4.4."""
        if self._other is None or _Test.FILTER_BOTH not in self._mapped or _Test.FILTER_PORT not in self._mapped:
            return Behaviour.UNKNOWN
        if self._mapped[_Test.FILTER_BOTH] is not None:
            return Behaviour.ENDPOINT_INDEPENDENT
        if _Test.FILTER_BOTH in self._refused or _Test.FILTER_PORT in self._refused:
            return Behaviour.UNKNOWN
        if self._mapped[_Test.FILTER_PORT] is not None:
            return Behaviour.ADDRESS_DEPENDENT
        return Behaviour.ADDRESS_AND_PORT_DEPENDENT

    def _judge_mapping(self) -> Behaviour:
        """RFC 5780 section 4.3; silence is no result here, because answers come from where the requests went."""
        seen = [self._mapped.get(test) for test in (_Test.MAP_FIRST, _Test.MAP_ADDRESS, _Test.MAP_BOTH)]
        if None in seen:
            return Behaviour.UNKNOWN
        first, address, both = seen
        if address != both:
            return Behaviour.ADDRESS_AND_PORT_DEPENDENT
        return Behaviour.ENDPOINT_INDEPENDENT if first == address else Behaviour.ADDRESS_DEPENDENT


def _mapped_address(message: StunMessage) -> Address | None:
    if message.mapped_address is not None:
        return message.mapped_address
    # Servers of RFC 3489, some of which still run for this one purpose.
    value = message.get(Attribute.MAPPED_ADDRESS)
    return None if value is None else decode_address(value)


def _other_address(message: StunMessage, server: Address) -> Address | None:
    """The server's second address when it differs in both parts and is one that can be sent to."""
    value = message.get(Attribute.OTHER_ADDRESS)
    if value is None:
        return None
    other = decode_address(value)
    try:
        (host, port), family = canonical_peer(other)
        same_family = family == canonical_peer(server)[1]
    except BadPeer:
        return None
    return (host, port) if same_family and host != server[0] and port != server[1] else None
