"""One socket to one server. Media gives way when the socket is full, the oldest first; requests never do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from turn_client.datagrams import DatagramSocket
from turn_client.errors import Address
from turn_client.resolution import ServerTransport
from turn_client.stream import StreamParser
from turn_client.stun import StunError

__all__ = ["Link", "LinkReceiver", "LinkStats", "StreamLink", "UdpLink", "open_link"]

# A burst of a keyframe from several senders arrives within one turn of the loop; the system's default holds about 90 packets.
_UDP_BUFFER_BYTES = 1 << 20
# A quarter of a second of video at 2 Mbit/s: more would only be latency, and the system's own buffer comes on top.
_HIGH_WATER_BYTES = 64 * 1024
_LOW_WATER_BYTES = 16 * 1024
# What the system may hold unsent before it says "full": the queue then stands where old media can still be dropped from it.
_UNSENT_BYTES = 16 * 1024
# Media that waits while the socket is full: as much again as the high-water mark, and few enough frames that dropping stays cheap.
_QUEUE_BYTES = 64 * 1024
_QUEUE_FRAMES = 512
# A closing TLS connection that never finishes its shutdown is cut off after this: asyncio would wait 30 s.
_TLS_SHUTDOWN_S = 2.0
# The server itself says that nobody listens: ICMP port or protocol unreachable, which RFC 8489 section 6.2.1 calls hard. Errors of
# the way there, such as an unreachable network, may pass.
_HARD_ERRORS = frozenset({errno.ECONNREFUSED, errno.ENOPROTOOPT, errno.EPROTONOSUPPORT})


class LinkReceiver(Protocol):
    """Who gets what comes out of a link; called from the event loop, and must not block."""

    def frame_received(self, frame: bytes) -> None:
        """Take one datagram, or one frame of a stream without its padding."""

    def link_failed(self, error: Exception) -> None:
        """Learn that the link is of no more use; called at most once, and never after `Link.close`."""

    def link_troubled(self, error: OSError) -> None:
        """Learn of an error of the way to the server, which may pass."""


@dataclass(slots=True)
class LinkStats:
    """What happened on one link since it was opened."""

    queued_frames: int = 0
    """Media that had to wait because the socket was full."""
    dropped_frames: int = 0
    """Media that waited too long and was dropped, the oldest first."""
    soft_errors: int = 0
    """Errors of the way to the server that may pass, such as an unreachable network."""


class Link(ABC):
    """One open socket to a server.

    ``send`` takes a frame of media: while the socket is full, frames wait in a bounded queue whose oldest is dropped. It is
    replaced whenever the socket fills up or empties: call it through the link, and do not keep it. `send_control` takes requests,
    which are few and small and never dropped.
    """

    def __init__(self, receiver: LinkReceiver) -> None:
        self.receiver = receiver
        self.send: Callable[[bytes], None] = self._discard
        # What ``send`` is while the socket takes everything.
        self._direct: Callable[[bytes], None] = self._discard
        self.stats = LinkStats()
        self._writable = asyncio.Event()
        self._writable.set()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._ended = False
        self._gone = asyncio.Event()

    @property
    @abstractmethod
    def local_address(self) -> Address:
        """The address of our own end."""

    @abstractmethod
    def send_control(self, frame: bytes) -> None:
        """Send a request or an indication without queueing behind media."""

    @abstractmethod
    def close(self) -> None:
        """Close the socket; safe to call twice."""

    @property
    def gone(self) -> bool:
        """Whether the socket is closed for good."""
        return self._gone.is_set()

    async def wait_closed(self) -> None:
        """Wait until the socket is gone, after `close` or a failure."""
        await self._gone.wait()

    @property
    def paused(self) -> bool:
        """Whether the socket is full and media waits."""
        return not self._writable.is_set()

    async def drain(self) -> None:
        """Wait until the socket takes media again; returns at once when it does, or when the link has ended."""
        await self._writable.wait()

    def pause_writing(self) -> None:
        """Called by asyncio: the socket is full."""
        self._writable.clear()
        self.send = self._enqueue

    def resume_writing(self) -> None:
        """Called by asyncio: the socket takes more."""
        self._writable.set()
        self.send = self._direct
        while self._queue and self._writable.is_set():
            frame = self._queue.popleft()
            self._queued_bytes -= len(frame)
            # Sending may fill the socket up again, which pauses and ends this loop.
            self._direct(frame)

    def fail(self, error: Exception) -> None:
        """End the link and tell the receiver why, unless it ended before."""
        if self._ended:
            return
        self._end()
        self.receiver.link_failed(error)

    def _end(self) -> None:
        self._ended = True
        self.send = self._direct = self._discard
        self._queue.clear()
        self._queued_bytes = 0
        self._writable.set()

    def _enqueue(self, frame: bytes) -> None:
        queue = self._queue
        queue.append(frame)
        self._queued_bytes += len(frame)
        self.stats.queued_frames += 1
        while self._queued_bytes > _QUEUE_BYTES or len(queue) > _QUEUE_FRAMES:
            self._queued_bytes -= len(queue.popleft())
            self.stats.dropped_frames += 1

    def _discard(self, frame: bytes) -> None:
        self.stats.dropped_frames += 1


class UdpLink(Link):
    """A connected UDP socket: only the server's datagrams arrive, and its ICMP errors do too."""

    def __init__(self, receiver: LinkReceiver, connected: socket.socket) -> None:
        super().__init__(receiver)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, option, _UDP_BUFFER_BYTES)
        # Straight to the receiver: a call less for every datagram.
        self.datagram_received = receiver.frame_received
        self._socket = DatagramSocket(connected, self)
        self._address = self._socket.local_address
        self.send = self._direct = self._socket.send

    def datagram_error(self, error: OSError) -> None:
        """Called by the socket: an ICMP error came, or a send failed."""
        if error.errno in _HARD_ERRORS:
            self.fail(error)
        else:
            self.stats.soft_errors += 1
            self.receiver.link_troubled(error)

    def datagrams_refused(self, datagrams: list[bytes]) -> None:
        """Called by the socket: it is full."""
        if self._ended:
            return
        self.pause_writing()
        for datagram in datagrams:
            self._enqueue(datagram)

    def datagrams_wanted(self) -> None:
        """Called by the socket: it takes more."""
        if not self._ended:
            self.resume_writing()

    @property
    def local_address(self) -> Address:
        return self._address

    def send_control(self, frame: bytes) -> None:
        self._socket.send_now(frame)

    def close(self) -> None:
        self._end()
        self._socket.close()
        self._gone.set()


