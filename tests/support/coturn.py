"""A real TURN server for tests, and a peer for it to relay to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from bench.coturn import Coturn as Coturn
from bench.coturn import CoturnOptions as CoturnOptions
from bench.coturn import binding_answered as binding_answered
from bench.coturn import write_certificate as write_certificate

__all__ = [
    "Coturn",
    "CoturnOptions",
    "EchoPeer",
    "StartCoturn",
    "binding_answered",
    "coturn",
    "echo_peer",
    "echo_peer_v6",
    "write_certificate",
]

StartCoturn = Callable[..., Awaitable[Coturn]]


@pytest.fixture
async def coturn(need_program: Callable[..., str], tmp_path: Path) -> AsyncIterator[StartCoturn]:
    """Return a function that starts a server with the options of `CoturnOptions`; all are ended after the test."""
    program = need_program("turnserver")
    async with AsyncExitStack() as stack:
        started = 0

        async def start(**options: object) -> Coturn:
            nonlocal started
            started += 1
            folder = tmp_path / f"coturn{started}"
            folder.mkdir()
            return await stack.enter_async_context(Coturn(program, folder, CoturnOptions(**options)))  # type: ignore[arg-type]

        yield start


class EchoPeer(asyncio.DatagramProtocol):
    """A UDP peer that sends back what it gets, and remembers from whom."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self.echo = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        self.received.append((data, (str(address[0]), int(address[1]))))
        if self.echo:
            self.transport.sendto(data, address)

    def senders(self) -> set[tuple[str, int]]:
        """Return every address that something came from."""
        return {address for _, address in self.received}


@contextlib.asynccontextmanager
async def echoing(host: str) -> AsyncIterator[EchoPeer]:
    """Run an `EchoPeer` on ``host``."""
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(EchoPeer, local_addr=(host, 0))
    try:
        yield peer
    finally:
        transport.close()


@pytest.fixture
async def echo_peer() -> AsyncIterator[EchoPeer]:
    """Return a UDP peer on 127.0.0.1."""
    async with echoing("127.0.0.1") as peer:
        yield peer


@pytest.fixture
async def echo_peer_v6() -> AsyncIterator[EchoPeer]:
    """Return a UDP peer on ::1."""
    async with echoing("::1") as peer:
        yield peer
