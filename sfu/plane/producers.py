"""A track that comes in: its layers, its keyframe requests, its summaries."""

from __future__ import annotations

import math
from collections.abc import Callable

from sfu.plane.audio import AudioMeter
from sfu.plane.forwarder import Forwarder, ForwarderHooks
from sfu.plane.interface import Codec, PlaneEvent, ProducerConfig, ProducerStats, Timer
from sfu.plane.keyframes import KeyframeRequests
from sfu.plane.layers import Layer
from sfu.plane.rtcp import Nack, Pli
from sfu.plane.rtp import RtpPacket
from sfu.plane.schedule import Schedule

__all__ = ["Producer", "PublisherLink"]

_VIDEO_SUMMARY_S = 0.5
_AUDIO_SUMMARY_S = 0.1
# A camera layer that is silent this long while another layer of it is not has been switched off by its encoder.
_LAYER_STALL_S = 1.5
# A still screen may send a frame only every few seconds, on all layers alike.
_TRACK_STALL_S = 5.0
# A second source for a layer is refused while the first one lives; at 5 frames per second its packets are 200 ms apart.
_SOURCE_ALIVE_S = 0.5
# Until a round trip is measured: a path within a continent.
_DEFAULT_RTT_S = 0.1


class PublisherLink:
    """What a producer needs from the transport that it arrives on."""

    __slots__ = ("rtt_s", "send_rtcp")

    def __init__(self, send_rtcp: Callable[[bytes], None]) -> None:
        self.send_rtcp = send_rtcp
        self.rtt_s = _DEFAULT_RTT_S


