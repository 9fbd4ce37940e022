"""The switch for an encrypted call and the sheets about encryption, with the mouse and with nothing but the keyboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from salam_server import Engine, Site, serving
from tests.support.browser import debug, until
from tests.support.engine import dev_settings
from tests.support.secure_tabs import doubtful, enter, say, shows, trusts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# More than there are places for the focus on the page.
MOST_TABS = 80
IN_SHEET = "() => document.activeElement.closest('dialog') !== null"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as running:
        yield running


async def tab_to(page: Page, selector: str) -> None:
    """Press Tab until what has the focus is that."""
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        if await has_focus(page, selector):
            return
    pytest.fail(f"Tab never comes to {selector}")


async def has_focus(page: Page, selector: str) -> bool:
    return bool(await page.evaluate("(selector) => document.activeElement.matches(selector)", selector))


async def gets_focus(page: Page, selector: str) -> None:
    await until(lambda: has_focus(page, selector), f"the focus is on {selector}")


async def walk(page: Page, title: str) -> None:
    """A sheet of that title is open: the focus is in it and stays there, whatever way Tab goes, until Escape closes it."""
    sheet = page.get_by_role("dialog", name=title)
    await sheet.wait_for()
    assert await page.evaluate(IN_SHEET)
    places = await sheet.locator("button:visible, a:visible, input:visible").count()
    assert places > 0
    for key in ("Tab", "Shift+Tab"):
        for _ in range(2 * places + 1):
            await page.keyboard.press(key)
            assert await page.evaluate(IN_SHEET)
    await page.keyboard.press("Escape")
    await sheet.wait_for(state="detached")


async def lobby(context: BrowserContext, site: Site, name: str) -> Page:
    page = await context.new_page()
    await page.goto(f"{site.url}/room/blue")
    await page.locator("salam-lobby input[name=name]").fill(name)
    assert not await page.locator("#lobby-encrypt").is_checked()
    return page


async def in_encrypted_call(page: Page) -> None:
    async def encrypted() -> bool:
        state = await debug(page)
        return bool(state.get("joined") and state["encryption"])

    await until(encrypted, "the call is encrypted")
    assert await page.locator("#call-lock").text_content() == "Encrypted end to end"


async def sees_the_other(page: Page) -> None:
    async def decoded() -> bool:
        return any(track["kind"] == "video" and track["frames_decoded"] > 10 for track in (await debug(page))["tracks"])

    await until(decoded, "the other one is seen")


async def test_the_switch_in_the_lobby_by_mouse_and_by_keyboard(site: Site, context: BrowserContext) -> None:
    ada = await lobby(context, site, "Ada")
    switch = ada.locator("#lobby-encrypt")
    words = ada.locator("label.switch").get_by_text("Encrypt", exact=False).first
    for target, on in ((words, True), (switch, False), (words, True)):
        box = await target.bounding_box()
        assert box is not None
        await ada.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert await switch.is_checked() is on
    await ada.get_by_role("button", name="Join").click()
    await in_encrypted_call(ada)

    ben = await lobby(context, site, "Ben")
    await tab_to(ben, "#lobby-encrypt")
    # Who walks by keyboard sees where they are.
    assert await ben.evaluate("() => document.activeElement.matches(':focus-visible')")
    for on in (True, False, True):
        await ben.keyboard.press("Space")
        assert await ben.locator("#lobby-encrypt").is_checked() is on
    await tab_to(ben, "button[type=submit]")
    await ben.keyboard.press("Enter")
    await in_encrypted_call(ben)
    await sees_the_other(ada)
    await sees_the_other(ben)


async def test_the_security_sheets_by_keyboard(site: Site, context: BrowserContext) -> None:
    ada, ben = await enter(context, site, "Ada"), await enter(context, site, "Ben")
    await trusts(ada, ben)
    await ada.bring_to_front()

    # The lock of the call opens what is encrypted and what is not, and has the focus again afterwards.
    await tab_to(ada, "#call-lock")
    await ada.keyboard.press("Enter")
    await walk(ada, "What is encrypted")
    await gets_focus(ada, "#call-lock")

    # The same from a menu: back to the button that opened the menu.
    await tab_to(ada, ".control-more")
    await ada.keyboard.press("Enter")
    for _ in range(2):
        await ada.keyboard.press("ArrowDown")
    await ada.keyboard.press("Enter")
    await walk(ada, "What is encrypted")
    await gets_focus(ada, ".control-more")

    # About a person: number and devices; and about the own devices.
    await tab_to(ada, ".control-people")
    await ada.keyboard.press("Enter")
    await ada.locator("salam-people").wait_for()
    for label, item, title in (
        ("[aria-label*=Ben]", "Safety number", "Safety number"),
        ("[aria-label*=Ben]", "Devices", "Devices"),
        ("[aria-label*=Ada]", "Your devices", "Devices"),
    ):
        button = f".person button{label}"
        await tab_to(ada, button)
        await ada.keyboard.press("Enter")
        await until(lambda: has_focus(ada, ".menu-item"), "the menu has the focus")
        while await ada.evaluate("() => document.activeElement.innerText.trim()") != item:
            await ada.keyboard.press("ArrowDown")
        await ada.keyboard.press("Enter")
        await ada.get_by_role("dialog", name=title).wait_for()
        # The list of people is made anew under the sheet, and its buttons are where they were.
        before = await ada.locator(".person-mark.accent").count()
        await ben.bring_to_front()
        await ben.keyboard.press("h")
        await until(partial(changed, ada, before), "the hand is seen")
        await ada.bring_to_front()
        await walk(ada, title)
        await gets_focus(ada, button)
        # And the same under who is on a button of it.
        before = await ada.locator(".person-mark.accent").count()
        await ben.bring_to_front()
        await ben.keyboard.press("h")
        await until(partial(changed, ada, before), "the hand is seen")
        assert await has_focus(ada, button)
        await ada.bring_to_front()


async def changed(page: Page, before: int) -> bool:
    return await page.locator(".person-mark.accent").count() != before


async def test_a_changed_key_is_decided_by_keyboard(site: Site, browser: Browser) -> None:
    ada, other = await doubtful(browser, site)
    await ada.bring_to_front()
    await ada.keyboard.press("c")
    await gets_focus(ada, "salam-chat textarea")
    await tab_to(ada, ".chat-warning button")
    # A message that waits makes the warnings anew, and takes nobody's focus.
    await say(other, "hello")

    async def waiting() -> bool:
        return bool((await debug(ada))["secure"]["held"])

    await until(waiting, "the message waits")
    await ada.bring_to_front()
    assert await has_focus(ada, ".chat-warning button")
    await ada.keyboard.press("Enter")
    await ada.get_by_role("dialog", name="Safety number").locator(".safety-digits").wait_for()
    # Enter once more closes it, instead of accepting a key that nobody has looked at.
    assert await has_focus(ada, "dialog header button")
    await walk(ada, "Safety number")
    await gets_focus(ada, ".chat-warning button")
    await trusts(ada, other, "changed")

    await ada.keyboard.press("Enter")
    await ada.get_by_role("button", name="Accept the new key").wait_for()
    await tab_to(ada, "dialog .button.primary")
    await ada.keyboard.press("Enter")
    await ada.get_by_role("button", name="I compared it").wait_for()
    await walk(ada, "Safety number")
    # The warning is gone, and with it the button that opened the sheet.
    await gets_focus(ada, "salam-chat textarea")
    await shows(ada, "hello")
