"""The life of a stream: sliding window, drop and return, end and removal, refusals; and what HTTP clients get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ingest.access_unit import TIMESCALE_HZ, AccessUnit, StreamInfo
from salam import ClosedError, ConflictError, LimitError, ProtocolError, SimulatedClock
from tests.transcode.conftest import MakeSite
from tests.transcode.live_rig import Source, audio_units, feed, frame_times, interleave, video_units
from transcode import LiveLimits, lint_media, lint_update
from transcode.playlist_lint import parse_media


def short(name: str, duration_s: float = 4, *, width: int = 320, height: int = 180) -> Source:
    return interleave(name, video_units(frame_times(duration_s), width=width, height=height), audio_units(0, duration_s))


async def test_drop_return_end_and_removal(make_site: MakeSite, eventually: Callable[..., Any], tmp_path: Path) -> None:
    clock = SimulatedClock()
    site = await make_site(LiveLimits(window_segments=5), clock)
    texts: list[str] = []

    async def look() -> None:
        text = await site.text("show/audio.m3u8")
        assert lint_media(text) == []
        if texts:
            assert lint_update(texts[-1], text) == []
        texts.append(text)

    for reason in ("dropped", "dropped", "finished"):
        sink = site.origin.open_sink("show")
        with pytest.raises(ConflictError):
            site.origin.open_sink("show")
        listed = sum(stream.segments for stream in site.origin.streams())
        await feed(site.origin, sink, short("show"))
        sink.on_end(reason)
        await eventually(lambda base=listed: sum(stream.segments for stream in site.origin.streams()) == base + 2)
        await look()
        await clock.advance(5)
        await look()
    await eventually(lambda: site.state("show") == "ended")
    await look()
    last = parse_media(texts[-1])
    assert last.ended
    assert (last.media_sequence, last.discontinuity_sequence, len(last.segments)) == (1, 0, 5)
    assert [segment.discontinuity for segment in last.segments] == [False, True, False, True, False]
    assert [state for _, state in site.states] == ["starting", "live", "interrupted", "live", "interrupted", "live", "ended"]

    await clock.advance(61)
    await eventually(lambda: site.state("show") == "offline")
    await eventually(lambda: not list((tmp_path / "live").rglob("*")), what="the segments are removed")
    async with site.client.get("/live/show/index.m3u8") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "stream_offline")


async def test_publisher_that_does_not_return(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    clock = SimulatedClock()
    site = await make_site(clock=clock)
    sink = site.origin.open_sink("gone")
    await feed(site.origin, sink, short("gone", 2.5))
    sink.on_end("dropped")
    await eventually(lambda: sum(stream.segments for stream in site.origin.streams()) == 2)
    assert "#EXT-X-ENDLIST" not in await site.text("gone/180p.m3u8")
    await clock.advance(10.1)
    await eventually(lambda: site.state("gone") == "ended")
    assert "#EXT-X-ENDLIST" in await site.text("gone/180p.m3u8")
    # The same name can be published anew at once, with a fresh timeline.
    fresh = site.origin.open_sink("gone")
    await feed(site.origin, fresh, short("gone", 2.5))
    fresh.on_end("finished")
    await eventually(lambda: site.state("gone") == "ended")
    playlist = parse_media(await site.text("gone/180p.m3u8"))
    assert (playlist.media_sequence, playlist.discontinuity_sequence) == (0, 0)


async def test_window_slides_and_the_disk_stays_bounded(
    make_site: MakeSite, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    site = await make_site(LiveLimits(window_segments=3))
    source = short("long", 40, width=426, height=240)
    sink = site.origin.open_sink("long")
    before, most = None, 0
    third = len(source.units) // 12
    for step in range(12):
        end = None if step == 11 else (step + 1) * third
        await feed(site.origin, sink, Source(source.info, source.units[step * third : end]), info=step == 0)
        if site.state("long") == "live":
            text = await site.text("long/240p.m3u8")
            assert lint_media(text) == []
            assert len(parse_media(text).segments) <= 3
            assert before is None or lint_update(before, text) == []
            before = text
        most = max(most, len(list((tmp_path / "live").rglob("*.m4s"))))
    sink.on_end("finished")
    await eventually(lambda: site.state("long") == "ended")
    assert next(stream.segments for stream in site.origin.streams()) == 20
    # Three listed, five kept for those who have an older playlist, and what is being written; in two renditions.
    assert most <= 2 * (3 + 5 + 3)


async def test_too_fast_a_publisher_costs_pictures_not_memory(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site(LiveLimits(shed_after_s=0.1, backlog_units=60))
    source = short("burst", 12, width=854, height=480)
    sink = site.origin.open_sink("burst")
    sink.on_info(source.info)
    for unit in source.units:
        sink.on_unit(unit)
    sink.on_end("finished")
    await eventually(lambda: site.state("burst") in ("ended", "offline"))
    assert "ended" in [state for _, state in site.states]
    assert site.metrics.dropped("live", "backlog_full") > 0


async def test_a_slow_machine_gives_up_pictures_but_no_segment(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site(LiveLimits(shed_after_s=0.1))
    sink = site.origin.open_sink("slow")
    source = short("slow", 8, width=854, height=480)
    sink.on_info(source.info)
    for unit in source.units:
        sink.on_unit(unit)
    sink.on_end("finished")
    await eventually(lambda: site.state("slow") == "ended")
    (stream,) = site.origin.streams()
    assert stream.shed_frames > 0
    assert stream.segments == 4
    for rendition in ("480p", "240p"):
        playlist = parse_media(await site.text(f"slow/{rendition}.m3u8"))
        assert [round(segment.duration_s, 2) for segment in playlist.segments[:3]] == [2, 2, 2]


async def test_refusals(make_site: MakeSite) -> None:
    site = await make_site(LiveLimits(streams=1))
    sink = site.origin.open_sink("one")
    with pytest.raises(LimitError):
        site.origin.open_sink("two")
    for name in ("", ".", "..", "../x", "a/b", "a b", "x" * 65, "-x", "a\n"):
        with pytest.raises(ProtocolError):
            site.origin.open_sink(name)
    sink.on_end("refused")
    await site.origin.close()
    with pytest.raises(ClosedError):
        site.origin.open_sink("one")
    sink.on_info(StreamInfo("one", None, None))
    sink.on_unit(AccessUnit("audio", b"", 0, 0, True, 0.0))


async def test_a_bad_configuration_ends_one_publication_only(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    good, bad = short("good", 2.5), short("bad", 2.5)
    assert bad.info.video is not None
    broken = StreamInfo("bad", type(bad.info.video)("h264", b"\1\2\3"), bad.info.audio)
    sink = site.origin.open_sink("bad")
    sink.on_info(broken)
    sink.on_unit(bad.units[0])
    await eventually(lambda: ("bad", "offline") in site.states)
    sink = site.origin.open_sink("good")
    await feed(site.origin, sink, good)
    sink.on_end("finished")
    await eventually(lambda: site.state("good") == "ended")


async def test_headers_methods_and_junk(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    sink = site.origin.open_sink("web")
    async with site.client.get("/live/web/index.m3u8") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "stream_not_ready")
    await feed(site.origin, sink, short("web", 4.5))
    await eventually(lambda: site.state("web") == "live")
    segment = parse_media(await site.text("web/180p.m3u8")).segments[0]
    for path, kind, cache in (
        ("index.m3u8", "application/vnd.apple.mpegurl", "max-age=1"),
        ("audio.m3u8?token=x&_HLS_msn=1", "application/vnd.apple.mpegurl", "max-age=1"),
        (segment.map_uri, "video/mp4", "immutable"),
        (segment.uri, "video/iso.segment", "immutable"),
    ):
        for method in ("GET", "HEAD"):
            async with site.client.request(method, f"/live/web/{path}") as response:
                assert response.status == 200
                assert response.headers["Content-Type"].split(";")[0] == kind
                assert cache in response.headers["Cache-Control"]
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                assert bool(await response.read()) == (method == "GET")
    async with site.client.get(f"/live/web/{segment.uri}", headers={"Range": "bytes=0-7"}) as response:
        assert (response.status, len(await response.read())) == (206, 8)
    async with site.client.options("/live/web/index.m3u8") as response:
        assert response.status == 204
    for junk in (
        "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc", "180p.m3u8%00", "999p.m3u8", "x-0/180p-0.m4s",
        segment.uri.replace("-0.m4s", "-77.m4s"), segment.uri + "/", "index.m3u8/", "a" * 3000, "%ff%fe", "180p-0.part",
    ):  # fmt: skip
        async with site.client.get(f"/live/web/{junk}") as response:
            assert response.status in (400, 404), junk
            assert b"root:" not in await response.read()
    sink.on_end("finished")


async def test_crash_leaves_nothing_behind(make_site: MakeSite, tmp_path: Path) -> None:
    left = tmp_path / "live" / "old" / "1-0"
    left.mkdir(parents=True)
    (left / "180p-0.m4s").write_bytes(b"x")
    await make_site()
    assert list((tmp_path / "live").iterdir()) == []


async def test_close_in_the_middle_joins_everything(make_site: MakeSite, eventually: Callable[..., Any], tmp_path: Path) -> None:
    site = await make_site()
    sink = site.origin.open_sink("cut")
    source = short("cut", 5)
    await feed(site.origin, sink, source)
    await eventually(lambda: site.state("cut") == "live")
    await site.origin.close()
    assert not (tmp_path / "live").exists()
    assert site.states[-1] == ("cut", "ended")
    assert source.units[-1].pts < 5 * TIMESCALE_HZ


async def test_source_that_jumps_all_the_time_is_cut_and_others_go_on(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    good, bad = site.origin.open_sink("good"), site.origin.open_sink("bad")
    hour = 3600 * TIMESCALE_HZ
    jumping = interleave("bad", video_units(frame_times(1)), audio_units(0, 1))
    # With a stated rate and both tracks announced, every keyframe begins an epoch at once.
    assert jumping.info.video is not None
    jumping.info = replace(jumping.info, video=replace(jumping.info.video, frame_rate=Fraction(30)))
    key = next(unit for unit in jumping.units if unit.kind == "video")
    jumping.units = [AccessUnit("video", key.data, index * hour, index * hour, True, 0.0) for index in range(100)]
    await feed(site.origin, bad, jumping)
    await eventually(lambda: site.metrics.dropped("live", "publication_failed") == 1)
    await eventually(lambda: site.state("bad") in ("ended", "offline"))
    await feed(site.origin, good, short("good"))
    good.on_end("finished")
    await eventually(lambda: site.state("good") == "ended")
    assert len(parse_media(await site.text("good/180p.m3u8")).segments) == 2


async def test_jump_while_tracks_are_gathered(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    """Pictures from before the jump must not make one segment that is an hour long."""
    site = await make_site()
    sink = site.origin.open_sink("jump")
    await feed(site.origin, sink, interleave("jump", video_units(frame_times(1)), None))
    later = interleave("jump", video_units(frame_times(4, start=3600 * TIMESCALE_HZ)), None)
    await feed(site.origin, sink, later, info=False)
    sink.on_end("finished")
    await eventually(lambda: site.state("jump") == "ended")
    text = await site.text("jump/180p.m3u8")
    assert lint_media(text) == []
    assert [round(segment.duration_s) for segment in parse_media(text).segments] == [2, 2]
