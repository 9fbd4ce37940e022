"""One received layer of a track: order, duplicates, loss, keyframes, and who it is forwarded to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from sfu.plane.interface import Codec, ExtensionIds, LayerStats, LayerSummary
from sfu.plane.nack import NackGenerator
from sfu.plane.packets import FORWARDED_EXTENSIONS, MediaPacket, forwarded_ids, inspect_payload
from sfu.plane.reports import ReceptionStats
from sfu.plane.rtp import RtpPacket
from sfu.plane.sequence import Unwrapper
from sfu.plane.store import PacketStore
from sfu.plane.timestamps import SenderClock
from sfu.plane.vp8 import Vp8Descriptor

if TYPE_CHECKING:
    from sfu.plane.forwarder import Forwarder

__all__ = ["Layer"]

# A jump further than this is a restarted sender rather than loss (MAX_DROPOUT of RFC 3550 A.1).
_MAX_JUMP = 3000
# As far back as the store and the duplicate window reach.
_WINDOW = 1024
# A keyframe whose first packet came late is still a start when no more than this has arrived since: a tenth of a second of video.
_MAX_REPLAY = 64
# Pictures without an id are known by their timestamp for as long as reordering lasts.
_MAX_TIMESTAMPS = 32


class _PictureNumbers:
    """Straight picture numbers, whatever the width of the sender's ids, and without any."""

    def __init__(self) -> None:
        self._unwrapper: Unwrapper | None = None
        self._bits = 0
        self._shift = 0
        self._highest = 0
        self._by_timestamp: dict[int, int] = {}

    def number(self, descriptor: Vp8Descriptor, timestamp: int) -> int:
        """Return the number of the picture that a packet belongs to."""
        if descriptor.picture_id is None:
            number = self._by_timestamp.get(timestamp)
            if number is None:
                number = self._highest + 1
                self._by_timestamp[timestamp] = number
                if len(self._by_timestamp) > _MAX_TIMESTAMPS:
                    del self._by_timestamp[next(iter(self._by_timestamp))]
        else:
            if self._unwrapper is None or self._bits != descriptor.picture_id_bits:
                # The sender changed the width of its ids: what follows continues the count.
                self._bits = descriptor.picture_id_bits
                self._unwrapper = Unwrapper(self._bits)
                self._shift = self._highest + 1 - self._unwrapper.peek(descriptor.picture_id)
            number = self._unwrapper.unwrap(descriptor.picture_id) + self._shift
        self._highest = max(self._highest, number)
        return number


