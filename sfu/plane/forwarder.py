"""One track on its way out to one subscriber: what every kind of track needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from sfu.plane.headers import HeaderWriter
from sfu.plane.interface import ConsumerConfig, ConsumerLayer, ConsumerStats, PlaneEvent, ReceiverSummary
from sfu.plane.layers import Layer
from sfu.plane.outbound import Outbound
from sfu.plane.packets import MediaPacket
from sfu.plane.reports import SenderReportState, middle_ntp
from sfu.plane.rtcp import ReportBlock, SenderReport, SourceDescription
from sfu.plane.sequence import NumberMap
from sfu.plane.timestamps import OutputClock

__all__ = ["AudioForwarder", "Forwarder", "ForwarderHooks"]

# Receivers echo the last sender report or the one before; reports go out once a second, faster around a switch.
_REMEMBERED_REPORTS = 8
# Longer than any path that carries a conversation.
_MAX_RTT_S = 10.0


class ForwarderHooks:
    """What a forwarder needs from the track that it forwards."""

    __slots__ = ("emit", "need_keyframe", "pass_on_complaint", "release_keyframe")

    def __init__(
        self,
        emit: Callable[[PlaneEvent], None],
        need_keyframe: Callable[[Layer, float], None],
        pass_on_complaint: Callable[[Layer, float], bool],
        release_keyframe: Callable[[Layer], None],
    ) -> None:
        self.emit = emit
        self.need_keyframe = need_keyframe
        self.pass_on_complaint = pass_on_complaint
        self.release_keyframe = release_keyframe


class Forwarder(ABC):
    """Rewrites packets of a producer's layers into one outgoing stream and keeps that stream continuous."""

    def __init__(self, config: ConsumerConfig, layers: tuple[Layer, ...], outbound: Outbound, hooks: ForwarderHooks) -> None:
        self.config = config
        self.layer: Layer | None = None
        """The layer being forwarded."""
        self.reports = SenderReportState()
        self.report_due = False
        """Whether a sender report should go out at the next chance, for the stream has just started or moved to another layer."""
        self._layers = layers
        self._outbound = outbound
        self._hooks = hooks
        self._writer = HeaderWriter(config.extensions, config.mid)
        self._ssrc = config.ssrc
        self._payload_type = config.codec.payload_type
        self._codec_name = config.codec.name
        self._numbered = self._writer.carries_transport_sequence
        self._sequences = NumberMap()
        self._next_sequence = config.first_sequence
        self._clock = OutputClock(config.first_timestamp, config.codec.clock_rate_hz)
        self._target: int | None = None
        self._packets = self._octets = self._bytes = 0
        self._switches = 0
        self._sent_reports: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED_REPORTS)

    @abstractmethod
    def forward(self, packet: MediaPacket, now: float) -> None:
        """Send a packet of the layer being forwarded, unless its turn has passed."""

    @abstractmethod
    def start(self, layer: Layer, packet: MediaPacket, now: float) -> bool:
        """Begin with ``packet``, where a waited-for ``layer`` can be entered; False when it cannot be now."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop until the target can be entered again; the outgoing stream goes on from where it is."""

    @abstractmethod
    def set_target(self, spatial: int | None, temporal: int, now: float) -> None:
        """Forward that layer from its next start on, nothing for None."""

    @abstractmethod
    def stats(self) -> ConsumerStats:
        """Return the totals."""

    def wake(self, now: float) -> None:  # noqa: B027
        """Something that held it back is over: ask for what it waits for."""

    def on_keyframe_request(self, now: float) -> None:  # noqa: B027
        """The subscriber lost the picture."""

    def retransmit(self, sequences: tuple[int, ...], now: float) -> None:  # noqa: B027
        """The subscriber misses these 16-bit sequence numbers."""

    def skip(self, sequence: int) -> None:
        """Close the gap that a padding-only packet would leave."""
        self._sequences.drop(sequence, sequence)

    def close(self) -> None:
        """Leave all layers without a word."""
        self._leave()

    def _leave(self) -> None:
        if self.layer is not None:
            self.layer.forwarding.remove(self)
            self.layer = None

    def _enter(self, layer: Layer) -> None:
        self._leave()
        self.layer = layer
        layer.forwarding.append(self)
        self._switches += 1
        self.report_due = True
        self._hooks.emit(ConsumerLayer(self.config.consumer_id, layer.spatial))

    def _emit_nothing(self) -> None:
        self._hooks.emit(ConsumerLayer(self.config.consumer_id, None))

    def _transmit(self, packet: MediaPacket, sequence: int, timestamp: int, descriptor: bytes, now: float) -> bytes | None:
        outbound = self._outbound
        header = self._writer.write(
            packet.marker << 7 | self._payload_type,
            sequence & 0xFFFF,
            timestamp,
            self._ssrc,
            outbound.outbox.abs_send_time(now),
            outbound.history.next_sequence & 0xFFFF,
            packet.extras,
        )
        body = packet.body
        datagram = outbound.send_rtp(b"".join((header, descriptor, body)), now, numbered=self._numbered)
        if datagram is not None:
            self._packets += 1
            self._octets += len(descriptor) + len(body)
            self._bytes += len(datagram)
        return datagram

    def sender_report(self, now: float) -> bytes:
        """Return sender report and source description on the wire; empty while there is nothing to report."""
        self.report_due = False
        if self.layer is None or not self._packets:
            return b""
        times = self.reports.take(self.layer.clock, self._clock.offset, now)
        if times is None:
            return b""
        ntp, timestamp = times
        self._sent_reports.append((middle_ntp(ntp), now))
        report = SenderReport(self._ssrc, ntp, timestamp, self._packets & 0xFFFFFFFF, self._octets & 0xFFFFFFFF)
        return report.build() + SourceDescription(((self._ssrc, self.config.cname),)).build()

    def on_report(self, block: ReportBlock, now: float) -> float | None:
        """Take a receiver's report on this stream and return the round trip, None when it tells none."""
        self._writer.stop_mid()
        rtt_s = None
        # The reports carry the publisher's time, not ours, so the round trip is measured from when each was sent.
        for middle, sent_s in self._sent_reports:
            if middle == block.last_sr:
                measured_s = now - sent_s - block.delay_since_last_sr / 65536
                rtt_s = max(measured_s, 0.0) if -0.01 < measured_s < _MAX_RTT_S else None
        jitter_s = block.jitter / self.config.codec.clock_rate_hz
        self._hooks.emit(ReceiverSummary(self.config.consumer_id, block.fraction_lost / 256, jitter_s, rtt_s))
        return rtt_s


