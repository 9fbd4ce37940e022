"""The measured bit and frame rates of one rendition, as the multivariant playlist states them."""

from __future__ import annotations

from collections import deque

__all__ = ["RateMeter", "snap_rate"]

# Segments that can matter for a run of at most 1.5 target durations; even tenth-of-a-second segments fit.
_RECENT = 64
# Rates that sources really have.
_COMMON_RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 48.0, 50.0, 60000 / 1001, 60.0)
# Millisecond timestamps shift a segment of two seconds by half as much; 29.97 and 30 are a tenth of a percent apart.
_SNAP = 0.0015


def snap_rate(rate: float, tolerance: float) -> float:
    """Return the common frame rate that is nearest to ``rate``, or ``rate`` itself when none is within that share of it."""
    nearest = min(_COMMON_RATES, key=lambda common: abs(common - rate))
    return nearest if abs(nearest - rate) <= tolerance * nearest else rate


class RateMeter:
    """Measures segments as they are listed; ``target_s`` is the playlist's target duration."""

    def __init__(self, target_s: int) -> None:
        self._target_s = target_s
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)
        self._bits = 0
        self._duration_s = 0.0
        self._samples = 0
        self._has_run = False
        self.peak_bps = 0
        """The highest rate of any run of segments that lasts 0.5 to 1.5 target durations (RFC 8216 section 4.1)."""
        self.frame_rate = 0.0
        """Pictures a second over all segments, so that the jitter of single timestamps evens out."""

    @property
    def average_bps(self) -> int:
        """Bits of all segments over their duration."""
        return round(self._bits / self._duration_s) if self._duration_s else 0

    def add(self, size_bytes: int, duration_s: float, samples: int) -> None:
        """Take the next segment."""
        if duration_s <= 0:
            return
        self._bits += size_bytes * 8
        self._duration_s += duration_s
        self._recent.append((size_bytes * 8, duration_s))
        bits, run_s = 0, 0.0
        for more_bits, more_s in reversed(self._recent):
            bits, run_s = bits + more_bits, run_s + more_s
            if run_s > 1.5 * self._target_s:
                break
            if run_s >= 0.5 * self._target_s:
                self.peak_bps = max(self.peak_bps, round(bits / run_s))
                self._has_run = True
        if not self._has_run:
            # Shorter than any run until now; the average must do.
            self.peak_bps = self.average_bps
        self._samples += samples
        self.frame_rate = snap_rate(self._samples / self._duration_s, _SNAP)
