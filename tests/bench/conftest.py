"""What the tests of the bench share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Return a coroutine function that waits until a condition holds; TimeoutError after ``limit_s`` seconds."""

    async def wait(condition: Callable[[], bool], limit_s: float = 30) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - the conditions are counters of other objects, which set no event.
                await asyncio.sleep(0.005)

    return wait
