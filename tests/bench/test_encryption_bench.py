"""The comparison of end-to-end encryption with real peers; figures are ratios of one run and never wall time."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from bench.encryption import PEERS, measure_encryption
from salam import ConfigError, ResourceError
from salam_server.cli import app

NAMES = {"setup", "setup_pq", "encrypt_chain", "decrypt_chain", "ping_pong", "forged_us"}


def test_every_figure_is_there_for_every_peer() -> None:
    result = CliRunner().invoke(
        app, ["bench", "e2ee", "--json", "--against", "vodozemac,olm,doubleratchet", "--rounds", "1", "--operations", "100"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["scenario"] == "e2ee"
    assert report["machine"]["cpus"]
    assert set(report["metrics"]) == NAMES
    assert set(report["peers"]) == set(report["ratios"]) == {*PEERS}
    for peer in PEERS:
        assert set(report["peers"][peer]) == NAMES - {"setup_pq"}
        assert set(report["ratios"][peer]) == NAMES - {"forged_us"}
        assert report["versions"][peer]
    for row in (report["metrics"], *report["peers"].values(), *report["ratios"].values(), *report["stores"].values()):
        assert all(one["value"] > 0 and one["unit"] and one["spread"] == 0 for one in row.values())
    assert set(report["stores"]) == {"memory", "sqlite_normal", "sqlite_full"}
    assert all(set(row) == {"encrypt", "decrypt", "encrypt_batch", "decrypt_batch"} for row in report["stores"].values())


def test_ours_stays_within_reach_of_the_floors() -> None:
    # Half of each floor: what a regression by two looks like, and noise does not. `salam bench e2ee --check` holds to the floors.
    report = measure_encryption(["vodozemac", "doubleratchet"], rounds=3, operations=400, stores=False)
    assert report.ratios["vodozemac"]["setup"].value > 0.3
    assert report.ratios["vodozemac"]["encrypt_chain"].value > 0.75
    assert report.ratios["vodozemac"]["ping_pong"].value > 0.5
    assert report.ratios["doubleratchet"]["encrypt_chain"].value > 2.5
    assert report.ratios["doubleratchet"]["setup"].value > 2.5


def test_the_tables_are_for_people() -> None:
    result = CliRunner().invoke(app, ["bench", "e2ee", "--rounds", "1", "--operations", "20"])
    assert result.exit_code == 0, result.output
    assert "salam" in result.output


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--against", "openssl"], "openssl"), (["--rounds", "0"], "rounds"), (["--operations", "-1"], "-1")]
)
def test_wrong_arguments_are_named(arguments: list[str], named: str) -> None:
    result = CliRunner().invoke(app, ["bench", "e2ee", *arguments])
    assert isinstance(result.exception, ConfigError)
    assert named in result.exception.message


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("no module")

    monkeypatch.setitem(PEERS, "olm", missing)
    with pytest.raises(ResourceError, match=r"olm is not installed here; pip install 'salam-rtc\[bench\]'"):
        measure_encryption(["olm"], rounds=1, operations=1)
