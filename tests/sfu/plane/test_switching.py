"""Going from layer to layer: numbers, timestamps, and what comes late."""

from __future__ import annotations

from sfu.plane import ConsumerLayer, LayerSummary
from sfu.plane.rtcp import Bye, SenderReport
from sfu.plane.timestamps import OutputClock, SenderClock
from sfu.plane.vp8 import parse_vp8
from tests.sfu.plane.rig import VIDEO, Rig
from tests.sfu.plane.test_forwarding import play, video_rig


def sequences(rig: Rig) -> list[int]:
    return [packet.sequence for packet in rig.subscriber.of(0x5001)]


def switch_up(rig: Rig) -> None:
    rig.target(1, 1)
    rig.publisher.send_frame(rig.publisher.layers[1], keyframe=True)


def test_the_old_layer_goes_on_until_the_keyframe() -> None:
    rig = video_rig()
    play(rig, 4)
    rig.target(1, 1)
    play(rig, 2)
    assert rig.plane.consumer_stats(1).spatial == 0
    assert len(sequences(rig)) == 12
    switch_up(rig)
    assert rig.plane.consumer_stats(1).spatial == 1
    assert sequences(rig) == list(range(2000, 2014))
    play(rig, 1)
    assert sequences(rig) == list(range(2000, 2016))


def test_a_hole_marks_an_incomplete_frame() -> None:
    rig = video_rig()
    play(rig, 3)
    head, _ = rig.publisher.layers[0].next_frame(rig.now)
    rig.publisher.send(head, rid="q")
    switch_up(rig)
    assert sequences(rig) == [*range(2000, 2007), 2008, 2009]


def test_late_packets_of_both_layers_are_dropped() -> None:
    rig = video_rig()
    play(rig, 3)
    late_old = rig.publisher.layers[0].next_frame(rig.now)
    late_new = rig.publisher.layers[1].next_frame(rig.now)
    switch_up(rig)
    before = sequences(rig)
    for packet in late_old:
        rig.publisher.send(packet, rid="q")
    for packet in late_new:
        rig.publisher.send(packet, rid="h")
    assert sequences(rig) == before


def test_a_keyframe_whose_start_came_late_still_counts() -> None:
    rig = video_rig()
    play(rig, 3)
    rig.target(1, 1)
    layer = rig.publisher.layers[1]
    first, second = layer.next_frame(rig.now, keyframe=True)
    rig.publisher.send(second, rid="h")
    assert rig.plane.consumer_stats(1).spatial == 0
    rig.publisher.send(rig.publisher.repair(layer, first.sequence), rid="h", repaired=True)
    assert rig.plane.consumer_stats(1).spatial == 1
    last = rig.subscriber.of(0x5001)[-2:]
    assert [packet.payload[0] & 0x10 for packet in last] == [0x10, 0]
    assert last[0].timestamp == last[1].timestamp


def test_vp8_numbers_go_on_across_a_switch() -> None:
    rig = video_rig()
    play(rig, 5)
    switch_up(rig)
    play(rig, 3)
    descriptors = [parse_vp8(packet.payload) for packet in rig.subscriber.of(0x5001) if packet.payload[0] & 0x10]
    pictures = [descriptor.picture_id for descriptor in descriptors]
    assert pictures[0] is not None
    assert pictures == [(pictures[0] + index) % 0x8000 for index in range(len(pictures))]
    bases = [descriptor.tl0picidx for descriptor in descriptors]
    # Frames 0, 4 and the keyframe of the other layer are of temporal layer 0.
    assert bases[0] is not None
    assert [(base - bases[0]) % 256 for base in bases if base is not None] == [0, 0, 0, 0, 1, 2, 2, 2, 2]
    assert [descriptor.keyidx for descriptor in descriptors] == [1] * 5 + [2] * 4


def test_timestamps_follow_the_sender_reports() -> None:
    rig = video_rig()
    play(rig, 3)
    for layer in rig.publisher.layers:
        rig.publisher.send_report(layer)
    play(rig, 3)
    rig.target(1, 1)
    # The keyframe was captured 50 ms after the last frame but comes another 120 ms later: its own time counts, not its arrival.
    captured = rig.publisher.layers[1].next_frame(rig.now + 0.05, keyframe=True)
    last = rig.subscriber.of(0x5001)[-1].timestamp
    rig.advance(0.17)
    for packet in captured:
        rig.publisher.send(packet, rid="h")
    step = rig.subscriber.of(0x5001)[-1].timestamp - last & 0xFFFFFFFF
    assert abs(step - 90 * (50 + 33.3)) < 10


def test_the_same_picture_of_another_layer_is_one_tick_later() -> None:
    rig = video_rig()
    for layer in rig.publisher.layers:
        rig.publisher.send_report(layer)
    play(rig, 3)
    for layer in rig.publisher.layers:
        rig.publisher.send_report(layer)
    rig.target(1, 1)
    rig.publisher.send_frame(rig.publisher.layers[0])
    last = rig.subscriber.of(0x5001)[-1].timestamp
    rig.publisher.send_frame(rig.publisher.layers[1], keyframe=True)
    assert rig.subscriber.of(0x5001)[-1].timestamp - last & 0xFFFFFFFF == 1


def clock(ntp_s: float, timestamp: int) -> SenderClock:
    made = SenderClock(90_000)
    made.on_report(int(ntp_s * (1 << 32)), timestamp, 0.0)
    return made


