"""One epoch: the encoders, segmenters and schedule between two discontinuities."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from av.video.frame import VideoFrame

from ingest.access_unit import TIMESCALE_HZ, AccessUnit, AudioFormat
from transcode.aac import FRAME_SAMPLES
from transcode.audio import AacFrame, open_audio
from transcode.cmaf import VideoTrack
from transcode.encoder import HEADER_NALS
from transcode.events import AUDIO, EpochEnded, PipelineEvent, SegmentStored
from transcode.h264 import NalType, iter_nals, join_nals
from transcode.ladder import Rung
from transcode.limits import LiveLimits
from transcode.rung import EncodedRung, FrameTask, TrackOutput
from transcode.segmenter import AudioSegmenter, VideoSegmenter
from transcode.store import EpochFolder
from transcode.timeline import LONGEST_SEGMENT_S, SEGMENT_S, FrameSchedule, KeyframeSchedule, Mapping

__all__ = ["Epoch", "EpochPlan", "GopTooLong", "Passthrough", "Stage", "StageFactory"]

# Audio this far behind the video is taken for missing and becomes silence, up to the second value behind.
_AUDIO_MISSING = TIMESCALE_HZ
_AUDIO_FILLED_TO = TIMESCALE_HZ // 2
# Audio this far ahead of the video cannot be placed in a segment any more; publishers interleave within fractions of a second.
_AUDIO_AHEAD = 10 * TIMESCALE_HZ


class GopTooLong(Exception):  # a signal to begin an epoch without passthrough, no error
    """The source sends keyframes too rarely for its video to be passed through."""


class Stage(Protocol):
    """A thread that works off frames in order."""

    def put(self, item: FrameTask) -> None:
        """Hand over ``item``, waiting while the stage's queue is full; raises what the stage failed with."""

    def close(self) -> None:
        """Let the stage finish and wait for it; raises what it failed with."""


StageFactory = Callable[[str, EncodedRung], Stage]


@dataclass(frozen=True, slots=True)
class Passthrough:
    """How H.264 that is not re-encoded is packaged."""

    config: bytes
    length_size: int
    target_s: int | None
    """Target duration of the playlists so far; None when the first segment may choose it."""
    longest_s: int = LONGEST_SEGMENT_S
    """How long the first segment may become until its end is no longer waited for."""


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """Everything that is fixed for an epoch."""

    number: int
    rungs: tuple[Rung, ...]
    """Largest first; empty for audio alone."""
    passthrough: Passthrough | None
    frame_rate: float
    """Pictures a second; an estimate where the source does not say."""
    sample_aspect: Fraction
    audio: AudioFormat | None
    has_audio: bool
    """Whether there is an audio rendition; without a format it is silent."""
    mapping: Mapping
    still: bool = False
    """Whether the pictures are one that is held, because the source sends none."""


