"""Fixtures of the end-to-end tests: the whole engine on free ports of the loopback, and headless Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from salam_server import Engine, Site, serving
from tests.support.browser import CHROMIUM_FLAGS
from tests.support.engine import dev_settings


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The whole engine, serving over HTTP."""
    async with serving(Engine(dev_settings(tmp_path))) as running:
        yield running


@pytest.fixture
async def browser(need_program: Callable[..., str]) -> AsyncIterator[Browser]:
    """Headless Chromium with a fake camera and microphone."""
    executable = need_program("chromium", "chromium-browser", "google-chrome")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS, headless=True)
        try:
            yield running
        finally:
            await running.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser profile that has granted camera and microphone."""
    made = await browser.new_context(permissions=["camera", "microphone"], viewport={"width": 1280, "height": 800})
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def ffmpeg(need_program: Callable[..., str]) -> str:
    """The path of the ffmpeg program."""
    return need_program("ffmpeg")
