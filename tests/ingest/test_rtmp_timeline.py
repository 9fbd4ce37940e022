"""Timestamps: unwrapped for good, never going back, in step over an encoder's restart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.rtmp.timeline import Timeline


@settings(deadline=None)
@given(start=st.integers(0, 2**32 - 1), steps=st.lists(st.integers(0, 2**30), max_size=30))
def test_steps_forward_survive_every_wrap(start: int, steps: list[int]) -> None:
    timeline = Timeline()
    position = start
    assert timeline.place("video", start) == start
    for step in steps:
        position += step
        assert timeline.place("video", position % 2**32) == position


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["video", "audio"]), st.integers(0, 2**32 - 1)), max_size=60))
def test_no_track_ever_goes_back(stamps: list[tuple[str, int]]) -> None:
    timeline = Timeline()
    last: dict[str, int] = {}
    for track, stamp in stamps:
        placed = timeline.place(track, stamp)  # type: ignore[arg-type]
        assert placed >= last.get(track, placed)
        last[track] = placed


def test_both_tracks_cross_the_wrap_together() -> None:
    timeline = Timeline()
    assert timeline.place("video", 2**32 - 20) == 2**32 - 20
    assert timeline.place("audio", 3) == 2**32 + 3
    assert timeline.place("video", 13) == 2**32 + 13


def test_small_steps_back_are_flattened() -> None:
    timeline = Timeline()
    assert [timeline.place("audio", stamp) for stamp in (1000, 990, 1020)] == [1000, 1000, 1020]


def test_a_restart_goes_on_behind_the_last_frame_with_the_tracks_in_step() -> None:
    timeline = Timeline()
    for stamp in range(0, 100_000, 1000):
        timeline.place("video", stamp)
        timeline.place("audio", stamp + 7)
    video = timeline.place("video", 0)
    audio = timeline.place("audio", 7)
    assert video == 99_040
    assert audio - video == 7
    assert timeline.place("video", 40) == video + 40


def test_a_restart_of_the_late_track_follows_the_first_one() -> None:
    timeline = Timeline()
    timeline.place("audio", 50_000)
    timeline.place("video", 50_010)
    assert timeline.place("audio", 0) == 50_040
    # The picture's last frame of the old clock still arrives, and must not move the new one.
    assert timeline.place("video", 50_050) == 50_050
    assert timeline.place("video", 40) == 50_080
    assert timeline.place("audio", 21) == 50_061