class Epoch:
    """Runs a plan until `finish`.

    Not thread-safe: one thread feeds it. It starts one stage per encoded rung. Methods raise SalamError subclasses when a codec,
    the disk or a bound refuses.
    """

    def __init__(
        self,
        plan: EpochPlan,
        folder: EpochFolder,
        post: Callable[[PipelineEvent], None],
        start_stage: StageFactory,
        limits: LiveLimits,
    ) -> None:
        self.plan = plan
        self.shed_frames = 0
        self._post_event = post
        self._discarded = False
        start = plan.mapping.output_pts
        self._start = start
        self._frames = FrameSchedule(start)
        self._keyframes = KeyframeSchedule(start, copied.target_s, copied.longest_s) if (copied := plan.passthrough) else None
        self._marks: deque[int] = deque()
        self._previous: VideoFrame | None = None
        self._last_pts = start - 1
        self._video_pts = start
        self._frame_ticks = round(TIMESCALE_HZ / plan.frame_rate)
        self._count = 0

        self._copy: VideoSegmenter | None = None
        self._copy_output: TrackOutput | None = None
        self._stages: list[Stage] = []
        self._workers: list[EncodedRung] = []
        self._start_rungs(folder, start_stage, limits)

        self._audio_output = TrackOutput(plan.number, AUDIO, folder, self._post)
        self._chain = open_audio(plan.audio, start) if plan.has_audio else None
        if self._chain is not None:
            self._audio_output.header(self._chain.track)
            self._segmenter = AudioSegmenter(self._chain.track.sample_rate_hz, FRAME_SAMPLES)
            self._audio_pts = start
        # Audio alone is cut by the clock.
        self._next_audio_cut = start + SEGMENT_S * TIMESCALE_HZ

    def _start_rungs(self, folder: EpochFolder, start_stage: StageFactory, limits: LiveLimits) -> None:
        plan = self.plan
        forward = None
        for rung in reversed(plan.rungs):
            output = TrackOutput(plan.number, rung.name, folder, self._post)
            if rung.passthrough and plan.passthrough is not None:
                self._copy, self._copy_output = VideoSegmenter(limits.segment_bytes), output
                output.header(VideoTrack(plan.passthrough.config, rung.width, rung.height, plan.sample_aspect))
                continue
            worker = EncodedRung(
                rung,
                output,
                frame_rate=plan.frame_rate,
                sample_aspect=plan.sample_aspect,
                max_segment_bytes=limits.segment_bytes,
                target_s=self._target_s,
                forward=forward,
            )
            stage = start_stage(rung.name, worker)
            forward = stage.put
            self._stages.insert(0, stage)
            self._workers.insert(0, worker)

    @property
    def wants_frames(self) -> bool:
        """Whether any rung is encoded, so that the source has to be decoded."""
        return bool(self._stages)

    @property
    def target_s(self) -> int | None:
        """The target duration of the playlists, once it is chosen."""
        return SEGMENT_S if self._keyframes is None else self._keyframes.target_s

    def packet(self, unit: AccessUnit) -> None:
        """Take the next coded picture of the source, before its decoded form; raises GopTooLong when it cannot be passed
        through."""
        if self._copy is None or self._keyframes is None or self._copy_output is None or self.plan.passthrough is None:
            return
        pts, dts = self.plan.mapping(unit.pts), self.plan.mapping(unit.dts)
        nals = [nal for nal in iter_nals(unit.data, self.plan.passthrough.length_size) if nal[0] & 0x1F not in HEADER_NALS]
        idr = any(nal[0] & 0x1F == NalType.IDR for nal in nals)
        begins = self._keyframes.begins_segment(pts, idr=idr)
        if not begins and self._keyframes.overdue(pts):
            raise GopTooLong
        if begins:
            self._marks.append(pts)
            self._cut_audio(pts)
        finished = self._copy.add(pts=pts, dts=dts, data=join_nals(nals), sync=idr, begins_segment=begins)
        if finished is not None:
            self._copy_output.segment(finished, self._target_s(finished.duration_s))
        self._progress(dts)

    def frame(self, frame: VideoFrame, keep_every: int | None) -> None:
        """Take the next decoded picture, in presentation order.

        ``keep_every`` gives up all but one of so many pictures, None all but those that begin a segment.
        """
        if frame.pts is not None and self._stages:
            self._take(frame, self.plan.mapping(frame.pts), keep_every)

    def hold(self, frame: VideoFrame, source_pts: int) -> None:
        """Show ``frame`` again, now that the source is at ``source_pts``; more often than the plan's frame rate has no effect."""
        pts = self.plan.mapping(source_pts)
        if pts - self._last_pts >= TIMESCALE_HZ / self.plan.frame_rate or self._previous is None:
            self._take(frame, pts, 1)

    def _take(self, frame: VideoFrame, pts: int, keep_every: int | None) -> None:
        # Pictures that the decoder held back from before this epoch, or that go back in time, have no place.
        if pts <= self._last_pts or pts < self._start:
            return
        for at, boundary in self._steps(pts):
            self._count += 1
            repeated = at != pts and self._previous is not None
            picture = self._previous if repeated and self._previous is not None else frame
            if boundary or (keep_every is not None and self._count % keep_every == 0):
                self._stages[0].put(FrameTask(picture, at, boundary))
            else:
                self.shed_frames += 1
        self._frame_ticks = min(pts - self._last_pts, TIMESCALE_HZ)
        self._last_pts, self._previous = pts, frame
        if self._copy is None:
            self._progress(pts)

    def _steps(self, pts: int) -> list[tuple[int, bool]]:
        if self._copy is None:
            steps = self._frames.plan(pts)
            for at, boundary in steps:
                if boundary:
                    self._cut_audio(at)
            return steps
        steps = []
        # A keyframe that could not be decoded still begins a segment in the rendition that is passed through.
        while self._marks and self._marks[0] < pts:
            steps.append((self._marks.popleft(), True))
        boundary = bool(self._marks) and self._marks[0] == pts
        if boundary:
            self._marks.popleft()
        return [*steps, (pts, boundary)]

    def audio(self, unit: AccessUnit) -> None:
        """Take the next audio unit."""
        if self._chain is None:
            return
        pts = self.plan.mapping(unit.pts)
        if self.plan.rungs and pts > self._video_pts + _AUDIO_AHEAD:
            return
        self._add_audio(self._chain.push(unit.data, pts))
        if not self.plan.rungs:
            while self._audio_pts >= self._next_audio_cut:
                self._cut_audio(self._next_audio_cut)
                self._next_audio_cut += SEGMENT_S * TIMESCALE_HZ
            self._store_audio(self._audio_pts)

    def finish(self, *, discard: bool = False) -> int:
        """End all tracks together, wait for the stages, and return where the epoch ends on the output timeline.

        With ``discard`` the segments that are still open are not reported.
        """
        self._discarded = discard
        if self._copy is not None:
            end = self._copy.end_pts
        elif self.plan.rungs:
            end = self._last_pts + self._frame_ticks
        else:
            end = max(self._audio_pts, self._start)
        try:
            if self._copy is not None and self._copy_output is not None:
                last = self._copy.finish(end)
                if last is not None:
                    self._copy_output.segment(last, self._target_s(last.duration_s))
            self._finish_audio(end)
        finally:
            self._close_stages(end)
        self._post(EpochEnded(self.plan.number))
        return end

    def _close_stages(self, end: int) -> None:
        failure: Exception | None = None
        for worker, stage in zip(self._workers, self._stages, strict=True):
            worker.end_pts = end
            try:
                stage.close()
            except Exception as error:  # every stage must be waited for, whatever the first one died of
                failure = failure or error
        if failure is not None:
            raise failure

    def _finish_audio(self, end: int) -> None:
        if self._chain is None:
            return
        # Every segment needs audio, the last one too: players wait for a rendition that ends early.
        self._add_audio(self._chain.fill(end))
        self._add_audio(self._chain.flush())
        self._store_audio(end)
        last = self._segmenter.finish()
        if last is not None:
            self._audio_output.segment(last, self._target_s(last.duration_s))

    def _post(self, event: PipelineEvent) -> None:
        if not (self._discarded and isinstance(event, SegmentStored)):
            self._post_event(event)

    def _target_s(self, duration_s: float) -> int:
        """Return the target duration; a stream that ends in its first segment takes that one's length."""
        return self.target_s or max(SEGMENT_S, int(duration_s + 0.5))

    def _cut_audio(self, pts: int) -> None:
        if self._chain is not None:
            self._segmenter.cut_at(pts)

    def _add_audio(self, frames: list[AacFrame]) -> None:
        for position, data in frames:
            self._segmenter.add(position, data)
        if frames and self._chain is not None:
            self._audio_pts = (frames[-1][0] + FRAME_SAMPLES) * TIMESCALE_HZ // self._chain.track.sample_rate_hz

    def _progress(self, pts: int) -> None:
        """All boundaries before ``pts`` are known now."""
        self._video_pts = pts
        if self._chain is None:
            return
        if pts - self._audio_pts > _AUDIO_MISSING:
            self._add_audio(self._chain.fill(pts - _AUDIO_FILLED_TO))
        self._store_audio(pts)

    def _store_audio(self, pts: int) -> None:
        for segment in self._segmenter.advance(pts):
            self._audio_output.segment(segment, self._target_s(segment.duration_s))
