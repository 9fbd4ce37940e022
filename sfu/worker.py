"""The worker: one UDP socket and one TCP listener on the same port number, for all WebRTC media of a process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import ifaddr

from salam.clock import Clock, RealClock, ntp_seconds
from salam.errors import ClosedError, ConfigError, ResourceError
from salam.log import get_logger
from salam.metrics import Metrics
from sfu.dtls import DtlsIdentity, Fingerprint
from sfu.engine import Engine
from sfu.paths import NetworkPath, TcpPath
from sfu.plane import PurePlane
from sfu.plane.interface import MediaPlane, PlaneStats
from sfu.router import Router
from sfu.sdp_lines import Candidate
from sfu.tcp_framing import FrameDecoder, FramingError, encode_frame

__all__ = ["Worker", "WorkerStats"]

_log = get_logger("sfu")

# One second of 40 Mbit/s: what arrives while the process is busy elsewhere. The kernel grants at most net.core.rmem_max.
_RECEIVE_BUFFER_BYTES = 5 * 1024 * 1024
_SEND_BUFFER_BYTES = 5 * 1024 * 1024
# Packets taken from the socket before timers and other work get their turn: about 2 ms of work.
_RECEIVE_BATCH = 64
# Larger than any datagram of WebRTC on an Ethernet path; what is longer is cut off and then fails authentication.
_DATAGRAM_BYTES = 2048
# Each costs a few kB of buffers; a process that serves more peers than this over TCP alone should be several.
_MAX_TCP_CONNECTIONS = 1024
# A second of 720p video. A connection that does not take that is congested, and more in the queue would only be late.
_TCP_WRITE_LIMIT_BYTES = 256 * 1024
# ICE checks come every few seconds, and consent expires after 30 s of silence (RFC 7675); strangers get less.
_TCP_IDLE_S = 30.0
_TCP_STRANGER_S = 10.0
# How often counters go into the metrics and idle connections are looked for.
_HOUSEKEEPING_S = 1.0
# With port 0 the kernel picks a free UDP port whose TCP twin may be taken; the next pick is another.
_BIND_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """Totals of a worker."""

    port: int
    routers: int
    transports: int
    tcp_connections: int
    send_errors: int
    plane: PlaneStats


class Worker:
    """Carries the media of many rooms over one port.

    ``host`` is the address to listen on; ``port`` 0 picks a free one. ``announced_addresses`` are what peers are told, when that
    is not the machine's own addresses. ``include_loopback`` adds 127.0.0.1 to the machine's addresses, for browsers on the same
    machine. ``plane`` carries the packets; ``rng`` is for tests.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 40_000,
        *,
        announced_addresses: tuple[str, ...] = (),
        announced_port: int | None = None,
        include_loopback: bool = False,
        plane: MediaPlane | None = None,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not 0 <= port <= 0xFFFF:
            raise ConfigError(f"media_port is {port}; allowed: 0 to 65535")
        self._host = host
        self._port = port
        self._announced = announced_addresses
        self._announced_port = announced_port
        self._include_loopback = include_loopback
        self._clock: Clock = RealClock() if clock is None else clock
        self._metrics = Metrics() if metrics is None else metrics
        if plane is None:
            plane = PurePlane(ntp_offset_s=ntp_seconds(self._clock.wall()) - self._clock.monotonic())
        self._plane = plane
        self._identity = DtlsIdentity.generate(self._clock.wall())
        self._engine = Engine(
            plane=plane,
            identity=self._identity,
            rng=random.SystemRandom() if rng is None else rng,
            monotonic=self._clock.monotonic,
            wake=self._wake,
            count_drop=self._count_control_drop,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[int, _TcpConnection] = {}
        self._next_connection_id = 1
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._housekeeping: asyncio.TimerHandle | None = None
        self._flush_scheduled = False
        self._counted_drops: Mapping[str, int] = {}
        self._send_errors = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Worker {self._host}:{self._port} transports={self._engine.transport_count}>"

    @property
    def port(self) -> int:
        """The port of both sockets; the one that was picked, once started."""
        return self._port

    @property
    def fingerprint(self) -> Fingerprint:
        """The hash of the certificate that all transports of this worker use."""
        return self._identity.fingerprint

    @property
    def clock(self) -> Clock:
        """The worker's time."""
        return self._clock

    @property
    def metrics(self) -> Metrics:
        """Where the worker counts."""
        return self._metrics

    @property
    def routers(self) -> tuple[Router, ...]:
        """The open routers."""
        return self._engine.routers

    async def start(self) -> None:
        """Open both sockets. Raises ResourceError when the port is taken or the address is not this machine's."""
        if self._closed:
            raise ClosedError("the worker was closed and does not start again")
        if self._socket is not None:
            return
        self._loop = asyncio.get_running_loop()
        udp, tcp = self._bind()
        self._socket = udp
        self._port = udp.getsockname()[1]
        self._server = await self._loop.create_server(lambda: _TcpConnection(self), sock=tcp)
        self._engine.set_candidates(self._candidates())
        self._loop.add_reader(udp.fileno(), self._on_readable)
        self._housekeeping = self._loop.call_later(_HOUSEKEEPING_S, self._housekeep)
        _log.debug("media on port %d, udp and tcp", self._port)

    def create_router(self, router_id: str) -> Router:
        """Make a router. Raises ConflictError when the id is taken and ClosedError when the worker is closed."""
        if self._closed:
            raise ClosedError("the worker is closed")
        return self._engine.create_router(router_id)

    async def close(self) -> None:
        """Close every router, say goodbye to the peers, close the sockets; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._engine.close()
        if self._socket is not None:
            self._flush()
        for handle in (self._timer, self._housekeeping):
            if handle is not None:
                handle.cancel()
        for connection in list(self._connections.values()):
            connection.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._socket is not None:
            assert self._loop is not None
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._count_plane_drops("media_udp")

    def stats(self) -> WorkerStats:
        """Totals so far."""
        return WorkerStats(
            port=self._port,
            routers=len(self._engine.routers),
            transports=self._engine.transport_count,
            tcp_connections=len(self._connections),
            send_errors=self._send_errors,
            plane=self._plane.stats(),
        )

    # --------------------------------------------------------------------------------------------- sockets

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        for _ in range(_BIND_ATTEMPTS):
            udp = self._open(socket.SOCK_DGRAM, self._port)
            try:
                return udp, self._open(socket.SOCK_STREAM, udp.getsockname()[1])
            except ResourceError:
                udp.close()
                if self._port:
                    raise
        raise ResourceError("no port is free for both UDP and TCP")

    def _open(self, kind: socket.SocketKind, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.socket(family, kind)
        try:
            sock.setblocking(False)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            sock.bind((self._host, port))
        except OSError as error:
            sock.close()
            protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
            if error.errno == errno.EADDRINUSE:
                raise ResourceError(f"media port {port}/{protocol} is taken by another program", code="port_unavailable") from None
            raise ResourceError(f"cannot listen for media on {self._host} port {port}/{protocol}: {error.strerror}") from None
        return sock

    def _candidates(self) -> tuple[Candidate, ...]:
        addresses = self._announced or self._own_addresses()
        port = self._announced_port or self._port
        return tuple(Candidate(protocol, address, port) for protocol in ("udp", "tcp") for address in addresses)

    def _own_addresses(self) -> tuple[str, ...]:
        if self._host not in ("0.0.0.0", "::"):
            return (self._host,)
        found = []
        for adapter in ifaddr.get_adapters():
            for entry in adapter.ips:
                address = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
                # Link-local addresses need a scope that a candidate cannot carry.
                if (":" in address) == (self._host == "::") and not address.lower().startswith(("169.254.", "fe80:")):
                    found.append(address)
        loopback = "::1" if self._host == "::" else "127.0.0.1"
        others = tuple(address for address in found if not address.startswith("127.") and address != "::1")
        return (*others, loopback) if self._include_loopback or not others else others

    def _on_readable(self) -> None:
        assert self._socket is not None
        receive, engine = self._socket.recvfrom, self._engine
        now = self._clock.monotonic()
        for _ in range(_RECEIVE_BATCH):
            try:
                data, address = receive(_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # An ICMP error of an earlier send; it says nothing about this socket.
                self._metrics.drop("media_udp", "receive_error")
                continue
            if data:
                engine.receive(data, address, now)
            else:
                self._metrics.drop("media_udp", "empty")
        self._flush()

    def tcp_received(self, packets: list[bytes], path: TcpPath) -> None:
        """Take packets of an ICE-TCP connection, and send what they cause."""
        # The plane counts without knowing the port, so what it counted before these packets is counted first.
        self._count_plane_drops("media_udp")
        now = self._clock.monotonic()
        for packet in packets:
            self._engine.receive(packet, path, now)
        self._flush()
        self._count_plane_drops("media_tcp")

    def tcp_opened(self, connection: _TcpConnection) -> int | None:
        """Register a connection; returns its id, or None when there are too many.

        The oldest stranger makes way, so that connections that say nothing of use cannot keep peers out.
        """
        if not self._closed and len(self._connections) >= _MAX_TCP_CONNECTIONS:
            self._metrics.drop("media_tcp", "too_many_connections")
            oldest = next((other for other in self._connections.values() if not self._engine.knows_path(other.path)), None)
            if oldest is None:
                return None
            del self._connections[oldest.path.connection_id]
            oldest.abort()
        if self._closed:
            return None
        connection_id = self._next_connection_id
        self._next_connection_id += 1
        self._connections[connection_id] = connection
        return connection_id

    def tcp_closed(self, path: TcpPath) -> None:
        """Forget a connection."""
        self._connections.pop(path.connection_id, None)
        self._engine.path_closed(path)

    def tcp_dropped(self, reason: str) -> None:
        """Count what a connection had to drop."""
        self._metrics.drop("media_tcp", reason)

    # --------------------------------------------------------------------------------------------- sending and time

    def _wake(self) -> None:
        if not self._flush_scheduled and self._loop is not None and not self._closed:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_commands)

    def _flush_commands(self) -> None:
        self._flush_scheduled = False
        if self._socket is not None and not self._closed:
            self._engine.watch_deadlines()
            self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        send = self._socket.sendto
        for data, path in self._engine.take_datagrams(self._clock.monotonic()):
            if isinstance(path, TcpPath):
                self._send_tcp(data, path)
                continue
            try:
                send(data, path)
            except (BlockingIOError, InterruptedError):
                self._count_send_error("send_buffer_full")
            except OSError:
                # Unreachable for the moment, or not any more; ICE finds out which.
                self._count_send_error("send_error")
        self._arm()

    def _send_tcp(self, data: bytes, path: NetworkPath) -> None:
        assert isinstance(path, TcpPath)
        connection = self._connections.get(path.connection_id)
        if connection is None or not connection.send(data):
            self._send_errors += 1
            self._metrics.drop("media_tcp", "send_buffer_full")

    def _count_send_error(self, reason: str) -> None:
        self._send_errors += 1
        self._metrics.drop("media_udp", reason)

    def _arm(self) -> None:
        deadline_s = self._engine.next_deadline()
        if self._timer is not None:
            if self._timer_at_s <= deadline_s:
                # A timer that fires early looks again; cancelling and arming one for every packet would cost more.
                return
            self._timer.cancel()
            self._timer = None
        if deadline_s != float("inf") and not self._closed:
            assert self._loop is not None
            self._timer_at_s = deadline_s
            self._timer = self._loop.call_later(max(0.0, deadline_s - self._clock.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._engine.handle_timer(self._clock.monotonic())
        self._flush()

    def _housekeep(self) -> None:
        now = self._clock.monotonic()
        for connection in list(self._connections.values()):
            # A stranger's own packets buy it no time: only a check that ICE authenticates does.
            known = self._engine.knows_path(connection.path)
            if now - connection.heard_s > _TCP_IDLE_S if known else now - connection.opened_s > _TCP_STRANGER_S:
                self._metrics.drop("media_tcp", "idle")
                connection.abort()
        self._count_plane_drops("media_udp")
        assert self._loop is not None
        self._housekeeping = self._loop.call_later(_HOUSEKEEPING_S, self._housekeep)

    def _count_control_drop(self, reason: str, path: NetworkPath) -> None:
        self._metrics.drop("media_tcp" if isinstance(path, TcpPath) else "media_udp", reason)

    def _count_plane_drops(self, port: str) -> None:
        drops = self._plane.stats().drops
        if drops == self._counted_drops:
            return
        for reason, count in drops.items():
            if count > self._counted_drops.get(reason, 0):
                self._metrics.drop(port, reason, count - self._counted_drops.get(reason, 0))
        self._counted_drops = drops


class _TcpConnection(asyncio.Protocol):
    """One accepted ICE-TCP connection (RFC 6544)."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self.path = TcpPath(0, ("", 0))
        self.opened_s = self.heard_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.opened_s = self.heard_s = self._worker.clock.monotonic()
        connection_id = self._worker.tcp_opened(self)
        if connection_id is None:
            self._transport.abort()
            return
        self.path = TcpPath(connection_id, transport.get_extra_info("peername"))
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            # Media packets are small and must not wait for each other.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        try:
            packets = self._decoder.feed(data)
        except FramingError:
            self._worker.tcp_dropped("bad_framing")
            self.abort()
            return
        self.heard_s = self._worker.clock.monotonic()
        self._worker.tcp_received(packets, self.path)

    def connection_lost(self, exc: Exception | None) -> None:
        self._worker.tcp_closed(self.path)

    def send(self, packet: bytes) -> bool:
        """Queue a packet; False when the peer takes too little, and the packet was dropped."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > _TCP_WRITE_LIMIT_BYTES:
            return False
        transport.write(encode_frame(packet))
        return True

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
