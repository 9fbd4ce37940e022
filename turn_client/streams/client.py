"""TCP connections between us and peers, through the relay (RFC 6062): each is one more connection to the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from turn_client.errors import Address, TransactionTimeout, TransportFailed, TurnError
from turn_client.events import ConnectionAttempt, ConnectionFailed, ConnectionReady
from turn_client.resolution import ServerTransport
from turn_client.session import Session
from turn_client.tcp_relay import BinderState, ConnectionBinder

__all__ = ["PeerStream", "PeerStreams"]

PeerStream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

# RFC 6062 section 5.2: the server tries to reach the peer for at least this long, and the attempt of a peer waits as long for us.
_CONNECT_S = 30.0
# Attempts of peers that nobody has accepted yet; the server drops each after 30 s anyway.
_MAX_ATTEMPTS = 64
_STUN_HEADER_BYTES = 20


class PeerStreams:
    """The connections of one client that are being made; those that are made belong to whoever asked for them."""

    def __init__(self) -> None:
        self._connecting: dict[Address, asyncio.Future[int]] = {}
        self._attempts: deque[ConnectionAttempt] = deque(maxlen=_MAX_ATTEMPTS)
        self._attempted = asyncio.Event()
        self._error: Exception | None = None

    async def connect_to(self, session: Session, peer: Address) -> PeerStream:
        """Let the server connect to ``peer`` and return the stream. Raises TurnError when it cannot, or does not within 30 s."""
        if peer in self._connecting:
            raise TurnError("a connection to this peer is being made already", code="turn_connecting")
        ready = self._connecting[peer] = asyncio.get_running_loop().create_future()
        try:
            session.connect(peer)
            async with asyncio.timeout(_CONNECT_S):
                connection_id = await ready
        except TimeoutError:
            raise TransactionTimeout("the server did not reach the peer in time") from None
        finally:
            self._connecting.pop(peer, None)
        return await _bound(session, connection_id)

    async def accept(self, session: Session) -> tuple[Address, asyncio.StreamReader, asyncio.StreamWriter]:
        """Wait for a peer that connects, and return its address and stream.

        Raises TurnError when its connection is gone already; others may come. Raises whatever `fail` was told.
        """
        while not self._attempts:
            if self._error is not None:
                raise self._error
            self._attempted.clear()
            await self._attempted.wait()
        attempt = self._attempts.popleft()
        return (attempt.peer, *await _bound(session, attempt.connection_id))

    def connection_event(self, event: ConnectionReady | ConnectionAttempt | ConnectionFailed) -> None:
        """Take what the allocation says of connections."""
        if isinstance(event, ConnectionAttempt):
            self._attempts.append(event)
            self._attempted.set()
            return
        ready = self._connecting.get(event.peer)
        if ready is None or ready.done():
            return
        if isinstance(event, ConnectionReady):
            ready.set_result(event.connection_id)
        else:
            ready.set_exception(event.error)

    def fail(self, error: Exception, *, final: bool) -> None:
        """End whatever waits: the relay is gone, and with ``final`` no other comes."""
        self._attempts.clear()
        for ready in self._connecting.values():
            if not ready.done():
                ready.set_exception(error)
        if final:
            self._error = error
            self._attempted.set()


async def _bound(session: Session, connection_id: int) -> PeerStream:
    """Open a connection to the server and make it the one with this id."""
    endpoint = session.endpoint
    binder = session.allocation.connection_binder(connection_id)
    secure = endpoint.transport is ServerTransport.TLS
    try:
        reader, writer = await asyncio.open_connection(
            *endpoint.address,
            ssl=await session.tls_context() if secure else None,
            server_hostname=endpoint.server_name if secure else None,
        )
    except OSError as error:
        raise TransportFailed("cannot connect to the server for another stream") from error
    try:
        async with asyncio.timeout(_CONNECT_S):
            await _handshake(binder, reader, writer)
    except BaseException as error:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        if isinstance(error, TimeoutError):
            raise TransactionTimeout("the server did not hand the connection over in time") from None
        if isinstance(error, OSError | asyncio.IncompleteReadError):
            raise TransportFailed("the server closed the connection that it was to hand over") from error
        raise
    return reader, writer


async def _handshake(binder: ConnectionBinder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    time = asyncio.get_running_loop().time
    binder.start(time())
    while binder.state is BinderState.BINDING:
        for request in binder.take_outgoing():
            writer.write(request)
        # One message and not a byte more: what follows it is the peer's.
        header = await reader.readexactly(_STUN_HEADER_BYTES)
        body = await reader.readexactly(int.from_bytes(header[2:4], "big"))
        binder.receive(header + body, time())
    if binder.error is not None:
        raise binder.error
