"""The command ``salam`` as a process of its own: clear errors, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt
import pytest

from tests.support.browser import until
from tests.support.engine import free_port

pytestmark = pytest.mark.timeout(180)

SECRET = "0123456789abcdef0123456789abcdef"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SALAM_")}
    ports = {"SALAM_HTTP_PORT": "0", "SALAM_MEDIA_PORT": "0", "SALAM_RTMP_PORT": "0", "SALAM_DATA_DIR": str(folder / "data")}
    return {**kept, **ports, **variables}


async def salam(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run a command to its end; returns its exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "salam_server",
        *arguments,
        cwd=folder,
        env=environment(folder, **variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def running(folder: Path, *arguments: str, ready: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """Start a command that serves, wait until it prints ``ready``, and end it whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "salam_server",
        *arguments,
        cwd=folder,
        env=environment(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        while ready not in (lines[-1] if lines else ""):
            line = await process.stdout.readline()
            assert line, "the process ended:\n" + "".join(lines)
            lines.append(line.decode())
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        lines.append((await process.stdout.read()).decode())
        await process.wait()


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("salam: ")
    return lines[0]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SALAM_HTTP_PORT": "eighty"}, ["SALAM_HTTP_PORT", "'eighty'", "0 to 65535"]),
        ({"SALAM_HTPP_PORT": "80"}, ["SALAM_HTPP_PORT", "SALAM_HTTP_PORT"]),
        ({"SALAM_SECRET": "too-short"}, ["SALAM_SECRET", "at least 32 bytes"]),
        ({}, ["secret is not set", "SALAM_SECRET", "--dev"]),
    ],
)
async def test_bad_settings_get_one_clear_line(tmp_path: Path, variables: dict[str, str], words: list[str]) -> None:
    code, out, err = await salam(tmp_path, "serve", **variables)
    assert code == 2
    assert out == ""
    line = one_line(err)
    for word in words:
        assert word in line
    assert "too-short" not in line


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("http_port", socket.SOCK_STREAM),
        ("media_port", socket.SOCK_DGRAM),
        ("media_port", socket.SOCK_STREAM),
        ("rtmp_port", socket.SOCK_STREAM),
    ],
)
async def test_a_taken_port_gets_one_clear_line(tmp_path: Path, setting: str, kind: socket.SocketKind) -> None:
    port = free_port()
    with contextlib.closing(socket.socket(socket.AF_INET, kind)) as taken:
        taken.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        variable = f"SALAM_{setting.upper()}"
        code, _, err = await salam(tmp_path, "serve", "--dev", **{variable: str(port)})
    assert code == 1
    line = one_line(err)
    assert str(port) in line
    assert setting in line.lower()
    assert "taken" in line


async def test_doctor_finds_shadowing_folders(tmp_path: Path) -> None:
    code, out, _ = await salam(tmp_path, "doctor", "--json", SALAM_SECRET=SECRET)
    report = json.loads(out)
    assert (code, report["ok"]) == (0, True), out
    (tmp_path / "mine" / "ingest").mkdir(parents=True)
    (tmp_path / "mine" / "ingest" / "__init__.py").write_text("")
    code, out, _ = await salam(tmp_path, "doctor", "--json", "--path", str(tmp_path / "mine"))
    report = json.loads(out)
    assert (code, report["ok"]) == (1, False)
    [failed] = [check for check in report["checks"] if check["state"] == "failed"]
    assert str(tmp_path / "mine" / "ingest") in failed["detail"]


async def test_a_shadowed_package_is_named_at_import(tmp_path: Path) -> None:
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / "__init__.py").write_text("")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import salam_server",
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode != 0
    last = err.decode().strip().splitlines()[-1]
    assert "ImportError" in last
    assert str(tmp_path / "ingest") in last


async def test_token_mints_what_was_asked(tmp_path: Path) -> None:
    code, out, _ = await salam(
        tmp_path, "token", "--room", "blue", "--identity", "amal", "--ttl", "30m", "--json", SALAM_SECRET=SECRET
    )
    assert code == 0
    minted = json.loads(out)
    claims = jwt.decode(minted["token"], SECRET, algorithms=["HS256"])
    assert claims["sub"] == "amal"
    assert claims["grants"]["room"] == "blue"
    assert claims["exp"] == minted["expires_at"]
    assert 0 < claims["exp"] - time.time() <= 1_800


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("token", "--room", "x"), "secret is not set"),
        (("token", "--room", "x", "--ttl", "soon"), "ttl is 'soon'"),
        (("token",), "open nothing"),
    ],
)
async def test_bad_token_requests_get_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    secret = {} if word.startswith("secret") else {"SALAM_SECRET": SECRET}
    code, out, err = await salam(tmp_path, *arguments, **secret)
    assert (code, out) == (2, "")
    assert word in one_line(err)


async def test_the_demo_plays_a_call_and_a_stream(tmp_path: Path) -> None:
    async with running(tmp_path, "demo", ready="Ctrl-C") as (process, lines):
        text = "".join(lines)
        url = re.findall(r"serving on (\S+)", text)[0]
        assert f"{url}/room/demo" in text
        assert f"{url}/watch/demo" in text
        async with aiohttp.ClientSession() as http:

            async def plays() -> bool:
                async with http.get(f"{url}/api/v1/rooms") as response:
                    rooms = await response.json()
                async with http.get(f"{url}/api/v1/streams") as response:
                    states = {stream["stream"]: stream["state"] for stream in await response.json()}
                return rooms == [{"room": "demo", "participants": 2}] and states == {"demo": "live"}

            await until(plays, "two robots are in the room and the stream is live")
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 5.0)
    assert process.returncode == 0, lines
    assert "Traceback" not in "".join(lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_ends_serve_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path, "serve", "--dev", ready="Ctrl-C") as (process, lines):
        process.send_signal(number)
        # Five seconds is the promise to whoever waits at the terminal.
        await asyncio.wait_for(process.wait(), 5.0)
    assert process.returncode == 0, lines
    assert "Traceback" not in "".join(lines)
