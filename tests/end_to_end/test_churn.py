"""Joining and leaving two hundred times leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import pytest

from bench import GeneratedMedia, Robot
from salam import live_owners
from salam_server import Engine, serving
from tests.support.browser import until
from tests.support.engine import dev_settings

pytestmark = pytest.mark.timeout(420)

CYCLES = 200
# Joined at a time: several, so that joins and leaves overlap, few enough for two cores.
AT_ONCE = 4


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_two_hundred_joins_and_leaves(tmp_path: Path) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        engine = site.engine
        media = GeneratedMedia(width=160, height=90, fps=5)
        gate = asyncio.Semaphore(AT_ONCE)

        async def cycle(number: int) -> None:
            async with gate, Robot(f"{site.url}/ws", room="churn", name=f"Robot {number}", publish=media) as robot:
                await until(lambda: _published(robot), f"robot {number} publishes")

        async def _published(robot: Robot) -> bool:
            return any(track.packets > 0 for track in robot.stats().sent)

        # The first ones fill caches (encoders, certificates, loaded modules).
        for number in range(4):
            await cycle(number)
        await until(lambda: _empty(engine), "the room is empty")
        gc.collect()
        tasks, files = len(asyncio.all_tasks()), open_files()
        owners = {id(owner) for owner in live_owners()}

        async with asyncio.TaskGroup() as group:
            for number in range(CYCLES):
                group.create_task(cycle(number))
        await until(lambda: _empty(engine), "every participant is gone")

        async def nothing_left() -> bool:
            gc.collect()
            return len(asyncio.all_tasks()) <= tasks and open_files() <= files

        await until(nothing_left, "no task and no file is left")
        assert {id(owner) for owner in live_owners()} <= owners
        assert engine.rooms() == []
        stats = engine.media_stats()
        assert stats is not None
        assert (stats.routers, stats.transports, stats.tcp_connections) == (0, 0, 0)


async def _empty(engine: Engine) -> bool:
    return engine.rooms() == []
