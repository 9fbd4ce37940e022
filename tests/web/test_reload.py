"""Two real tabs in one room: one is reloaded, duplicated, closed for good or removed, and the other one watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from salam_server import Engine, Site, serving
from tests.support.browser import Debug, debug, until
from tests.support.engine import dev_settings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# Every message of the server that a page gets is kept in the page, so that nothing said between two looks is missed.
RECORD = """
window.heard = [];
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args);
    this.addEventListener("message", (event) => window.heard.push(JSON.parse(event.data)));
  }
};
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as running:
        yield running


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(permissions=["camera", "microphone"], viewport={"width": 640, "height": 480}, locale="en-GB")
    await made.add_init_script(RECORD)
    try:
        yield made
    finally:
        await made.close()


async def join(context: BrowserContext, site: Site, name: str) -> Page:
    page = await context.new_page()
    await page.goto(f"{site.url}/room/blue?name={name}&join=1")
    await until(lambda: joined(page), f"{name} is in the room")
    return page


async def joined(page: Page) -> bool:
    return bool((await debug(page)).get("joined"))


def videos(state: Debug) -> list[Any]:
    return [track for track in state.get("tracks", []) if track["kind"] == "video"]


async def sees(page: Page) -> bool:
    return any(track["frames_decoded"] > 10 for track in videos(await debug(page)))


async def heard(page: Page, *types: str) -> list[Any]:
    """Return what the server has told the page of these types, since the page was loaded."""
    messages: list[Any] = await page.evaluate("() => window.heard")
    return [message for message in messages if message["t"] in types]


async def two_tabs(context: BrowserContext, site: Site) -> tuple[Page, Page]:
    first, second = await join(context, site, "Amal"), await join(context, site, "Badr")
    await until(lambda: sees(first), "the first tab sees the second")
    await until(lambda: sees(second), "the second tab sees the first")
    return first, second


async def remove(moderator: Page) -> None:
    """Remove the other one with the mouse, from the menu of the tile."""
    # The tab that was opened last is in front of the window: those behind it draw no frames, so that nothing in them comes to rest.
    await moderator.bring_to_front()
    await moderator.locator("salam-tile").first.hover()
    await moderator.locator("salam-tile [aria-label^='Moderate']:visible").click()
    await moderator.get_by_role("menuitem", name="Remove from room").click()


async def test_a_reload_is_not_noticed(context: BrowserContext, site: Site) -> None:
    watcher, page = await two_tabs(context, site)
    await page.keyboard.press("KeyM")
    await page.keyboard.press("KeyH")

    async def quiet_with_a_hand() -> bool:
        [person] = (await debug(watcher))["participants"]
        return bool(person["hand_raised"]) and [t.get("muted", False) for t in person["tracks"] if t["source"] == "microphone"] == [
            True
        ]

    await until(quiet_with_a_hand, "Badr is muted and has a hand up")
    [before] = (await debug(watcher))["participants"]
    own = (await debug(page))["participant_id"]
    arrivals = len(await heard(watcher, "participant_joined"))

    for _ in range(2):
        await page.reload()
        await until(lambda: joined(page), "the reloaded tab is back")
        assert (await debug(page))["participant_id"] == own
        await until(lambda: sees(page), "the reloaded tab sees")

        async def new_picture(before: Any = before) -> bool:
            known = {track["track_id"] for track in before["tracks"]}
            return any(t["frames_decoded"] > 10 and t["track_id"] not in known for t in videos(await debug(watcher)))

        await until(new_picture, "the other tab sees the reloaded one")
        await until(quiet_with_a_hand, "mute and hand are as before")
        [before] = (await debug(watcher))["participants"]
        assert before["participant_id"] == own
        assert before["name"] == "Badr"
        assert {track["source"] for track in before["tracks"]} == {"camera", "microphone"}
    assert await heard(watcher, "participant_left") == []
    assert len(await heard(watcher, "participant_joined")) == arrivals
    assert {item["source"]: item.get("muted", False) for item in (await debug(page))["local"]} == {
        "camera": False,
        "microphone": True,
    }


