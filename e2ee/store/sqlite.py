"""A store in one SQLite file, sealed record by record.

All of SQLite runs in one thread of the store's own; the event loop never waits for the disk. The file is in write-ahead mode, so a
crash at any point leaves all of a transaction or nothing. Other processes may have the file open too: transactions take turns.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TypeVar

from e2ee.primitives import system_random
from e2ee.store.interface import StoreError, Transaction
from e2ee.store.migrations import CURRENT, Entry, Schema
from e2ee.store.sealing import SALT_BYTES, Sealer
from e2ee.store.sqlite_transaction import SqliteTransaction
from salam import ClosedError, ConfigError

__all__ = ["Durability", "SqliteStore"]

T = TypeVar("T")

# "SLE2": how such a file is told from other SQLite files.
_APPLICATION_ID = 0x534C4532
# Longer than any transaction of ours, even a batch on a slow disk; a process that holds the file longer is stuck.
_BUSY_TIMEOUT_S = 5.0
# About a million records of 1 kB: far above what one device's contacts need, and a bound on what they can make it write.
_MAX_BYTES = 1024**3
_PAGE_BYTES = 4096
_CREATE = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE records (table_name BLOB, row_name BLOB, version INTEGER NOT NULL, sealed BLOB NOT NULL,"
    " PRIMARY KEY (table_name, row_name)) WITHOUT ROWID",
)
# SQLite's result codes, by how their names begin, and what they mean here.
_CODES = {
    "SQLITE_BUSY": ("another process holds the store too long", "store_busy", True),
    "SQLITE_FULL": ("the disk is full, or the store has reached its bound", "store_full", True),
    "SQLITE_CORRUPT": ("the file of the store is damaged", "store_corrupt", False),
    "SQLITE_NOTADB": ("the file is no store", "store_foreign", False),
}


class Durability(Enum):
    """What a finished transaction has survived. The names are SQLite's values of ``synchronous``."""

    # A loss of power: one fsync for each transaction.
    FULL = "FULL"
    # A crash of the process; a loss of power may take the last transactions with it, and then messages fail as with an old backup.
    NORMAL = "NORMAL"


class SqliteStore:
    """Keeps records in the file ``path``, which is made when it is not there, readable by its owner alone.

    ``store_key``: 32 secret bytes that are kept elsewhere. ``max_bytes``: what the file may grow to (`StoreError` ``store_full``
    beyond). ``busy_timeout_s``: how long to wait for another process. ``schema`` is this release's; only tests pass another.

    Nothing is opened before the first `run`. It raises `StoreError` with the codes named there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        store_key: bytes,
        durability: Durability = Durability.FULL,
        *,
        max_bytes: int = _MAX_BYTES,
        busy_timeout_s: float = _BUSY_TIMEOUT_S,
        schema: Schema = CURRENT,
    ) -> None:
        # Made here only to refuse a wrong length early; the file's salt is not known yet.
        Sealer(store_key, bytes(SALT_BYTES))
        if max_bytes < _PAGE_BYTES * 16:
            raise ConfigError(f"max_bytes is {max_bytes}; it must be at least {_PAGE_BYTES * 16}")
        self._path = Path(path)
        self._store_key = store_key
        self._durability = durability
        self._max_pages = max_bytes // _PAGE_BYTES
        self._busy_timeout_s = busy_timeout_s
        self._schema = schema
        # One thread: SQLite's connection belongs to it, and transactions are in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ThreadPoolExecutor-e2ee-store")
        self._connection: sqlite3.Connection | None = None
        self._sealer: Sealer | None = None
        self._closed = False

    async def run(self, work: Callable[[Transaction], T]) -> T:
        if self._closed:
            raise ClosedError("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._perform, work)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._release)
        self._thread.shutdown(wait=False)

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _perform(self, work: Callable[[Transaction], T]) -> T:
        try:
            connection, sealer = self._opened()
            with _Immediate(connection):
                self._schema.check(_number(connection, "user_version"))
                transaction = SqliteTransaction(connection, sealer)
                result = work(transaction)
                transaction.finish()
            transaction.committed()
            return result
        except sqlite3.Error as error:
            raise _store_error(error) from error

    def _opened(self) -> tuple[sqlite3.Connection, Sealer]:
        if self._connection is None or self._sealer is None:
            try:
                self._path.touch(mode=0o600, exist_ok=True)
            except OSError as error:
                raise StoreError(f"the file of the store cannot be opened ({type(error).__name__})") from error
            connection = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
            try:
                self._sealer = self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection, self._sealer

    def _prepare(self, connection: sqlite3.Connection) -> Sealer:
        """Make or check the file. Nothing is written to a file that is not ours."""
        if not _is_ours(connection):
            raise StoreError("the file is no store", code="store_foreign")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._durability.value}")
        # What is deleted is overwritten, for a key that is gone must not lie in a free page.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
        with _Immediate(connection):
            version = _number(connection, "user_version")
            if version == 0:
                return self._create(connection)
            self._schema.check(version)
            sealer = self._unlock(connection)
            if version < self._schema.version:
                self._migrate(connection, sealer, version)
            return sealer

    def _create(self, connection: sqlite3.Connection) -> Sealer:
        for statement in _CREATE:
            connection.execute(statement)
        salt = system_random(SALT_BYTES)
        sealer = Sealer(self._store_key, salt)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("salt", salt), ("check", sealer.check_value())])
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {self._schema.version}")
        return sealer

    def _unlock(self, connection: sqlite3.Connection) -> Sealer:
        meta = dict(connection.execute("SELECT name, value FROM meta"))
        if meta.keys() != {"salt", "check"}:
            raise StoreError("the file of the store is damaged", code="store_corrupt")
        sealer = Sealer(self._store_key, meta["salt"])
        if not sealer.accepts(meta["check"]):
            raise StoreError("the store key is not the one that the file was made with", code="store_wrong_key")
        return sealer

    def _migrate(self, connection: sqlite3.Connection, sealer: Sealer, version: int) -> None:
        def entries() -> Iterator[Entry]:
            for row in connection.execute("SELECT table_name, row_name, version, sealed FROM records_before"):
                yield sealer.open(*row)

        connection.execute("ALTER TABLE records RENAME TO records_before")
        connection.execute(_CREATE[1])
        transaction = SqliteTransaction(connection, sealer)
        for table, key, record in self._schema.upgrade(entries(), version):
            transaction.put(table, key, record)
        connection.execute("DROP TABLE records_before")
        connection.execute(f"PRAGMA user_version = {self._schema.version}")


class _Immediate:
    """A transaction that holds the right to write from its begin on, so that what it read is current when it writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            # Some errors have undone it already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _is_ours(connection: sqlite3.Connection) -> bool:
    if _number(connection, "application_id") == _APPLICATION_ID:
        return True
    return not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    value: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return value


def _store_error(error: sqlite3.Error) -> StoreError:
    name = getattr(error, "sqlite_errorname", "")
    for begin, (message, code, retryable) in _CODES.items():
        if name.startswith(begin):
            return StoreError(message, code=code, retryable=retryable)
    return StoreError(f"the file of the store cannot be used ({name or type(error).__name__})")
