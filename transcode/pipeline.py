"""One publication from access units to stored segments: gathering tracks, planning epochs, decoding.

Runs in the publication's own thread and starts the stages of its epochs through a factory; it has no threads or clocks itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from av.video.frame import VideoFrame

from ingest.access_unit import TIMESCALE_HZ, AccessUnit, StreamInfo, VideoFormat
from salam.errors import ProtocolError, SalamError
from transcode.encoder import VideoDecoder
from transcode.epoch import Epoch, EpochPlan, GopTooLong, Passthrough, StageFactory
from transcode.events import EpochStarted, PipelineEvent
from transcode.h264 import (
    BitstreamError,
    NalType,
    SpsInfo,
    build_avc_config,
    iter_nals,
    parse_avc_config,
    parse_sps,
    stated_keyframe_interval,
)
from transcode.ladder import plan_ladder
from transcode.limits import LiveLimits
from transcode.rates import snap_rate
from transcode.store import EpochFolder
from transcode.timeline import LONGEST_SEGMENT_S, SEGMENT_S, START_PTS, Mapping

__all__ = ["Pipeline", "PipelineStart"]

# A jump of the source's clock that no picture can be held for; publishers that lose their uplink come back with one.
_JUMP = 3 * TIMESCALE_HZ
# A publisher that sends video without any keyframe for this long is served as audio.
_NO_KEYFRAME = 10 * TIMESCALE_HZ
# Profiles that every browser decodes: Constrained Baseline and Baseline, Main, High.
_PASSED_PROFILES = frozenset({66, 77, 100})
# What is assumed where neither the source nor its first pictures tell.
_NOMINAL_FPS = 30.0
# As many pictures tell the frame rate of a source that does not announce it: a sixth of a second at 60 fps.
_RATE_PICTURES = 10
# Audio units that may come before a missing picture is noticed: 1.5 s of Opus at 2.5 ms.
_RECENT_AUDIO = 600
# How long audio goes on without a picture before the last one is held; publishers interleave within fractions of a second.
_VIDEO_GONE = 3 * TIMESCALE_HZ // 2
# A held picture is repeated at this rate: enough for players to see that time goes on, nearly free to encode.
_STILL_FPS = 2
# Two tenths of a second of pictures with millisecond timestamps are within this share of the true rate.
_SNAP = 0.03
# The largest picture of H.264 level 5.2, 4096x2304: a larger one could make one publisher take all memory.
_MAX_PIXELS = 36_864 * 256
# Units to gather at most, whatever their timestamps say; ten times what the longest wait collects.
_MAX_GATHERED = 8192
# An epoch costs as much as a second of pictures. A source whose clock or format changes this often in a row, with less than a
# second between, cannot be watched and would only take the machine from the others.
_MAX_SHORT_EPOCHS = 30


@dataclass(frozen=True, slots=True)
class PipelineStart:
    """What a publication continues."""

    life: str
    """Prefix of all epoch folders, never used twice."""
    epoch: int = 0
    pts: int = START_PTS
    target_s: int | None = None
    had_audio: bool = False
    size: tuple[int, int] | None = None
    """Of the source's last picture; None while there never was one."""


