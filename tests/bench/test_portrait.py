"""What robots look and sound like: colours, initials, motion without a seam, and turns to speak."""

from __future__ import annotations

import math
import string
from itertools import combinations, pairwise

import av
import pytest

from bench.media import FrameDecoder, GeneratedMedia, LoopLibrary
from bench.media.canvas import Canvas
from bench.media.colours import contrast, palette_of, to_yuv
from bench.media.letters import initial_of
from bench.media.portrait import generated_pictures
from bench.media.voice import generated_sound, turn_of
from salam_server.demo import ROBOT_NAMES

_MANY_LABELS = [f"Robot {number}" for number in range(300)]


def _luma(picture: av.VideoFrame) -> bytes:
    plane = picture.planes[0]
    data = bytes(plane)
    return b"".join(data[row * plane.line_size : row * plane.line_size + plane.width] for row in range(plane.height))


def _samples(duration_s: float, label: str) -> list[int]:
    return [
        sample
        for frame in generated_sound(duration_s, label)
        for sample in memoryview(bytes(frame.planes[0])).cast("h")[: frame.samples]
    ]


def test_whatever_the_label_letters_and_figures_can_be_read() -> None:
    for palette in map(palette_of, _MANY_LABELS):
        assert contrast(palette.disc, palette.letter) >= 4.5
        # The figures lie over the whole width of the gradient.
        assert contrast(palette.first, palette.figures) >= 4.5
        assert contrast(palette.last, palette.figures) >= 4.5
    assert len({palette.disc for palette in map(palette_of, _MANY_LABELS)}) >= 8


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast((1, 1, 1), (0x76 / 255,) * 3) == pytest.approx(4.54, abs=0.01)
    assert [to_yuv(colour) for colour in ((0, 0, 0), (1, 1, 1), (1, 0, 0))] == [(16, 128, 128), (235, 128, 128), (81, 90, 240)]


@pytest.mark.parametrize(
    ("label", "initial"),
    [("Amira", "A"), ("  yusuf", "Y"), ("Élodie", "E"), ("Østen", ""), ("أميرة", ""), ("7 of 9", ""), ("", ""), ("   ", "")],
)
def test_the_initial_of_a_label(label: str, initial: str) -> None:
    assert initial_of(label) == initial


