"""Reading and writing sealed records inside of a transaction that `SqliteStore` has begun."""

from __future__ import annotations

import sqlite3

from e2ee.errors import StaleState
from e2ee.store.callbacks import CommitCallbacks
from e2ee.store.interface import ABSENT
from e2ee.store.sealing import Sealer

__all__ = ["SqliteTransaction"]

_GET = "SELECT sealed, version FROM records WHERE table_name = ? AND row_name = ?"
_VERSION = "SELECT version FROM records WHERE table_name = ? AND row_name = ?"
_PUT = "INSERT OR REPLACE INTO records (table_name, row_name, version, sealed) VALUES (?, ?, ?, ?)"
_CREATE = "INSERT OR IGNORE INTO records (table_name, row_name, version, sealed) VALUES (?, ?, ?, ?)"
_UPDATE = "UPDATE records SET version = ?, sealed = ? WHERE table_name = ? AND row_name = ? AND version = ?"
_DELETE = "DELETE FROM records WHERE table_name = ? AND row_name = ?"
_SCAN = "SELECT row_name, version, sealed FROM records WHERE table_name = ?"
_COUNT = "SELECT COUNT(*) FROM records WHERE table_name = ?"
_CLEAR = "DELETE FROM records WHERE table_name = ?"


class SqliteTransaction(CommitCallbacks):
    """See `Transaction`. The file's rows are named and sealed by the store's `Sealer`."""

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        super().__init__()
        self._execute = connection.execute
        self._sealer = sealer

    def get(self, table: str, key: bytes) -> bytes | None:
        row = self.get_versioned(table, key)
        return None if row is None else row[0]

    def get_versioned(self, table: str, key: bytes) -> tuple[bytes, int] | None:
        names = self._names(table, key)
        row = self._execute(_GET, names).fetchone()
        if row is None:
            return None
        sealed, version = row
        return self._sealer.open(*names, version, sealed)[2], version

    def put(self, table: str, key: bytes, record: bytes) -> None:
        names = self._names(table, key)
        version = self._version(names) + 1
        self._execute(_PUT, (*names, version, self._sealer.seal(table, key, names[1], version, record)))

    def put_versioned(self, table: str, key: bytes, record: bytes, expected_version: int) -> int:
        names, version = self._names(table, key), expected_version + 1
        sealed = self._sealer.seal(table, key, names[1], version, record)
        if expected_version == ABSENT:
            written = self._execute(_CREATE, (*names, version, sealed))
        else:
            written = self._execute(_UPDATE, (version, sealed, *names, expected_version))
        if not written.rowcount:
            raise StaleState("the record was changed by somebody else")
        return version

    def delete(self, table: str, key: bytes) -> None:
        self._execute(_DELETE, self._names(table, key))

    def take(self, table: str, key: bytes) -> bytes | None:
        record = self.get(table, key)
        if record is not None:
            self.delete(table, key)
        return record

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        table_name = self._sealer.table_name(table)
        rows = self._execute(_SCAN, (table_name,)).fetchall()
        opened = (self._sealer.open(table_name, *row) for row in rows)
        return sorted((key, record) for _, key, record in opened if key.startswith(prefix))

    def count(self, table: str) -> int:
        number: int = self._execute(_COUNT, (self._sealer.table_name(table),)).fetchone()[0]
        return number

    def clear(self, table: str) -> None:
        self._execute(_CLEAR, (self._sealer.table_name(table),))

    def _names(self, table: str, key: bytes) -> tuple[bytes, bytes]:
        table_name = self._sealer.table_name(table)
        return table_name, self._sealer.row_name(table_name, key)

    def _version(self, names: tuple[bytes, bytes]) -> int:
        row = self._execute(_VERSION, names).fetchone()
        return ABSENT if row is None else row[0]
