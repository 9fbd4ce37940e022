"""A server as a process of its own, so that its memory and its end can be seen from outside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from types import TracebackType

import aiohttp
import psutil

from tests.support.browser import until
from tests.support.engine import free_port

__all__ = ["ServerProcess"]


class ServerProcess:
    """``salam serve --dev`` on free ports of the loopback."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.http_port, self.media_port, self.rtmp_port = free_port(), free_port(), free_port()
        self._folder = folder
        self._arguments = arguments

    @property
    def url(self) -> str:
        """The URL of the home page."""
        return f"http://127.0.0.1:{self.http_port}"

    async def __aenter__(self) -> ServerProcess:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SALAM_")}
        ports = {
            "SALAM_HTTP_PORT": str(self.http_port),
            "SALAM_MEDIA_PORT": str(self.media_port),
            "SALAM_RTMP_PORT": str(self.rtmp_port),
            "SALAM_DATA_DIR": str(self._folder / "data"),
        }
        self._log = (self._folder / "server.log").open("wb")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "salam_server", "serve", "--dev", *self._arguments),
            cwd=self._folder,
            env={**kept, **ports},
            stdout=self._log,
            stderr=self._log,
        )
        await until(self._answers, "the server answers")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGINT)
                await asyncio.wait_for(self.process.wait(), 10.0)
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
            self._log.close()
        assert self.process.returncode == 0, self.log()
        assert "Traceback" not in self.log(), self.log()

    def log(self) -> str:
        """Return everything that the server has printed."""
        return (self._folder / "server.log").read_text(errors="replace")

    def memory_bytes(self) -> int:
        """Return the resident memory of the process."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def open_files(self) -> int:
        """Return how many file descriptors the process has open, sockets among them."""
        return int(psutil.Process(self.process.pid).num_fds())

    async def drops(self) -> dict[tuple[str, str], int]:
        """Return the drop counters by (port, reason)."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as response:
            text = await response.text()
        rows = re.findall(r'^salam_dropped_total\{port="(\w+)",reason="(\w+)"\} ([\d.e+]+)$', text, re.MULTILINE)
        return {(port, reason): int(float(count)) for port, reason, count in rows}

    async def _answers(self) -> bool:
        assert self.process.returncode is None, self.log()
        try:
            async with aiohttp.ClientSession() as http, http.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False
