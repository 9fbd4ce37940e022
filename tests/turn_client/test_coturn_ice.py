"""aioice's connections and aiortc's peer connections, relayed by us through a real server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aioice
import pytest
from aiortc import RTCConfiguration, RTCIceTransportPolicy, RTCPeerConnection

from salam import ConfigError
from tests.support.coturn import Coturn, EchoPeer, StartCoturn
from tests.support.engine import free_port
from turn_client import ClientConfig
from turn_client.ice import RelayedConnection, RelaySource, use_relays

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

Eventually = Callable[..., Awaitable[object]]

HANG_S = 30.0
RELAY_ONLY = aioice.TransportPolicy.RELAY


def source_of(server: Coturn, transport: str = "udp", **options: object) -> RelaySource:
    config = ClientConfig(tls=server.trust()) if transport == "tls" else None
    return RelaySource([server.uri(transport)], (server.username, server.password), config=config, **options)  # type: ignore[arg-type]


async def introduce(one: aioice.Connection, two: aioice.Connection, *, trickle: bool = False) -> None:
    """Gather on both sides, tell each about the other, and connect."""
    for side, other in ((one, two), (two, one)):
        side.remote_username, side.remote_password = other.local_username, other.local_password
    await asyncio.gather(one.gather_candidates(), two.gather_candidates())
    if not trickle:
        for side, other in ((one, two), (two, one)):
            for candidate in other.local_candidates:
                await side.add_remote_candidate(candidate)
            await side.add_remote_candidate(None)
    await asyncio.gather(one.connect(), two.connect())


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_two_connections_through_relays(coturn: StartCoturn, transport: str) -> None:
    server = await coturn(tls=transport == "tls")
    source = source_of(server, transport)
    one = RelayedConnection(True, relays=source, transport_policy=RELAY_ONLY)
    two = RelayedConnection(False, relays=source, transport_policy=RELAY_ONLY)
    async with asyncio.timeout(HANG_S):
        await introduce(one, two)
        assert [candidate.type for candidate in one.local_candidates] == ["relay"]
        # Relays only: our own address is not to be seen.
        assert one.local_candidates[0].related_address == "0.0.0.0"
        await one.send(b"salam")
        assert await two.recv() == b"salam"
        await two.send(b"wa alaykum as-salam")
        assert await one.recv() == b"wa alaykum as-salam"
        await asyncio.gather(one.close(), two.close())


async def test_both_families_are_offered(coturn: StartCoturn) -> None:
    server = await coturn(ipv6=True)
    connection = RelayedConnection(True, relays=source_of(server, family="both"), transport_policy=RELAY_ONLY)
    await connection.gather_candidates()
    assert {candidate.host for candidate in connection.local_candidates} == {"127.0.0.1", "::1"}
    await connection.close()


async def test_relays_trickle_as_they_come(coturn: StartCoturn) -> None:
    """Nobody waits for the relays: they are signalled when they are there, and connect what has no other way."""
    server = await coturn()
    ends: list[asyncio.Queue[aioice.Candidate | None]] = [asyncio.Queue(), asyncio.Queue()]
    source = source_of(server)
    one = RelayedConnection(True, relays=source, on_candidate=ends[0].put_nowait, transport_policy=RELAY_ONLY)
    two = RelayedConnection(False, relays=source, on_candidate=ends[1].put_nowait, transport_policy=RELAY_ONLY)

    async def signal(candidates: asyncio.Queue[aioice.Candidate | None], to: aioice.Connection) -> None:
        while True:
            candidate = await candidates.get()
            await to.add_remote_candidate(candidate)
            if candidate is None:
                return

    async with asyncio.timeout(HANG_S):
        await asyncio.gather(introduce(one, two, trickle=True), signal(ends[0], two), signal(ends[1], one))
        await one.send(b"salam")
        assert await two.recv() == b"salam"
        await asyncio.gather(one.close(), two.close())


async def test_without_a_server_there_are_no_relays(coturn: StartCoturn) -> None:
    nobody = RelaySource([f"turn:127.0.0.1:{free_port()}"], ("alice", "secret"))
    connection = RelayedConnection(True, relays=nobody, transport_policy=RELAY_ONLY)
    async with asyncio.timeout(HANG_S):
        await connection.gather_candidates()
    assert connection.local_candidates == []
    await connection.close()


async def test_closing_while_relays_are_on_their_way_leaves_nothing(coturn: StartCoturn) -> None:
    server = await coturn()
    server.freeze()
    connection = RelayedConnection(True, relays=source_of(server), on_candidate=lambda _: None, transport_policy=RELAY_ONLY)
    await connection.gather_candidates()
    async with asyncio.timeout(HANG_S):
        await connection.close()


async def test_a_lost_relay_ends_the_connection(coturn: StartCoturn) -> None:
    server = await coturn()
    source = source_of(server)
    one = RelayedConnection(True, relays=source, transport_policy=RELAY_ONLY)
    two = RelayedConnection(False, relays=source, transport_policy=RELAY_ONLY)
    async with asyncio.timeout(HANG_S):
        await introduce(one, two)
        await server.kill()
        # The closed port says that the server is gone.
        await one.send(b"?")
        await two.send(b"?")
        await coturn(port=server.port)
        # The relay is made anew, with another address: ICE has to start again, and is told so at once.
        with pytest.raises(ConnectionError):
            await one.recv()
        await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_peer_connections_of_aiortc(coturn: StartCoturn, eventually: Eventually, transport: str) -> None:
    server = await coturn()
    config = RTCConfiguration(iceServers=[], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
    one, two = RTCPeerConnection(config), RTCPeerConnection(config)
    for peer in (one, two):
        use_relays(peer, source_of(server, transport))
    got: list[str] = []
    two.on("datachannel", lambda channel: channel.on("message", got.append))
    channel = one.createDataChannel("chat")
    # Sound as well, bundled: the same relay carries both.
    one.addTransceiver("audio")

    @channel.on("open")
    def send_all() -> None:
        for number in range(20):
            channel.send(f"line {number}")

    await one.setLocalDescription(await one.createOffer())
    await two.setRemoteDescription(one.localDescription)
    await two.setLocalDescription(await two.createAnswer())
    await one.setRemoteDescription(two.localDescription)
    await eventually(lambda: len(got) == 20, what="all lines arrived")
    for peer in (one, two):
        candidates = [line for line in peer.localDescription.sdp.splitlines() if line.startswith("a=candidate")]
        assert candidates
        assert all(" typ relay " in line for line in candidates)
    await asyncio.gather(one.close(), two.close())


def test_an_unknown_inside_of_aiortc_is_named() -> None:
    class Gatherer:
        _connection = object()

    class Transport:
        iceGatherer = Gatherer()

    class End:
        class transport:
            transport = Transport()

    class Peer:
        iceGatheringState = "gathering"
        sctp = End()

        def getTransceivers(self) -> list[object]:
            return []

        def on(self, event: str, f: Callable[[], None]) -> None:
            f()

    with pytest.raises(ConfigError):
        use_relays(Peer(), RelaySource(["turn:127.0.0.1"], ("alice", "secret")))


async def test_the_example(coturn: StartCoturn, root: Path, echo_peer: EchoPeer) -> None:
    server = await coturn()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(root / "examples" / "turn_aiortc.py")),
        env={**os.environ, "TURN_URI": server.uri(), "TURN_USER": server.username, "TURN_PASSWORD": server.password},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines() == ["arrived: salam", "candidates: relay"]
    assert process.returncode == 0
