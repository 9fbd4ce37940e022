"""The live origin: takes publications, runs their threads, and serves HLS over HTTP."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from aiohttp import web

from ingest.access_unit import AccessUnit, StreamInfo, StreamSink
from salam.clock import Clock
from salam.errors import ClosedError, ConflictError, LimitError, NotFoundError, ProtocolError
from salam.log import get_logger
from salam.metrics import Metrics
from salam.tasks import TaskOwner
from transcode.backlog import Backlog, Mark
from transcode.events import PipelineEnded, PipelineEvent
from transcode.limits import LiveLimits
from transcode.pipeline import PipelineStart
from transcode.presentation import Expired, Presentation
from transcode.request import LiveRequest, LiveResource, check_stream_name, parse_live_request
from transcode.store import SegmentStore
from transcode.stream import LiveState, LiveStream
from transcode.worker import PublicationWorker

__all__ = ["LiveOrigin"]

_log = get_logger("transcode")

EndReason = Literal["finished", "dropped", "refused", "shutdown"]

# A playlist changes every two seconds; a cache may hold it for half of that, so that a crowd costs one request a second.
_PLAYLIST_CACHE = "public, max-age=1"
# A file name never stands for other bytes, but the file is gone from here soon: an hour serves every viewer that can still ask.
_FILE_CACHE = "public, max-age=3600, immutable"
_PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_FILE_TYPES = {".m4s": "video/iso.segment", ".mp4": "video/mp4"}
# Players of any site may watch; nothing here depends on cookies.
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Date",
    "Access-Control-Max-Age": "86400",
}


class _Life:
    """One stream from its first publication to its removal."""

    def __init__(self, name: str, window: int, start: PipelineStart, started_at: float) -> None:
        self.name = name
        self.presentation = Presentation(window)
        self.start = start
        self.started_at = started_at
        self.state = LiveState.OFFLINE
        self.publication: _Publication | None = None
        self.running: _Publication | None = None
        """Whose threads work; after a quick return that is still the one before `publication`."""
        self.timer: asyncio.Task[None] | None = None
        self.may_return = False
        """Whether a dropped publisher is still waited for."""
        self.shed_frames = 0
        self.error: str | None = None


class _Publication:
    """One publisher's connection: the `StreamSink` that ingest feeds."""

    def __init__(self, origin: LiveOrigin, life: _Life, backlog: Backlog, count_drop: Callable[[], None]) -> None:
        self._origin = origin
        self._backlog = backlog
        self._count_drop = count_drop
        self.life = life
        self.ended = False
        self.worker: PublicationWorker | None = None

    @property
    def backlog(self) -> Backlog:
        """What waits for this publication's threads."""
        return self._backlog

    def on_info(self, info: StreamInfo) -> None:
        if not self.ended:
            self._backlog.put(info)

    def on_unit(self, unit: AccessUnit) -> None:
        if not self.ended and not self._backlog.put(unit):
            self._count_drop()

    def on_end(self, reason: EndReason) -> None:
        if not self.ended:
            self.ended = True
            if reason == "shutdown":
                # What waits would take its time, and nobody will see it.
                self._backlog.end_now()
            else:
                self._backlog.put(Mark.END)
            self._origin.publication_ended(self.life, reason)


