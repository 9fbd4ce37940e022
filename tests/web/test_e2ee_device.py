"""A device in headless Chromium, over memory and IndexedDB, and in a conversation with a Python one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from e2ee.content import ApplicationContent
from e2ee.device import Device
from e2ee.prekeys import Bundle
from e2ee.store.memory import MemoryStore
from tests.support.e2ee_page import e2ee_page, run_module

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with e2ee_page() as opened:
        yield opened


@pytest.mark.parametrize(
    "case", ["talk", "crossed", "reopened", "rolledBack", "twoPages", "changedKey", "reset", "refills", "family"]
)
async def test_in_the_browser(page: Page, case: str) -> None:
    await run_module(page, "device.js", case)


@pytest.mark.parametrize("browser_begins", [True, False])
async def test_a_python_device_and_a_browser_device_talk(page: Page, browser_begins: bool) -> None:
    ada = await Device.create(MemoryStore(), "ada")
    shown = await ada.publish()
    prekeys = shown.prekeys
    assert shown.device_list is not None
    assert prekeys.signed is not None
    theirs = await run_module(page, "device.js", "interopBegin", "ben")
    assert theirs["suites"] == [1, 2], "the best suite on both sides is the hybrid one"
    bundle = Bundle(shown.certificate, prekeys.signed, prekeys.one_time[0], prekeys.kem_once[0], True)
    mine = {"user": "ada", "certificate": shown.certificate.encoded.hex(), "list": shown.device_list.encoded.hex()}
    await run_module(page, "device.js", "interopMeet", mine | {"bundle": bundle.encode().hex() if browser_begins else ""})
    await ada.learn("ben", bytes.fromhex(theirs["list"]), [bytes.fromhex(theirs["certificate"])])
    if not browser_begins:
        await ada.start(bytes.fromhex(theirs["bundle"]))

    async def to_python(text: str) -> None:
        message = bytes.fromhex(await run_module(page, "device.js", "interopSay", "ada", text))
        received = await ada.decrypt("ben", 1, message)
        assert received.content == ApplicationContent(text.encode())

    async def to_browser(text: str) -> None:
        (sent,) = await ada.encrypt("ben", text.encode())
        assert await run_module(page, "device.js", "interopHear", "ada", ada.device_id, sent.message.hex()) == text

    steps = [to_python, to_browser] if browser_begins else [to_browser, to_python]
    for round_number in range(3):
        for step in steps:
            await step(f"مرحبا {round_number}")
            await step("and once more")
