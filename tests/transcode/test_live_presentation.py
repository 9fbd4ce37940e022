"""What the playlists of a stream say, from its segments' sizes."""

from __future__ import annotations

import re

import pytest

from transcode.events import EpochStarted, SegmentStored, TrackReady
from transcode.ladder import plan_ladder
from transcode.presentation import Presentation
from transcode.timeline import START_PTS


def peaks(text: str) -> list[int]:
    return [int(match) for match in re.findall(r"[:,]BANDWIDTH=(\d+)", text)]


@pytest.mark.parametrize("passthrough", [True, False])
def test_bandwidth_of_a_running_stream_allows_for_what_is_to_come(passthrough: bool) -> None:
    """Black pictures at the start must not promise that the rest is as cheap (RFC 8216 section 4.3.4.2)."""
    shown = Presentation(window=5)
    rungs = plan_ladder(1280, 720, 30, passthrough=passthrough)
    shown.apply(EpochStarted(0, "a-0", rungs, False, START_PTS, 0.0, 30.0))
    sizes = {"720p": 250_000, "480p": 1_000, "240p": 1_000}
    for rung in rungs:
        shown.apply(TrackReady(0, rung.name, "avc1.64001f"))
        shown.apply(SegmentStored(0, rung.name, 0, START_PTS, 2.0, 60, sizes[rung.name], 2))
    source_bps = 1_000_000 if passthrough else rungs[0].bit_rate_bps
    # No encoded rung is said to be dearer than the one above it.
    assert peaks(shown.multivariant()) == [source_bps, min(rungs[1].bit_rate_bps, source_bps), rungs[2].bit_rate_bps]
    for rung in rungs:
        shown.apply(SegmentStored(0, rung.name, 1, START_PTS + 180_000, 2.0, 60, 2_000_000, 2))
    assert peaks(shown.multivariant()) == [8_000_000] * 3
    assert "AVERAGE-BANDWIDTH=4500000," in shown.multivariant()


def test_bandwidth_of_an_ended_stream_is_what_was_measured() -> None:
    shown = Presentation(window=5)
    (rung,) = plan_ladder(320, 180, 30, passthrough=False)
    shown.apply(EpochStarted(0, "a-0", (rung,), False, START_PTS, 0.0, 30.0))
    shown.apply(TrackReady(0, rung.name, "avc1.64001f"))
    shown.apply(SegmentStored(0, rung.name, 0, START_PTS, 2.0, 60, 1_000, 2))
    assert peaks(shown.multivariant()) == [rung.bit_rate_bps]
    shown.end()
    assert peaks(shown.multivariant()) == [4_000]
