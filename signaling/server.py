"""The WebSocket server: carries frames to the core and the core's effects to sockets and the media server."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from aiohttp import WSCloseCode, WSMsgType, web

from salam.clock import Clock, RealClock
from salam.errors import ConfigError, LimitError, RequestError, SalamError
from salam.log import get_logger
from salam.metrics import Metrics
from salam.tasks import TaskOwner
from signaling.codec import MAX_MESSAGE_BYTES, Codec, Encoding, MessageError, negotiate
from signaling.effects import Close, CloseCode, CloseRoom, Effect, MediaCall, OpenRoom, PingPeer, Send
from signaling.hub import Hub
from signaling.ice_servers import IceServerSource
from signaling.limits import Limits
from signaling.media import CallMedia, MediaQuality, NoMedia, PublishResult, SubscriptionOffer
from signaling.messages import IceServer, ServerMessage, StreamPhase
from signaling.outbox import Outbox, topic
from signaling.room import RoomSummary
from signaling.tokens import TokenIssuer
from signaling.worker import MediaWorker

__all__ = ["SignalingServer", "SignalingStats"]

_log = get_logger("signaling")

# The core's times are seconds to tens of seconds, so a quarter of a second late is not noticed, and an idle server stays idle.
_TICK_S = 0.25
# How long the last frames and the close handshake of one connection may take before its transport is cut.
_CLOSE_TIMEOUT_S = 2.0
# How long the media server may take to close every room when the server stops.
_MEDIA_CLOSE_TIMEOUT_S = 5.0
# When nobody said how long the server will be away.
_DEFAULT_RETRY_AFTER_S = 1.0
_PHASES: tuple[StreamPhase, ...] = get_args(StreamPhase)
_GAUGES = {
    "connections": "Open WebSockets.",
    "sessions": "Sessions, those included whose connection is lost for the moment.",
    "rooms": "Rooms with somebody in them.",
    "participants": "Participants of all rooms.",
    "secure_participants": "Participants of all rooms who have published keys for end-to-end encryption.",
    "secure_waiting": "Encrypted messages that their receivers have not acknowledged.",
    "watchers": "Viewers of all livestreams, as far as they follow them over a WebSocket.",
}


@dataclass(frozen=True, slots=True)
class SignalingStats:
    """How much there is of everything, and how much went through since the start."""

    connections: int
    sessions: int
    rooms: int
    participants: int
    streams: int
    watchers: int
    messages_in: int
    messages_out: int
    slow_consumers: int


class _Peer:
    """One open WebSocket and its writer."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, codec: Codec, limits: Limits) -> None:
        self.codec = codec
        self.closing: Close | None = None
        self._outbox = Outbox(max_frames=limits.outgoing_frames, max_bytes=limits.outgoing_bytes)
        self._ping_wanted = False
        self._socket = socket
        self._request = request
        self._wake = asyncio.Event()
        self._cut: asyncio.TimerHandle | None = None

    def send(self, frame: bytes, about: str) -> bool:
        """Queue ``frame`` of the topic ``about``; False when the peer is too slow to take it."""
        if not self._outbox.put(frame, about):
            return False
        self._wake.set()
        return True

    def ping(self) -> None:
        """Have a WebSocket ping sent."""
        self._ping_wanted = True
        self._wake.set()

    def close(self, effect: Close) -> None:
        """Have the connection closed after the queued frames; without them when the peer was too slow to take them."""
        if self.closing is not None:
            return
        self.closing = effect
        if effect.code is CloseCode.SLOW:
            self._outbox.clear()
        transport = self._request.transport
        if transport is not None:
            # The writer may be stuck in a send that this peer never takes: then the transport goes, and the writer with it.
            self._cut = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_S, transport.abort)
        self._wake.set()

    async def write(self) -> None:
        """Send what is queued until the connection is closed; the socket is closed whatever happens."""
        kind: Literal[WSMsgType.TEXT, WSMsgType.BINARY] = WSMsgType.TEXT if self.codec.is_text else WSMsgType.BINARY
        try:
            while self.closing is None:
                await self._wake.wait()
                self._wake.clear()
                if self._ping_wanted:
                    self._ping_wanted = False
                    await self._socket.ping()
                while (frame := self._outbox.take()) is not None:
                    await self._socket.send_frame(frame, kind)
            await self._socket.close(code=self.closing.code, message=self.closing.reason.encode())
        except ConnectionError:
            # The peer went away: the reader finds out by itself.
            pass
        finally:
            if self._cut is not None:
                self._cut.cancel()


