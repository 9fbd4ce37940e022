"""The whole signaling core without I/O: requests and time in, effects out.

After every call drain `take_effects` and carry them out in order; call `tick` no later than `next_deadline`. The media server's
answers come back through `media_done` and `media_failed`, and its reports through `calls`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from salam.errors import RequestError, SalamError
from signaling.calls import Calls
from signaling.codec import MessageError
from signaling.effects import CloseCode, Effect, MediaCall, ReplyTo, Send
from signaling.ice_servers import IceServerDesk, IceServerSource, fixed_ice_servers
from signaling.limits import Limits, too_fast
from signaling.media import PublishResult
from signaling.messages import (
    Chat,
    Drain,
    Hello,
    IceServer,
    Join,
    Leave,
    Moderate,
    Mute,
    Ping,
    Pong,
    PublishOffer,
    RaiseHand,
    React,
    Request,
    RestartIce,
    SetLayer,
    StreamPhase,
    SubscribeAnswer,
    Unwatch,
    Watch,
    Welcome,
)
from signaling.room import RoomSummary
from signaling.seats import LeaveReason, Seats
from signaling.secure import Secure
from signaling.secure_messages import FetchBundles, FetchDevices, PublishKeys, SendSecure, TakeSecure
from signaling.session import Connection, Session, Sessions
from signaling.stream_room import Streams
from signaling.timers import Deadline, TimerReason, Timers
from signaling.tokens import TokenIssuer

__all__ = ["Hub", "HubStats"]


@dataclass(frozen=True, slots=True)
class HubStats:
    """How much there is of everything."""

    connections: int
    sessions: int
    """Those included whose connection is lost for the moment."""
    rooms: int
    participants: int
    streams: int
    watchers: int
    secure_participants: int
    """Those who have published keys for end-to-end encryption."""
    secure_waiting: int
    """Encrypted messages that are not acknowledged."""


class Hub:
    """Sessions, rooms and streams of one server.

    ``on_drop`` is told the reason of every refused input: ``malformed``, ``rate_limited``, ``hello_timeout``, ``auth``, ``silent``,
    ``slow_consumer``, ``token_expired``, ``secure_full``.

    ``ice_servers`` are told to everybody who says hello and need no credentials. ``ice_source`` makes what those in rooms are told;
    without it they get the same.
    """

    def __init__(
        self,
        *,
        issuer: TokenIssuer | None,
        dev: bool,
        limits: Limits,
        new_id: Callable[[int], str],
        server_name: str = "salam",
        ice_servers: list[IceServer] | None = None,
        ice_source: IceServerSource | None = None,
        on_drop: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._limits = limits
        self._server_name = server_name
        self._ice_servers = ice_servers or []
        self._on_drop = on_drop
        self._timers = Timers()
        self._sessions = Sessions(issuer=issuer, dev=dev, limits=limits, timers=self._timers, new_id=new_id)
        self._seats = Seats(self._sessions, limits, new_id=new_id)
        self.calls = Calls(self._sessions, self._seats)
        """Takes what the media server reports."""
        source = fixed_ice_servers(self._ice_servers) if ice_source is None else ice_source
        self._ice_desk = IceServerDesk(source, self._sessions, self._seats, self._timers)
        self._secure = Secure(self._sessions, self._seats, limits, on_drop=on_drop)
        self._streams = Streams(self._sessions, limits, self._timers, new_id=new_id)

    # ------------------------------------------------------------------------------------------- inputs

    def connect(self, now: float) -> int:
        """Take a new connection and return its id. Raises LimitError when there are too many."""
        return self._sessions.connect(now)

    def heard(self, connection_id: int, now: float) -> None:
        """Something came from the peer, be it only a WebSocket pong."""
        connection = self._sessions.connections.get(connection_id)
        if connection is not None:
            connection.last_heard = now

    def malformed(self, connection_id: int, error: MessageError, now: float) -> None:
        """A frame held no request: tell the peer, and close the connection when that happens too often."""
        connection = self._sessions.connections.get(connection_id)
        if connection is None:
            return
        connection.last_heard = now
        connection.malformed += 1
        self._on_drop("malformed")
        self._fail(ReplyTo(connection_id, error.request_id), error)
        if connection.malformed >= self._limits.malformed_messages:
            self._lose(connection_id, CloseCode.POLICY, "too many messages that cannot be read", now)

    def receive(self, connection_id: int, request: Request, *, now: float, wall: float) -> None:
        """Carry out a request; nothing happens when the connection is closed already.

        ``now`` is monotonic, ``wall`` Unix seconds.
        """
        connection = self._sessions.connections.get(connection_id)
        if connection is None:
            return
        connection.last_heard = now
        reply_to = ReplyTo(connection_id, request.id)
        session = connection.session
        if session is None:
            self._first_message(connection, request, reply_to, now, wall)
            return
        if not session.messages.take(now):
            self._refuse_flood(connection, reply_to, now)
            return
        connection.refused = 0
        connection.malformed = 0
        try:
            self._dispatch(session, request, reply_to, now, wall)
        except SalamError as error:
            self._fail(reply_to, error)

    def disconnected(self, connection_id: int, *, now: float, on_purpose: bool, going_away: bool = False) -> None:
        """The connection is gone.

        ``on_purpose``: the peer closed it with code 1000, so that there is nothing to resume. ``going_away``: with code 1001, as a
        page does that is reloaded or closed.
        """
        connection = self._sessions.forget(connection_id)
        if connection is None or connection.session is None:
            return
        if on_purpose:
            self._end(connection.session, "left", now)
        else:
            self._detach(connection.session, now, going_away=going_away)

    def too_slow(self, connection_id: int, now: float) -> None:
        """The peer does not take what is sent: close its connection and let the session wait to be resumed."""
        self._on_drop("slow_consumer")
        self._lose(connection_id, CloseCode.SLOW, "the connection does not read fast enough", now)

    def media_done(self, call: MediaCall, result: PublishResult | None) -> None:
        """The media server has carried out ``call``; ``result`` is that of a publish call."""
        self.calls.media_done(call, result)

    def media_failed(self, call: MediaCall, error: SalamError) -> None:
        """The media server has refused ``call``."""
        self.calls.media_failed(call, error)

    def set_stream_state(self, stream: str, state: StreamPhase) -> None:
        """Tell the viewers of ``stream`` its state. Raises LimitError."""
        self._streams.set_state(stream, state)

    def close_room(self, room: str) -> None:
        """Send everybody out of ``room``. Raises NotFoundError."""
        self._seats.close_room(room)

    def remove_participant(self, room: str, participant_id: str, now: float) -> None:
        """Take a participant out as a moderator would. Raises NotFoundError."""
        self._seats.remove_by_id(room, participant_id, now)

    def drain(self, retry_after_s: float) -> None:
        """Tell everybody to come back: the first after ``retry_after_s``, the last after twice that, the others between."""
        connections = [connection for connection in self._sessions.connections.values() if connection.session is not None]
        for index, connection in enumerate(connections):
            delay_s = retry_after_s * (1 + index / len(connections))
            self._sessions.effects.append(Send((connection.connection_id,), Drain(retry_after_s=round(delay_s, 3))))

    def close(self, now: float) -> None:
        """End every session and close every connection."""
        for connection_id in list(self._sessions.connections):
            self._sessions.close(connection_id, CloseCode.GOING_AWAY, "the server stops")
        for session in list(self._sessions.sessions.values()):
            # Nobody is left to be told.
            session.connection_id = None
        for session in list(self._sessions.sessions.values()):
            self._end(session, "closed", now)

    def tick(self, now: float, wall: float) -> None:
        """Do what is due at ``now`` (monotonic), when it is ``wall`` in Unix seconds."""
        for deadline in self._timers.due(now):
            self._due(deadline, now, wall)

    # ------------------------------------------------------------------------------------------- outputs

    def next_deadline(self) -> Deadline | None:
        """Return when `tick` has to be called, and why."""
        return self._timers.next()

    def take_effects(self) -> list[Effect]:
        """Return and forget what is to be done, in order."""
        effects = self._sessions.effects
        self._sessions.effects = []
        return effects

    def rooms(self) -> list[RoomSummary]:
        """Return every room in one line each."""
        return [room.summary() for room in self._seats.rooms.values()]

    def viewer_count(self, stream: str) -> int:
        """Return how many watch ``stream``; 0 when nobody does or it does not exist."""
        room = self._streams.rooms.get(stream)
        return 0 if room is None else room.viewers

    def stats(self) -> HubStats:
        """Return how much there is of everything."""
        return HubStats(
            connections=len(self._sessions.connections),
            sessions=len(self._sessions.sessions),
            rooms=len(self._seats.rooms),
            participants=len(self._seats),
            streams=len(self._streams.rooms),
            watchers=self._streams.watchers(),
            secure_participants=self._secure.with_keys(),
            secure_waiting=self._secure.waiting(),
        )

    # ------------------------------------------------------------------------------------------- hello, loss and end

    def _first_message(self, connection: Connection, request: Request, reply_to: ReplyTo, now: float, wall: float) -> None:
        if not isinstance(request, Hello):
            self._fail(reply_to, RequestError("the first message must be hello", code="hello_first"))
            self._sessions.close(connection.connection_id, CloseCode.POLICY, "the first message was not hello")
            return
        session = self._sessions.resumable(request.resume)
        resumed = session is not None
        if session is None:
            try:
                session = self._sessions.begin(request, now, wall)
            except SalamError as error:
                self._on_drop("auth")
                self._fail(reply_to, error)
                self._sessions.close(connection.connection_id, CloseCode.POLICY, error.code)
                return
        else:
            self._sessions.renew(session, request.token, now, wall)
        self._sessions.attach(session, connection)
        self._sessions.reply(
            reply_to,
            Welcome(
                re=reply_to.request_id,
                session_id=session.session_id,
                resume=session.resume,
                resumed=resumed,
                server=self._server_name,
                user_id=session.grants.identity,
                guest=session.anonymous,
                heartbeat_s=self._limits.heartbeat_s,
                resume_grace_s=self._limits.resume_grace_s,
                ice_servers=self._ice_servers,
            ),
        )
        if resumed:
            self._seats.session_resumed(session)
            self._ice_desk.session_resumed(session, now, wall)
            self._secure.session_resumed(session)
            self._streams.session_resumed(session, now)

    def _lose(self, connection_id: int, code: CloseCode, reason: str, now: float) -> None:
        connection = self._sessions.connections.get(connection_id)
        if connection is None:
            return
        self._sessions.close(connection_id, code, reason)
        if connection.session is not None:
            self._detach(connection.session, now)

    def _detach(self, session: Session, now: float, *, going_away: bool = False) -> None:
        self._sessions.detach(session, now, going_away=going_away)
        self._seats.session_detached(session)
        self._streams.session_detached(session, now)

    def _end(self, session: Session, reason: LeaveReason, now: float) -> None:
        self._sessions.end(session)
        self._seats.session_ended(session, reason)
        self._streams.session_ended(session, now)

    def _expire(self, session: Session, now: float) -> None:
        if session.connection_id is not None:
            self._sessions.close(session.connection_id, CloseCode.TOKEN_EXPIRED, "the token has expired; come back with a new one")
        self._on_drop("token_expired")
        self._end(session, "closed", now)

    def _due(self, deadline: Deadline, now: float, wall: float) -> None:
        subject = deadline.subject
        match deadline.reason, subject:
            case TimerReason.HELLO, int():
                self._on_drop("hello_timeout")
                self._lose(subject, CloseCode.HELLO_TIMEOUT, "no hello came in time", now)
            case TimerReason.SILENCE, int():
                if self._sessions.silence_due(subject, now):
                    self._on_drop("silent")
                    self._lose(subject, CloseCode.SILENT, "nothing was heard for too long", now)
            case TimerReason.HEARTBEAT, int():
                self._sessions.heartbeat_due(subject, now)
            case TimerReason.GRACE, str():
                self._end(self._sessions.sessions[subject], "lost", now)
            case TimerReason.TOKEN, str():
                self._expire(self._sessions.sessions[subject], now)
            case TimerReason.ICE_SERVERS, str():
                self._ice_desk.renewal_due(self._sessions.sessions[subject], now, wall)
            case TimerReason.VIEWERS, str():
                self._streams.viewers_due(subject)

    # ------------------------------------------------------------------------------------------- requests

    def _refuse_flood(self, connection: Connection, reply_to: ReplyTo, now: float) -> None:
        connection.refused += 1
        self._on_drop("rate_limited")
        self._fail(reply_to, too_fast("messages", self._limits.messages))
        if connection.refused >= self._limits.refused_messages:
            self._lose(connection.connection_id, CloseCode.POLICY, "far too many messages", now)

    def _dispatch(self, session: Session, request: Request, reply_to: ReplyTo, now: float, wall: float) -> None:
        match request:
            case Ping():
                self._sessions.reply(reply_to, Pong(re=reply_to.request_id))
            case Hello():
                raise RequestError("hello was said already", code="already_welcome")
            case Join():
                self._ice_desk.provide(session, now, wall)
                self._seats.join(session, request, reply_to, now)
            case Leave():
                self._seats.leave(session, request, reply_to)
            case PublishOffer():
                self._count_negotiation(session, now)
                self.calls.publish_offer(session, request, reply_to)
            case SubscribeAnswer():
                if not self.calls.awaits_answer(session, request.revision):
                    self._count_negotiation(session, now)
                self.calls.subscribe_answer(session, request, reply_to)
            case RestartIce():
                self._count_negotiation(session, now)
                self.calls.restart_ice(session, request, reply_to)
            case SetLayer():
                self.calls.set_layer(session, request, reply_to)
            case Mute():
                self.calls.mute(session, request, reply_to)
            case RaiseHand():
                self.calls.raise_hand(session, request, reply_to)
            case Moderate():
                self.calls.moderate(session, request, reply_to, now)
            case Chat():
                self._chat(session, request, reply_to, now, wall)
            case Watch():
                self._streams.watch(session, request, reply_to, now)
            case Unwatch():
                self._streams.unwatch(session, request, reply_to, now)
            case React():
                if not session.reactions.take(now):
                    self._on_drop("rate_limited")
                    raise too_fast("reactions", self._limits.reactions)
                self._streams.react(session, request, reply_to)
            case PublishKeys() | FetchDevices() | FetchBundles() | SendSecure() | TakeSecure():
                self._dispatch_secure(session, request, reply_to, now)
            case _:
                assert_never(request)

    def _dispatch_secure(
        self,
        session: Session,
        request: PublishKeys | FetchDevices | FetchBundles | SendSecure | TakeSecure,
        reply_to: ReplyTo,
        now: float,
    ) -> None:
        match request:
            case PublishKeys():
                self._secure.publish(session, request, reply_to)
            case FetchDevices():
                self._secure.devices(session, request, reply_to)
            case FetchBundles():
                self._secure.bundles(session, request, reply_to, now)
            case SendSecure():
                self._secure.send(session, request, reply_to, now)
            case TakeSecure():
                self._secure.take(session, request, reply_to)

    def _count_negotiation(self, session: Session, now: float) -> None:
        if not session.negotiations.take(now):
            self._on_drop("rate_limited")
            raise too_fast("negotiations", self._limits.negotiations)

    def _chat(self, session: Session, request: Chat, reply_to: ReplyTo, now: float, wall: float) -> None:
        session.grants.require_chat()
        if not session.chat.take(now):
            self._on_drop("rate_limited")
            raise too_fast("lines of chat", self._limits.chat)
        if request.stream:
            self._streams.chat(session, request, reply_to, wall)
        else:
            self.calls.chat(session, request, reply_to, wall)

    def _fail(self, reply_to: ReplyTo, error: SalamError) -> None:
        self._sessions.fail(reply_to, code=error.code, message=error.message, retryable=error.retryable)
