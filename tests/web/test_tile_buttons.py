"""A tile's buttons stand still under the mouse of whoever is about to press them, also while the tile's person reconnects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from salam_server import Engine, Site, serving
from tests.support.browser import debug, until
from tests.support.engine import dev_settings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# Counts how often the page has found that nobody moved for a while: then it may hide what it shows around the tiles.
COUNT_RESTS = """
window.rests = 0;
const later = window.setTimeout;
window.setTimeout = (run, delay, ...rest) => later(() => { if (delay === 3500) window.rests++; run(...rest); }, delay);
"""

# Where the buttons were in each frame from now on, until `seen.stop` is set.
WATCH = """
() => {
  const seen = window.seen = { stop: false, frames: 0, away: 0, places: new Set() };
  const tile = document.querySelector("salam-tile:has([aria-label^='Moderate'])");
  const look = () => {
    const boxes = [...tile.querySelectorAll(".tile-button")].map((button) => {
      const { x, y, width, height } = button.getBoundingClientRect();
      return [x, y, width, height];
    });
    seen.places.add(JSON.stringify(boxes));
    seen.frames++;
    seen.away += tile.hasAttribute("data-away");
    if (!seen.stop) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""

# Whether both tiles have the places of two, and have arrived there: a press between two layouts lands on whoever is there by then.
SETTLED = """
() => {
  const stage = document.querySelector("salam-stage");
  const tiles = [...stage.querySelectorAll("salam-tile")];
  const share = (tile) => (tile.offsetWidth * tile.offsetHeight) / (stage.clientWidth * stage.clientHeight);
  const placed = tiles.length === 2 && tiles.every((tile) => share(tile) > 0 && share(tile) < 0.6);
  return placed && stage.getAnimations({ subtree: true }).every((one) => one.playState === "finished");
}
"""

SEEN = "() => ({ frames: seen.frames, away: seen.away, places: [...seen.places], rests: window.rests })"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as running:
        yield running


async def join(browser: Browser, site: Site, name: str) -> Page:
    # A window for each: only the tab in front of a window is drawn.
    context = await browser.new_context(
        permissions=["camera", "microphone"], viewport={"width": 640, "height": 480}, locale="en-GB"
    )
    await context.add_init_script(COUNT_RESTS)
    page = await context.new_page()
    await page.goto(f"{site.url}/room/blue?name={name}&join=1")

    async def joined() -> bool:
        return bool((await debug(page)).get("joined"))

    await until(joined, f"{name} is in the room")
    return page


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
async def test_buttons_stand_still_while_a_person_reconnects(browser: Browser, site: Site, *, narrow: bool) -> None:
    moderator, page = await join(browser, site, "Amal"), await join(browser, site, "Badr")
    other = moderator.locator("salam-tile:has([aria-label^='Moderate'])")
    await other.wait_for()
    await moderator.wait_for_function(SETTLED)
    if narrow:
        # One's own tile is made large, so that the other one is in the strip beside it.
        await moderator.locator("salam-tile", has_text="(you)").dblclick(position={"x": 60, "y": 60})
        await moderator.locator("salam-tile[data-small]:has([aria-label^='Moderate'])").wait_for()
    button = other.locator("[aria-label^='Moderate']")
    await button.hover()
    await button.evaluate(
        "(button) => Promise.all(button.closest('salam-stage').getAnimations({ subtree: true }).map((a) => a.finished))"
    )
    await moderator.evaluate(WATCH)
    rests = (await moderator.evaluate(SEEN))["rests"]
    await page.goto("about:blank")

    async def rested_while_away() -> bool:
        seen = await moderator.evaluate(SEEN)
        return bool(seen["away"] >= 50 and seen["rests"] > rests)

    await until(rested_while_away, "the page has rested while Badr is away")
    assert len((await moderator.evaluate(SEEN))["places"]) == 1
    await moderator.evaluate("() => void (seen.stop = true)")
    await button.click()
    await moderator.get_by_role("menuitem", name="Remove from room").wait_for()
