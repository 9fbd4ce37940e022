"""Looks records up, and carries out a `Resolution`.

Addresses come from the machine's own resolver: the hosts file, mDNS and whatever else it is set up with count for TURN servers as
for any other. It cannot be asked for SRV and NAPTR records, so those are asked of the name servers by dnspython.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from salam.tasks import TaskOwner
from turn_client.resolution import (
    DnsRecord,
    NaptrRecord,
    Query,
    RecordType,
    Resolution,
    ResolutionFailed,
    Resolver,
    ServerEndpoint,
    ServerTransport,
    SrvRecord,
)
from turn_client.uri import ServerUri

__all__ = ["DnsResolver", "resolve"]

# A name server that does not answer in this time, retries included, will not; a user who waits for a call has less patience.
_LOOKUP_S = 2.0
# As long for all lookups of one URI: they run side by side, and what they lead to is asked for within this time too.
_RESOLVE_S = 4.0
# Once one family has an address, the other is waited for no longer than an attempt to connect would wait (RFC 8305 section 5; its
# section 3 has 50 ms for those that start with what is there, where we order all before we start).
_FAMILY_GRACE_S = 0.25
_FAMILIES = {RecordType.A: socket.AF_INET, RecordType.AAAA: socket.AF_INET6}
# Nothing is there: an answer, in contrast to a failure.
_NOTHING = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), socket.EAI_ADDRFAMILY})


class DnsResolver:
    """The resolver that `TurnClient` uses unless it is given another.

    ``nameservers`` are addresses and ports of name servers; when they are given, they are asked for everything, addresses too, and
    the machine's own settings count for nothing.
    """

    def __init__(self, nameservers: Sequence[tuple[str, int]] | None = None) -> None:
        self._nameservers = nameservers
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def lookup(self, query: Query) -> Sequence[DnsRecord]:
        """Look one name up; raises ResolutionFailed when that cannot be found out within 2 s."""
        try:
            async with asyncio.timeout(_LOOKUP_S):
                if query.kind in _FAMILIES and self._nameservers is None:
                    return await self._system_addresses(query)
                return await self._ask(query)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except socket.gaierror as error:
            if error.errno in _NOTHING:
                return []
            raise ResolutionFailed("the system's resolver failed", retryable=True) from error
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise ResolutionFailed(f"the lookup of a {query.kind.value} record failed", retryable=True) from error

    async def _system_addresses(self, query: Query) -> Sequence[DnsRecord]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(query.name, None, family=_FAMILIES[query.kind], type=socket.SOCK_DGRAM)
        # Link-local addresses with a scope are no use to us: the scope is lost on the way to a socket of any kind.
        return [str(address[0]) for *_, address in found if "%" not in str(address[0])]

    async def _ask(self, query: Query) -> Sequence[DnsRecord]:
        resolver = await self._prepared()
        name = dns.name.from_text(query.name)
        answer = await resolver.resolve(name, dns.rdatatype.from_text(query.kind.value), search=False)
        return [record for found in answer if (record := _record(found)) is not None]

    async def _prepared(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            if self._nameservers is None:
                # Reads the machine's settings from files.
                resolver = await asyncio.get_running_loop().run_in_executor(None, dns.asyncresolver.Resolver)
            else:
                resolver = dns.asyncresolver.Resolver(configure=False)
                resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in self._nameservers]
            resolver.lifetime = _LOOKUP_S
            self._resolver = resolver
        return self._resolver


def _record(found: object) -> DnsRecord | None:
    """Turn what dnspython read into what a `Resolution` takes."""
    if isinstance(found, A | AAAA):
        return str(found.address)
    if isinstance(found, SRV):
        return SrvRecord(found.priority, found.weight, found.port, _name(found.target))
    if isinstance(found, NAPTR):
        flags, service, regexp = (field.decode("ascii", "replace") for field in (found.flags, found.service, found.regexp))
        return NaptrRecord(found.order, found.preference, flags, service, regexp, _name(found.replacement))
    return None


def _name(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


async def resolve(
    uri: ServerUri,
    resolver: Resolver,
    *,
    random: Callable[[], float],
    transports: Sequence[ServerTransport] = tuple(ServerTransport),
    ipv4: bool = True,
    ipv6: bool = True,
    timeout_s: float = _RESOLVE_S,
) -> tuple[ServerEndpoint, ...]:
    """Return the endpoints of ``uri``, the preferred first; after ``timeout_s`` seconds those that are known by then.

    For the other arguments see `Resolution`. Raises ResolutionFailed when there are none.
    """
    resolution = Resolution(uri, random=random, transports=transports, ipv4=ipv4, ipv6=ipv6)
    if resolution.queries:
        tasks = TaskOwner("turn_dns")
        try:
            await _answer_all(resolution, resolver, tasks, timeout_s)
        finally:
            await tasks.close()
        resolution.give_up()
    return resolution.endpoints


async def _answer_all(resolution: Resolution, resolver: Resolver, tasks: TaskOwner, timeout_s: float) -> None:
    """Look up what the resolution needs until it needs no more, or time is up."""
    time = asyncio.get_running_loop().time
    end = time() + timeout_s
    changed = asyncio.Event()
    asked: set[Query] = set()
    address_at: float | None = None

    async def ask(query: Query) -> None:
        nonlocal address_at
        try:
            records = await resolver.lookup(query)
        except ResolutionFailed:
            resolution.fail(query)
        else:
            if records and query.kind in _FAMILIES and address_at is None:
                address_at = time()
            resolution.answer(query, records)
        changed.set()

    while resolution.queries:
        for query in resolution.queries:
            if query not in asked:
                asked.add(query)
                tasks.spawn(ask(query), name=query.kind.value)
        limit = end
        if address_at is not None and all(query.kind in _FAMILIES for query in resolution.queries):
            limit = min(end, address_at + _FAMILY_GRACE_S)
        try:
            async with asyncio.timeout_at(limit):
                await changed.wait()
        except TimeoutError:
            return
        changed.clear()
