"""A robot in a room, as a process of its own: told which by a line of JSON, and telling what it receives by such lines.

It ends when its input ends.
"""

from __future__ import annotations

import asyncio
import json

import uvloop

from bench import GeneratedMedia, Robot
from tests.support.lab_lines import input_lines, reporting, say


def _report(robot: Robot) -> None:
    received = [track.frames for track in robot.stats().received if track.kind == "video"]
    say(type="report", state="lost" if robot.lost else "connected", frames=sum(received), paths=robot.paths)


async def main() -> None:
    reader = await input_lines()
    config = json.loads(await reader.readline())
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=4)
    async with Robot(config["url"] + "/ws", room=config["room"], name="Robot", publish=media) as robot:
        reports = asyncio.ensure_future(reporting(lambda: _report(robot)))
        try:
            await reader.read()
        finally:
            reports.cancel()


if __name__ == "__main__":
    uvloop.run(main())
