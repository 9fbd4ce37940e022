"""Livestreams as their viewers see them: who watches, how many, chat, reactions, state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from salam.errors import LimitError, RequestError
from signaling.chat_log import ChatLog
from signaling.effects import ReplyTo
from signaling.limits import Limits
from signaling.messages import (
    Chat,
    ChatEvent,
    ChatLine,
    Done,
    React,
    Reaction,
    ServerMessage,
    StreamChanged,
    StreamPhase,
    StreamState,
    Unwatch,
    Watch,
    Watching,
)
from signaling.seats import clean_name
from signaling.session import Session, Sessions
from signaling.timers import TimerReason, Timers

__all__ = ["StreamRoom", "Streams"]

_ID_BYTES = 9
# What a viewer who gave no name is called beside their lines.
_NAMELESS = "Guest"


@dataclass(slots=True, eq=False)
class _Watcher:
    watcher_id: str
    name: str
    session: Session


class StreamRoom:
    """The viewers of one livestream and its chat."""

    def __init__(self, stream: str, limits: Limits) -> None:
        self.stream = stream
        self.state: StreamPhase = "offline"
        self.watchers: dict[str, _Watcher] = {}
        """By session id, those included whose connection is lost for the moment."""
        self.present: set[str] = set()
        """The session ids of the watchers that are connected."""
        self.told_viewers = 0
        """The count that the viewers were told last."""
        self.chat = ChatLog(history=limits.chat_history, remembered=limits.chat_ids_remembered)

    @property
    def viewers(self) -> int:
        """How many watch now; who lost the connection counts again once it is resumed."""
        return len(self.present)

    @property
    def needed(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self.watchers) or self.state in ("starting", "live", "interrupted")


class Streams:
    """All livestreams that are watched or on air."""

    def __init__(self, sessions: Sessions, limits: Limits, timers: Timers, *, new_id: Callable[[int], str]) -> None:
        self.rooms: dict[str, StreamRoom] = {}
        self._sessions = sessions
        self._limits = limits
        self._timers = timers
        self._new_id = new_id
        self._by_session: dict[str, list[str]] = {}

    # ------------------------------------------------------------------------------------------- requests

    def watch(self, session: Session, message: Watch, reply_to: ReplyTo, now: float) -> None:
        """Follow a stream; again with another name to be renamed. Raises AuthError, LimitError, RequestError (name)."""
        session.grants.require_watch()
        name = clean_name(message.name) if message.name else _NAMELESS
        room = self.rooms.get(message.stream)
        watcher = None if room is None else room.watchers.get(session.session_id)
        if watcher is not None:
            watcher.name = name
        else:
            watched = self._by_session.get(session.session_id, [])
            if len(watched) >= self._limits.streams_per_session:
                raise LimitError(f"one session may watch {self._limits.streams_per_session} streams", code="too_many_streams")
            if room is None:
                if len(self.rooms) >= self._limits.streams:
                    raise LimitError(f"this server follows {self._limits.streams} streams", code="too_many_streams")
                room = self.rooms[message.stream] = StreamRoom(message.stream, self._limits)
            if len(room.watchers) >= self._limits.watchers_per_stream:
                raise LimitError(f"a stream has at most {self._limits.watchers_per_stream} viewers here", code="stream_full")
            room.watchers[session.session_id] = _Watcher(self._new_id(_ID_BYTES), name, session)
            room.present.add(session.session_id)
            self._by_session[session.session_id] = [*watched, message.stream]
            self._count_later(room, now)
        assert room is not None
        self._sessions.reply(
            reply_to,
            Watching(
                re=reply_to.request_id,
                stream=room.stream,
                state=room.state,
                viewers=room.viewers,
                chat=room.chat.lines(),
            ),
        )

    def unwatch(self, session: Session, message: Unwatch, reply_to: ReplyTo, now: float) -> None:
        """Stop following a stream; fine when it was not followed."""
        self._leave(session, message.stream, now)
        self._sessions.reply(reply_to, Done(re=reply_to.request_id))

    def chat(self, session: Session, message: Chat, reply_to: ReplyTo, wall: float) -> None:
        """Say a line beside a stream; a repeated one is accepted and not shown again. Raises RequestError (``not_watching``)."""
        room, watcher = self._watched(session, message.stream)
        line = ChatLine(
            chat_id=message.chat_id,
            participant_id=watcher.watcher_id,
            name=watcher.name,
            text=message.text,
            sent_at=wall,
        )
        if room.chat.add(session.grants.identity, line):
            self._tell(room, ChatEvent(line=line, stream=room.stream))
        self._sessions.reply(reply_to, Done(re=reply_to.request_id))

    def react(self, session: Session, message: React, reply_to: ReplyTo) -> None:
        """Send a reaction to everybody who watches. Raises RequestError (``not_watching``)."""
        room, _ = self._watched(session, message.stream)
        self._tell(room, Reaction(stream=room.stream, emoji=message.emoji))
        self._sessions.reply(reply_to, Done(re=reply_to.request_id))

    def _watched(self, session: Session, stream: str) -> tuple[StreamRoom, _Watcher]:
        room = self.rooms.get(stream)
        watcher = None if room is None else room.watchers.get(session.session_id)
        if room is None or watcher is None:
            raise RequestError("watch the stream first", code="not_watching")
        return room, watcher

    # ------------------------------------------------------------------------------------------- what happens meanwhile

    def set_state(self, stream: str, state: StreamPhase) -> None:
        """Tell the viewers of ``stream`` its state. Raises LimitError when more streams are on air than this server follows."""
        room = self.rooms.get(stream)
        if room is None:
            if state in ("offline", "ended"):
                return
            if len(self.rooms) >= self._limits.streams:
                raise LimitError(f"this server follows {self._limits.streams} streams", code="too_many_streams")
            room = self.rooms[stream] = StreamRoom(stream, self._limits)
        if room.state != state:
            room.state = state
            self._tell_state(room)
        self._drop_unneeded(room)

    def viewers_due(self, stream: str) -> None:
        """The time to tell the viewer count has come."""
        room = self.rooms.get(stream)
        if room is not None and room.told_viewers != room.viewers:
            self._tell_state(room)

    def session_detached(self, session: Session, now: float) -> None:
        """The connection of ``session`` is lost: a closed page looks like this, so it is no viewer until it is resumed."""
        for stream in self._by_session.get(session.session_id, []):
            self.rooms[stream].present.discard(session.session_id)
            self._count_later(self.rooms[stream], now)

    def session_resumed(self, session: Session, now: float) -> None:
        """Count a session again, and bring it up to date on what it watches."""
        for stream in self._by_session.get(session.session_id, []):
            room = self.rooms[stream]
            room.present.add(session.session_id)
            self._count_later(room, now)
            self._sessions.send(
                session,
                StreamState(stream=stream, state=room.state, viewers=room.viewers, chat=room.chat.lines()),
            )

    def session_ended(self, session: Session, now: float) -> None:
        """A viewer is gone for good."""
        for stream in list(self._by_session.get(session.session_id, [])):
            self._leave(session, stream, now)

    def watchers(self) -> int:
        """Return how many viewers all streams have together."""
        return sum(room.viewers for room in self.rooms.values())

    def _leave(self, session: Session, stream: str, now: float) -> None:
        room = self.rooms.get(stream)
        if room is None or room.watchers.pop(session.session_id, None) is None:
            return
        room.present.discard(session.session_id)
        rest = [other for other in self._by_session[session.session_id] if other != stream]
        if rest:
            self._by_session[session.session_id] = rest
        else:
            del self._by_session[session.session_id]
        self._count_later(room, now)
        self._drop_unneeded(room)

    def _drop_unneeded(self, room: StreamRoom) -> None:
        if not room.needed:
            del self.rooms[room.stream]
            self._timers.cancel(TimerReason.VIEWERS, room.stream)

    def _count_later(self, room: StreamRoom, now: float) -> None:
        if not self._timers.has(TimerReason.VIEWERS, room.stream):
            self._timers.set(TimerReason.VIEWERS, room.stream, now + self._limits.viewers_interval_s)

    def _tell_state(self, room: StreamRoom) -> None:
        room.told_viewers = room.viewers
        self._tell(room, StreamChanged(stream=room.stream, state=room.state, viewers=room.viewers))

    def _tell(self, room: StreamRoom, message: ServerMessage) -> None:
        self._sessions.broadcast([watcher.session for watcher in room.watchers.values()], message)
