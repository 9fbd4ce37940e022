"""Groups of a browser's device in headless Chromium, over memory and IndexedDB."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.e2ee_page import e2ee_page, run_module

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with e2ee_page() as opened:
        yield opened


@pytest.mark.parametrize("case", ["life", "early", "refused", "damaged", "missing", "crashed", "bounds", "strangers"])
async def test_in_the_browser(page: Page, case: str) -> None:
    await run_module(page, "device_groups.js", case)
