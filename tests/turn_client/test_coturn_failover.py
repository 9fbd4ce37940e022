"""Servers that refuse, redirect, die, freeze and come back."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.coturn import Coturn, EchoPeer, StartCoturn
from tests.support.engine import free_port
from turn_client import QuotaReached, RelayChanged, RelayEvent, RelayLost, TransportFailed, TurnClient, TurnError

pytestmark = [pytest.mark.peer, pytest.mark.timeout(90)]

HANG_S = 20.0
# What a call may be without its relay. The bound is stated by the product; it is generous for a machine that does nothing else.
FAILOVER_S = 3.0
# A server that says nothing is noticed by its silence: up to two seconds of it, and then another relay has to be made. The rest is
# room for a busy machine.
SILENCE_S = 10.0
# Sound and picture of a call: something every 20 ms.
PACKET_INTERVAL_S = 0.02


class Call:
    """Sends all the time, as a call does, and knows what happened to the relay."""

    def __init__(self, servers: list[Coturn], peer: EchoPeer, *, transport: str = "udp", mobility: bool = False) -> None:
        self.events: list[RelayEvent] = []
        self.echoes = 0
        self._wanted = 0
        self._flowed = asyncio.Event()
        self._told = asyncio.Event()
        self._peer = peer
        first = servers[0]
        self.relay = TurnClient(
            [server.uri(transport) for server in servers],
            (first.username, first.password),
            mobility=mobility,
            on_data=self._came,
            on_event=self._told_of,
        )

    def _came(self, data: bytes, peer: tuple[str, int]) -> None:
        self.echoes += 1
        if self.echoes >= self._wanted:
            self._flowed.set()

    def _told_of(self, event: RelayEvent) -> None:
        self.events.append(event)
        self._told.set()

    async def __aenter__(self) -> Call:
        await self.relay.open()
        await self.relay.bind(self._peer.address)
        self._sending = asyncio.ensure_future(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sending.cancel()
        await self.relay.close()

    async def _send(self) -> None:
        while True:
            self.relay.send_to(b"media", self._peer.address)
            await asyncio.sleep(PACKET_INTERVAL_S)

    async def flows(self) -> None:
        """Wait until more echoes come than now."""
        self._wanted = self.echoes + 3
        self._flowed.clear()
        await self._flowed.wait()

    async def relay_changed(self) -> RelayChanged:
        """Wait until the relay has another address."""
        while True:
            for event in self.events:
                if isinstance(event, RelayChanged):
                    return event
            self._told.clear()
            await self._told.wait()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_killed_server_is_replaced_within_three_seconds(coturn: StartCoturn, echo_peer: EchoPeer, transport: str) -> None:
    first, second = await coturn(), await coturn()
    async with Call([first, second], echo_peer, transport=transport) as call:
        async with asyncio.timeout(HANG_S):
            await call.flows()
        before = call.relay.relayed_addresses
        assert call.relay.server is not None
        assert call.relay.server.address == first.address
        await first.kill()
        async with asyncio.timeout(FAILOVER_S):
            changed = await call.relay_changed()
            await call.flows()
        assert changed.former == before
        assert changed.relayed == call.relay.relayed_addresses
        assert call.relay.server.address == second.address
        assert call.relay.stats().failovers == 1


async def test_a_server_that_falls_silent_is_replaced(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    first, second = await coturn(), await coturn()
    async with Call([first, second], echo_peer) as call:
        async with asyncio.timeout(HANG_S):
            await call.flows()
        first.freeze()
        async with asyncio.timeout(SILENCE_S):
            await call.relay_changed()
            await call.flows()


async def test_a_server_that_comes_back_relays_again(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    first = await coturn()
    async with Call([first], echo_peer) as call:
        async with asyncio.timeout(HANG_S):
            await call.flows()
            await first.kill()
            await coturn(port=first.port)
            await call.relay_changed()
            await call.flows()


async def test_a_server_that_pauses_for_a_moment_keeps_the_relay(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    first = await coturn()
    async with Call([first], echo_peer) as call:
        async with asyncio.timeout(HANG_S):
            await call.flows()
            before = call.relay.relayed_addresses
            first.freeze()
            await asyncio.sleep(2.5)
            first.thaw()
            await call.flows()
        assert call.relay.relayed_addresses == before
        assert call.events == [event for event in call.events if not isinstance(event, RelayChanged | RelayLost)]


async def test_a_closed_port_fails_at_once() -> None:
    """ICMP says that nobody is there; without it the requests would go on for 39.5 s."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(TransportFailed):
        await TurnClient([f"turn:127.0.0.1:{free_port()}"], ("alice", "secret")).open()
    # Far below the 500 ms after which even the first retransmission would be sent ten times over.
    assert loop.time() - started < 5.0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_dead_server_costs_nothing_when_another_lives(coturn: StartCoturn, echo_peer: EchoPeer, transport: str) -> None:
    living = await coturn()
    dead = f"turn:127.0.0.1:{free_port()}?transport={transport}"
    async with asyncio.timeout(HANG_S):
        async with TurnClient([dead, living.uri(transport)], (living.username, living.password)) as relay:
            assert relay.server is not None
            assert relay.server.address == living.address


async def test_a_mute_server_is_passed_over(coturn: StartCoturn) -> None:
    living = await coturn()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        uri = f"turn:127.0.0.1:{mute.getsockname()[1]}?transport=udp"
        async with asyncio.timeout(HANG_S):
            async with TurnClient([uri, living.uri()], (living.username, living.password)) as relay:
                assert relay.server is not None
                assert relay.server.address == living.address


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_redirection_is_followed(coturn: StartCoturn, echo_peer: EchoPeer, transport: str) -> None:
    second = await coturn()
    first = await coturn(alternate_server=f"127.0.0.1:{second.port}")
    async with TurnClient([first.uri(transport)], (first.username, first.password)) as relay:
        assert relay.server is not None
        assert relay.server.address == second.address
        relay.send_to(b"by a detour", echo_peer.address)
        async with asyncio.timeout(HANG_S):
            assert await relay.receive() == (b"by a detour", echo_peer.address)


async def test_redirections_in_a_circle_end(coturn: StartCoturn) -> None:
    port = free_port()
    first = await coturn(alternate_server=f"127.0.0.1:{port}")
    await coturn(port=port, alternate_server=f"127.0.0.1:{first.port}")
    async with asyncio.timeout(HANG_S):
        with pytest.raises(TurnError) as caught:
            await TurnClient([first.uri()], (first.username, first.password)).open()
    assert caught.value.code == "turn_redirect_loop"


async def test_the_quota_is_named_and_another_server_taken(coturn: StartCoturn) -> None:
    full, other = await coturn(user_quota=1), await coturn()
    credentials = (full.username, full.password)
    async with TurnClient([full.uri()], credentials):
        with pytest.raises(QuotaReached) as caught:
            await TurnClient([full.uri()], credentials).open()
        assert caught.value.error_code == 486
        async with TurnClient([full.uri(), other.uri()], credentials) as relay:
            assert relay.server is not None
            assert relay.server.address == other.address
