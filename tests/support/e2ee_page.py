"""A headless Chromium page with the browser's end-to-end encryption, served as the server serves it: same files, same policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web as http
from playwright.async_api import Page, async_playwright

from salam_server.pages import page_routes, security_headers
from tests.support.browser import CHROMIUM_FLAGS

__all__ = ["MODULES", "e2ee_page", "run_module"]

_TESTS = Path(__file__).resolve().parents[1]
MODULES = _TESTS / "web" / "js" / "e2ee"
_VECTORS = Path(os.environ.get("SALAM_VECTORS", _TESTS.parents[1] / "shared" / "vectors"))


def _chromium() -> str:
    """The path of Chromium; skips without it on a workstation, fails in CI, as the fixture `need_program` does for single tests."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail("Chromium is not installed")
    pytest.skip("Chromium is not installed")


async def _blank(_request: http.Request) -> http.Response:
    return http.Response(text="<!doctype html><title>e2ee</title>", content_type="text/html", headers=security_headers())


@asynccontextmanager
async def e2ee_page() -> AsyncIterator[Page]:
    """A blank page; its scripts may import `/web/sdk/e2ee/...` and `/modules/...`, and fetch `/kat`, `/golden` and `/vectors`."""
    executable = _chromium()
    app = http.Application()
    app.add_routes([http.get("/blank", _blank), *page_routes()])
    app.router.add_static("/modules", MODULES)
    app.router.add_static("/kat", _TESTS / "e2ee" / "kat")
    app.router.add_static("/golden", _TESTS / "e2ee" / "golden")
    if _VECTORS.is_dir():
        app.router.add_static("/vectors", _VECTORS)
    runner = http.AppRunner(app)
    await runner.setup()
    site = http.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        port = runner.addresses[0][1]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS, headless=True)
            try:
                page = await browser.new_page()
                await page.goto(f"http://127.0.0.1:{port}/blank")
                yield page
            finally:
                await browser.close()
    finally:
        await runner.cleanup()


async def run_module(page: Page, module: str, function: str, *arguments: Any) -> Any:
    """What the exported ``function`` of a module of `MODULES` gives for ``arguments``, which travel as JSON does."""
    script = "async ([module, name, args]) => (await import(`/modules/${module}`))[name](...args)"
    return await page.evaluate(script, [module, function, list(arguments)])
