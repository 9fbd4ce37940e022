"""Sender and receiver reports: what they say, and what is read from them (RFC 3550 6.4 and appendix A)."""

from __future__ import annotations

from sfu.plane.rtcp import ReportBlock
from sfu.plane.sequence import signed_difference
from sfu.plane.timestamps import SenderClock

__all__ = ["ReceptionStats", "SenderReportState", "middle_ntp", "round_trip_s", "to_ntp"]

_NTP_UNITS = 1 << 32
_SHORT_UNITS = 1 << 16
_MAX_LOST = (1 << 23) - 1
# Longer than any path that can carry a conversation: a result above it comes from a wrong or forged report.
_MAX_RTT_S = 10.0


def to_ntp(ntp_s: float) -> int:
    """Return seconds of the NTP era as a 64-bit NTP timestamp."""
    return int(ntp_s * _NTP_UNITS) & 0xFFFFFFFFFFFFFFFF


def middle_ntp(ntp: int) -> int:
    """Return the middle 32 bits, which reports echo."""
    return ntp >> 16 & 0xFFFFFFFF


def round_trip_s(now_ntp_s: float, last: int, delay: int) -> float | None:
    """Return the round trip that an echoed middle NTP time and the delay at the far side (1/65536 s) mean, None without sense."""
    if last == 0:
        return None
    rtt_s = signed_difference(middle_ntp(to_ntp(now_ntp_s)), last + delay & 0xFFFFFFFF) / _SHORT_UNITS
    # Clock granularity may make a loopback's round trip negative by a tick.
    return max(rtt_s, 0.0) if -0.01 < rtt_s < _MAX_RTT_S else None


class ReceptionStats:
    """Loss and jitter of one received source, for receiver reports.

    Packets repaired by RTX count as lost: the sender wants to know about its path.
    """

    __slots__ = ("_base", "_expected_before", "_jitter", "_rate_hz", "_received", "_received_before", "_transit", "highest")

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._base = -1
        self._received = 0
        self._expected_before = 0
        self._received_before = 0
        self._jitter = 0.0
        self._transit: int | None = None
        self.highest = -1
        """Highest straight sequence number."""

    @property
    def jitter_s(self) -> float:
        """Interarrival jitter in seconds."""
        return self._jitter / self._rate_hz

    def on_packet(self, sequence: int, timestamp: int, now: float) -> None:
        """Take a packet that came by itself, with its straight sequence number."""
        if self._base < 0:
            self._base = sequence
        if sequence > self.highest:
            self.highest = sequence
            arrival = int(now * self._rate_hz)
            transit = arrival - timestamp
            if self._transit is not None:
                distance = abs(signed_difference(transit, self._transit))
                # A sender that was silent (DTX, mute) or restarted its timestamps is no jitter.
                if distance < self._rate_hz:
                    self._jitter += (distance - self._jitter) / 16
            self._transit = transit
        self._received += 1

    def block(self, ssrc: int, clock: SenderClock, now: float) -> ReportBlock:
        """Return the report block since the last call."""
        expected = self.highest - self._base + 1
        expected_here = expected - self._expected_before
        lost_here = expected_here - (self._received - self._received_before)
        self._expected_before = expected
        self._received_before = self._received
        fraction = min(max(256 * lost_here // expected_here, 0), 255) if expected_here > 0 else 0
        lost = max(min(expected - self._received, _MAX_LOST), -_MAX_LOST)
        if clock.ntp is None:
            last_sr = delay = 0
        else:
            last_sr = middle_ntp(clock.ntp)
            delay = min(round((now - clock.arrived_s) * _SHORT_UNITS), 0xFFFFFFFF)
        # Straight numbers begin one cycle up; the wire counts cycles from the first packet.
        highest = (self.highest - 0x10000) & 0xFFFFFFFF
        return ReportBlock(ssrc, fraction, lost, highest, round(self._jitter), last_sr, delay)


class SenderReportState:
    """Keeps the sender reports of one sent stream from going backwards."""

    __slots__ = ("_last_ntp", "_last_timestamp")

    def __init__(self) -> None:
        self._last_ntp = 0
        self._last_timestamp: int | None = None

    def take(self, clock: SenderClock, offset: int, now: float) -> tuple[int, int] | None:
        """Return NTP time and output timestamp for ``now``, None when there is nothing to say yet or it would go back.

        The publisher's own NTP time is kept and advanced by the time since its report came, so that all tracks of one publisher
        stay in step at the subscriber; ``offset`` is what the stream adds to the timestamps of ``clock``'s source.
        """
        if clock.ntp is None:
            return None
        elapsed_s = now - clock.arrived_s
        ntp = clock.ntp + int(elapsed_s * _NTP_UNITS) & 0xFFFFFFFFFFFFFFFF
        timestamp = (clock.timestamp + offset + round(elapsed_s * clock.rate_hz)) & 0xFFFFFFFF
        if ntp <= self._last_ntp:
            return None
        if self._last_timestamp is not None and signed_difference(timestamp, self._last_timestamp) < 0:
            return None
        self._last_ntp = ntp
        self._last_timestamp = timestamp
        return ntp, timestamp
