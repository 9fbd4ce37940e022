"""The servers in the public network of a `NatLab`: coturn and `salam serve`, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.browser import until
from tests.support.lab_call import LabServers
from tests.support.nat_lab import NatLab
from turn_client.rest import make_rest_credentials

__all__ = ["MEDIA_PORT", "TURN_PORT", "TURN_SECRET", "lab_servers", "public_coturn", "public_salam"]

# Nobody else is in these namespaces, so the ports are the ones that everybody knows.
TURN_PORT = 3478
TURN_SECRET = "shared by the servers of the laboratory"
_HTTP_PORT = 80
MEDIA_PORT = 40000
_END_WITHIN_S = 15.0
_LISTENING = "0A"


def lab_servers(lab: NatLab, *, relays: bool = True) -> LabServers:
    """Return what robots are told of `public_coturn`, with ``relays`` or only as a STUN server."""
    if not relays:
        return LabServers(TURN_PORT)
    username, password = make_rest_credentials(TURN_SECRET, "robot", 3600, int(time.time()))
    uris = tuple(f"turn:{lab.public_address}:{TURN_PORT}?transport={transport}" for transport in ("udp", "tcp"))
    return LabServers(TURN_PORT, uris, username, password)


@contextlib.asynccontextmanager
async def public_coturn(lab: NatLab, program: str, folder: Path) -> AsyncIterator[None]:
    """Run coturn on the public addresses, as STUN server with two of them and as TURN server for UDP and TCP."""
    arguments = [
        *(
            "-n",
            "--no-cli",
            "--fingerprint",
            "--simple-log",
            "--log-file=stdout",
            "-v",
            "--relay-threads=1",
            "--no-tls",
            "--no-dtls",
        ),
        *(f"--listening-ip={address}" for address in (lab.public_address, lab.second_address)),
        *(f"--relay-ip={lab.public_address}", f"--listening-port={TURN_PORT}", "--realm=lab.test"),
        *("--use-auth-secret", f"--static-auth-secret={TURN_SECRET}"),
        *(f"--pidfile={folder / 'lab-turnserver.pid'}", f"--userdb={folder / 'lab-turndb'}"),
    ]
    async with _running(lab, folder / "lab-turnserver.log", program, *arguments) as process:
        await _listens(process, TURN_PORT, folder / "lab-turnserver.log")
        yield


@contextlib.asynccontextmanager
async def public_salam(lab: NatLab, folder: Path, **settings: str) -> AsyncIterator[str]:
    """Run ``salam serve --dev`` on the public address with these further settings, and return the URL of its page."""
    log = folder / "lab-salam.log"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SALAM_")}
    chosen = {
        "host": lab.public_address,
        "http_port": str(_HTTP_PORT),
        "media_port": str(MEDIA_PORT),
        "live": "false",
        "data_dir": str(folder / "data"),
        **settings,
    }
    environment = {**kept, **{f"SALAM_{key.upper()}": value for key, value in chosen.items()}}
    command = (sys.executable, "-m", "salam_server", "serve", "--dev")
    async with _running(lab, log, *command, environment=environment, end_with=signal.SIGINT) as process:
        await _listens(process, _HTTP_PORT, log)
        yield f"http://{lab.public_address}"
    assert "Traceback" not in log.read_text(), log.read_text()


@contextlib.asynccontextmanager
async def _running(
    lab: NatLab,
    log: Path,
    *command: str,
    environment: dict[str, str] | None = None,
    end_with: signal.Signals = signal.SIGKILL,
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *lab.public.command(*command), cwd=log.parent, env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(end_with)
        try:
            await asyncio.wait_for(process.wait(), _END_WITHIN_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Wait until a process takes TCP connections: what the kernel says of its namespace can be read from outside."""

    async def listening() -> bool:
        assert process.returncode is None, log.read_text(errors="replace")
        rows = [line.split() for line in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]]
        return any(int(row[1].split(":")[1], 16) == port and row[3] == _LISTENING for row in rows)

    await until(listening, f"{log.stem} listens")
