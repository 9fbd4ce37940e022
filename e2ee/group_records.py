"""What of a group has to be stored: named records, so that a message rewrites one of them and not all.

Names are relative to the group: the store puts the group's id before them.
"""

from __future__ import annotations

from collections.abc import Callable

from e2ee.content import KEY_ID_BYTES
from e2ee.encoding import Reader, lp, u32, user_bytes
from e2ee.errors import MalformedMessage

__all__ = [
    "SENDING_NAME",
    "STATE_NAME",
    "Address",
    "Journal",
    "RecordKind",
    "holder_name",
    "key_name",
    "read_name",
    "skipped_prefix",
]

# A device: user id and device id.
Address = tuple[str, int]


class RecordKind:
    """The first byte of a name."""

    STATE = b"s"
    SENDING = b"o"
    HOLDER = b"h"
    KEY = b"r"
    SKIPPED = b"k"


STATE_NAME = RecordKind.STATE
SENDING_NAME = RecordKind.SENDING


def _address(address: Address) -> bytes:
    return lp(user_bytes(address[0])) + u32(address[1])


def holder_name(address: Address) -> bytes:
    """The name of the record that a device has this device's sender key."""
    return RecordKind.HOLDER + _address(address)


def key_name(address: Address, key_id: bytes) -> bytes:
    """The name of the record of another device's sender key."""
    return RecordKind.KEY + _address(address) + key_id


def skipped_prefix(address: Address, key_id: bytes) -> bytes:
    """What the names of the records of a sender key's skipped message keys begin with; the message's number, a u32, ends them."""
    return RecordKind.SKIPPED + _address(address) + key_id


def read_name(name: bytes) -> tuple[bytes, Address, bytes, int]:
    """The kind, device, key id and number in the name of a holder, key or skipped key; `MalformedMessage` for another name."""
    reader = Reader(name)
    kind = reader.take(1)
    if kind not in (RecordKind.HOLDER, RecordKind.KEY, RecordKind.SKIPPED):
        raise MalformedMessage("a record of a group has an unknown name")
    address = (reader.user(), reader.device_id())
    key_id = b"" if kind == RecordKind.HOLDER else reader.take(KEY_ID_BYTES)
    number = reader.u32() if kind == RecordKind.SKIPPED else 0
    reader.done()
    return kind, address, key_id, number


class Journal:
    """Which records changed since they were last taken out.

    It never holds more than the records that are there and those that the store has: what came and went in between is forgotten.
    """

    __slots__ = ("_changed", "_stored")

    def __init__(self, stored: set[bytes]) -> None:
        self._stored = stored
        self._changed: dict[bytes, Callable[[], bytes] | None] = {}

    def put(self, name: bytes, record: Callable[[], bytes]) -> None:
        """The record of this name is new or changed; ``record`` writes it when it is taken out."""
        self._changed[name] = record

    def delete(self, name: bytes) -> None:
        """The record of this name is gone."""
        if name in self._stored:
            self._changed[name] = None
        else:
            self._changed.pop(name, None)

    def drain(self) -> dict[bytes, bytes | None]:
        """The changed records by name, None for one to delete. The caller stores all of them in one transaction."""
        changes = {name: None if record is None else record() for name, record in self._changed.items()}
        for name, record in changes.items():
            if record is None:
                self._stored.discard(name)
            else:
                self._stored.add(name)
        self._changed.clear()
        return changes
