"""The examples run as they stand, short as they are."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from bench import Broadcaster, GeneratedMedia, Robot
from tests.support.browser import until
from tests.support.engine import free_port

pytestmark = pytest.mark.timeout(240)


class Example:
    """An example as a process of its own, on free ports."""

    def __init__(self, root: Path, name: str, folder: Path) -> None:
        self.port, self.media_port, self.rtmp_port = free_port(), free_port(), free_port()
        self._path = root / "examples" / name
        self._folder = folder
        self.url = f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Example:
        ports = {"PORT": self.port, "MEDIA_PORT": self.media_port, "RTMP_PORT": self.rtmp_port}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self._path),
            cwd=self._folder,
            env={**os.environ, **{key: str(value) for key, value in ports.items()}, "DATA_DIR": str(self._folder / "data")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        await until(self._answers, f"{self._path.name} answers")
        return self

    async def _answers(self) -> bool:
        assert self._process.returncode is None, await self._output()
        try:
            async with aiohttp.ClientSession() as http, http.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def __aexit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        output = await self._output()
        assert self._process.returncode == 0, output
        assert "Traceback" not in output

    async def _output(self) -> str:
        out, _ = await self._process.communicate()
        return out.decode()

    async def json(self, path: str) -> object:
        """Return what the example answers at ``path``."""
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as response:
            assert response.status == 200
            return await response.json()


@pytest.mark.parametrize("name", ["embed_call.py", "embed_live.py"])
def test_they_are_short(root: Path, name: str) -> None:
    assert len((root / "examples" / name).read_text().splitlines()) < 40


async def test_calls_in_an_application_of_ones_own(root: Path, tmp_path: Path) -> None:
    async with Example(root, "embed_call.py", tmp_path) as example:
        media = GeneratedMedia(width=320, height=180, fps=10)
        async with (
            Robot(f"{example.url}/ws", room="lobby", name="Amal", publish=media) as one,
            Robot(f"{example.url}/ws", room="lobby", name="Badr", publish=media) as two,
        ):

            async def both_receive() -> bool:
                return all(len([t for t in robot.stats().received if t.packets > 20]) >= 2 for robot in (one, two))

            await until(both_receive, "both robots receive sound and picture")
            assert await example.json("/mine/rooms") == {"rooms": [{"room": "lobby", "participants": 2}]}


async def test_a_livestream_in_an_application_of_ones_own(root: Path, tmp_path: Path, need_program: Callable[..., str]) -> None:
    async with Example(root, "embed_live.py", tmp_path) as example:
        broadcaster = Broadcaster(f"rtmp://127.0.0.1:{example.rtmp_port}/live/film", width=426, height=240, fps=15)
        broadcaster.start()
        try:

            async def playing() -> bool:
                return await example.json("/mine/now-playing") == ["film"]

            await until(playing, "the stream is live")
            async with aiohttp.ClientSession() as http, http.get(f"{example.url}/live/film/index.m3u8") as response:
                assert "#EXTM3U" in await response.text()
        finally:
            await broadcaster.stop()
