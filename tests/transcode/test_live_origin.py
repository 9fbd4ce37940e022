"""Whole publications through the origin: real encodes in, playlists and segments out over HTTP, decoded by FFmpeg."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import av
import m3u8
import pytest

from ingest.access_unit import TIMESCALE_HZ, AccessUnit
from tests.transcode.conftest import MakeSite
from tests.transcode.live_rig import Site, Source, audio_units, feed, frame_times, interleave, video_units
from transcode import lint_media, lint_multivariant
from transcode.cmaf import parse_fragments
from transcode.h264 import NalType, iter_nals, join_nals, stated_keyframe_interval
from transcode.playlist_lint import ParsedMedia, parse_media


@dataclass
class Rendition:
    """A media playlist and the bytes behind it."""

    playlist: ParsedMedia
    files: dict[str, bytes]

    def starts(self) -> list[int]:
        """The first presentation time of each segment, in its timescale."""
        return [
            min(one.dts + one.composition_offset for one in parse_fragments(self.files[segment.uri])[0].samples)
            for segment in self.playlist.segments
        ]


async def fetch(site: Site, stream: str) -> dict[str, Rendition]:
    """Read everything that the stream offers now and check what must hold for every stream."""
    text = await site.text(f"{stream}/index.m3u8")
    assert lint_multivariant(text) == []
    parsed = m3u8.loads(text)
    uris = [variant.uri for variant in parsed.playlists] + [media.uri for media in parsed.media]
    found = {}
    for uri in uris:
        body = await site.text(f"{stream}/{uri}")
        assert lint_media(body) == []
        playlist = parse_media(body)
        assert [segment.uri for segment in m3u8.loads(body).segments] == [segment.uri for segment in playlist.segments]
        names = {name for segment in playlist.segments for name in (segment.uri, segment.map_uri) if name}
        found[uri.removesuffix(".m3u8")] = Rendition(playlist, {name: await site.data(f"{stream}/{name}") for name in names})
    windows = {one.playlist.media_sequence + len(one.playlist.segments) for one in found.values()}
    assert len(windows) == 1, windows
    return found


def decode(rendition: Rendition) -> list[list[Any]]:
    """Decode every segment alone, as a player that joins there would, and check its first picture."""
    decoded = []
    for segment in rendition.playlist.segments:
        with av.open(io.BytesIO(rendition.files[segment.map_uri or ""] + rendition.files[segment.uri]), "r") as container:
            stream = container.streams[0]
            frames = list(container.decode(stream))
            first = parse_fragments(rendition.files[segment.uri])[0].samples[0]
            assert first.sync
            if stream.type == "video":
                assert NalType.IDR in [nal[0] & 31 for nal in iter_nals(first.data)]
            decoded.append(frames)
    return decoded


async def publish(
    site: Site, source: Source, eventually: Callable[..., Any], *, reason: Literal["finished", "dropped"] = "finished"
) -> None:
    """Send a whole publication and wait until it is worked off."""
    sink = site.origin.open_sink(source.info.name)
    await feed(site.origin, sink, source)
    sink.on_end(reason)
    if reason == "finished":
        await eventually(lambda: site.state(source.info.name) == "ended")


def check_alignment(renditions: dict[str, Rendition]) -> None:
    """Segments begin at the same tick in every video rendition, and within one frame of it in the audio."""
    video = {name: one.starts() for name, one in renditions.items() if name != "audio"}
    reference = next(iter(video.values()))
    assert all(starts == reference for starts in video.values()), video
    if "audio" in renditions:
        for pts, position in zip(reference, renditions["audio"].starts(), strict=True):
            assert 0 <= Fraction(position, 48_000) - Fraction(pts, TIMESCALE_HZ) < Fraction(1024, 48_000)


@pytest.mark.parametrize("b_frames", [0, 2])
async def test_source_is_passed_through_and_the_ladder_is_aligned(
    make_site: MakeSite, eventually: Callable[..., Any], b_frames: int
) -> None:
    site = await make_site()
    video = video_units(frame_times(7), width=854, height=480, b_frames=b_frames)
    await publish(site, interleave("game", video, audio_units(0, 7)), eventually)
    assert [state for _, state in site.states] == ["starting", "live", "ended"]
    renditions = await fetch(site, "game")
    assert list(renditions) == ["480p", "240p", "audio"]
    check_alignment(renditions)
    assert renditions["480p"].starts() == [900_000 + index * 180_000 for index in range(4)]
    passed = [one.data for segment in renditions["480p"].playlist.segments
              for one in parse_fragments(renditions["480p"].files[segment.uri])[0].samples]  # fmt: skip
    assert passed == [unit.data for unit in video[1]]
    for name, rendition in renditions.items():
        frames = decode(rendition)
        assert rendition.playlist.ended
        if name != "audio":
            assert [len(one) for one in frames] == [60, 60, 60, 30]
            assert {(frame.width, frame.height) for one in frames for frame in one} <= {(854, 480), (428, 240)}


@pytest.mark.parametrize(("stated", "fed_s"), [(True, 3), (False, 5)])
async def test_rare_keyframes_play_within_seconds(
    make_site: MakeSite, eventually: Callable[..., Any], stated: bool, fed_s: int
) -> None:
    site = await make_site()
    form, units = video_units(frame_times(9), width=426, height=240, gop_ticks=100 * TIMESCALE_HZ)
    assert stated_keyframe_interval(iter_nals(units[0].data)) == 100_000
    if not stated:
        units = [replace(unit, data=join_nals([nal for nal in iter_nals(unit.data) if nal[0] & 31 != 6])) for unit in units]
    source = interleave("obs", (form, units), audio_units(0, 9))
    split = next(index for index, unit in enumerate(source.units) if unit.dts > fed_s * TIMESCALE_HZ)
    sink = site.origin.open_sink("obs")
    await feed(site.origin, sink, Source(source.info, source.units[:split]))
    # What was waited for is not lost: the first segment shows the beginning.
    await eventually(lambda: site.state("obs") == "live")
    await feed(site.origin, sink, Source(source.info, source.units[split:]), info=False)
    sink.on_end("finished")
    await eventually(lambda: site.state("obs") == "ended")
    renditions = await fetch(site, "obs")
    check_alignment(renditions)
    assert renditions["240p"].starts() == [900_000 + index * 180_000 for index in range(5)]
    assert renditions["240p"].playlist.target_s == 2
    assert sum(map(len, decode(renditions["240p"]))) >= 265
    assert not any(segment.discontinuity for segment in renditions["240p"].playlist.segments)


async def test_playlist_tells_the_truth_about_rates(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    await publish(site, interleave("truth", video_units(frame_times(6), width=640, height=360), audio_units(0, 6)), eventually)
    parsed = m3u8.loads(await site.text("truth/index.m3u8"))
    renditions = await fetch(site, "truth")

    def peak(name: str) -> float:
        segments = renditions[name].playlist.segments
        return max(len(renditions[name].files[one.uri]) * 8 / one.duration_s for one in segments)

    for variant in parsed.playlists:
        info = variant.stream_info
        expected = peak(variant.uri.removesuffix(".m3u8")) + peak("audio")
        assert abs(info.bandwidth - expected) / expected < 0.02
        assert info.average_bandwidth <= info.bandwidth
        assert info.frame_rate == 30
        assert info.codecs.endswith(",mp4a.40.2")
    assert [variant.stream_info.resolution for variant in parsed.playlists] == [(640, 360), (426, 240)]


@pytest.mark.parametrize(
    ("fps", "names", "counts"),
    [(Fraction(30000, 1001), ["240p"], [60, 60]), (Fraction(60), ["240p"], [60, 60]), (Fraction(25), ["240p"], [50, 50])],
)
async def test_frame_rates(
    make_site: MakeSite, eventually: Callable[..., Any], fps: Fraction, names: list[str], counts: list[int]
) -> None:
    """A source that cannot be passed through, because its keyframes are too far apart, is cut by the clock instead."""
    site = await make_site()
    video = video_units(frame_times(9, fps), width=426, height=240, gop_ticks=100 * TIMESCALE_HZ)
    await publish(site, interleave("rate", video, None), eventually)
    renditions = await fetch(site, "rate")
    assert list(renditions) == names
    frames = decode(renditions["240p"])
    assert [len(one) for one in frames[:2]] == counts
    starts = renditions["240p"].starts()
    length = 2 * TIMESCALE_HZ if fps != Fraction(30000, 1001) else 180_180
    assert all(abs(after - before - length) <= 180 for before, after in pairwise(starts[:3]))
    (variant,) = m3u8.loads(await site.text("rate/index.m3u8")).playlists
    assert variant.stream_info.frame_rate == pytest.approx(float(fps if fps < 50 else fps / 2), abs=0.001)
    assert variant.stream_info.codecs.startswith("avc1.64")


async def test_variable_frame_rate_with_holes(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    times = [pts for pts in frame_times(9) if not 6.1 < pts / TIMESCALE_HZ < 7.5 and (pts // 3000) % 3 != 1]
    video = video_units(times, width=426, height=240, gop_ticks=100 * TIMESCALE_HZ)
    await publish(site, interleave("vfr", video, audio_units(0, 9)), eventually)
    renditions = await fetch(site, "vfr")
    check_alignment(renditions)
    assert all(decode(renditions["240p"]))
    assert max(segment.duration_s for segment in renditions["240p"].playlist.segments) < 2.5
    assert len(renditions["240p"].playlist.segments) >= 2


async def test_source_without_audio(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    await publish(site, interleave("mute", video_units(frame_times(4)), None), eventually)
    assert "AUDIO" not in await site.text("mute/index.m3u8")
    renditions = await fetch(site, "mute")
    assert list(renditions) == ["180p"]
    assert len(decode(renditions["180p"])) == 2


@pytest.mark.parametrize("codec", ["aac", "libopus"])
async def test_audio_alone(make_site: MakeSite, eventually: Callable[..., Any], codec: str) -> None:
    site = await make_site()
    await publish(site, interleave("radio", None, audio_units(0, 6, codec=codec)), eventually)
    renditions = await fetch(site, "radio")
    assert list(renditions) == ["audio"]
    samples = sum(frame.samples for frames in decode(renditions["audio"]) for frame in frames)
    assert abs(samples - 6 * 48_000) <= 3 * 1024
    assert "mp4a.40.2" in await site.text("radio/index.m3u8")


async def test_announced_audio_that_never_comes_is_silence(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    source = interleave("silent", video_units(frame_times(6)), audio_units(0, 2))
    source.units = [unit for unit in source.units if unit.kind == "video"]
    await publish(site, source, eventually)
    renditions = await fetch(site, "silent")
    check_alignment(renditions)
    assert all(decode(renditions["audio"]))


async def test_video_that_stops_is_held(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    source = interleave("camera", video_units(frame_times(13)), audio_units(0, 13))
    source.units = [unit for unit in source.units if unit.kind == "audio" or not 4.05 < unit.pts / TIMESCALE_HZ < 9.95]
    await publish(site, source, eventually)
    renditions = await fetch(site, "camera")
    playlist = renditions["180p"].playlist
    assert sum(segment.discontinuity for segment in playlist.segments) == 2
    # Nothing of the sound is lost, and the pictures cover it all.
    total = sum(segment.duration_s for segment in playlist.segments)
    assert total == pytest.approx(13, abs=0.3)
    assert sum(segment.duration_s for segment in renditions["audio"].playlist.segments) == pytest.approx(total, abs=0.1)
    assert all(decode(renditions["180p"]))


async def test_parameter_change_begins_an_epoch(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    large = interleave("grow", video_units(frame_times(4), width=854, height=480), audio_units(0, 8))
    small = video_units(frame_times(4, start=4 * TIMESCALE_HZ), width=320, height=180)
    sink = site.origin.open_sink("grow")
    await feed(site.origin, sink, Source(large.info, [unit for unit in large.units if unit.pts < 4 * TIMESCALE_HZ]))
    audio = [unit for unit in large.units if unit.kind == "audio" and unit.pts >= 4 * TIMESCALE_HZ]
    second = interleave("grow", small, None)
    second.info = type(large.info)("grow", small[0], large.info.audio)
    second.units = sorted([*small[1], *audio], key=lambda unit: unit.dts)
    await feed(site.origin, sink, second)
    sink.on_end("finished")
    await eventually(lambda: site.state("grow") == "ended")
    renditions = await fetch(site, "grow")
    # The multivariant playlist names what the source is now; who plays the larger rung already is led to the smaller picture.
    assert list(renditions) == ["180p", "audio"] or list(renditions)[0] == "180p"
    body = await site.text("grow/480p.m3u8")
    assert lint_media(body) == []
    old = parse_media(body)
    assert [segment.discontinuity for segment in old.segments] == [False, False, True, False]
    assert {segment.uri.split("/")[1].split("-")[0] for segment in old.segments[2:]} == {"180p"}


async def test_damaged_units_do_not_end_the_stream(make_site: MakeSite, eventually: Callable[..., Any]) -> None:
    site = await make_site()
    source = interleave("noise", video_units(frame_times(6), width=426, height=240), audio_units(0, 6))
    damaged = []
    for index, unit in enumerate(source.units):
        data = unit.data
        if index % 17 == 5 and not unit.keyframe:
            data = b"\xff\xff\xff\xff" + data[4:]
        elif index % 17 == 9:
            data = data[: len(data) // 2] if not unit.keyframe else data
        damaged.append(AccessUnit(unit.kind, data, unit.pts, unit.dts, unit.keyframe, unit.received_s))
    source.units = damaged
    await publish(site, source, eventually)
    renditions = await fetch(site, "noise")
    assert len(renditions["240p"].playlist.segments) == 3


def first_loud(frames: list[Any]) -> Any:
    """Return the time of the first loud sample of decoded float audio."""
    for frame in frames:
        values = memoryview(bytes(frame.planes[0])).cast("f")
        for index in range(frame.samples):
            if abs(values[index]) > 0.25:
                return float(frame.pts * frame.time_base) + index / frame.sample_rate
    raise AssertionError("no click was heard")


@pytest.mark.parametrize(("codec", "gop_s"), [("aac", 2), ("aac", 100), ("libopus", 2)])
async def test_click_and_flash_come_together(make_site: MakeSite, eventually: Callable[..., Any], codec: str, gop_s: int) -> None:
    """The flash at 5.5 s and the click with it are at most 25 ms apart in every rendition."""
    site = await make_site()
    at_s = 5.5 if gop_s == 2 else 6.5

    def luma(pts: int) -> int:
        return 235 if at_s <= pts / TIMESCALE_HZ < at_s + 0.2 else 16

    def sample(time_s: float) -> float:
        return (0.8 if int(time_s * 2000) % 2 else -0.8) if at_s <= time_s < at_s + 0.2 else 0.0

    video = video_units(frame_times(8), width=426, height=240, gop_ticks=gop_s * TIMESCALE_HZ, luma=luma)
    await publish(site, interleave("clap", video, audio_units(0, 8, codec=codec, sample=sample)), eventually)
    renditions = await fetch(site, "clap")
    sound = first_loud(decode_joined(renditions["audio"]))
    for name in renditions.keys() - {"audio"}:
        flash = next(
            float(frame.pts * frame.time_base) for frame in decode_joined(renditions[name]) if bytes(frame.planes[0])[0] > 120
        )
        assert abs(flash - sound) < 0.025, (name, flash, sound)


def decode_joined(rendition: Rendition) -> list[Any]:
    """Decode the whole playlist as one file."""
    segments = rendition.playlist.segments
    data = rendition.files[segments[0].map_uri or ""] + b"".join(rendition.files[segment.uri] for segment in segments)
    with av.open(io.BytesIO(data), "r") as container:
        return list(container.decode(container.streams[0]))


def test_epoch_names_look_as_the_request_parser_expects() -> None:
    assert re.fullmatch(r"[a-z0-9]{1,24}-[0-9]{1,9}", f"{int(4e12):x}x{10**6:x}-{10**6}")
