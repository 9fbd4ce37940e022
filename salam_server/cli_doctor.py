"""``salam doctor``: is this machine fit to serve, and what works of a TURN server?"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from salam_server.checks import Check
    from salam_server.settings import Settings
    from salam_server.turn_doctor import TurnStep

__all__ = ["diagnose_machine", "diagnose_turn", "turn_flags"]

# Who asks, in the log of the server and for its quotas.
_TURN_USER = "salam-doctor"
_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]"}


def diagnose_machine(settings: Settings, folder: Path, *, as_json: bool) -> bool:
    """Run every check, print the results, and return whether all is well; ``folder`` may hold packages that shadow ours."""
    from rich.console import Console
    from rich.table import Table

    from salam_server.api import dump_json
    from salam_server.checks import run_checks

    checks = [*run_checks(settings, folder=folder), *_turn_checks(settings)]
    well = all(check.state != "failed" for check in checks)
    if as_json:
        typer.echo(dump_json({"ok": well, "checks": [dataclasses.asdict(check) for check in checks]}))
        return well
    table = Table("check", "state", "detail", "what to do", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.name, _MARKS[check.state], check.detail, check.fix)
    Console().print(table)
    return well


def turn_flags(url: str, username: str | None, password: str | None, secret: str | None) -> dict[str, Any]:
    """Return the flags of the command as settings: credentials that are given replace those of the settings, of either kind.

    Raises ConfigError for a URL that browsers get no relay from.
    """
    from salam_server.turn_doctor import require_turn_uri
    from turn_client.uri import parse_server_uri

    require_turn_uri(parse_server_uri(url))
    flags: dict[str, Any] = {"turn_urls": url, "turn_username": username, "turn_password": password, "turn_secret": secret}
    if secret is not None:
        flags |= {"turn_username": username or "", "turn_password": password or ""}
    elif username is not None or password is not None:
        flags["turn_secret"] = ""
    return flags


def diagnose_turn(settings: Settings, *, as_json: bool) -> bool:
    """Go through the steps of a call at the one TURN server of ``settings``, print each, and return whether all is well."""
    from rich.console import Console

    from salam_server.api import dump_json

    (url,) = settings.turn_urls
    console = Console(soft_wrap=True)
    well, steps = True, []

    async def examine() -> None:
        nonlocal well
        async for step in _examined(settings, url, thorough=True):
            well = well and step.state != "failed"
            steps.append(step)
            if not as_json:
                console.print(_line(step), highlight=False)

    asyncio.run(examine())
    if as_json:
        typer.echo(dump_json({"ok": well, "turn": url, "steps": [dataclasses.asdict(step) for step in steps]}))
    return well


def _line(step: TurnStep) -> str:
    from rich.markup import escape

    mark = _MARKS[step.state] + " " * (7 - len(step.state))
    fix = f"\n{'':24}-> {escape(step.fix)}" if step.fix else ""
    return f"{step.transport:4}{step.step:12}{mark} {step.took_ms:7.0f} ms  {escape(step.detail)}{fix}"


def _examined(settings: Settings, url: str, *, thorough: bool) -> Any:
    from salam_server.turn import turn_credentials
    from salam_server.turn_doctor import examine_turn
    from turn_client.uri import parse_server_uri

    credentials = turn_credentials(settings, _TURN_USER, time.time())
    return examine_turn(parse_server_uri(url), credentials, thorough=thorough)


def _turn_checks(settings: Settings) -> Sequence[Check]:
    """Ask every TURN server of the settings for a relay; one line for each URL."""
    from salam_server.checks import Check

    async def ask(url: str) -> Check:
        seen = [step async for step in _examined(settings, url, thorough=False)]
        # The one that says most: what failed, or else the relay that was given.
        told = next((step for step in seen if step.state == "failed"), seen[-1])
        return Check(url, told.state, f"{told.transport} {told.step}: {told.detail}", told.fix)

    async def ask_all() -> list[Check]:
        return list(await asyncio.gather(*map(ask, settings.turn_urls)))

    return asyncio.run(ask_all()) if settings.turn_urls else []
