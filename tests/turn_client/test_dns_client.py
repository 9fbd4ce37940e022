"""The resolver against a name server on the loopback, and against the machine's own hosts file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from turn_client.dns import DnsResolver, resolve
from turn_client.resolution import DnsRecord, Query, RecordType, ResolutionFailed, ServerTransport
from turn_client.uri import parse_server_uri

ZONE = {
    ("relay.test.", "NAPTR"): [
        '10 10 "S" "RELAY:turn.tcp" "" _turn._tcp.relay.test.',
        '20 10 "S" "RELAY:turn.udp" "" _turn._udp.relay.test.',
    ],
    ("_turn._udp.relay.test.", "SRV"): ["1 0 3479 a.relay.test.", "2 0 3480 b.relay.test."],
    ("_turn._tcp.relay.test.", "SRV"): ["1 0 3481 a.relay.test."],
    ("_turns._tcp.relay.test.", "SRV"): ["0 0 0 ."],
    ("a.relay.test.", "A"): ["192.0.2.1"],
    ("a.relay.test.", "AAAA"): ["2001:db8::1"],
    ("b.relay.test.", "A"): ["192.0.2.2"],
    ("slow.test.", "A"): ["192.0.2.3"],
}
SILENT = {("slow.test.", "AAAA"), ("mute.test.", "A"), ("mute.test.", "AAAA")}


class NameServer(asyncio.DatagramProtocol):
    """Answers from `ZONE`; NXDOMAIN for what is not there, nothing at all for what is `SILENT`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        message = dns.message.from_wire(data)
        question = message.question[0]
        key = (question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype))
        self.asked.append(key)
        if key in SILENT:
            return
        answer = dns.message.make_response(message)
        if key[0] == "broken.test.":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif key in ZONE:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", key[1], *ZONE[key]))
        elif key[0] not in {name for name, _ in ZONE}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), address)


@contextlib.asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, DnsResolver]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server, DnsResolver([transport.get_extra_info("sockname")])
    finally:
        transport.close()


async def find(uri: str, resolver: DnsResolver, **options: object) -> list[tuple[str, int, str]]:
    found = await resolve(parse_server_uri(uri), resolver, random=lambda: 0.0, **options)  # type: ignore[arg-type]
    return [(*endpoint.address, endpoint.transport.value) for endpoint in found]


async def test_naptr_srv_and_addresses_in_the_order_of_the_zone() -> None:
    async with name_server() as (_, resolver):
        assert await find("turn:relay.test", resolver) == [
            ("2001:db8::1", 3481, "tcp"),
            ("192.0.2.1", 3481, "tcp"),
            ("2001:db8::1", 3479, "udp"),
            ("192.0.2.1", 3479, "udp"),
            ("192.0.2.2", 3480, "udp"),
        ]


async def test_srv_of_the_transport_alone() -> None:
    async with name_server() as (server, resolver):
        assert await find("turn:relay.test?transport=udp", resolver, ipv6=False) == [
            ("192.0.2.1", 3479, "udp"),
            ("192.0.2.2", 3480, "udp"),
        ]
        assert {kind for _, kind in server.asked} == {"SRV", "A"}


async def test_a_service_that_is_decidedly_not_there() -> None:
    async with name_server() as (_, resolver):
        with pytest.raises(ResolutionFailed) as caught:
            await find("turns:relay.test", resolver)
        assert not caught.value.retryable


async def test_a_name_that_does_not_exist_and_a_server_that_fails() -> None:
    async with name_server() as (_, resolver):
        assert list(await resolver.lookup(Query(RecordType.A, "nobody.test"))) == []
        assert list(await resolver.lookup(Query(RecordType.NAPTR, "b.relay.test"))) == []
        with pytest.raises(ResolutionFailed) as caught:
            await resolver.lookup(Query(RecordType.A, "broken.test"))
        assert caught.value.retryable
        with pytest.raises(ResolutionFailed):
            await resolver.lookup(Query(RecordType.A, "a" * 70 + ".test"))


async def test_one_silent_family_is_not_waited_for_long() -> None:
    async with name_server() as (server, resolver):
        assert await find("turn:slow.test:1?transport=udp", resolver) == [("192.0.2.3", 1, "udp")]
        assert ("slow.test.", "AAAA") in server.asked


async def test_a_silent_name_server_is_a_failure_that_may_pass() -> None:
    async with name_server() as (_, resolver):
        with pytest.raises(ResolutionFailed) as caught:
            await find("turn:mute.test", resolver, timeout_s=0.2)
        assert caught.value.retryable


async def test_the_machine_knows_localhost() -> None:
    assert ("127.0.0.1", 3478, "udp") in await find("turn:localhost", DnsResolver(), transports=[ServerTransport.UDP])


async def test_a_lookup_is_made_once_though_several_ways_lead_to_it() -> None:
    class Counting:
        def __init__(self, inner: DnsResolver) -> None:
            self.inner = inner
            self.asked: list[Query] = []

        async def lookup(self, query: Query) -> Sequence[DnsRecord]:
            self.asked.append(query)
            return await self.inner.lookup(query)

    async with name_server() as (_, inner):
        counting = Counting(inner)
        await resolve(parse_server_uri("turn:relay.test"), counting, random=lambda: 0.0)
        assert len(counting.asked) == len(set(counting.asked))