class Pipeline:
    """Works off one publication.

    ``open_folder`` makes the folder of an epoch; ``post`` reports; ``wall_offset_s`` turns monotonic arrival times into Unix time.
    Methods raise SalamError subclasses when a codec, the disk or a bound refuses; the publication cannot go on then.
    """

    def __init__(
        self,
        start: PipelineStart,
        *,
        limits: LiveLimits,
        open_folder: Callable[[str], EpochFolder],
        post: Callable[[PipelineEvent], None],
        start_stage: StageFactory,
        wall_offset_s: float,
    ) -> None:
        self.next_pts = start.pts
        self.next_epoch = start.epoch
        self.shed_frames = 0
        self._life = start.life
        self._target_s = start.target_s
        self._had_audio = start.had_audio
        self.size = start.size
        self._still: VideoFrame | None = None
        self._recent_audio: deque[AccessUnit] = deque(maxlen=_RECENT_AUDIO)
        self._limits = limits
        self._open_folder = open_folder
        self._post = post
        self._start_stage = start_stage
        self._wall_offset_s = wall_offset_s
        self._info: StreamInfo | None = None
        self._video: VideoFormat | None = None
        self._rate = _NOMINAL_FPS
        self._gathered: list[AccessUnit] = []
        self._epoch: Epoch | None = None
        self._decoder: VideoDecoder | None = None
        self._undecoded: list[AccessUnit] = []
        self._last_dts = 0
        self._short_epochs = 0
        self._passthrough_allowed = True
        # Everything since the beginning of an epoch whose first segment is still open, while it may have to begin anew.
        self._opening: list[AccessUnit] | None = None

    def on_info(self, info: StreamInfo) -> None:
        """Take the tracks; when they change, the running epoch ends."""
        if self._info is not None and (info.video, info.audio) == (self._info.video, self._info.audio):
            return
        self._end_epoch()
        self._info = info
        self._use_video(info.video)

    def on_unit(self, unit: AccessUnit, lag_s: float) -> None:
        """Take the next access unit, ``lag_s`` of media time behind the newest."""
        if self._info is None:
            return
        if unit.kind == "video" and unit.keyframe:
            self._follow_parameter_sets(unit)
        if self._epoch is not None and self._breaks(unit):
            self._end_epoch()
        if self._epoch is None:
            before = next((one for one in reversed(self._gathered) if one.kind == unit.kind), unit)
            if abs(unit.dts - before.dts) > _JUMP:
                # What was gathered belongs to another clock, and is no loss yet.
                self._gathered.clear()
            self._gathered.append(unit)
            if not self._gathered_enough():
                return
            units, self._gathered = self._begin_epoch(self._gathered), []
        else:
            units = [unit]
        for one in units:
            self._feed(one, lag_s)

    def on_gap(self) -> None:
        """Units were dropped before this point."""
        self._end_epoch()

    def finish(self) -> None:
        """The publication is over: store everything that is left."""
        if self._epoch is None and any(self._joinable(unit) for unit in self._gathered):
            units, self._gathered = self._begin_epoch(self._gathered), []
            for one in units:
                self._feed(one, 0.0)
        self._end_epoch()

    def abandon(self) -> None:
        """Stop everything after a failure; never raises SalamError."""
        try:
            self._end_epoch(discard=True)
        except SalamError:
            # The failure that led here is the one to report.
            return

    # ------------------------------------------------------------------------------------------- the source's tracks

    def _use_video(self, video: VideoFormat | None) -> None:
        self._video = video
        self._rate = _NOMINAL_FPS
        self._decoder = None
        if video is not None and video.codec == "h264":
            # Refuse a bad record here, before anything is built on it.
            parse_avc_config(video.config)

    def _follow_parameter_sets(self, unit: AccessUnit) -> None:
        """Notice parameter sets that a source changes inside its stream without announcing it."""
        if self._video is None or self._video.codec != "h264":
            return
        config = parse_avc_config(self._video.config)
        try:
            nals = list(iter_nals(unit.data, config.length_size))
            sps = [nal for nal in nals if nal[0] & 0x1F == NalType.SPS]
            pps = [nal for nal in nals if nal[0] & 0x1F == NalType.PPS]
            if not sps or not pps or (set(sps) <= set(config.sps) and set(pps) <= set(config.pps)):
                return
            record = build_avc_config(sps, pps)
        except BitstreamError:
            return
        if config.length_size != 4:
            record = record[:4] + bytes([0xFC | (config.length_size - 1)]) + record[5:]
        self._end_epoch()
        self._use_video(VideoFormat("h264", record))

    def _joinable(self, unit: AccessUnit) -> bool:
        """Whether an epoch can begin with ``unit``."""
        return unit.kind == "audio" or (unit.keyframe and self._video is not None)

    def _breaks(self, unit: AccessUnit) -> bool:
        """Whether ``unit`` cannot belong to the running epoch."""
        assert self._epoch is not None
        with_video = bool(self._epoch.plan.rungs)
        if unit.kind == "video" and (not with_video or self._epoch.plan.still):
            return unit.keyframe and self._video is not None
        if self._epoch.plan.still:
            with_video = False
        if (unit.kind == "video") != with_video:
            return False
        jump = unit.dts - self._last_dts
        return jump > _JUMP or jump < -_JUMP

    def _gathered_enough(self) -> bool:
        assert self._info is not None
        first = next((unit for unit in self._gathered if unit.kind == "video" and self._joinable(unit)), None)
        wait = round(self._limits.gather_s * TIMESCALE_HZ)
        newest = self._gathered[-1].dts
        if len(self._gathered) >= _MAX_GATHERED:
            if any(self._joinable(unit) for unit in self._gathered):
                return True
            self._gathered.clear()
            return False
        if first is not None:
            if self._info.audio is None or self._announced_rate() is None and self._count_video() < _RATE_PICTURES:
                return newest - first.dts >= wait
            return True
        audio = [unit for unit in self._gathered if unit.kind == "audio"]
        if not audio or self._info.audio is None:
            # Pictures before the first keyframe can never be shown.
            self._gathered.clear()
            return False
        if self._video is not None and any(unit.kind == "video" for unit in self._gathered):
            wait = _NO_KEYFRAME
        return newest - audio[0].dts >= wait

    def _count_video(self) -> int:
        return sum(unit.kind == "video" for unit in self._gathered)

    # ------------------------------------------------------------------------------------------- epochs

    def _begin_epoch(self, units: list[AccessUnit]) -> list[AccessUnit]:
        """Begin an epoch at the first keyframe, or with audio alone, and return the units that belong to it."""
        first = next((index for index, unit in enumerate(units) if unit.kind == "video" and self._joinable(unit)), None)
        if first is None:
            units = [unit for unit in units if unit.kind == "audio"]
            if self.size is None:
                self._start_epoch(units[0], self._plan(units[0]))
            else:
                # Players that were promised pictures stall without any.
                self._start_epoch(units[0], self._plan_still(self._plan(units[0]), self.size))
            return units
        start = units[first]
        # Audio that was interleaved a little before the keyframe may still present after it.
        units = [unit for index, unit in enumerate(units) if unit.kind == "audio" or index >= first]
        self._start_epoch(start, self._plan_video(self._plan(start), [unit for unit in units if unit.kind == "video"]))
        return units

    def _plan(self, start: AccessUnit) -> EpochPlan:
        """Return the plan of an epoch without video that begins with ``start``."""
        assert self._info is not None
        has_audio = self._info.audio is not None or self._had_audio
        number, self.next_epoch = self.next_epoch, self.next_epoch + 1
        mapping = Mapping(start.pts, self.next_pts)
        return EpochPlan(number, (), None, _NOMINAL_FPS, Fraction(1), self._info.audio, has_audio, mapping)

    def _start_epoch(self, start: AccessUnit, plan: EpochPlan) -> None:
        folder = f"{self._life}-{plan.number}"
        rate = 0.0 if plan.still else float(self._announced_rate() or 0)
        wall_s = start.received_s + self._wall_offset_s
        self._post(EpochStarted(plan.number, folder, plan.rungs, plan.has_audio, self.next_pts, wall_s, rate))
        self._had_audio = plan.has_audio
        self._last_dts = start.dts
        self._recent_audio.clear()
        self._opening = [] if plan.passthrough is not None and plan.passthrough.target_s is None else None
        self._epoch = Epoch(plan, self._open_folder(folder), self._post, self._start_stage, self._limits)

    def _plan_video(self, plan: EpochPlan, units: list[AccessUnit]) -> EpochPlan:
        video = self._video
        assert video is not None
        # A later epoch of the same source may begin with one picture only, which tells nothing.
        self._rate = rate = float(self._announced_rate() or _measured_rate(units) or self._rate)
        passthrough, sps = self._passthrough(video, units[0])
        if sps is not None:
            width, height, aspect = sps.width, sps.height, sps.sample_aspect
        else:
            width, height, aspect = self._decoded_size(video, units[0])
        if width * height > _MAX_PIXELS:
            raise ProtocolError(f"pictures of {width}x{height} are larger than 4096x2304", code="picture_too_large")
        self.size = (width, height)
        rungs = plan_ladder(width, height, rate, passthrough=passthrough is not None)
        return replace(plan, rungs=rungs, passthrough=passthrough, frame_rate=rate, sample_aspect=aspect)

    @staticmethod
    def _plan_still(plan: EpochPlan, size: tuple[int, int]) -> EpochPlan:
        rungs = plan_ladder(*size, _STILL_FPS, passthrough=False)
        return replace(plan, rungs=rungs, frame_rate=_STILL_FPS, still=True)

    def _announced_rate(self) -> Fraction | None:
        video = self._video
        if video is None or video.frame_rate is not None or video.codec != "h264":
            return None if video is None else video.frame_rate
        return parse_sps(parse_avc_config(video.config).sps[0]).frame_rate

    def _passthrough(self, video: VideoFormat, first: AccessUnit) -> tuple[Passthrough | None, SpsInfo | None]:
        if video.codec != "h264":
            return None, None
        config = parse_avc_config(video.config)
        sps = parse_sps(config.sps[0])
        nals = list(iter_nals(first.data, config.length_size))
        idr = any(nal[0] & 0x1F == NalType.IDR for nal in nals)
        plain = sps.profile in _PASSED_PROFILES and sps.chroma_format == 1 and sps.bit_depth == 8 and not sps.interlaced
        if not (self._passthrough_allowed and plain and idr and len(config.sps) == 1):
            return None, sps
        record = build_avc_config(list(config.sps), list(config.pps))
        # An encoder that is set to keyframes every 250 pictures, as OBS is by default, may still be made to send more: it gets
        # the time of an ordinary segment to show it, and viewers need not wait for longer.
        rare = (stated_keyframe_interval(nals) or 0) > LONGEST_SEGMENT_S * self._rate
        return Passthrough(record, config.length_size, self._target_s, SEGMENT_S if rare else LONGEST_SEGMENT_S), sps

    @staticmethod
    def _decoded_size(video: VideoFormat, first: AccessUnit) -> tuple[int, int, Fraction]:
        """Decode one keyframe to learn what the configuration record does not tell; raises ProtocolError when it is damaged."""
        probe = VideoDecoder(video)
        frames = [*probe.decode(first.data, first.pts, first.dts), *probe.flush()]
        if frames:
            return frames[0].width, frames[0].height, Fraction(1)
        if video.width and video.height:
            return video.width, video.height, Fraction(1)
        raise ProtocolError("the first picture of the stream cannot be decoded", code="bad_bitstream")

    def _feed(self, unit: AccessUnit, lag_s: float) -> None:
        assert self._epoch is not None
        if self._opening is not None:
            self._opening.append(unit)
            if self._epoch.target_s is not None or len(self._opening) > _MAX_GATHERED:
                self._opening = None
        if unit.kind == "audio":
            self._feed_audio(unit)
        elif self._epoch.plan.rungs and not self._epoch.plan.still:
            self._feed_video(self._epoch, unit, lag_s)

    def _feed_audio(self, unit: AccessUnit) -> None:
        epoch = self._epoch
        assert epoch is not None
        if epoch.plan.rungs and not epoch.plan.still:
            self._recent_audio.append(unit)
            if unit.dts - self._last_dts > _VIDEO_GONE:
                self._hold_last_picture()
                return
        else:
            self._last_dts = unit.dts
        if epoch.plan.still:
            assert self.size is not None
            epoch.hold(self._still or _black(self.size), unit.pts)
        epoch.audio(unit)

    def _hold_last_picture(self) -> None:
        """Audio goes on without video: begin an epoch that shows the last picture, with the audio that came since then."""
        assert self.size is not None
        units = [unit for unit in self._recent_audio if unit.dts > self._last_dts]
        self._end_epoch()
        self._start_epoch(units[0], self._plan_still(self._plan(units[0]), self.size))
        for unit in units:
            self._feed_audio(unit)

    def _feed_video(self, epoch: Epoch, unit: AccessUnit, lag_s: float) -> None:
        self._last_dts = unit.dts
        self._recent_audio.clear()
        try:
            epoch.packet(unit)
        except GopTooLong:
            opening, self._opening = self._opening, None
            if opening is not None:
                self._begin_anew(opening, lag_s)
                return
            epoch = self._give_up_passthrough(unit)
        except BitstreamError:
            # A damaged unit is left out of the rendition that is passed through; the decoder copes with it by itself.
            pass
        if self._video is None:
            return
        if not epoch.wants_frames:
            # Kept so that decoding can begin in the middle of a GOP; a GOP that is longer than a segment may be ends this state.
            if unit.keyframe:
                self._undecoded.clear()
            self._undecoded.append(unit)
            return
        if self._decoder is None:
            self._decoder = VideoDecoder(self._video)
            for earlier in self._undecoded:
                self._decoder.decode(earlier.data, earlier.pts, earlier.dts)
            self._undecoded = []
        keep_every = self._keep_every(lag_s)
        for frame in self._decoder.decode(unit.data, unit.pts, unit.dts):
            self._still = frame
            epoch.frame(frame, keep_every)

    def _begin_anew(self, opening: list[AccessUnit], lag_s: float) -> None:
        """Encode every rung from the start, because the first segment to be passed through does not end.

        It was not listed: its length would set the playlists' target duration, and so the delay, for good.
        """
        self._passthrough_allowed = False
        start = self.next_pts
        self._end_epoch(discard=True)
        self.next_pts = start
        for one in self._begin_epoch(opening):
            self._feed(one, lag_s)

    def _give_up_passthrough(self, unit: AccessUnit) -> Epoch:
        """Begin an epoch that encodes every rung, in the middle of a GOP: the decoder goes on where it is."""
        self._passthrough_allowed = False
        assert self._epoch is not None
        undecoded = self._undecoded
        self._end_epoch(flush=False, discard=self._epoch.target_s is None)
        self._undecoded = undecoded
        self._start_epoch(unit, self._plan_video(self._plan(unit), [unit]))
        assert self._epoch is not None
        return self._epoch

    def _keep_every(self, lag_s: float) -> int | None:
        step = self._limits.shed_after_s
        return 1 if lag_s < step else 2 if lag_s < 2 * step else 4 if lag_s < 3 * step else None

    def _end_epoch(self, *, flush: bool = True, discard: bool = False) -> None:
        epoch, self._epoch = self._epoch, None
        self._opening = None
        self._undecoded = []
        if flush:
            decoder, self._decoder = self._decoder, None
        if epoch is None:
            return
        if flush and decoder is not None and epoch.wants_frames:
            for frame in decoder.flush():
                epoch.frame(frame, 1)
        self.next_pts = epoch.finish(discard=discard)
        self._target_s = self._target_s or epoch.target_s
        self.shed_frames += epoch.shed_frames
        short = self.next_pts - epoch.plan.mapping.output_pts < TIMESCALE_HZ
        self._short_epochs = self._short_epochs + 1 if short else 0
        if self._short_epochs > _MAX_SHORT_EPOCHS:
            raise ProtocolError("the source's clock or format changes all the time", code="unstable_source")


def _measured_rate(units: list[AccessUnit]) -> float | None:
    """Return the frame rate that the first pictures suggest; None when there are too few to tell."""
    times = sorted(unit.pts for unit in units)
    steps = [after - before for before, after in pairwise(times) if after > before]
    return snap_rate(TIMESCALE_HZ * len(steps) / sum(steps), _SNAP) if len(steps) >= 3 else None


def _black(size: tuple[int, int]) -> VideoFrame:
    frame = VideoFrame(size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p")
    for plane, level in zip(frame.planes, (16, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    return frame
