"""The plane end to end: packets in, packets out, through SRTP on both sides."""

from __future__ import annotations

from sfu.plane import AudioSummary, ConsumerLayer, RtpPacket
from sfu.plane.rtcp import Pli, ReceiverReport
from sfu.plane.transport_cc import TransportCc
from tests.sfu.plane.rig import AUDIO, OPUS, SUBSCRIBER_IDS, Rig


def video_rig(*, spatial: int | None = 0) -> Rig:
    rig = Rig()
    rig.publish_video()
    rig.consume(1)
    if spatial is not None:
        rig.target(1, spatial)
    return rig


def play(rig: Rig, frames: int, *, layers: tuple[int, ...] = (0, 1, 2), interval_s: float = 1 / 30) -> None:
    for _ in range(frames):
        for index in layers:
            rig.publisher.send_frame(rig.publisher.layers[index])
        rig.advance(interval_s)


def test_simulcast_is_forwarded_from_a_keyframe_on() -> None:
    rig = video_rig()
    play(rig, 10)
    packets = rig.subscriber.of(0x5001)
    assert len(packets) == 20
    assert [packet.sequence for packet in packets] == list(range(2000, 2020))
    assert {packet.payload_type for packet in packets} == {106}
    assert packets[0].timestamp == 4_294_900_000
    assert packets[0].extensions[SUBSCRIBER_IDS.mid] == b"m1"
    assert rig.events_of(ConsumerLayer) == [ConsumerLayer(1, 0)]
    assert rig.publisher.messages(TransportCc)


def test_nothing_goes_out_before_a_keyframe() -> None:
    rig = video_rig(spatial=None)
    play(rig, 5)
    rig.target(1, 2)
    assert [message.media_ssrc for message in rig.publisher.messages(Pli)] == [0x1002]
    play(rig, 3)
    assert not rig.subscriber.packets
    rig.publisher.send_frame(rig.publisher.layers[2], keyframe=True)
    assert len(rig.subscriber.packets) == 2


def test_audio_is_forwarded_at_once_with_its_level() -> None:
    rig = Rig()
    rig.publish_audio()
    rig.consume(2, producer_id=AUDIO, codec=OPUS, rtx=False)
    for index in range(50):
        packet = RtpPacket(111, 65_530 + index & 0xFFFF, 960 * index, 0x3000, b"opus", extensions={12: bytes((0x80 | 30,))})
        rig.publisher.send(packet, mid="a")
        rig.advance(0.02)
    packets = rig.subscriber.of(0x5002)
    assert [packet.sequence for packet in packets] == list(range(2000, 2050))
    assert {packet.timestamp - index * 960 & 0xFFFFFFFF for index, packet in enumerate(packets)} == {4_294_900_000}
    assert all(packet.extensions[SUBSCRIBER_IDS.audio_level] == bytes((0x80 | 30,)) for packet in packets)
    summaries = rig.events_of(AudioSummary)
    assert len(summaries) in (9, 10)
    assert {summary.level_dbov for summary in summaries} == {-30}


def test_reports_go_to_bound_sources_only() -> None:
    rig = video_rig()
    play(rig, 40, layers=(0, 1))
    blocks = {block.ssrc for message in rig.publisher.messages(ReceiverReport) for block in message.blocks}
    assert blocks == {0x1000, 0x1001}