def test_every_letter_looks_different_and_stays_within_its_disc() -> None:
    seen = set()
    side, radius = 120, 120 * 0.22
    for letter in [*string.ascii_uppercase, ""]:
        luma = _luma(next(generated_pictures(side, side, 10, 1, letter)))
        white = {(at % side, at // side) for at, value in enumerate(luma) if value > 228}
        # The figures of the clock are less bright than the letter, so that all this white is the letter's.
        assert len(white) > 20, letter
        assert all(math.hypot(x + 0.5 - side / 2, y + 0.5 - side * 0.43) < radius for x, y in white), letter
        seen.add(frozenset(white))
    assert len(seen) == 27


@pytest.mark.parametrize(("width", "height", "fps"), [(320, 180, 15), (160, 90, 20), (64, 64, 20), (90, 160, 5)])
def test_every_picture_of_the_loop_differs_from_the_one_before(width: int, height: int, fps: int) -> None:
    pictures = [_luma(picture) for picture in generated_pictures(width, height, fps, 8 * fps, "Amira")]
    assert len(pictures) == 8 * fps
    assert all(one != other for one, other in pairwise([*pictures, pictures[0]]))


@pytest.mark.parametrize("count", [80, 33])
def test_the_loop_has_no_seam(count: int) -> None:
    # Too small for the clock, which is what does begin again.
    pictures = [_luma(picture) for picture in generated_pictures(64, 64, 20, count, "Amira")]

    def change(one: bytes, other: bytes) -> int:
        return sum(abs(a - b) for a, b in zip(one, other, strict=True))

    usual = max(change(one, other) for one, other in pairwise(pictures))
    assert change(pictures[-1], pictures[0]) <= usual * 1.1


def test_a_freeze_is_seen_in_the_smallest_layer(library: LoopLibrary) -> None:
    loop = library.get(GeneratedMedia(width=640, height=360, fps=10, loop_s=2, audio=False, label="Amira")).video
    assert loop is not None
    smallest = loop.layers[0]
    assert (smallest.width, smallest.height) == (160, 90)
    decoder = FrameDecoder("VP8")
    pictures = [_luma(picture) for frame in smallest.frames for picture in decoder.decode(frame.data)]
    assert len(pictures) == 20
    for one, other in pairwise(pictures):
        # Not the noise of the encoder, but something that anybody sees.
        assert sum(abs(a - b) > 20 for a, b in zip(one, other, strict=True)) >= 10


def test_the_picture_is_the_same_in_every_process_and_its_own_for_each_name() -> None:
    first, again, other = (next(generated_pictures(160, 90, 10, 1, label)) for label in ("Amira", "Amira", "Yusuf"))
    assert [bytes(plane) for plane in first.planes] == [bytes(plane) for plane in again.planes]
    assert bytes(first.planes[1]) != bytes(other.planes[1])
    assert len({palette_of(name).disc for name in (*ROBOT_NAMES, "Salma", "Layla")}) == len(ROBOT_NAMES) + 2


@pytest.mark.parametrize(("radius", "hole"), [(30.3, 0.0), (30.0, 20.5), (12.7, 11.2), (1.5, 0.0), (80.0, 0.0)])
def test_rings_are_round_smooth_and_cut_at_the_edges(radius: float, hole: float) -> None:
    frame = av.VideoFrame(120, 120, "yuv420p")
    canvas = Canvas(frame)
    canvas.fill(0, 0, 120, 120, (0, 128, 128))
    canvas.ring((60, 60), radius, (200, 128, 128), hole=hole)
    luma = _luma(frame)
    if radius < 60:
        assert sum(luma) / 200 == pytest.approx(math.pi * (radius**2 - hole**2), rel=0.02, abs=0.5)
    else:
        assert luma[60 * 120] == luma[60 * 120 + 119] == 200
    rows = [luma[row * 120 : row * 120 + 120] for row in range(120)]
    assert rows == rows[::-1]
    assert all(row == row[::-1] for row in rows)
    assert any(0 < value < 200 for value in luma)


def test_the_robots_of_the_demo_speak_one_after_the_other() -> None:
    def speaking(label: str) -> set[int]:
        start_s, turn_s, period_s = turn_of(8.0, label)
        return {round((start_s + step / 100) % period_s * 100) for step in range(int(turn_s * 100))}

    for one, other in combinations((*ROBOT_NAMES, "Salma"), 2):
        assert not speaking(one) & speaking(other), f"{one} interrupts {other}"


@pytest.mark.parametrize("duration_s", [0.1, 1, 2, 4, 8, 11, 16, 60])
def test_turns_fit_into_any_loop(duration_s: float) -> None:
    for label in _MANY_LABELS:
        start_s, turn_s, period_s = turn_of(duration_s, label)
        assert 0 <= start_s < period_s
        assert duration_s / period_s == pytest.approx(round(duration_s / period_s))
        assert period_s <= 12
        assert turn_s <= period_s / 2
        assert turn_s <= 3
        assert turn_s >= 1.5 or duration_s < 4


@pytest.mark.parametrize("label", ["Amira", "", "Layla"])
def test_the_sound_is_a_sentence_and_silence_without_clicks(label: str) -> None:
    samples = _samples(8, label)
    assert len(samples) == 8 * 48_000
    start_s, turn_s, _ = turn_of(8, label)
    first = round(start_s * 48_000)
    # From the beginning of the turn on, as it is heard when the loop goes round.
    turned = samples[first:] + samples[:first]
    end = round(turn_s * 48_000)
    assert max(map(abs, turned[end + 2 :])) == 0
    assert max(map(abs, turned[:end])) > 5000
    # Speech goes on through the whole turn: no tenth of a second is silent.
    assert all(max(map(abs, turned[at : at + 4800])) > 150 for at in range(0, end - 4800, 4800))
    # A click is a jump, such as a wrong seam makes.
    assert max(abs(one - other) for one, other in pairwise([*turned, turned[0]])) < 3000


def test_sound_knows_how_loud_it_is(library: LoopLibrary) -> None:
    loop = library.get(GeneratedMedia(video=False, label="Amira")).audio
    assert loop is not None
    levels = [frame.level_dbov for frame in loop.layers[0].frames]
    samples = _samples(8, "Amira")
    for index, level in enumerate(levels):
        power = sum(sample * sample for sample in samples[index * 960 : index * 960 + 960]) / 960
        assert level == (max(round(10 * math.log10(power / 32768**2)), -127) if power else -127)
    assert -30 < max(levels) < -5
    assert sum(level > -45 for level in levels) >= 80, "somebody who speaks for less is hardly noticed"
    assert levels.count(-127) >= 290
