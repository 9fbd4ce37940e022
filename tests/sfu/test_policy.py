"""Policy under simulated time: layers, speakers, congestion, quality."""

from __future__ import annotations

import pytest

from sfu.plane.interface import AudioSummary, LayerSummary
from sfu.policy import DownlinkController, LayerChooser, QualityGrade, QualityMeter, SpeakerDetector, Wish
from sfu.policy.quality import QualityReason


def layer(spatial: int, *, active: bool = True, height: int = 0) -> LayerSummary:
    return LayerSummary(1, spatial, active, 500_000 if active else 0, 20.0, 0.0, 0.0, height)


# ------------------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize(
    ("height", "expected"), [(0, None), (1, 0), (180, 0), (200, 0), (240, 1), (360, 1), (410, 1), (480, 2), (720, 2), (2160, 2)]
)
def test_the_smallest_layer_that_is_tall_enough(height: int, expected: int | None) -> None:
    assert LayerChooser(3).choose(Wish(height=height), 0.0) == expected


def test_measured_heights_replace_the_assumed_ones() -> None:
    chooser = LayerChooser(3)
    for spatial, height in enumerate((270, 540, 1080)):
        chooser.update(layer(spatial, height=height), 0.0)
    assert chooser.heights == (270, 540, 1080)
    assert chooser.choose(Wish(height=300), 0.0) == 0
    assert chooser.choose(Wish(height=720), 0.0) == 2


def test_a_layer_by_name_and_a_cap() -> None:
    chooser = LayerChooser(3)
    assert chooser.choose(Wish(spatial=1), 0.0) == 1
    assert chooser.choose(Wish(spatial=9), 0.0) == 2
    assert chooser.choose(Wish(spatial=2), 0.0, cap=0) == 0
    assert chooser.choose(Wish(height=720), 0.0, cap=-1) == 0


def test_falls_back_when_a_layer_stalls_and_comes_back_later() -> None:
    chooser = LayerChooser(3)
    for spatial in range(3):
        chooser.update(layer(spatial), 0.0)
    wish = Wish(height=720)
    assert chooser.choose(wish, 1.0) == 2
    chooser.update(layer(2, active=False), 10.0)
    assert chooser.choose(wish, 10.0) == 1
    chooser.update(layer(1, active=False), 11.0)
    assert chooser.choose(wish, 11.0) == 0
    chooser.update(layer(2), 20.0)
    assert chooser.choose(wish, 20.5) == 0
    assert chooser.choose(wish, 22.0) == 2


def test_a_higher_layer_serves_when_the_lower_ones_do_not_flow() -> None:
    chooser = LayerChooser(3)
    chooser.update(layer(2), 0.0)
    assert chooser.choose(Wish(height=100), 0.0) == 2


def test_a_single_layer_serves_every_wish() -> None:
    assert LayerChooser(1).choose(Wish(height=2000), 0.0) == 0


# ------------------------------------------------------------------------------------------------- speakers


def speak(detector: SpeakerDetector, key: str, level: int, start_s: float, duration_s: float) -> list[list[tuple[str, int]]]:
    changes = []
    for step in range(round(duration_s * 10)):
        now = start_s + step / 10
        detector.update(key, AudioSummary(1, level, 5, 5), now)
        change = detector.poll(now)
        if change is not None:
            changes.append(change)
    return changes


def test_speech_starts_after_a_word_and_ends_after_a_pause() -> None:
    detector = SpeakerDetector()
    (change,) = speak(detector, "alice", -25, 10.0, 1.0)
    assert [key for key, _ in change] == ["alice"]
    assert speak(detector, "alice", -90, 11.0, 1.0) == []
    assert speak(detector, "alice", -90, 12.0, 1.0) == [[]]


def test_a_cough_is_no_speech() -> None:
    detector = SpeakerDetector()
    assert speak(detector, "alice", -20, 10.0, 0.2) == []
    assert speak(detector, "alice", -90, 10.2, 2.0) == []


def test_the_order_changes_only_for_clearly_louder_voices() -> None:
    detector = SpeakerDetector()
    speak(detector, "alice", -30, 0.0, 1.0)
    for step in range(20):
        now = 1.0 + step / 10
        detector.update("alice", AudioSummary(1, -30, 5, 5), now)
        detector.update("bob", AudioSummary(2, -28, 5, 5), now)
        detector.poll(now)
    assert [key for key, _ in detector.speakers] == ["alice", "bob"]
    for step in range(30):
        now = 3.0 + step / 10
        detector.update("alice", AudioSummary(1, -40, 5, 5), now)
        detector.update("bob", AudioSummary(2, -20, 5, 5), now)
        detector.poll(now)
    assert [key for key, _ in detector.speakers] == ["bob", "alice"]


