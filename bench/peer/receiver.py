"""The receiving half of a robot's track, without I/O: repair, frames, statistics, and feedback to the sender."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.media import AssemblerStats, CodecName, FrameAssembler, ReceivedFrame
from bench.peer.plan import PayloadType, ReceivePlan
from sfu.plane.nack import NackGenerator
from sfu.plane.reports import ReceptionStats
from sfu.plane.rtcp import Nack, Pli, ReportBlock, SenderReport
from sfu.plane.rtp import RtpPacket
from sfu.plane.sequence import Unwrapper
from sfu.plane.timestamps import SenderClock

__all__ = ["ReceivedTrackStats", "StreamReceiver"]

# A browser repeats a keyframe request after about as long when none has come.
_KEYFRAME_REQUEST_SPACING_S = 0.5
# One missing packet is asked for again at this pace when the round trip is not known; RFC 4585 leaves it to the receiver.
_DEFAULT_RTT_S = 0.05
# How often waiting frames are looked at when no packet comes.
_ADVANCE_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class ReceivedTrackStats:
    """Totals of one received stream."""

    mid: str
    kind: str
    codec: str
    ssrc: int
    packets: int
    """Those that came by themselves, without retransmissions."""
    bytes: int
    """Payload bytes of all packets that were used."""
    packets_lost: int
    """Missing on the way, whether repaired later or not."""
    packets_repaired: int
    frames: int
    keyframes: int
    frames_given_up: int
    nacks_sent: int
    """Packets asked for again, repetitions included."""
    keyframe_requests_sent: int
    jitter_s: float
    width: int
    height: int
    """Of the last VP8 keyframe; 0 while unknown and for other codecs."""


class StreamReceiver:
    """Receives one SSRC of an m-line."""

    def __init__(self, plan: ReceivePlan, ssrc: int, payload_type: PayloadType) -> None:
        self.plan = plan
        self.ssrc = ssrc
        self.codec: CodecName = payload_type.codec
        self._video = plan.kind == "video"
        self._unwrapper = Unwrapper(16)
        self._reception = ReceptionStats(payload_type.clock_rate_hz)
        self._clock = SenderClock(payload_type.clock_rate_hz)
        self._assembler = FrameAssembler(payload_type.codec)
        self._missing = NackGenerator()
        self._can_nack = self._video
        self._advance_s = math.inf
        self._last_keyframe_request_s = -math.inf
        self._keyframe_wanted = False
        self._bytes = self._packets = self._repaired = self._nacks = self._keyframe_requests = 0
        self._lost = 0
        self._size = (0, 0)

    def on_packet(self, packet: RtpPacket, now: float) -> list[ReceivedFrame]:
        """Take a packet that came by itself and return the frames that are whole now."""
        highest = self._unwrapper.highest
        number = self._unwrapper.unwrap(packet.sequence)
        self._reception.on_packet(number, packet.timestamp, now)
        self._packets += 1
        if self._can_nack and 0 <= highest < number - 1 and not self._missing.on_gap(highest + 1, number - 1, now):
            self._keyframe_wanted = True
        return self._use(packet, number, now)

    def on_retransmission(self, packet: RtpPacket, now: float) -> list[ReceivedFrame]:
        """Take a packet in the form of RFC 4588; an empty one, which only probes the path, is ignored."""
        if len(packet.payload) <= 2:
            return []
        sequence = int.from_bytes(packet.payload[:2], "big")
        repaired = RtpPacket(0, sequence, packet.timestamp, self.ssrc, packet.payload[2:], marker=packet.marker)
        self._repaired += 1
        return self._use(repaired, self._unwrapper.peek(sequence), now)

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        """Take the sender's report about this stream."""
        self._clock.on_report(report.ntp, report.rtp_timestamp, now)

    def next_deadline(self) -> float:
        """Return when `handle_timer` has something to do."""
        return min(self._missing.deadline, self._advance_s)

    def handle_timer(self, own_ssrc: int, now: float) -> tuple[list[bytes], list[ReceivedFrame]]:
        """Return the feedback that is due, as RTCP packets from ``own_ssrc``, and frames that are whole now."""
        feedback: list[bytes] = []
        if now >= self._missing.deadline:
            ask, gave_up = self._missing.due(now, _DEFAULT_RTT_S)
            self._keyframe_wanted |= gave_up
            if ask:
                self._nacks += len(ask)
                feedback.append(Nack(own_ssrc, self.ssrc, tuple(number & 0xFFFF for number in ask)).build())
        frames = self._frames(self._assembler.advance(now))
        if now >= self._advance_s:
            self._advance_s = now + _ADVANCE_INTERVAL_S
        if self._video and (self._keyframe_wanted or self._assembler.wants_keyframe()):
            if now - self._last_keyframe_request_s >= _KEYFRAME_REQUEST_SPACING_S:
                self._last_keyframe_request_s = now
                self._keyframe_requests += 1
                feedback.append(Pli(own_ssrc, self.ssrc).build())
        return feedback, frames

    def report_block(self, now: float) -> ReportBlock:
        """Return the block of a receiver report about this stream since the last call."""
        block = self._reception.block(self.ssrc, self._clock, now)
        self._lost = max(block.packets_lost, 0)
        return block

    def stats(self) -> ReceivedTrackStats:
        """Return the totals so far; losses are as of the last receiver report."""
        assembled: AssemblerStats = self._assembler.stats()
        return ReceivedTrackStats(
            mid=self.plan.mid,
            kind=self.plan.kind,
            codec=self.codec,
            ssrc=self.ssrc,
            packets=self._packets,
            bytes=self._bytes,
            packets_lost=self._lost,
            packets_repaired=self._repaired,
            frames=assembled.frames,
            keyframes=assembled.keyframes,
            frames_given_up=assembled.frames_given_up,
            nacks_sent=self._nacks,
            keyframe_requests_sent=self._keyframe_requests,
            jitter_s=self._reception.jitter_s,
            width=self._size[0],
            height=self._size[1],
        )

    def _use(self, packet: RtpPacket, number: int, now: float) -> list[ReceivedFrame]:
        self._missing.on_received(number)
        self._bytes += len(packet.payload)
        if self._advance_s == math.inf:
            self._advance_s = now + _ADVANCE_INTERVAL_S
        return self._frames(self._assembler.push(packet.sequence, packet.timestamp, packet.payload, now, marker=packet.marker))

    def _frames(self, frames: list[ReceivedFrame]) -> list[ReceivedFrame]:
        for frame in frames:
            if frame.keyframe:
                self._keyframe_wanted = False
                if self.codec == "VP8" and len(frame.data) >= 10:
                    # The 14 low bits of the two words behind the start code (RFC 6386 9.1).
                    width, height = (int.from_bytes(frame.data[at : at + 2], "little") & 0x3FFF for at in (6, 8))
                    self._size = (width, height)
        return frames
