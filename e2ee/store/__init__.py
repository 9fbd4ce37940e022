"""Where a device keeps its state: the interface, a store in memory and a sealed one in a file."""

from __future__ import annotations

from e2ee.store.interface import ABSENT as ABSENT
from e2ee.store.interface import Store as Store
from e2ee.store.interface import StoreError as StoreError
from e2ee.store.interface import Transaction as Transaction
from e2ee.store.memory import MemoryStore as MemoryStore
from e2ee.store.sqlite import Durability as Durability
from e2ee.store.sqlite import SqliteStore as SqliteStore

__all__ = ["ABSENT", "Durability", "MemoryStore", "SqliteStore", "Store", "StoreError", "Transaction"]
