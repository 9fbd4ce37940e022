"""Puts received packets back in order and into frames, as a decoder wants them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.media.h264 import H264Depacketizer
from bench.media.opus import OpusDepacketizer
from bench.media.payload import CodecName, Depacketizer, PayloadError
from bench.media.vp8 import Vp8Depacketizer

__all__ = ["AssemblerStats", "FrameAssembler", "ReceivedFrame", "depacketizer_for"]

# Packets that wait for a missing one: three seconds of 10 Mbit/s, by when every receiver has given up on it.
_MAX_HELD_PACKETS = 3_000
# Browsers give up on a missing video packet after a second; sound that is 100 ms late is of no use to anybody.
_VIDEO_WAIT_S = 1.0
_AUDIO_WAIT_S = 0.1
# A whole keyframe behind a hole is shown once the hole has had this long to be repaired: about two round trips.
_KEYFRAME_PATIENCE_S = 0.2
_HALF_RANGE = 0x8000


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """One whole frame."""

    data: bytes
    timestamp: int
    keyframe: bool
    packets: int


@dataclass(frozen=True, slots=True)
class AssemblerStats:
    """Totals of one received stream."""

    frames: int
    keyframes: int
    frames_given_up: int
    """Frames of which something arrived, but which never became whole, or that could not be decoded without one that did not."""
    bad_payloads: int
    late_packets: int
    """Duplicates, and packets of frames that were given up or done already."""


@dataclass(frozen=True, slots=True)
class _Held:
    timestamp: int
    marker: bool
    payload: bytes
    first: bool


class FrameAssembler:
    """Yields the frames of one stream in order; after a hole that is never filled it goes on with the next keyframe.

    `wants_keyframe` tells when nothing can be decoded until one comes.
    """

    def __init__(self, codec: CodecName) -> None:
        self._format: Depacketizer = depacketizer_for(codec)
        self._audio = codec == "opus"
        self._wait_s = _AUDIO_WAIT_S if self._audio else _VIDEO_WAIT_S
        self._held: dict[int, _Held] = {}
        self._keyframe_starts: set[int] = set()
        self._highest: int | None = None
        self._next: int | None = None
        self._floor = 0
        self._started = False
        self._blocked_since: float | None = None
        self._last_given_up: int | None = None
        self._frames = self._keyframes = self._given_up = self._bad = self._late = 0

    def wants_keyframe(self) -> bool:
        """Return whether only a keyframe helps now."""
        return self._next is None

    def push(self, sequence: int, timestamp: int, payload: bytes, now: float, *, marker: bool) -> list[ReceivedFrame]:
        """Take one packet (16-bit sequence number) and return the frames that are complete now, in order."""
        extended = self._extend(sequence)
        if extended in self._held or extended < self._floor:
            self._late += 1
            return []
        first = keyframe = False
        # A packet of padding alone fills its place in the order and says nothing.
        if payload:
            try:
                piece = self._format.read(payload)
            except PayloadError:
                self._bad += 1
                return []
            first, keyframe = piece.first, piece.keyframe
        if len(self._held) >= _MAX_HELD_PACKETS:
            self._wait_for_keyframe(after=extended)
        self._held[extended] = _Held(timestamp, marker or self._audio, payload, first)
        if keyframe:
            self._keyframe_starts.add(extended)
        return self.advance(now)

    def advance(self, now: float) -> list[ReceivedFrame]:
        """Return the frames that are complete by ``now``; call it now and then, also when no packet comes."""
        frames: list[ReceivedFrame] = []
        while self._step(frames, now):
            pass
        return frames

    @property
    def held_packets(self) -> int:
        """How many packets wait for others."""
        return len(self._held)

    def stats(self) -> AssemblerStats:
        """Return the totals so far."""
        return AssemblerStats(self._frames, self._keyframes, self._given_up, self._bad, self._late)

    def _step(self, frames: list[ReceivedFrame], now: float) -> bool:
        """Make one move and return True, or return False when there is nothing to do until the next packet."""
        if self._next is None:
            return self._start_at(min(self._keyframe_starts, default=None))
        head = self._held.get(self._next)
        if head is not None and not head.payload:
            self._remove(self._next)
            self._next = self._floor = self._next + 1
            return True
        end, whole = self._frame_at(self._next)
        if whole:
            self._emit(end, frames)
            return True
        if end in self._held:
            # The next frame begins although this one never had its marker: its sender gave it up.
            self._wait_for_keyframe(after=end)
            return True
        if self._highest is None or self._highest < end:
            self._blocked_since = None
            return False
        return self._pass_hole(now)

    def _pass_hole(self, now: float) -> bool:
        """Go on behind a hole: soon when a whole keyframe is there, otherwise after the waiting time."""
        assert self._next is not None
        if self._blocked_since is None:
            self._blocked_since = now
        waited_s = now - self._blocked_since
        waited = waited_s >= self._wait_s
        if waited_s >= min(self._wait_s, _KEYFRAME_PATIENCE_S):
            later = sorted(start for start in self._keyframe_starts if start > self._next)
            whole = next((start for start in later if self._frame_at(start)[1]), None)
            if whole is not None:
                return self._start_at(whole)
        if waited:
            self._wait_for_keyframe(after=self._next + 1)
        return waited

    def _frame_at(self, start: int) -> tuple[int, bool]:
        """Return where the frame at ``start`` ends, as far as it is there, and whether it is whole."""
        timestamp: int | None = None
        sequence = start
        while (packet := self._held.get(sequence)) is not None:
            if timestamp is not None and packet.timestamp != timestamp:
                return sequence, False
            timestamp = packet.timestamp
            sequence += 1
            if packet.marker:
                return sequence, True
        return sequence, False

    def _emit(self, end: int, frames: list[ReceivedFrame]) -> None:
        assert self._next is not None
        start = self._next
        keyframe = start in self._keyframe_starts
        packets = [self._held[sequence] for sequence in range(start, end)]
        for sequence in range(start, end):
            self._remove(sequence)
        self._next = self._floor = end
        self._blocked_since = None
        try:
            data = self._format.join([packet.payload for packet in packets if packet.payload])
        except PayloadError:
            self._bad += 1
            self._given_up += 1
            self._wait_for_keyframe(after=end)
            return
        self._frames += 1
        self._keyframes += keyframe
        frames.append(ReceivedFrame(data, packets[0].timestamp, keyframe, len(packets)))

    def _start_at(self, start: int | None) -> bool:
        if start is None:
            return False
        self._forget_before(start)
        self._next = start
        self._started = True
        return True

    def _wait_for_keyframe(self, *, after: int) -> None:
        self._forget_before(after)
        self._next = None

    def _forget_before(self, sequence: int) -> None:
        gone = [number for number in self._held if number < sequence]
        if self._started:
            # Packets of one frame may be forgotten in two goes, on both sides of its hole.
            broken = {self._held[number].timestamp for number in gone if self._held[number].payload} - {self._last_given_up}
            self._given_up += len(broken)
            self._last_given_up = self._held[max(gone)].timestamp if gone else self._last_given_up
        for number in gone:
            self._remove(number)
        self._floor = max(self._floor, sequence)
        self._blocked_since = None

    def _remove(self, sequence: int) -> None:
        del self._held[sequence]
        self._keyframe_starts.discard(sequence)

    def _extend(self, sequence: int) -> int:
        if self._highest is None:
            # One round of numbers below the first packet, so that earlier ones that arrive late stay positive.
            self._highest = sequence + 2 * _HALF_RANGE
            return self._highest
        ahead = (sequence - self._highest) & 0xFFFF
        extended = self._highest + (ahead if ahead < _HALF_RANGE else ahead - 2 * _HALF_RANGE)
        self._highest = max(self._highest, extended)
        return extended


def depacketizer_for(codec: CodecName) -> Depacketizer:
    """Return the depacketizer of ``codec``."""
    if codec == "VP8":
        return Vp8Depacketizer()
    return H264Depacketizer() if codec == "H264" else OpusDepacketizer()
