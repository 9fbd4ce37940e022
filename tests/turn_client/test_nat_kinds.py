"""What a NAT does is found out through it, with the help of coturn on two addresses (RFC 5780)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lab_servers import TURN_PORT, public_coturn
from tests.support.nat_lab import Home, NatLab, NatMode, refuse_without_lab

pytestmark = pytest.mark.peer

ROOT = Path(__file__).resolve().parent.parent.parent
# Silence is what tells the kinds apart, so each test waits this long; nothing in the laboratory takes longer than a moment.
PATIENCE_S = 2.0
ASK = """
import asyncio, sys
from turn_client.nat import discover_nat
report = asyncio.run(discover_nat(sys.argv[1], patience_s=float(sys.argv[2])))
print(report.nat_name, report.mapped[0] if report.mapped else "-")
"""
NAMES = {
    NatMode.FULL_CONE: "full-cone",
    NatMode.PORT_RESTRICTED: "port-restricted-cone",
    NatMode.SYMMETRIC: "symmetric",
    NatMode.UDP_BLOCKED: "blocked",
}


async def kind_of(home: Home, lab: NatLab) -> str:
    """Ask from behind a NAT what it is."""
    asking = await asyncio.create_subprocess_exec(
        *home.host.command(sys.executable, "-c", ASK, f"stun:{lab.public_address}:{TURN_PORT}", str(PATIENCE_S)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asking.communicate()
    return said.decode()


@pytest.mark.parametrize(("a", "b"), [(NatMode.FULL_CONE, NatMode.SYMMETRIC), (NatMode.PORT_RESTRICTED, NatMode.UDP_BLOCKED)])
async def test_the_kind_of_a_nat_is_found_out(need_program: Callable[..., str], tmp_path: Path, a: NatMode, b: NatMode) -> None:
    refuse_without_lab(need_program)
    with NatLab(a, b) as lab:
        async with public_coturn(lab, need_program("turnserver"), tmp_path):
            for home, said in zip((lab.a, lab.b), await asyncio.gather(kind_of(lab.a, lab), kind_of(lab.b, lab)), strict=True):
                seen_at = "-" if home.mode is NatMode.UDP_BLOCKED else home.public_address
                assert said == f"{NAMES[home.mode]} {seen_at}\n"
