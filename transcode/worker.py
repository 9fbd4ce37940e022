"""The threads of one publication: one that decodes, one per encoded rung. FFmpeg lets go of the interpreter while it works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from ingest.access_unit import AccessUnit, StreamInfo
from salam.errors import ClosedError, SalamError
from salam.log import get_logger
from transcode.backlog import Backlog, Mark
from transcode.epoch import Stage
from transcode.events import PipelineEnded, PipelineEvent
from transcode.limits import LiveLimits
from transcode.pipeline import Pipeline, PipelineStart
from transcode.rung import EncodedRung, FrameTask
from transcode.store import SegmentStore

__all__ = ["PublicationWorker", "RungThread"]

_log = get_logger("transcode")

# How often a thread that waits for room in a full queue looks whether the queue's owner has failed.
_CHECK_S = 0.2


class RungThread:
    """A thread that encodes one rung from a bounded queue."""

    def __init__(self, name: str, worker: EncodedRung, capacity: int) -> None:
        self._worker = worker
        self._queue: queue.Queue[FrameTask | None] = queue.Queue(capacity)
        self._failure: Exception | None = None
        # A daemon, so that a codec that hangs cannot keep the process alive; in order, every thread is joined.
        self._thread = threading.Thread(target=self._run, name=f"salam-rung-{name}", daemon=True)
        self._thread.start()

    def put(self, item: FrameTask) -> None:
        """Hand over ``item``, waiting while the queue is full; raises ClosedError once the rung has failed."""
        self._offer(item)
        if self._failure is not None:
            raise ClosedError(f"a rung failed: {self._failure}", reason="rung_failed") from self._failure

    def close(self) -> None:
        """Let the rung finish and wait for it; raises what it failed with."""
        self._offer(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _offer(self, item: FrameTask | None) -> None:
        while True:
            try:
                self._queue.put(item, timeout=_CHECK_S)
                return
            except queue.Full:
                if self._failure is not None:
                    return

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                self._worker.handle(item)
            self._worker.end()
        except Exception as error:  # reported through put and close, to the thread that feeds this one
            self._failure = error


class PublicationWorker:
    """The thread that works off one publication's backlog.

    ``post`` is called in this thread and those of the rungs; it must hand the event over to the event loop. The last event is
    always a `PipelineEnded`.
    """

    def __init__(
        self,
        stream: str,
        backlog: Backlog,
        start: PipelineStart,
        *,
        limits: LiveLimits,
        store: SegmentStore,
        post: Callable[[PipelineEvent], None],
        wall_offset_s: float,
    ) -> None:
        self._backlog = backlog
        self._post = post
        self._limits = limits
        self._pipeline = Pipeline(
            start,
            limits=limits,
            open_folder=lambda folder: store.open_epoch(stream, folder),
            post=post,
            start_stage=self._start_stage,
            wall_offset_s=wall_offset_s,
        )
        self._thread = threading.Thread(target=self._run, name=f"salam-live-{stream}", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended; blocks, so not for the event loop."""
        self._thread.join()

    def _start_stage(self, name: str, rung: EncodedRung) -> Stage:
        return RungThread(name, rung, self._limits.rung_queue_frames)

    def _run(self) -> None:
        error: str | None = None
        try:
            self._work()
        except SalamError as failure:
            error = failure.message
        except Exception as failure:  # whatever a codec does to one publication must not end the others, and must be seen
            _log.exception("a publication failed unexpectedly")
            error = f"internal error: {type(failure).__name__}"
        pipeline = self._pipeline
        self._post(PipelineEnded(pipeline.next_pts, pipeline.next_epoch, pipeline.size, pipeline.shed_frames, error))

    def _work(self) -> None:
        pipeline = self._pipeline
        try:
            while (item := self._backlog.take()) is not Mark.END:
                if isinstance(item, AccessUnit):
                    pipeline.on_unit(item, self._backlog.lag_s)
                elif isinstance(item, StreamInfo):
                    pipeline.on_info(item)
                else:
                    pipeline.on_gap()
            pipeline.finish()
        except BaseException:
            pipeline.abandon()
            raise
