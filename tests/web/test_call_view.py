"""What a call looks like when somebody or the server is away, when something is refused, on a phone, and while sharing a screen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page

from salam_server import Engine, Site, serving
from tests.support.browser import debug, until
from tests.support.engine import dev_settings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1000, "height": 700}
# Relative luminance and contrast ratio of a text and its own, opaque background (WCAG 2.2, 1.4.3).
CONTRAST = """
(element) => {
  const parts = (color) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const { color, backgroundColor, opacity } = getComputedStyle(element);
  if (opacity !== "1" || parts(backgroundColor)[3] !== 255) return 0;
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [light(parts(color)), light(parts(backgroundColor))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as running:
        yield running


async def look(browser: Browser, url: str, size: Any = DESKTOP, *, language: str = "en-GB", theme: Any = "dark") -> Page:
    # A window for each: only the tab in front of a window is drawn.
    context = await browser.new_context(
        permissions=["camera", "microphone"], viewport=size, locale=language, color_scheme=theme, reduced_motion="reduce"
    )
    page = await context.new_page()
    page.set_default_timeout(20_000)
    await page.goto(url)
    return page


async def join(browser: Browser, site: Site, name: str, size: Any = DESKTOP, *, language: str = "en-GB") -> Page:
    page = await look(browser, f"{site.url}/room/blue?name={name}&join=1", size, language=language)
    await until(lambda: joined(page), f"{name} is in the room")
    return page


async def joined(page: Page) -> bool:
    return bool((await debug(page)).get("joined"))


def tile_of(page: Page, name: str) -> Locator:
    return page.locator("salam-tile", has=page.locator(".tile-name bdi", has_text=name))


async def test_who_reconnects_and_was_never_seen_has_a_face(browser: Browser, site: Site) -> None:
    viewer, page = await join(browser, site, "Amal"), await join(browser, site, "Badr")
    await viewer.locator("salam-tile[data-video]", has_text="Badr").wait_for()
    tile = tile_of(viewer, "Badr")
    await tile.locator(".avatar").wait_for(state="hidden")
    await page.goto("about:blank")
    away = tile.get_by_role("img", name="Reconnecting…")
    await away.wait_for()
    assert await tile.locator(".tile-away > span").inner_text() == "Reconnecting…"
    # What was heard of the connection last is not what it is now.
    await tile.get_by_role("img", name="Not known while there is no connection").wait_for()
    assert await tile.locator("salam-quality").get_attribute("data-score") == "0"
    # A page that comes now gets no picture of who is away.
    await viewer.reload()
    await away.wait_for()
    assert await tile.get_attribute("data-video") is None
    assert await tile.locator(".avatar").is_visible()
    assert await tile.locator(".avatar").inner_text() == "B"
    # Where the words have no room, their icon is whole and named.
    await viewer.set_viewport_size({"width": 500, "height": 300})
    await viewer.locator("salam-tile[data-narrow]", has_text="Badr").wait_for()
    box, mark = await tile.bounding_box(), await away.bounding_box()
    assert box is not None
    assert mark is not None
    assert box["x"] <= mark["x"]
    assert mark["x"] + mark["width"] <= box["x"] + box["width"]
    assert await tile.locator(".tile-away > span").is_hidden()
    assert await tile.locator(".avatar").is_visible()


async def test_no_quality_is_claimed_while_the_server_is_gone(browser: Browser, tmp_path: Path) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        viewer, page = await join(browser, site, "Amal"), await join(browser, site, "Badr")
        await viewer.locator("salam-tile[data-video]", has_text="Badr").wait_for()
        assert await tile_of(viewer, "Badr").locator("salam-quality").get_attribute("data-score") != "0"
        await page.close()
    scores = "() => [...document.querySelectorAll('salam-quality')].map((mark) => mark.dataset.score)"

    async def unknown() -> bool:
        found = await viewer.evaluate(scores)
        return bool(found) and set(found) == {"0"}

    await until(unknown, "no tile tells of a good connection")


async def test_refusals_are_told_in_the_language_of_the_page(browser: Browser, site: Site) -> None:
    refused = await look(browser, f"{site.url}/room/blue?name=a%07b&join=1", language="ar-EG")
    await refused.get_by_text("لم ينجح الانضمام").wait_for()
    assert re.search("[A-Za-z]", await refused.locator("salam-state").inner_text()) is None
    await refused.context.close()

    page, other = await join(browser, site, "أمل", language="ar-EG"), await join(browser, site, "Badr")
    toasts = page.locator("salam-toasts .toast.warning")
    await tile_of(page, "Badr").hover()
    await page.locator("salam-tile .tile-button[aria-haspopup]:visible").click()
    item = page.get_by_role("menuitem", name="إخراج من الغرفة")
    await item.wait_for()
    await other.close()

    async def gone() -> bool:
        return bool((await debug(page))["participants"] == [])

    await until(gone, "Badr has left while the menu is open", timeout_s=120)
    await item.click()
    await toasts.filter(has_text="لقد غادر الغرفة").wait_for()

    await join(browser, site, "Dina")

    async def readable() -> bool:
        return [peer["state"] for peer in (await debug(page))["secure"]["peers"]] == ["ready"]

    await until(readable, "Dina could read what is written", timeout_s=60)
    await page.keyboard.press("KeyC")
    # Faster than anybody types, and than the server lets anybody write.
    await page.locator("salam-chat").evaluate(
        """(chat) => {
          for (let number = 0; number < 40; number++) {
            chat.querySelector("textarea").value = String(number);
            chat.querySelector("form").requestSubmit();
          }
        }"""
    )
    toast = toasts.filter(has_text="هذا كثير دفعة واحدة")
    await toast.wait_for()
    assert re.search("[A-Za-z]", await toast.inner_text()) is None
    # A reason follows the language as the sentence around it does; one without a translation stays as it was said.
    said = await page.evaluate(
        """async () => {
          const { setLanguage, t } = await import("/web/ui/i18n.js");
          const { reasonOf } = await import("/web/ui/reason.js");
          await setLanguage("en");
          const coded = (code) => Object.assign(new Error("the server's words"), { code });
          return ["rate_limited", "never_heard_of", 11].map((code) => t("chat.failed", { reason: reasonOf(coded(code)) }));
        }"""
    )
    assert [words.translate({0x2068: None, 0x2069: None}) for words in said] == [
        "Not sent: That was too much at once. Wait a moment.",
        "Not sent: the server's words",
        "Not sent: the server's words",
    ]
    assert await page.locator("salam-toasts .toast.warning", has_text="Not sent: \u2068That was").count() > 0


@pytest.mark.parametrize("size", [PHONE, {"width": 740, "height": 300}], ids=["upright", "on its side"])
async def test_a_phone_keeps_the_controls_beside_the_chat(browser: Browser, site: Site, size: Any) -> None:
    page = await join(browser, site, "Amal", size)
    await page.locator(".control-chat").click()
    field = page.locator("salam-chat textarea")
    await field.fill("salam")

    async def muted() -> bool:
        return bool({item["source"]: item["muted"] for item in (await debug(page))["local"]}["microphone"])

    assert not await muted()
    await page.locator(".control-microphone").click()
    await until(muted, "one can be silent with the chat open")
    # Neither is over the other, and what was being written is still there.
    assert await field.input_value() == "salam"
    await field.press("Enter")
    line, row, controls = page.locator(".chat-line"), page.locator(".chat-form"), page.locator("salam-controls")
    await line.wait_for()
    boxes = [await part.bounding_box() for part in (line, row, controls)]
    tops = [box["y"] for box in boxes if box is not None]
    bottoms = [box["y"] + box["height"] for box in boxes if box is not None]
    assert len(tops) == 3
    assert tops[0] >= 0
    assert all(above <= below for above, below in zip(bottoms, [*tops[1:], size["height"]], strict=True))
    await page.locator(".control-chat").click()
    assert await field.is_hidden()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_sharing_a_screen_is_told_until_it_is_stopped(browser: Browser, site: Site, size: Any) -> None:
    page, viewer = await join(browser, site, "Amal", size), await join(browser, site, "Badr")
    notice = page.locator("#sharing")
    assert await notice.is_hidden()
    await page.keyboard.press("KeyS")
    await notice.get_by_text("You are sharing your screen").wait_for()
    await viewer.locator("salam-tile[data-video]", has_text="’s screen").wait_for()
    # Nothing of it is over a tile, also once the rest has hidden.
    for _ in range(2):
        below = await notice.evaluate(
            "(notice) => Math.min(...[...document.querySelectorAll('salam-tile')].map((t) => t.getBoundingClientRect().top))"
            " - notice.getBoundingClientRect().bottom"
        )
        assert below >= 0
        await page.locator(".call[data-idle]").wait_for()
        assert await notice.is_visible()
    await notice.get_by_role("button", name="Stop sharing").click()
    await notice.wait_for(state="hidden")
    await viewer.locator("salam-tile", has_text="’s screen").wait_for(state="detached")
    assert "screen" not in {item["source"] for item in (await debug(page))["local"]}


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_a_button_that_waits_can_be_read(browser: Browser, site: Site, theme: str) -> None:
    page = await look(browser, f"{site.url}/room/blue?name=Amal", PHONE, theme=theme)
    button = page.locator(".lobby-form .primary")
    await button.wait_for()
    await page.locator("salam-lobby").evaluate("(lobby) => void (lobby.busy = true)")
    await button.get_by_text("Joining…").wait_for()
    assert await button.is_disabled()
    assert await button.evaluate(CONTRAST) >= 4.5


async def test_the_address_for_a_broadcast_is_whole_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    engine = Engine(dev_settings(tmp_path, dev=False, secret="0123456789abcdef0123456789abcdef", host="127.0.0.1"))
    async with serving(engine) as site:
        page = await look(browser, site.url, {"width": 320, "height": 640})
        address = page.locator(".address code")
        await address.wait_for()
        assert (await address.inner_text()).endswith("/live/STREAM?token=TOKEN")
        assert await address.evaluate("(code) => code.scrollWidth <= code.clientWidth")
        assert await page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
