"""Payloads that are encrypted end to end: layers are switched by what stays clear, and every frame that is forwarded opens."""

from __future__ import annotations

import random

import pytest

from e2ee.call_keys import KeyRing, SenderKeys, SendKey
from e2ee.frames import Codec
from sfu.plane import ConsumerLayer, LayerSummary, RtpPacket
from sfu.plane.vp8 import parse_vp8
from tests.sfu.plane.rig import H264, Rig, SimulatedLayer
from tests.sfu.plane.rig import VP8 as VP8_CODEC

SPS = bytes.fromhex("6742c01fd9005005bb011000000300100000030140f1832480")
PPS = bytes.fromhex("68ce3c80")
START = b"\x00\x00\x00\x01"
PACKET_BYTES = 300


class EncryptedCamera:
    """A publisher's three layers, sealed under one key with one counter, as a browser's worker does."""

    def __init__(self, rig: Rig, codec: Codec) -> None:
        self.rig = rig
        self.codec = codec
        self.keys = SenderKeys(["them"])
        self.ring = KeyRing[str]()
        for event in self.keys.events_at_start():
            assert isinstance(event, SendKey)
            self.ring.add("us", event.key)
        self.random = random.Random(5)
        self.plain: set[bytes] = set()

    def send(self, index: int, *, keyframe: bool) -> None:
        layer = self.rig.publisher.layers[index]
        layer.picture += 1
        layer.tl0 += 1
        layer.frame += 1
        plain = self.vp8(keyframe) if self.codec is Codec.VP8 else self.h264(keyframe)
        self.plain.add(plain)
        sealed = self.keys.seal(self.codec, "camera", plain)
        payloads = self.cut_vp8(layer, sealed) if self.codec is Codec.VP8 else cut_h264(sealed)
        timestamp = (layer.timestamp_base + round(self.rig.now * 90_000)) & 0xFFFFFFFF
        payload_type = 96 if self.codec is Codec.VP8 else H264.payload_type
        for position, payload in enumerate(payloads):
            last = position == len(payloads) - 1
            packet = RtpPacket(payload_type, layer.sequence & 0xFFFF, timestamp, layer.ssrc, payload, marker=last)
            layer.sequence += 1
            self.rig.publisher.send(packet, rid=layer.rid)

    def vp8(self, keyframe: bool) -> bytes:
        return bytes((0x10 if keyframe else 0x11,)) + self.random.randbytes(700)

    def h264(self, keyframe: bool) -> bytes:
        head = START + SPS + START + PPS + START + b"\x65\x88\x84" if keyframe else START + b"\x41\x9a\x12"
        return head + self.random.randbytes(700)

    def cut_vp8(self, layer: SimulatedLayer, frame: bytes) -> list[bytes]:
        numbers = (0x8000 | layer.picture & 0x7FFF).to_bytes(2, "big") + bytes((layer.tl0 & 0xFF, 0))
        return [
            bytes((0x90 if at == 0 else 0x80, 0xE0)) + numbers + frame[at : at + PACKET_BYTES]
            for at in range(0, len(frame), PACKET_BYTES)
        ]

    def received(self) -> list[bytes]:
        """The frames as the subscriber opens them; each must be one that was sent."""
        pictures: dict[int, list[RtpPacket]] = {}
        for packet in self.rig.subscriber.of(0x5001):
            pictures.setdefault(packet.timestamp, []).append(packet)
        join = join_vp8 if self.codec is Codec.VP8 else join_h264
        frames = [join([packet.payload for packet in packets]) for packets in pictures.values()]
        opened = [self.ring.open("us", self.codec, "camera", frame, 0.0) for frame in frames]
        assert set(opened) <= self.plain
        return opened


def join_vp8(payloads: list[bytes]) -> bytes:
    return b"".join(payload[parse_vp8(payload).size_bytes :] for payload in payloads)


def cut_h264(frame: bytes) -> list[bytes]:
    """Parameter sets in packets of their own, the slice in fragments (FU-A, RFC 6184 5.8), as a browser's packetizer does."""
    payloads = []
    for unit in frame.split(START)[1:]:
        if len(unit) <= PACKET_BYTES:
            payloads.append(unit)
            continue
        pieces = [unit[at : at + PACKET_BYTES] for at in range(1, len(unit), PACKET_BYTES)]
        for position, piece in enumerate(pieces):
            edge = 0x80 if position == 0 else 0x40 if position == len(pieces) - 1 else 0
            payloads.append(bytes((unit[0] & 0xE0 | 28, edge | unit[0] & 0x1F)) + piece)
    return payloads


def join_h264(payloads: list[bytes]) -> bytes:
    frame = b""
    for payload in payloads:
        if payload[0] & 0x1F != 28:
            frame += START + payload
        elif payload[1] & 0x80:
            frame += START + bytes((payload[0] & 0xE0 | payload[1] & 0x1F,)) + payload[2:]
        else:
            frame += payload[2:]
    return frame


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
def test_layers_are_switched_both_ways(codec: Codec) -> None:
    rig = Rig()
    rig.publish_video(codec=VP8_CODEC if codec is Codec.VP8 else H264)
    rig.consume(1, codec=VP8_CODEC if codec is Codec.VP8 else H264)
    camera = EncryptedCamera(rig, codec)

    def play(frames: int, *, keyframes: tuple[int, ...] = ()) -> None:
        for number in range(frames):
            for index in range(3):
                camera.send(index, keyframe=number == 0 and index in keyframes)
            rig.advance(1 / 30)

    rig.target(1, 0)
    # Two hundred frames in which no byte that is encrypted may be taken for a keyframe.
    play(200)
    assert not rig.subscriber.packets
    for target in (0, 2, 1, 0):
        rig.target(1, target)
        play(10)
        play(10, keyframes=(target,))
        stats = rig.plane.consumer_stats(1)
        assert stats.spatial == target
    assert [event.spatial for event in rig.events_of(ConsumerLayer)] == [0, 2, 1, 0]
    # Before the first keyframe nothing, and from then on every picture of one layer; on the way up the old layer's came first.
    assert len(camera.received()) == 71
    sequences = [packet.sequence for packet in rig.subscriber.of(0x5001)]
    assert sequences == list(range(2000, 2000 + len(sequences)))
    heights = {summary.height for summary in rig.events_of(LayerSummary)}
    # The parameter sets tell the height; VP8 keeps it to those who have the key.
    assert heights == ({0} if codec is Codec.VP8 else {0, 720})
