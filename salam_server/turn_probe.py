"""What `salam doctor` does at a TURN server: a visit without credentials, and two relays that talk to each other."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Literal

from salam import SalamError
from turn_client.client import TurnClient
from turn_client.dial import ClientConfig
from turn_client.errors import Address, ServerRefused, TransactionTimeout, TransportFailed
from turn_client.link import Link, open_link
from turn_client.resolution import Resolver, ServerEndpoint, ServerTransport
from turn_client.stun import MessageClass, Method, StunError, StunMessage, build_message, parse_message
from turn_client.transactions import MIN_RTO_S, Transaction
from turn_client.uri import ServerUri

__all__ = ["Finding", "RelayPair", "ServerVisit", "State"]

State = Literal["ok", "warning", "failed"]

# Each of a server's addresses has this long to answer; by then a request over UDP was sent four times.
_BINDING_TIMEOUT_S = 4.0
# Echoes: enough for a median, and few enough that the lot takes a moment.
_ECHOES = 10
_ECHO_TIMEOUT_S = 1.0
# What WebRTC puts into one packet at most.
_PACKET_BYTES = 1_200
# How long the throughput is measured, and how fast packets are sent at most: 5 MB altogether, which hurts nobody's bill.
_THROUGHPUT_S = 2.0
_PACE_BPS = 20_000_000
_PACE_S = 0.002
# What a late loop may catch up with at once: 20 packets, for some servers drop what more than 32 kB waits for a client over TCP.
_CATCH_UP_S = 0.01
# Packets on their way at a time: as many as the wanted rate needs at half a second there and back.
_WINDOW = 128
# When nothing comes for this long, what is on its way is taken for lost.
_STALL_S = 0.25
# A good camera picture takes about this; with less a call works, with a worse picture.
_WANTED_BPS = 2_500_000
# Above this the repairs of a call become visible.
_MAX_LOSS = 0.03


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step found; ``values`` are its figures, their units in their names."""

    detail: str
    state: State = "ok"
    fix: str = ""
    values: dict[str, float | str] = field(default_factory=dict)


class ServerVisit:
    """Talks to a server without credentials, on a socket of its own that `stun` leaves to be closed by ``stack``."""

    def __init__(self, endpoints: Sequence[ServerEndpoint], tls: SSLContext | None, stack: AsyncExitStack) -> None:
        self._endpoints = endpoints
        self._tls = tls
        self._stack = stack
        self._link: Link | None = None
        self._answer: asyncio.Future[StunMessage] | None = None

    def frame_received(self, frame: bytes) -> None:
        """Take what the server says."""
        try:
            message = parse_message(frame)
        except StunError:
            return
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def link_failed(self, error: Exception) -> None:
        """Take the end of the socket."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def link_troubled(self, error: OSError) -> None:
        """Take an error of the way to the server."""
        self.link_failed(error)

    async def connect(self) -> Finding:
        """Open a connection to the first of the addresses that takes one. Raises OSError, the first one's."""
        failure: OSError | None = None
        for endpoint in self._endpoints:
            try:
                self._link = await self._open(endpoint)
            except OSError as error:
                failure = failure or error
            else:
                what = "connected, certificate good" if endpoint.transport is ServerTransport.TLS else "connected"
                return Finding(f"{what}: {shown(endpoint.address)}", values={"server": shown(endpoint.address)})
        raise failure or TransactionTimeout("there is no address to connect to")

    async def stun(self) -> Finding:
        """Ask for our own address, of the connection that stands or of each address in turn.

        Raises TransactionTimeout when nobody answers, and OSError.
        """
        if self._link is not None:
            return await self._binding(self._link, reliable=True)
        failure: Exception | None = None
        for endpoint in self._endpoints:
            try:
                return await self._binding(await self._open(endpoint), reliable=False)
            except (OSError, SalamError) as error:
                failure = failure or error
        raise failure or TransactionTimeout("there is no address to ask")

    async def _open(self, endpoint: ServerEndpoint) -> Link:
        link = await open_link(endpoint.transport, endpoint.address, self, tls=self._tls, server_name=endpoint.server_name)
        self._stack.callback(link.close)
        return link

    async def _binding(self, link: Link, *, reliable: bool) -> Finding:
        loop = asyncio.get_running_loop()
        transaction_id = os.urandom(12)
        request = build_message(Method.BINDING, MessageClass.REQUEST, transaction_id, fingerprint=True)
        self._answer = loop.create_future()
        schedule = Transaction(transaction_id, request, loop.time(), rto_s=MIN_RTO_S, reliable=reliable)
        give_up_s = loop.time() + _BINDING_TIMEOUT_S
        link.send_control(request)
        while not self._answer.done():
            await asyncio.wait({self._answer}, timeout=max(min(schedule.deadline, give_up_s) - loop.time(), 0.0))
            if self._answer.done():
                break
            if loop.time() >= give_up_s or not schedule.expire(loop.time()):
                raise TransactionTimeout("the server did not answer a Binding request")
            link.send_control(request)
        message = self._answer.result()
        if message.error is not None:
            raise ServerRefused(*message.error, method="a Binding request")
        mapped = message.mapped_address
        if mapped is None:
            return Finding("answered, without our address", "warning")
        rtt_ms = round((loop.time() - schedule.started_at) * 1000, 2)
        return Finding(f"answered; from there we are {shown(mapped)}", values={"mapped": shown(mapped), "rtt_ms": rtt_ms})


