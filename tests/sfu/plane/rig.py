"""Two ends of a media plane in simulated time: a publisher that speaks SRTP like a browser, and subscribers that collect."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sfu.plane import (
    Codec,
    ConsumerConfig,
    ExtensionIds,
    Path,
    PlaneEvent,
    ProducerConfig,
    PurePlane,
    RtpPacket,
    SrtpContext,
    SrtpKeys,
    SrtpProfile,
    build_rtp,
    parse_rtcp,
    parse_rtp,
)
from sfu.plane.rtcp import RtcpMessage, SenderReport

Message = TypeVar("Message")
Event = TypeVar("Event")

NTP_OFFSET_S = 3_900_000_000.0
PUBLISHER, SUBSCRIBER = 1, 2
VIDEO, AUDIO = 10, 11
VP8 = Codec(96, "VP8", 90_000, 97)
H264 = Codec(102, "H264", 90_000, 103)
OPUS = Codec(111, "opus", 48_000)
PUBLISHER_IDS = ExtensionIds(
    mid=9, rid=10, repaired_rid=11, abs_send_time=2, transport_cc=4, audio_level=12, video_orientation=3, playout_delay=5
)
SUBSCRIBER_IDS = ExtensionIds(mid=4, abs_send_time=2, transport_cc=3, audio_level=1, video_orientation=7)
RIDS = ("q", "h", "f")


def keys(seed: int) -> SrtpKeys:
    return SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, bytes([seed]) * 28, bytes([seed + 1]) * 28)


def reversed_keys(given: SrtpKeys) -> SrtpKeys:
    return SrtpKeys(given.profile, given.outbound, given.inbound)


def vp8_payload(
    size: int, *, picture: int, tl0: int, temporal: int = 0, start: bool, keyframe: bool, keyidx: int = 0, sync: bool = False
) -> bytes:
    head = bytes((0x80 | (0x10 if start else 0), 0xF0))
    head += (0x8000 | picture & 0x7FFF).to_bytes(2, "big") + bytes(
        (tl0 & 0xFF, temporal << 6 | (0x20 if sync else 0) | keyidx & 0x1F)
    )
    tag = bytes((0 if keyframe else 1, 2, 3)) + (b"\x9d\x01\x2a" + bytes((64, 1, 180, 0)) if keyframe else bytes(7))
    return head + (tag if start else bytes(10)) + bytes(max(size - 16, 0))


@dataclass
class SimulatedLayer:
    """One encoding of a publisher: VP8 with picture ids and three temporal layers, as Chromium sends."""

    ssrc: int
    rtx_ssrc: int
    rid: str | None
    sequence: int
    timestamp_base: int
    picture: int
    tl0: int
    packets_per_frame: int = 2
    payload_bytes: int = 200
    keyidx: int = 0
    frame: int = 0
    rtx_sequence: int = 500
    sent: dict[int, RtpPacket] = field(default_factory=dict)

    def next_frame(self, now: float, *, keyframe: bool = False, temporal: int | None = None) -> list[RtpPacket]:
        keyframe = keyframe or self.frame == 0
        if temporal is None:
            temporal = 0 if keyframe else (0, 2, 1, 2)[self.frame % 4]
        if keyframe:
            self.frame = 0
            self.keyidx += 1
        self.frame += 1
        self.picture += 1
        if temporal == 0:
            self.tl0 += 1
        timestamp = (self.timestamp_base + round(now * 90_000)) & 0xFFFFFFFF
        packets = []
        for index in range(self.packets_per_frame):
            payload = vp8_payload(
                self.payload_bytes + index,
                picture=self.picture,
                tl0=self.tl0,
                temporal=temporal,
                start=index == 0,
                keyframe=keyframe,
                keyidx=self.keyidx,
                sync=temporal == 1,
            )
            # The last bytes tell the tests what this was before it was forwarded.
            payload += bytes((self.ssrc & 0xFF, self.frame - 1 & 0xFF, temporal))
            packet = RtpPacket(
                96, self.sequence & 0xFFFF, timestamp, self.ssrc, payload, marker=index == self.packets_per_frame - 1
            )
            self.sequence += 1
            packets.append(packet)
            self.sent[packet.sequence] = packet
        return packets

    def padding(self, now: float) -> RtpPacket:
        timestamp = (self.timestamp_base + round(now * 90_000)) & 0xFFFFFFFF
        packet = RtpPacket(96, self.sequence & 0xFFFF, timestamp, self.ssrc, b"", padding_bytes=100)
        self.sequence += 1
        return packet


class Peer:
    """The far end of one transport."""

    def __init__(self, rig: Rig, transport_id: int) -> None:
        self.path = f"path{transport_id}"
        self.transport_id = transport_id
        self._rig = rig
        given = keys(transport_id * 10)
        self.srtp = SrtpContext(reversed_keys(given))
        self.packets: list[RtpPacket] = []
        self.arrivals: list[float] = []
        self.control: list[RtcpMessage] = []
        self.on_packet: Callable[[RtpPacket], None] | None = None
        rig.plane.add_transport(transport_id)
        rig.plane.set_keys(transport_id, given)
        rig.plane.set_path(transport_id, self.path)

    def take(self, datagram: bytes) -> None:
        if 192 <= datagram[1] <= 223:
            self.control += parse_rtcp(self.srtp.unprotect_rtcp(datagram))
            return
        packet = parse_rtp(self.srtp.unprotect_rtp(datagram))
        self.packets.append(packet)
        self.arrivals.append(self._rig.now)
        if self.on_packet is not None:
            self.on_packet(packet)

    def of(self, ssrc: int) -> list[RtpPacket]:
        return [packet for packet in self.packets if packet.ssrc == ssrc]

    def messages(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.control if isinstance(message, kind)]

    def send_rtcp(self, *messages: RtcpMessage) -> None:
        self._rig.receive(self.srtp.protect_rtcp(b"".join(message.build() for message in messages)), self.path)


class Publisher(Peer):
    """A browser that publishes: MID and RID until told off, transport-wide numbers, answers to NACK and PLI when asked to."""

    def __init__(self, rig: Rig, transport_id: int = PUBLISHER, *, ids: ExtensionIds = PUBLISHER_IDS) -> None:
        super().__init__(rig, transport_id)
        self.ids = ids
        self.transport_sequence = 65_000
        self.layers = [
            SimulatedLayer(
                0x1000 + index, 0x2000 + index, rid, 65_400 + 1000 * index, 1 << 20 + 3 * index, 32_700 + index, 250 + index
            )
            for index, rid in enumerate(RIDS)
        ]

    def protect(self, packet: RtpPacket, *, mid: str | None = "v", rid: str | None = None, repaired: bool = False) -> bytes:
        extensions: dict[int, bytes] = dict(packet.extensions)
        if mid is not None:
            extensions[self.ids.mid] = mid.encode()
        if rid is not None:
            extensions[self.ids.repaired_rid if repaired else self.ids.rid] = rid.encode()
        if self.ids.transport_cc:
            extensions[self.ids.transport_cc] = (self.transport_sequence & 0xFFFF).to_bytes(2, "big")
            self.transport_sequence += 1
        wire = RtpPacket(
            packet.payload_type,
            packet.sequence,
            packet.timestamp,
            packet.ssrc,
            packet.payload,
            marker=packet.marker,
            extensions=extensions,
            padding_bytes=packet.padding_bytes,
        )
        return self.srtp.protect_rtp(build_rtp(wire))

    def send(self, packet: RtpPacket, *, mid: str | None = "v", rid: str | None = None, repaired: bool = False) -> None:
        self._rig.receive(self.protect(packet, mid=mid, rid=rid, repaired=repaired), self.path)

    def send_frame(self, layer: SimulatedLayer, *, keyframe: bool = False, temporal: int | None = None) -> list[RtpPacket]:
        packets = layer.next_frame(self._rig.now, keyframe=keyframe, temporal=temporal)
        for packet in packets:
            self.send(packet, rid=layer.rid)
        return packets

    def repair(self, layer: SimulatedLayer, sequence: int) -> RtpPacket:
        original = layer.sent[sequence]
        payload = sequence.to_bytes(2, "big") + original.payload
        packet = RtpPacket(97, layer.rtx_sequence & 0xFFFF, original.timestamp, layer.rtx_ssrc, payload, marker=original.marker)
        layer.rtx_sequence += 1
        return packet

    def send_report(self, layer: SimulatedLayer) -> None:
        ntp = int((self._rig.now + NTP_OFFSET_S + 12.5) * (1 << 32))
        timestamp = (layer.timestamp_base + round(self._rig.now * 90_000)) & 0xFFFFFFFF
        self.send_rtcp(SenderReport(layer.ssrc, ntp, timestamp, 1, 1))


class Rig:
    """A plane, the time, and everybody connected to it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.plane = PurePlane(NTP_OFFSET_S)
        self.peers: dict[Path, Peer] = {}
        self.events: list[PlaneEvent] = []
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.publisher = Publisher(self)
        self.add(self.publisher)
        self.subscriber = self.add(Peer(self, SUBSCRIBER))

    def add(self, peer: Peer) -> Peer:
        self.peers[peer.path] = peer
        return peer

    def publish_video(self, *, rids: tuple[str, ...] = RIDS, codec: Codec = VP8, producer_id: int = VIDEO) -> None:
        self.plane.add_producer(
            ProducerConfig(producer_id, PUBLISHER, "video", "v", (codec,), self.publisher.ids, rids, receiver_ssrc=77)
        )

    def publish_audio(self) -> None:
        self.plane.add_producer(ProducerConfig(AUDIO, PUBLISHER, "audio", "a", (OPUS,), self.publisher.ids, receiver_ssrc=77))

    def consume(
        self,
        consumer_id: int,
        *,
        producer_id: int = VIDEO,
        transport_id: int = SUBSCRIBER,
        codec: Codec = VP8,
        rtx: bool = True,
        ids: ExtensionIds = SUBSCRIBER_IDS,
        first_sequence: int = 2000,
    ) -> ConsumerConfig:
        codec = Codec(codec.payload_type + 10, codec.name, codec.clock_rate_hz, codec.payload_type + 11 if rtx else None)
        config = ConsumerConfig(
            consumer_id,
            transport_id,
            producer_id,
            f"m{consumer_id}",
            codec,
            ids,
            ssrc=0x5000 + consumer_id,
            rtx_ssrc=0x6000 + consumer_id if rtx else None,
            cname="someone",
            first_sequence=first_sequence,
            first_rtx_sequence=3000,
            first_timestamp=4_294_900_000,
        )
        self.plane.add_consumer(config)
        return config

    def target(self, consumer_id: int, spatial: int | None, temporal: int = 255) -> None:
        self.plane.set_target(consumer_id, spatial, temporal, now=self.now)
        self.drain()

    def receive(self, data: bytes, path: Path) -> None:
        self.plane.receive(data, path, self.now)
        self.drain()

    def drain(self) -> None:
        for datagram, path in self.plane.take_datagrams():
            self.peers[path].take(datagram)
        self.plane.take_control()
        self.events += self.plane.take_events()

    def call_later(self, delay_s: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._later, (self.now + delay_s, next(self._order), action))

    def run_until(self, target_s: float) -> None:
        """Fire every alarm of the plane and every action of the test in the order of their times."""
        while True:
            deadline_s, _ = self.plane.next_deadline()
            action_s = self._later[0][0] if self._later else math.inf
            at_s = min(deadline_s, action_s)
            if at_s > target_s:
                break
            self.now = max(self.now, at_s)
            if action_s <= deadline_s:
                heapq.heappop(self._later)[2]()
            else:
                self.plane.handle_timer(self.now)
                self.drain()
        self.now = target_s

    def advance(self, delta_s: float) -> None:
        self.run_until(self.now + delta_s)

    def events_of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]