class _RoomListener:
    """Hands what the media server reports about one room to the core."""

    def __init__(self, room: str, hub: Hub, carry_out: Callable[[], None]) -> None:
        self._room = room
        self._calls = hub.calls
        self._carry_out = carry_out

    def on_subscription_offer(self, participant_id: str, offer: SubscriptionOffer) -> None:
        self._calls.subscription_offered(self._room, participant_id, offer)
        self._carry_out()

    def on_layer_changed(self, participant_id: str, track_id: str, rid: str) -> None:
        self._calls.layer_changed(self._room, participant_id, track_id, rid)
        self._carry_out()

    def on_speakers(self, levels: list[tuple[str, int]]) -> None:
        self._calls.speakers_changed(self._room, levels)
        self._carry_out()

    def on_quality(self, reports: list[MediaQuality]) -> None:
        self._calls.quality_changed(self._room, reports)
        self._carry_out()

    def on_connection_lost(self, participant_id: str, connection: Literal["publish", "subscribe"]) -> None:
        self._calls.media_lost(self._room, participant_id)
        self._carry_out()


class SignalingServer:
    """Rooms, calls, livestream chat and presence over WebSocket; mount `handle` in an aiohttp application.

    ``issuer`` verifies tokens. ``dev`` lets clients in without a token, with all rights, and makes the first participant of a room
    its moderator. ``allowed_origins`` are the values of the ``Origin`` header that browsers may come with beside the server's own;
    None allows every one, which is safe because nothing is authorized by cookies. Raises ConfigError when there is neither an
    issuer nor ``dev``.

    ``ice_servers`` need no credentials and are told to every client; ``ice_source`` makes those that clients in rooms are told,
    with credentials that are renewed before they expire.
    """

    def __init__(
        self,
        *,
        issuer: TokenIssuer | None,
        dev: bool = False,
        media: CallMedia | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        limits: Limits | None = None,
        ice_servers: Sequence[IceServer] = (),
        ice_source: IceServerSource | None = None,
        server_name: str = "salam",
        allowed_origins: Sequence[str] | None = None,
    ) -> None:
        if issuer is None and not dev:
            raise ConfigError("no secret is set, so nobody could be let in; set one, or run in development mode")
        self._clock: Clock = RealClock() if clock is None else clock
        self._metrics = Metrics() if metrics is None else metrics
        self._limits = Limits() if limits is None else limits
        self._allowed_origins = None if allowed_origins is None else frozenset(allowed_origins)
        self._codecs = {encoding: Codec(encoding) for encoding in Encoding}
        self._hub = Hub(
            issuer=issuer,
            dev=dev,
            limits=self._limits,
            new_id=secrets.token_urlsafe,
            server_name=server_name,
            ice_servers=list(ice_servers),
            ice_source=ice_source,
            on_drop=lambda reason: self._metrics.drop("ws", reason),
        )
        self._media = MediaWorker(
            NoMedia() if media is None else media, limits=self._limits, done=self._media_done, failed=self._media_failed
        )
        self._tasks = TaskOwner("signaling")
        self._time: asyncio.Task[None] | None = None
        self._peers: dict[int, _Peer] = {}
        self._carrying_out = False
        self._retry_after_s = 0.0
        self._draining = False
        self._closed = False
        self._messages_in = 0
        self._messages_out = 0
        self._slow_consumers = 0
        self._export_metrics()

    # ------------------------------------------------------------------------------------------- life

    async def start(self) -> None:
        """Begin to keep time."""
        self._time = self._tasks.spawn(self._keep_time(), name="time")

    async def drain(self, retry_after_s: float) -> None:
        """Tell every client to come back after ``retry_after_s`` to twice that, spread out, and turn new ones away.

        Connections stay open until their clients go or `close` is called.
        """
        self._retry_after_s = max(retry_after_s, 0.0)
        self._draining = True
        self._hub.drain(self._retry_after_s)
        self._carry_out()

    async def close(self) -> None:
        """End every session, close every connection and room; idempotent."""
        if self._closed:
            return
        self._closed = self._draining = True
        self._hub.close(self._clock.monotonic())
        self._carry_out()
        await self._media.finish(_MEDIA_CLOSE_TIMEOUT_S)
        await self._media.close()
        if self._time is not None:
            self._time.cancel()
        # The writers end with their connections; each of those is cut after the close timeout at the latest.
        if writers := self._tasks.tasks:
            await asyncio.wait(writers, timeout=2 * _CLOSE_TIMEOUT_S)
        await self._tasks.close()

    # ------------------------------------------------------------------------------------------- what others ask

    def set_stream_state(self, stream: str, state: str) -> None:
        """Tell the viewers of ``stream`` that it is ``offline``, ``starting``, ``live``, ``interrupted`` or ``ended``.

        Raises RequestError for another state. A stream above the limit goes on without viewers being told.
        """
        for phase in _PHASES:
            if phase == state:
                break
        else:
            raise RequestError(f"the state of a stream is {state!r}; allowed: {', '.join(_PHASES)}")
        try:
            self._hub.set_stream_state(stream, phase)
        except LimitError as error:
            _log.warning("viewers of %s are not told its state: %s", stream, error)
        self._carry_out()

    def viewer_count(self, stream: str) -> int:
        """Return how many follow ``stream`` over a WebSocket."""
        return self._hub.viewer_count(stream)

    def rooms(self) -> list[RoomSummary]:
        """Return every room in one line each."""
        return self._hub.rooms()

    def close_room(self, room: str) -> None:
        """Send everybody out of ``room``. Raises NotFoundError."""
        self._hub.close_room(room)
        self._carry_out()

    def remove_participant(self, room: str, participant_id: str) -> None:
        """Take a participant out as a moderator would. Raises NotFoundError."""
        self._hub.remove_participant(room, participant_id, self._clock.monotonic())
        self._carry_out()

    def stats(self) -> SignalingStats:
        """Return how much there is of everything."""
        now = self._hub.stats()
        return SignalingStats(
            connections=now.connections,
            sessions=now.sessions,
            rooms=now.rooms,
            participants=now.participants,
            streams=now.streams,
            watchers=now.watchers,
            messages_in=self._messages_in,
            messages_out=self._messages_out,
            slow_consumers=self._slow_consumers,
        )

    # ------------------------------------------------------------------------------------------- one connection

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket until it closes.

        Answers 400 for a request that is no WebSocket or offers neither subprotocol, 403 for an origin that is not allowed, and 503
        when the server drains or is full.
        """
        offered = [name.strip() for value in request.headers.getall("Sec-WebSocket-Protocol", []) for name in value.split(",")]
        encoding = negotiate(offered)
        if encoding is None:
            allowed = " or ".join(known.value for known in Encoding)
            return web.Response(status=400, text=f"connect with a WebSocket that offers the subprotocol {allowed}\n")
        if not self._origin_allowed(request):
            self._metrics.drop("ws", "origin")
            return web.Response(status=403, text="this origin is not allowed\n")
        socket = web.WebSocketResponse(
            protocols=(encoding.value,),
            max_msg_size=MAX_MESSAGE_BYTES,
            autoping=False,
            # Compression costs 100 kB per connection and saves little: an SDP is sent once.
            compress=False,
            timeout=_CLOSE_TIMEOUT_S,
        )
        if not socket.can_prepare(request):
            return web.Response(status=400, text="this address speaks WebSocket only\n")
        try:
            connection_id = self._connect()
        except LimitError as error:
            self._metrics.drop("ws", "full")
            retry_after = str(math.ceil(max(self._retry_after_s, _DEFAULT_RETRY_AFTER_S)))
            return web.Response(status=503, text=f"{error}\n", headers={"Retry-After": retry_after})
        close_code: int | None = None
        try:
            await socket.prepare(request)
            close_code = await self._serve(connection_id, socket, request, self._codecs[encoding])
        finally:
            self._peers.pop(connection_id, None)
            self._hub.disconnected(
                connection_id,
                now=self._clock.monotonic(),
                on_purpose=close_code == WSCloseCode.OK,
                going_away=close_code == WSCloseCode.GOING_AWAY,
            )
            self._carry_out()
        return socket

    def _origin_allowed(self, request: web.Request) -> bool:
        origin = request.headers.get("Origin")
        if origin is None or self._allowed_origins is None or origin in self._allowed_origins:
            return True
        return origin.partition("://")[2] == request.host

    def _connect(self) -> int:
        if self._draining:
            raise LimitError("the server stops; come back later")
        return self._hub.connect(self._clock.monotonic())

    async def _serve(self, connection_id: int, socket: web.WebSocketResponse, request: web.Request, codec: Codec) -> int | None:
        peer = _Peer(socket, request, codec, self._limits)
        self._peers[connection_id] = peer
        writer = self._tasks.spawn(peer.write(), name=f"write/{connection_id}")
        try:
            return await self._read(connection_id, socket, codec)
        finally:
            if peer.closing is None:
                writer.cancel()
            # Waiting, instead of awaiting, leaves its failure to the owner, which reports it.
            await asyncio.wait({writer})

    async def _read(self, connection_id: int, socket: web.WebSocketResponse, codec: Codec) -> int | None:
        """Read until the connection closes; return the code with which the peer closed it, None when it did not say goodbye."""
        while True:
            frame = await socket.receive()
            now = self._clock.monotonic()
            match frame.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    self._messages_in += 1
                    self._received.inc()
                    try:
                        message = codec.decode_request(frame.data)
                    except MessageError as error:
                        self._hub.malformed(connection_id, error, now)
                    else:
                        self._hub.receive(connection_id, message, now=now, wall=self._clock.wall())
                    self._carry_out()
                case WSMsgType.PING:
                    self._hub.heard(connection_id, now)
                    with contextlib.suppress(ConnectionError):
                        await socket.pong(frame.data)
                case WSMsgType.PONG:
                    self._hub.heard(connection_id, now)
                case WSMsgType.CLOSE:
                    return int(frame.data) if frame.data is not None else None
                case _:
                    if frame.type is WSMsgType.ERROR:
                        self._metrics.drop("ws", "bad_frame")
                    return None

    # ------------------------------------------------------------------------------------------- what the core wants

    def _carry_out(self) -> None:
        # A dropped media call and a slow peer make new effects while these are carried out: the outer loop takes them too.
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while effects := self._hub.take_effects():
                for effect in effects:
                    self._perform(effect)
        finally:
            self._carrying_out = False

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(effect.connection_ids, effect.message)
            case PingPeer(connection_id=connection_id):
                if connection_id in self._peers:
                    self._peers[connection_id].ping()
            case Close():
                peer = self._peers.get(effect.connection_id)
                if peer is not None:
                    peer.close(effect)
            case OpenRoom(room=room):
                _log.info("room %s opens", room)
                self._media.open_room(room, _RoomListener(room, self._hub, self._carry_out))
            case CloseRoom(room=room):
                _log.info("room %s closes", room)
                self._media.close_room(room)
            case MediaCall():
                self._media.call(effect)

    def _send(self, connection_ids: tuple[int, ...], message: ServerMessage) -> None:
        frames: dict[Encoding, bytes] = {}
        about = topic(message)
        for connection_id in connection_ids:
            peer = self._peers.get(connection_id)
            if peer is None or peer.closing is not None:
                continue
            encoding = peer.codec.encoding
            if encoding not in frames:
                frames[encoding] = peer.codec.encode(message)
            if peer.send(frames[encoding], about):
                self._messages_out += 1
                self._sent.inc()
            else:
                self._slow_consumers += 1
                self._hub.too_slow(connection_id, self._clock.monotonic())

    def _media_done(self, call: MediaCall, result: PublishResult | None) -> None:
        self._hub.media_done(call, result)
        self._carry_out()

    def _media_failed(self, call: MediaCall, error: SalamError) -> None:
        self._hub.media_failed(call, error)
        self._carry_out()

    async def _keep_time(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            self._hub.tick(self._clock.monotonic(), self._clock.wall())
            self._carry_out()

    def _export_metrics(self) -> None:
        messages = self._metrics.counter("salam_signaling_messages_total", "Messages over WebSocket, by direction.", ("direction",))
        self._received = messages.labels("in")
        self._sent = messages.labels("out")
        for name, help_text in _GAUGES.items():
            gauge = self._metrics.gauge(f"salam_signaling_{name}", help_text)
            # Read when somebody asks for the metrics, instead of written at every change.
            gauge.set_function(lambda name=name: float(getattr(self._hub.stats(), name)))  # type: ignore[misc]
