"""How the robots of the laboratory talk to the test: lines of JSON on their standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["LINE_LIMIT", "input_lines", "reporting", "say"]

LINE_LIMIT = 1 << 20
"""A line holds a description, which is some kilobytes, or a report of many pauses."""
_REPORT_S = 0.1


async def input_lines() -> asyncio.StreamReader:
    """Return the standard input."""
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def say(**words: Any) -> None:
    """Print one line."""
    # In one write, so that the lines of a process that is killed are whole or not there.
    os.write(sys.stdout.fileno(), json.dumps(words).encode() + b"\n")


async def reporting(report: Callable[[], None]) -> None:
    """Call ``report`` several times a second."""
    while True:
        report()
        await asyncio.sleep(_REPORT_S)
