"""Datagrams through a real server: every transport, both address families, permissions, order, and back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.coturn import Coturn, EchoPeer, StartCoturn
from turn_client import ClientConfig, PeerRefused, QuotaReached, TurnClient

pytestmark = [pytest.mark.peer, pytest.mark.timeout(90)]

Eventually = Callable[..., Awaitable[object]]

HANG_S = 20.0


def client_of(server: Coturn, transport: str = "udp", **options: object) -> TurnClient:
    config = ClientConfig(tls=server.trust()) if transport == "tls" else None
    return TurnClient([server.uri(transport)], (server.username, server.password), config=config, **options)  # type: ignore[arg-type]


async def echoed(relay: TurnClient, peer: EchoPeer, data: bytes) -> None:
    """Send until the echo of ``data`` is back; the first datagram may come before the permission."""
    async with asyncio.timeout(HANG_S):
        relay.send_to(data, peer.address)
        while await relay.receive() != (data, peer.address):
            pass


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_echo_over_every_transport(coturn: StartCoturn, echo_peer: EchoPeer, transport: str) -> None:
    server = await coturn(tls=transport == "tls")
    async with client_of(server, transport) as relay:
        for size in (1, 2, 3, 4, 1200):
            await echoed(relay, echo_peer, bytes(range(256)) * 5 if size == 1200 else b"x" * size)
        # The peer sees the relay, and never us.
        assert echo_peer.senders() == set(relay.relayed_addresses)
        stats = relay.stats()
        assert stats.server is not None
        assert stats.server.transport.value == transport
        assert stats.allocation.channels == 1
        assert stats.allocation.channel_packets_sent > 0
        assert stats.allocation.channel_packets_received > 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_ipv6_relay(coturn: StartCoturn, echo_peer_v6: EchoPeer, transport: str) -> None:
    server = await coturn(ipv6=True)
    uri = server.uri(transport, host="::1")
    async with TurnClient([uri], (server.username, server.password), family="ipv6") as relay:
        ((host, _),) = relay.relayed_addresses
        assert host == "::1"
        await echoed(relay, echo_peer_v6, b"over version 6")


async def test_dual_allocation(coturn: StartCoturn, echo_peer: EchoPeer, echo_peer_v6: EchoPeer) -> None:
    server = await coturn(ipv6=True)
    async with client_of(server, family="both") as relay:
        assert {host for host, _ in relay.relayed_addresses} == {"127.0.0.1", "::1"}
        await echoed(relay, echo_peer, b"four")
        await echoed(relay, echo_peer_v6, b"six")


async def test_two_clients_reach_each_other(coturn: StartCoturn) -> None:
    server = await coturn()
    async with client_of(server) as one, client_of(server, "tcp") as two:
        (first,), (second,) = one.relayed_addresses, two.relayed_addresses
        async with asyncio.timeout(HANG_S):
            await asyncio.gather(one.bind(second), two.bind(first))
            one.send_to(b"salam", second)
            assert await two.receive() == (b"salam", first)
            two.send_to(b"wa alaykum as-salam", first)
            assert await one.receive() == (b"wa alaykum as-salam", second)


async def test_a_peer_gets_in_only_when_it_is_bound(
    coturn: StartCoturn, echo_peer: EchoPeer, echo_peer_v6: EchoPeer, eventually: Eventually
) -> None:
    server = await coturn(ipv6=True)
    async with client_of(server, family="both") as relay:
        at = {":" in host: (host, port) for host, port in relay.relayed_addresses}
        echo_peer_v6.transport.sendto(b"nobody let me in", at[True])
        async with asyncio.timeout(HANG_S):
            await relay.bind(echo_peer.address)
            echo_peer.transport.sendto(b"let in", at[False])
            assert await relay.receive() == (b"let in", echo_peer.address)


async def test_a_refused_peer_harms_no_other(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    server = await coturn(extra=("--denied-peer-ip=127.0.0.9",))
    async with client_of(server) as relay:
        with pytest.raises(PeerRefused) as caught:
            await relay.bind(("127.0.0.9", 4000))
        assert caught.value.error_code == 403
        relay.send_to(b"into nothing", ("127.0.0.9", 4001))
        await echoed(relay, echo_peer, b"still here")


async def test_datagrams_are_handed_over_as_they_come(coturn: StartCoturn, echo_peer: EchoPeer, eventually: Eventually) -> None:
    server = await coturn()
    came: list[bytes] = []
    async with client_of(server, on_data=lambda data, peer: came.append(data)) as relay:
        await relay.bind(echo_peer.address)
        sent = [b"%d" % number for number in range(50)]
        for data in sent:
            relay.send_to(data, echo_peer.address)
        await eventually(lambda: len(came) == len(sent), what="all datagrams came back")
        assert came == sent


async def test_closing_gives_the_allocation_back(coturn: StartCoturn, echo_peer: EchoPeer, eventually: Eventually) -> None:
    server = await coturn(user_quota=1)

    async def relays() -> bool:
        try:
            async with client_of(server) as relay:
                await echoed(relay, echo_peer, b"again")
        except QuotaReached:
            return False
        return True

    for _ in range(3):
        # With the quota of one, another allocation is possible only when the one before is gone. coturn counts one for a second
        # more; the one of a client that says nothing would live for ten minutes.
        await eventually(relays, what="a new allocation")


async def test_a_frozen_server_over_tcp_makes_senders_wait_and_media_give_way(
    coturn: StartCoturn, echo_peer: EchoPeer, eventually: Eventually
) -> None:
    server = await coturn()
    async with client_of(server, "tcp") as relay:
        await relay.bind(echo_peer.address)
        server.freeze()
        try:
            packet = bytes(1200)
            for _ in range(20_000):
                relay.send_to(packet, echo_peer.address)
                if relay.stats().dropped_frames:
                    break
            stats = relay.stats()
            assert stats.dropped_frames > 0
            drained = asyncio.ensure_future(relay.drain())
            await asyncio.sleep(0)
            assert not drained.done()
        finally:
            server.thaw()
        async with asyncio.timeout(HANG_S):
            await drained
        # What waited was the newest, and everything after it gets through.
        relay.send_to(b"the last word", echo_peer.address)
        await eventually(lambda: any(data == b"the last word" for data, _ in echo_peer.received), what="the last word")
