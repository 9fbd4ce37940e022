"""From coded samples to media segments: one segmenter per track."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from ingest.access_unit import TIMESCALE_HZ
from salam.errors import LimitError
from transcode.cmaf import Sample, media_fragment, segment_type

__all__ = ["AudioSegmenter", "Segment", "VideoSegmenter"]

# Stands for the length of a picture whose successor is unknown: 30 fps, the most common rate.
_NOMINAL_PICTURE = TIMESCALE_HZ // 30
# What a sample costs in memory besides its data, so that a flood of empty pictures is bounded too.
_SAMPLE_OVERHEAD_BYTES = 256


@dataclass(frozen=True, slots=True)
class Segment:
    """One media segment of one track, ready to be stored."""

    index: int
    """Counts the segments of its epoch, the same in every rendition."""
    start_pts: int
    """Of its first presented sample, in 1/90000 s."""
    duration_s: float
    samples: int
    data: bytes


def _assemble(index: int, start_pts: int, duration_s: float, samples: list[Sample]) -> Segment:
    # One fragment per segment; the sequence number counts from 1 (ISO/IEC 14496-12 section 8.8.5).
    data = segment_type() + media_fragment(index + 1, samples)
    return Segment(index, start_pts, duration_s, len(samples), data)


class VideoSegmenter:
    """Cuts coded pictures into segments at the marked ones.

    ``max_bytes`` bounds one segment.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._samples: list[Sample] = []
        self._bytes = 0
        self._index = 0
        self._start_pts = 0
        self._end_pts = 0
        self._last_duration = _NOMINAL_PICTURE

    @property
    def end_pts(self) -> int:
        """Where the last picture ends, as far as is known."""
        return self._end_pts + self._last_duration

    def add(self, *, pts: int, dts: int, data: bytes, sync: bool, begins_segment: bool) -> Segment | None:
        """Take the next picture in decoding order; return the segment that it ends, if any.

        Raises LimitError when a segment grows past its bound.
        """
        if self._samples:
            last = self._samples[-1]
            # A decode time that stands still would make a sample of no length, which players drop.
            dts = max(dts, last.dts + 1)
            self._last_duration = dts - last.dts
            self._samples[-1] = replace(last, duration=self._last_duration)
        finished = self._finish(pts) if begins_segment and self._samples else None
        if not self._samples:
            self._start_pts = self._end_pts = pts
        self._bytes += len(data) + _SAMPLE_OVERHEAD_BYTES
        if self._bytes > self._max_bytes:
            raise LimitError(f"a segment grew past {self._max_bytes} bytes", code="segment_too_large")
        self._end_pts = max(self._end_pts, pts)
        self._samples.append(Sample(data, dts, self._last_duration, pts - dts, sync))
        return finished

    def finish(self, end_pts: int) -> Segment | None:
        """Return what is left as the last segment, which the epoch ends at ``end_pts``."""
        if not self._samples:
            return None
        last = self._samples[-1]
        if last.composition_offset == 0 and end_pts > last.dts:
            self._samples[-1] = replace(last, duration=end_pts - last.dts)
        return self._finish(max(end_pts, self._end_pts + 1))

    def _finish(self, end_pts: int) -> Segment:
        segment = _assemble(self._index, self._start_pts, (end_pts - self._start_pts) / TIMESCALE_HZ, self._samples)
        self._index += 1
        self._samples = []
        self._bytes = 0
        return segment


class AudioSegmenter:
    """Cuts audio frames where the video is cut.

    A frame belongs to the segment in which it starts. Frames wait until it is known that no boundary lies before their end of the
    timeline: the caller tells so by `advance`. Positions are in samples from the zero of the output timeline.
    """

    def __init__(self, sample_rate_hz: int, frame_samples: int) -> None:
        self._rate = sample_rate_hz
        self._frame_samples = frame_samples
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._boundaries: deque[int] = deque()
        self._samples: list[Sample] = []
        self._index = 0

    def position(self, pts: int) -> int:
        """Return the first sample position at or after ``pts`` (1/90000 s)."""
        return -(-pts * self._rate // TIMESCALE_HZ)

    def add(self, position: int, data: bytes) -> None:
        """Take the next frame; frames follow each other without a gap."""
        self._waiting.append((position, data))

    def cut_at(self, pts: int) -> None:
        """Begin a new segment at the first frame that starts at or after ``pts``."""
        self._boundaries.append(self.position(pts))

    def advance(self, pts: int) -> list[Segment]:
        """Sort in the frames that start before ``pts``, up to which all boundaries are known; return the segments that ended."""
        horizon = self.position(pts)
        finished = []
        while self._waiting and self._waiting[0][0] < horizon:
            position, data = self._waiting.popleft()
            while self._boundaries and position >= self._boundaries[0]:
                self._boundaries.popleft()
                if self._samples:
                    finished.append(self._finish())
            self._samples.append(Sample(data, position, self._frame_samples, 0, True))
        return finished

    def finish(self) -> Segment | None:
        """Return what was sorted in and not yet cut off as the last segment; frames that wait are dropped."""
        self._waiting.clear()
        return self._finish() if self._samples else None

    def _finish(self) -> Segment:
        start = self._samples[0].dts * TIMESCALE_HZ // self._rate
        duration_s = len(self._samples) * self._frame_samples / self._rate
        segment = _assemble(self._index, start, duration_s, self._samples)
        self._index += 1
        self._samples = []
        return segment
