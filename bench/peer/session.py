"""All media of one peer connection, without I/O: SRTP, RTCP, senders, receivers, and transport-wide feedback both ways."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.media import CodecName, Loop, ReceivedFrame
from bench.peer.plan import ReceivePlan, SendPlan
from bench.peer.receiver import ReceivedTrackStats, StreamReceiver
from bench.peer.sender import SentTrackStats, TrackSender
from sfu.plane.errors import MediaError
from sfu.plane.interface import SrtpKeys
from sfu.plane.rtcp import Bye, ReceiverReport, Remb, RtcpMessage, SenderReport, SourceDescription, parse_rtcp
from sfu.plane.rtp import RtpPacket, parse_rtp
from sfu.plane.srtp import SrtpContext
from sfu.plane.transport_cc import TransportCc
from sfu.plane.twcc import FeedbackGenerator, SentHistory

__all__ = ["FrameListener", "MediaSession", "SessionStats", "Tap"]

_REPORT_INTERVAL_S = 1.0
# Report blocks in one receiver report: the count field has five bits (RFC 3550 6.4.2).
_MAX_BLOCKS = 31
# RTCP packet types are 192 to 223, where no RTP payload type with a marker lies (RFC 5761 4).
_RTCP_TYPES = range(192, 224)
# Streams that one m-line may have had; a sender that changes its SSRC more often is not worth following.
_MAX_STREAMS = 512

Tap = Callable[[str, bytes], None]
"""Called with the mid and each received RTP packet, decrypted, retransmissions included."""
FrameListener = Callable[[str, CodecName, ReceivedFrame], None]
"""Called with the mid, the codec and each whole frame."""


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Totals of one peer connection."""

    sent: tuple[SentTrackStats, ...]
    received: tuple[ReceivedTrackStats, ...]
    dropped: int
    """Datagrams that were no valid SRTP or SRTCP, or belonged to nothing negotiated."""
    remb_bps: int
    """The other side's last estimate; 0 before one."""
    feedback_packets: int
    """Packets that the other side's transport-wide feedback reported."""
    feedback_lost: int


