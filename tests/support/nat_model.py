"""A network in simulated time: a STUN server with two addresses, NATs of every kind before it, and packets that get lost."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from turn_client.attributes import encode_address
from turn_client.discovery import Behaviour
from turn_client.errors import Address
from turn_client.stun import Attribute, MessageClass, Method, build_message, encode_error_code, encode_xor_address, parse_message

__all__ = ["Nat", "Network", "StunServer"]

EI, AD, APD = Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ADDRESS_DEPENDENT, Behaviour.ADDRESS_AND_PORT_DEPENDENT


def scope(behaviour: Behaviour, remote: Address) -> object:
    """What of a remote address such a behaviour looks at."""
    return {EI: None, AD: remote[0], APD: remote}[behaviour]


@dataclass(slots=True)
class StunServer:
    """Answers Binding requests on all four combinations of its addresses and ports, as RFC 5780 section 6 says."""

    first: Address = ("198.51.100.1", 3478)
    second: Address = ("198.51.100.2", 3479)
    knows_rfc5780: bool = True
    honours_change: bool = True
    """A server that ignores CHANGE-REQUEST answers from where it was asked."""
    knows_response_port: bool = True
    refuses_change: bool = False
    refuses_all: bool = False
    old: bool = False
    """Speaks RFC 3489: MAPPED-ADDRESS alone."""

    def addresses(self) -> list[Address]:
        return [(host, port) for host in (self.first[0], self.second[0]) for port in (self.first[1], self.second[1])]

    def answer(self, source: Address, at: Address, data: bytes) -> tuple[Address, bytes, Address]:
        """Return from where, what and to whom."""
        request = parse_message(data)
        assert (request.method, request.message_class) == (Method.BINDING, MessageClass.REQUEST)
        change = int.from_bytes(request.get(Attribute.CHANGE_REQUEST) or b"", "big")
        port = request.get(Attribute.RESPONSE_PORT)
        to = source if port is None or not self.knows_response_port else (source[0], int.from_bytes(port[:2], "big"))
        if self.refuses_all or (change and self.refuses_change):
            error = [(Attribute.ERROR_CODE, encode_error_code(420, "Unknown Attribute"))]
            return at, build_message(Method.BINDING, MessageClass.ERROR, request.transaction_id, error), to
        origin = at
        if self.honours_change:
            other = self._opposite(at)
            origin = (other[0] if change & 4 else at[0], other[1] if change & 2 else at[1])
        if self.old:
            attributes = [(Attribute.MAPPED_ADDRESS, encode_address(source))]
        else:
            attributes = [(Attribute.XOR_MAPPED_ADDRESS, encode_xor_address(*source, request.transaction_id))]
        if self.knows_rfc5780:
            attributes += [
                (Attribute.OTHER_ADDRESS, encode_address(self._opposite(at))),
                (Attribute.RESPONSE_ORIGIN, encode_address(origin)),
            ]
        return origin, build_message(Method.BINDING, MessageClass.SUCCESS, request.transaction_id, attributes), to

    def _opposite(self, at: Address) -> Address:
        """The address that differs from ``at`` in both parts."""
        host = self.second[0] if at[0] == self.first[0] else self.first[0]
        return host, self.second[1] if at[1] == self.first[1] else self.first[1]


@dataclass(slots=True)
class _Mapping:
    inside: Address
    port: int
    used_at: float
    allowed: set[object] = field(default_factory=set)


@dataclass(slots=True)
class Nat:
    """One NAT with one outer address; a mapping dies when nothing went out through it for ``lifetime_s``."""

    mapping: Behaviour
    filtering: Behaviour
    hairpins: bool = False
    preserves_port: bool = False
    blocks_udp: bool = False
    lifetime_s: float = 120.0
    outer: str = "203.0.113.7"
    _table: dict[tuple[Address, object], _Mapping] = field(default_factory=dict)
    _ports: itertools.count[int] = field(default_factory=lambda: itertools.count(20_000))

    def outbound(self, inside: Address, remote: Address, now: float) -> Address | None:
        """Return the source as the world sees it, None when nothing leaves."""
        if self.blocks_udp:
            return None
        key = (inside, scope(self.mapping, remote))
        found = self._table.get(key)
        if found is None or now - found.used_at > self.lifetime_s:
            found = self._table[key] = _Mapping(inside, inside[1] if self.preserves_port else next(self._ports), now)
        found.used_at = now
        found.allowed.add(scope(self.filtering, remote))
        return self.outer, found.port

    def inbound(self, source: Address, port: int, now: float) -> Address | None:
        """Return who inside gets a packet, None when it is filtered."""
        for found in self._table.values():
            if found.port == port and now - found.used_at <= self.lifetime_s and scope(self.filtering, source) in found.allowed:
                return found.inside
        return None


class Network:
    """Carries datagrams between the sockets of one host, its NAT if there is one, and the server."""

    def __init__(
        self,
        server: StunServer,
        nat: Nat | None = None,
        *,
        firewall: Behaviour = EI,
        loss: float = 0.0,
        delay_s: float = 0.02,
        unreachable: tuple[str, ...] = (),
        seed: int = 1,
    ) -> None:
        self.server = server
        self.nat = nat
        self.now = 100.0
        self.sent: list[tuple[Address, Address]] = []
        self._firewall = firewall
        self._contacted: set[tuple[Address, object]] = set()
        self._random = random.Random(seed)
        self._loss = loss
        self._delay_s = delay_s
        self._unreachable = unreachable
        self._order = itertools.count()
        self._flying: list[tuple[float, int, Address, Address, bytes]] = []

    @property
    def next_s(self) -> float | None:
        """When the next datagram arrives, None for nothing under way."""
        return self._flying[0][0] if self._flying else None

    def send(self, inside: Address, remote: Address, data: bytes) -> None:
        """Send from a socket of the host."""
        self.sent.append((inside, remote))
        source: Address | None = inside
        if self.nat is not None:
            source = self.nat.outbound(inside, remote, self.now)
            if source is None or (remote[0] == self.nat.outer and not self.nat.hairpins):
                return
        else:
            self._contacted.add((inside, scope(self._firewall, remote)))
        assert source is not None
        if remote[0] not in self._unreachable:
            self._fly(source, remote, data)

    def run_until(self, end: float, deliver: Callable[[Address, Address, bytes], None]) -> None:
        """Carry everything that arrives up to ``end``; ``deliver`` gets the socket, the source and the datagram."""
        while self._flying and self._flying[0][0] <= end:
            self.now, _, source, remote, data = heapq.heappop(self._flying)
            if remote in self.server.addresses():
                origin, answer, to = self.server.answer(source, remote, data)
                self._fly(origin, to, answer)
            else:
                inside = self._inbound(source, remote)
                if inside is not None:
                    deliver(inside, source, data)
        self.now = max(self.now, end)

    def _inbound(self, source: Address, remote: Address) -> Address | None:
        if self.nat is not None:
            return self.nat.inbound(source, remote[1], self.now)
        return remote if (remote, scope(self._firewall, source)) in self._contacted else None

    def _fly(self, source: Address, remote: Address, data: bytes) -> None:
        if self._random.random() >= self._loss:
            heapq.heappush(self._flying, (self.now + self._delay_s, next(self._order), source, remote, data))
