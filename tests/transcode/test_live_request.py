"""Requests, the backlog, and the playlist linter: each refuses what it should."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.access_unit import AccessUnit, StreamInfo, VideoFormat
from salam import ProtocolError
from transcode import LiveResource, lint_media, lint_multivariant, lint_update, parse_live_request
from transcode.backlog import Backlog, Mark
from transcode.playlist import MediaPlaylist, MediaSegment, render_media
from transcode.rates import RateMeter


def test_known_paths() -> None:
    assert parse_live_request("a.b-c_1", "index.m3u8").resource is LiveResource.MULTIVARIANT
    assert parse_live_request("a", "1080p.m3u8").rendition == "1080p"
    wanted = parse_live_request("a", "1fx1-0/audio-12.m4s")
    assert (wanted.resource, wanted.folder, wanted.name) == (LiveResource.SEGMENT, "1fx1-0", "audio-12.m4s")
    assert parse_live_request("a", "1fx1-0/240p.mp4").resource is LiveResource.INIT


@given(st.text(max_size=80), st.text(max_size=200))
def test_no_request_names_a_path_outside(stream: str, path: str) -> None:
    with suppress(ProtocolError):
        wanted = parse_live_request(stream, path)
        for part in (wanted.stream, wanted.folder, wanted.name):
            assert "/" not in part
            assert "\0" not in part
            assert part not in (".", "..")


def unit(dts: int, size: int = 10, *, keyframe: bool = False) -> AccessUnit:
    return AccessUnit("video", bytes(size), dts, dts, keyframe, 0.0)


def test_full_backlog_drops_up_to_a_keyframe() -> None:
    backlog = Backlog(4, 1000)
    backlog.put(StreamInfo("x", VideoFormat("h264", b""), None))
    assert [backlog.put(unit(index)) for index in range(4)] == [True, True, True, False]
    assert not backlog.put(unit(5, keyframe=True)), "still more than half full"
    for _ in range(3):
        backlog.take()
    assert not backlog.put(unit(6))
    assert backlog.put(unit(7, keyframe=True))
    backlog.put(Mark.END)
    taken = [backlog.take() for _ in range(4)]
    assert taken[1] is Mark.GAP
    assert isinstance(taken[2], AccessUnit)
    assert taken[2].dts == 7
    assert taken[3] is Mark.END


def test_backlog_is_bounded_in_bytes_and_ends_at_once() -> None:
    backlog = Backlog(1000, 100)
    assert backlog.put(unit(0, 90))
    assert not backlog.put(unit(1, 90))
    backlog.end_now()
    assert backlog.take() is Mark.END
    assert backlog.lag_s == 0


def test_a_flood_of_changes_is_bounded_and_the_last_one_counts() -> None:
    backlog = Backlog(max_units=8, max_bytes=1000)
    infos = [StreamInfo("x", VideoFormat("h264", index.to_bytes(2, "big") * 50), None) for index in range(500)]
    for index, info in enumerate(infos):
        assert backlog.put(info)
        backlog.put(unit(index, keyframe=True))
    taken: list[object] = []
    while not isinstance(item := backlog.take(), AccessUnit) or item.dts < 900:
        taken.append(item)
        if len(taken) == 8:
            # Room again: it goes on with what the publisher sends now.
            assert backlog.put(unit(999, keyframe=True))
    assert taken[0] == infos[0]
    assert taken[-2:] == [Mark.GAP, infos[-1]]
    assert len(taken) == 10


def playlist(target: int = 2, **changes: float | bool) -> str:
    segments = [MediaSegment(f"e/{index}.m4s", 2.0, "e/i.mp4", 1e9 + index * 2) for index in range(3)]
    if "duration_s" in changes:
        segments[1] = MediaSegment("e/1.m4s", float(changes["duration_s"]), "e/i.mp4", 1e9 + 2)
    if changes.get("header"):
        segments[2] = MediaSegment("e/2.m4s", 2.0, "f/i.mp4", 1e9 + 4)
    return render_media(MediaPlaylist(target, 7, 1, segments))


def test_linter_passes_what_is_right() -> None:
    assert lint_media(playlist()) == []
    assert lint_media(playlist(duration_s=2.49)) == []
    assert lint_update(playlist(), playlist()) == []


@pytest.mark.parametrize(
    "text",
    [
        playlist(duration_s=2.5),
        playlist(header=True),
        playlist().replace("#EXTM3U\n", ""),
        playlist().replace("#EXT-X-TARGETDURATION:2\n", ""),
        playlist().replace('#EXT-X-MAP:URI="e/i.mp4"\n', ""),
        playlist().replace("VERSION:6", "VERSION:3"),
        playlist().replace("#EXTINF:2.00000,\ne/1", "e/1"),
        playlist().replace("e/1.m4s", "e/0.m4s"),
        playlist() + "#EXT-X-DISCONTINUITY\n",
        playlist().replace("Z\n", "\n"),
        playlist() + "#EXT-X-SURPRISE\n",
        playlist().rstrip("\n"),
    ],
)
def test_linter_finds_what_is_wrong(text: str) -> None:
    assert lint_media(text)


def test_linter_finds_wrong_updates() -> None:
    before = playlist()
    assert lint_update(before, before.replace("SEQUENCE:7", "SEQUENCE:6"))
    assert lint_update(before, before.replace("e/1.m4s", "e/9.m4s"))
    assert lint_update(before, before.replace("DURATION:2", "DURATION:3"))
    assert lint_update(before, before.replace("DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:2"))
    assert lint_update(before + "#EXT-X-ENDLIST\n", before)
    assert lint_multivariant("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n")
    assert lint_multivariant('#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="avc1.64001f",AUDIO="a"\nx.m3u8\n')


@given(st.text(max_size=300))
def test_linter_survives_anything(text: str) -> None:
    lint_media("#EXTM3U\n" + text)
    lint_multivariant("#EXTM3U\n" + text)
    lint_update(text, text)


def test_peak_rate_is_of_runs_near_the_target() -> None:
    meter = RateMeter(2)
    for size, duration in ((250_000, 2.0), (500_000, 2.0), (25_000, 0.1)):
        meter.add(size, duration, round(duration * 30))
    assert meter.peak_bps == max(2_000_000, round(525_000 * 8 / 2.1))
    assert meter.average_bps == round(775_000 * 8 / 4.1)
    assert meter.frame_rate == 30
