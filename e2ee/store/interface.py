"""What a device asks of the place where it keeps its state.

A store holds records (bytes) under a table name and a key (bytes). All work is done by a synchronous function inside of one
transaction: all that it wrote is durable when `Store.run` returns, or none of it is. That is what "persist before send" rests on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from e2ee.errors import E2EEError
from salam import ResourceError

__all__ = ["ABSENT", "Store", "StoreError", "Transaction"]

T = TypeVar("T")

# The version of a record that is not there: `put_versioned` with it creates.
ABSENT = 0


class StoreError(E2EEError, ResourceError):
    """The place where the state is kept refuses; nothing was written. ``code`` says why.

    ``store_wrong_key``: the store key is not that of the file. ``store_corrupt``: a record or the file is damaged.
    ``store_foreign``: the file is something else. ``store_newer``: a later release wrote it. ``store_full``: the disk, or the bound
    of the file, is reached (retryable). ``store_busy``: another process holds the file too long (retryable).
    ``store_unavailable``: the file cannot be opened, read or written.
    """

    default_code = "store_unavailable"


class Transaction(Protocol):
    """What a work function may do; valid until that function has returned.

    A key belongs to one table. Every record has a version: 1 when it is made, one more with each write, and after a deletion 1
    again. Table names that begin with ``app.`` are the application's own; a name may hold variable parts, which makes a table for
    each of them that can be scanned and cleared alone.
    """

    def get(self, table: str, key: bytes) -> bytes | None:
        """The record, or None."""

    def get_versioned(self, table: str, key: bytes) -> tuple[bytes, int] | None:
        """The record and its version, or None."""

    def put(self, table: str, key: bytes, record: bytes) -> None:
        """Write the record whatever was there."""

    def put_versioned(self, table: str, key: bytes, record: bytes, expected_version: int) -> int:
        """Write the record if its version is still ``expected_version`` (`ABSENT`: if there is none) and return the new one.

        Raises `StaleState` otherwise.
        """

    def delete(self, table: str, key: bytes) -> None:
        """Remove the record, if there is one."""

    def take(self, table: str, key: bytes) -> bytes | None:
        """The record, or None; it is gone afterwards."""

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Every key that begins with ``prefix``, and its record, in the order of the keys. Costs as much as the whole table."""

    def count(self, table: str) -> int:
        """How many records the table has."""

    def clear(self, table: str) -> None:
        """Remove every record of the table."""

    def before_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after the work function has returned and before the commit; it may still write, and fail it all."""

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once everything is durable, where the work ran; it must not raise. Not called when the work failed."""


class Store(Protocol):
    """A place for one device's state."""

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Call ``work`` in one transaction and return its result once that is durable.

        An exception of ``work`` undoes all that it wrote and is raised here. ``work`` may run in another thread, never twice, and
        never beside another one of this store; it must not wait for anything. A caller that is cancelled meanwhile does not know
        whether the work was committed.

        Raises `StaleState`, `StoreError`, and `salam.ClosedError` after `close`.
        """

    async def close(self) -> None:
        """Give up the file and the thread, once the work under way is done; repeating it is harmless."""
