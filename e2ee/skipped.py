"""Message keys that were skipped, kept for messages that come late, within bounds (Double Ratchet, sections 2.6 and 6.4).

Keys lie by receiving chain and then by number. A chain goes when its last key does, so each chain here is one header key to try.
What is added and removed is noted, so that a store writes only that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from e2ee.encoding import Reader, u8, u32, u64
from e2ee.errors import MalformedMessage
from e2ee.limits import Limits
from e2ee.primitives import AESGCM, KEY_BYTES, NoPickle

__all__ = ["HeaderKey", "SkippedChanges", "SkippedKey", "SkippedKeys"]

_VERSION = 1


class HeaderKey(NoPickle):
    """A header key with its cipher, which costs as much to set up as a header costs to open."""

    __slots__ = ("cipher", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.cipher = AESGCM(key)


@dataclass(frozen=True, slots=True)
class SkippedKey(NoPickle):
    """One message key and when it was skipped, in Unix seconds."""

    message_key: bytes = field(repr=False)
    added: int


@dataclass(frozen=True, slots=True)
class SkippedChanges(NoPickle):
    """What a store must write and delete: pairs of key and record, and keys. A key has 8 bytes and is unique in its session."""

    added: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    removed: tuple[bytes, ...]


class _Chain(NoPickle):
    __slots__ = ("header", "keys")

    def __init__(self, header: HeaderKey) -> None:
        self.header = header
        self.keys: dict[int, SkippedKey] = {}


class SkippedKeys(NoPickle):
    """The skipped keys of one session. A ``step`` is the number of a receiving chain, counted from 1."""

    __slots__ = ("_added", "_chains", "_count", "_removed")

    def __init__(self) -> None:
        self._chains: dict[int, _Chain] = {}
        self._count = 0
        self._added: dict[tuple[int, int], SkippedKey] = {}
        self._removed: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self._count

    def chains(self) -> list[tuple[int, HeaderKey]]:
        """Steps and header keys of the chains that have skipped keys, oldest first."""
        return [(step, chain.header) for step, chain in self._chains.items()]

    def get(self, step: int, number: int) -> SkippedKey | None:
        chain = self._chains.get(step)
        return None if chain is None else chain.keys.get(number)

    def stale(self, step: int, now: float, limits: Limits) -> list[tuple[int, int]]:
        """Which keys are too old when ``step`` is the present chain: that many steps, or seconds, behind.

        Keys are in the order of their age, so this looks at no more than one key that stays.
        """
        found: list[tuple[int, int]] = []
        oldest_step, oldest_added = step - limits.max_skipped_chains, now - limits.skipped_lifetime_s
        for key_step, chain in self._chains.items():
            for number, key in chain.keys.items():
                if key_step > oldest_step and key.added > oldest_added:
                    return found
                found.append((key_step, number))
        return found

    def add(self, step: int, header: HeaderKey, keys: Iterable[tuple[int, SkippedKey]]) -> None:
        """Keep ``keys`` of chain ``step``, which have rising numbers."""
        for number, key in keys:
            if step not in self._chains:
                self._chains[step] = _Chain(header)
            self._chains[step].keys[number] = key
            self._added[step, number] = key
            self._count += 1

    def remove(self, step: int, number: int) -> None:
        """Drop a key that is there."""
        chain = self._chains[step]
        del chain.keys[number]
        if not chain.keys:
            del self._chains[step]
        self._count -= 1
        # A key that no store has seen yet needs no deletion there.
        if self._added.pop((step, number), None) is None:
            self._removed.append((step, number))

    def purge(self, step: int, now: float, limits: Limits) -> None:
        """Drop what is `stale`."""
        for place in self.stale(step, now, limits):
            self.remove(*place)

    def drain_changes(self) -> SkippedChanges:
        """What changed since the last call, or since loading."""
        added = tuple((_store_key(place), _record(key)) for place, key in self._added.items())
        changes = SkippedChanges(added, tuple(map(_store_key, self._removed)))
        self._added, self._removed = {}, []
        return changes

    @classmethod
    def load(cls, headers: dict[int, HeaderKey], stored: Iterable[tuple[bytes, bytes]]) -> SkippedKeys:
        """Take back what a store holds; `MalformedMessage` for what `drain_changes` did not give for these chains."""
        self = cls()
        for store_key, record in sorted(stored):
            reader = Reader(store_key + record)
            step, number, version = reader.u32(), reader.u32(), reader.u8()
            key = SkippedKey(reader.take(KEY_BYTES), reader.u64())
            reader.done()
            if version != _VERSION or step not in headers:
                raise MalformedMessage("a stored skipped key does not belong to its session")
            self.add(step, headers[step], ((number, key),))
        self.drain_changes()
        return self


def _store_key(place: tuple[int, int]) -> bytes:
    return u32(place[0]) + u32(place[1])


def _record(key: SkippedKey) -> bytes:
    return u8(_VERSION) + key.message_key + u64(key.added)