class Layer:
    """One layer; `receive` takes its packets, media and repaired ones alike.

    Memory is bounded whatever the publisher sends: 1024 packets in the store, 1000 missing numbers, a few hundred runs.
    """

    def __init__(
        self, spatial: int, rate_hz: int, extensions: ExtensionIds, on_keyframe: Callable[[int], None], *, repair: bool
    ) -> None:
        self.spatial = spatial
        self.ssrc: int | None = None
        self.rtx_ssrc: int | None = None
        self.forwarding: list[Forwarder] = []
        """Who is sent this layer."""
        self.waiting: list[Forwarder] = []
        """Who will be, from its next keyframe on."""
        self.active = False
        self.height = 0
        self.last_packet_s = -math.inf
        self.nacks_sent = 0
        self.keyframe_requests_sent = 0
        self.keyframe_wanted = False
        """Set when too much was lost to repair; for the owner to ask and clear."""
        self._on_keyframe = on_keyframe
        self._repair = repair
        self._rate_hz = rate_hz
        self._extras = {element_id: kind for kind, element_id in enumerate(forwarded_ids(extensions)) if element_id}
        self._packets = self._bytes = self._keyframes = self._repaired = self._lost = 0
        self._interval_bytes = self._interval_frames = self._interval_arrived = 0
        self._interval_s = 0.0
        self._interval_highest = -1
        self._suspect: int | None = None
        self._start_over()

    def _start_over(self) -> None:
        self.clock = SenderClock(self._rate_hz)
        self.store = PacketStore()
        self.nacks = NackGenerator()
        self.reception = ReceptionStats(self._rate_hz)
        self._numbers = Unwrapper(16)
        self._pictures = _PictureNumbers()
        # Padding-only packets are not stored, but they have arrived.
        self._arrived: list[int] = [-1] * _WINDOW
        self._frame_timestamp: int | None = None
        self._interval_highest = -1

    def bind(self, ssrc: int) -> None:
        """Receive this SSRC from now on; another one than before starts the layer over, and its subscribers wait for a keyframe."""
        if self.ssrc is not None:
            self.reset()
        self.ssrc = ssrc

    def reset(self) -> None:
        """Start over: nothing that was received is related to what follows."""
        self.store.clear()
        self._start_over()
        self.interrupt()

    def interrupt(self) -> None:
        """Stop forwarding until the next start; each subscriber of it waits."""
        for forwarder in tuple(self.forwarding):
            forwarder.interrupt()

    def wanted(self) -> bool:
        """Whether anybody is sent this layer or waits for it: only then is a lost packet worth asking for."""
        return bool(self.forwarding or self.waiting)

    def receive(self, packet: RtpPacket, codec: Codec, now: float, *, recovered: bool, paused: bool) -> str | None:
        """Take a packet and forward it unless ``paused``; return why it was dropped, None when it was not.

        ``recovered`` packets came through RTX and count apart. Raises MediaError when its payload is broken.
        """
        number = self._numbers.peek(packet.sequence)
        highest = self._numbers.highest
        if highest >= 0 and not highest - _WINDOW < number <= highest + _MAX_JUMP:
            if recovered or self._suspect != packet.sequence:
                # One packet alone proves nothing; two in a row are a sender that restarted (RFC 3550 A.1).
                self._suspect = None if recovered else packet.sequence + 1 & 0xFFFF
                return "sequence_jump"
            self.reset()
            number = self._numbers.peek(packet.sequence)
            highest = -1
        self._suspect = None
        if self._arrived[number % _WINDOW] == number:
            return "duplicate"
        info = inspect_payload(codec.name, packet.payload) if packet.payload else None
        self._arrived[number % _WINDOW] = number
        self._numbers.unwrap(packet.sequence)
        self._count(packet, number, now, recovered=recovered)
        if self._repair:
            self._track_loss(number, highest, now)
        if info is None:
            # Padding only: nothing for a decoder, so the gap closes.
            for forwarder in self.forwarding:
                forwarder.skip(number)
            return None
        picture = 0 if info.vp8 is None else self._pictures.number(info.vp8, packet.timestamp)
        extras = self._extract(packet)
        media = MediaPacket(packet, number, codec.name, info, picture, extras, now)
        if info.keyframe:
            self._begin_keyframe(number, info.height)
        if paused:
            return None
        if self._repair:
            self.store.put(media)
        for forwarder in self.forwarding:
            forwarder.forward(media, now)
        if info.keyframe and self.waiting:
            self._start_waiting(media, now)
        return None

    def _count(self, packet: RtpPacket, number: int, now: float, *, recovered: bool) -> None:
        size = len(packet.payload) + packet.padding_bytes
        self._packets += 1
        self._bytes += size
        self._interval_bytes += size
        self._interval_arrived += 1
        self.last_packet_s = now
        if recovered:
            self._repaired += 1
        else:
            self.reception.on_packet(number, packet.timestamp, now)
        if packet.timestamp != self._frame_timestamp and packet.payload:
            self._frame_timestamp = packet.timestamp
            self._interval_frames += 1

    def _track_loss(self, number: int, highest: int, now: float) -> None:
        if number < highest:
            self.nacks.on_received(number)
        elif highest >= 0 and number > highest + 1 and self.wanted() and not self.nacks.on_gap(highest + 1, number - 1, now):
            self.keyframe_wanted = True

    def _begin_keyframe(self, number: int, height: int) -> None:
        self._keyframes += 1
        self._on_keyframe(self.spatial)
        self.nacks.forget_before(number)
        if height:
            self.height = height

    def _extract(self, packet: RtpPacket) -> tuple[tuple[int, bytes], ...]:
        wanted = self._extras
        if not wanted:
            return ()
        return tuple((wanted[element_id], value) for element_id, value in packet.extensions.items() if element_id in wanted)

    def _start_waiting(self, packet: MediaPacket, now: float) -> None:
        newest = self._numbers.highest
        if newest - packet.sequence > _MAX_REPLAY:
            return
        started = [forwarder for forwarder in tuple(self.waiting) if forwarder.start(self, packet, now)]
        if not started:
            return
        # The first packet of the keyframe was itself repaired: what came after it is in the store.
        for number in range(packet.sequence + 1, newest + 1):
            later = self.store.get(number)
            if later is not None:
                for forwarder in started:
                    forwarder.forward(later, now)

    def audio_level(self, packet: RtpPacket) -> bytes | None:
        """Return the value of the audio-level extension, None without one."""
        for element_id, value in packet.extensions.items():
            kind = self._extras.get(element_id)
            if kind is not None and FORWARDED_EXTENSIONS[kind] == "audio_level":
                return value
        return None

    def take_summary(self, producer_id: int, now: float, *, active: bool) -> LayerSummary | None:
        """Return what happened since the last call; None while nothing does and nothing changed."""
        if not active and not self.active:
            return None
        self.active = active
        elapsed_s = max(now - self._interval_s, 1e-3)
        highest = self._numbers.highest
        expected = highest - self._interval_highest if self._interval_highest >= 0 else self._interval_arrived
        lost = max(expected - self._interval_arrived, 0)
        self._lost += lost
        summary = LayerSummary(
            producer_id=producer_id,
            spatial=self.spatial,
            active=active,
            bitrate_bps=round(8 * self._interval_bytes / elapsed_s) if active else 0,
            frames_per_s=self._interval_frames / elapsed_s if active else 0.0,
            loss_fraction=lost / expected if expected > 0 and active else 0.0,
            jitter_s=self.reception.jitter_s,
            height=self.height,
        )
        self._interval_bytes = self._interval_frames = self._interval_arrived = 0
        self._interval_s = now
        self._interval_highest = highest
        if not active:
            # When it resumes, what is missing from before is no longer of use to anybody.
            self.nacks.clear()
        return summary

    def stats(self) -> LayerStats:
        """Return the totals."""
        return LayerStats(
            spatial=self.spatial,
            ssrc=self.ssrc or 0,
            packets=self._packets,
            bytes=self._bytes,
            keyframes=self._keyframes,
            packets_lost=self._lost,
            packets_repaired=self._repaired,
            nacks_sent=self.nacks_sent,
            keyframe_requests_sent=self.keyframe_requests_sent,
        )
