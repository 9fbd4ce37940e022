"""Where segments begin, whatever timestamps a source has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transcode.timeline import START_PTS, FrameSchedule, KeyframeSchedule, segment_limit


def boundaries_of(times: list[int]) -> list[int]:
    schedule = FrameSchedule(START_PTS)
    return [pts for time in times for pts, boundary in schedule.plan(START_PTS + time) if boundary]


def test_constant_rates_give_equal_segments() -> None:
    for ticks, expected in ((3000, 180_000), (3003, 180_180), (1500, 180_000), (3750, 180_000), (3600, 180_000)):
        starts = boundaries_of([index * ticks for index in range(600)])
        assert {after - before for before, after in zip(starts, starts[1:], strict=False)} == {expected}, ticks


def test_millisecond_jitter_does_not_shift_boundaries() -> None:
    starts = boundaries_of([round(index * 1000 / 30) * 90 for index in range(900)])
    assert all(abs(pts - START_PTS - index * 180_000) <= 90 for index, pts in enumerate(starts))


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=200))
def test_no_segment_is_ever_too_long(steps: list[int]) -> None:
    schedule = FrameSchedule(START_PTS)
    pts, sent = START_PTS, []
    for step in steps:
        pts += step
        sent += schedule.plan(pts)
    times = [at for at, _ in sent]
    assert times == sorted(set(times))
    assert sent[0][1]
    starts = [at for at, boundary in sent if boundary]
    assert all(after - before <= segment_limit(2) for before, after in zip(starts, starts[1:], strict=False))
    assert times[-1] - starts[-1] <= segment_limit(2)


def cuts(interval_s: float, count: int, target_s: int | None = None) -> tuple[list[float], int | None]:
    schedule = KeyframeSchedule(START_PTS, target_s)
    times = [START_PTS + round(index * interval_s * 90_000) for index in range(count)]
    starts = [pts for pts in times if schedule.begins_segment(pts, idr=True)]
    return [(after - before) / 90_000 for before, after in zip(starts, starts[1:], strict=False)], schedule.target_s


def test_source_keyframes_are_grouped_to_the_target() -> None:
    for interval, length, target in ((0.5, 2.0, 2), (1, 2, 2), (1.3, 1.3, 2), (2, 2, 2), (2.4, 2.4, 2), (3, 3, 3), (4, 4, 4)):
        lengths, chosen = cuts(interval, 12)
        assert chosen == target, interval
        assert all(abs(one - length) < 0.01 for one in lengths), (interval, lengths)


@given(st.lists(st.integers(1, 179_999), min_size=2, max_size=300), st.sampled_from([None, 2, 3, 4]))
def test_passed_through_segments_stay_under_the_limit_or_are_overdue(steps: list[int], target_s: int | None) -> None:
    schedule = KeyframeSchedule(START_PTS, target_s)
    pts = start = START_PTS
    schedule.begins_segment(pts, idr=True)
    for index, step in enumerate(steps):
        pts += step
        idr = index % 3 == 0
        begins = schedule.begins_segment(pts, idr=idr)
        if not begins and schedule.overdue(pts):
            break
        assert idr or not begins
        if begins:
            start = pts
        else:
            assert pts - start <= segment_limit(schedule.target_s or 4)
