"""What the pages say when something is not as it should be: in a real browser, with a real server that refuses or goes away."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from salam_server import Engine, serving
from signaling import Grants
from tests.support.browser import debug, until
from tests.support.engine import dev_settings, free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SECRET = "0123456789abcdef0123456789abcdef"


async def look(browser: Browser, url: str, *, language: str = "en-GB") -> Page:
    context = await browser.new_context(
        permissions=["camera", "microphone"], viewport={"width": 390, "height": 844}, locale=language
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
    await page.goto(url)
    return page


async def reads(page: Page, text: str) -> bool:
    """Return whether ``text`` is to be seen, whole, in one element of the page."""
    return await page.get_by_text(text, exact=True).first.is_visible()


async def says(page: Page, *texts: str) -> None:
    for text in texts:
        await until(partial(reads, page, text), f"the page says {text!r}")


async def test_a_damaged_link_is_told_at_once(browser: Browser, tmp_path: Path) -> None:
    async with serving(Engine(dev_settings(tmp_path))) as site:
        for path in ("/room/bad%20name", "/room/%E0%A4%A", f"/watch/{'x' * 65}"):
            page = await look(browser, site.url + path)
            await says(page, "This link does not work")
            assert (await debug(page))["connection"] in ("idle", "closed")
            await page.context.close()


async def test_who_is_not_invited_reads_why_in_their_language(browser: Browser, tmp_path: Path) -> None:
    engine = Engine(dev_settings(tmp_path, dev=False, secret=SECRET, host="127.0.0.1"))
    elsewhere = engine.mint_token(Grants(identity="layla", room="blue", publish=True, subscribe=True), ttl_s=600)
    async with serving(engine) as site:
        page = await look(browser, f"{site.url}/room/red?token={elsewhere}&name=Layla&join=1")
        await says(page, "This invitation is for something else")
        await page.context.close()
        page = await look(browser, f"{site.url}/watch/show", language="ar-EG")
        await says(page, "تحتاج إلى دعوة")
        # Nothing is promised and nothing offered that the server refuses, and nobody reads English who reads Arabic.
        assert not await page.locator("salam-chat").is_visible()
        assert not await page.locator("#reactions").is_visible()
        assert await page.locator("main").inner_text() == await page.locator("salam-state").inner_text()
        await page.context.close()
        page = await look(browser, site.url)
        await says(page, "This server needs an invitation: open the link that you were given.")
        await page.context.close()


async def test_joining_waits_for_a_server_that_is_away(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    async with serving(Engine(dev_settings(tmp_path / "before", http_port=port))) as site:
        # The call's own modules do not come before the server is gone, as on a slow line.
        page = await look(browser, "about:blank")
        await page.route("**/sdk/call.js", lambda route: route.abort())
        await page.goto(f"{site.url}/room/blue?name=Layla")
        await page.locator(".lobby-form").wait_for()
        viewer = await look(browser, f"{site.url}/watch/show")
        await says(viewer, "Not live yet")
    await says(page, "The server cannot be reached")
    await says(viewer, "The server cannot be reached", "Chat is reconnecting.")
    await page.locator(".lobby-form .primary").click()
    await says(page, "Joining…", "The server cannot be reached")
    await page.unroute("**/sdk/call.js")
    async with serving(Engine(dev_settings(tmp_path / "after", http_port=port))):

        async def joined() -> bool:
            return bool((await debug(page)).get("joined"))

        await until(joined, "the page joins by itself when the server is back")
        await says(viewer, "Not live yet")
        await page.locator(".control-leave").dispatch_event("click")
        await says(page, "Nobody is in it now.")


async def test_arabic_runs_from_the_right(browser: Browser, tmp_path: Path) -> None:
    async with serving(Engine(dev_settings(tmp_path))) as site:
        page = await look(browser, f"{site.url}/room/blue", language="ar-EG")
        name = page.locator(".lobby-form input[name=name]")
        await name.wait_for()
        style = "(element) => { const { direction, textAlign } = getComputedStyle(element); return [direction, textAlign]; }"
        assert await name.evaluate(style) == ["rtl", "right"]
        await name.fill("Layla")
        # The letters are Latin, the field stays where it is.
        assert await name.evaluate(style) == ["ltr", "right"]
        await page.locator(".lobby-form .primary").click()
        own = page.locator("salam-tile .tile-name bdi")
        await own.wait_for()
        assert "Layla" in await own.inner_text()
        assert (await own.evaluate(style))[0] == "rtl"


@pytest.mark.parametrize("path", ["/room/blue?name=Layla", "/watch/show", "/"])
async def test_little_moves_while_a_page_fills(browser: Browser, tmp_path: Path, path: str) -> None:
    async with serving(Engine(dev_settings(tmp_path))) as site:
        page = await look(browser, site.url + path)
        # What each page knows last: the devices, the state of the stream, the way to the server.
        last = {"/": "#path[data-path]", "/watch/show": "#stream-state[data-state]"}.get(path, ".picker >> nth=2")
        await page.locator(last).wait_for()
        moved = await page.evaluate(
            """() => new Promise((done) => {
              let sum = 0;
              new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) sum += entry.value;
              }).observe({ type: "layout-shift", buffered: true });
              requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(sum), 200)));
            })"""
        )
        # Nobody notices a hundredth of the screen; the start page's last line grows by what it finds out.
        assert moved < (0.02 if path == "/" else 0.01)
