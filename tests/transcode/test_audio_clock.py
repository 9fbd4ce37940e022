"""Audio laid end to end: jitter is ignored, holes become silence, overlaps are dropped, and nothing drifts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.access_unit import AudioFormat
from transcode.aac import build_aac_config
from transcode.audio import SampleClock, open_audio
from transcode.segmenter import AudioSegmenter
from transcode.timeline import START_PTS

FRAME = 1024


@given(st.lists(st.integers(-3000, 9000), max_size=300))
def test_output_is_contiguous_and_near_its_claims(errors: list[int]) -> None:
    clock = SampleClock(480_000, grain=FRAME, rate_hz=48_000)
    claimed = 480_000
    written = None
    for error in errors:
        claimed += FRAME + error // 4
        before = clock.next
        silence = clock.accept(claimed, FRAME)
        if silence is None:
            assert clock.next == before
            continue
        assert silence % FRAME == 0
        if written is not None:
            assert clock.next == written + silence + FRAME
        written = clock.next
        assert abs(written - FRAME - claimed) < FRAME


def test_jitter_of_milliseconds_changes_nothing() -> None:
    clock = SampleClock(0, grain=FRAME, rate_hz=48_000)
    for index in range(2000):
        claimed = round(round(index * FRAME / 48) * 48)
        assert clock.accept(claimed, FRAME) == 0


def test_passed_frames_are_untouched_and_holes_are_silence() -> None:
    chain = open_audio(AudioFormat("aac", build_aac_config(48_000, 2), 48_000, 2), START_PTS)
    frames = []
    for index in [*range(10), *range(20, 30)]:
        frames += chain.push(b"frame%d" % index, START_PTS + index * 1920)
    frames += chain.fill(START_PTS + 40 * 1920)
    positions = [position for position, _ in frames]
    assert positions == [480_000 + index * FRAME for index in range(40)]
    assert [data for _, data in frames[:10]] == [b"frame%d" % index for index in range(10)]
    assert len({data for _, data in frames[10:20] + frames[30:]}) == 1
    assert frames[20][1] == b"frame20"


def test_late_start_is_filled_from_the_start() -> None:
    chain = open_audio(AudioFormat("aac", build_aac_config(44_100, 1), 44_100, 1), START_PTS)
    frames = chain.push(b"late", START_PTS + 90_000)
    assert 441_000 <= frames[0][0] < 441_000 + FRAME
    assert frames[-1] == (485_100, b"late")
    assert all(after[0] - before[0] == FRAME for before, after in zip(frames, frames[1:], strict=False))


def test_segments_are_cut_where_the_video_is() -> None:
    segmenter = AudioSegmenter(48_000, FRAME)
    segmenter.cut_at(START_PTS)
    segmenter.cut_at(START_PTS + 180_000)
    for index in range(200):
        segmenter.add(480_000 + index * FRAME, b"x")
    assert segmenter.advance(START_PTS + 90_000) == []
    (first,) = segmenter.advance(START_PTS + 300_000)
    second = segmenter.finish()
    assert second is not None
    assert (first.index, first.start_pts, first.samples) == (0, START_PTS, 94)
    assert (second.index, second.samples) == (1, 157 - 94)
    assert 0 <= second.start_pts - (START_PTS + 180_000) < 1920
