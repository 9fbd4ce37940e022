"""The socket changes and the relay stays (RFC 8016), at a real server."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.coturn import EchoPeer, StartCoturn
from turn_client import RelayChanged, RelayEvent, RelayMoved, TurnClient

pytestmark = [pytest.mark.peer, pytest.mark.timeout(90)]

HANG_S = 20.0


async def echo(relay: TurnClient, peer: EchoPeer, data: bytes) -> None:
    """Send ``data`` again and again until it is back: right after a move the server may still look for us at the old place."""
    async with asyncio.timeout(HANG_S):
        while True:
            relay.send_to(data, peer.address)
            try:
                async with asyncio.timeout(0.2):
                    while await relay.receive() != (data, peer.address):
                        pass
                return
            except TimeoutError:
                continue


async def test_the_relay_stays_when_the_socket_changes(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    server = await coturn(mobility=True)
    events: list[RelayEvent] = []
    credentials = (server.username, server.password)
    async with TurnClient([server.uri()], credentials, mobility=True, on_event=events.append) as relay:
        before = relay.relayed_addresses
        await echo(relay, echo_peer, b"here")
        for number in range(3):
            await relay.move()
            await echo(relay, echo_peer, b"there %d" % number)
        assert relay.relayed_addresses == before
        assert echo_peer.senders() == set(before)
        moved = [event.local for event in events if isinstance(event, RelayMoved)]
        assert len(set(moved)) == 3
        assert relay.stats().moves == 3
        assert relay.stats().failovers == 0
        # One allocation all the time, with the channel that was bound before the first move.
        assert relay.stats().allocation.channels == 1
        assert relay.stats().allocation.reallocations == 0


async def test_data_flows_while_the_relay_moves(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    server = await coturn(mobility=True)
    async with TurnClient([server.uri()], (server.username, server.password), mobility=True) as relay:
        await relay.bind(echo_peer.address)
        moving = asyncio.ensure_future(relay.move())
        await echo(relay, echo_peer, b"on the way")
        await moving


@pytest.mark.parametrize("mobility", [True, False])
async def test_a_cut_connection_is_made_again(coturn: StartCoturn, echo_peer: EchoPeer, mobility: bool) -> None:
    """The relay stays where the server manages that; coturn 4.6 garbles its answer to a move over TCP, and a new one is made."""
    server = await coturn(mobility=mobility)
    credentials = (server.username, server.password)
    async with Cut(server.address) as cut:
        uri = f"turn:127.0.0.1:{cut.port}?transport=tcp"
        async with TurnClient([uri], credentials, mobility=mobility) as relay:
            await echo(relay, echo_peer, b"before")
            await cut.cut()
            await echo(relay, echo_peer, b"after")


async def test_without_mobility_a_move_makes_a_new_relay(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    server = await coturn()
    changed: asyncio.Future[RelayChanged] = asyncio.get_running_loop().create_future()

    def on_event(event: RelayEvent) -> None:
        if isinstance(event, RelayChanged):
            changed.set_result(event)

    # It is asked for, and the server has none: the allocation is made all the same.
    async with TurnClient([server.uri()], (server.username, server.password), mobility=True, on_event=on_event) as relay:
        before = relay.relayed_addresses
        await echo(relay, echo_peer, b"here")
        await relay.move()
        async with asyncio.timeout(HANG_S):
            event = await changed
        assert event.former == before
        assert event.relayed == relay.relayed_addresses
        await echo(relay, echo_peer, b"there")


class Cut:
    """A way to a server over TCP that can be cut, as a network does that goes away."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Cut:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        self._listener.close()

    async def cut(self) -> None:
        """Cut what is connected; new connections are taken."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(*self._server)
        self._writers += [writer, other_writer]
        await asyncio.gather(self._pump(reader, other_writer), self._pump(other_reader, writer))

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass
