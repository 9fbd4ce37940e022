"""NACK, RTX and keyframe requests in both directions, in simulated time."""

from __future__ import annotations

import random
from functools import partial

import pytest

from bench.strict_receiver import StrictConfig, StrictReceiver
from sfu.plane import ReceiverSummary, RtpPacket
from sfu.plane.interface import EstimatedBitrate, PublisherRtt, TransportFeedback
from sfu.plane.nack import NackGenerator
from sfu.plane.rtcp import Dlrr, DlrrBlock, Fir, Nack, Pli, ReceiverReferenceTime, ReceiverReport, Remb, ReportBlock, SenderReport
from sfu.plane.transport_cc import TransportCc
from tests.sfu.plane.rig import H264, SUBSCRIBER_IDS, Rig
from tests.sfu.plane.test_forwarding import play, video_rig

# Half the round trip between publisher and plane.
ONE_WAY_S = 0.02


def answer(rig: Rig) -> None:
    """Let the publisher answer what it was asked since the last call."""
    control, rig.publisher.control = rig.publisher.control, []
    layers = {layer.ssrc: layer for layer in rig.publisher.layers}
    for message in control:
        if isinstance(message, Nack):
            layer = layers[message.media_ssrc]
            for sequence in message.sequences:
                packet = rig.publisher.repair(layer, sequence)
                rig.call_later(2 * ONE_WAY_S, partial(rig.publisher.send, packet, rid=layer.rid, repaired=True))
        elif isinstance(message, Pli):
            layer = layers[message.media_ssrc]
            rig.call_later(2 * ONE_WAY_S, partial(rig.publisher.send_frame, layer, keyframe=True))


@pytest.mark.parametrize("seed", range(3))
def test_a_lossy_uplink_is_repaired(seed: int) -> None:
    rig = video_rig()
    config = rig.plane.consumer_stats(1)
    assert config.packets == 0
    chance = random.Random(seed)
    codec = rig.consume(9).codec
    receiver = StrictReceiver(StrictConfig(codec, 0x5001, 0x6001, SUBSCRIBER_IDS, "m1"))
    rig.subscriber.on_packet = lambda packet: receiver.receive(packet) if packet.ssrc in (0x5001, 0x6001) else None
    layer = rig.publisher.layers[0]
    lost = 0
    for frame in range(300):
        for packet in layer.next_frame(rig.now, keyframe=frame == 0):
            if frame and chance.random() < 0.1:
                lost += 1
            else:
                rig.publisher.send(packet, rid=layer.rid)
        answer(rig)
        rig.advance(1 / 30)
    for _ in range(30):
        answer(rig)
        rig.advance(0.05)
    receiver.finish()
    assert lost > 30
    assert receiver.violations == []
    assert receiver.frames >= 295
    [stats, *_] = rig.plane.producer_stats(10).layers
    assert stats.packets_repaired >= lost - 5


def test_requests_wait_for_reordering_and_keep_their_distance() -> None:
    nacks = NackGenerator()
    assert nacks.on_gap(5, 7, 1.0)
    assert nacks.due(1.005, 0.1) == ([], False)
    nacks.on_received(6)
    assert nacks.due(1.011, 0.1) == ([5, 7], False)
    assert nacks.due(1.05, 0.1) == ([], False)
    now = 1.011
    for _ in range(9):
        now = nacks.deadline
        assert nacks.due(now, 0.1) == ([5, 7], False)
    now = nacks.deadline
    assert nacks.due(now, 0.1) == ([], True)
    assert len(nacks) == 0


def test_a_flood_of_losses_asks_for_a_keyframe_instead() -> None:
    rig = video_rig()
    play(rig, 3)
    rig.advance(1.0)
    rig.publisher.control.clear()
    rig.publisher.layers[0].sequence += 2000
    rig.publisher.send_frame(rig.publisher.layers[0])
    rig.advance(0.5)
    assert not rig.publisher.messages(Nack)
    assert rig.publisher.messages(Pli)


def test_nothing_is_asked_for_that_nobody_needs() -> None:
    rig = video_rig()
    play(rig, 3)
    rig.publisher.layers[1].next_frame(rig.now)
    play(rig, 3)
    assert not rig.publisher.messages(Nack)


