"""Carries a `Discovery` out over two UDP sockets."""

from __future__ import annotations

import asyncio
import os
import random
from functools import partial
from typing import cast

from turn_client.discovery import PATIENCE_S, Discovery, LocalSocket, NatReport
from turn_client.dns import DnsResolver, resolve
from turn_client.errors import Address, TransportFailed
from turn_client.resolution import Resolver, ServerTransport
from turn_client.uri import ServerUri, parse_server_uri

__all__ = ["discover_nat"]


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
    uri = parse_server_uri(server) if isinstance(server, str) else server
    found = await resolve(uri, resolver or DnsResolver(), random=random.random, transports=[ServerTransport.UDP])
    # NATs are an affair of IPv4: without one there, IPv6 is asked for the sake of its firewalls.
    endpoint = next((endpoint for endpoint in found if not endpoint.is_ipv6), found[0])
    run = _Run(endpoint.address, patience_s)
    try:
        return await run.finish(await run.open(local_host))
    except OSError as error:
        raise TransportFailed(f"cannot send to the STUN server: {error.strerror or type(error).__name__}") from error
    finally:
        run.close()


class _Run:
    def __init__(self, server: Address, patience_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._patience_s = patience_s
        self._sockets: list[_Socket] = []
        self._machine: Discovery | None = None
        self._heard = asyncio.Event()

    async def open(self, local_host: str | None) -> Discovery:
        host = local_host or await self._host_towards_server()
        for local_socket in LocalSocket:
            _, opened = await self._loop.create_datagram_endpoint(partial(_Socket, self, local_socket), local_addr=(host, 0))
            self._sockets.append(opened)
        local = (self._sockets[0].address, self._sockets[1].address)
        self._machine = Discovery(self._server, local, random=os.urandom, patience_s=self._patience_s)
        return self._machine

    async def finish(self, machine: Discovery) -> NatReport:
        time = self._loop.time
        machine.start(time())
        while True:
            for outgoing in machine.take_outgoing():
                self._sockets[outgoing.local_socket].transport.sendto(outgoing.data, outgoing.destination)
            if machine.done:
                return machine.report
            self._heard.clear()
            try:
                async with asyncio.timeout_at(machine.deadline):
                    await self._heard.wait()
            except TimeoutError:
                machine.tick(time())

    def receive(self, local_socket: LocalSocket, data: bytes, source: Address) -> None:
        # A stranger may be quicker than the second socket.
        if self._machine is not None:
            self._machine.receive(local_socket, source, data, self._loop.time())
            self._heard.set()

    def close(self) -> None:
        for opened in self._sockets:
            opened.transport.close()

    async def _host_towards_server(self) -> str:
        """The address that the system would send from; a NAT is told by comparing it with what the server sees."""
        transport, _ = await self._loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=self._server)
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
