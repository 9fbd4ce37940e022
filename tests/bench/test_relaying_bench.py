"""The comparison of TURN clients through a real server; figures are ratios of one run and never wall time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from bench.relaying import PEERS, measure_relaying
from salam import ConfigError, ResourceError
from salam_server.cli import app

NAMES = {"send_us", "recv_us", "tcp_parse_us_4k", "tcp_parse_us_4m", "refreshes_per_burst", "channel_setup_ms"}


def test_every_figure_is_there_for_both(need_program: Callable[..., str]) -> None:
    need_program("turnserver")
    # A process of its own: the loop stands still on purpose while datagrams gather, which the tests' loops must never do.
    command = [sys.executable, "-m", "salam_server.cli", "bench", "turn", "--json", "--against", "aioice", "--rounds", "1"]
    result = subprocess.run([*command, "--packets", "640"], capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["scenario"] == "turn"
    assert set(report["metrics"]) == set(report["peers"]["aioice"]) == set(report["ratios"]["aioice"]) == NAMES
    assert all(one["value"] > 0 for one in report["metrics"].values())
    assert report["metrics"]["refreshes_per_burst"]["value"] == 1
    assert report["peers"]["aioice"]["refreshes_per_burst"]["value"] == 100
    # Twice the floors: what a regression by two looks like, and noise does not. `salam bench turn --check` holds to the floors.
    assert report["ratios"]["aioice"]["send_us"]["value"] < 0.5
    assert report["ratios"]["aioice"]["recv_us"]["value"] < 0.5
    assert report["ratios"]["aioice"]["tcp_parse_us_4m"]["value"] < 0.1


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--against", "libnice"], "libnice"), (["--rounds", "0"], "rounds"), (["--packets", "-1"], "-1")]
)
def test_wrong_arguments_are_named(arguments: list[str], named: str) -> None:
    result = CliRunner().invoke(app, ["bench", "turn", *arguments])
    assert isinstance(result.exception, ConfigError)
    assert named in result.exception.message


def test_a_missing_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(PEERS) == {"aioice"}
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ResourceError, match="coturn is not installed here"):
        measure_relaying(["aioice"], rounds=1, packets=1)
