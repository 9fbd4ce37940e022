"""The ladder: never above the source, always even, cheaper downwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcode import plan_ladder


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ((1920, 1080), ["1080p", "720p", "480p", "240p"]),
        ((1280, 720), ["720p", "480p", "240p"]),
        ((640, 360), ["360p", "240p"]),
        ((854, 480), ["480p", "240p"]),
        ((426, 240), ["240p"]),
        ((160, 90), ["90p"]),
        ((1080, 1920), ["1080p", "720p", "480p", "240p"]),
        ((1920, 1088), ["1088p", "720p", "480p", "240p"]),
    ],
)
def test_rungs_by_source(size: tuple[int, int], names: list[str]) -> None:
    assert [rung.name for rung in plan_ladder(*size, 30, passthrough=True)] == names


def test_bit_rates_are_the_published_ones() -> None:
    rates = [rung.bit_rate_bps for rung in plan_ladder(1920, 1080, 30, passthrough=False)]
    assert [round(rate, -5) for rate in rates] == [5_000_000, 2_800_000, 1_200_000, 400_000]


def test_large_sources_are_passed_through_but_not_encoded() -> None:
    assert [rung.name for rung in plan_ladder(3840, 2160, 30, passthrough=True)][:2] == ["2160p", "1080p"]
    assert [rung.name for rung in plan_ladder(3840, 2160, 30, passthrough=False)][0] == "1080p"


def test_small_rungs_halve_high_frame_rates() -> None:
    rungs = {rung.name: rung.halve_frame_rate for rung in plan_ladder(1280, 720, 60, passthrough=False)}
    assert rungs == {"720p": False, "480p": True, "240p": True}
    assert not any(rung.halve_frame_rate for rung in plan_ladder(1280, 720, 30.3, passthrough=False))


@given(st.integers(2, 8000), st.integers(2, 8000), st.floats(0, 240), st.booleans())
def test_every_source(width: int, height: int, fps: float, passthrough: bool) -> None:
    rungs = plan_ladder(width, height, fps, passthrough=passthrough)
    assert rungs
    for index, rung in enumerate(rungs):
        assert 0 < rung.width <= width
        assert 0 < rung.height <= height
        assert rung.passthrough == (passthrough and index == 0)
        assert rung.passthrough or (rung.width % 2 == 0 and rung.height % 2 == 0)
        assert rung.bit_rate_bps > 0
    areas = [rung.width * rung.height for rung in rungs]
    assert areas == sorted(areas, reverse=True)
    assert len({rung.name for rung in rungs}) == len(rungs)
