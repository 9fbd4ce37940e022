"""What the browser tests share: flags of headless Chromium, and reading what a page knows about itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page

__all__ = ["CHROMIUM_FLAGS", "Debug", "debug", "until"]

CHROMIUM_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
]

Debug = dict[str, Any]


async def debug(page: Page) -> Debug:
    """Return what the page knows about itself, see `window.salam.debug()` in docs/reference."""
    state: Debug = await page.evaluate("() => window.salam ? window.salam.debug() : {}")
    return state


async def until(condition: Callable[[], Awaitable[Any]], what: str, *, timeout_s: float = 90.0) -> Any:
    """Poll ``condition`` until it is true and return its value; fails the test with ``what`` after ``timeout_s`` seconds.

    The timeout bounds a hang on a busy machine; it is no expectation of speed.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not (value := await condition()):
        if loop.time() > deadline:
            pytest.fail(f"never came true: {what}")
        await asyncio.sleep(0.1)
    return value