class LiveOrigin:
    """Turns publications into HLS streams and serves them.

    ``data_dir`` gets a folder ``live`` that belongs to the origin alone: it is emptied at the start. ``on_state`` is called on the
    event loop with (stream, state) at every change, see `LiveState`; it must not block.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        metrics: Metrics,
        clock: Clock,
        on_state: Callable[[str, str], None],
        limits: LiveLimits | None = None,
    ) -> None:
        self._limits = limits or LiveLimits()
        self._clock = clock
        self._metrics = metrics
        self._on_state = on_state
        self._store = SegmentStore(Path(data_dir) / "live")
        self._lives: dict[str, _Life] = {}
        self._replaced: dict[str, list[Presentation]] = {}
        self._tasks = TaskOwner("live_origin")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life_count = 0
        self._closed = False
        self._shed = metrics.counter("salam_live_shed_frames_total", "Pictures given up because encoding was too slow.")
        self._segments = metrics.counter("salam_live_segments_total", "Media sequence numbers listed in playlists.")

    async def start(self) -> None:
        """Empty the segment folder; raises ResourceError when the disk refuses."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._store.reset)

    async def close(self) -> None:
        """End every stream, wait for all threads, and remove the segments; idempotent."""
        if self._closed:
            return
        self._closed = True
        for life in self._lives.values():
            if life.publication is not None:
                life.publication.on_end("shutdown")
        while workers := [life.running.worker for life in self._lives.values() if life.running is not None]:
            for worker in workers:
                if worker is not None:
                    await asyncio.to_thread(worker.join)
            # The last events of the joined threads are still on their way through the loop.
            await asyncio.sleep(0)
        await self._tasks.close()
        if self._loop is not None:
            await asyncio.to_thread(self._store.clear)

    def streams(self) -> list[LiveStream]:
        """Return every stream that is not offline, by name."""
        return [self._snapshot(life) for _, life in sorted(self._lives.items())]

    def open_sink(self, name: str) -> StreamSink:
        """Return where a new publication of ``name`` sends its access units.

        A stream whose publisher was dropped less than ``return_within_s`` ago goes on after a discontinuity; an ended one begins
        anew. Raises ConflictError while another publication is live, LimitError when as many streams as allowed are, ProtocolError
        for a name that cannot be a stream's, and ClosedError before `start` and after `close`.
        """
        if self._closed or self._loop is None:
            raise ClosedError("the live origin is not running", reason="not_running")
        check_stream_name(name)
        life = self._lives.get(name)
        if life is not None and life.publication is not None:
            raise ConflictError(f"the stream {name} is being published already", code="stream_taken")
        if life is None or life.state is LiveState.ENDED:
            busy = sum(other.state is not LiveState.ENDED for other in self._lives.values())
            if busy >= self._limits.streams:
                raise LimitError(f"no more than {self._limits.streams} streams at once", code="too_many_streams")
            life = self._new_life(name, life)
        self._cancel_timer(life)
        backlog = Backlog(self._limits.backlog_units, self._limits.backlog_bytes)
        publication = _Publication(self, life, backlog, functools.partial(self._metrics.drop, "live", "backlog_full"))
        life.publication = publication
        life.may_return = False
        if not life.presentation.playable:
            self._set_state(life, LiveState.STARTING)
        if life.running is None:
            self._run(life, publication)
        return publication

    def publication_ended(self, life: _Life, reason: EndReason) -> None:
        """Called by a publication's sink when its publisher is gone."""
        life.publication = None
        if reason == "dropped" and not self._closed:
            life.may_return = True
            self._set_state(life, LiveState.INTERRUPTED)
            self._cancel_timer(life)
            life.timer = self._tasks.spawn(self._end_unless_back(life), name=f"end-{life.name}")
        elif life.running is None:
            self._end(life)
        # Else the threads still work off the rest; `_pipeline_ended` ends the life afterwards.

    def routes(self) -> list[web.RouteDef]:
        """Return the HTTP routes below ``/live/``."""
        path = "/live/{stream}/{path:.+}"
        return [web.get(path, self._handle), web.options(path, self._handle_options)]

    # ------------------------------------------------------------------------------------------- lives

    def _new_life(self, name: str, before: _Life | None) -> _Life:
        if before is not None:
            # Viewers of the ended stream may still fetch its last segments; its timer removes them.
            self._replaced.setdefault(name, []).append(before.presentation)
        self._life_count += 1
        # Milliseconds since 1970, so that names differ between runs of the server, and a counter within one.
        prefix = f"{int(self._clock.wall() * 1000):x}x{self._life_count:x}"
        life = self._lives[name] = _Life(name, self._limits.window_segments, PipelineStart(prefix), self._clock.wall())
        return life

    def _run(self, life: _Life, publication: _Publication) -> None:
        life.running = publication
        publication.worker = PublicationWorker(
            life.name,
            publication.backlog,
            life.start,
            limits=self._limits,
            store=self._store,
            post=functools.partial(self._post, life, publication),
            wall_offset_s=self._clock.wall() - self._clock.monotonic(),
        )

    def _post(self, life: _Life, publication: _Publication, event: PipelineEvent) -> None:
        """Hand an event from a worker thread to the event loop."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._take_event, life, publication, event)
        except RuntimeError:
            # The loop is closed, because the embedder did not wait for `close`: nobody is left to tell.
            return

    def _take_event(self, life: _Life, publication: _Publication, event: PipelineEvent) -> None:
        if isinstance(event, PipelineEnded):
            self._pipeline_ended(life, publication, event)
            return
        presentation = life.presentation
        listed = presentation.apply(event)
        if listed:
            self._segments.inc(listed)
            if life.publication is publication:
                self._set_state(life, LiveState.LIVE)
        self._remove(life.name, presentation.take_expired())

    def _pipeline_ended(self, life: _Life, publication: _Publication, event: PipelineEnded) -> None:
        presentation = life.presentation
        had_audio = life.start.had_audio or presentation.has_audio
        life.start = PipelineStart(
            life.start.life, event.next_epoch, event.next_pts, presentation.target_s, had_audio, event.size or life.start.size
        )
        life.shed_frames += event.shed_frames
        self._shed.inc(event.shed_frames)
        life.error = event.error
        life.running = None
        if event.error is not None:
            _log.warning("publication of %s was cut short: %s", life.name, event.error)
            self._metrics.drop("live", "publication_failed")
            publication.ended = True
            if life.publication is publication:
                life.publication = None
        if life.publication is not None and life.publication is not publication:
            self._run(life, life.publication)
        elif life.publication is None and not life.may_return:
            self._end(life)

    async def _end_unless_back(self, life: _Life) -> None:
        await self._clock.sleep(self._limits.return_within_s)
        life.timer = None
        life.may_return = False
        # Threads that still work off the rest end the life when they are through.
        if life.running is None:
            self._end(life)

    def _end(self, life: _Life) -> None:
        if life.state is LiveState.ENDED:
            return
        life.presentation.end()
        self._remove(life.name, life.presentation.take_expired())
        self._set_state(life, LiveState.ENDED)
        if not self._closed:
            life.timer = self._tasks.spawn(self._forget_later(life), name=f"forget-{life.name}")

    async def _forget_later(self, life: _Life) -> None:
        if life.presentation.playable:
            await self._clock.sleep(self._limits.keep_ended_s)
        self._remove(life.name, life.presentation.drop_all())
        replaced = self._replaced.get(life.name, [])
        if life.presentation in replaced:
            replaced.remove(life.presentation)
            if not replaced:
                del self._replaced[life.name]
        if self._lives.get(life.name) is life:
            del self._lives[life.name]
            self._set_state(life, LiveState.OFFLINE)

    def _cancel_timer(self, life: _Life) -> None:
        if life.timer is not None:
            life.timer.cancel()
            life.timer = None

    def _set_state(self, life: _Life, state: LiveState) -> None:
        if life.state is not state:
            life.state = state
            self._on_state(life.name, state.value)

    def _remove(self, stream: str, expired: list[Expired]) -> None:
        if expired and not self._closed:
            self._tasks.spawn(self._remove_files(stream, expired), name=f"remove-{stream}")

    async def _remove_files(self, stream: str, expired: list[Expired]) -> None:
        for files in expired:
            await asyncio.to_thread(self._store.remove, stream, files.folder, files.names)

    def _snapshot(self, life: _Life) -> LiveStream:
        publication = life.publication or life.running
        presentation = life.presentation
        return LiveStream(
            life.name,
            life.state,
            life.started_at,
            presentation.rungs,
            presentation.has_audio,
            presentation.segments_listed,
            publication.backlog.lag_s if publication is not None else 0.0,
            life.shed_frames,
            life.error,
        )

    # ------------------------------------------------------------------------------------------- HTTP

    async def _handle_options(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_CORS)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return self._respond(parse_live_request(request.match_info["stream"], request.match_info["path"]))
        except (ProtocolError, NotFoundError) as error:
            body = {"error": {"code": error.code, "message": error.message}}
            return web.json_response(body, status=404, headers={**_CORS, "Cache-Control": "no-store"})

    def _respond(self, wanted: LiveRequest) -> web.StreamResponse:
        if wanted.resource in (LiveResource.INIT, LiveResource.SEGMENT):
            return self._file(wanted)
        life = self._lives.get(wanted.stream)
        if life is None:
            raise NotFoundError(f"the stream {wanted.stream} is offline", code="stream_offline")
        presentation = life.presentation
        if wanted.resource is LiveResource.MULTIVARIANT:
            text = presentation.multivariant()
        else:
            text = presentation.media(wanted.rendition)
        headers = {**_CORS, "Cache-Control": _PLAYLIST_CACHE}
        return web.Response(text=text, content_type=_PLAYLIST_TYPE, headers=headers)

    def _file(self, wanted: LiveRequest) -> web.StreamResponse:
        life = self._lives.get(wanted.stream)
        candidates = [*([life.presentation] if life is not None else []), *self._replaced.get(wanted.stream, [])]
        if not any(presentation.has_file(wanted.folder, wanted.name) for presentation in candidates):
            raise NotFoundError("the segment is gone, or never was", code="unknown_segment")
        path = self._store.path(wanted.stream, wanted.folder, wanted.name)
        # FileResponse opens, reads and answers ranges in worker threads.
        headers = {**_CORS, "Cache-Control": _FILE_CACHE, "Content-Type": _FILE_TYPES[path.suffix]}
        return web.FileResponse(path, headers=headers)
