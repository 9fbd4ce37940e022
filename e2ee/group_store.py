"""Where a device's groups lie in its store, and what one transaction has read and changed of them.

Each group has a head, whose version rises with every change: that is the compare-and-swap of the group, and by it a group that was
kept in memory is known to be the stored one. Beside it lie the records of its keys (e2ee/group_records.py) and the log of its
operations, which whoever joins has to be shown whole.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from e2ee.certificates import DeviceCertificate
from e2ee.content import SenderKeyDistribution
from e2ee.encoding import Reader, lp, u8, u16, u32
from e2ee.errors import GroupStateMismatch, LimitReached, MalformedMessage, UnsupportedVersion
from e2ee.group import SenderKeyGroup
from e2ee.limits import Limits
from e2ee.primitives import NoPickle, Random
from e2ee.records import device_key
from e2ee.store.interface import ABSENT, StoreError, Transaction

__all__ = ["GROUPS", "WAITING", "GroupCache", "GroupSpace", "SignedOperation", "operations_table", "records_table"]

# Table names. What has a variable part is a table that is scanned or cleared alone.
GROUPS = "groups"
# Sender keys that came before the group or the operation that they are for, by the device that gave them.
WAITING = "group_keys_waiting"

_VERSION = 1
# A head holds random bytes, so that a group that was forgotten and joined again is another one.
_HEAD_BYTES = 8
# With all 1,024 devices having sent, and nothing skipped, a group takes about 2 MB.
_GROUPS_CACHED = 32


def records_table(group_id: bytes) -> str:
    """The records of one group, by their names in it."""
    return f"group/{group_id.hex()}"


def operations_table(group_id: bytes) -> str:
    """The log of one group, by epoch."""
    return f"group_operations/{group_id.hex()}"


@dataclass(frozen=True, slots=True)
class SignedOperation:
    """One operation of a log, and the certificate of the device that signed it, as it was when this device took the operation."""

    certificate: bytes
    operation: bytes

    def encode(self) -> bytes:
        return u8(_VERSION) + lp(self.certificate) + self.operation

    @staticmethod
    def parse(record: bytes) -> SignedOperation:
        reader = _open(record)
        return SignedOperation(reader.lp(), reader.rest())


class GroupCache(NoPickle):
    """Groups as they are in the store, by their id; the ones used last."""

    def __init__(self) -> None:
        self._groups: OrderedDict[bytes, tuple[tuple[bytes, int], SenderKeyGroup]] = OrderedDict()

    def take(self, group_id: bytes, head: tuple[bytes, int]) -> SenderKeyGroup | None:
        """The group of that head and version; it is the caller's own then, for a group changes with its use."""
        kept = self._groups.pop(group_id, None)
        return kept[1] if kept is not None and kept[0] == head else None

    def keep(self, group_id: bytes, head: tuple[bytes, int], group: SenderKeyGroup) -> None:
        """Keep what the store holds under ``head``."""
        self._groups[group_id] = (head, group)
        if len(self._groups) > _GROUPS_CACHED:
            self._groups.popitem(last=False)


@dataclass(slots=True)
class _Opened(NoPickle):
    group: SenderKeyGroup
    head: bytes
    version: int


