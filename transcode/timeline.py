"""When segments begin. One schedule rules all renditions of an epoch, so that their boundaries agree to the tick.

An epoch is a run of the stream with one set of encoders and headers; a new one begins with a discontinuity. All times here are in
ticks of 1/90000 s on the output timeline.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest.access_unit import TIMESCALE_HZ

__all__ = ["LONGEST_SEGMENT_S", "SEGMENT_S", "START_PTS", "FrameSchedule", "KeyframeSchedule", "Mapping", "segment_limit"]

START_PTS = 10 * TIMESCALE_HZ
"""Where a stream's timeline begins: above zero, so that pictures that decode before they show, and audio priming, need no edit
list, which players treat differently."""

SEGMENT_S = 2
"""Target duration of a segment. Players stay three of them behind the edge, so it rules the delay; much shorter ones cost bits for
keyframes and requests, and 2 s is also the keyframe interval that streaming services ask publishers for."""

LONGEST_SEGMENT_S = 4
"""The longest keyframe interval that is passed through; the delay it costs every viewer is no longer worth the saved encode."""

# EXTINF, rounded to an integer, must not exceed the target duration (RFC 8216 section 4.3.3.1): just below half a second of slack.
_SLACK = int(0.49 * TIMESCALE_HZ)
# A boundary this far after its time is still taken as it comes; later ones get a repeated picture.
_LATE = int(0.4 * TIMESCALE_HZ)
# Keyframes this much before the target count as on time: a tenth of a second covers the jitter of millisecond timestamps.
_EARLY = TIMESCALE_HZ // 10


def segment_limit(target_s: int) -> int:
    """Return the longest segment, in ticks, that a playlist with target duration ``target_s`` may list."""
    return target_s * TIMESCALE_HZ + _SLACK


@dataclass(frozen=True, slots=True)
class Mapping:
    """From a publication's timestamps to the output timeline."""

    source_pts: int
    output_pts: int

    def __call__(self, ticks: int) -> int:
        """Return where the source timestamp ``ticks`` lies on the output timeline."""
        return ticks - self.source_pts + self.output_pts


class FrameSchedule:
    """Boundaries for a source that is encoded in every rendition: every 2 s, at whichever picture comes then.

    Pictures must come in presentation order. A hole in the source longer than 0.4 s past a boundary is bridged by repeating the
    last picture there, so that no segment grows too long.
    """

    target_s = SEGMENT_S

    def __init__(self, start_pts: int) -> None:
        self._segment_start = start_pts
        self._last = start_pts - 1
        self._first = True

    def plan(self, pts: int) -> list[tuple[int, bool]]:
        """Return the pictures to encode now that one with ``pts`` has come, as (pts, begins a segment).

        The last entry is the picture itself, unless it is not newer than the one before; entries before it repeat its predecessor.
        """
        if pts <= self._last:
            return []
        if self._first:
            self._first = False
            self._segment_start = self._last = pts
            return [(pts, True)]
        steps: list[tuple[int, bool]] = []
        length = SEGMENT_S * TIMESCALE_HZ
        while pts - self._segment_start > length + _LATE:
            self._segment_start += length
            steps.append((self._segment_start, True))
        # Half a picture early is nearer to the target than half a picture late.
        tolerance = min((pts - self._last) // 2, _EARLY)
        boundary = pts - self._segment_start >= length - tolerance
        if boundary:
            self._segment_start = pts
        self._last = pts
        steps.append((pts, boundary))
        return steps


class KeyframeSchedule:
    """Boundaries for a source that is passed through: at its own IDR pictures.

    ``target_s`` is the target duration that the playlists have already, or None when the first segment may still choose it (2 to 4
    s). ``longest_s`` bounds what it waits for meanwhile.
    """

    def __init__(self, start_pts: int, target_s: int | None, longest_s: int = LONGEST_SEGMENT_S) -> None:
        self.target_s = target_s
        self._longest_s = longest_s
        self._segment_start = start_pts
        self._last_idr = start_pts
        self._first = True

    def begins_segment(self, pts: int, *, idr: bool) -> bool:
        """Return whether the picture with ``pts``, next in decoding order, begins a segment."""
        if not idr:
            return False
        if self._first:
            self._first = False
            return True
        interval, self._last_idr = pts - self._last_idr, pts
        length = pts - self._segment_start
        target = SEGMENT_S if self.target_s is None else self.target_s
        if length < target * TIMESCALE_HZ - _EARLY and length + interval <= segment_limit(target):
            return False
        if self.target_s is None:
            # At least 2 s even when the first segment is short: the next ones will not be.
            self.target_s = min(max((length + TIMESCALE_HZ // 2) // TIMESCALE_HZ, SEGMENT_S), LONGEST_SEGMENT_S)
        self._segment_start = pts
        return True

    def overdue(self, pts: int) -> bool:
        """Return whether a picture with ``pts`` in the open segment would make it too long for the playlist."""
        return pts - self._segment_start > segment_limit(self._longest_s if self.target_s is None else self.target_s)
