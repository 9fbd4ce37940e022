"""Tabs in an encrypted room, as a test drives them."""

from __future__ import annotations

from typing import Any

import aiohttp
from playwright.async_api import Browser, BrowserContext, Page

from salam_server import Site
from tests.support.browser import debug, until

__all__ = ["doubtful", "enter", "is_ready", "lines", "own_id", "people_menu", "say", "secure", "shows", "token", "trusts"]


async def enter(context: BrowserContext, site: Site, name: str, *, more: str = "") -> Page:
    """A tab in the room, whose keys are on offer."""
    page = await context.new_page()
    await page.goto(f"{site.url}/room/blue?name={name}&join=1{more}")
    await until(lambda: is_ready(page), f"{name} is in the room with keys")
    return page


async def secure(page: Page) -> dict[str, Any]:
    return (await debug(page)).get("secure") or {}


async def is_ready(page: Page) -> bool:
    return (await secure(page)).get("state") == "ready"


async def own_id(page: Page) -> str:
    return str((await debug(page))["participant_id"])


async def trusts(page: Page, other: Page, state: str = "ready") -> None:
    """Wait until a page knows another's keys as that."""
    wanted = await own_id(other)

    async def known() -> bool:
        return any(peer["participant"] == wanted and peer["state"] == state for peer in (await secure(page)).get("peers", []))

    await until(known, f"the keys are {state}")


async def say(page: Page, text: str) -> None:
    if not await page.locator("salam-chat").is_visible():
        await page.bring_to_front()
        await page.keyboard.press("c")
    field = page.locator("salam-chat textarea")
    await field.fill(text)
    await field.press("Enter")


async def lines(page: Page) -> list[str]:
    return await page.locator("salam-chat .chat-line p").all_text_contents()


async def shows(page: Page, text: str) -> None:
    async def there() -> bool:
        return text in await lines(page)

    await until(there, f"{text!r} is shown")


async def people_menu(page: Page, name: str, item: str) -> None:
    """Open the list of people and choose something about one of them."""
    await page.bring_to_front()
    await page.mouse.move(300, 300)
    if not await page.locator("salam-people").is_visible():
        await page.locator(".control-people").click()
    await page.locator(".person", has_text=name).locator("button").click()
    await page.locator(".menu-item", has_text=item).click()


async def token(site: Site, identity: str) -> str:
    async with aiohttp.ClientSession() as session, session.post(f"{site.url}/dev/token", json={"identity": identity}) as reply:
        assert reply.status == 200, await reply.text()
        return str((await reply.json())["token"])


async def doubtful(browser: Browser, site: Site) -> tuple[Page, Page]:
    """Ada, and Ben in a browser that has none of the keys by which she knows him."""
    profiles = [await browser.new_context(viewport={"width": 1280, "height": 800}) for _ in range(3)]
    ada = await enter(profiles[0], site, "Ada", more=f"&token={await token(site, 'ada')}")
    ben = await enter(profiles[1], site, "Ben", more=f"&token={await token(site, 'ben')}")
    await trusts(ada, ben)
    await ben.close()
    other = await enter(profiles[2], site, "Ben", more=f"&token={await token(site, 'ben')}")
    await trusts(ada, other, "changed")
    await trusts(other, ada)
    return ada, other