class MediaSession:
    """Sends and receives the media of one peer connection once it has keys.

    ``rng`` gives SSRCs and first numbers. ``ntp_offset_s`` is NTP seconds minus monotonic seconds.
    """

    def __init__(
        self,
        *,
        cname: str,
        rng: random.Random,
        ntp_offset_s: float,
        tap: Tap | None = None,
        on_frame: FrameListener | None = None,
    ) -> None:
        self._cname = cname
        self._rng = rng
        self._ntp_offset_s = ntp_offset_s
        self._tap = tap
        self._on_frame = on_frame
        self._srtp: SrtpContext | None = None
        self._senders: list[TrackSender] = []
        self._plans: dict[str, ReceivePlan] = {}
        self._streams: dict[int, StreamReceiver] = {}
        self._rtx: dict[int, int] = {}
        self._own_ssrc = self.new_ssrc()
        self._feedback = FeedbackGenerator()
        self._history = SentHistory()
        self._number_taken = False
        self._report_s = math.inf
        self._datagrams: list[bytes] = []
        self._now = 0.0
        self._dropped = self._remb_bps = self._feedback_packets = self._feedback_lost = 0

    @property
    def senders(self) -> Sequence[TrackSender]:
        """The tracks that are sent, in the order of their m-lines."""
        return self._senders

    def new_ssrc(self) -> int:
        """Return a random SSRC; never 0, which some receivers take for none."""
        return self._rng.randrange(1, 2**32)

    def set_keys(self, keys: SrtpKeys, now: float) -> None:
        """Begin: media flows from now on."""
        self._srtp = SrtpContext(keys)
        self._report_s = now + _REPORT_INTERVAL_S

    def add_sender(self, plan: SendPlan, loop: Loop, ssrcs: list[tuple[int, int]], now: float) -> TrackSender:
        """Send ``loop`` on the m-line of ``plan``; ``ssrcs`` as in `TrackSender`."""
        sender = TrackSender(
            plan,
            loop,
            ssrcs,
            cname=self._cname,
            rng=self._rng,
            ntp_offset_s=self._ntp_offset_s,
            start_s=now,
            send=self._send_rtp,
            transport_sequence=self._take_transport_sequence,
        )
        self._senders.append(sender)
        return sender

    def set_receive_plans(self, plans: Sequence[ReceivePlan]) -> None:
        """Receive on these m-lines and no others; streams whose SSRC is not signalled any more are forgotten."""
        self._plans = {plan.mid: plan for plan in plans}
        self._rtx = {rtx: ssrc for plan in plans for rtx, ssrc in plan.rtx_ssrcs.items()}
        for ssrc, stream in list(self._streams.items()):
            plan = self._plans.get(stream.plan.mid)
            if plan is None or (plan.ssrcs and ssrc not in plan.ssrcs):
                del self._streams[ssrc]

    def receive_plan(self, mid: str) -> ReceivePlan | None:
        """Return the plan of a received m-line."""
        return self._plans.get(mid)

    def receive(self, data: bytes, now: float) -> None:
        """Take one datagram that is neither STUN nor DTLS; a bad one is counted and dropped."""
        self._now = now
        if self._srtp is None or len(data) < 2:
            self._dropped += 1
            return
        try:
            if data[1] in _RTCP_TYPES:
                for message in parse_rtcp(self._srtp.unprotect_rtcp(data)):
                    self._on_rtcp(message, now)
            else:
                plain = self._srtp.unprotect_rtp(data)
                self._on_rtp(parse_rtp(plain), plain, now)
        except MediaError:
            self._dropped += 1

    def handle_timer(self, now: float) -> None:
        """Do whatever is due at ``now``."""
        self._now = now
        if self._srtp is None:
            return
        for sender in self._senders:
            for packet in sender.handle_timer(now):
                self._send_rtcp(packet)
        for stream in self._streams.values():
            feedback, frames = stream.handle_timer(self._own_ssrc, now)
            for packet in feedback:
                self._send_rtcp(packet)
            self._deliver(stream, frames)
        if now >= self._feedback.deadline:
            media_ssrc = next(iter(self._streams), self._own_ssrc)
            for packet in self._feedback.take(self._own_ssrc, media_ssrc, now):
                self._send_rtcp(packet)
        if now >= self._report_s:
            self._report_s = now + _REPORT_INTERVAL_S
            blocks = [stream.report_block(now) for stream in self._streams.values()]
            for start in range(0, len(blocks), _MAX_BLOCKS):
                report = ReceiverReport(self._own_ssrc, tuple(blocks[start : start + _MAX_BLOCKS]))
                self._send_rtcp(report.build() + SourceDescription(((self._own_ssrc, self._cname),)).build())

    def next_deadline(self) -> float:
        """Return when `handle_timer` has something to do; infinity before there are keys."""
        if self._srtp is None:
            return math.inf
        deadlines = [sender.next_deadline() for sender in self._senders]
        deadlines += [stream.next_deadline() for stream in self._streams.values()]
        return min([*deadlines, self._feedback.deadline, self._report_s])

    def take_datagrams(self) -> list[bytes]:
        """Return and clear the datagrams to send."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def goodbye(self) -> None:
        """Say that all streams end."""
        ssrcs = [layer.ssrc for sender in self._senders for layer in sender.stats().layers]
        if self._srtp is not None and ssrcs:
            self._send_rtcp(ReceiverReport(self._own_ssrc).build() + Bye(tuple(ssrcs[:_MAX_BLOCKS])).build())

    def stats(self) -> SessionStats:
        """Return the totals so far."""
        return SessionStats(
            sent=tuple(sender.stats() for sender in self._senders),
            received=tuple(stream.stats() for stream in self._streams.values()),
            dropped=self._dropped,
            remb_bps=self._remb_bps,
            feedback_packets=self._feedback_packets,
            feedback_lost=self._feedback_lost,
        )

    def _on_rtp(self, packet: RtpPacket, plain: bytes, now: float) -> None:
        primary = self._rtx.get(packet.ssrc)
        stream = self._streams.get(packet.ssrc if primary is None else primary)
        if stream is None:
            stream = self._bind(packet, primary)
        if stream is None:
            self._dropped += 1
            return
        if stream.plan.extensions.transport_cc:
            number = packet.extensions.get(stream.plan.extensions.transport_cc, b"")
            if len(number) == 2:
                self._feedback.on_packet(int.from_bytes(number, "big"), now)
        if self._tap is not None:
            self._tap(stream.plan.mid, plain)
        frames = stream.on_packet(packet, now) if primary is None else stream.on_retransmission(packet, now)
        self._deliver(stream, frames)

    def _bind(self, packet: RtpPacket, primary: int | None) -> StreamReceiver | None:
        """Find the m-line of a new SSRC: by what was signalled, by the MID in the packet, or by being the only one that fits."""
        if primary is not None or len(self._streams) >= _MAX_STREAMS:
            return None
        plan = next((plan for plan in self._plans.values() if packet.ssrc in plan.ssrcs), None)
        if plan is None:
            plan = next((plan for plan in self._plans.values() if _names(plan, packet)), None)
        if plan is None:
            fitting = [plan for plan in self._plans.values() if not plan.ssrcs and packet.payload_type in plan.payload_types]
            plan = fitting[0] if len(fitting) == 1 else None
        if plan is None or packet.payload_type not in plan.payload_types:
            return None
        stream = StreamReceiver(plan, packet.ssrc, plan.payload_types[packet.payload_type])
        self._streams[packet.ssrc] = stream
        return stream

    def _deliver(self, stream: StreamReceiver, frames: list[ReceivedFrame]) -> None:
        if self._on_frame is not None:
            for frame in frames:
                self._on_frame(stream.plan.mid, stream.codec, frame)

    def _on_rtcp(self, message: RtcpMessage, now: float) -> None:
        if isinstance(message, SenderReport):
            stream = self._streams.get(message.ssrc)
            if stream is not None:
                stream.on_sender_report(message, now)
        if isinstance(message, Remb):
            self._remb_bps = message.bitrate_bps
        if isinstance(message, TransportCc):
            arrivals = self._history.match(message)
            self._feedback_packets += len(arrivals)
            self._feedback_lost += sum(1 for arrival in arrivals if arrival.arrived_s is None)
        blocks = message.blocks if isinstance(message, SenderReport | ReceiverReport) else ()
        for sender in self._senders:
            sender.on_rtcp(message, now)
            for block in blocks:
                sender.on_report_block(block, now)

    def _take_transport_sequence(self) -> int:
        self._number_taken = True
        return self._history.next_sequence & 0xFFFF

    def _send_rtp(self, plain: bytes) -> None:
        assert self._srtp is not None
        # Only a packet that carries a number uses one up: a number that nobody saw would look like a loss.
        if self._number_taken:
            self._number_taken = False
            self._history.record(len(plain), self._now)
        self._datagrams.append(self._srtp.protect_rtp(plain))

    def _send_rtcp(self, plain: bytes) -> None:
        assert self._srtp is not None
        self._datagrams.append(self._srtp.protect_rtcp(plain))


def _names(plan: ReceivePlan, packet: RtpPacket) -> bool:
    return bool(plan.extensions.mid) and packet.extensions.get(plan.extensions.mid) == plan.mid.encode()
