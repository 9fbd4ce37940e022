"""One transport of the plane: what arrives over it, what is reported about that, and what its peer reports."""

from __future__ import annotations

from collections.abc import Callable

from sfu.plane.demux import Demultiplexer
from sfu.plane.errors import MediaError
from sfu.plane.forwarder import Forwarder
from sfu.plane.interface import EstimatedBitrate, Path, PlaneEvent, PublisherRtt, SrtpKeys, Timer, TransportFeedback
from sfu.plane.outbound import Outbound, Outbox
from sfu.plane.producers import Producer, PublisherLink
from sfu.plane.reports import middle_ntp, round_trip_s, to_ntp
from sfu.plane.rtcp import (
    Bye,
    Dlrr,
    DlrrBlock,
    Fir,
    Nack,
    Pli,
    ReceiverReferenceTime,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpMessage,
    SenderReport,
    parse_rtcp,
)
from sfu.plane.rtp import parse_rtp
from sfu.plane.schedule import Schedule
from sfu.plane.srtp import SrtpContext
from sfu.plane.transport_cc import TransportCc
from sfu.plane.twcc import FeedbackGenerator

__all__ = ["Transport"]

# What browsers do; often enough for a round trip and a loss figure that are still true.
_REPORT_INTERVAL_S = 1.0
# A count of 5 bits (RFC 3550 6.4.2).
_MAX_BLOCKS = 31
# libsrtp keeps about 1 kB for every SSRC that it authenticates. A large meeting's publisher has a dozen, and each time a screen is
# shared again there are up to six new ones: this is a hundred times in one connection. Beyond it a peer only wants our memory.
_MAX_SOURCES = 1024
# A compound stays within the packet size that passes everywhere, SRTCP trailer included.
_MAX_COMPOUND_BYTES = 1100