async def test_a_reload_from_the_lobby_skips_it_and_keeps_the_camera_off(context: BrowserContext, site: Site) -> None:
    page = await context.new_page()
    await page.goto(f"{site.url}/room/blue?name=Amal")
    await page.locator("salam-lobby form button[type=submit]").click()
    await until(lambda: joined(page), "the lobby is left")
    await until(lambda: published(page, "camera"), "the camera is sent")
    await page.keyboard.press("KeyV")
    await until(lambda: published(page, "camera", muted=True), "the camera is off")
    own = (await debug(page))["participant_id"]
    await page.reload()
    await until(lambda: joined(page), "the reloaded tab is back without its lobby")
    state = await debug(page)
    assert state["participant_id"] == own
    assert [item["source"] for item in state["local"] if item["live"]] == ["microphone"]
    await page.keyboard.press("KeyV")
    await until(lambda: published(page, "camera"), "the camera can be turned on again")


async def published(page: Page, source: str, *, muted: bool = False) -> bool:
    return any(item["source"] == source and item["muted"] == muted for item in (await debug(page)).get("local", []))


async def test_a_duplicated_tab_does_not_take_the_session(context: BrowserContext, site: Site) -> None:
    watcher, page = await two_tabs(context, site)
    await page.reload()
    await until(lambda: joined(page), "the reloaded tab is back")
    # What a duplicate is given: the storage of the tab as it is now.
    assert await page.evaluate("() => Object.keys(sessionStorage)") == []
    async with context.expect_page() as opened:
        await page.evaluate("() => void window.open(location.href)")
    copy = await opened.value
    await until(lambda: joined(copy), "the copy is in the room")
    assert (await debug(copy))["participant_id"] != (await debug(page))["participant_id"]
    assert len((await debug(watcher))["participants"]) == 2
    assert (await debug(page))["connection"] == "open"


async def test_going_elsewhere_by_a_link_leaves_at_once(context: BrowserContext, site: Site) -> None:
    watcher, page = await two_tabs(context, site)
    await page.evaluate("() => location.assign('/')")

    async def gone() -> list[Any]:
        return await heard(watcher, "participant_left")

    [left] = await until(gone, "the other tab is told")
    # A session that was only lost would leave as lost, once its grace is over. What is not said is "left".
    assert left.get("reason", "left") == "left"
    assert await page.evaluate("() => sessionStorage.length") == 0


async def test_leaving_by_the_button_leaves_at_once_and_a_reload_meets_the_lobby(context: BrowserContext, site: Site) -> None:
    page = await context.new_page()
    await page.goto(f"{site.url}/room/blue?name=Amal")
    await page.locator("salam-lobby form button[type=submit]").click()
    await until(lambda: joined(page), "the lobby is left")
    await page.locator(".control-leave").click()
    await page.get_by_text("You left the room").wait_for()
    assert site.engine.signaling.rooms() == []
    await page.reload()
    await page.locator("salam-lobby form").wait_for()
    assert not (await debug(page))["joined"]


async def test_the_first_in_the_room_can_remove_somebody(context: BrowserContext, site: Site) -> None:
    moderator, page = await two_tabs(context, site)
    assert (await debug(moderator))["moderator"]
    assert not (await debug(page))["moderator"]
    assert await page.locator("salam-tile [aria-label^='Moderate']:visible").count() == 0
    await remove(moderator)
    await page.get_by_text("You were removed").wait_for()
    await moderator.get_by_text("You are the first one here").wait_for()
    assert (await debug(moderator))["participants"] == []
    # It does not come back: its connection is closed for good, also when the network says that it is there again.
    assert (await debug(page))["connection"] == "closed"
    await page.evaluate("() => dispatchEvent(new Event('online'))")
    assert (await debug(page))["connection"] == "closed"
    assert [message["t"] for message in await heard(page, "welcome", "joined", "removed")] == ["welcome", "joined", "removed"]
    [room] = site.engine.signaling.rooms()
    assert room.participants == 1


async def test_removed_while_away_is_told_and_not_undone(context: BrowserContext, site: Site) -> None:
    moderator, page = await two_tabs(context, site)
    # The tab is between two pages while the moderator acts.
    url = page.url
    await page.goto("about:blank")

    async def away() -> bool:
        [person] = (await debug(moderator))["participants"]
        return not person.get("connected", True)

    await until(away, "the moderator sees that Badr's connection is lost")
    await remove(moderator)
    await moderator.get_by_text("You are the first one here").wait_for()
    await page.goto(url)
    await page.get_by_text("You are no longer in the room").wait_for()
    [room] = site.engine.signaling.rooms()
    assert room.participants == 1
