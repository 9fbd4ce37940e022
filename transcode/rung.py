"""One encoded rung: scales, passes the scaled picture on to the next smaller rung, encodes, and stores segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from av.video.frame import VideoFrame

from ingest.access_unit import TIMESCALE_HZ
from transcode.cmaf import AudioTrack, VideoTrack, init_segment
from transcode.encoder import Picture, Scaler, VideoEncoder
from transcode.events import PipelineEvent, SegmentStored, TrackReady
from transcode.h264 import codecs_string
from transcode.ladder import Rung
from transcode.segmenter import Segment, VideoSegmenter
from transcode.store import EpochFolder, init_name, segment_name

__all__ = ["EncodedRung", "FrameTask", "TrackOutput"]

# AAC-LC by its object type (RFC 6381 section 3.3, ISO/IEC 14496-3).
_AAC_LC_CODECS = "mp4a.40.2"
# Of two pictures at twice the wanted rate the second is dropped, also when millisecond timestamps bring it a little late.
_HALVING_TOLERANCE = 0.75


@dataclass(frozen=True, slots=True)
class FrameTask:
    """A picture to encode at ``pts`` on the output timeline; a boundary begins a segment and is never dropped."""

    frame: VideoFrame
    pts: int
    boundary: bool


class TrackOutput:
    """Stores the header and the segments of one rendition of one epoch, and reports each."""

    def __init__(self, epoch: int, rendition: str, folder: EpochFolder, post: Callable[[PipelineEvent], None]) -> None:
        self._epoch = epoch
        self._rendition = rendition
        self._folder = folder
        self._post = post

    def header(self, track: VideoTrack | AudioTrack) -> None:
        """Store the initialisation segment; raises ResourceError."""
        self._folder.write(init_name(self._rendition), init_segment(track))
        codecs = codecs_string(track.config) if isinstance(track, VideoTrack) else _AAC_LC_CODECS
        self._post(TrackReady(self._epoch, self._rendition, codecs))

    def segment(self, segment: Segment, target_s: int) -> None:
        """Store a media segment; raises ResourceError."""
        self._folder.write(segment_name(self._rendition, segment.index), segment.data)
        self._post(
            SegmentStored(
                self._epoch,
                self._rendition,
                segment.index,
                segment.start_pts,
                segment.duration_s,
                segment.samples,
                len(segment.data),
                target_s,
            )
        )


class EncodedRung:
    """The work of one rung, run by a thread of its own.

    ``forward`` takes each scaled picture for the next smaller rung. ``target_s`` tells the target duration when a segment ends.
    """

    def __init__(
        self,
        rung: Rung,
        output: TrackOutput,
        *,
        frame_rate: float,
        sample_aspect: Fraction,
        max_segment_bytes: int,
        target_s: Callable[[float], int],
        forward: Callable[[FrameTask], None] | None,
    ) -> None:
        self._rung = rung
        self._output = output
        self._frame_rate = frame_rate
        self._sample_aspect = sample_aspect
        self._target_s = target_s
        self._forward = forward
        self._scaler = Scaler(rung.width, rung.height)
        self._segmenter = VideoSegmenter(max_segment_bytes)
        self._encoder: VideoEncoder | None = None
        self._spacing = 0.0
        if rung.halve_frame_rate:
            self._spacing = 2 * TIMESCALE_HZ / frame_rate * _HALVING_TOLERANCE
        self._last_pts = 0
        self.end_pts = 0
        """Where the epoch ends; set before `end`."""

    def handle(self, task: FrameTask) -> None:
        """Encode one picture. Raises ResourceError when x264 or the disk refuses, LimitError when a segment grows too large."""
        if not task.boundary and task.pts - self._last_pts < self._spacing:
            return
        self._last_pts = task.pts
        scaled = self._scaler.scale(task.frame)
        if self._forward is not None:
            self._forward(FrameTask(scaled, task.pts, task.boundary))
        if self._encoder is None:
            # Here and not earlier, so that the encoders of all rungs open at the same time.
            self._encoder = VideoEncoder(self._rung, frame_rate=self._frame_rate, sample_aspect=self._sample_aspect)
            self._output.header(VideoTrack(self._encoder.config, self._rung.width, self._rung.height, self._sample_aspect))
        self._store(self._encoder.encode(scaled, task.pts, keyframe=task.boundary))

    def end(self) -> None:
        """Store what is left."""
        if self._encoder is not None:
            self._store(self._encoder.flush())
        last = self._segmenter.finish(self.end_pts)
        if last is not None:
            self._output.segment(last, self._target_s(last.duration_s))

    def _store(self, pictures: list[Picture]) -> None:
        for picture in pictures:
            finished = self._segmenter.add(
                pts=picture.pts, dts=picture.pts, data=picture.data, sync=picture.sync, begins_segment=picture.sync
            )
            if finished is not None:
                self._output.segment(finished, self._target_s(finished.duration_s))
