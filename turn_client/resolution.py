"""From the URI of a server to addresses: which DNS records are asked for and what follows from them, without I/O.

RFC 5928 for TURN (S-NAPTR, SRV, addresses) and RFC 8489 section 8 for STUN (SRV, addresses). What may be needed is asked for all at
once: the answer takes one round trip where the algorithm, read word by word, takes three, and a name server that is silent about
one kind of record costs one time-out.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from turn_client.errors import Address, TurnError
from turn_client.uri import ServerScheme, ServerUri, UriTransport

__all__ = [
    "DnsRecord",
    "NaptrRecord",
    "Query",
    "RecordType",
    "Resolution",
    "ResolutionFailed",
    "Resolver",
    "ServerEndpoint",
    "ServerTransport",
    "SrvRecord",
    "order_srv",
]

# Records taken of one answer. Nobody runs more servers under one name, and a race is over long before the ninth.
_MAX_RECORDS = 8
# Lookups made for one URI. Two NAPTR and three SRV records that each lead to a full answer need fewer; a hostile zone has no end.
_MAX_QUERIES = 48
# What one race takes.
_MAX_ENDPOINTS = 64


class ResolutionFailed(TurnError):
    """The URI led to no address; retryable when a lookup failed, and not when the answer was that there is nothing."""

    default_code = "turn_not_resolved"


class ServerTransport(enum.Enum):
    """How a client talks to a server."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class ServerEndpoint:
    """One address of a server and how to talk to it."""

    address: Address
    transport: ServerTransport
    server_name: str
    """What the certificate is checked against: the host of the URI, whatever DNS made of it (RFC 5928 section 5)."""

    @property
    def is_ipv6(self) -> bool:
        """Whether the address is an IPv6 address."""
        return ":" in self.address[0]


class RecordType(enum.Enum):
    """The kinds of DNS records that are asked for."""

    NAPTR = "NAPTR"
    SRV = "SRV"
    A = "A"
    AAAA = "AAAA"


@dataclass(frozen=True, slots=True)
class Query:
    """One lookup; ``name`` is absolute, without a final dot."""

    kind: RecordType
    name: str


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """A record of RFC 2782; ``target`` is without a final dot, and empty for "this service is decidedly not here"."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """A record of RFC 3403, as S-NAPTR (RFC 3958) uses it: flags "s", "a" or none, and a replacement in place of an expression."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str


DnsRecord = SrvRecord | NaptrRecord | str
"""Addresses are their text."""


class Resolver(Protocol):
    """Looks records up."""

    async def lookup(self, query: Query) -> Sequence[DnsRecord]:
        """Return the records, none when the name has none of the kind. Raises ResolutionFailed when that cannot be found out."""


# RFC 5928 section 5, the application protocols of S-NAPTR, and the names of the services in SRV records.
_NAPTR_PROTOCOLS = {
    "turn.udp": (False, ServerTransport.UDP),
    "turn.tcp": (False, ServerTransport.TCP),
    "turn.tls": (True, ServerTransport.TLS),
}
_SRV_PROTOCOL = {ServerTransport.UDP: "_udp", ServerTransport.TCP: "_tcp", ServerTransport.TLS: "_tcp"}


