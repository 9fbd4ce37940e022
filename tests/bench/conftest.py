"""What the tests of the bench share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from bench.media import LoopLibrary


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Robots are tested on the loop of `salam serve`, which takes all that waits in a socket at a time.

    That of asyncio takes one datagram of each socket in a turn. Once a busy machine makes turns long, a robot that is sent more
    than that falls behind further and further, until the answers to its ICE checks are so late that its connection is lost.
    """
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def library() -> LoopLibrary:
    """Loops that are encoded once for all tests."""
    return LoopLibrary()
