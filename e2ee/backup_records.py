"""What is in a backup: typed records in an attachment stream (the profile's section 10), read and written one at a time.

Ratchet state is not among them: a device that is restored is a new device of the account.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from e2ee.backup import BACKUP_HEADER_BYTES, BackupKey, BackupSecret, lock, unlock
from e2ee.chunk_stream import Buffer, ChunkOpener, ChunkSealer
from e2ee.encoding import Reader, fixed, lp, u8, u16, u32, u64, user_bytes
from e2ee.errors import LimitReached, MalformedMessage
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.primitives import KEY_BYTES, NoPickle, Random, system_random
from salam import RequestError

__all__ = [
    "MAX_RECORD_BYTES",
    "AccountRecord",
    "BackupReader",
    "BackupWriter",
    "ContactRecord",
    "GroupRecord",
    "HistoryRecord",
    "Record",
    "read_backup",
]

_ACCOUNT, _CONTACT, _GROUP, _HISTORY, _END = 1, 2, 3, 4, 255
_GROUP_ID_BYTES = 16
_HASH_BYTES = 32
_LP_MOST = 0xFFFF
_RECORD_HEAD_BYTES = 5
# A reader holds one record: tens of thousands of group operations, or a long conversation, which may also take several.
MAX_RECORD_BYTES = 16 * 1024 * 1024
# What `read_backup` asks its file for at a time.
_PIECE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class AccountRecord(NoPickle):
    """Whose backup this is: the seed of the account key, and the user. The first record, and the only one of its kind."""

    seed: bytes = field(repr=False)
    user_id: str

    def body(self) -> bytes:
        return fixed(self.seed, KEY_BYTES) + lp(user_bytes(self.user_id))


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """Another user's account key, whether a person compared it, and the newest device list that was seen."""

    user_id: str
    account: bytes
    verified: bool
    seq: int
    list_hash: bytes

    def body(self) -> bytes:
        known = fixed(self.account, KEY_BYTES) + u8(self.verified) + u64(self.seq)
        return lp(user_bytes(self.user_id)) + known + fixed(self.list_hash, _HASH_BYTES)


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group by the chain of its signed operations."""

    group_id: bytes
    operations: tuple[bytes, ...] = field(repr=False)

    def body(self) -> bytes:
        if len(self.operations) > _LP_MOST or any(len(operation) > _LP_MOST for operation in self.operations):
            raise MalformedMessage(f"a group has at most {_LP_MOST} operations of at most {_LP_MOST} bytes")
        return fixed(self.group_id, _GROUP_ID_BYTES) + u16(len(self.operations)) + b"".join(map(lp, self.operations))


@dataclass(frozen=True, slots=True)
class HistoryRecord(NoPickle):
    """Whatever the application keeps of a conversation; as many of these as it likes."""

    conversation: bytes
    kept: bytes = field(repr=False)

    def body(self) -> bytes:
        if len(self.conversation) > _LP_MOST:
            raise MalformedMessage(f"the name of a conversation has at most {_LP_MOST} bytes")
        return lp(self.conversation) + self.kept


Record = AccountRecord | ContactRecord | GroupRecord | HistoryRecord
_TYPES: dict[type[Record], int] = {AccountRecord: _ACCOUNT, ContactRecord: _CONTACT, GroupRecord: _GROUP, HistoryRecord: _HISTORY}


def _parse(kind: int, body: bytes) -> Record:
    reader = Reader(body)
    record: Record
    if kind == _ACCOUNT:
        record = AccountRecord(reader.take(KEY_BYTES), reader.user())
    elif kind == _CONTACT:
        user_id, account, verified = reader.user(), reader.take(KEY_BYTES), reader.u8()
        if verified > 1:
            raise MalformedMessage("a contact of a backup is neither verified nor not")
        record = ContactRecord(user_id, account, bool(verified), reader.u64(), reader.take(_HASH_BYTES))
    elif kind == _GROUP:
        group_id = reader.take(_GROUP_ID_BYTES)
        record = GroupRecord(group_id, tuple(reader.lp() for _ in range(reader.u16())))
    elif kind == _HISTORY:
        record = HistoryRecord(reader.lp(), reader.rest())
    else:
        raise MalformedMessage(f"a backup has a record of type {kind}")
    reader.done()
    return record


class BackupWriter:
    """Writes a backup record by record: `begin`, `add` the account first and then the others, `finish`. Each gives bytes to store.

    Draws the header's salt (16), the key (32) and its nonce (12), then the stream's salt (16) and prefix (7). Raises as
    `e2ee.backup.lock` does when it is made, which takes about a second with a passphrase.
    """

    __slots__ = ("_count", "_header", "_stream")

    def __init__(self, secret: BackupSecret, *, random: Random = system_random, limits: Limits = DEFAULT_LIMITS) -> None:
        self._header, key = lock(secret, random=random, limits=limits)
        self._stream = ChunkSealer(key.stream_key(), random=random, max_bytes=limits.max_attachment_bytes)
        self._count = 0

    @property
    def header(self) -> bytes:
        """The first 125 bytes, which come before everything else and which `e2ee.backup.change_secret` replaces."""
        return self._header

    def add(self, record: Record) -> bytes:
        """Seal one more record, and give what of the stream is ready.

        Raises `salam.RequestError` for an account that is not the first record or a first one that is no account, `LimitReached`
        for a record or a backup that is too long, `MalformedMessage` for fields that the layout cannot carry.
        """
        if (self._count == 0) != isinstance(record, AccountRecord):
            raise RequestError("the first record of a backup is its account, and no other is")
        body = record.body()
        if len(body) > MAX_RECORD_BYTES:
            raise LimitReached(f"a record of a backup has {len(body)} bytes; it may have {MAX_RECORD_BYTES}")
        sealed = self._stream.feed(u8(_TYPES[type(record)]) + u32(len(body)) + body)
        self._count += 1
        return sealed

    def finish(self) -> bytes:
        """The end of the backup; `salam.RequestError` for one without an account."""
        if not self._count:
            raise RequestError("the first record of a backup is its account, and there is none")
        return self._stream.feed(u8(_END) + u32(4) + u32(self._count)) + self._stream.finish()


class BackupReader:
    """Reads what follows the header, as it comes: `feed` everything, then `finish`, before which nothing may count as restored.

    Raises `AttachmentCorrupt` and `AttachmentTruncated` as every stream, `MalformedMessage` for records that are none of the
    profile, and `LimitReached` above ``limits.max_attachment_bytes``.
    """

    __slots__ = ("_count", "_ended", "_pending", "_stream")

    def __init__(self, key: BackupKey, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._stream = ChunkOpener(key.stream_key(), max_bytes=limits.max_attachment_bytes)
        self._pending = bytearray()
        self._count = 0
        self._ended = False

    def feed(self, sealed: Buffer) -> list[Record]:
        """Take a piece of the stream and give the records that are complete."""
        self._pending += self._stream.feed(sealed)
        return self._take()

    def finish(self) -> list[Record]:
        """The last records, once it is sure that they are the last."""
        self._pending += self._stream.finish()
        records = self._take()
        if self._pending or not self._ended:
            raise MalformedMessage("a backup does not stop where it ends")
        return records

    def _take(self) -> list[Record]:
        records: list[Record] = []
        done, count, ended = 0, self._count, self._ended
        while len(self._pending) - done >= _RECORD_HEAD_BYTES:
            kind, length = self._pending[done], int.from_bytes(self._pending[done + 1 : done + _RECORD_HEAD_BYTES], "big")
            if length > MAX_RECORD_BYTES:
                raise MalformedMessage(f"a record of a backup has {length} bytes; it may have {MAX_RECORD_BYTES}")
            start = done + _RECORD_HEAD_BYTES
            if len(self._pending) - start < length:
                break
            body = bytes(self._pending[start : start + length])
            if ended or (kind == _ACCOUNT) != (count == 0):
                raise MalformedMessage("the records of a backup are not in their order")
            if kind == _END:
                if body != u32(count):
                    raise MalformedMessage("a backup does not have as many records as it says")
                ended = True
            else:
                records.append(_parse(kind, body))
                count += 1
            done = start + length
        del self._pending[:done]
        self._count, self._ended = count, ended
        return records


def read_backup(source: BinaryIO, secret: BackupSecret, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[Record]:
    """All records of a backup in a file. They count only when the iteration has ended without an error."""
    reader = BackupReader(unlock(source.read(BACKUP_HEADER_BYTES), secret, limits=limits), limits=limits)
    while piece := source.read(_PIECE_BYTES):
        yield from reader.feed(piece)
    yield from reader.finish()
