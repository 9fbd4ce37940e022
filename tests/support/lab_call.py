"""Robots across a `NatLab`, each in a process of its own behind its NAT: two that call each other, or one in a room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.browser import until
from tests.support.lab_lines import LINE_LIMIT
from tests.support.nat_lab import Namespace, NatLab

__all__ = ["LabCall", "LabRobot", "LabServers", "calling", "visiting"]

_ROOT = Path(__file__).resolve().parent.parent.parent
_END_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class LabServers:
    """The servers that both robots use."""

    stun_port: int
    relays: tuple[str, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)


class LabRobot:
    """One of the robots, as the test sees it; ``module`` is the program that it runs."""

    def __init__(self, name: str, home: Namespace, log: Path, module: str = "tests.support.lab_robot") -> None:
        self.name = name
        self.report: dict[str, Any] = {}
        self.states: list[str] = []
        """Each state that its connection has been in."""
        self.on_signal: Callable[[dict[str, Any]], None] = lambda signal: None
        self._home = home
        self._log = log
        self._module = module

    async def start(self, config: dict[str, Any]) -> None:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._home.command(sys.executable, "-m", self._module),
                cwd=_ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_LIMIT,
            )
        self.tell({"name": self.name, **config})
        self._reader = asyncio.create_task(self._read())

    def tell(self, words: dict[str, Any]) -> None:
        """Hand it one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    def log(self) -> str:
        """Return everything that it has complained about."""
        return self._log.read_text(errors="replace")

    async def stop(self) -> None:
        """Hang up."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            words = json.loads(line)
            if words["type"] == "signal":
                self.on_signal(words["signal"])
                continue
            self.report = words
            if words["state"] not in self.states[-1:]:
                self.states.append(words["state"])

    def alive(self) -> bool:
        return self._process.returncode is None


class LabCall:
    """A call that stands."""

    def __init__(self, a: LabRobot, b: LabRobot) -> None:
        self.a = a
        self.b = b

    @property
    def robots(self) -> tuple[LabRobot, LabRobot]:
        """Both ends."""
        return self.a, self.b

    @property
    def paths(self) -> tuple[str, str]:
        """The way that each says it got through."""
        return self.a.report["path"], self.b.report["path"]

    async def flows(self) -> None:
        """Wait until each has decoded more pictures of the other than now, and knows its path."""
        before = [robot.report.get("pictures", 0) for robot in self.robots]

        async def grown() -> bool:
            for robot in self.robots:
                assert robot.alive(), robot.log()
            return all(
                robot.report.get("pictures", 0) > count + 10 and robot.report["path"]
                for robot, count in zip(self.robots, before, strict=True)
            )

        await until(grown, f"pictures flow both ways, {[robot.report for robot in self.robots]}")


@contextlib.asynccontextmanager
async def calling(lab: NatLab, servers: LabServers, folder: Path, *, at_home: bool = False) -> AsyncIterator[LabCall]:
    """Let the robot behind the first NAT call the one behind the second, and wait until media flows both ways.

    ``at_home`` puts both behind the first one.
    """
    async with contextlib.AsyncExitStack() as stack:
        homes = (lab.a.host, lab.a.host if at_home else lab.b.host)
        robots = [LabRobot(name, home, folder / f"{name}.log") for name, home in zip(("Amal", "Badr"), homes, strict=True)]
        for robot, other in zip(robots, reversed(robots), strict=True):
            robot.on_signal = other.tell
        # The one who is called is there first.
        for robot in reversed(robots):
            await robot.start(
                {
                    "calls": robot is robots[0],
                    "stun": lab.public_address,
                    "stun_port": servers.stun_port,
                    "relays": servers.relays,
                    "username": servers.username,
                    "password": servers.password,
                }
            )
            stack.push_async_callback(robot.stop)
        call = LabCall(*robots)
        await call.flows()
        yield call


@contextlib.asynccontextmanager
async def visiting(home: Namespace, url: str, room: str, folder: Path) -> AsyncIterator[LabRobot]:
    """Let a robot join a room from ``home`` and send media there."""
    robot = LabRobot("Robot", home, folder / "visitor.log", "tests.support.lab_visitor")
    await robot.start({"url": url, "room": room})
    try:

        async def in_the_room() -> bool:
            assert robot.alive(), robot.log()
            return bool(robot.report)

        await until(in_the_room, "the robot is in the room")
        yield robot
    finally:
        await robot.stop()
