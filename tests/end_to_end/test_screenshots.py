"""Opens every page at phone and desktop size, in both themes and both languages, and keeps the pictures to be looked at.

``SALAM_SCREENSHOTS`` names the folder for the ones that the docs show; all of them go to the test's own folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, ViewportSize

from bench import Broadcaster, GeneratedMedia, Robot
from salam_server import Site
from tests.support.browser import debug, until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SIZES = {"phone": ViewportSize(width=390, height=844), "desktop": ViewportSize(width=1440, height=900)}
THEMES = ("light", "dark")
LANGUAGES = {"en": "en-GB", "ar": "ar-EG"}
# What the docs show: one picture of each page, and what they look like elsewhere.
IN_DOCS = {
    "home-desktop-light-en",
    "lobby-desktop-dark-en",
    "call-desktop-dark-en",
    "call-phone-dark-ar",
    "watch-desktop-dark-en",
    "watch-phone-light-ar",
}


@contextlib.asynccontextmanager
async def a_busy_server(site: Site) -> AsyncIterator[None]:
    """A room with three robots and a live stream."""
    engine = site.engine
    broadcaster = Broadcaster(f"rtmp://127.0.0.1:{engine.rtmp_port}/live/market", width=854, height=480, fps=15)
    broadcaster.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            for name in ("Amira", "Yusuf", "Salma"):
                media = GeneratedMedia(width=640, height=360, fps=5, label=name)
                await stack.enter_async_context(Robot(f"{site.url}/ws", room="majlis", name=name, publish=media))

            async def live() -> bool:
                async with aiohttp.ClientSession() as http, http.get(f"{site.url}/api/v1/streams") as response:
                    return [stream["state"] for stream in await response.json()] == ["live"]

            await until(live, "the stream is live")
            yield
    finally:
        await broadcaster.stop()


async def call_shows_everybody(page: Page) -> bool:
    videos = [track for track in (await debug(page)).get("tracks", []) if track["kind"] == "video"]
    return len(videos) >= 3 and all(track["frames_decoded"] > 2 for track in videos)


async def _is_alone(site: Site) -> bool:
    return [room["participants"] for room in site.engine.rooms()] == [3]


async def player_plays(page: Page) -> bool:
    return bool((await debug(page)).get("frames_decoded", 0) > 5)


async def always(page: Page) -> bool:
    return True


PAGES: dict[str, tuple[str, Any]] = {
    "home": ("/", always),
    "lobby": ("/room/majlis?name=Layla", always),
    "call": ("/room/majlis?name=Layla&join=1", call_shows_everybody),
    "watch": ("/watch/market", player_plays),
}


async def take(browser: Browser, site: Site, folder: Path, name: str, size: str, theme: Any, language: str) -> str:
    """Open a page, wait until it shows what it is for, check that nothing overflows, and save its picture."""
    context = await browser.new_context(
        viewport=SIZES[size], color_scheme=theme, locale=LANGUAGES[language], permissions=["camera", "microphone"]
    )
    label = f"{name}-{size}-{theme}-{language}"
    problems: list[str] = []
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{label}: {error}"))
        page.on("console", lambda message: problems.append(f"{label}: {message.text}") if message.type == "error" else None)
        path, ready = PAGES[name]
        await page.goto(site.url + path)
        await until(lambda: ready(page), f"{label} shows what it is for", timeout_s=120)
        await page.evaluate("() => document.fonts.ready")
        # Two frames: the layout that the last event caused is on the screen then.
        await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        width = await page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"], f"{label} is {width} pixels wide"
        assert await page.evaluate("() => document.documentElement.dir || 'ltr'") == ("rtl" if language == "ar" else "ltr")
        assert await page.evaluate("() => document.documentElement.lang") == language
        # The controls hide while nobody moves.
        await page.mouse.move(4, 4)
        await page.mouse.move(6, 6)
        await page.screenshot(path=folder / f"{label}.png")
        if name == "call":
            # Otherwise the next picture shows somebody whose connection is lost.
            await page.locator(".control-leave").dispatch_event("click")
            await until(lambda: _is_alone(site), f"{label} has left")
    finally:
        await context.close()
    assert not problems, problems
    return label


async def test_every_page_in_every_dress(site: Site, browser: Browser, tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "screenshots"
    folder.mkdir()
    async with a_busy_server(site):
        taken = [
            await take(browser, site, folder, name, size, theme, language)
            for name in PAGES
            for size in SIZES
            for theme in THEMES
            for language in LANGUAGES
        ]
    assert len(taken) == len(PAGES) * 8
    assert IN_DOCS <= set(taken)
    docs = os.environ.get("SALAM_SCREENSHOTS")
    if docs:
        target = root / docs
        target.mkdir(parents=True, exist_ok=True)
        for label in sorted(IN_DOCS):
            shutil.copy(folder / f"{label}.png", target / f"{label}.png")


def test_the_docs_show_the_pictures(root: Path) -> None:
    shown = {path.stem for path in (root / "docs" / "images").glob("*.png")}
    assert shown == IN_DOCS
    pages = "\n".join(path.read_text() for path in (root / "docs").rglob("*.md")) + (root / "README.md").read_text()
    linked = set(re.findall(r"images/([\w-]+)\.png", pages))
    assert linked == shown, "a picture that no page shows, or a page that shows none"
