"""ffmpeg publishes over RTMP; the playlists, every segment and a real browser are what viewers get."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import m3u8
import pytest
from playwright.async_api import BrowserContext

from salam_server import Site
from tests.support.browser import debug, until
from tests.support.hls import Rendition, decode_segment, fetch_renditions, segment_bounds

pytestmark = [pytest.mark.peer, pytest.mark.timeout(420)]


@contextlib.asynccontextmanager
async def publishing(ffmpeg: str, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """ffmpeg as an encoder: 720p30 with a picture that moves and a tone, in real time, for at most five minutes."""
    process = await asyncio.create_subprocess_exec(
        ffmpeg,
        *("-hide_banner", "-loglevel", "error", "-re"),
        *("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "main", "-pix_fmt", "yuv420p"),
        *("-b:v", "2500k", "-g", "60", "-c:a", "aac", "-b:a", "128k", "-ac", "2"),
        *("-t", "300", "-f", "flv", url),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


async def stream_state(http: aiohttp.ClientSession, site: Site, name: str) -> dict[str, Any]:
    async with http.get(f"{site.url}/api/v1/streams") as response:
        streams: list[dict[str, Any]] = await response.json()
    return next((stream for stream in streams if stream["stream"] == name), {})


async def wait_for_segments(http: aiohttp.ClientSession, site: Site, name: str, count: int) -> None:
    async def enough() -> bool:
        async with http.get(f"{site.url}/live/{name}/index.m3u8") as response:
            if response.status != 200:
                return False
        renditions = await fetch_renditions(http, f"{site.url}/live/{name}/index.m3u8")
        return all(len(rendition.segments) >= count for rendition in renditions)

    await until(enough, f"{count} segments of every rung of {name}")


def check_multivariant(playlist: m3u8.M3U8, renditions: list[Rendition]) -> None:
    video = {rendition.height: rendition for rendition in renditions if rendition.kind == "video"}
    assert sorted(video) == [240, 480, 720]
    for variant in playlist.playlists:
        info = variant.stream_info
        width, height = info.resolution
        rendition = video[height]
        # The CODECS of the playlist are those of the bytes, not a constant.
        assert set(info.codecs.split(",")) == {rendition.codec, *(r.codec for r in renditions if r.kind == "audio")}
        assert re.fullmatch(r"avc1\.[0-9A-Fa-f]{6}", rendition.codec)
        assert (width, height) == (rendition.width, rendition.height)
        assert abs(width / height - 16 / 9) < 0.01
        audio_peak_bps = max((r.peak_bps for r in renditions if r.kind == "audio"), default=0)
        # RFC 8216 4.3.4.2: BANDWIDTH is the peak of any segment, all renditions of the variant together.
        assert info.bandwidth >= 0.95 * (rendition.peak_bps + audio_peak_bps)
        assert info.bandwidth <= 3 * (rendition.peak_bps + audio_peak_bps)
        assert abs(info.frame_rate - 30) < 0.1


async def test_every_rung_of_a_real_publication(site: Site, ffmpeg: str) -> None:
    async with aiohttp.ClientSession() as http, publishing(ffmpeg, f"rtmp://127.0.0.1:{site.engine.rtmp_port}/live/show"):
        await wait_for_segments(http, site, "show", 4)
        index = f"{site.url}/live/show/index.m3u8"
        async with http.get(index) as response:
            assert response.headers["Content-Type"].startswith("application/vnd.apple.mpegurl")
            multivariant = m3u8.loads(await response.text(), uri=index)
        renditions = await fetch_renditions(http, index)
        check_multivariant(multivariant, renditions)
        video = [rendition for rendition in renditions if rendition.kind == "video"]
        for rendition in renditions:
            for segment in rendition.segments:
                frames, first_is_key = decode_segment(rendition.init, segment.data)
                assert frames > 0, (rendition.name, segment.sequence)
                assert first_is_key, (rendition.name, segment.sequence)
        bounds = [segment_bounds(rendition) for rendition in video]
        common = set.intersection(*(set(bound) for bound in bounds))
        assert len(common) >= 3
        for sequence in common:
            assert len({bound[sequence] for bound in bounds}) == 1, f"segment {sequence} begins at different times"
        assert any(rendition.kind == "audio" for rendition in renditions)


@pytest.mark.browser
async def test_a_browser_plays_on_while_the_publisher_drops_and_returns(site: Site, ffmpeg: str, context: BrowserContext) -> None:
    url = f"rtmp://127.0.0.1:{site.engine.rtmp_port}/live/show"
    async with aiohttp.ClientSession() as http:
        async with publishing(ffmpeg, url) as publisher:
            await wait_for_segments(http, site, "show", 2)
            page = await context.new_page()
            await page.goto(f"{site.url}/watch/show")

            async def plays() -> bool:
                return bool((await debug(page)).get("frames_decoded", 0) > 30)

            await until(plays, "the browser decodes pictures")
            assert await until(lambda: _audio_bytes(page), "the browser decodes sound")
            assert (await stream_state(http, site, "show"))["viewers"] == 1
            # Killed, not stopped: the connection breaks without a goodbye.
            publisher.kill()
            await publisher.wait()

        async def interrupted() -> bool:
            return (await stream_state(http, site, "show")).get("state") == "interrupted"

        await until(interrupted, "the server sees the publisher gone")

        async def told() -> bool:
            seen = await page.evaluate(
                """() => ({
                  words: !document.querySelector("salam-player salam-state").hidden,
                  plays: window.salam.debug().player_state === "playing",
                })"""
            )
            assert not (seen["words"] and seen["plays"]), "words lie over a picture that still plays"
            return bool(seen["words"])

        await until(told, "the page tells why the picture stands still")
        async with publishing(ffmpeg, url):
            before = (await debug(page))["frames_decoded"]

            async def discontinuous() -> bool:
                renditions = await fetch_renditions(http, f"{site.url}/live/show/index.m3u8")
                return all(any(s.discontinuity for s in r.segments) for r in renditions)

            await until(discontinuous, "every rendition marks the discontinuity")

            async def plays_on() -> bool:
                state = await debug(page)
                return bool(state["frames_decoded"] > before + 150 and state["player_state"] == "playing")

            await until(plays_on, "the viewer plays past the discontinuity")


async def _audio_bytes(page: Any) -> int:
    script = """() => {
      const find = (root) => root.querySelector("video")
        ?? [...root.querySelectorAll("*")].map((e) => e.shadowRoot && find(e.shadowRoot)).find(Boolean);
      return find(document)?.webkitAudioDecodedByteCount ?? 0;
    }"""
    return int(await page.evaluate(script))


async def test_a_stream_that_never_was_is_a_clear_404(site: Site) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{site.url}/live/nobody/index.m3u8") as response:
        assert response.status == 404
        body = await response.json()
    assert body["error"]["code"] == "stream_offline"
    assert "nobody" in body["error"]["message"]
