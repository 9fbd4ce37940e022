"""The asyncio client of the ``salam.v1`` protocol: typed requests, events, reconnection with resume."""

from __future__ import annotations

import asyncio
import random
import ssl as ssl_module
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from salam.clock import Clock, RealClock
from salam.errors import AuthError, ClosedError, LimitError, RequestError, SalamError
from salam.log import get_logger
from salam.tasks import TaskOwner
from signaling.backoff import Backoff
from signaling.client_requests import ClientRequests, checked
from signaling.codec import MAX_MESSAGE_BYTES, Codec, Encoding, MessageError
from signaling.effects import CloseCode
from signaling.messages import (
    Drain,
    Error,
    Event,
    Hello,
    IceServer,
    IceServersChanged,
    Join,
    Joined,
    Leave,
    ParticipantInfo,
    Ping,
    Removed,
    Reply,
    Request,
    RoomState,
    StreamState,
    Unwatch,
    Watch,
    Watching,
    Welcome,
)

__all__ = ["ClientEvent", "ConnectionLost", "Reconnected", "SignalingClient"]

_log = get_logger("signaling.client")

# The web client bounds its unanswered requests with the same number.
_MAX_PENDING = 256
_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection was lost and is being opened again; the state of rooms and streams may be out of date until `Reconnected`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection is back. A `RoomState` and `StreamState` events with what is true now follow.

    ``resumed``: as the same session and participant; otherwise the room was entered anew, unless ``error`` says why that failed.
    """

    resumed: bool
    error: SalamError | None = None


ClientEvent = Event | ConnectionLost | Reconnected


class SignalingClient(ClientRequests):
    """One session with a signaling server.

    ::

        async with SignalingClient.connect("ws://127.0.0.1:8080/ws", token=token) as client:
            joined = await client.join("lobby", "Ada")
            async for event in client.events():
                ...

    Requests raise RequestError (AuthError for tokens and grants) with the server's code, ``connection_lost`` or ``timeout``, and
    ClosedError after `close`. A request made while the connection is being opened again waits for it.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        encoding: Encoding = Encoding.JSON,
        client: str = "salam-python",
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        max_events: int = 1_000,
        request_timeout_s: float = 15.0,
        reconnect: bool = True,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._token = token
        self._client = client
        self._codec = Codec(encoding, max_bytes=_MAX_SERVER_MESSAGE_BYTES)
        self._clock: Clock = RealClock() if clock is None else clock
        self._backoff = Backoff(jitter=jitter)
        self._max_events = max_events
        self._request_timeout_s = request_timeout_s
        self._reconnect = reconnect
        self._ssl = ssl
        self._tasks = TaskOwner("signaling-client")
        self._attendants = self._tasks
        self._socket: ClientConnection | None = None
        self._ready = asyncio.Event()
        self._pending: dict[int, tuple[asyncio.Future[Reply], Callable[[Reply], None] | None]] = {}
        self._last_id = 0
        self._events: deque[ClientEvent] = deque()
        self._event_there = asyncio.Event()
        self._overflowed = False
        self._ended: SalamError | None = None
        self._resume = ""
        self._retry_after_s: float | None = None
        self._room: Join | None = None
        self._watched: dict[str, Watch] = {}
        self.welcome: Welcome | None = None
        """What the server said at the latest connection."""
        self.ice_servers: list[IceServer] = []
        """The ICE servers to use now: those of the latest `Welcome`, `Joined` or `IceServersChanged`."""
        self._ice_expires_s: float | None = None
        self.events_dropped = 0
        """Events that were discarded because nobody took them."""
        self.rtt_s: float | None = None
        """Round-trip time of the latest heartbeat."""

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        token: str = "",
        encoding: Encoding = Encoding.JSON,
        client: str = "salam-python",
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        max_events: int = 1_000,
        request_timeout_s: float = 15.0,
        reconnect: bool = True,
        ssl: ssl_module.SSLContext | None = None,
    ) -> SignalingClient:
        """Return a client to be entered with ``async with``, which opens the connection and says hello.

        ``jitter`` returns a number from 0 to 1 and spreads reconnections. ``max_events`` bounds the events that wait for `events`;
        0 keeps none. Entering raises AuthError when the server refuses the token, and RequestError (``unreachable``) when it cannot
        be reached: only a connection that once worked is opened again.
        """
        return cls(
            url,
            token=token,
            encoding=encoding,
            client=client,
            clock=clock,
            jitter=jitter,
            max_events=max_events,
            request_timeout_s=request_timeout_s,
            reconnect=reconnect,
            ssl=ssl,
        )

    async def __aenter__(self) -> SignalingClient:
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.spawn(self._run(first), name="run")
        try:
            await first
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether a connection is open and welcome."""
        return self._ready.is_set()

    @property
    def ice_ttl_s(self) -> float | None:
        """How long the credentials in `ice_servers` are good for from now on, in seconds; None: for good. New ones come before."""
        return None if self._ice_expires_s is None else max(self._ice_expires_s - self._clock.monotonic(), 0.0)

    async def close(self) -> None:
        """End the session, so that others see it leave at once; idempotent."""
        self._end(ClosedError("this client is closed", reason="closed"))
        socket = self._socket
        if socket is not None:
            await socket.close()
        await self._tasks.close()
        # Cancelled in its last steps, the connection may have left these behind.
        await self._attendants.close()

    def lose_connection(self) -> None:
        """Cut the connection without a goodbye, as a failing network does; for tests of what follows."""
        if self._socket is not None:
            self._socket.transport.abort()

    # ------------------------------------------------------------------------------------------- requests

    async def request(self, message: Request, *, timeout_s: float | None = None) -> Reply:
        """Send ``message`` with an id of its own and return the reply.

        Raises RequestError or AuthError with the code of the server's `Error`, RequestError (``connection_lost``, ``timeout``, both
        retryable), LimitError when too many requests are unanswered, ClosedError after `close`.
        """
        try:
            async with asyncio.timeout(self._request_timeout_s if timeout_s is None else timeout_s):
                await self._ready.wait()
                self._raise_if_ended()
                reply = await self._exchange(message, None)
        except TimeoutError:
            raise RequestError("the server did not answer in time", code="timeout", retryable=True) from None
        self._remember(message)
        return reply

    async def _exchange(self, message: Request, on_reply: Callable[[Reply], None] | None) -> Reply:
        """Send ``message``; ``on_reply`` is called before anything that the server sends after the reply is looked at."""
        socket = self._socket
        if socket is None:
            raise _connection_lost()
        if len(self._pending) >= _MAX_PENDING:
            raise LimitError(f"{_MAX_PENDING} requests wait for a reply already", code="too_many_requests")
        self._last_id += 1
        request_id = self._last_id
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = (answer, on_reply)
        try:
            await socket.send(self._codec.encode(msgspec.structs.replace(message, id=request_id)), text=self._codec.is_text)
            return await answer
        except ConnectionClosed:
            raise _connection_lost() from None
        finally:
            self._pending.pop(request_id, None)

    def _remember(self, message: Request) -> None:
        match message:
            case Join():
                self._room = message
            case Leave():
                self._room = None
            case Watch(stream=stream):
                self._watched[stream] = message
            case Unwatch(stream=stream):
                self._watched.pop(stream, None)

    # ------------------------------------------------------------------------------------------- events

    async def events(self) -> AsyncIterator[ClientEvent]:
        """Yield what happens, from the connection on; ends when the client is closed. One consumer at a time.

        Raises LimitError (``events_overflow``) when more than ``max_events`` waited: what waited is gone, and `join` for the same
        room tells what is true now. Raises AuthError or ClosedError when the server refuses the session for good.
        """
        while True:
            if self._overflowed:
                self._overflowed = False
                self.events_dropped += len(self._events)
                self._events.clear()
                raise LimitError(f"more than {self._max_events} events waited to be taken", code="events_overflow")
            while self._events:
                yield self._events.popleft()
            if self._has_overflowed():
                continue
            if self._ended is not None:
                if isinstance(self._ended, ClosedError) and self._ended.reason == "closed":
                    return
                raise self._ended
            self._event_there.clear()
            await self._event_there.wait()

    def _has_overflowed(self) -> bool:
        return self._overflowed

    def _emit(self, event: ClientEvent) -> None:
        if len(self._events) >= self._max_events:
            self.events_dropped += len(self._events) + 1
            self._events.clear()
            self._overflowed = self._max_events > 0
        else:
            self._events.append(event)
        self._event_there.set()

    # ------------------------------------------------------------------------------------------- the connection

    async def _run(self, first: asyncio.Future[None]) -> None:
        """Keep a connection open until the client is closed or refused for good."""
        while not self._is_ended():
            try:
                await self._connection(first)
            except SalamError as error:
                if self.welcome is None:
                    if not first.done():
                        first.set_exception(error)
                    return
                if not error.retryable:
                    self._end(error)
            if self._is_ended():
                return
            if not self._reconnect:
                self._end(ClosedError("the connection was lost", reason=_LOST))
                return
            wait_s = self._backoff.next_s() if self._retry_after_s is None else self._retry_after_s
            self._retry_after_s = None
            await self._clock.sleep(wait_s)

    async def _connection(self, first: asyncio.Future[None]) -> None:
        """Open one connection and read from it until it closes. Raises SalamError when it was not opened or not welcome."""
        socket = await self._open()
        self._socket = socket
        # The greeting's failure is looked at below; nothing else in here fails.
        tasks = self._attendants = TaskOwner("signaling-connection", on_failure=lambda name, error: None)
        greeting = tasks.spawn(self._hello(self.welcome is not None, tasks), name="hello")
        greeting.add_done_callback(lambda task: _pass_on(task, first))
        try:
            async for frame in socket:
                self._received(frame)
        except ConnectionClosed:
            pass
        finally:
            self._socket = None
            # After the end requests must not wait, but be told of it.
            if not self._is_ended():
                self._ready.clear()
            for answer, _ in self._pending.values():
                if not answer.done():
                    answer.set_exception(_connection_lost())
            # The greeting may hold the server's refusal, which says more than the closing that followed.
            await asyncio.wait({greeting})
            await tasks.close()
        if not greeting.cancelled() and (refusal := greeting.exception()) is not None:
            raise refusal
        if socket.close_code == CloseCode.RESUMED_ELSEWHERE:
            raise ClosedError("another connection took this session over", reason="resumed_elsewhere")
        if socket.close_code == CloseCode.TOKEN_EXPIRED:
            raise AuthError("the token has expired; ask for a new one", code="token_expired")
        if not self._is_ended():
            self._emit(ConnectionLost(reason=socket.close_reason or f"closed with code {socket.close_code}"))

    async def _open(self) -> ClientConnection:
        try:
            return await connect(
                self._url,
                subprotocols=[Subprotocol(self._codec.encoding.value)],
                compression=None,
                max_size=_MAX_SERVER_MESSAGE_BYTES,
                open_timeout=_CONNECT_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                # The protocol has heartbeats of its own, which also measure the way through the server.
                ping_interval=None,
                proxy=None,
                ssl=self._ssl,
            )
        except InvalidURI as error:
            raise RequestError(f"the address is no WebSocket address: {error}", code="bad_url") from None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise RequestError(f"the server cannot be reached: {error}", code="unreachable", retryable=True) from None

    async def _hello(self, again: bool, tasks: TaskOwner) -> None:
        hello = Hello(id=0, token=self._token, client=self._client, resume=self._resume)

        def on_welcome(reply: Reply) -> None:
            # Before what follows it is read, so that no event comes before the news of the reconnection.
            if again and isinstance(reply, Welcome) and reply.resumed:
                self._emit(Reconnected(resumed=True))

        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                welcome = checked(await self._exchange(hello, on_welcome), Welcome)
        except TimeoutError:
            self.lose_connection()
            raise RequestError("the server did not say welcome in time", code="unreachable", retryable=True) from None
        self.welcome = welcome
        self._resume = welcome.resume
        if not welcome.resumed:
            self._use_ice_servers(welcome.ice_servers, 0.0)
        self._backoff.reset()
        if again and not welcome.resumed:
            await self._enter_again()
        self._ready.set()
        tasks.spawn(self._heartbeats(welcome.heartbeat_s), name="heartbeats")

    async def _enter_again(self) -> None:
        """Restore the room and the watched streams in a new session."""

        room = self._room

        def on_joined(reply: Reply) -> None:
            if isinstance(reply, Joined) and room is not None:
                self._emit(Reconnected(resumed=False))
                self._emit(_room_state(reply, room.name))

        def on_watching(reply: Reply) -> None:
            if isinstance(reply, Watching):
                self._emit(StreamState(stream=reply.stream, state=reply.state, viewers=reply.viewers, chat=reply.chat))

        if room is None:
            self._emit(Reconnected(resumed=False))
        else:
            try:
                await self._exchange(room, on_joined)
            except SalamError as error:
                if error.code == _LOST:
                    raise
                self._room = None
                self._emit(Reconnected(resumed=False, error=error))
        for watch in list(self._watched.values()):
            try:
                await self._exchange(watch, on_watching)
            except SalamError as error:
                if error.code == _LOST:
                    raise
                del self._watched[watch.stream]
                _log.warning("the stream %s cannot be followed again: %s", watch.stream, error)

    async def _heartbeats(self, interval_s: float) -> None:
        while True:
            await self._clock.sleep(interval_s / 2)
            sent_at = self._clock.monotonic()
            try:
                async with asyncio.timeout(interval_s):
                    await self._exchange(Ping(id=0), None)
            except TimeoutError:
                self.lose_connection()
                return
            except SalamError:
                # Refused for its rate, or the connection is closing: neither says that the server is silent.
                continue
            self.rtt_s = self._clock.monotonic() - sent_at

    def _received(self, frame: str | bytes) -> None:
        try:
            message = self._codec.decode_server_message(frame)
        except MessageError as error:
            # A newer server may say things that this client does not know.
            _log.debug("a message of the server is not understood: %s", error)
            return
        if isinstance(message, Joined | IceServersChanged):
            self._use_ice_servers(message.ice_servers, message.ice_ttl_s)
        if isinstance(message, Reply):
            self._answered(message)
            return
        if isinstance(message, Removed):
            self._room = None
        elif isinstance(message, Drain):
            self._retry_after_s = message.retry_after_s
            self._tasks.spawn(self._go(), name="drain")
        self._emit(message)

    def _use_ice_servers(self, servers: list[IceServer], ttl_s: float) -> None:
        self.ice_servers = servers
        self._ice_expires_s = self._clock.monotonic() + ttl_s if ttl_s else None

    def _answered(self, reply: Reply) -> None:
        answer, on_reply = self._pending.get(reply.re, (None, None))
        if answer is None or answer.done():
            return
        if isinstance(reply, Error):
            answer.set_exception(_error_of(reply))
            return
        if on_reply is not None:
            on_reply(reply)
        answer.set_result(reply)

    async def _go(self) -> None:
        if self._socket is not None:
            await self._socket.close(code=1001)

    def _is_ended(self) -> bool:
        return self._ended is not None

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _end(self, error: SalamError) -> None:
        if self._ended is None:
            self._ended = error
            self._ready.set()
            self._event_there.set()


_LOST = "connection_lost"
# A `RoomState` of 200 participants with their tracks and 100 lines of 2,000 characters (up to 6 bytes each in JSON) is the largest.
_MAX_SERVER_MESSAGE_BYTES = 4 * MAX_MESSAGE_BYTES


def _connection_lost() -> RequestError:
    return RequestError("the connection was lost before the answer came", code=_LOST, retryable=True)


def _error_of(reply: Error) -> SalamError:
    kind = AuthError if reply.code.startswith("token_") or reply.code == "grant_missing" else RequestError
    return kind(reply.message, code=reply.code, retryable=reply.retryable)


def _pass_on(greeting: asyncio.Task[None], first: asyncio.Future[None]) -> None:
    """Tell who waits for the first connection how the greeting went."""
    if first.done():
        return
    if greeting.cancelled():
        first.cancel()
        return
    error = greeting.exception()
    if error is None:
        first.set_result(None)
    else:
        first.set_exception(error)


def _room_state(joined: Joined, name: str) -> RoomState:
    return RoomState(
        room=joined.room,
        participant=ParticipantInfo(participant_id=joined.participant_id, name=name, moderator=joined.moderator),
        can_publish=joined.can_publish,
        participants=joined.participants,
        chat=joined.chat,
    )
