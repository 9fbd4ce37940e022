"""What `salam demo` plays: a generated broadcaster over RTMP, and a room with two robots, all as real peers of the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from bench import Broadcaster, GeneratedMedia, Robot
from salam_server.run import Site

__all__ = ["ROBOT_NAMES", "play_demo"]

ROBOT_NAMES = ("Amira", "Yusuf")
"""Who is in the room of the demo: names with different colours, who do not interrupt each other."""

# Small on purpose: the demo shares its machine with the browser that looks at it.
_ROBOT_WIDTH, _ROBOT_HEIGHT, _ROBOT_FPS = 640, 360, 15
_STREAM_WIDTH, _STREAM_HEIGHT, _STREAM_FPS = 854, 480, 25


async def play_demo(site: Site, *, room: str, stream: str, say: Callable[[str], None]) -> None:
    """Bring the broadcaster and the robots up, print the URLs, and play until cancelled."""
    engine = site.engine
    say(f"Salam is serving on {site.url}")
    async with contextlib.AsyncExitStack() as stack:
        broadcaster = Broadcaster(
            f"rtmp://127.0.0.1:{engine.rtmp_port}/live/{stream}",
            width=_STREAM_WIDTH,
            height=_STREAM_HEIGHT,
            fps=_STREAM_FPS,
        )
        broadcaster.start()
        stack.push_async_callback(broadcaster.stop)
        for name in ROBOT_NAMES:
            media = GeneratedMedia(width=_ROBOT_WIDTH, height=_ROBOT_HEIGHT, fps=_ROBOT_FPS, label=name)
            await stack.enter_async_context(Robot(f"{site.url}/ws", room=room, name=name, publish=media))
        say(f"  a call with two robots   {site.url}/room/{room}")
        say(f"  a live stream            {site.url}/watch/{stream}")
        say(f"  publish your own         rtmp://localhost:{engine.rtmp_port}/live/NAME")
        say("Ctrl-C stops it.")
        await asyncio.Event().wait()
