"""The strict receiver tells what a browser's pacer throws away before a keyframe from what forwarding must never do."""

from __future__ import annotations

from itertools import count

import pytest

from bench.strict_receiver import StrictConfig, StrictReceiver
from sfu.plane import Codec, ExtensionIds, RtpPacket
from tests.sfu.plane.rig import vp8_payload

VP8 = Codec(96, "VP8", 90_000, 97)


class Publisher:
    """VP8 without temporal layers, two packets a picture; it may throw pictures or their ends away before they have numbers."""

    def __init__(self, *, flushing: bool) -> None:
        self.receiver = StrictReceiver(StrictConfig(VP8, 1, 2, ExtensionIds(), "0", flushing_source=flushing))
        self._sequences = count(65_530)
        self._picture = self._keyidx = 0

    def picture(self, *, keyframe: bool = False, packets: int = 2, keyidx: int | None = None) -> None:
        """Encode a picture and send its first ``packets``."""
        self._picture += 1
        self._keyidx += keyframe
        for index in range(packets):
            payload = vp8_payload(
                100,
                picture=32_766 + self._picture & 0x7FFF,
                tl0=self._picture,
                temporal=0,
                start=index == 0,
                keyframe=keyframe,
                keyidx=self._keyidx if keyidx is None else keyidx,
                sync=False,
            )
            sequence = next(self._sequences) & 0xFFFF
            self.receiver.receive(RtpPacket(96, sequence, 3000 * self._picture, 1, payload, marker=index == 1))


@pytest.mark.parametrize("sent", [0, 1], ids=["whole pictures", "the end of one"])
def test_what_is_thrown_away_before_a_keyframe_is_counted(sent: int) -> None:
    publisher = Publisher(flushing=True)
    publisher.picture(keyframe=True)
    publisher.picture(packets=sent)
    publisher.picture(packets=0)
    publisher.picture(keyframe=True)
    publisher.picture()
    assert publisher.receiver.violations == []
    assert publisher.receiver.flushes == 1
    assert publisher.receiver.keyframes == 2


@pytest.mark.parametrize(
    ("sent", "violation"), [(0, "picture id goes from 32767 to 2"), (1, "the one before ended without marker")]
)
@pytest.mark.parametrize(("flushing", "keyframe"), [(False, True), (True, False)], ids=["not this source", "not before a keyframe"])
def test_nothing_else_may_be_missing_without_a_hole(sent: int, violation: str, flushing: bool, keyframe: bool) -> None:
    publisher = Publisher(flushing=flushing)
    publisher.picture(keyframe=True)
    publisher.picture(packets=sent)
    publisher.picture(packets=0)
    publisher.picture(keyframe=keyframe)
    assert any(violation in found for found in publisher.receiver.violations)
    assert publisher.receiver.flushes == 0


def test_a_keyframe_is_never_thrown_away() -> None:
    publisher = Publisher(flushing=True)
    publisher.picture(keyframe=True)
    publisher.picture(packets=0)
    publisher.picture(keyframe=True, keyidx=3)
    assert publisher.receiver.violations == ["packet 65532: KEYIDX is 3 instead of 2"]
