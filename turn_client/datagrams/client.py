"""A connected UDP socket on the event loop, made for media: many datagrams in one system call, and as many reads in one turn.

A call into the system costs several times what framing a packet does, and asyncio's datagram transport makes one for each packet
sent, two for each received, and reads into a quarter of a megabyte. Everything goes to one address here, the TURN server's, so the
system can cut one buffer into datagrams (UDP_SEGMENT, Linux 4.18). Where it cannot, each goes by itself.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from typing import Protocol

__all__ = ["DatagramSocket", "DatagramUser"]

# linux/udp.h; the socket module does not name it.
_UDP_SEGMENT = 103
# What the kernel takes in one call, in datagrams (UDP_MAX_SEGMENTS) and in bytes (an IP packet's length less its headers).
_MAX_SEGMENTS = 64
_MAX_SEGMENTED_BYTES = 65_000
# Above this a datagram may not pass the link in one piece, which the system refuses for segments and does for single datagrams.
_MAX_SEGMENT_BYTES = 1_400
# After so many reads others get their turn.
_READS_PER_TURN = 64
# The largest UDP datagram.
_READ_BYTES = 65_536
_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})
# The system, or the way that the packets take, does not cut: EIO comes from devices, the others from kernels without it.
_CANNOT_SEGMENT = frozenset({errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


class DatagramUser(Protocol):
    """Who sends and receives; called from the event loop, and must not block."""

    def datagram_received(self, data: bytes) -> None:
        """Take one datagram."""

    def datagram_error(self, error: OSError) -> None:
        """Learn of an ICMP error, or of a datagram that the system would not send."""

    def datagrams_refused(self, datagrams: list[bytes]) -> None:
        """Take back what did not go out because the socket is full; `datagrams_wanted` follows."""

    def datagrams_wanted(self) -> None:
        """Learn that the socket takes datagrams again."""


class DatagramSocket:
    """Sends and receives over ``sock``, which is connected and does not block; it belongs to this object from now on.

    Must be made, and used, in the event loop.
    """

    def __init__(self, sock: socket.socket, user: DatagramUser) -> None:
        self._socket = sock
        self._user = user
        self._loop = asyncio.get_running_loop()
        self._batch: list[bytes] = []
        self._full = False
        self._closed = False
        self._segment_bytes = _MAX_SEGMENT_BYTES if sys.platform == "linux" else 0
        self._loop.add_reader(sock, self._read)

    @property
    def local_address(self) -> tuple[str, int]:
        """Where it sends from."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def send(self, datagram: bytes) -> None:
        """Send with all others of this turn of the loop, in order, when the turn ends."""
        batch = self._batch
        if not batch:
            self._loop.call_soon(self.flush)
        batch.append(datagram)
        if len(batch) >= _MAX_SEGMENTS:
            self.flush()

    def send_now(self, datagram: bytes) -> None:
        """Send before what `send` has gathered; lost when the socket is full."""
        if not self._closed:
            self._send_one(datagram)

    def flush(self) -> None:
        """Send what has been gathered."""
        batch, self._batch = self._batch, []
        at = 0
        while at < len(batch) and not self._closed:
            if self._full:
                self._user.datagrams_refused(batch[at:])
                return
            end = self._end_of_group(batch, at)
            if end - at > 1:
                at = end if self._send_group(batch[at:end]) else at
            else:
                at += self._send_one(batch[at])

    def close(self) -> None:
        """Send what has been gathered, and close the socket; safe to call twice."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()

    def _end_of_group(self, batch: list[bytes], at: int) -> int:
        """Where the datagrams end that one call can send: all of the same length, but for the last, which may be shorter."""
        length = len(batch[at])
        if not 0 < length <= self._segment_bytes:
            return at + 1
        most = min(len(batch), at + _MAX_SEGMENTS, at + _MAX_SEGMENTED_BYTES // length)
        end = at + 1
        while end < most and len(batch[end]) == length:
            end += 1
        if end < most and 0 < len(batch[end]) < length:
            end += 1
        return end

    def _send_group(self, group: list[bytes]) -> bool:
        """Send them in one call; False when they have to be tried again, by themselves or later."""
        control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", len(group[0])))]
        try:
            self._socket.sendmsg(group, control)
        except OSError as error:
            if error.errno in _FULL:
                self._wait_until_writable()
                return False
            if error.errno in _CANNOT_SEGMENT:
                self._segment_bytes = 0
                return False
            self._user.datagram_error(error)
        return True

    def _send_one(self, datagram: bytes) -> bool:
        try:
            self._socket.send(datagram)
        except OSError as error:
            if error.errno in _FULL:
                self._wait_until_writable()
                return False
            self._user.datagram_error(error)
        return True

    def _wait_until_writable(self) -> None:
        if not self._full:
            self._full = True
            self._loop.add_writer(self._socket, self._write)

    def _write(self) -> None:
        self._loop.remove_writer(self._socket)
        self._full = False
        self._user.datagrams_wanted()

    def _read(self) -> None:
        receive, taken = self._socket.recv, self._user.datagram_received
        for _ in range(_READS_PER_TURN):
            try:
                datagram = receive(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                # An ICMP error of something that was sent; what has come since is still to be read.
                self._user.datagram_error(error)
            else:
                taken(datagram)
            if self._closed:
                return
