"""The RTMP server: sockets around `ingest.rtmp.RtmpSession`, and who may publish what."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Literal, cast

from ingest.access_unit import AccessUnit, AuthorizePublish, OpenSink, StreamInfo, StreamSink
from ingest.rtmp.handshake import HANDSHAKE_NONCE_BYTES
from ingest.rtmp.limits import RtmpLimits
from ingest.rtmp.protocol import PublishFinished, PublishRequested, RtmpSession, SessionEvent, SessionState
from salam import (
    AuthError,
    Clock,
    ConflictError,
    Metrics,
    ProtocolError,
    RealClock,
    ResourceError,
    SalamError,
    TaskOwner,
    get_logger,
)

__all__ = ["PublicationStats", "RtmpServer", "RtmpStats"]

# The name of this server's inputs in `Metrics.drop`.
_PORT = "rtmp"
# How often deadlines are looked at. They are seconds long, so a quarter of one is near enough and costs nothing.
_SWEEP_S = 0.25

EndReason = Literal["finished", "dropped", "refused", "shutdown"]


@dataclass(frozen=True, slots=True)
class PublicationStats:
    """One running publication; ``age_s`` and ``silent_s`` in seconds."""

    name: str
    age_s: float
    silent_s: float
    received_bytes: int
    video_units: int
    audio_units: int
    info: StreamInfo | None


@dataclass(frozen=True, slots=True)
class RtmpStats:
    """A snapshot of the server."""

    connections: int
    publications: tuple[PublicationStats, ...]


class RtmpServer:
    """Takes RTMP publications and hands each to a sink.

    ``host`` and ``port`` (0: any free one) say where to listen. ``authorize`` and ``open_sink`` decide about each publication;
    the sink that is opened gets its units on the event loop. ``app`` is the first path segment of the publish URL. ``tls``
    makes it RTMPS.

    A name that is being published is refused to a second publisher, unless the first has been silent for
    ``limits.takeover_after_s``.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        authorize: AuthorizePublish,
        open_sink: OpenSink,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
        limits: RtmpLimits | None = None,
        app: str = "live",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._authorize = authorize
        self._open_sink = open_sink
        self._metrics = Metrics() if metrics is None else metrics
        self._clock = RealClock() if clock is None else clock
        self._limits = RtmpLimits() if limits is None else limits
        self._app = app
        self._tls = tls
        self._listener: asyncio.Server | None = None
        self._tasks = TaskOwner("rtmp")
        self._connections: set[_Connection] = set()
        self._publishers: dict[str, _Connection] = {}
        self._all_gone = asyncio.Event()
        self._running = self._metrics.gauge("salam_rtmp_publications", "RTMP publications that are running.")
        self._ended = self._metrics.counter("salam_rtmp_publications_ended_total", "RTMP publications that ended.", ("reason",))

    @property
    def port(self) -> int:
        """The port that is listened on, also when 0 was asked for; 0 before `start`."""
        if self._listener is None or not self._listener.sockets:
            return 0
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises ResourceError when the address cannot be listened on; the message names it.
        """
        loop = asyncio.get_running_loop()
        timeout_s = self._limits.start_timeout_s if self._tls is not None else None
        try:
            self._listener = await loop.create_server(
                self._new_connection, self._host, self._port, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            message = f"RTMP cannot listen on {self._host} port {self._port}: {reason}"
            if error.errno == errno.EADDRINUSE:
                message = f"RTMP port {self._port} is taken by another program"
            raise ResourceError(message, code="port_unavailable") from error
        self._tasks.spawn(self._sweep(), name="deadlines")

    async def close(self) -> None:
        """Stop listening, end every publication with ``shutdown``, and wait until all connections are gone; safe to call twice.

        Publishers that can do so are asked to connect again; whoever does not hang up within ``limits.linger_s`` is cut off.
        """
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for connection in list(self._connections):
            connection.shut_down()
        if self._connections:
            self._all_gone.clear()
            try:
                await asyncio.wait_for(self._all_gone.wait(), self._limits.linger_s)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
                await self._all_gone.wait()
        await self._tasks.close()
        if listener is not None:
            await listener.wait_closed()

    def stats(self) -> RtmpStats:
        """Return what is connected and published now."""
        now = self._clock.monotonic()
        return RtmpStats(len(self._connections), tuple(publisher.stats(now) for publisher in self._publishers.values()))

    def _new_connection(self) -> _Connection:
        return _Connection(self, self._app, self._limits, self._clock)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            now = self._clock.monotonic()
            for connection in list(self._connections):
                connection.check_deadline(now)

    def admit(self, connection: _Connection) -> bool:
        """Take a new connection in, unless the server is full."""
        if len(self._connections) >= self._limits.max_connections:
            self.drop("too_many_connections")
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: _Connection) -> None:
        """Let go of a connection that is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def drop(self, reason: str) -> None:
        """Count an input that was dropped for ``reason``."""
        self._metrics.drop(_PORT, reason)

    def begin(self, connection: _Connection, name: str, token: str, now: float) -> StreamSink:
        """Decide about a publication and return its sink.

        Raises AuthError, ConflictError, or whatever else the engine's own callbacks raise.
        """
        # The token comes first: a stranger must not learn from the answer which streams are live.
        self._authorize(name, token)
        current = self._publishers.get(name)
        if current is not None:
            if current.silent_s(now) <= self._limits.takeover_after_s:
                raise ConflictError(f"{name} is being published already")
            current.give_way()
        sink = self._open_sink(name)
        self._publishers[name] = connection
        self._running.set(len(self._publishers))
        return sink

    def ended(self, name: str, reason: EndReason) -> None:
        """Free the name of a publication that ended."""
        self._publishers.pop(name, None)
        self._running.set(len(self._publishers))
        self._ended.labels(reason).inc()


