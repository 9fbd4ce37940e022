"""The commands ``salam bench …``: measurements of this machine that anybody can repeat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.report import BenchReport

__all__ = ["bench_app"]

bench_app = typer.Typer(name="bench", help="Measure on this machine.", no_args_is_help=True)


@bench_app.command("e2ee")
def measure_e2ee(
    against: Annotated[str, typer.Option(help="Libraries to compare with, by commas: vodozemac, olm, doubleratchet.")] = "",
    rounds: Annotated[int, typer.Option(help="Rounds; the figures are their medians.")] = 5,
    operations: Annotated[int, typer.Option(help="Messages per figure and round.")] = 2_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when a floor of the project is not reached.")] = False,
) -> None:
    """Measure end-to-end encryption beside other libraries: one process, in turns, in CPU time."""
    from bench.encryption import measure_encryption

    report = measure_encryption(_names(against), rounds=rounds, operations=operations)
    _show(report, as_json=as_json, check=check)


@bench_app.command("turn")
def measure_turn(
    against: Annotated[str, typer.Option(help="TURN clients to compare with: aioice.")] = "",
    rounds: Annotated[int, typer.Option(help="Rounds; the figures are their medians.")] = 5,
    packets: Annotated[int, typer.Option(help="Datagrams per figure and round.")] = 4_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when a floor of the project is not reached.")] = False,
) -> None:
    """Measure the TURN client beside others: one coturn on the loopback, in turns, in CPU time."""
    from bench.relaying import measure_relaying

    report = measure_relaying(_names(against), rounds=rounds, packets=packets)
    _show(report, as_json=as_json, check=check)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _show(report: BenchReport, *, as_json: bool, check: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        from rich.console import Console

        report.print_tables(Console())
    for line in report.failed:
        typer.echo(f"below the floor: {line}", err=True)
    if check and report.failed:
        raise typer.Exit(1)
