"""The sending half of a robot's track, without I/O: packets, retransmissions, sender reports, and what the other side says."""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from bench.media import Loop, LoopPlayer
from bench.media.h264 import H264Packetizer
from bench.media.opus import OpusPacketizer
from bench.media.vp8 import Vp8Packetizer
from bench.peer.plan import SendPlan
from sfu.plane.reports import round_trip_s, to_ntp
from sfu.plane.rtcp import Fir, Nack, Pli, ReportBlock, RtcpMessage, SenderReport, SourceDescription
from sfu.plane.rtp import RtpPacket, build_rtp

__all__ = ["SentLayerStats", "SentTrackStats", "TrackSender"]

# A second and a half of 4 Mbit/s: later than that no receiver asks again.
_HISTORY_PACKETS = 600
# Receivers try ten times; a packet that was sent as often as this will not arrive by sending it again.
_MAX_RESENDS = 10
# Browsers report every second for video and every five for sound; the SFU aligns layers by these, so often is better.
_REPORT_INTERVAL_S = 1.0
# Sequence numbers begin in the lower half: an early loss across the wrap would desynchronise the other side's rollover counter.
_FIRST_SEQUENCES = (1_000, 32_767)
_ABS_SEND_TIME_UNITS = 1 << 18

TransportSequence = Callable[[], int]
"""Gives the next transport-wide sequence number (16 bits)."""
Send = Callable[[bytes], None]
"""Takes a plain RTP packet to protect and send."""


@dataclass(frozen=True, slots=True)
class SentLayerStats:
    """Totals of one layer, or of the only stream of a track."""

    rid: str
    ssrc: int
    frames: int
    keyframes: int
    packets: int
    bytes: int
    """Payload bytes, without retransmissions."""
    packets_resent: int
    fraction_lost: float
    """As the last receiver report says, before repair."""
    rtt_s: float | None


@dataclass(frozen=True, slots=True)
class SentTrackStats:
    """Totals of one sent track."""

    mid: str
    kind: str
    codec: str
    layers: tuple[SentLayerStats, ...]
    keyframe_requests: int


class _Stream:
    """One SSRC with its retransmission SSRC."""

    def __init__(self, rid: str, codec: str, ssrcs: tuple[int, int], rng: random.Random) -> None:
        self.rid = rid
        self.ssrc, self.rtx_ssrc = ssrcs
        self.sequence = rng.randint(*_FIRST_SEQUENCES)
        self.rtx_sequence = rng.randint(*_FIRST_SEQUENCES)
        self.timestamp_base = rng.getrandbits(32)
        self.packetizer: Vp8Packetizer | H264Packetizer | OpusPacketizer
        if codec == "VP8":
            self.packetizer = Vp8Packetizer(rng.getrandbits(15), rng.getrandbits(8))
        else:
            self.packetizer = H264Packetizer() if codec == "H264" else OpusPacketizer()
        self.history: OrderedDict[int, tuple[RtpPacket, int]] = OrderedDict()
        # Browsers name the m-line and the layer in every packet until the other side reports that it knows the SSRC; the one of
        # retransmissions is known by itself.
        self.acknowledged: set[int] = set()
        self.frames = self.keyframes = self.packets = self.bytes = self.resent = 0
        self.fraction_lost = 0.0
        self.rtt_s: float | None = None

    def remember(self, packet: RtpPacket) -> None:
        self.history[packet.sequence] = (packet, 0)
        if len(self.history) > _HISTORY_PACKETS:
            self.history.popitem(last=False)


