"""A sender that stops and starts again keeps its SSRC, and sends neither MID nor RID a second time."""

from __future__ import annotations

from tests.sfu.plane.rig import VIDEO, Rig


def test_a_restarted_sender_is_known_by_its_ssrc() -> None:
    rig = Rig()
    rig.publish_video()
    layer, stranger = rig.publisher.layers[1], rig.publisher.layers[2]
    for packet in layer.next_frame(rig.now, keyframe=True):
        rig.publisher.send(packet, rid=layer.rid)
    rig.plane.remove_producer(VIDEO)
    rig.publish_video(producer_id=VIDEO + 500)
    for packet in layer.next_frame(rig.now, keyframe=True) + stranger.next_frame(rig.now, keyframe=True):
        rig.publisher.send(packet, mid=None)
    received = {item.spatial: item.packets for item in rig.plane.producer_stats(VIDEO + 500).layers if item.packets}
    assert received == {1: 2}
