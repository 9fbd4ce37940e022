"""The browser's databases of every released version are opened, brought up to date and used, in headless Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.e2ee_page import e2ee_page, run_module

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOLDEN = Path(__file__).resolve().parents[1] / "e2ee" / "golden"
FILES = sorted(GOLDEN.glob("browser_store_v*.json"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with e2ee_page() as opened:
        yield opened


async def test_every_version_has_its_golden_file(page: Page) -> None:
    current = await run_module(page, "golden.js", "currentVersion")
    assert {file.stem for file in FILES} == {f"browser_store_v{version}" for version in range(1, current + 1)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_device_goes_on_from_a_golden_database(page: Page, file: Path) -> None:
    await run_module(page, "golden.js", "goesOn", int(file.stem.removeprefix("browser_store_v")))


@pytest.mark.parametrize("case", ["upgraded", "failing", "blocked", "schemas"])
async def test_an_upgrade(page: Page, case: str) -> None:
    await run_module(page, "golden.js", case)