class _Connection(asyncio.Protocol):
    """One client: moves bytes between its socket, its session and its sink."""

    def __init__(self, server: RtmpServer, app: str, limits: RtmpLimits, clock: Clock) -> None:
        self._server = server
        self._limits = limits
        self._clock = clock
        self._app = app
        self._transport: asyncio.Transport | None = None
        self._session = RtmpSession(app=app, limits=limits, nonce=os.urandom(HANDSHAKE_NONCE_BYTES), now=clock.monotonic())
        self._cut_at_s: float | None = None
        self._log = get_logger("ingest")
        # Of the running publication.
        self._sink: StreamSink | None = None
        self._name = ""
        self._info: StreamInfo | None = None
        self._began_s = 0.0
        self._bytes_before = 0
        self._units = {"video": 0, "audio": 0}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # The kernel would hold megabytes of replies for a client that never reads them, out of our sight.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.max_outbound_bytes)
        if not self._server.admit(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("dropped")
        self._transport = None
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._cut_at_s is not None:
            return
        now = self._clock.monotonic()
        try:
            self._session.receive_data(data)
            while (event := self._session.next_event(now)) is not None:
                self._on_event(event, now)
        except ProtocolError as error:
            self._server.drop(error.code)
            # Strangers must not be able to fill the log: only who was let in to publish is worth a line.
            level = logging.INFO if self._sink is not None else logging.DEBUG
            self._log.log(level, "an RTMP connection ended: %s", error)
            self._end("dropped")
            self.abort()
            return
        self._flush(now)

    def check_deadline(self, now: float) -> None:
        """Act on a deadline that has passed."""
        if self._cut_at_s is not None:
            if now >= self._cut_at_s:
                self.abort()
        elif now >= self._session.deadline_s:
            self._server.drop("silent")
            publication = self._session.publication
            unusable = publication is not None and not publication.started and publication.unsupported is not None
            self._session.handle_timeout(now)
            self._end("refused" if unusable else "dropped")
            self._flush(now)

    def shut_down(self) -> None:
        """End the publication because the server stops, and hang up politely."""
        self._end("shutdown")
        self._session.ask_to_reconnect("The server is going down; please connect again.")
        self._flush(self._clock.monotonic())

    def give_way(self) -> None:
        """End the silent publication, for a new one of the same name."""
        self._end("dropped")
        self.abort()

    def abort(self) -> None:
        """Cut the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def silent_s(self, now: float) -> float:
        """Seconds since the publication's last usable access unit."""
        publication = self._session.publication
        return now - (self._began_s if publication is None else publication.last_unit_s)

    def stats(self, now: float) -> PublicationStats:
        """Describe the running publication."""
        return PublicationStats(
            name=self._name,
            age_s=now - self._began_s,
            silent_s=self.silent_s(now),
            received_bytes=self._session.bytes_received - self._bytes_before,
            video_units=self._units["video"],
            audio_units=self._units["audio"],
            info=self._info,
        )

    def _on_event(self, event: SessionEvent, now: float) -> None:
        if isinstance(event, PublishRequested):
            self._on_request(event, now)
        elif isinstance(event, PublishFinished):
            self._end("finished")
        elif isinstance(event, (StreamInfo, AccessUnit)):
            self._deliver(event)
        else:
            self._server.drop(event.reason)
            if self._session.state is SessionState.CLOSED:
                self._log.debug("an RTMP client was refused: %s", event.reason)

    def _on_request(self, request: PublishRequested, now: float) -> None:
        try:
            self._sink = self._server.begin(self, request.name, request.token, now)
        except SalamError as error:
            code = "Denied" if isinstance(error, AuthError) else "BadName" if isinstance(error, ConflictError) else "Rejected"
            self._refuse(request, f"NetStream.Publish.{code}", error.message, error.code)
        except Exception:
            # The application decides here; what fails there is told to the publisher and ends no one else's connection.
            self._log.exception("deciding about the publication of %s failed", request.name)
            self._refuse(request, "NetStream.Publish.Rejected", "The server failed; please try again.", "server_failed")
        else:
            self._name, self._began_s, self._info = request.name, now, None
            self._bytes_before = self._session.bytes_received
            self._units = {"video": 0, "audio": 0}
            self._session.accept(now)
            self._log.info("stream %s is being published over RTMP", self._name)

    def _refuse(self, request: PublishRequested, code: str, description: str, reason: str) -> None:
        self._server.drop(reason)
        self._log.info("publication of %s refused: %s", request.name, description)
        self._session.refuse(code, description)

    def _deliver(self, item: StreamInfo | AccessUnit) -> None:
        if self._sink is None:
            return
        try:
            if isinstance(item, AccessUnit):
                self._units[item.kind] += 1
                self._sink.on_unit(item)
            else:
                self._info = item
                self._sink.on_info(item)
        except Exception:
            # A sink that fails is our own fault: its publisher is told and may try again, and all others go on.
            self._log.exception("the sink of stream %s failed", self._name)
            self._server.drop("sink_failed")
            self._end("dropped")
            self._session.refuse("NetStream.Failed", "The server failed; please publish again.")

    def _end(self, reason: EndReason) -> None:
        """Tell the sink, once, that its publication is over."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        self._server.ended(self._name, reason)
        self._log.info("the publication of stream %s ended: %s", self._name, reason)
        try:
            sink.on_end(reason)
        except Exception:
            # The publication is over whatever the sink says, and its connection must still be closed.
            self._log.exception("the sink of stream %s failed at its end", self._name)

    def _flush(self, now: float) -> None:
        """Send what the session has to say, and hang up when it is closed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        data = self._session.data_to_send()
        if data:
            transport.write(data)
        if transport.get_write_buffer_size() > self._limits.max_outbound_bytes:
            self._server.drop("slow_reader")
            self._end("dropped")
            self.abort()
        elif self._session.state is SessionState.CLOSED:
            self._end("refused")
            self._cut_at_s = now + self._limits.linger_s
            # Closing with unread input would reset the connection and take the refusal away from the client, so only our side ends.
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