def test_a_subscriber_is_sent_rtx() -> None:
    rig = video_rig()
    play(rig, 5)
    originals = {packet.sequence: packet for packet in rig.subscriber.of(0x5001)}
    rig.subscriber.send_rtcp(Nack(9, 0x5001, (2003, 2004)))
    repairs = rig.subscriber.of(0x6001)
    assert [packet.sequence for packet in repairs] == [3000, 3001]
    for packet, sequence in zip(repairs, (2003, 2004), strict=True):
        original = originals[sequence]
        assert packet.payload == sequence.to_bytes(2, "big") + original.payload
        assert (packet.payload_type, packet.timestamp, packet.marker) == (107, original.timestamp, original.marker)
        assert packet.extensions[SUBSCRIBER_IDS.transport_cc] != original.extensions[SUBSCRIBER_IDS.transport_cc]
    stats = rig.plane.consumer_stats(1)
    assert (stats.retransmissions, stats.retransmissions_refused) == (2, 0)


def test_a_repetition_is_a_statistic_and_no_drop() -> None:
    rig = video_rig()
    layer = rig.publisher.layers[0]
    packets = rig.publisher.send_frame(layer)
    rig.publisher.send(rig.publisher.repair(layer, packets[0].sequence), rid=layer.rid, repaired=True)
    stats = rig.plane.stats()
    assert stats.duplicates == 1
    assert not any(stats.drops.values())


def test_a_request_for_everything_costs_no_more_than_the_log_holds() -> None:
    rig = video_rig()
    rig.subscriber.send_rtcp(Nack(1, 0x5001, tuple(range(5000))))
    assert rig.plane.consumer_stats(1).retransmissions_refused == 1000


def test_reference_times_are_answered_once_in_a_compound() -> None:
    rig = video_rig()
    rig.subscriber.send_rtcp(*(ReceiverReferenceTime(number, 77 << 16) for number in range(1, 50)))
    assert [message for message in rig.subscriber.control if isinstance(message, Dlrr)] == [Dlrr(0x5001, (DlrrBlock(1, 77, 0),))]


def test_a_retransmission_storm_is_held_back() -> None:
    rig = video_rig()
    play(rig, 5)
    for _ in range(20):
        rig.subscriber.send_rtcp(Nack(9, 0x5001, (2005, 1999, 4000)))
        rig.now += 0.05
    assert len(rig.subscriber.of(0x6001)) == 3
    rig.now += 5
    rig.subscriber.send_rtcp(Nack(9, 0x5001, (2006,)))
    assert len(rig.subscriber.of(0x6001)) == 3


def test_without_rtx_the_very_same_packet_is_sent_again() -> None:
    rig = Rig()
    rig.publish_video()
    rig.consume(1, rtx=False)
    rig.target(1, 0)
    sent: list[bytes] = []
    take = rig.subscriber.take

    def record(datagram: bytes) -> None:
        sent.append(datagram)
        if sent.count(datagram) == 1:
            take(datagram)

    rig.subscriber.take = record  # type: ignore[method-assign]
    play(rig, 3)
    before = [datagram for datagram in sent if not 192 <= datagram[1] <= 223]
    rig.subscriber.send_rtcp(Nack(9, 0x5001, (2004,)))
    assert sent[-1] == before[4]


def test_a_storm_of_keyframe_requests_is_coalesced() -> None:
    rig = video_rig()
    for consumer_id in range(20, 40):
        rig.consume(consumer_id)
        rig.target(consumer_id, 0)
    play(rig, 2)
    rig.publisher.control.clear()
    for _ in range(100):
        for consumer_id in range(20, 40):
            rig.subscriber.send_rtcp(Pli(9, 0x5000 + consumer_id), Fir(9, ((0x5000 + consumer_id, 3),)))
        rig.advance(0.01)
        if rig.publisher.messages(Pli) and len(rig.publisher.messages(Pli)) % 2:
            rig.publisher.send_frame(rig.publisher.layers[0], keyframe=True)
    assert 1 <= len(rig.publisher.messages(Pli)) <= 5


def test_a_keyframe_is_asked_for_until_it_comes() -> None:
    rig = video_rig()
    play(rig, 3)
    rig.publisher.control.clear()
    rig.target(1, 2)
    rig.advance(1.05)
    asked = [message.media_ssrc for message in rig.publisher.messages(Pli)]
    assert asked == [0x1002] * 5
    rig.publisher.send_frame(rig.publisher.layers[2], keyframe=True)
    rig.advance(3.0)
    assert len(rig.publisher.messages(Pli)) == 5


