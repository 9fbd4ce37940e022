"""Carries the core's media calls to a `CallMedia`: in order for each participant, at the same time for different ones."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from salam.errors import ClosedError, LimitError, RequestError, SalamError
from salam.log import get_logger
from salam.tasks import TaskOwner
from signaling.effects import (
    AddParticipant,
    AnswerSubscription,
    ChooseLayer,
    MediaCall,
    Publish,
    RemoveParticipant,
    RestartSubscription,
    SetMuted,
)
from signaling.limits import Limits
from signaling.media import CallMedia, MediaListener, PublishResult

__all__ = ["MediaWorker"]

_log = get_logger("signaling")


@dataclass(slots=True, eq=False)
class _Line:
    """The waiting calls of one participant."""

    calls: deque[MediaCall] = field(default_factory=deque)
    running: bool = False


@dataclass(slots=True, eq=False)
class _RoomDesk:
    """One life of a room at the media server; a room of the same name may follow it."""

    name: str
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    error: SalamError | None = None
    lines: dict[str, _Line] = field(default_factory=dict)


class MediaWorker:
    """Calls ``media`` and reports each outcome to ``done`` or ``failed``, always from the event loop and never from within `call`.

    A call that takes longer than ``limits.media_timeout_s`` is cancelled and fails with ``media_timeout``.
    """

    def __init__(
        self,
        media: CallMedia,
        *,
        limits: Limits,
        done: Callable[[MediaCall, PublishResult | None], None],
        failed: Callable[[MediaCall, SalamError], None],
    ) -> None:
        self._media = media
        self._limits = limits
        self._done = done
        self._failed = failed
        self._rooms: dict[str, _RoomDesk] = {}
        self._closing: dict[str, asyncio.Event] = {}
        self._tasks = TaskOwner("signaling-media")

    @property
    def busy(self) -> int:
        """How many participants and rooms have a call under way or waiting."""
        return len(self._tasks.tasks)

    def open_room(self, room: str, listener: MediaListener) -> None:
        """Open ``room`` once an earlier one of that name is closed."""
        desk = _RoomDesk(room)
        desk.idle.set()
        self._rooms[room] = desk
        self._tasks.spawn(self._open(desk, self._closing.get(room), listener), name=f"open/{room}")

    def close_room(self, room: str) -> None:
        """Close ``room`` once the calls of its participants are through."""
        desk = self._rooms.pop(room)
        self._closing[room] = desk.closed
        self._tasks.spawn(self._close(desk), name=f"close/{room}")

    def call(self, call: MediaCall) -> None:
        """Put ``call`` at the end of its participant's line."""
        desk = self._rooms[call.room]
        line = desk.lines.setdefault(call.participant_id, _Line())
        if isinstance(call.request, RemoveParticipant):
            # Whoever leaves waits for nothing more; the call under way ends by itself.
            dropped = [waiting for waiting in line.calls if not isinstance(waiting.request, AddParticipant)]
            line.calls = deque(waiting for waiting in line.calls if isinstance(waiting.request, AddParticipant))
            for waiting in dropped:
                self._failed(waiting, ClosedError("the participant left before this was carried out", reason="left"))
        elif len(line.calls) >= self._limits.media_calls_waiting:
            limit = self._limits.media_calls_waiting
            self._failed(call, LimitError(f"{limit} negotiations wait already", code="too_many_calls"))
            return
        line.calls.append(call)
        if not line.running:
            line.running = True
            desk.idle.clear()
            self._tasks.spawn(self._run(desk, call.participant_id, line), name=f"{call.room}/{call.participant_id}")

    async def finish(self, timeout_s: float) -> None:
        """Wait until everything that was asked for is through, at most ``timeout_s`` seconds."""
        tasks = self._tasks.tasks
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    async def close(self) -> None:
        """Cancel what is under way; idempotent."""
        await self._tasks.close()

    async def _open(self, desk: _RoomDesk, earlier_closed: asyncio.Event | None, listener: MediaListener) -> None:
        if earlier_closed is not None:
            await earlier_closed.wait()
        try:
            async with asyncio.timeout(self._limits.media_timeout_s):
                await self._media.open_room(desk.name, listener)
        except Exception as error:
            desk.error = self._as_ours(error, "open_room")
        finally:
            desk.opened.set()

    async def _close(self, desk: _RoomDesk) -> None:
        try:
            await desk.opened.wait()
            await desk.idle.wait()
            async with asyncio.timeout(self._limits.media_timeout_s):
                await self._media.close_room(desk.name)
        except Exception as error:
            self._as_ours(error, "close_room")
        finally:
            desk.closed.set()
            if self._closing.get(desk.name) is desk.closed:
                del self._closing[desk.name]

    async def _run(self, desk: _RoomDesk, participant_id: str, line: _Line) -> None:
        try:
            await desk.opened.wait()
            while line.calls:
                await self._carry_out(desk, line.calls.popleft())
        finally:
            line.running = False
            del desk.lines[participant_id]
            if not any(other.running for other in desk.lines.values()):
                desk.idle.set()

    async def _carry_out(self, desk: _RoomDesk, call: MediaCall) -> None:
        if desk.error is not None:
            self._failed(call, desk.error)
            return
        try:
            async with asyncio.timeout(self._limits.media_timeout_s):
                result = await self._perform(call)
        except Exception as error:
            self._failed(call, self._as_ours(error, type(call.request).__name__))
            return
        self._done(call, result)

    async def _perform(self, call: MediaCall) -> PublishResult | None:
        media, room, participant_id = self._media, call.room, call.participant_id
        match call.request:
            case AddParticipant():
                await media.add_participant(room, participant_id)
            case RemoveParticipant():
                await media.remove_participant(room, participant_id)
            case Publish(sdp=sdp, tracks=tracks):
                return await media.publish(room, participant_id, sdp, tracks)
            case AnswerSubscription(revision=revision, sdp=sdp):
                await media.subscription_answer(room, participant_id, revision, sdp)
            case RestartSubscription():
                await media.restart_subscription(room, participant_id)
            case ChooseLayer(track_id=track_id, height=height, rid=rid):
                await media.set_layer(room, participant_id, track_id, height=height, rid=rid)
            case SetMuted(track_id=track_id, muted=muted):
                await media.set_muted(room, track_id, muted=muted)
        return None

    def _as_ours(self, error: Exception, what: str) -> SalamError:
        if isinstance(error, SalamError):
            return error
        if isinstance(error, TimeoutError):
            _log.warning("the media server did not finish %s in %s s", what, self._limits.media_timeout_s)
            return RequestError("the media server did not answer in time", code="media_timeout", retryable=True)
        # A fault of ours: one participant's request fails, and the log has the trace.
        _log.error("the media server failed in %s", what, exc_info=error)
        return RequestError("the media server failed; the operator's log has the reason", code="internal_error")
