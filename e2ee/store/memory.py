"""A store that lasts as long as the process: for tests, and for devices that are meant to be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from e2ee.errors import StaleState
from e2ee.store.callbacks import CommitCallbacks
from e2ee.store.interface import ABSENT, Transaction
from salam import ClosedError

__all__ = ["MemoryStore"]

T = TypeVar("T")
_Row = tuple[bytes, int]


class _MemoryTransaction(CommitCallbacks):
    """Writes at once and notes what was there before."""

    def __init__(self, tables: dict[str, dict[bytes, _Row]]) -> None:
        super().__init__()
        self._tables = tables
        self._journal: list[tuple[str, bytes, _Row | None]] = []

    def get(self, table: str, key: bytes) -> bytes | None:
        row = self.get_versioned(table, key)
        return None if row is None else row[0]

    def get_versioned(self, table: str, key: bytes) -> _Row | None:
        rows = self._tables.get(table)
        return None if rows is None else rows.get(key)

    def put(self, table: str, key: bytes, record: bytes) -> None:
        row = self.get_versioned(table, key)
        self._write(table, key, row, (record, (ABSENT if row is None else row[1]) + 1))

    def put_versioned(self, table: str, key: bytes, record: bytes, expected_version: int) -> int:
        row = self.get_versioned(table, key)
        if (ABSENT if row is None else row[1]) != expected_version:
            raise StaleState("the record was changed by somebody else")
        self._write(table, key, row, (record, expected_version + 1))
        return expected_version + 1

    def delete(self, table: str, key: bytes) -> None:
        self.take(table, key)

    def take(self, table: str, key: bytes) -> bytes | None:
        row = self.get_versioned(table, key)
        if row is None:
            return None
        self._write(table, key, row, None)
        return row[0]

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        rows = self._tables.get(table, {})
        return sorted((key, record) for key, (record, _) in rows.items() if key.startswith(prefix))

    def count(self, table: str) -> int:
        return len(self._tables.get(table, ()))

    def clear(self, table: str) -> None:
        for key in list(self._tables.get(table, ())):
            self.take(table, key)

    def undo(self) -> None:
        """Put back everything that was written."""
        for table, key, before in reversed(self._journal):
            self._set(table, key, before)

    def _write(self, table: str, key: bytes, before: _Row | None, row: _Row | None) -> None:
        self._journal.append((table, key, before))
        self._set(table, key, row)

    def _set(self, table: str, key: bytes, row: _Row | None) -> None:
        if row is not None:
            self._tables.setdefault(table, {})[key] = row
            return
        rows = self._tables[table]
        del rows[key]
        if not rows:
            del self._tables[table]


class MemoryStore:
    """Keeps records in dictionaries; the work runs inline, in the caller's thread, and is still all or nothing.

    It has no bound of its own: what a device keeps is bounded by `Limits`, and nothing else writes here.
    """

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, _Row]] = {}
        self._closed = False

    async def run(self, work: Callable[[Transaction], T]) -> T:
        if self._closed:
            raise ClosedError("the store is closed")
        transaction = _MemoryTransaction(self._tables)
        try:
            result = work(transaction)
            transaction.finish()
        except BaseException:
            transaction.undo()
            raise
        transaction.committed()
        return result

    async def close(self) -> None:
        self._closed = True

    def copy(self) -> MemoryStore:
        """Another store with the same records, as copying the file of a closed one would give."""
        other = MemoryStore()
        other._tables = {table: dict(rows) for table, rows in self._tables.items()}
        return other