def test_rtx_before_its_layer_counts_for_the_bandwidth_only() -> None:
    rig = video_rig()
    probe = RtpPacket(97, 1, 2, 0x2002, b"\0\1" + bytes(20))
    rig.publisher.send(probe, rid="f", repaired=True)
    rig.publisher.send(RtpPacket(97, 2, 2, 0x2002, b"", padding_bytes=200), rid=None, mid=None)
    rig.publisher.send(RtpPacket(96, 2, 2, 0x9999, b"x"), rid=None, mid=None)
    rig.advance(0.1)
    [feedback] = rig.publisher.messages(TransportCc)
    assert len([arrived for arrived in feedback.arrivals if arrived is not None]) == 3
    stats = rig.plane.stats()
    assert (stats.drops["rtx_before_primary"], stats.drops["unknown_ssrc"], stats.probes) == (1, 1, 1)
    # An empty repair is how senders look for bandwidth; nothing was dropped with it.
    assert "rtx_padding" not in stats.drops


def test_padding_closes_up() -> None:
    rig = video_rig()
    play(rig, 2)
    for _ in range(3):
        rig.publisher.send(rig.publisher.layers[0].padding(rig.now), rid="q")
    play(rig, 2)
    packets = rig.subscriber.of(0x5001)
    assert [packet.sequence for packet in packets] == list(range(2000, 2008))
    assert not rig.publisher.messages(Nack)


def test_reports_of_a_subscriber_become_events() -> None:
    rig = video_rig()
    play(rig, 5)
    rig.publisher.send_report(rig.publisher.layers[0])
    rig.advance(0.01)
    [report, *_] = rig.subscriber.messages(SenderReport)
    rig.now += 0.08
    block = ReportBlock(0x5001, 64, 3, 2009, 900, report.ntp >> 16 & 0xFFFFFFFF, round(0.03 * 65536))
    rig.subscriber.send_rtcp(ReceiverReport(9, (block,)), Remb(9, 1_000_000, (0x5001,)))
    [summary] = rig.events_of(ReceiverSummary)
    assert (summary.loss_fraction, summary.jitter_s) == (0.25, 0.01)
    assert summary.rtt_s is not None
    assert 0.05 <= summary.rtt_s <= 0.0601
    assert rig.events_of(EstimatedBitrate) == [EstimatedBitrate(2, 1_000_000)]
    # MID is left out once the SSRC was reported on.
    play(rig, 1)
    assert SUBSCRIBER_IDS.mid not in rig.subscriber.of(0x5001)[-1].extensions


def test_feedback_of_a_subscriber_names_what_was_sent() -> None:
    rig = video_rig()
    play(rig, 3)
    number = int.from_bytes(rig.subscriber.of(0x5001)[0].extensions[SUBSCRIBER_IDS.transport_cc], "big")
    rig.subscriber.send_rtcp(TransportCc(9, 0x5001, number, 0, (7.0, None, 7.01)))
    [event] = rig.events_of(TransportFeedback)
    assert [arrival.arrived_s for arrival in event.arrivals] == [7.0, None, 7.01]
    assert event.arrivals[0].sent_s == 1000.0


def test_round_trips_are_measured_both_ways() -> None:
    rig = video_rig()
    play(rig, 40)
    rig.publisher.control.clear()
    rig.advance(0.7)
    [question] = rig.publisher.messages(ReceiverReferenceTime)
    rig.now += 0.05
    rig.publisher.send_rtcp(Dlrr(0x1000, (DlrrBlock(77, question.ntp >> 16 & 0xFFFFFFFF, 0),)))
    [event] = rig.events_of(PublisherRtt)
    assert 0.04 < event.rtt_s < 1.1
    rig.subscriber.send_rtcp(ReceiverReferenceTime(9, 0x1234_5678_9ABC_DEF0))
    [reply] = rig.subscriber.messages(Dlrr)
    assert reply.blocks == (DlrrBlock(9, 0x5678_9ABC, 0),)


def test_h264_is_forwarded_from_its_parameter_set_on() -> None:
    rig = Rig()
    rig.publish_video(codec=H264, rids=())
    rig.consume(1, codec=H264)
    rig.target(1, 0)
    sps = bytes.fromhex("6742c01fd9005005bb011000000300100000030140f1832480")
    payloads = [b"\x41slice", sps, b"\x68pps", b"\x65idr", b"\x41slice"]
    for index, payload in enumerate(payloads):
        rig.publisher.send(RtpPacket(102, index, 3000 * (index > 0) + 3000 * (index > 3), 5, payload, marker=index in (0, 3, 4)))
    assert [packet.payload for packet in rig.subscriber.of(0x5001)] == payloads[1:]


def test_memory_stays_bounded() -> None:
    rig = video_rig()
    for number in range(1100):
        rig.publisher.send(RtpPacket(96, number, 2, 0x9000 + number, b"x"), mid=None)
    assert rig.plane.stats().drops["too_many_sources"] == 1100 - 1024