class StreamLink(Link, asyncio.Protocol):
    """A TCP or TLS connection: frames are cut out of the stream; those that are sent have their padding already."""

    _transport: asyncio.Transport

    def __init__(self, receiver: LinkReceiver) -> None:
        super().__init__(receiver)
        self._parser = StreamParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        connected = transport.get_extra_info("socket")
        unsent = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if connected is not None and unsent is not None:
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, unsent, _UNSENT_BYTES)
        self.send = self._direct = self._transport.write

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            for frame in self._parser.feed(data):
                # A frame may have closed the link: what follows it is nobody's.
                if self._ended:
                    return
                self.receiver.frame_received(frame)
            if self._parser.broken:
                self._parser.feed(b"")
        except StunError as error:
            self._transport.abort()
            self.fail(error)

    def eof_received(self) -> None:
        """Called by asyncio: the server has said its last, and asyncio closes the connection."""

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        self._gone.set()
        self.fail(error or ConnectionError("the server closed the connection"))

    @property
    def local_address(self) -> Address:
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    def send_control(self, frame: bytes) -> None:
        self._transport.write(frame)

    def close(self) -> None:
        self._end()
        if self._transport.get_write_buffer_size():
            # A server that reads no more would hold the connection open for as long as it likes.
            self._transport.abort()
        else:
            self._transport.close()


def _connected_udp(server: Address, local: tuple[str, int] | None) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if local is not None:
            made.bind(local)
        made.connect(server)
    except BaseException:
        made.close()
        raise
    return made


async def open_link(
    kind: ServerTransport,
    server: Address,
    receiver: LinkReceiver,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    local_host: str | None = None,
) -> Link:
    """Open a socket to ``server`` and return it once it can be used.

    ``tls`` is the trust for `ServerTransport.TLS`, the system's own by default; ``server_name`` is the name that the certificate
    must have, the address by default. ``local_host`` is the address of ours to send from.

    Raises OSError when the connection cannot be made, and ssl.SSLError, which is one, when the certificate is not right.
    """
    loop = asyncio.get_running_loop()
    local = None if local_host is None else (local_host, 0)
    if kind is ServerTransport.UDP:
        return UdpLink(receiver, _connected_udp(server, local))
    if kind is ServerTransport.TCP:
        _, stream = await loop.create_connection(lambda: StreamLink(receiver), *server, local_addr=local)
        return stream
    _, stream = await loop.create_connection(
        lambda: StreamLink(receiver),
        *server,
        local_addr=local,
        ssl=tls or await loop.run_in_executor(None, ssl.create_default_context),
        server_hostname=server_name or server[0],
        ssl_shutdown_timeout=_TLS_SHUTDOWN_S,
    )
    return stream