class Resolution:
    """The way of one URI to its endpoints.

    While `queries` is not empty, look them up (side by side) and report each with `answer` or `fail`; more may be needed then. With
    `give_up`, what has not been answered is not waited for. In the end `endpoints` has the addresses, the preferred first.

    ``transports`` are those that the client can use, the preferred first. ``random`` gives numbers in [0, 1) for the weights of SRV
    records. Raises ResolutionFailed when the URI demands a transport that is not among them.
    """

    def __init__(
        self,
        uri: ServerUri,
        *,
        random: Callable[[], float],
        transports: Sequence[ServerTransport] = tuple(ServerTransport),
        ipv4: bool = True,
        ipv6: bool = True,
    ) -> None:
        self._uri = uri
        self._random = random
        self._families = tuple(kind for kind, wanted in ((RecordType.AAAA, ipv6), (RecordType.A, ipv4)) if wanted)
        self._transports = _usable(uri, transports)
        self._known: dict[Query, tuple[DnsRecord, ...]] = {}
        self._failed: set[Query] = set()
        self._missing: dict[Query, None] = {}
        self._endpoints: tuple[ServerEndpoint, ...] = ()
        if uri.ip_address is None:
            self._prefetch()
        self._plan()

    @property
    def queries(self) -> tuple[Query, ...]:
        """What must be known to go on; empty in the end."""
        return tuple(self._missing)

    @property
    def endpoints(self) -> tuple[ServerEndpoint, ...]:
        """The endpoints in order of preference.

        Raises ResolutionFailed when there are none, and RuntimeError while queries are open.
        """
        if self._missing:
            raise RuntimeError("the resolution is not finished")
        if self._endpoints:
            return self._endpoints
        if self._failed:
            raise ResolutionFailed(f"the address of {self._uri} could not be looked up", retryable=True)
        raise ResolutionFailed(f"DNS knows no address for {self._uri}", retryable=False)

    def answer(self, query: Query, records: Iterable[DnsRecord]) -> None:
        """Take the records that a lookup brought; what does not fit its kind is left out."""
        if query not in self._missing:
            return
        kept: tuple[DnsRecord, ...]
        if query.kind is RecordType.SRV:
            kept = tuple(order_srv([record for record in records if isinstance(record, SrvRecord)], self._random))
        elif query.kind is RecordType.NAPTR:
            rules = [record for record in records if isinstance(record, NaptrRecord)]
            rules.sort(key=lambda rule: (rule.order, rule.preference))
            kept = tuple(rules)
        else:
            version = 4 if query.kind is RecordType.A else 6
            kept = tuple(record for record in records if isinstance(record, str) and _is_address(record, version))
        self._known[query] = kept[:_MAX_RECORDS]
        self._plan()

    def fail(self, query: Query) -> None:
        """A lookup brought no answer: the way goes on as if there were no records."""
        if query in self._missing:
            self._failed.add(query)
            self._known[query] = ()
            self._plan()

    def give_up(self) -> None:
        """Make do with what is known."""
        while self._missing:
            self.fail(next(iter(self._missing)))

    def _prefetch(self) -> None:
        """Ask for whatever the first steps may need, at once."""
        if self._uses_srv:
            if self._uses_naptr:
                self._look_up(RecordType.NAPTR, self._uri.host)
            for transport in self._transports:
                self._look_up(RecordType.SRV, self._srv_name(transport))
        self._hosts(self._uri.host)

    def _plan(self) -> None:
        """Walk the whole algorithm over what is known; lookups that are missing on the way become queries."""
        for query in [query for query in self._missing if query in self._known]:
            del self._missing[query]
        endpoints = dict.fromkeys(self._walk())
        if not self._missing:
            self._endpoints = tuple(endpoints)[:_MAX_ENDPOINTS]

    def _walk(self) -> list[ServerEndpoint]:
        uri = self._uri
        if uri.ip_address is not None:
            return [self._endpoint(uri.host, uri.port or uri.default_port, transport) for transport in self._transports]
        if self._uses_srv:
            naptr = self._follow_naptr(uri.host, set()) if self._uses_naptr else []
            if naptr:
                return naptr
            services = [(transport, self._look_up(RecordType.SRV, self._srv_name(transport))) for transport in self._transports]
            # One record for one transport is enough to say where the service is (RFC 5928 section 3, step 5).
            if any(records for _, records in services):
                return [found for transport, records in services for found in self._follow_srv(records, transport)]
        port = uri.port or uri.default_port
        return [self._endpoint(host, port, transport) for transport in self._transports for host in self._hosts(uri.host)]

    @property
    def _uses_srv(self) -> bool:
        # A port says that the name is that of a machine. Nothing outside this machine knows localhost (RFC 6761 section 6.3).
        return self._uri.port is None and self._uri.host.rpartition(".")[2] != "localhost"

    @property
    def _uses_naptr(self) -> bool:
        return self._uri.is_turn and self._uri.transport is None

    def _srv_name(self, transport: ServerTransport) -> str:
        return f"_{self._uri.scheme.value}.{_SRV_PROTOCOL[transport]}.{self._uri.host}"

    def _follow_naptr(self, name: str, seen: set[str]) -> list[ServerEndpoint]:
        """Follow the rules of one name; each name is followed once, because they may lead in a circle."""
        seen.add(name)
        found: list[ServerEndpoint] = []
        for rule in self._look_up(RecordType.NAPTR, name):
            if not isinstance(rule, NaptrRecord) or rule.regexp or not rule.replacement:
                continue
            transports = self._naptr_transports(rule.service)
            flags = rule.flags.lower()
            for transport in transports:
                if flags == "s":
                    found += self._follow_srv(self._look_up(RecordType.SRV, rule.replacement), transport)
                elif flags == "a":
                    port = self._uri.default_port
                    found += [self._endpoint(host, port, transport) for host in self._hosts(rule.replacement)]
            if not flags and transports and rule.replacement not in seen:
                found += self._follow_naptr(rule.replacement, seen)
        return found

    def _naptr_transports(self, service: str) -> list[ServerTransport]:
        """Which transports a service field such as ``RELAY:turn.udp:turn.tcp`` offers us."""
        name, *protocols = service.lower().split(":")
        if name != "relay":
            return []
        known = dict.fromkeys(_NAPTR_PROTOCOLS[protocol] for protocol in protocols if protocol in _NAPTR_PROTOCOLS)
        return [transport for secure, transport in known if secure == self._uri.secure and transport in self._transports]

    def _follow_srv(self, records: Iterable[DnsRecord], transport: ServerTransport) -> list[ServerEndpoint]:
        return [
            self._endpoint(host, record.port, transport)
            for record in records
            if isinstance(record, SrvRecord) and record.target and 0 < record.port < 65536
            for host in self._hosts(record.target)
        ]

    def _hosts(self, name: str) -> list[str]:
        return [str(record) for kind in self._families for record in self._look_up(kind, name)]

    def _look_up(self, kind: RecordType, name: str) -> tuple[DnsRecord, ...]:
        query = Query(kind, name)
        if query in self._known:
            return self._known[query]
        if len(self._known) + len(self._missing) < _MAX_QUERIES:
            self._missing[query] = None
        return ()

    def _endpoint(self, host: str, port: int, transport: ServerTransport) -> ServerEndpoint:
        return ServerEndpoint((str(ipaddress.ip_address(host)), port), transport, self._uri.host)


