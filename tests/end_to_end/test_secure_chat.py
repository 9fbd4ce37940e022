"""Real tabs in an encrypted room: who reads what, what the server sees, reloads, changed keys, robots, and the call's own keys."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from salam_server import Engine, Site, serving
from signaling import SignalingClient
from tests.support.browser import debug, until
from tests.support.engine import dev_settings
from tests.support.secure_robot import SecureRobot
from tests.support.secure_tabs import doubtful, enter, is_ready, lines, own_id, people_menu, say, secure, shows, token, trusts
from tests.support.tap import Tap

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SECRET = "nobody but these two should read this"


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as running:
        yield running


async def test_two_tabs_talk_and_the_server_reads_nothing(site: Site, context: BrowserContext, tap: Tap) -> None:
    ada, ben = await enter(context, site, "Ada"), await enter(context, site, "Ben")
    await trusts(ada, ben)
    await trusts(ben, ada)
    await say(ada, SECRET)
    await shows(ben, SECRET)
    await say(ben, f"{SECRET} too")
    await shows(ada, f"{SECRET} too")
    assert await ben.locator(".chat-lock strong").text_content() == "Encrypted end to end"
    assert not tap.holds(SECRET)
    assert tap.holds("Ada"), "the tap sees what is not encrypted"
    kinds = {type(message).__name__ for message in tap.seen}
    assert {"SendSecure", "SecureMessage", "TakeSecure"} <= kinds
    assert "Chat" not in kinds


async def test_a_line_for_one_person_reaches_nobody_else(site: Site, context: BrowserContext, tap: Tap) -> None:
    ada, ben, cem = [await enter(context, site, name) for name in ("Ada", "Ben", "Cem")]
    for other in (ben, cem):
        await trusts(ada, other)
    await people_menu(ada, "Ben", "Write to")
    await say(ada, SECRET)
    await shows(ben, SECRET)
    assert await ben.locator(".chat-mark").text_content() == "Only to you"
    assert "Ben" in (await ada.locator(".chat-line .chat-mark").text_content() or "")
    to_cem = [message for message in tap.seen if type(message).__name__ == "SendSecure"]
    assert {envelope.participant_id for message in to_cem for envelope in message.messages} == {await own_id(ben)}
    # What is said to all afterwards comes after it everywhere.
    await ada.locator(".chat-to button").click()
    await say(ada, "to all")
    await shows(cem, "to all")
    assert await lines(cem) == ["to all"]
    assert await lines(ben) == [SECRET, "to all"]


async def test_a_late_joiner_sees_nothing_from_before(site: Site, context: BrowserContext) -> None:
    ada, ben = await enter(context, site, "Ada"), await enter(context, site, "Ben")
    await trusts(ada, ben)
    await say(ada, "before")
    await shows(ben, "before")
    cem = await enter(context, site, "Cem")
    await trusts(ada, cem)
    await say(ada, "after")
    await shows(cem, "after")
    assert await lines(cem) == ["after"]
    assert "from when you joined" in (await cem.locator(".chat-lock").text_content() or "")


async def test_a_reload_loses_nothing(site: Site, context: BrowserContext) -> None:
    ada, ben = await enter(context, site, "Ada"), await enter(context, site, "Ben")
    await trusts(ada, ben)
    await trusts(ben, ada)
    await say(ada, "one")
    await shows(ben, "one")
    before = await own_id(ben)
    away = await ben.evaluate_handle("() => { location.reload(); }")
    await away.dispose()
    await say(ada, "two, while Ben is away")
    await until(lambda: is_ready(ben), "Ben is back")
    assert await own_id(ben) == before
    await shows(ben, "two, while Ben is away")
    await trusts(ben, ada)
    await say(ben, "three")
    await shows(ada, "three")
    assert await lines(ben) == ["one", "two, while Ben is away", "three"]
    assert await lines(ada) == ["one", "two, while Ben is away", "three"]


async def test_a_changed_key_blocks_until_a_person_accepts_it(site: Site, browser: Browser, tap: Tap) -> None:
    async def profile() -> BrowserContext:
        return await browser.new_context(permissions=["camera", "microphone"], viewport={"width": 1280, "height": 800})

    first, second = await profile(), await profile()
    ada = await enter(first, site, "Ada", more=f"&token={await token(site, 'ada')}")
    ben = await enter(first, site, "Ben", more=f"&token={await token(site, 'ben')}")
    await trusts(ada, ben)
    await people_menu(ada, "Ben", "Safety number")
    number = await ada.locator(".safety-digits").inner_text()
    await ada.locator("dialog .button.primary").click()
    await ada.locator(".safety-verified").wait_for()
    await ada.keyboard.press("Escape")
    await people_menu(ben, "Ada", "Safety number")
    assert await ben.locator(".safety-digits").inner_text() == number, "both see the same number"
    await ben.close()

    # The same person by token, in a browser that has none of the keys.
    other = await enter(second, site, "Ben", more=f"&token={await token(site, 'ben')}")
    await trusts(ada, other, "changed")
    await trusts(other, ada)
    await say(other, "read later")
    await say(ada, SECRET)
    await shows(ada, SECRET)
    assert await ada.locator(".chat-line .chat-mark.warning").text_content() == "Not sent to \u2068Ben\u2069"
    assert [message for message in tap.seen if type(message).__name__ == "SecureMessage" and message.user_id == "ada"] == []
    assert SECRET not in await lines(other)

    await ada.locator(".chat-warning button").click()
    assert await ada.locator(".safety-warning").is_visible()
    assert await ada.locator(".safety-digits").inner_text() != number
    await ada.locator("dialog .button.primary").click()
    await trusts(ada, other)
    await ada.keyboard.press("Escape")
    await shows(ada, "read later")
    await say(ada, "now it works")
    await shows(other, "now it works")
    assert "verified" in str((await secure(ada))["peers"])
    assert not any(peer["verified"] for peer in (await secure(ada))["peers"])


WAITING = """async (participant) => {
  const { openStore } = await import("/web/sdk/e2ee/store.js");
  const store = await openStore("salam-e2ee:ada");
  const records = await store.run(async (tx) => (await tx.scan(`app.chat-held/${participant}`)).map(({ record }) => record));
  await store.close();
  return records.map((record) => new TextDecoder().decode(record));
}"""


async def waits(page: Page, count: int) -> None:
    async def held() -> bool:
        return (await secure(page)).get("held") == count

    await until(held, f"{count} messages wait")


async def reload(page: Page) -> None:
    await page.reload()
    await until(lambda: is_ready(page), "the page is back")


async def test_what_waits_for_a_decision_outlives_a_reload(site: Site, browser: Browser, tap: Tap) -> None:
    ada, second = await doubtful(browser, site)
    for text in (SECRET, "and this", "and that"):
        await say(second, text)
    await waits(ada, 3)
    for _ in range(2):
        await reload(ada)
        await trusts(ada, second, "changed")
        await waits(ada, 3)
        assert await lines(ada) == []
    # As it came and no more: what the server sent, which it was told has arrived.
    kept = await ada.evaluate(WAITING, await own_id(ada))
    messages = [message.message for message in tap.seen if type(message).__name__ == "SecureMessage" and message.user_id == "ben"]
    assert sorted(json.loads(record)["message"] for record in kept) == sorted(
        {base64.b64encode(each).decode() for each in messages}
    )
    assert not any("and th" in record or SECRET in record for record in kept)

    await say(second, "one more")
    await waits(ada, 4)
    await people_menu(ada, "Ben", "Safety number")
    assert "4 messages from" in (await ada.locator("dialog").text_content() or "")
    await ada.get_by_role("button", name="Accept the new key").click()
    await shows(ada, "one more")
    expected = [SECRET, "and this", "and that", "one more"]
    assert await lines(ada) == expected
    await waits(ada, 0)
    await reload(ada)
    await trusts(ada, second)
    assert await lines(ada) == expected, "read once and for all"
    assert await ada.evaluate(WAITING, await own_id(ada)) == []


async def test_what_waited_and_was_refused_does_not_come_back(site: Site, browser: Browser) -> None:
    ada, other = await doubtful(browser, site)
    await say(other, "not for Ada's eyes")
    await waits(ada, 1)
    await people_menu(ada, "Ben", "Safety number")
    await ada.get_by_role("button", name="Refuse it").click()
    await ada.locator("dialog").wait_for(state="detached")
    await waits(ada, 0)
    await reload(ada)
    await trusts(ada, other, "changed")
    await waits(ada, 0)
    # A refusal can be thought over, but what was thrown away does not come back.
    await people_menu(ada, "Ben", "Safety number")
    await ada.get_by_role("button", name="Accept the new key").click()
    await trusts(ada, other)
    await ada.keyboard.press("Escape")
    await say(other, "from here on")
    await shows(ada, "from here on")
    assert await lines(ada) == ["from here on"]


async def test_a_robot_without_keys_is_named(site: Site, context: BrowserContext) -> None:
    ada = await enter(context, site, "Ada")
    async with SignalingClient.connect(f"{site.url.replace('http', 'ws')}/ws") as robot:
        await robot.join("blue", "Robot")
        await say(ada, SECRET)
        await shows(ada, SECRET)
        warning = ada.locator(".chat-warning")
        await warning.wait_for()
        assert "\u2068Robot\u2069 cannot read this" in (await warning.text_content() or "")
        assert await ada.locator(".chat-line .chat-mark.warning").text_content() == "Not sent to \u2068Robot\u2069"
        # What comes in the clear is shown, and marked.
        await robot.chat("in the clear", chat_id="1")
        await shows(ada, "in the clear")
        assert await ada.locator(".chat-who .chat-mark.warning").text_content() == "Not encrypted"


async def test_a_python_device_and_a_tab_talk(site: Site, context: BrowserContext, tap: Tap) -> None:
    ada = await enter(context, site, "Ada")
    async with SecureRobot(f"{site.url.replace('http', 'ws')}/ws", "blue", "Robot") as robot:
        ada_id = await own_id(ada)

        async def known() -> bool:
            return any(peer["state"] == "ready" for peer in (await secure(ada))["peers"])

        await until(known, "the robot's keys are known")
        await say(ada, SECRET)
        sender, line = await robot.heard()
        assert (sender, line["text"], line["room"]) == (ada_id, SECRET, "blue")
        await robot.say(f"{SECRET}, says the robot", to=ada_id)
        await shows(ada, f"{SECRET}, says the robot")
        await say(ada, "and again")
        assert (await robot.heard())[1]["text"] == "and again"
    assert not tap.holds(SECRET)


async def frames(page: Page) -> int:
    return sum(int(track["frames_decoded"]) for track in (await debug(page)).get("tracks", []) if track["kind"] == "video")


async def sees(page: Page) -> None:
    before = await frames(page)

    async def more() -> bool:
        return await frames(page) > before + 20

    await until(more, "pictures are decoded")


async def test_the_keys_of_an_encrypted_call_travel_the_same_way(site: Site, context: BrowserContext) -> None:
    ada = await enter(context, site, "Ada", more="&e2ee=1")
    ben = await enter(context, site, "Ben", more="&e2ee=1")
    await sees(ada)
    await sees(ben)
    assert await ada.locator("#call-lock").text_content() == "Encrypted end to end"
    cem = await enter(context, site, "Cem", more="&e2ee=1")
    await sees(cem)
    kid = (await debug(ada))["encryption"]["kid"]
    assert kid["step"] >= 1, "somebody who joins gets a key that opens nothing from before"
    await cem.close(run_before_unload=True)

    async def renewed() -> bool:
        now = (await debug(ada))["encryption"]["kid"]
        return bool(now["generation"] > kid["generation"])

    await until(renewed, "a fresh key after somebody left")
    await sees(ada)
    await ben.reload()
    await until(lambda: is_ready(ben), "Ben is back")
    await sees(ben)
    await sees(ada)
    assert (await debug(ben))["encryption"] is not None, "a reload stays encrypted"

    # Somebody who has not switched it on sees nothing, and is told why.
    dina = await enter(context, site, "Dina")
    await dina.locator("salam-banner button", has_text="Join encrypted").wait_for()
    assert await dina.locator("#call-lock").text_content() == "Encrypted to the server"
    await dina.locator("salam-banner button", has_text="Join encrypted").click()
    await dina.wait_for_url("**e2ee=1**")