class TrackSender:
    """Plays ``loop`` into RTP packets.

    ``ssrcs`` are (media, retransmission) pairs, one for each layer of the plan. ``cname`` is that of the whole peer.
    ``ntp_offset_s`` is NTP seconds minus monotonic seconds.
    """

    def __init__(
        self,
        plan: SendPlan,
        loop: Loop,
        ssrcs: list[tuple[int, int]],
        *,
        cname: str,
        rng: random.Random,
        ntp_offset_s: float,
        start_s: float,
        send: Send,
        transport_sequence: TransportSequence,
    ) -> None:
        self.plan = plan
        self.player = LoopPlayer(loop, start_s)
        self._loop = loop
        self._start_s = start_s
        self._cname = cname
        self._ntp_offset_s = ntp_offset_s
        self._send = send
        self._transport_sequence = transport_sequence
        rids = plan.rids or ("",)
        names = [layer.rid for layer in loop.layers]
        # Without simulcast the best layer goes; a layer that the other side refused is never played.
        self._streams = {
            (names.index(rid) if rid in names else len(names) - 1): _Stream(rid, loop.codec, pair, rng)
            for rid, pair in zip(rids, ssrcs, strict=True)
        }
        for index in range(len(names)):
            self.player.set_active(index, active=index in self._streams)
        self._report_s = math.inf
        self._keyframe_requests = 0
        self.muted = False

    def set_layer_active(self, rid: str, *, active: bool) -> None:
        """Stop or resume one simulcast layer; unknown rids are ignored."""
        for index, stream in self._streams.items():
            if stream.rid == rid:
                self.player.set_active(index, active=active)

    def next_deadline(self) -> float:
        """Return when `handle_timer` has something to do."""
        return min(self.player.next_deadline(), self._report_s)

    def handle_timer(self, now: float) -> list[bytes]:
        """Send the frames that are due, and return the RTCP packets that are."""
        for due in self.player.due(now):
            stream = self._streams[due.layer]
            # A muted track stands still on the wire, as one whose sender was told to send nothing.
            if not self.muted:
                self._send_frame(stream, due.frame.data, due.ticks, due.frame.level_dbov, now)
                stream.frames += 1
                stream.keyframes += due.frame.keyframe
            if self._report_s == math.inf:
                self._report_s = now
        if now < self._report_s:
            return []
        self._report_s = now + _REPORT_INTERVAL_S
        return [self._report(stream, now) for stream in self._streams.values() if stream.packets]

    def on_rtcp(self, message: RtcpMessage, now: float) -> None:
        """Take a message that may concern one of this track's streams; others are ignored."""
        if isinstance(message, Nack):
            stream = self._by_ssrc(message.media_ssrc)
            if stream is not None:
                for sequence in message.sequences:
                    self._resend(stream, sequence, now)
        elif isinstance(message, Pli):
            self._on_keyframe_request(message.media_ssrc)
        elif isinstance(message, Fir):
            for ssrc, _ in message.requests:
                self._on_keyframe_request(ssrc)

    def on_report_block(self, block: ReportBlock, now: float) -> None:
        """Take a receiver's view of one stream, of this track or another."""
        stream = next((known for known in self._streams.values() if block.ssrc in (known.ssrc, known.rtx_ssrc)), None)
        if stream is None:
            return
        stream.acknowledged.add(block.ssrc)
        if block.ssrc == stream.rtx_ssrc:
            return
        stream.fraction_lost = block.fraction_lost / 256
        rtt_s = round_trip_s(now + self._ntp_offset_s, block.last_sr, block.delay_since_last_sr)
        stream.rtt_s = stream.rtt_s if rtt_s is None else rtt_s

    def stats(self) -> SentTrackStats:
        """Return the totals so far, layers from the lowest up."""
        layers = tuple(
            SentLayerStats(
                rid=stream.rid,
                ssrc=stream.ssrc,
                frames=stream.frames,
                keyframes=stream.keyframes,
                packets=stream.packets,
                bytes=stream.bytes,
                packets_resent=stream.resent,
                fraction_lost=stream.fraction_lost,
                rtt_s=stream.rtt_s,
            )
            for _, stream in sorted(self._streams.items())
        )
        return SentTrackStats(self.plan.mid, self.plan.kind, self._loop.codec, layers, self._keyframe_requests)

    def _by_ssrc(self, ssrc: int) -> _Stream | None:
        return next((stream for stream in self._streams.values() if stream.ssrc == ssrc), None)

    def _on_keyframe_request(self, ssrc: int) -> None:
        if self._by_ssrc(ssrc) is not None:
            self._keyframe_requests += 1
            self.player.request_keyframe()

    def _send_frame(self, stream: _Stream, frame: bytes, ticks: int, level_dbov: int, now: float) -> None:
        timestamp = (stream.timestamp_base + ticks) & 0xFFFFFFFF
        payloads = stream.packetizer.packetize(frame)
        for index, payload in enumerate(payloads):
            packet = RtpPacket(
                self.plan.payload_type.number,
                stream.sequence,
                timestamp,
                stream.ssrc,
                payload,
                # The marker ends a picture; in sound it would mean the first packet after a silence (RFC 3551 4.1).
                marker=self.plan.kind == "video" and index == len(payloads) - 1,
                extensions=self._extensions(stream, now, level_dbov, retransmission=False),
            )
            stream.sequence = (stream.sequence + 1) & 0xFFFF
            stream.packets += 1
            stream.bytes += len(payload)
            stream.remember(packet)
            self._send(build_rtp(packet))

    def _resend(self, stream: _Stream, sequence: int, now: float) -> None:
        packet, times = stream.history.get(sequence, (None, 0))
        rtx = self.plan.payload_type.rtx
        # Sending the very same packet twice would reuse its key stream, and libsrtp refuses to: without RTX there is no repair.
        if packet is None or times >= _MAX_RESENDS or rtx is None:
            return
        stream.history[sequence] = (packet, times + 1)
        stream.resent += 1
        resent = RtpPacket(
            rtx,
            stream.rtx_sequence,
            packet.timestamp,
            stream.rtx_ssrc,
            sequence.to_bytes(2, "big") + packet.payload,
            marker=packet.marker,
            extensions=self._extensions(stream, now, -127, retransmission=True),
        )
        stream.rtx_sequence = (stream.rtx_sequence + 1) & 0xFFFF
        self._send(build_rtp(resent))

    def _extensions(self, stream: _Stream, now: float, level_dbov: int, *, retransmission: bool) -> dict[int, bytes]:
        ids = self.plan.extensions
        elements: dict[int, bytes] = {}
        if ids.abs_send_time:
            seconds = (now + self._ntp_offset_s) % 64
            elements[ids.abs_send_time] = (int(seconds * _ABS_SEND_TIME_UNITS) & 0xFFFFFF).to_bytes(3, "big")
        if ids.transport_cc:
            elements[ids.transport_cc] = self._transport_sequence().to_bytes(2, "big")
        if ids.audio_level and self.plan.kind == "audio":
            elements[ids.audio_level] = bytes(((0x80 if level_dbov > -127 else 0) | -level_dbov,))
        if (stream.rtx_ssrc if retransmission else stream.ssrc) not in stream.acknowledged:
            if ids.mid:
                elements[ids.mid] = self.plan.mid.encode()
            rid_id = ids.repaired_rid if retransmission else ids.rid
            if rid_id and stream.rid:
                elements[rid_id] = stream.rid.encode()
        return elements

    def _report(self, stream: _Stream, now: float) -> bytes:
        ticks = round((now - self._start_s) * self._loop.clock_rate_hz)
        report = SenderReport(
            stream.ssrc,
            to_ntp(now + self._ntp_offset_s),
            (stream.timestamp_base + ticks) & 0xFFFFFFFF,
            stream.packets & 0xFFFFFFFF,
            stream.bytes & 0xFFFFFFFF,
        )
        return report.build() + SourceDescription(((stream.ssrc, self._cname),)).build()
