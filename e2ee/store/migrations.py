"""How records of an earlier release become those of this one.

A migration is a pure function of one record: it is given ``(table, key, record)`` and returns the records that stand in its place,
one, several or none; ``migrations[n]`` leads from version n to n + 1. For every released version a file in tests/e2ee/golden/ is
kept for good, and a test opens each with the present code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from e2ee.store.interface import StoreError
from salam import ConfigError

__all__ = ["CURRENT", "FIRST_VERSION", "Entry", "Migration", "Schema"]

Entry = tuple[str, bytes, bytes]
Migration = Callable[[str, bytes, bytes], Iterable[Entry]]

FIRST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Schema:
    """A version of all records, and the way to it from each earlier one (`salam.ConfigError` where a step is missing)."""

    version: int
    migrations: Mapping[int, Migration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sorted(self.migrations) != list(range(FIRST_VERSION, self.version)):
            raise ConfigError(f"a schema of version {self.version} must have one migration for each version before it")

    def check(self, version: int) -> None:
        """`StoreError` ``store_newer`` for a version that only a later release knows."""
        if version > self.version:
            raise StoreError(f"a later release wrote the store: its version is {version}, not {self.version}", code="store_newer")

    def upgrade(self, entries: Iterable[Entry], version: int) -> Iterable[Entry]:
        """The records of ``version`` as those of this schema."""
        for step in range(version, self.version):
            entries = _apply(self.migrations[step], entries)
        return entries


def _apply(migration: Migration, entries: Iterable[Entry]) -> Iterable[Entry]:
    for entry in entries:
        yield from migration(*entry)


# Version 1 is that of profile "salam-e2ee v1": the records of e2ee/records.py and of the groups.
CURRENT = Schema(FIRST_VERSION)