class Transport:
    """One peer's connection; producers arrive over it and forwarders send over it."""

    def __init__(self, transport_id: int, schedule: Schedule, outbox: Outbox, emit: Callable[[PlaneEvent], None]) -> None:
        self.transport_id = transport_id
        self.outbound = Outbound(outbox)
        self.link = PublisherLink(self.outbound.send_rtcp)
        self.forwarders: dict[int, Forwarder] = {}
        # A dict for its order: the oldest path makes way.
        self.paths: dict[Path, None] = {}
        self._drops = outbox.drops
        self._emit = emit
        self._context: SrtpContext | None = None
        self._demux = Demultiplexer()
        self._sources: set[int] = set()
        self._by_ssrc: dict[int, Forwarder] = {}
        self._feedback = FeedbackGenerator()
        self._feedback_alarm = schedule.alarm(Timer.TRANSPORT_FEEDBACK, self._send_feedback)
        self._report_alarm = schedule.alarm(Timer.REPORTS, self._send_reports)
        self._next_report_s = 0.0
        self._transport_cc_id = 0
        self._newest_ssrc = 0

    # --------------------------------------------------------------------------------------------- set-up

    @property
    def producers(self) -> tuple[Producer, ...]:
        """The producers that arrive over this transport."""
        return self._demux.producers

    def set_keys(self, keys: SrtpKeys) -> None:
        """Protect and unprotect with these keys from now on."""
        self._context = SrtpContext(keys)
        self._sources.clear()
        self.outbound.set_context(self._context)

    def set_path(self, path: Path | None, now: float) -> None:
        """Send there from now on."""
        self.outbound.set_path(path)
        self.rouse(now)

    def rouse(self, now: float) -> None:
        """Let everything that waits for keys or a path go on, or stop when they are gone."""
        for forwarder in self.forwarders.values():
            if self.outbound.ready:
                forwarder.wake(now)
            else:
                forwarder.interrupt()

    def close(self) -> None:
        """Disarm the alarms."""
        self._feedback_alarm.cancel()
        self._report_alarm.cancel()

    def add_producer(self, producer: Producer) -> None:
        """Expect a producer's packets."""
        # One id for the whole transport: with BUNDLE an id means the same on every m-line (RFC 8843 9.2, RFC 8285 5).
        self._transport_cc_id = producer.config.extensions.transport_cc or self._transport_cc_id
        self._demux.add(producer)

    def remove_producer(self, producer: Producer) -> None:
        """Expect them no more."""
        self._demux.remove(producer)

    def add_forwarder(self, forwarder: Forwarder) -> None:
        """Send a consumer's packets over this transport."""
        config = forwarder.config
        self.forwarders[config.consumer_id] = forwarder
        self._by_ssrc[config.ssrc] = forwarder
        if config.rtx_ssrc is not None:
            self._by_ssrc[config.rtx_ssrc] = forwarder

    def remove_forwarder(self, forwarder: Forwarder) -> None:
        """Send them no more."""
        self.forwarders.pop(forwarder.config.consumer_id, None)
        for ssrc in [ssrc for ssrc, known in self._by_ssrc.items() if known is forwarder]:
            del self._by_ssrc[ssrc]

    # --------------------------------------------------------------------------------------------- RTP

    def receive_rtp(self, data: bytes, now: float) -> str | None:
        """Take an SRTP packet; return why it was dropped, None when it was not."""
        context = self._context
        if context is None:
            return "no_keys"
        ssrc = int.from_bytes(data[8:12], "big")
        if ssrc not in self._sources and len(self._sources) >= _MAX_SOURCES:
            return "too_many_sources"
        try:
            plain = context.unprotect_rtp(data)
        except MediaError:
            return "srtp"
        self._sources.add(ssrc)
        try:
            packet = parse_rtp(plain)
        except MediaError:
            return "rtp"
        self._newest_ssrc = ssrc
        number = packet.extensions.get(self._transport_cc_id)
        if number is not None and len(number) == 2:
            # Before anything can drop the packet: the publisher's bandwidth estimate must see all that arrived.
            self._feedback.on_packet(number[0] << 8 | number[1], now)
            self._feedback_alarm.set_no_later(self._feedback.deadline)
        stream = self._demux.resolve(packet, now)
        if isinstance(stream, str):
            return stream
        self._report_soon_enough(now)
        try:
            if stream.is_rtx:
                return stream.producer.receive_repaired(stream.layer, packet, now)
            return stream.producer.receive(stream.layer, packet, now)
        except MediaError:
            return "payload"

    def _send_feedback(self, now: float) -> None:
        producers = self._demux.producers
        sender_ssrc = producers[0].config.receiver_ssrc if producers else 1
        for packet in self._feedback.take(sender_ssrc, self._newest_ssrc, now):
            self.outbound.send_rtcp(packet)

    # --------------------------------------------------------------------------------------------- reports that we send

    def _report_soon_enough(self, now: float) -> None:
        if self._next_report_s <= now:
            self._next_report_s = now + _REPORT_INTERVAL_S
        self._report_alarm.set_no_later(self._next_report_s)

    def report_now(self, now: float) -> None:
        """Send the sender reports that are due at once: a stream has started, or what it says has become known."""
        self._report_soon_enough(now)
        self._report_alarm.set_no_later(now)

    def _send_reports(self, now: float) -> None:
        regular = now >= self._next_report_s
        parts = [forwarder.sender_report(now) for forwarder in self.forwarders.values() if regular or forwarder.report_due]
        if regular:
            parts += self._receiver_reports(now)
        parts = [part for part in parts if part]
        compound = b""
        for part in parts:
            if compound and len(compound) + len(part) > _MAX_COMPOUND_BYTES:
                self.outbound.send_rtcp(compound)
                compound = b""
            compound += part
        if compound:
            self.outbound.send_rtcp(compound)
        if parts or self.forwarders:
            # While there is anything to report, the next round follows.
            self._next_report_s = max(self._next_report_s, now + _REPORT_INTERVAL_S if regular else now)
            self._report_alarm.set_no_later(self._next_report_s)

    def _receiver_reports(self, now: float) -> list[bytes]:
        """Report on bound sources alone: senders leave MID and RID out as soon as an SSRC is reported on."""
        blocks = [
            layer.reception.block(layer.ssrc, layer.clock, now)
            for producer in self._demux.producers
            for layer in producer.layers
            if layer.ssrc is not None and now - layer.last_packet_s < 2 * _REPORT_INTERVAL_S
        ]
        if not blocks:
            return []
        ssrc = self._demux.producers[0].config.receiver_ssrc
        parts = [ReceiverReport(ssrc, tuple(blocks[at : at + _MAX_BLOCKS])).build() for at in range(0, len(blocks), _MAX_BLOCKS)]
        ntp = to_ntp(self.outbound.outbox.ntp_s(now))
        return [*parts, ReceiverReferenceTime(ssrc, ntp).build()]

    # --------------------------------------------------------------------------------------------- RTCP that we receive

    def receive_rtcp(self, data: bytes, now: float) -> str | None:
        """Take an SRTCP packet; return why it was dropped, None when it was not."""
        if self._context is None:
            return "no_keys"
        try:
            plain = self._context.unprotect_rtcp(data)
        except MediaError:
            return "srtcp"
        try:
            messages = parse_rtcp(plain)
        except MediaError:
            return "rtcp"
        answered = False
        for message in messages:
            if isinstance(message, ReceiverReferenceTime):
                # One answer per compound: repeated blocks would make a small packet cause many.
                if answered:
                    continue
                answered = True
            self._handle(message, now)
        return None

    def _handle(self, message: RtcpMessage, now: float) -> None:
        match message:
            case SenderReport():
                self._on_sender_report(message, now)
                self._on_blocks(message.blocks, now)
            case ReceiverReport():
                self._on_blocks(message.blocks, now)
            case TransportCc():
                arrivals = self.outbound.history.match(message)
                if arrivals:
                    self._emit(TransportFeedback(self.transport_id, arrivals))
            case Nack():
                forwarder = self._by_ssrc.get(message.media_ssrc)
                if forwarder is not None and message.media_ssrc == forwarder.config.ssrc:
                    forwarder.retransmit(message.sequences, now)
            case Pli():
                self._on_keyframe_request(message.media_ssrc, now)
            case Fir():
                for ssrc in {ssrc for ssrc, _ in message.requests}:
                    self._on_keyframe_request(ssrc, now)
            case Remb():
                self._emit(EstimatedBitrate(self.transport_id, message.bitrate_bps))
            case Bye():
                for ssrc in message.ssrcs:
                    self._demux.forget(ssrc)
            case ReceiverReferenceTime():
                self._answer_reference_time(message)
            case Dlrr():
                self._on_dlrr(message, now)
            case _:
                # Source descriptions name the publisher, which signaling has told us already.
                pass

    def _on_sender_report(self, message: SenderReport, now: float) -> None:
        stream = self._demux.lookup(message.ssrc)
        if stream is None or stream.is_rtx:
            return
        if stream.layer.clock.on_report(message.ntp, message.rtp_timestamp, now):
            stream.producer.on_first_report(stream.layer, now)

    def _on_blocks(self, blocks: tuple[ReportBlock, ...], now: float) -> None:
        for block in blocks:
            forwarder = self._by_ssrc.get(block.ssrc)
            if forwarder is None or block.ssrc != forwarder.config.ssrc:
                continue
            rtt_s = forwarder.on_report(block, now)
            if rtt_s is not None:
                self.outbound.rtt_s = rtt_s

    def _on_keyframe_request(self, ssrc: int, now: float) -> None:
        forwarder = self._by_ssrc.get(ssrc)
        if forwarder is not None:
            forwarder.on_keyframe_request(now)

    def _answer_reference_time(self, message: ReceiverReferenceTime) -> None:
        # At once, so that the delay is none.
        own_ssrc = next(iter(self._by_ssrc), None)
        if own_ssrc is not None:
            answer = Dlrr(own_ssrc, (DlrrBlock(message.ssrc, middle_ntp(message.ntp), 0),))
            self.outbound.send_rtcp(answer.build())

    def _on_dlrr(self, message: Dlrr, now: float) -> None:
        own = {producer.config.receiver_ssrc for producer in self._demux.producers}
        for block in message.blocks:
            if block.ssrc not in own:
                continue
            rtt_s = round_trip_s(self.outbound.outbox.ntp_s(now), block.last_rr, block.delay)
            if rtt_s is not None:
                self.link.rtt_s = rtt_s
                self._emit(PublisherRtt(self.transport_id, rtt_s))
