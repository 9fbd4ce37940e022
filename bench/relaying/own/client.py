"""Our own TURN client under measurement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from turn_client import AllocationConfig, LongTermCredentials, TurnClient
from turn_client.stream import StreamParser

__all__ = ["SalamContender"]


class _Relay:
    def __init__(self) -> None:
        self.received = 0
        self.client: TurnClient

    @property
    def address(self) -> tuple[str, int]:
        return self.client.relayed_addresses[0]

    def came(self, _data: bytes, _peer: tuple[str, int]) -> None:
        self.received += 1

    def send(self, data: bytes, peer: tuple[str, int]) -> None:
        self.client.send_to(data, peer)

    async def settle(self) -> None:
        await self.client.drain()
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class SalamContender:
    """`turn_client.TurnClient` with its callback for received datagrams."""

    version: str
    name: str = "salam"

    @asynccontextmanager
    async def open(
        self, server: tuple[str, int], username: str, password: str, *, refresh_after_s: int | None = None
    ) -> AsyncIterator[_Relay]:
        relay = _Relay()
        allocation = AllocationConfig(LongTermCredentials(username, password))
        if refresh_after_s is not None:
            # Refreshed after four fifths of its lifetime.
            allocation = AllocationConfig(allocation.credentials, permission_lifetime_s=refresh_after_s / 0.8)
        uri = f"turn:{server[0]}:{server[1]}?transport=udp"
        relay.client = TurnClient([uri], (username, password), allocation=allocation, on_data=relay.came)
        async with relay.client:
            yield relay

    def parser(self) -> Callable[[bytes], object]:
        return StreamParser().feed