class Producer:
    """One producer; packets reach it through the transport's demultiplexer."""

    def __init__(
        self,
        config: ProducerConfig,
        schedule: Schedule,
        link: PublisherLink,
        emit: Callable[[PlaneEvent], None],
        report_first: Callable[[Forwarder, float], None],
    ) -> None:
        self.config = config
        self.paused = False
        self.forwarders: list[Forwarder] = []
        self._link = link
        self._emit = emit
        self._report_first = report_first
        self._is_video = config.kind == "video"
        self._codecs = {codec.payload_type: codec for codec in config.codecs}
        self._repaired_codecs = {codec.rtx_payload_type: codec for codec in config.codecs if codec.rtx_payload_type is not None}
        rate_hz = config.codecs[0].clock_rate_hz if config.codecs else 90_000
        self.requests = KeyframeRequests()
        self.layers = tuple(
            Layer(spatial, rate_hz, config.extensions, self.requests.on_keyframe, repair=self._is_video)
            for spatial in range(max(len(config.rids), 1))
        )
        self._meter = AudioMeter()
        self._nack_alarm = schedule.alarm(Timer.NACK, self._send_nacks)
        self._keyframe_alarm = schedule.alarm(Timer.KEYFRAME_REQUEST, self._send_keyframe_requests)
        self._summary_alarm = schedule.alarm(Timer.SUMMARY, self._summarise)
        self.hooks = ForwarderHooks(emit, self._need_keyframe, self._pass_on_complaint, self._release_keyframe)

    def close(self) -> None:
        """Disarm the alarms."""
        for alarm in (self._nack_alarm, self._keyframe_alarm, self._summary_alarm):
            alarm.cancel()

    # --------------------------------------------------------------------------------------------- packets

    def codec_of(self, payload_type: int) -> Codec | None:
        """Return the codec of a primary payload type."""
        return self._codecs.get(payload_type)

    def repaired_codec_of(self, payload_type: int) -> Codec | None:
        """Return the codec that an RTX payload type repairs."""
        return self._repaired_codecs.get(payload_type)

    def may_bind(self, layer: Layer, now: float) -> bool:
        """Whether another SSRC may take the layer over: the one it has, if any, has fallen silent."""
        return layer.ssrc is None or now - layer.last_packet_s > _SOURCE_ALIVE_S

    def receive(self, layer: Layer, packet: RtpPacket, now: float, *, recovered: bool = False) -> str | None:
        """Take a packet of one of the layers; return why it was dropped, None when it was not. Raises MediaError."""
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            return "payload_type"
        dropped = layer.receive(packet, codec, now, recovered=recovered, paused=self.paused)
        if dropped is not None:
            return dropped
        if self._is_video:
            self._nack_alarm.set_no_later(layer.nacks.deadline)
            if layer.keyframe_wanted:
                layer.keyframe_wanted = False
                self._need_keyframe(layer, now)
            self._summary_alarm.set_no_later(now + _VIDEO_SUMMARY_S)
        else:
            self._meter.on_packet(layer.audio_level(packet))
            self._summary_alarm.set_no_later(now + _AUDIO_SUMMARY_S)
        return None

    def receive_repaired(self, layer: Layer, packet: RtpPacket, now: float) -> str | None:
        """Take a packet of a layer's RTX stream (RFC 4588 4); as `receive`."""
        codec = self.repaired_codec_of(packet.payload_type)
        if codec is None:
            return "payload_type"
        if len(packet.payload) < 3:
            # Probing: browsers send RTX packets that repair nothing, even before the layer itself.
            return "rtx_padding"
        if layer.ssrc is None:
            return "rtx_before_primary"
        packet.sequence = packet.payload[0] << 8 | packet.payload[1]
        packet.payload = packet.payload[2:]
        packet.payload_type = codec.payload_type
        packet.ssrc = layer.ssrc
        return self.receive(layer, packet, now, recovered=True)

    def on_first_report(self, layer: Layer, now: float) -> None:
        """The first sender report of a layer came: those who are sent it can be told its time."""
        for forwarder in layer.forwarding:
            forwarder.report_due = True
            self._report_first(forwarder, now)

    def set_paused(self, paused: bool, now: float) -> None:
        """Stop or resume forwarding."""
        if paused == self.paused:
            return
        self.paused = paused
        for forwarder in self.forwarders:
            if paused:
                forwarder.interrupt()
            else:
                forwarder.wake(now)
        if paused:
            for layer in self.layers:
                # What was sent before the pause must not be sent again after it.
                layer.store.clear()

    # --------------------------------------------------------------------------------------------- keyframes and repair

    def _need_keyframe(self, layer: Layer, now: float) -> None:
        if self.paused:
            return
        self.requests.need(layer.spatial, now)
        self._ask_for_keyframes(now)

    def _pass_on_complaint(self, layer: Layer, now: float) -> bool:
        passed = not self.paused and self.requests.complain(layer.spatial, now)
        self._ask_for_keyframes(now)
        return passed

    def _release_keyframe(self, layer: Layer) -> None:
        if not layer.wanted():
            self.requests.cancel(layer.spatial)

    def _ask_for_keyframes(self, now: float) -> None:
        if self.requests.deadline <= now:
            self._send_keyframe_requests(now)
        else:
            self._keyframe_alarm.set_no_later(self.requests.deadline)

    def _send_keyframe_requests(self, now: float) -> None:
        for spatial in self.requests.due(now, self._link.rtt_s):
            layer = self.layers[spatial]
            if layer.ssrc is not None:
                layer.keyframe_requests_sent += 1
                self._link.send_rtcp(Pli(self.config.receiver_ssrc, layer.ssrc).build())
        self._keyframe_alarm.set_no_later(self.requests.deadline)

    def _send_nacks(self, now: float) -> None:
        deadline = math.inf
        for layer in self.layers:
            nacks = layer.nacks
            if nacks.deadline <= now:
                ask, gave_up = nacks.due(now, self._link.rtt_s)
                if ask and layer.ssrc is not None:
                    layer.nacks_sent += len(ask)
                    sequences = tuple(number & 0xFFFF for number in ask)
                    self._link.send_rtcp(Nack(self.config.receiver_ssrc, layer.ssrc, sequences).build())
                if gave_up and layer.wanted():
                    self._need_keyframe(layer, now)
            deadline = min(deadline, nacks.deadline)
        self._nack_alarm.set_no_later(deadline)

    # --------------------------------------------------------------------------------------------- summaries

    def _summarise(self, now: float) -> None:
        if not self._is_video:
            levels = self._meter.take(self.config.producer_id)
            if levels is not None:
                self._emit(levels)
                self._summary_alarm.set_no_later(now + _AUDIO_SUMMARY_S)
            return
        newest_s = max(layer.last_packet_s for layer in self.layers)
        any_active = False
        for layer in self.layers:
            silent_s = now - layer.last_packet_s
            active = silent_s < (_LAYER_STALL_S if newest_s - layer.last_packet_s > _VIDEO_SUMMARY_S else _TRACK_STALL_S)
            summary = layer.take_summary(self.config.producer_id, now, active=active)
            if summary is not None:
                self._emit(summary)
            any_active = any_active or active
        if any_active:
            self._summary_alarm.set_no_later(now + _VIDEO_SUMMARY_S)

    def stats(self) -> ProducerStats:
        """Return the totals."""
        return ProducerStats(self.config.producer_id, tuple(layer.stats() for layer in self.layers))
