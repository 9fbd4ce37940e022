"""From RTMP's 32-bit millisecond timestamps to decode timestamps that only grow.

An RTMP timestamp wraps after 49.7 days, and encoders start again at zero when a scene or a file changes. Neither may reach anybody
downstream.
"""

from __future__ import annotations

from typing import Literal

from ingest.access_unit import TIMESCALE_HZ

__all__ = ["TICKS_PER_MS", "Timeline"]

TICKS_PER_MS = TIMESCALE_HZ // 1000

_WRAP_MS = 1 << 32
# Tracks are interleaved with at most a second or two between them, and B-frames never disturb decode timestamps: a larger step
# back of one track means that the encoder started its clock again.
_RESTART_MS = 3_000
# After a restart the track goes on this far behind its last frame: one frame at 25 pictures a second, inaudible as a gap.
_RESUME_GAP_MS = 40


class Timeline:
    """Places the timestamps of one publication's tracks on one axis, in milliseconds.

    Per track the result never decreases: small steps back are flattened, large ones move the rest of the track forward. The
    tracks stay in step over such a restart as long as the encoder restarts them together.
    """

    def __init__(self) -> None:
        self._unwrapped_ms: int | None = None
        self._last_ms: dict[str, int] = {}
        self._offset_ms: dict[str, int] = {}
        self._newest_offset_ms = 0

    def place(self, track: Literal["video", "audio"], timestamp_ms: int) -> int:
        """Return where the frame of ``track`` with the 32-bit ``timestamp_ms`` belongs."""
        raw_ms = self._unwrap(timestamp_ms)
        last_ms = self._last_ms.get(track)
        if last_ms is None:
            placed_ms = raw_ms + self._offset_ms.setdefault(track, self._newest_offset_ms)
        else:
            placed_ms = raw_ms + self._offset_ms[track]
            if placed_ms < last_ms - _RESTART_MS:
                placed_ms = raw_ms + self._restart(track, raw_ms, last_ms)
            placed_ms = max(placed_ms, last_ms)
        self._last_ms[track] = placed_ms
        return placed_ms

    def _unwrap(self, timestamp_ms: int) -> int:
        last_ms = self._unwrapped_ms
        if last_ms is None:
            self._unwrapped_ms = timestamp_ms
            return timestamp_ms
        # The value congruent to the timestamp that is nearest to the last one.
        step_ms = (timestamp_ms - last_ms + _WRAP_MS // 2) % _WRAP_MS - _WRAP_MS // 2
        self._unwrapped_ms = last_ms + step_ms
        return self._unwrapped_ms

    def _restart(self, track: str, raw_ms: int, last_ms: int) -> int:
        # The other track may have restarted already: sharing its offset keeps sound and picture together.
        offset_ms = self._newest_offset_ms
        if not last_ms - _RESTART_MS <= raw_ms + offset_ms <= last_ms + _RESTART_MS:
            offset_ms = self._newest_offset_ms = last_ms + _RESUME_GAP_MS - raw_ms
        self._offset_ms[track] = offset_ms
        return offset_ms
