"""aioice's TURN client under measurement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aioice.turn import DEFAULT_CHANNEL_REFRESH_TIME, TurnClientTcpProtocol, TurnTransport, create_turn_endpoint

__all__ = ["AioiceContender"]


class _Relay(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received = 0
        self.turn: TurnTransport

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.turn.get_extra_info("sockname")
        return host, port

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.received += 1

    def send(self, data: bytes, peer: tuple[str, int]) -> None:
        self.turn.sendto(data, peer)

    async def settle(self) -> None:
        # A task for each datagram runs in the next turn of the loop, and its callback in the one after.
        for _ in range(3):
            await asyncio.sleep(0)


class _Nowhere:
    """Stands for the connection, which its parser asks for the server's address."""

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return "127.0.0.1", 1


@dataclass(frozen=True, slots=True)
class AioiceContender:
    """`aioice.turn.create_turn_endpoint`, which aiortc uses."""

    version: str
    name: str = "aioice"

    @asynccontextmanager
    async def open(
        self, server: tuple[str, int], username: str, password: str, *, refresh_after_s: int | None = None
    ) -> AsyncIterator[_Relay]:
        transport, relay = await create_turn_endpoint(
            _Relay,
            server,
            username,
            password,
            channel_refresh_time=DEFAULT_CHANNEL_REFRESH_TIME if refresh_after_s is None else refresh_after_s,
        )
        relay.turn = transport
        try:
            yield relay
        finally:
            transport.close()
            await asyncio.sleep(0.1)

    def parser(self) -> Callable[[bytes], object]:
        # Its parser is part of its connection; what the frames would be handed to is left out.
        protocol: Any = TurnClientTcpProtocol(("127.0.0.1", 1), username="", password="", lifetime=600, channel_refresh_time=500)
        protocol.transport = _Nowhere()
        protocol.datagram_received = lambda *_: None
        feed: Callable[[bytes], object] = protocol.data_received
        return feed