def _usable(uri: ServerUri, transports: Sequence[ServerTransport]) -> tuple[ServerTransport, ...]:
    wanted: tuple[ServerTransport, ...]
    if uri.secure:
        # With UDP this is DTLS (RFC 7350).
        wanted = () if uri.transport is UriTransport.UDP else (ServerTransport.TLS,)
    elif uri.transport is not None:
        wanted = (ServerTransport(uri.transport.value),)
    elif uri.scheme is ServerScheme.STUN:
        # RFC 7064 has no transport; Binding over TCP tells the address of a TCP connection, which nobody asked for.
        wanted = (ServerTransport.UDP,)
    else:
        wanted = (ServerTransport.UDP, ServerTransport.TCP)
    usable = tuple(transport for transport in transports if transport in wanted)
    if not usable:
        allowed = ", ".join(transport.value for transport in transports)
        raise ResolutionFailed(
            f"{uri} needs a transport that is not in use here; in use are: {allowed}",
            code="turn_transport_not_supported",
            retryable=False,
        )
    return usable


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def order_srv(records: Sequence[SrvRecord], random: Callable[[], float]) -> list[SrvRecord]:
    """Order by priority, and within one priority by lot, in proportion to the weights (RFC 2782, "Usage rules")."""
    ordered: list[SrvRecord] = []
    for priority in sorted({record.priority for record in records}):
        # Those of weight 0 first, which gives them "a very small chance of being selected".
        waiting = sorted((record for record in records if record.priority == priority), key=lambda record: record.weight > 0)
        while waiting:
            lot = random() * sum(record.weight for record in waiting)
            running = 0
            for at, record in enumerate(waiting):
                running += record.weight
                if running >= lot:
                    ordered.append(waiting.pop(at))
                    break
    return ordered