def test_reports_that_contradict_what_was_sent_are_refused_once() -> None:
    output = OutputClock(5000, 90_000)
    assert output.start(clock(100.0, 0), 0, 10.0)
    output.sent(5000 + 90_000, 11.0)
    # One second of this layer lies at NTP 100.5: half a second before what was sent.
    other = clock(100.0, 0)
    assert not output.start(other, 45_000, 11.0)
    assert output.start(other, 45_000, 11.1)
    assert 45_000 + output.offset == 5000 + 90_000 + 9000


def test_reports_that_are_nonsense_give_way_to_the_arrival() -> None:
    output = OutputClock(0, 90_000)
    assert output.start(clock(100.0, 0), 0, 10.0)
    assert output.start(clock(50.0, 0), 0, 10.5)
    assert output.offset == 45_000


def test_another_source_of_a_layer_starts_it_over() -> None:
    rig = video_rig()
    play(rig, 3)
    layer = rig.publisher.layers[0]
    layer.ssrc, layer.sequence, layer.timestamp_base = 0x1100, 17, 99
    rig.publisher.send_frame(layer, keyframe=True)
    assert rig.plane.stats().drops["second_source"] == 2
    rig.publisher.send_rtcp(Bye((0x1000,)))
    assert rig.events_of(ConsumerLayer)[-1] == ConsumerLayer(1, None)
    rig.publisher.send_frame(layer)
    assert len(sequences(rig)) == 6
    rig.publisher.send_frame(layer, keyframe=True)
    assert sequences(rig) == list(range(2000, 2008))


def test_a_sender_that_restarts_its_numbers_is_followed() -> None:
    rig = video_rig()
    play(rig, 3)
    layer = rig.publisher.layers[0]
    layer.sequence += 30_000
    rig.publisher.send_frame(layer, keyframe=True)
    rig.publisher.send_frame(layer, keyframe=True)
    assert sequences(rig) == list(range(2000, 2008))
    assert rig.plane.stats().drops["sequence_jump"] == 1


def test_a_pause_stops_at_once_and_ends_with_a_keyframe() -> None:
    rig = video_rig()
    play(rig, 3)
    rig.plane.set_producer_paused(VIDEO, paused=True)
    play(rig, 3)
    assert len(sequences(rig)) == 6
    rig.plane.set_producer_paused(VIDEO, paused=False)
    play(rig, 2)
    assert len(sequences(rig)) == 6
    rig.publisher.send_frame(rig.publisher.layers[0], keyframe=True)
    assert sequences(rig) == list(range(2000, 2008))


def test_temporal_layers_are_dropped_without_holes_and_come_back_at_a_sync() -> None:
    rig = video_rig()
    rig.target(1, 0, 0)
    play(rig, 9)
    assert sequences(rig) == list(range(2000, 2006))
    rig.target(1, 0, 2)
    # Frame 9 is of layer 2 and no sync: still dropped. Frame 10 is a sync of layer 1, frame 11 of layer 2 follows at the next sync.
    play(rig, 4)
    temporal = [parse_vp8(packet.payload).temporal for packet in rig.subscriber.of(0x5001)][::2]
    assert temporal == [0, 0, 0, 1, 0]
    assert sequences(rig) == list(range(2000, 2010))


def test_the_lost_end_of_a_dropped_picture_leaves_no_hole() -> None:
    rig = video_rig()
    rig.target(1, 0, 0)
    play(rig, 1)
    dropped = rig.publisher.layers[0].next_frame(rig.now, temporal=2)
    rig.publisher.send(dropped[0], rid="q")
    rig.publisher.send_frame(rig.publisher.layers[0], temporal=0)
    assert sequences(rig) == [2000, 2001, 2002, 2003]


def test_a_loss_of_unknown_kind_keeps_its_hole() -> None:
    rig = video_rig()
    rig.target(1, 0, 0)
    play(rig, 1)
    layer = rig.publisher.layers[0]
    lost = layer.next_frame(rig.now, temporal=0)
    layer.next_frame(rig.now, temporal=0)
    # Two whole pictures are missing: this one is forwarded although nobody wants its temporal layer, so that the hole keeps its
    # size.
    rig.publisher.send_frame(layer, temporal=2)
    assert sequences(rig) == [2000, 2001, 2006, 2007]
    rig.publisher.send(rig.publisher.repair(layer, lost[0].sequence), rid="q", repaired=True)
    assert sequences(rig)[-1] == 2002


def test_a_silent_layer_is_reported_once() -> None:
    rig = video_rig()
    play(rig, 30)
    play(rig, 90, layers=(1, 2))
    summaries = [summary for summary in rig.events_of(LayerSummary) if summary.spatial == 0]
    assert [summary.active for summary in summaries].count(False) == 1
    assert not summaries[-1].active
    assert max(summary.frames_per_s for summary in summaries) > 25
    assert summaries[0].height == 180


def test_reports_carry_the_publishers_time_in_the_streams_timestamps() -> None:
    rig = video_rig()
    play(rig, 3)
    assert not rig.subscriber.messages(SenderReport)
    rig.publisher.send_report(rig.publisher.layers[0])
    rig.advance(0.001)
    play(rig, 40)
    reports = rig.subscriber.messages(SenderReport)
    assert len(reports) >= 2
    packet, arrived_s = rig.subscriber.of(0x5001)[0], rig.subscriber.arrivals[0]
    for report in reports:
        captured_s = report.ntp / (1 << 32) - 3_900_000_000.0 - 12.5
        expected = packet.timestamp + round((captured_s - arrived_s) * 90_000) & 0xFFFFFFFF
        assert abs((report.rtp_timestamp - expected + 0x8000 & 0xFFFFFFFF) - 0x8000) <= 2
