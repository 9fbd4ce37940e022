"""RTP time of several layers on one line, by what their sender reports say (RFC 3550 6.4.1).

Each simulcast layer has a random timestamp base of its own. Sender reports name an NTP time for a timestamp of each; two layers of
one sender share its NTP clock, so the difference of their bases follows exactly.
"""

from __future__ import annotations

from sfu.plane.sequence import signed_difference

__all__ = ["OutputClock", "SenderClock"]

# A start that falls behind what was sent already is moved up when it is at most this far behind; further back the layer's reports
# contradict the other layer's and another keyframe is awaited. mediasoup's bound.
_MAX_BEHIND_S = 0.075
# Layer clocks that disagree with the time of arrival by more than this are wrong, or stood still while muted.
_MAX_DISAGREEMENT_S = 2.0
_MODULUS = 1 << 32
_NTP_UNITS = 1 << 32


class SenderClock:
    """The relation of one source's timestamps to its sender's NTP clock."""

    __slots__ = ("arrived_s", "ntp", "ntp_s", "rate_hz", "timestamp")

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.ntp: int | None = None
        """64-bit NTP time of the last sender report, None before the first."""
        self.ntp_s = 0.0
        self.timestamp = 0
        self.arrived_s = 0.0

    def on_report(self, ntp: int, timestamp: int, now: float) -> bool:
        """Take a sender report; True when it is the first usable one. A report without NTP time (0, RFC 3550 6.4.1) is ignored."""
        if ntp == 0:
            return False
        first = self.ntp is None
        self.ntp = ntp
        self.ntp_s = ntp / _NTP_UNITS
        self.timestamp = timestamp
        self.arrived_s = now
        return first

    def offset_to(self, other: SenderClock) -> int | None:
        """Return what to add to this source's timestamps to have ``other``'s, None while either lacks a report."""
        if self.ntp is None or other.ntp is None:
            return None
        elapsed_ticks = round((self.ntp_s - other.ntp_s) * other.rate_hz)
        return (other.timestamp + elapsed_ticks - self.timestamp) % _MODULUS


class OutputClock:
    """The timestamps of one sent stream, which must only grow whatever is forwarded in it."""

    __slots__ = ("_aligned", "_last_s", "_rate_hz", "_refused", "_source", "last", "offset")

    def __init__(self, first_timestamp: int, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._source: SenderClock | None = None
        self._aligned = 0
        self._refused = False
        self._last_s = 0.0
        self.last = first_timestamp
        self.offset = 0
        """What is added to the timestamps of the present source."""

    def start(self, source: SenderClock, timestamp: int, now: float, *, must: bool = False) -> bool:
        """Go over to ``source``, whose first forwarded packet has ``timestamp``.

        Both clocks' sender reports decide where that lies on the line; without them, or when they contradict the arrival by more
        than 2 s, the time since the last packet does. False, once in a row and unless ``must``, when the reports would put the
        start more than 75 ms before what was sent: a later keyframe may fit better.
        """
        if self._source is None:
            self._begin(source, self.last - timestamp, self.last - timestamp, now)
            return True
        expected = self.last + max(round((now - self._last_s) * self._rate_hz), 1)
        aligned = self._align(source)
        if aligned is None or abs(signed_difference(timestamp + aligned, expected)) > _MAX_DISAGREEMENT_S * self._rate_hz:
            self._begin(source, expected - timestamp, expected - timestamp, now)
            return True
        ahead = signed_difference(timestamp + aligned, self.last)
        if ahead <= 0:
            if -ahead > _MAX_BEHIND_S * self._rate_hz:
                if not (must or self._refused):
                    self._refused = True
                    return False
                # Twice in a row: these reports are of no use, the arrival is.
                self._begin(source, expected - timestamp, expected - timestamp, now)
                return True
            # The same picture as the last one sent, of another layer: one tick later is enough to keep order. The exact relation is
            # kept beside it, so that ticks do not add up over many switches.
            self._begin(source, self.last + 1 - timestamp, aligned, now)
            return True
        self._begin(source, aligned, aligned, now)
        return True

    def _align(self, source: SenderClock) -> int | None:
        if source is self._source:
            return self._aligned
        assert self._source is not None
        between = source.offset_to(self._source)
        return None if between is None else (self._aligned + between) % _MODULUS

    def _begin(self, source: SenderClock, offset: int, aligned: int, now: float) -> None:
        self._source = source
        self._aligned = aligned % _MODULUS
        self._refused = False
        self.offset = offset % _MODULUS
        self._last_s = now

    def sent(self, timestamp: int, now: float) -> None:
        """Note the newest packet: its output timestamp."""
        self.last = timestamp
        self._last_s = now