class GroupSpace(NoPickle):
    """See the module. Made once for each transaction and of no use after it."""

    def __init__(self, tx: Transaction, own: DeviceCertificate, cache: GroupCache, limits: Limits) -> None:
        self.tx = tx
        self._own = own
        self._cache = cache
        self._limits = limits
        self._opened: dict[bytes, _Opened] = {}
        tx.before_commit(self._write)
        tx.after_commit(self._keep)

    def ids(self) -> list[bytes]:
        """The ids of all groups."""
        return sorted({key for key, _ in self.tx.scan(GROUPS)} | self._opened.keys())

    def find(self, group_id: bytes) -> SenderKeyGroup | None:
        """The group, or None where there is none of that id. What it changes is written before the commit."""
        opened = self._opened.get(group_id)
        if opened is None:
            row = self.tx.get_versioned(GROUPS, group_id)
            if row is None:
                return None
            with _stored():
                _check_head(row[0])
            group = self._cache.take(group_id, row)
            if group is None:
                records = dict(self.tx.scan(records_table(group_id)))
                with _stored():
                    group = SenderKeyGroup.from_records(self._own, records, limits=self._limits)
            opened = self._opened[group_id] = _Opened(group, *row)
        return opened.group

    def get(self, group_id: bytes) -> SenderKeyGroup:
        """The group; `GroupStateMismatch` where there is none of that id (yet)."""
        group = self.find(group_id)
        if group is None:
            raise GroupStateMismatch("the group is not known here; join it first")
        return group

    def add(self, group: SenderKeyGroup, random: Random) -> None:
        """A group that is new; `LimitReached` where there are as many as there may be. Draws: 8 bytes."""
        if len(self.ids()) >= self._limits.max_groups:
            raise LimitReached(f"a device has at most {self._limits.max_groups} groups (max_groups)")
        self._opened[group.group_id] = _Opened(group, u8(_VERSION) + random(_HEAD_BYTES), ABSENT)

    def drop(self, group_id: bytes) -> None:
        """Delete everything of a group."""
        self._opened.pop(group_id, None)
        self.tx.delete(GROUPS, group_id)
        self.tx.clear(records_table(group_id))
        self.tx.clear(operations_table(group_id))

    def with_record(self, name: bytes) -> list[SenderKeyGroup]:
        """The groups that have a record of this name, and those that this transaction has in its hands, which may have."""
        ids = (key for key in self.ids() if key in self._opened or self.tx.get(records_table(key), name) is not None)
        return [self.get(group_id) for group_id in ids]

    def log(self, group_id: bytes) -> list[SignedOperation]:
        """The whole chain."""
        with _stored():
            return [SignedOperation.parse(record) for _, record in self.tx.scan(operations_table(group_id))]

    def logged(self, group_id: bytes, epoch: int) -> bytes | None:
        """The operation of an epoch, or None."""
        record = self.tx.get(operations_table(group_id), u32(epoch))
        with _stored():
            return None if record is None else SignedOperation.parse(record).operation

    def append(self, group_id: bytes, epoch: int, signed: SignedOperation) -> None:
        """Write the operation of an epoch into the log."""
        self.tx.put(operations_table(group_id), u32(epoch), signed.encode())

    def wait(self, user_id: str, device_id: int, key: SenderKeyDistribution) -> None:
        """Keep a sender key for later; of one device the oldest goes when there are too many."""
        kept = [other for other in self._waiting(user_id, device_id) if other != key]
        self._put_waiting(user_id, device_id, [*kept, key][-self._limits.sender_keys_waiting :])

    def waited(self, user_id: str, device_id: int, group_id: bytes) -> list[SenderKeyDistribution]:
        """The sender keys of a device that wait for this group, the oldest first; they are not kept any longer."""
        kept = self._waiting(user_id, device_id)
        found = [key for key in kept if key.group_id == group_id]
        if found:
            self._put_waiting(user_id, device_id, [key for key in kept if key.group_id != group_id])
        return found

    def forget_waiting(self, user_id: str, device_id: int) -> None:
        """The device is gone: none of its keys counts any more."""
        self.tx.delete(WAITING, device_key(user_id, device_id))

    def _waiting(self, user_id: str, device_id: int) -> list[SenderKeyDistribution]:
        record = self.tx.get(WAITING, device_key(user_id, device_id))
        if record is None:
            return []
        with _stored():
            reader = _open(record)
            keys = [SenderKeyDistribution.read(Reader(reader.lp())) for _ in range(reader.u16())]
            reader.done()
        return keys

    def _put_waiting(self, user_id: str, device_id: int, keys: Iterable[SenderKeyDistribution]) -> None:
        encoded = [lp(key.body()) for key in keys]
        if encoded:
            self.tx.put(WAITING, device_key(user_id, device_id), u8(_VERSION) + u16(len(encoded)) + b"".join(encoded))
        else:
            self.forget_waiting(user_id, device_id)

    def _write(self) -> None:
        for group_id, opened in self._opened.items():
            changes = opened.group.drain_changes()
            if not changes:
                continue
            opened.version = self.tx.put_versioned(GROUPS, group_id, opened.head, opened.version)
            table = records_table(group_id)
            for name, record in changes.items():
                if record is None:
                    self.tx.delete(table, name)
                else:
                    self.tx.put(table, name, record)

    def _keep(self) -> None:
        for group_id, opened in self._opened.items():
            self._cache.keep(group_id, (opened.head, opened.version), opened.group)


@contextmanager
def _stored() -> Iterator[None]:
    """What is wrong with a stored record is the store's fault: no message is to be blamed for it."""
    try:
        yield
    except UnsupportedVersion as error:
        raise StoreError(str(error), code="store_newer") from None
    except MalformedMessage:
        raise StoreError("a record of a group is damaged", code="store_corrupt") from None


def _open(record: bytes) -> Reader:
    reader = Reader(record)
    version = reader.u8()
    if version != _VERSION:
        raise UnsupportedVersion(f"a group's record has version {version}; this release reads {_VERSION}")
    return reader


def _check_head(record: bytes) -> None:
    reader = _open(record)
    reader.take(_HEAD_BYTES)
    reader.done()
