"""A receiver that forgives nothing: it finds what a decoder or a jitter buffer would stumble over in one forwarded track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sfu.plane import Codec, ExtensionIds, MediaError, RtpPacket, parse_rtp
from sfu.plane.h264 import is_h264_keyframe_start
from sfu.plane.sequence import Unwrapper, signed_difference
from sfu.plane.vp8 import Vp8Descriptor, parse_vp8

__all__ = ["StrictConfig", "StrictReceiver"]

# How long a hole may wait for its repair, in packets: a retransmission takes a round trip or two, which is well below a second of
# video.
_PATIENCE_PACKETS = 256
# A broken stream breaks at every packet; the first hundred violations say what is wrong.
_MAX_VIOLATIONS = 100
# Packets remembered to be compared with retransmissions and duplicates.
_REMEMBERED_PACKETS = 2048


@dataclass(frozen=True, slots=True)
class StrictConfig:
    """What was negotiated for the track; the fields mean what they mean in `sfu.plane.ConsumerConfig`."""

    codec: Codec
    ssrc: int
    rtx_ssrc: int | None
    extensions: ExtensionIds
    mid: str
    layer_of: Callable[[RtpPacket], object] | None = None
    """Tells from a packet which layer it belongs to, for media whose payload shows it."""
    lossy_source: bool = False
    """Whether packets may be missing before they were forwarded: holes are then counted but no violation."""
    flushing_source: bool = False
    """Whether the publisher may leave out what is before a keyframe without a hole in the sequence numbers: `flushes` counts it.

    Chromium does so with whole pictures, as a pacer would that throws away what waits, and has no numbers yet, when a keyframe
    comes; the end of a picture that is on its way may then be missing too. No decoder stumbles over that, for a keyframe needs
    nothing of what is before it. Who can look at what the publisher sent should compare.
    """


class _Checked:
    """One packet with what it says about its frame."""

    __slots__ = ("keyframe", "layer", "packet", "sequence", "start", "vp8")

    def __init__(self, sequence: int, packet: RtpPacket, config: StrictConfig) -> None:
        self.sequence = sequence
        self.packet = packet
        self.vp8: Vp8Descriptor | None = None
        self.start = True
        self.keyframe = True
        name = config.codec.name
        if name == "VP8":
            self.vp8 = parse_vp8(packet.payload)
            self.start = self.vp8.start
            self.keyframe = self.vp8.keyframe
        elif name == "H264":
            self.keyframe = is_h264_keyframe_start(packet.payload) is not None
            # Where a frame starts shows in nothing but the timestamp.
            self.start = True
        self.layer = None if config.layer_of is None else config.layer_of(packet)


class StrictReceiver:
    """Takes the plain RTP packets of one track in the order of their arrival and collects `violations`.

    Checked are SSRC, payload type, padding, header extensions and their ids, duplicates, the contents of retransmissions, holes
    that the network did not make, timestamps, the marker bit, frame starts, VP8 picture ids, TL0PICIDX and KEYIDX, and that another
    layer begins with a keyframe. `lost` names what the network took away for good; what comes late or as RTX needs no naming. A
    hole that is never filled counts once the track is 256 packets further, or at `finish`.
    """

    def __init__(self, config: StrictConfig) -> None:
        self.config = config
        self.violations: list[str] = []
        self.packets = 0
        """Media packets received, retransmitted ones that were missing included."""
        self.frames = 0
        self.keyframes = 0
        self.retransmissions = 0
        self.holes = 0
        """Packets that never came, though the network was not said to have lost them."""
        self.flushes = 0
        """Keyframes before which a flushing source left something out."""
        self._sequences = Unwrapper(16)
        self._waiting: dict[int, RtpPacket] = {}
        self._remembered: dict[int, RtpPacket] = {}
        self._lost: set[int] = set()
        self._transport_sequences: dict[int, None] = {}
        self._rtx_sequences: dict[int, None] = {}
        self._next: int | None = None
        self._previous: _Checked | None = None
        self._frame: _Checked | None = None
        self._frame_broken = False

    # --------------------------------------------------------------------------------------------- input

    def receive(self, data: bytes | RtpPacket) -> None:
        """Take a packet, plain bytes or parsed; nothing is raised."""
        try:
            packet = parse_rtp(data) if isinstance(data, bytes) else data
        except MediaError as failure:
            self._complain(f"not RTP: {failure}")
            return
        self._check_header(packet)
        if packet.ssrc == self.config.ssrc:
            self._take(packet, self._sequences.unwrap(packet.sequence), resent=False)
        elif packet.ssrc == self.config.rtx_ssrc:
            self._take_rtx(packet)
        else:
            self._complain(f"SSRC {packet.ssrc:#x} is not of this track")

    def lost(self, sequence: int) -> None:
        """The network took the media packet with this 16-bit sequence number away, and nobody will repair it."""
        self._lost.add(self._sequences.peek(sequence))
        self._release()

    def finish(self) -> None:
        """Nothing more will come: judge what still waits behind a hole."""
        self._release(force=True)

    def _complain(self, text: str) -> None:
        if len(self.violations) < _MAX_VIOLATIONS:
            self.violations.append(text)

    # --------------------------------------------------------------------------------------------- each packet by itself

    def _check_header(self, packet: RtpPacket) -> None:
        config = self.config
        where = f"packet {packet.sequence} of {packet.ssrc:#x}"
        expected = config.codec.payload_type if packet.ssrc == config.ssrc else config.codec.rtx_payload_type
        if packet.payload_type != expected:
            self._complain(f"{where}: payload type {packet.payload_type} instead of {expected}")
        if packet.padding_bytes:
            self._complain(f"{where}: {packet.padding_bytes} bytes of padding")
        if not packet.payload:
            self._complain(f"{where}: no payload")
        ids = config.extensions
        allowed = {
            ids.mid,
            ids.abs_send_time,
            ids.transport_cc,
            ids.audio_level,
            ids.video_orientation,
            ids.abs_capture_time,
            ids.playout_delay,
        } - {0}
        for element_id in packet.extensions:
            if element_id not in allowed:
                self._complain(f"{where}: header extension {element_id} was not negotiated, or must not be forwarded")
        mid = packet.extensions.get(ids.mid)
        if mid is not None and mid != config.mid.encode():
            self._complain(f"{where}: MID {mid!r} instead of {config.mid!r}")
        for element_id, size in ((ids.abs_send_time, 3), (ids.transport_cc, 2)):
            if element_id and len(packet.extensions.get(element_id, b"")) != size:
                self._complain(f"{where}: header extension {element_id} is missing or not {size} bytes long")
        self._check_transport_sequence(packet, where)

    def _check_transport_sequence(self, packet: RtpPacket, where: str) -> None:
        value = packet.extensions.get(self.config.extensions.transport_cc)
        if value is None:
            return
        if self.config.rtx_ssrc is None and self._sequences.peek(packet.sequence) in self._remembered:
            # Without RTX a packet is sent again byte for byte.
            return
        number = int.from_bytes(value, "big")
        if number in self._transport_sequences:
            self._complain(f"{where}: transport sequence number {number} was used before")
        self._transport_sequences[number] = None
        if len(self._transport_sequences) > _REMEMBERED_PACKETS:
            del self._transport_sequences[next(iter(self._transport_sequences))]

    def _take_rtx(self, packet: RtpPacket) -> None:
        self.retransmissions += 1
        if packet.sequence in self._rtx_sequences:
            self._complain(f"RTX sequence number {packet.sequence} was used before")
        self._rtx_sequences[packet.sequence] = None
        if len(self._rtx_sequences) > _REMEMBERED_PACKETS:
            del self._rtx_sequences[next(iter(self._rtx_sequences))]
        if len(packet.payload) < 3:
            self._complain(f"RTX packet {packet.sequence} repairs nothing")
            return
        sequence = int.from_bytes(packet.payload[:2], "big")
        original = RtpPacket(
            self.config.codec.payload_type,
            sequence,
            packet.timestamp,
            self.config.ssrc,
            packet.payload[2:],
            marker=packet.marker,
            extensions=packet.extensions,
        )
        number = self._sequences.peek(sequence)
        if number > self._sequences.highest:
            self._complain(f"RTX packet {packet.sequence} repairs {sequence}, which is beyond what was sent")
            return
        self._take(original, number, resent=True)

    def _take(self, packet: RtpPacket, number: int, *, resent: bool) -> None:
        known = self._remembered.get(number)
        if known is not None:
            same = (known.payload, known.timestamp, known.marker) == (packet.payload, packet.timestamp, packet.marker)
            if not same:
                self._complain(f"packet {packet.sequence} came twice with different contents")
            elif not resent and self.config.rtx_ssrc is not None:
                self._complain(f"packet {packet.sequence} came twice")
            return
        self._remembered[number] = packet
        if len(self._remembered) > _REMEMBERED_PACKETS:
            del self._remembered[next(iter(self._remembered))]
        if self._next is None:
            self._next = number
        if number < self._next:
            if number not in self._lost:
                self._complain(f"packet {packet.sequence} came after its place was given up, or before the first frame")
            return
        self.packets += 1
        self._waiting[number] = packet
        self._release()

    # --------------------------------------------------------------------------------------------- in order

    def _release(self, *, force: bool = False) -> None:
        while self._next is not None and self._waiting:
            packet = self._waiting.pop(self._next, None)
            if packet is not None:
                self._judge(self._next, packet)
            elif self._next in self._lost or self._is_switch_hole(self._next):
                pass
            elif force or len(self._waiting) > _PATIENCE_PACKETS:
                self.holes += 1
                if not self.config.lossy_source:
                    self._complain(f"packet {self._next & 0xFFFF} was never sent, or never sent again")
                # Judged as a loss, so that the violation is counted once.
                self._lost.add(self._next)
            else:
                return
            self._next += 1

    def _is_switch_hole(self, number: int) -> bool:
        """Tell whether this hole says that the frame before it is incomplete: one number, between no marker and a keyframe."""
        previous = self._previous
        after = self._waiting.get(number + 1)
        if previous is None or after is None or previous.packet.marker or previous.sequence != number - 1:
            return False
        try:
            checked = _Checked(number + 1, after, self.config)
        except MediaError:
            return False
        return checked.start and checked.keyframe and after.timestamp != previous.packet.timestamp

    def _judge(self, number: int, packet: RtpPacket) -> None:
        try:
            checked = _Checked(number, packet, self.config)
        except MediaError as failure:
            self._complain(f"packet {packet.sequence}: {failure}")
            return
        previous = self._previous
        self._previous = checked
        if previous is None:
            self._begin_frame(checked, after_loss=False)
            return
        after_loss = number - previous.sequence > 1 and not (number - previous.sequence == 2 and number - 1 not in self._lost)
        hole = number - previous.sequence > 1
        step = signed_difference(packet.timestamp, previous.packet.timestamp)
        if step < 0:
            self._complain(f"packet {packet.sequence}: timestamp goes back by {-step}")
        if self.config.codec.name == "opus":
            if step == 0:
                self._complain(f"packet {packet.sequence}: same timestamp as the packet before")
            self._begin_frame(checked, after_loss=after_loss)
        elif step != 0:
            flushed = not hole and self._is_flush(previous, checked)
            self.flushes += flushed
            if not (hole or flushed or previous.packet.marker):
                self._complain(f"packet {packet.sequence}: a frame begins, but the one before ended without marker")
            self._begin_frame(checked, after_loss=after_loss, flushed=flushed)
        else:
            if previous.packet.marker:
                self._complain(f"packet {packet.sequence}: the frame goes on after its marker")
            self._continue_frame(previous, checked)

    def _is_flush(self, previous: _Checked, now: _Checked) -> bool:
        """Tell whether something is missing without a hole where only a flushing source may have left it out."""
        if not (self.config.flushing_source and now.keyframe and now.start):
            return False
        ids = [None if checked.vp8 is None else checked.vp8.picture_id for checked in (previous, now)]
        skipped = None not in ids and signed_difference(ids[1] or 0, ids[0] or 0, 15) > 1
        return skipped or not previous.packet.marker

    def _begin_frame(self, checked: _Checked, *, after_loss: bool, flushed: bool = False) -> None:
        sequence = checked.packet.sequence
        before = self._frame
        self._frame = checked
        self.frames += 1
        self.keyframes += checked.keyframe
        if not checked.start and not after_loss:
            self._complain(f"packet {sequence}: a frame begins in its middle")
        if before is None:
            if not checked.keyframe:
                self._complain(f"packet {sequence}: the track does not begin with a keyframe")
        else:
            if checked.layer != before.layer and not (checked.keyframe and checked.start) and not after_loss:
                self._complain(f"packet {sequence}: layer {before.layer} becomes {checked.layer} without a keyframe")
            if checked.vp8 is not None and before.vp8 is not None:
                self._compare_pictures(before.vp8, checked.vp8, sequence, after_loss=after_loss, flushed=flushed)

    def _continue_frame(self, previous: _Checked, checked: _Checked) -> None:
        sequence = checked.packet.sequence
        if checked.layer != previous.layer:
            self._complain(f"packet {sequence}: layer {previous.layer} becomes {checked.layer} within a frame")
        if checked.vp8 is None or previous.vp8 is None:
            return
        if checked.vp8.start:
            self._complain(f"packet {sequence}: a second frame start with the same timestamp")
        for name in ("picture_id", "tl0picidx", "temporal", "keyidx"):
            if getattr(checked.vp8, name) != getattr(previous.vp8, name):
                self._complain(f"packet {sequence}: {name} changes within a frame")

    def _compare_pictures(
        self, before: Vp8Descriptor, now: Vp8Descriptor, sequence: int, *, after_loss: bool, flushed: bool
    ) -> None:
        if before.picture_id is not None:
            if now.picture_id is None:
                self._complain(f"packet {sequence}: picture ids stop")
                return
            if now.picture_id_bits != 15:
                self._complain(f"packet {sequence}: picture id has {now.picture_id_bits} bits")
            step = signed_difference(now.picture_id, before.picture_id, 15)
            if step < 1 or step > 1 and not (after_loss or flushed):
                self._complain(f"packet {sequence}: picture id goes from {before.picture_id} to {now.picture_id}")
        if now.tl0picidx is not None and before.tl0picidx is not None and not (after_loss or flushed):
            expected = before.tl0picidx + (now.temporal == 0) & 0xFF
            if now.tl0picidx != expected:
                self._complain(f"packet {sequence}: TL0PICIDX is {now.tl0picidx} instead of {expected}")
        if now.keyidx is not None and before.keyidx is not None and not after_loss:
            expected = before.keyidx + now.keyframe & 0x1F
            if now.keyidx != expected:
                self._complain(f"packet {sequence}: KEYIDX is {now.keyidx} instead of {expected}")