class RelayPair:
    """Two relays of one server, each the other's peer: what one sends goes through the server twice."""

    def __init__(
        self,
        uri: ServerUri,
        credentials: tuple[str, str],
        tls: SSLContext | None,
        transport: ServerTransport,
        resolver: Resolver,
        stack: AsyncExitStack,
    ) -> None:
        config = ClientConfig(tls=tls, transports=(transport,), resolver=resolver)
        self._near = TurnClient([uri], credentials, config=config, on_data=lambda data, peer: self._near_data(data))
        self._far = TurnClient([uri], credentials, config=config, on_data=lambda data, peer: self._far_data(data))
        self._stack = stack
        self._near_data: Callable[[bytes], None] = lambda data: None
        self._far_data: Callable[[bytes], None] = lambda data: None

    async def allocate(self) -> Finding:
        """Ask for both relays, one after the other. Raises TurnError."""
        for client in (self._near, self._far):
            self._stack.push_async_callback(client.close)
            await client.open()
        near, far = shown(self._near.relayed_addresses[0]), shown(self._far.relayed_addresses[0])
        return Finding(f"two relays: {near} and {far}", values={"relayed": near})

    async def permission(self) -> Finding:
        """Let each send to the other. Raises TurnError."""
        await asyncio.gather(self._near.bind(self._far_address), self._far.bind(self._near_address))
        return Finding("each relay is bound to the other")

    async def echo(self) -> Finding:
        """Send small datagrams from one to the other and back. Raises TransportFailed when none comes back."""
        loop = asyncio.get_running_loop()
        came: asyncio.Future[bytes] | None = None

        def near_data(data: bytes) -> None:
            if came is not None and not came.done():
                came.set_result(data)

        self._near_data = near_data
        self._far_data = lambda data: self._far.send_to(data, self._near_address)
        times_s: list[float] = []
        for number in range(_ECHOES):
            came, sent_s = loop.create_future(), loop.time()
            self._near.send_to(b"echo %d" % number, self._far_address)
            try:
                async with asyncio.timeout(_ECHO_TIMEOUT_S):
                    while await came != b"echo %d" % number:
                        came = loop.create_future()
            except TimeoutError:
                # Of a path that carries nothing, that is seen by now.
                if number >= 2 and not times_s:
                    break
                continue
            times_s.append(loop.time() - sent_s)
        if not times_s:
            raise TransportFailed("nothing that was sent through the relay came back")
        rtt_ms = round(statistics.median(times_s) * 1000, 2)
        lost = _ECHOES - len(times_s)
        detail = f"{len(times_s)} of {_ECHOES} came back, {rtt_ms:g} ms there and back through both relays"
        return Finding(detail, "warning" if lost else "ok", values={"rtt_ms": rtt_ms, "lost": lost})

    async def throughput(self) -> Finding:
        """Send full packets from one to the other for two seconds, at 20 Mbit/s at most and a window of them at a time."""
        loop = asyncio.get_running_loop()
        seen: set[int] = set()
        moved = asyncio.Event()

        def far_data(data: bytes) -> None:
            if len(data) == _PACKET_BYTES:
                seen.add(int.from_bytes(data[:4], "big"))
                moved.set()

        self._near_data, self._far_data = lambda data: None, far_data
        filler = bytes(_PACKET_BYTES - 4)
        sent = given_up = 0
        started_s = loop.time()
        next_s = started_s
        while (elapsed_s := loop.time() - started_s) < _THROUGHPUT_S:
            if next_s > loop.time():
                await asyncio.sleep(_PACE_S)
            elif sent - len(seen) - given_up < _WINDOW:
                self._near.send_to(sent.to_bytes(4, "big") + filler, self._far_address)
                sent += 1
                next_s = max(next_s, loop.time() - _CATCH_UP_S) + _PACKET_BYTES * 8 / _PACE_BPS
                await self._near.drain()
            elif not await moved_within(moved, _STALL_S):
                given_up = sent - len(seen)
        # The last ones are on their way; what follows the time is not counted as rate.
        bps = round(len(seen) * _PACKET_BYTES * 8 / elapsed_s)
        while len(seen) < sent and await moved_within(moved, _STALL_S):
            pass
        loss = round(1 - len(seen) / sent, 4)
        enough = bps >= _WANTED_BPS and loss <= _MAX_LOSS
        return Finding(
            f"{bps / 1e6:.1f} of {_PACE_BPS / 1e6:g} Mbit/s through both relays, {100 * loss:.1f} % lost",
            "ok" if enough else "warning",
            "" if enough else f"a good picture takes {_WANTED_BPS / 1e6:g} Mbit/s; look at the network and the load of the server",
            values={"throughput_bps": bps, "loss": loss},
        )

    @property
    def _near_address(self) -> Address:
        return self._near.relayed_addresses[0]

    @property
    def _far_address(self) -> Address:
        return self._far.relayed_addresses[0]


async def moved_within(moved: asyncio.Event, timeout_s: float) -> bool:
    """Wait for ``moved``, and say whether it was set in time."""
    moved.clear()
    try:
        async with asyncio.timeout(timeout_s):
            await moved.wait()
    except TimeoutError:
        return False
    return True


def shown(address: Address) -> str:
    """Return an address as people write it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
