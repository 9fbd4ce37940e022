"""Connections and sessions: hello, resume, heartbeats, rates. A session outlives its connection for a grace time."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from salam.errors import AuthError, LimitError
from signaling.effects import Close, CloseCode, Effect, PingPeer, ReplyTo, Send
from signaling.limits import Limits, TokenBucket
from signaling.messages import Error, Hello, IceServer, Removed, ServerMessage
from signaling.timers import TimerReason, Timers
from signaling.tokens import Grants, TokenIssuer

__all__ = ["Connection", "IceHolding", "Session", "SessionState", "Sessions"]

# 128 bits cannot be guessed; 72 bits never collide by accident among the ids of one process.
_SECRET_BYTES = 16
_ID_BYTES = 9


class SessionState(Enum):
    """Where a session stands."""

    ATTACHED = "attached"
    """A connection carries it."""
    DETACHED = "detached"
    """Its connection is lost; it waits to be resumed."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class IceHolding:
    """The ICE servers that a session has for its room, and for how long; times in monotonic seconds, infinity for good."""

    servers: list[IceServer]
    renew_s: float
    expires_s: float
    ttl_s: float
    """What was left of it when they were looked at last, as messages say it: 0 for good."""


@dataclass(slots=True, eq=False)
class Session:
    """What a client is to the server, whichever connection carries it."""

    session_id: str
    resume: str
    """The secret that takes the session over. Stays the same, because a `Welcome` may be lost on its way."""
    grants: Grants
    anonymous: bool
    """True in development without a token: the identity is made up and different every time."""
    messages: TokenBucket
    negotiations: TokenBucket
    chat: TokenBucket
    reactions: TokenBucket
    secure: TokenBucket
    valid_until: float | None = None
    """When its token expires, in Unix seconds; None without a token."""
    connection_id: int | None = None
    ended: bool = False
    ice: IceHolding | None = None
    """The ICE servers of its room; None before it asked to enter one."""
    removed: Removed | None = None
    """The news of a removal that happened while no connection carried the session; told when it is resumed."""

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        if self.ended:
            return SessionState.ENDED
        return SessionState.DETACHED if self.connection_id is None else SessionState.ATTACHED

    def __repr__(self) -> str:
        return f"<Session {self.session_id} {self.state.value}>"


@dataclass(slots=True, eq=False)
class Connection:
    """One WebSocket."""

    connection_id: int
    last_heard: float
    session: Session | None = None
    malformed: int = 0
    refused: int = 0