def test_who_leaves_does_not_speak() -> None:
    detector = SpeakerDetector()
    speak(detector, "alice", -30, 0.0, 1.0)
    detector.remove("alice")
    assert detector.poll(1.1) == []


def test_who_stops_sending_falls_silent() -> None:
    detector = SpeakerDetector()
    speak(detector, "alice", -30, 0.0, 1.0)
    assert detector.poll(1.5) is None
    assert detector.poll(3.0) == []


# ------------------------------------------------------------------------------------------------- congestion


def run(controller: DownlinkController, loss: float, start_s: float, duration_s: float) -> list[float]:
    """Feed one report a second; returns when the cap changed."""
    changes = []
    for step in range(round(duration_s)):
        controller.on_loss(loss, start_s + step)
        if controller.poll(start_s + step):
            changes.append(start_s + step)
    return changes


def test_sustained_loss_takes_a_layer_away_and_calm_brings_it_back() -> None:
    controller = DownlinkController()
    assert run(controller, 0.0, 0.0, 10) == []
    assert run(controller, 0.2, 10.0, 3) == [12.0]
    assert controller.steps_down == 1
    assert run(controller, 0.0, 13.0, 9) == []
    assert run(controller, 0.0, 22.0, 5) == [23.0]
    assert controller.steps_down == 0


def test_a_burst_changes_nothing() -> None:
    controller = DownlinkController()
    assert run(controller, 0.5, 0.0, 1) == []
    assert run(controller, 0.05, 1.0, 1) == []
    assert run(controller, 0.5, 2.0, 2) == []


def test_never_below_the_lowest_layer() -> None:
    controller = DownlinkController(max_steps=2)
    assert len(run(controller, 0.4, 0.0, 60)) == 2
    assert controller.steps_down == 2


def test_failed_probes_are_tried_less_and_less_often() -> None:
    controller = DownlinkController()
    gaps: list[float] = []
    now, lowered_s = 0.0, 0.0
    while len(gaps) < 5:
        now += 1.0
        controller.on_loss(0.0 if controller.steps_down else 0.3, now)
        if controller.poll(now):
            if controller.steps_down:
                lowered_s = now
            else:
                gaps.append(now - lowered_s)
    assert gaps[0] < gaps[1] < gaps[2] < gaps[3] <= gaps[4] <= 122
    assert gaps[0] == pytest.approx(11, abs=2)


def test_a_short_estimate_counts_as_loss() -> None:
    controller = DownlinkController()
    for step in range(4):
        controller.on_estimate(300_000, 1_000_000, float(step))
        controller.poll(float(step))
    assert controller.steps_down == 1
    calm = DownlinkController()
    for step in range(4):
        calm.on_estimate(900_000, 1_000_000, float(step))
        calm.on_estimate(100, 0, float(step))
        assert not calm.poll(float(step))


# ------------------------------------------------------------------------------------------------- quality


def test_quality_names_what_drags_it_down() -> None:
    meter = QualityMeter()
    assert meter.poll(0.0) is None
    for _ in range(10):
        meter.on_downlink_loss(0.3)
    assert meter.poll(1.0) == QualityGrade(1, QualityReason.DOWNLINK_LOSS)
    meter.set_lost(lost=True)
    assert meter.poll(2.0) == QualityGrade(0, QualityReason.LOST)
    meter.set_lost(lost=False)
    for _ in range(30):
        meter.on_downlink_loss(0.0)
    assert meter.poll(3.0) == QualityGrade(3, QualityReason.GOOD)


@pytest.mark.parametrize(
    ("rtt_s", "loss", "held_back", "expected"),
    [
        (0.05, 0.0, False, QualityGrade(3, QualityReason.GOOD)),
        (0.4, 0.0, False, QualityGrade(2, QualityReason.HIGH_RTT)),
        (0.9, 0.0, False, QualityGrade(1, QualityReason.HIGH_RTT)),
        (0.05, 0.06, False, QualityGrade(2, QualityReason.UPLINK_LOSS)),
        (0.05, 0.0, True, QualityGrade(2, QualityReason.LOW_BITRATE)),
    ],
)
def test_quality_grades(rtt_s: float, loss: float, held_back: bool, expected: QualityGrade) -> None:
    meter = QualityMeter()
    for _ in range(30):
        meter.on_rtt(rtt_s)
        meter.on_uplink_loss(loss)
    meter.set_held_back(held_back=held_back)
    meter.poll(0.0)
    assert meter.grade == expected


def test_a_better_grade_must_hold() -> None:
    meter = QualityMeter()
    for _ in range(30):
        meter.on_rtt(0.9)
    meter.poll(0.0)
    for _ in range(30):
        meter.on_rtt(0.01)
    assert meter.poll(1.0) is None
    assert meter.poll(4.9) is None
    assert meter.poll(5.0) == QualityGrade(3, QualityReason.GOOD)
