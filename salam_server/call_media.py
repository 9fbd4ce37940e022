"""The bridge between signaling and the SFU: rooms of people become routers, transports, producers and consumers."""

from __future__ import annotations

import asyncio
import random

from salam.errors import ClosedError, ConflictError, NotFoundError
from salam.tasks import TaskOwner
from salam_server.call_room import CallRoom
from sfu import Worker
from signaling.media import MediaListener, OfferedTrack, PublishResult

__all__ = ["SfuCallMedia"]

# Speakers are judged this often; a syllable is about as long.
_TICK_S = 0.2


class SfuCallMedia:
    """A `signaling.media.CallMedia` over one `Worker`.

    The worker must be started by the caller, who also closes it, after `close`.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._rng = random.SystemRandom()
        self._rooms: dict[str, CallRoom] = {}
        self._tasks = TaskOwner("salam.call_media")
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False

    async def close(self) -> None:
        """Close every room; idempotent."""
        self._closed = True
        for name in list(self._rooms):
            await self.close_room(name)
        await self._tasks.close()

    async def open_room(self, room: str, listener: MediaListener) -> None:
        """Make the room's router. Raises ConflictError when it exists and ClosedError after `close`."""
        if self._closed:
            raise ClosedError("the media server is shutting down")
        if room in self._rooms:
            raise ConflictError(f"the room {room} has media already")
        loop = asyncio.get_running_loop()
        self._rooms[room] = CallRoom(
            room,
            self._worker.create_router(room),
            listener,
            monotonic=self._worker.clock.monotonic,
            rng=self._rng,
            soon=loop.call_soon,
        )
        if self._ticker is None:
            self._ticker = self._tasks.spawn(self._tick(), name="tick")

    async def close_room(self, room: str) -> None:
        """Close the room and everything in it; idempotent."""
        found = self._rooms.pop(room, None)
        if found is not None:
            found.close()

    async def add_participant(self, room: str, participant_id: str) -> None:
        """Prepare for a participant. Raises NotFoundError without the room and ConflictError for an id in use."""
        self._room(room).add_participant(participant_id)

    async def remove_participant(self, room: str, participant_id: str) -> None:
        """Close both connections and all tracks of the participant; idempotent."""
        found = self._rooms.get(room)
        if found is not None:
            found.remove_participant(participant_id)

    async def publish(self, room: str, participant_id: str, sdp: str, tracks: tuple[OfferedTrack, ...]) -> PublishResult:
        """Answer the participant's offer; see `CallRoom.publish`."""
        return self._room(room).publish(participant_id, sdp, tracks)

    async def subscription_answer(self, room: str, participant_id: str, revision: int, sdp: str) -> None:
        """Take the client's answer; one to an older revision is ignored. Raises ProtocolError for a bad one."""
        self._room(room).subscription_answer(participant_id, revision, sdp)

    async def restart_subscription(self, room: str, participant_id: str) -> None:
        """Offer again with new ICE credentials."""
        self._room(room).restart_subscription(participant_id)

    async def set_layer(self, room: str, participant_id: str, track_id: str, *, height: int, rid: str) -> None:
        """Choose what the participant receives of a video: a layer by ``rid``, else by ``height`` in pixels."""
        self._room(room).set_layer(participant_id, track_id, height=height, rid=rid)

    async def set_muted(self, room: str, track_id: str, *, muted: bool) -> None:
        """Stop or resume forwarding a track to everybody. Raises NotFoundError for an unknown track."""
        self._room(room).set_muted(track_id, muted=muted)

    def _room(self, name: str) -> CallRoom:
        room = self._rooms.get(name)
        if room is None:
            raise NotFoundError(f"the room {name} has no media")
        return room

    async def _tick(self) -> None:
        clock = self._worker.clock
        while True:
            await clock.sleep(_TICK_S)
            now = clock.monotonic()
            for room in list(self._rooms.values()):
                room.tick(now)
