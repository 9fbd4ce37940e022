"""Transport-wide congestion control: feedback to publishers, and what subscribers report, matched with what was sent."""

from __future__ import annotations

import math

from sfu.plane.interface import PacketArrival
from sfu.plane.sequence import Unwrapper
from sfu.plane.transport_cc import TransportCc, build_transport_cc

__all__ = ["FeedbackGenerator", "SentHistory"]

# libwebrtc's own receivers vary between 50 and 250 ms by bandwidth; the short end lets a publisher's estimate ramp up fastest, at
# 20 packets of some 40 bytes per second.
_FEEDBACK_INTERVAL_S = 0.050
# A burst is reported at once: one message describes about this many packets within the packet size.
_FEEDBACK_PACKETS = 200
# How far back a message may reach for packets that came late, as libwebrtc's 500 ms back window counts in time.
_BACK_WINDOW_S = 0.5
# Two seconds of 4000 packets per second: feedback that comes later than that is no use to a bandwidth estimator.
_HISTORY_PACKETS = 8192
# The 24-bit reference time of 64 ms wraps.
_CLOCK_PERIOD_S = (1 << 24) * 0.064


class FeedbackGenerator:
    """Reports the arrival of every packet of one transport that carries a transport sequence number, of whatever stream."""

    def __init__(self) -> None:
        self._unwrapper = Unwrapper(16)
        # Bounded by the back window in time and by _MAX_SPAN in numbers.
        self._arrivals: dict[int, float] = {}
        self._start: int | None = None
        self._pending = 0
        self._count = 0
        self.deadline = math.inf

    def on_packet(self, sequence: int, now: float) -> None:
        """Note that the packet with this 16-bit transport sequence number arrived at ``now``."""
        number = self._unwrapper.unwrap(sequence)
        if number in self._arrivals:
            return
        if self._start is None or number < self._start:
            if self._start is not None and self._start - number > _MAX_SPAN:
                return
            # Reported as lost before: the report is repeated from here on, now with this arrival.
            self._start = number
        self._arrivals[number] = now
        self._pending += 1
        self.deadline = now if self._pending >= _FEEDBACK_PACKETS else min(self.deadline, now + _FEEDBACK_INTERVAL_S)

    def take(self, sender_ssrc: int, media_ssrc: int, now: float) -> list[bytes]:
        """Return the RTCP packets that report what arrived since the last call."""
        self.deadline = math.inf
        if not self._pending or self._start is None:
            return []
        highest = self._unwrapper.highest
        # After a pause or a jump of the numbers, what lies far back is not worth a message full of losses.
        start = max(self._start, highest - _MAX_SPAN)
        arrivals = tuple(self._arrivals.get(number) for number in range(start, highest + 1))
        packets = build_transport_cc(sender_ssrc, media_ssrc, start & 0xFFFF, self._count, arrivals)
        self._count = self._count + len(packets) & 0xFF
        self._start = highest + 1
        self._pending = 0
        horizon_s = now - _BACK_WINDOW_S
        self._arrivals = {
            number: arrival for number, arrival in self._arrivals.items() if arrival >= horizon_s and number > highest - _MAX_SPAN
        }
        return packets


# A message about more than this many numbers means that the sender jumped.
_MAX_SPAN = 2000


class SentHistory:
    """What was sent over one transport under which transport sequence number, until a receiver reports it."""

    __slots__ = ("_last_arrival_s", "_sent", "next_sequence")

    def __init__(self) -> None:
        self._sent: list[tuple[int, float, int] | None] = [None] * _HISTORY_PACKETS
        self._last_arrival_s: float | None = None
        # One cycle up, so that numbers before the first stay positive when a report is unwrapped.
        self.next_sequence = 1 << 16
        """The straight number of the next packet; its lower 16 bits go onto the wire."""

    def record(self, size_bytes: int, now: float) -> None:
        """Note that the packet with `next_sequence` was sent."""
        number = self.next_sequence
        self._sent[number % _HISTORY_PACKETS] = (number, now, size_bytes)
        self.next_sequence = number + 1

    def match(self, message: TransportCc) -> tuple[PacketArrival, ...]:
        """Return what the message says about packets still remembered; an arrival is returned once, a loss each time."""
        newest = self.next_sequence - 1
        base = newest + ((message.base_sequence - newest + 0x8000) & 0xFFFF) - 0x8000
        found = []
        for offset, arrived_s in enumerate(message.arrivals):
            number = base + offset
            slot = number % _HISTORY_PACKETS
            sent = self._sent[slot]
            if sent is None or sent[0] != number:
                continue
            if arrived_s is not None:
                self._sent[slot] = None
                arrived_s = self._straight(arrived_s)
            found.append(PacketArrival(number, sent[1], sent[2], arrived_s))
        return tuple(found)

    def _straight(self, arrived_s: float) -> float:
        last = self._last_arrival_s
        if last is not None:
            arrived_s += round((last - arrived_s) / _CLOCK_PERIOD_S) * _CLOCK_PERIOD_S
        self._last_arrival_s = arrived_s
        return arrived_s
