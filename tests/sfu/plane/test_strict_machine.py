"""Any mixture of loss, reordering, duplicates and switching leaves a stream that a strict decoder accepts."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from bench.strict_receiver import StrictConfig, StrictReceiver
from sfu.plane import RtpPacket
from sfu.plane.rtcp import Nack, Pli
from tests.sfu.plane.rig import SUBSCRIBER_IDS, VIDEO, Rig, SimulatedLayer


def layer_of(packet: RtpPacket) -> int:
    return packet.payload[-3]


class Switching(RuleBasedStateMachine):
    """Three VP8 layers with temporal layers over a bad uplink to one subscriber."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.rig.publish_video()
        config = self.rig.consume(1, first_sequence=32_767)
        self.receiver = StrictReceiver(
            StrictConfig(config.codec, config.ssrc, config.rtx_ssrc, SUBSCRIBER_IDS, config.mid, layer_of, lossy_source=True)
        )
        self.rig.subscriber.on_packet = self.receiver.receive
        self.missing: list[tuple[SimulatedLayer, int]] = []
        self.uplink_lost = 0
        self.paused = False

    def send_each(self, packets: list[RtpPacket], layer: SimulatedLayer, lose: int, swap: bool, repeat: bool) -> None:
        packets = list(packets)
        if swap and len(packets) > 1:
            packets[0], packets[1] = packets[1], packets[0]
        for index, packet in enumerate(packets):
            if lose >> index & 1:
                self.uplink_lost += 1
                self.missing.append((layer, packet.sequence))
                continue
            self.rig.publisher.send(packet, rid=layer.rid)
            if repeat:
                # The same packet over RTX although it was not missing.
                self.rig.publisher.send(self.rig.publisher.repair(layer, packet.sequence), rid=layer.rid, repaired=True)

    @rule(
        lose=st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3]),
        swap=st.booleans(),
        repeat=st.booleans(),
        keyframe=st.sampled_from([False, False, False, False, True]),
        only=st.sampled_from([(0, 1, 2), (0, 1, 2), (0, 1), (2,)]),
        size=st.integers(1, 3),
    )
    def frames(self, lose: int, swap: bool, repeat: bool, keyframe: bool, only: tuple[int, ...], size: int) -> None:
        for index in only:
            layer = self.rig.publisher.layers[index]
            layer.packets_per_frame = size
            self.send_each(layer.next_frame(self.rig.now, keyframe=keyframe), layer, lose, swap, repeat)
        self.rig.advance(1 / 30)

    @rule(count=st.integers(1, 12))
    def clean_frames(self, count: int) -> None:
        for _ in range(count):
            self.frames(0, False, False, False, (0, 1, 2), 2)

    @rule()
    def keyframes_as_asked(self) -> None:
        asked = {message.media_ssrc for message in self.rig.publisher.messages(Pli)}
        self.rig.publisher.control.clear()
        for layer in self.rig.publisher.layers:
            if layer.ssrc in asked:
                self.send_each(layer.next_frame(self.rig.now, keyframe=True), layer, 0, False, False)
        self.rig.advance(1 / 30)

    @rule(index=st.integers(0, 1000))
    def repair(self, index: int) -> None:
        if self.missing:
            layer, sequence = self.missing.pop(index % len(self.missing))
            self.rig.publisher.send(self.rig.publisher.repair(layer, sequence), rid=layer.rid, repaired=True)

    @rule(layer=st.integers(0, 2))
    def padding(self, layer: int) -> None:
        source = self.rig.publisher.layers[layer]
        self.rig.publisher.send(source.padding(self.rig.now), rid=source.rid)

    @rule(layer=st.integers(0, 2))
    def sender_report(self, layer: int) -> None:
        self.rig.publisher.send_report(self.rig.publisher.layers[layer])

    @rule(spatial=st.sampled_from([0, 1, 2, 2, 1, 0, None]), temporal=st.sampled_from([255, 255, 0, 1, 2]))
    def switch(self, spatial: int | None, temporal: int) -> None:
        self.rig.target(1, spatial, temporal)

    @rule()
    def pause(self) -> None:
        self.paused = not self.paused
        self.rig.plane.set_producer_paused(VIDEO, paused=self.paused)
        self.rig.drain()

    @rule(count=st.integers(1, 20))
    def nack(self, count: int) -> None:
        newest = [packet.sequence for packet in self.rig.subscriber.packets if packet.ssrc == 0x5001][-count:]
        if newest:
            self.rig.subscriber.send_rtcp(Nack(1, 0x5001, tuple(newest)))

    @rule(layer=st.integers(0, 2))
    def new_source(self, layer: int) -> None:
        source = self.rig.publisher.layers[layer]
        self.missing = [(owner, sequence) for owner, sequence in self.missing if owner is not source]
        source.ssrc += 0x100
        source.rtx_ssrc += 0x100
        source.sequence += 30_000
        source.timestamp_base += 1 << 30
        source.picture += 5000
        source.sent.clear()
        source.frame = 0
        self.rig.advance(1.0)

    def teardown(self) -> None:
        self.receiver.finish()
        assert self.receiver.violations == []
        assert self.receiver.holes <= self.uplink_lost
        assert not self.rig.plane.stats().drops["protect_failed"]


Switching.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSwitching = Switching.TestCase
