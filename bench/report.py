"""What a measurement prints: one JSON shape for all scenarios, and tables for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BenchReport", "Figure", "Rounds", "figure", "machine", "ratio_figures"]

# A median of this many digits tells more than two runs of a shared machine have in common.
_DIGITS = 4

Rounds = Sequence[Mapping[str, float]]
"""What one contender was measured at, a mapping of names to values for each round; rounds of the same number were run in turn."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: the median of its rounds. ``spread`` is half the distance between the quartiles, in the same unit."""

    value: float
    unit: str
    spread: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "unit": self.unit, "spread": self.spread}


def figure(samples: Sequence[float], unit: str) -> Figure:
    """Sum up the samples of all rounds; of a single one the spread is 0, for nothing is known of it."""
    if len(samples) < 2:
        return Figure(_rounded(samples[0]), unit)
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return Figure(_rounded(median(samples)), unit, _rounded((high - low) / 2))


def ratio_figures(own: Rounds, other: Rounds, pairs: Mapping[str, str]) -> dict[str, Figure]:
    """Ours to theirs, each ratio taken within its round, so that what slows the machine slows both.

    ``pairs`` maps names of ours to the names of theirs that they are compared with.
    """
    return {
        name: figure([mine[name] / theirs[counterpart] for mine, theirs in zip(own, other, strict=True)], "ratio")
        for name, counterpart in pairs.items()
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "processor": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


@dataclass(frozen=True, slots=True)
class BenchReport:
    """One scenario, measured.

    ``metrics`` are ours; ``peers`` what others reached in the same run, in turns with ours; ``ratios`` ours to theirs. ``groups``
    holds further figures of ours under a name (``stores``). ``method`` says how it was measured, ``floors`` what the project holds
    itself to, and ``failed`` names every floor that was not reached.
    """

    scenario: str
    title: str
    metrics: dict[str, Figure]
    versions: dict[str, str]
    method: dict[str, Any]
    peers: dict[str, dict[str, Figure]] = field(default_factory=dict)
    ratios: dict[str, dict[str, Figure]] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, Figure]]] = field(default_factory=dict)
    floors: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints: what every scenario has, and then what this one adds."""
        return {
            "scenario": self.scenario,
            "machine": machine(),
            "versions": self.versions,
            "metrics": _plain(self.metrics),
            "ratios": {peer: _plain(figures) for peer, figures in self.ratios.items()},
            "peers": {peer: _plain(figures) for peer, figures in self.peers.items()},
            **{name: {label: _plain(figures) for label, figures in rows.items()} for name, rows in self.groups.items()},
            "method": self.method,
            "floors": self.floors,
            "failed": self.failed,
        }

    def print_tables(self, console: Console) -> None:
        """Print it for people."""
        console.print(_table(self.title, {"salam": self.metrics, **self.peers}))
        if self.ratios:
            console.print(_table("Ours to theirs", self.ratios))
        for name, rows in self.groups.items():
            console.print(_table(name.replace("_", " ").capitalize(), rows))


def _plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: one.as_json() for name, one in figures.items()}


def _table(title: str, rows: Mapping[str, Mapping[str, Figure]]) -> Any:
    from rich.table import Table

    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    units = {name: one.unit for row in rows.values() for name, one in row.items()}
    made = Table("", title=title)
    for name in columns:
        made.add_column(f"{name}\n[dim]{units[name]}[/dim]", overflow="fold", justify="right")
    for label, row in rows.items():
        made.add_row(label, *(f"{row[name].value:,.4g}" if name in row else "-" for name in columns))
    return made
