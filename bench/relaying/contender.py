"""What a TURN client must be able to do to be measured beside another, and those that can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Protocol

from bench.relaying.aioice.client import AioiceContender
from bench.relaying.own.client import SalamContender

__all__ = ["PEERS", "Contender", "Relay"]

Address = tuple[str, int]


class Relay(Protocol):
    """An open relay. ``received`` counts the datagrams that came."""

    received: int

    @property
    def address(self) -> Address:
        """Where peers reach it."""

    def send(self, data: bytes, peer: Address) -> None:
        """Send one datagram to the peer, as the library's users do."""

    async def settle(self) -> None:
        """Wait until what `send` took has gone out."""


class Contender(Protocol):
    """A library under measurement."""

    @property
    def name(self) -> str:
        """As ``--against`` names it."""

    @property
    def version(self) -> str:
        """Of the installed package."""

    def open(
        self, server: Address, username: str, password: str, *, refresh_after_s: int | None = None
    ) -> AbstractAsyncContextManager[Relay]:
        """Open a relay over UDP; ``refresh_after_s`` makes a peer due for its refresh that soon, not in minutes."""

    def parser(self) -> Callable[[bytes], object]:
        """Return what takes the bytes that a TCP connection to the server delivers, made anew."""


PEERS: dict[str, Callable[[], Contender]] = {"aioice": lambda: AioiceContender(version("aioice"))}


def own() -> Contender:
    """Ours."""
    return SalamContender(version("salam-rtc"))
