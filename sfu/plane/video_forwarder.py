"""Video on its way out to one subscriber: entering layers at keyframes, VP8 numbers, temporal layers, retransmission."""

from __future__ import annotations

from sfu.plane.forwarder import Forwarder, ForwarderHooks
from sfu.plane.interface import ConsumerConfig, ConsumerStats
from sfu.plane.layers import Layer
from sfu.plane.outbound import Outbound
from sfu.plane.packets import MediaPacket
from sfu.plane.sequence import NumberMap
from sfu.plane.store import SentEntry, SentLog
from sfu.plane.vp8 import Vp8Descriptor, encode_vp8_descriptor

__all__ = ["VideoForwarder"]

# VP8 has temporal layers 0 to 3; a cap of 3 or more drops nothing.
_ALL_TEMPORAL = 3
# As many as libwebrtc asks for at most, and as many as the log holds: a single packet can name 6000.
_MAX_REQUESTED = 1000
# How long retransmissions stay off while the subscriber waits for a keyframe that it asked for: as long as the slowest repetition
# of the request, for then the keyframe itself is overdue.
_KEYFRAME_PATIENCE_S = 1.0


class VideoForwarder(Forwarder):
    """Forwards one layer at a time; `set_target` names the layer, a keyframe of it makes the change."""

    def __init__(self, config: ConsumerConfig, layers: tuple[Layer, ...], outbound: Outbound, hooks: ForwarderHooks) -> None:
        super().__init__(config, layers, outbound, hooks)
        self._awaited: Layer | None = None
        self._last_marker = True
        self._log = SentLog()
        self._rtx_sequence = config.first_rtx_sequence
        # Without RTX the same packet is sent again, byte for byte, and therefore kept.
        rtx_type = config.codec.rtx_payload_type
        self._rtx_type = rtx_type if config.rtx_ssrc is not None else None
        self._rtx_ssrc = config.rtx_ssrc or 0
        self._keyframe_sequence = config.first_sequence
        self._keyframe_awaited_until_s = 0.0
        self._retransmissions = self._refused = self._keyframe_requests = 0
        self._pictures = NumberMap()
        self._next_picture: int | None = None
        self._next_tl0 = 0
        self._tl0_offset = 0
        self._next_keyidx = 0
        self._keyidx_offset = 0
        self._temporal_cap = self._temporal = _ALL_TEMPORAL
        self._filtering = False
        self._newest_dropped = False
        self._newest_marker = True

    # --------------------------------------------------------------------------------------------- which layer

    def set_target(self, spatial: int | None, temporal: int, now: float) -> None:
        """Go to that layer at its next keyframe; a layer that the producer does not have counts as its highest."""
        if spatial is not None:
            spatial = min(max(spatial, 0), len(self._layers) - 1)
        self._target = spatial
        self._temporal_cap = min(temporal, _ALL_TEMPORAL)
        self._temporal = min(self._temporal, self._temporal_cap)
        filtering = self._temporal < _ALL_TEMPORAL
        if filtering and not self._filtering:
            # Nothing is known about the newest packet; both values lead to the careful choice.
            self._newest_dropped = self._newest_marker = False
        self._filtering = filtering
        if spatial is None:
            self._await(None)
            if self.layer is not None:
                self._leave()
                self._emit_nothing()
        elif self.layer is self._layers[spatial]:
            self._await(None)
        else:
            self._await(self._layers[spatial])
            self.wake(now)

    def _await(self, layer: Layer | None) -> None:
        if self._awaited is layer:
            return
        if self._awaited is not None:
            self._awaited.waiting.remove(self)
            self._hooks.release_keyframe(self._awaited)
        self._awaited = layer
        if layer is not None:
            layer.waiting.append(self)

    def wake(self, now: float) -> None:
        if self._awaited is not None and self._outbound.ready:
            self._hooks.need_keyframe(self._awaited, now)

    def interrupt(self) -> None:
        if self.layer is not None:
            self._leave()
            self._emit_nothing()
        if self._target is not None:
            self._await(self._layers[self._target])

    def close(self) -> None:
        self._await(None)
        super().close()

    def start(self, layer: Layer, packet: MediaPacket, now: float) -> bool:
        if not self._outbound.ready or packet.codec != self._codec_name:
            return False
        if not self._clock.start(layer.clock, packet.timestamp, now):
            self._hooks.need_keyframe(layer, now)
            return False
        # A hole before the new layer tells the decoder that the picture before it is incomplete; nothing will ever fill it.
        self._next_sequence += 0 if self._last_marker else 1
        self._sequences.restart(packet.sequence, self._next_sequence)
        if packet.vp8 is not None:
            self._start_pictures(packet, packet.vp8)
        self._temporal = self._temporal_cap
        self._filtering = self._temporal < _ALL_TEMPORAL
        self._newest_dropped = self._newest_marker = False
        self._await(None)
        self._enter(layer)
        self.forward(packet, now)
        return True

    def _start_pictures(self, packet: MediaPacket, vp8: Vp8Descriptor) -> None:
        if self._next_picture is None:
            self._next_picture = vp8.picture_id or 0
            self._next_tl0 = vp8.tl0picidx or 0
            self._next_keyidx = vp8.keyidx or 0
        self._pictures.restart(packet.picture, self._next_picture)
        self._tl0_offset = self._next_tl0 - (vp8.tl0picidx or 0)
        self._keyidx_offset = self._next_keyidx - (vp8.keyidx or 0)

    # --------------------------------------------------------------------------------------------- each packet

    def forward(self, packet: MediaPacket, now: float) -> None:
        if not self._outbound.ready or packet.codec != self._codec_name:
            return
        vp8 = packet.vp8
        if vp8 is not None and self._filtering and not self._admit(packet, vp8):
            return
        sequence = self._sequences.forward(packet.sequence)
        if sequence is None:
            return
        descriptor = b""
        if vp8 is not None:
            picture = self._pictures.forward(packet.picture)
            if picture is None:
                # Older than the keyframe at which this layer was entered.
                return
            descriptor = self._describe(vp8, picture)
        timestamp = packet.timestamp + self._clock.offset & 0xFFFFFFFF
        if sequence >= self._next_sequence:
            self._next_sequence = sequence + 1
            self._last_marker = packet.marker
            self._clock.sent(timestamp, now)
        if packet.keyframe:
            self._on_keyframe_sent(sequence)
        datagram = self._transmit(packet, sequence, timestamp, descriptor, now)
        layer = self.layer
        if datagram is not None and layer is not None:
            kept = None if self._rtx_type is not None else datagram
            self._log.put(SentEntry(sequence, packet.sequence, layer.store, timestamp, descriptor, kept, now))

    def _describe(self, vp8: Vp8Descriptor, picture: int) -> bytes:
        tl0 = vp8.tl0picidx
        if tl0 is not None:
            tl0 = tl0 + self._tl0_offset & 0xFF
        keyidx = vp8.keyidx
        if keyidx is not None:
            keyidx = keyidx + self._keyidx_offset & 0x1F
        if self._next_picture is None or picture >= self._next_picture:
            self._next_picture = picture + 1
            if tl0 is not None:
                self._next_tl0 = tl0 + 1 & 0xFF
            if keyidx is not None:
                self._next_keyidx = keyidx + 1 & 0x1F
        return encode_vp8_descriptor(vp8, picture & 0x7FFF, tl0, keyidx)

    def _on_keyframe_sent(self, sequence: int) -> None:
        self._keyframe_sequence = max(self._keyframe_sequence, sequence)
        self._keyframe_awaited_until_s = 0.0
        self._temporal = self._temporal_cap

    def _admit(self, packet: MediaPacket, vp8: Vp8Descriptor) -> bool:
        """Decide, once per picture, whether its temporal layer is wanted, and close the gap when it is not."""
        sequences = self._sequences
        pictures = self._pictures
        before = sequences.highest
        if packet.sequence <= before:
            return True
        newest_picture = pictures.highest
        previous_dropped, previous_marker = self._newest_dropped, self._newest_marker
        self._newest_marker = packet.marker
        if packet.picture <= newest_picture:
            if previous_dropped and packet.picture == newest_picture:
                # What is missing between two packets of a picture is of the same picture.
                sequences.drop(before + 1, packet.sequence)
                return False
            return True
        follows = packet.picture == newest_picture + 1
        if self._wants(vp8, keyframe=packet.keyframe):
            if previous_dropped and follows and vp8.start and packet.sequence > before + 1:
                # The end of the dropped picture was lost on the way: it would have been dropped too.
                sequences.drop(before + 1, packet.sequence - 1)
            self._newest_dropped = False
            return True
        if packet.sequence == before + 1 or follows and (previous_dropped or previous_marker and not vp8.start):
            first = before + 1
        elif follows and vp8.start:
            first = packet.sequence
        else:
            # What is missing may belong to a wanted picture or to this one; the gap must stay, so this picture is sent as well.
            self._newest_dropped = False
            return True
        pictures.drop(packet.picture, packet.picture)
        sequences.drop(first, packet.sequence)
        self._newest_dropped = True
        return False

    def _wants(self, vp8: Vp8Descriptor, *, keyframe: bool) -> bool:
        temporal = vp8.temporal
        if temporal is None or temporal <= self._temporal or keyframe:
            return True
        if temporal <= self._temporal_cap and vp8.sync:
            self._temporal = temporal
            return True
        return False

    # --------------------------------------------------------------------------------------------- what the subscriber asks for

    def on_keyframe_request(self, now: float) -> None:
        self._keyframe_requests += 1
        if self.layer is not None and self._hooks.pass_on_complaint(self.layer, now):
            # A keyframe is on its way, and makes repairing what is before it a waste.
            self._keyframe_awaited_until_s = now + _KEYFRAME_PATIENCE_S

    def retransmit(self, sequences: tuple[int, ...], now: float) -> None:
        newest = self._next_sequence - 1
        for wire in sequences[:_MAX_REQUESTED]:
            sequence = newest + ((wire - newest + 0x8000) & 0xFFFF) - 0x8000
            claimed = None
            if sequence >= self._keyframe_sequence and now >= self._keyframe_awaited_until_s:
                claimed = self._log.claim(sequence, now, self._outbound.rtt_s)
            if claimed is None:
                self._refused += 1
            else:
                self._send_again(*claimed, now)

    def _send_again(self, entry: SentEntry, packet: MediaPacket, now: float) -> None:
        outbound = self._outbound
        if not outbound.ready:
            return
        self._retransmissions += 1
        if self._rtx_type is None:
            if entry.datagram is not None:
                outbound.send_again(entry.datagram)
                self._bytes += len(entry.datagram)
            return
        header = self._writer.write(
            packet.marker << 7 | self._rtx_type,
            self._rtx_sequence & 0xFFFF,
            entry.timestamp,
            self._rtx_ssrc,
            outbound.outbox.abs_send_time(now),
            outbound.history.next_sequence & 0xFFFF,
            packet.extras,
        )
        original = (entry.sequence & 0xFFFF).to_bytes(2, "big")
        plain = b"".join((header, original, entry.descriptor, packet.body))
        datagram = outbound.send_rtp(plain, now, numbered=self._numbered)
        if datagram is not None:
            self._rtx_sequence += 1
            self._bytes += len(datagram)

    def stats(self) -> ConsumerStats:
        return ConsumerStats(
            consumer_id=self.config.consumer_id,
            packets=self._packets,
            bytes=self._bytes,
            retransmissions=self._retransmissions,
            retransmissions_refused=self._refused,
            switches=self._switches,
            keyframe_requests=self._keyframe_requests,
            spatial=None if self.layer is None else self.layer.spatial,
            target_spatial=self._target,
        )
