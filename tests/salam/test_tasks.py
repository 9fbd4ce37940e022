from __future__ import annotations

import asyncio
import logging

import pytest

from salam import ClosedError, TaskOwner, live_owners


async def test_a_failure_reaches_the_handler() -> None:
    failures: list[tuple[str, str]] = []
    owner = TaskOwner("test", on_failure=lambda name, error: failures.append((name, str(error))))

    async def fail() -> None:
        raise RuntimeError("boom")

    await asyncio.wait({owner.spawn(fail(), name="bad")})
    await asyncio.sleep(0)
    assert failures == [("test/bad", "boom")]
    assert owner.failures == 1
    await owner.close()


async def test_a_failure_without_a_handler_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    owner = TaskOwner("test")

    async def fail() -> None:
        raise RuntimeError("boom")

    logging.getLogger("salam").propagate = True
    with caplog.at_level(logging.ERROR, logger="salam.tasks"):
        await asyncio.wait({owner.spawn(fail(), name="bad")})
        await asyncio.sleep(0)
    assert "test/bad" in caplog.text
    assert "boom" in caplog.text
    await owner.close()


async def test_close_cancels_and_waits_for_clean_up() -> None:
    owner = TaskOwner("test")
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    owner.spawn(work(), name="work")
    await asyncio.sleep(0)
    assert owner in live_owners()
    await owner.close()
    assert cleaned.is_set()
    assert owner not in live_owners()
    await owner.close()


async def test_a_closed_owner_starts_nothing() -> None:
    owner = TaskOwner("test")
    await owner.close()

    async def never() -> None:
        raise AssertionError("must not run")

    with pytest.raises(ClosedError):
        owner.spawn(never(), name="late")


async def test_a_task_may_close_its_own_owner() -> None:
    owner = TaskOwner("test")

    async def work() -> None:
        await owner.close()

    task = owner.spawn(work(), name="work")
    await task
    await asyncio.sleep(0)
    assert not owner.tasks
