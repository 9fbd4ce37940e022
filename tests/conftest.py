"""Fixtures for every test: nothing may be left behind, and nothing may block the event loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from salam import live_owners

PACKAGES = ("salam", "e2ee", "turn_client", "sfu", "ingest", "transcode", "signaling", "salam_server", "bench")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root() -> Path:
    """The folder of the source tree."""
    return ROOT


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail a test that ends with a running owned task or a new non-daemon thread."""
    threads_before = set(threading.enumerate())
    yield
    leaked = [repr(owner) for owner in live_owners()]
    assert not leaked, f"tasks left behind: {leaked}"
    threads = [
        thread.name
        for thread in set(threading.enumerate()) - threads_before
        if not thread.daemon and not thread.name.startswith(("asyncio_", "ThreadPoolExecutor"))
    ]
    assert not threads, f"threads left behind: {threads}"


@pytest.fixture(autouse=True)
def _the_loop_is_never_blocked() -> Iterator[None]:
    """Fail a test in which our own code blocks the event loop: reads a file, sleeps, waits for a socket or a lock."""
    with blockbuster_ctx(scanned_modules=list(PACKAGES)):
        yield


@pytest.fixture
def need_program() -> Callable[..., str]:
    """Return the path of a program that a test needs as a real peer: skip without it on a workstation, fail in CI."""

    def find(*names: str) -> str:
        for name in names:
            path = shutil.which(name)
            if path is not None:
                return path
        reason = f"none of these programs is installed: {', '.join(names)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    return find


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Return an awaitable check that polls a condition until it holds; only for tests of real I/O.

    ``timeout_s`` bounds a hang; it is no expectation of speed.
    """

    async def wait(condition: Callable[[], object], *, timeout_s: float = 60.0, what: str = "") -> object:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(f"never came true: {what or condition}")
            await asyncio.sleep(0.05)

    return wait
