"""TCP connections through the relay (RFC 6062), at a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.coturn import Coturn, StartCoturn
from tests.support.engine import free_port
from turn_client import ClientConfig, PeerRefused, TurnClient, TurnError

pytestmark = [pytest.mark.peer, pytest.mark.timeout(90)]

HANG_S = 20.0
# More than all buffers on the way hold, so that everything has to go on while it is being sent.
MANY_BYTES = 4 << 20
# Over TCP all of it is on its way at once. Over TLS coturn 4.6.1 sometimes keeps megabytes to itself for good when both directions
# are full on a busy machine, with nothing left on our side or the peer's: there no more is on its way than its buffers take.
PIECE_BYTES = {"tcp": MANY_BYTES, "tls": 16 << 10}


@pytest.fixture
async def tcp_echo() -> AsyncIterator[tuple[str, int]]:
    """Return the address of a TCP peer that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[:2]
    server.close()


def client_of(server: Coturn, transport: str) -> TurnClient:
    config = ClientConfig(tls=server.trust()) if transport == "tls" else None
    return TurnClient([server.uri(transport)], (server.username, server.password), tcp_relay=True, config=config)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_stream_to_a_peer(coturn: StartCoturn, tcp_echo: tuple[str, int], transport: str) -> None:
    server = await coturn(tls=transport == "tls")
    async with client_of(server, transport) as relay, asyncio.timeout(HANG_S):
        reader, writer = await relay.connect_to(tcp_echo)
        for _ in range(MANY_BYTES // PIECE_BYTES[transport]):
            sent = bytes(range(256)) * (PIECE_BYTES[transport] // 256)

            async def send(sent: bytes = sent) -> None:
                writer.write(sent)
                await writer.drain()

            _, received = await asyncio.gather(send(), reader.readexactly(len(sent)))
            assert received == sent
        await close(writer)


async def test_two_streams_side_by_side(coturn: StartCoturn, tcp_echo: tuple[str, int]) -> None:
    server = await coturn()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(b"salam " + data)

    other = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with client_of(server, "tcp") as relay, asyncio.timeout(HANG_S):
        first, second = await asyncio.gather(relay.connect_to(tcp_echo), relay.connect_to(other.sockets[0].getsockname()[:2]))
        first[1].write(b"one")
        second[1].write(b"two")
        assert await first[0].readexactly(3) == b"one"
        assert await second[0].readexactly(9) == b"salam two"
        await close(first[1])
        await close(second[1])
    other.close()


async def test_a_peer_connects_to_the_relay(coturn: StartCoturn) -> None:
    server = await coturn()
    async with client_of(server, "tcp") as relay, asyncio.timeout(HANG_S):
        await relay.bind(("127.0.0.1", 1))
        peer_reader, peer_writer = await asyncio.open_connection(*relay.relayed_addresses[0])
        peer_writer.write(b"knock")
        address, reader, writer = await relay.accept()
        assert address == peer_writer.get_extra_info("sockname")[:2]
        assert await reader.readexactly(5) == b"knock"
        writer.write(b"come in")
        assert await peer_reader.readexactly(7) == b"come in"
        await close(writer)
        await close(peer_writer)


async def test_a_peer_that_refuses_is_named(coturn: StartCoturn) -> None:
    server = await coturn()
    async with client_of(server, "tcp") as relay, asyncio.timeout(HANG_S):
        with pytest.raises(PeerRefused) as caught:
            await relay.connect_to(("127.0.0.1", free_port()))
        # RFC 6062 section 5.2.
        assert caught.value.error_code == 447


async def test_a_server_without_tcp_relays_says_so(coturn: StartCoturn) -> None:
    server = await coturn(extra=("--no-tcp-relay",))
    async with asyncio.timeout(HANG_S):
        with pytest.raises(TurnError) as caught:
            await client_of(server, "tcp").open()
    assert caught.value.code == "turn_refused"


async def test_datagrams_and_streams_do_not_mix(coturn: StartCoturn, tcp_echo: tuple[str, int]) -> None:
    server = await coturn()
    async with client_of(server, "tcp") as streams:
        with pytest.raises(TurnError):
            streams.send_to(b"a datagram", tcp_echo)
    async with TurnClient([server.uri()], (server.username, server.password)) as datagrams:
        with pytest.raises(TurnError):
            await datagrams.connect_to(tcp_echo)