class Sessions:
    """The table of connections and sessions, and the way to send to them.

    ``new_id`` returns a random text from a number of bytes (`secrets.token_urlsafe`). Effects gather in `effects` until taken.
    """

    def __init__(
        self,
        *,
        issuer: TokenIssuer | None,
        dev: bool,
        limits: Limits,
        timers: Timers,
        new_id: Callable[[int], str],
    ) -> None:
        self.effects: list[Effect] = []
        self.connections: dict[int, Connection] = {}
        self.sessions: dict[str, Session] = {}
        self._issuer = issuer
        self._dev = dev
        self._limits = limits
        self._timers = timers
        self._new_id = new_id
        self._last_connection_id = 0

    # ------------------------------------------------------------------------------------------- connections

    def connect(self, now: float) -> int:
        """Take a new connection and return its id. Raises LimitError when there are too many."""
        if len(self.connections) >= self._limits.connections:
            raise LimitError(f"this server carries at most {self._limits.connections} connections")
        self._last_connection_id += 1
        connection_id = self._last_connection_id
        self.connections[connection_id] = Connection(connection_id, now)
        self._timers.set(TimerReason.HELLO, connection_id, now + self._limits.hello_timeout_s)
        self._timers.set(TimerReason.SILENCE, connection_id, now + self._limits.silence_timeout_s)
        self._timers.set(TimerReason.HEARTBEAT, connection_id, now + self._limits.heartbeat_s)
        return connection_id

    def forget(self, connection_id: int) -> Connection | None:
        """Drop a connection from the table and return it; None when it is not there (any more)."""
        connection = self.connections.pop(connection_id, None)
        if connection is not None:
            for reason in (TimerReason.HELLO, TimerReason.SILENCE, TimerReason.HEARTBEAT):
                self._timers.cancel(reason, connection_id)
        return connection

    def heartbeat_due(self, connection_id: int, now: float) -> None:
        """Ping a connection and set the next time."""
        self.effects.append(PingPeer(connection_id))
        self._timers.set(TimerReason.HEARTBEAT, connection_id, now + self._limits.heartbeat_s)

    def silence_due(self, connection_id: int, now: float) -> bool:
        """Return whether the connection was really silent; otherwise look again when it could be."""
        silent_at = self.connections[connection_id].last_heard + self._limits.silence_timeout_s
        if silent_at <= now:
            return True
        self._timers.set(TimerReason.SILENCE, connection_id, silent_at)
        return False

    # ------------------------------------------------------------------------------------------- sessions

    def resumable(self, secret: str) -> Session | None:
        """Return the living session that ``secret`` takes over."""
        session_id, _, _ = secret.partition(".")
        session = self.sessions.get(session_id)
        if session is None or not hmac.compare_digest(session.resume.encode(), secret.encode()):
            return None
        return session

    def begin(self, hello: Hello, now: float, wall: float) -> Session:
        """Make a session from a token, or from nothing in development. Raises AuthError, LimitError."""
        # Sessions without a connection are bounded too, by as many again.
        if len(self.sessions) >= 2 * self._limits.connections:
            raise LimitError(f"this server carries at most {2 * self._limits.connections} sessions; come back later")
        session_id = self._new_id(_ID_BYTES)
        anonymous = self._dev and not hello.token
        valid_until: float | None = None
        if anonymous:
            grants = Grants.everything(f"anonymous-{self._new_id(_ID_BYTES)}")
        elif self._issuer is None:
            raise AuthError("this server accepts no tokens; connect without one", code="token_signature")
        else:
            token = self._issuer.read(hello.token, now_wall=wall)
            grants, valid_until = token.grants, token.valid_until
        session = Session(
            session_id=session_id,
            resume=f"{session_id}.{self._new_id(_SECRET_BYTES)}",
            grants=grants,
            anonymous=anonymous,
            messages=TokenBucket(self._limits.messages, now),
            negotiations=TokenBucket(self._limits.negotiations, now),
            chat=TokenBucket(self._limits.chat, now),
            reactions=TokenBucket(self._limits.reactions, now),
            secure=TokenBucket(self._limits.secure, now),
            valid_until=valid_until,
        )
        self.sessions[session_id] = session
        if valid_until is not None:
            self._timers.set(TimerReason.TOKEN, session_id, now + valid_until - wall)
        return session

    def renew(self, session: Session, token: str, now: float, wall: float) -> None:
        """Let ``session`` last as long as a later ``token`` that grants the same; any other token changes nothing.

        The resume secret has shown already whose session it is.
        """
        if session.valid_until is None or self._issuer is None or not token:
            return
        try:
            renewed = self._issuer.read(token, now_wall=wall)
        except AuthError:
            return
        if renewed.grants == session.grants and renewed.valid_until > session.valid_until:
            session.valid_until = renewed.valid_until
            self._timers.set(TimerReason.TOKEN, session.session_id, now + renewed.valid_until - wall)

    def attach(self, session: Session, connection: Connection) -> None:
        """Let ``connection`` carry ``session``; a connection that carried it before is closed."""
        if session.connection_id is not None:
            old = self.connections.get(session.connection_id)
            if old is not None:
                old.session = None
                self.close(old.connection_id, CloseCode.RESUMED_ELSEWHERE, "another connection resumed this session")
        session.connection_id = connection.connection_id
        connection.session = session
        self._timers.cancel(TimerReason.HELLO, connection.connection_id)
        self._timers.cancel(TimerReason.GRACE, session.session_id)

    def detach(self, session: Session, now: float, *, going_away: bool = False) -> None:
        """Let ``session`` wait for a new connection; not so long when its page was ``going_away``."""
        session.connection_id = None
        grace_s = self._limits.reload_grace_s if going_away else self._limits.resume_grace_s
        self._timers.set(TimerReason.GRACE, session.session_id, now + grace_s)

    def end(self, session: Session) -> None:
        """Drop ``session`` from the table."""
        session.ended = True
        session.connection_id = None
        self.sessions.pop(session.session_id, None)
        self._timers.cancel(TimerReason.GRACE, session.session_id)
        self._timers.cancel(TimerReason.TOKEN, session.session_id)
        self._timers.cancel(TimerReason.ICE_SERVERS, session.session_id)

    # ------------------------------------------------------------------------------------------- sending

    def send(self, session: Session, message: ServerMessage) -> None:
        """Send to one session; nothing happens while it has no connection."""
        if session.connection_id is not None:
            self.effects.append(Send((session.connection_id,), message))

    def tell_removed(self, session: Session, news: Removed) -> None:
        """Tell a session that it is out of its room; once it is resumed, when it has no connection now."""
        session.removed = news if session.connection_id is None else None
        self.send(session, news)

    def broadcast(self, sessions: list[Session], message: ServerMessage) -> None:
        """Send to all of ``sessions`` that have a connection."""
        connection_ids = tuple(session.connection_id for session in sessions if session.connection_id is not None)
        if connection_ids:
            self.effects.append(Send(connection_ids, message))

    def reply(self, reply_to: ReplyTo, message: ServerMessage) -> None:
        """Answer a request; nothing happens when its connection is gone."""
        if reply_to.connection_id in self.connections:
            self.effects.append(Send((reply_to.connection_id,), message))

    def fail(self, reply_to: ReplyTo, *, code: str, message: str, retryable: bool = False) -> None:
        """Answer a request with an `Error`."""
        self.reply(reply_to, Error(re=reply_to.request_id, code=code, message=message, retryable=retryable))

    def close(self, connection_id: int, code: CloseCode, reason: str) -> None:
        """Close a connection and forget it; its session is the caller's business."""
        if self.forget(connection_id) is not None:
            self.effects.append(Close(connection_id, code, reason))
