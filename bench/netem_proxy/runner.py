"""A UDP relay with an emulated link in each direction between any number of clients and one server port.

Each client address gets a socket of its own towards the server, so that the server tells the clients apart just as it would without
the relay, and its own pair of links, so that every client has its own path.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from bench.netem import PERFECT, Link, LinkConfig, LinkStats
from salam import ResourceError

__all__ = ["ProxyStats", "UdpProxy"]

Address = tuple[str, int]

# Client addresses served at a time; a browser uses one or two per connection. The one that was silent longest makes room.
_MAX_CLIENTS = 256
# Datagrams read in one turn of the loop, so that one busy client does not starve the timers of the others.
_READ_BATCH = 64
_MAX_DATAGRAM_BYTES = 65_535
# A burst of a video frame to many clients must wait somewhere while the loop does something else. The kernel halves what it
# refuses.
_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
# Keeps the seeds of two clients, or two directions, apart.
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True, slots=True)
class ProxyStats:
    """Totals of a relay: what its links did, and what the machine's own sockets refused."""

    up: LinkStats
    """From the clients to the server, all clients together."""
    down: LinkStats
    clients: int
    evicted_clients: int
    socket_errors: int
    """Datagrams that a socket did not take, or errors it reported (such as a server port that nobody listens on)."""


class _Direction:
    """One link with the timer that empties it."""

    def __init__(self, config: LinkConfig, seed: int, send: Callable[[bytes], None]) -> None:
        self.link = Link(config, seed)
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def push(self, packet: bytes) -> None:
        self.link.push(packet, self._loop.time())
        self._deliver()

    def configure(self, config: LinkConfig) -> None:
        self.link.configure(config, self._loop.time())
        self._deliver()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deliver(self) -> None:
        self.close()
        for packet in self.link.poll(self._loop.time()):
            self._send(packet)
        deadline = self.link.next_deadline()
        if deadline < math.inf:
            self._timer = self._loop.call_at(deadline, self._deliver)


class _Client:
    """One client's socket towards the server and its two links."""

    def __init__(self, proxy: UdpProxy, address: Address, upstream: socket.socket, seed: int) -> None:
        self.address = address
        self.upstream = upstream
        self.last_seen = 0.0
        self.up = _Direction(proxy.up, seed, lambda packet: proxy.send_up(self, packet))
        self.down = _Direction(proxy.down, seed + 1, lambda packet: proxy.send_down(self, packet))

    def close(self) -> None:
        self.up.close()
        self.down.close()
        asyncio.get_running_loop().remove_reader(self.upstream)
        self.upstream.close()


class UdpProxy:
    """Relays datagrams between clients and ``target`` (address and port of the server) through emulated links.

    ``up`` is what happens on the way to the server and ``down`` on the way back; every client has its own pair of links, seeded
    from ``seed`` and the order in which clients appear. ``host`` and ``port`` are where clients send to; port 0 takes a free one.
    ::

        async with UdpProxy(("127.0.0.1", worker.port), down=WIFI_LOSSY, seed=7) as proxy:
            ...  # announce proxy.port instead of the server's

    Raises ResourceError on entering when the port is taken.
    """

    def __init__(
        self,
        target: Address,
        *,
        up: LinkConfig = PERFECT,
        down: LinkConfig = PERFECT,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.target = target
        self.up = up
        self.down = down
        self._seed = seed
        self._bind = (host, port)
        self._socket: socket.socket | None = None
        self._clients: dict[Address, _Client] = {}
        self._clients_seen = 0
        self._evicted = 0
        self._socket_errors = 0
        self._past_up = LinkStats()
        self._past_down = LinkStats()

    async def __aenter__(self) -> UdpProxy:
        listener = _datagram_socket()
        try:
            listener.bind(self._bind)
        except OSError as error:
            listener.close()
            raise ResourceError(f"UDP port {self._bind[1]} cannot be opened for the relay: {error.strerror}") from error
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener, self._read_clients)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that clients send to; 0 while the relay is not running."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    @property
    def address(self) -> Address:
        """Where clients send to."""
        return (self._bind[0], self.port)

    def configure(self, *, up: LinkConfig | None = None, down: LinkConfig | None = None) -> None:
        """Change the links of all clients, those that come later included; None leaves a direction as it is."""
        self.up = self.up if up is None else up
        self.down = self.down if down is None else down
        for client in self._clients.values():
            client.up.configure(self.up)
            client.down.configure(self.down)

    def stats(self) -> ProxyStats:
        """Return the totals of all clients so far, those that are gone included."""
        clients = list(self._clients.values())
        return ProxyStats(
            up=sum((client.up.link.stats() for client in clients), self._past_up),
            down=sum((client.down.link.stats() for client in clients), self._past_down),
            clients=len(clients),
            evicted_clients=self._evicted,
            socket_errors=self._socket_errors,
        )

    def close(self) -> None:
        """Stop relaying; packets under way are gone. Idempotent."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for address in list(self._clients):
            self._forget(address)

    def send_up(self, client: _Client, packet: bytes) -> None:
        """Hand a packet that came through the link to the server."""
        try:
            client.upstream.send(packet)
        except OSError:
            self._socket_errors += 1

    def send_down(self, client: _Client, packet: bytes) -> None:
        """Hand a packet that came through the link to its client."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(packet, client.address)
        except OSError:
            self._socket_errors += 1

    def _read_clients(self) -> None:
        listener = self._socket
        if listener is None:
            return
        for _ in range(_READ_BATCH):
            try:
                packet, address = listener.recvfrom(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._socket_errors += 1
                continue
            client = self._clients.get(address) or self._admit(address)
            if client is not None:
                client.last_seen = asyncio.get_running_loop().time()
                client.up.push(packet)

    def _read_upstream(self, client: _Client) -> None:
        for _ in range(_READ_BATCH):
            try:
                packet = client.upstream.recv(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._socket_errors += 1
                continue
            client.down.push(packet)

    def _admit(self, address: Address) -> _Client | None:
        if len(self._clients) >= _MAX_CLIENTS:
            self._forget(min(self._clients, key=lambda known: self._clients[known].last_seen))
            self._evicted += 1
        upstream = _datagram_socket()
        try:
            upstream.bind((self._bind[0], 0))
            upstream.connect(self.target)
        except OSError:
            upstream.close()
            self._socket_errors += 1
            return None
        seed = self._seed * _SEED_STRIDE + 2 * self._clients_seen
        self._clients_seen += 1
        client = _Client(self, address, upstream, seed)
        self._clients[address] = client
        asyncio.get_running_loop().add_reader(upstream, self._read_upstream, client)
        return client

    def _forget(self, address: Address) -> None:
        client = self._clients.pop(address)
        client.close()
        self._past_up += client.up.link.stats()
        self._past_down += client.down.link.stats()


def _datagram_socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        opened.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
    return opened