class AudioForwarder(Forwarder):
    """Audio has one layer and can be entered at any packet."""

    def __init__(self, config: ConsumerConfig, layers: tuple[Layer, ...], outbound: Outbound, hooks: ForwarderHooks) -> None:
        super().__init__(config, layers, outbound, hooks)
        self._running = False
        self.set_target(0, 0, 0.0)

    def set_target(self, spatial: int | None, temporal: int, now: float) -> None:
        """Forward the track, or nothing for None; audio has no layers to choose from."""
        self._target = None if spatial is None else 0
        if self._target is None:
            self._leave()
            self._running = False
        elif self.layer is None:
            self.layer = self._layers[0]
            self.layer.forwarding.append(self)

    def interrupt(self) -> None:
        self._running = False

    def start(self, layer: Layer, packet: MediaPacket, now: float) -> bool:
        self._clock.start(layer.clock, packet.timestamp, now, must=True)
        self._sequences.restart(packet.sequence, self._next_sequence)
        self._running = True
        self.report_due = True
        return True

    def forward(self, packet: MediaPacket, now: float) -> None:
        if not self._outbound.ready:
            self._running = False
            return
        layer = self.layer
        if layer is None or packet.codec != self._codec_name:
            return
        if not self._running:
            self.start(layer, packet, now)
        sequence = self._sequences.forward(packet.sequence)
        if sequence is None:
            return
        timestamp = packet.timestamp + self._clock.offset & 0xFFFFFFFF
        if sequence >= self._next_sequence:
            self._next_sequence = sequence + 1
            self._clock.sent(timestamp, now)
        self._transmit(packet, sequence, timestamp, b"", now)

    def stats(self) -> ConsumerStats:
        spatial = 0 if self._running else None
        return ConsumerStats(self.config.consumer_id, self._packets, self._bytes, 0, 0, 0, 0, spatial, self._target)
