"""Carries a `Discovery` out over two UDP sockets."""

from __future__ import annotations

import asyncio
import os
import random
from functools import partial
from typing import cast

from turn_client.binding_lifetime import LONGEST_S, PRECISION_S, BindingLifetime, LifetimeReport
from turn_client.discovery import PATIENCE_S, Discovery, LocalSocket, NatReport
from turn_client.dns import DnsResolver, resolve
from turn_client.errors import Address, TransportFailed
from turn_client.resolution import Resolver, ServerTransport
from turn_client.uri import ServerUri, parse_server_uri

__all__ = ["discover_binding_lifetime", "discover_nat"]


async def discover_nat(
    server: str | ServerUri,
    *,
    local_host: str | None = None,
    patience_s: float = PATIENCE_S,
    resolver: Resolver | None = None,
) -> NatReport:
    """Ask a STUN server what kind of NAT is between it and us (RFC 5780), and return what was found out.

    ``server`` is a URI such as ``stun:stun.example.org``, or that of a TURN server over UDP. ``local_host`` is the address of ours
    to send from; the system chooses by default. Whatever stays silent for ``patience_s`` seconds counts as filtered. A report of a
    server that did not answer says so; it is no error.

    Raises ConfigError for a URI that is none, ResolutionFailed when its address cannot be found, and TransportFailed when there is
    no route to it.
    """
    async with _Run(await _look_up(server, resolver), local_host) as run:
        machine = Discovery(run.server, run.local, random=os.urandom, patience_s=patience_s)
        await run.finish(machine)
    return machine.report


async def discover_binding_lifetime(
    server: str | ServerUri,
    *,
    local_host: str | None = None,
    longest_s: float = LONGEST_S,
    precision_s: float = PRECISION_S,
    patience_s: float = PATIENCE_S,
    resolver: Resolver | None = None,
) -> LifetimeReport:
    """Find out for how long the NAT keeps a mapping that nobody uses, to about ``precision_s`` seconds; it takes many minutes.

    Silences of more than ``longest_s`` seconds are not tried. For the rest, and for the errors, see `discover_nat`.
    """
    async with _Run(await _look_up(server, resolver), local_host) as run:
        machine = BindingLifetime(
            run.server, random=os.urandom, longest_s=longest_s, precision_s=precision_s, patience_s=patience_s
        )
        await run.finish(machine)
    return machine.report


async def _look_up(server: str | ServerUri, resolver: Resolver | None) -> Address:
    uri = parse_server_uri(server) if isinstance(server, str) else server
    found = await resolve(uri, resolver or DnsResolver(), random=random.random, transports=[ServerTransport.UDP])
    # NATs are an affair of IPv4: without one there, IPv6 is asked for the sake of its firewalls.
    return next((endpoint for endpoint in found if not endpoint.is_ipv6), found[0]).address


class _Run:
    """Two sockets, and a machine that uses them."""

    def __init__(self, server: Address, local_host: str | None) -> None:
        self.server = server
        self._local_host = local_host
        self._loop = asyncio.get_running_loop()
        self._sockets: list[_Socket] = []
        self._machine: Discovery | BindingLifetime | None = None
        self._heard = asyncio.Event()

    async def __aenter__(self) -> _Run:
        try:
            host = self._local_host or await self._host_towards_server()
            for local_socket in LocalSocket:
                _, opened = await self._loop.create_datagram_endpoint(partial(_Socket, self, local_socket), local_addr=(host, 0))
                self._sockets.append(opened)
        except OSError as error:
            self._close()
            raise TransportFailed(f"cannot send to the STUN server: {error.strerror or type(error).__name__}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    @property
    def local(self) -> tuple[Address, Address]:
        """The addresses of the sockets."""
        return self._sockets[0].address, self._sockets[1].address

    async def finish(self, machine: Discovery | BindingLifetime) -> None:
        """Run the machine to its end."""
        time = self._loop.time
        self._machine = machine
        machine.start(time())
        while True:
            for outgoing in machine.take_outgoing():
                self._sockets[outgoing.local_socket].transport.sendto(outgoing.data, outgoing.destination)
            if machine.done:
                return
            self._heard.clear()
            try:
                async with asyncio.timeout_at(machine.deadline):
                    await self._heard.wait()
            except TimeoutError:
                machine.tick(time())

    def receive(self, local_socket: LocalSocket, data: bytes, source: Address) -> None:
        """Take a datagram; a stranger's may come before the machine is there."""
        if self._machine is not None:
            self._machine.receive(local_socket, source, data, self._loop.time())
            self._heard.set()

    def _close(self) -> None:
        for opened in self._sockets:
            opened.transport.close()

    async def _host_towards_server(self) -> str:
        """The address that the system would send from; a NAT is told by comparing it with what the server sees."""
        transport, _ = await self._loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=self.server)
        try:
            return str(transport.get_extra_info("sockname")[0])
        finally:
            transport.close()


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, run: _Run, local_socket: LocalSocket) -> None:
        self._run = run
        self._local_socket = local_socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        host, port = transport.get_extra_info("sockname")[:2]
        self.address: Address = (host, port)

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        self._run.receive(self._local_socket, data, (str(address[0]), int(address[1])))
