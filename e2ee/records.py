"""The records in which a device's own state lies in its store, and where: table names, keys, layouts.

Every record begins with a version byte; the layouts of a released version are held by the golden files of the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from e2ee.encoding import Reader, fixed, lp, u8, u16, u32, u64, user_bytes
from e2ee.errors import UnsupportedVersion
from e2ee.primitives import KEY_BYTES, NoPickle

__all__ = [
    "COUNTERS",
    "DEVICE_LISTS",
    "KEM_LAST_PREKEYS",
    "KEM_ONCE_PREKEYS",
    "LINES",
    "LOCAL",
    "ONE_TIME_PREKEYS",
    "PEERS",
    "SESSIONS",
    "SIGNED_PREKEYS",
    "Line",
    "LocalRecord",
    "Peer",
    "PreKeySecret",
    "SessionRef",
    "certificates_table",
    "counter_record",
    "device_key",
    "read_counter",
    "seen_table",
    "session_key",
    "skipped_table",
]

_VERSION = 1
# Parsed records of peers and lines, which are read with every message and hold no secret; about 1 kB each.
_PARSED = 1_024

# Table names. What has a variable part is a table that is scanned or cleared alone.
LOCAL = "local"
COUNTERS = "counters"
PEERS = "peers"
DEVICE_LISTS = "device_lists"
LINES = "lines"
SESSIONS = "sessions"
# Private halves of prekeys by id.
SIGNED_PREKEYS = "prekeys/signed"
KEM_LAST_PREKEYS = "prekeys/kem_last"
ONE_TIME_PREKEYS = "prekeys/one_time"
KEM_ONCE_PREKEYS = "prekeys/kem_once"


def certificates_table(user_id: str) -> str:
    """Every certificate of a user's devices under the trusted account key, also of devices that were removed since."""
    return f"certificates/{user_id}"


def seen_table(signed_id: int) -> str:
    """Fingerprints of the first messages that were accepted under one signed prekey; it goes when that does."""
    return f"seen/{signed_id}"


def skipped_table(user_id: str, device_id: int, base_key: bytes) -> str:
    """The skipped keys of one session."""
    return f"skipped/{device_id}/{base_key.hex()}/{user_id}"


@lru_cache(_PARSED)
def device_key(user_id: str, device_id: int) -> bytes:
    """The key of what belongs to one device of one user."""
    return lp(user_bytes(user_id)) + u32(device_id)


def session_key(user_id: str, device_id: int, base_key: bytes) -> bytes:
    """The key of one session with a device."""
    return device_key(user_id, device_id) + base_key


def _open(record: bytes) -> Reader:
    reader = Reader(record)
    version = reader.u8()
    if version != _VERSION:
        raise UnsupportedVersion(f"a stored record has version {version}; this release reads {_VERSION}")
    return reader


def read_counter(record: bytes | None, first: int) -> int:
    """The next number of a counter, ``first`` where none was stored."""
    if record is None:
        return first
    reader = _open(record)
    number = reader.u32()
    reader.done()
    return number


def counter_record(number: int) -> bytes:
    """What `read_counter` reads."""
    return u8(_VERSION) + u32(number)


@dataclass(frozen=True, slots=True)
class LocalRecord(NoPickle):
    """Who this device is. ``account_seed`` is there on the primary device alone."""

    certificate: bytes
    signing_seed: bytes = field(repr=False)
    agreement_seed: bytes = field(repr=False)
    account_seed: bytes | None = field(repr=False)

    def encode(self) -> bytes:
        account = b"" if self.account_seed is None else self.account_seed
        return u8(_VERSION) + lp(self.certificate) + self.signing_seed + self.agreement_seed + lp(account)

    @staticmethod
    def parse(record: bytes) -> LocalRecord:
        reader = _open(record)
        certificate, signing, agreement, account = reader.lp(), reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.lp()
        reader.done()
        return LocalRecord(certificate, signing, agreement, fixed(account, KEY_BYTES) if account else None)


@dataclass(frozen=True, slots=True)
class PreKeySecret(NoPickle):
    """The private half of a prekey: a seed of 32 bytes, or of 64 for ML-KEM. ``created`` is in Unix seconds."""

    created: int
    seed: bytes = field(repr=False)

    def encode(self) -> bytes:
        return u8(_VERSION) + u64(self.created) + self.seed

    @staticmethod
    def parse(record: bytes) -> PreKeySecret:
        reader = _open(record)
        return PreKeySecret(reader.u64(), reader.rest())


_VERIFIED = 0x01
_BLOCKED = 0x02


@dataclass(frozen=True, slots=True)
class Peer:
    """What is known of a user.

    ``account`` is the key that is trusted, ``verified`` says that a person compared it. ``offered`` is another account key that was
    met and that nobody has judged yet; while there is one nothing is sent. ``devices`` are those of the newest list, ``seq`` its
    number; both are empty and 0 before the first list.
    """

    account: bytes
    verified: bool = False
    offered: bytes | None = None
    seq: int = 0
    devices: tuple[int, ...] = ()

    def encode(self) -> bytes:
        flags = (_VERIFIED if self.verified else 0) | (_BLOCKED if self.offered is not None else 0)
        head = u8(_VERSION) + u8(flags) + self.account + (b"" if self.offered is None else self.offered)
        return head + u64(self.seq) + u16(len(self.devices)) + b"".join(map(u32, self.devices))

    @staticmethod
    @lru_cache(_PARSED)
    def parse(record: bytes) -> Peer:
        reader = _open(record)
        flags, account = reader.u8(), reader.take(KEY_BYTES)
        offered = reader.take(KEY_BYTES) if flags & _BLOCKED else None
        seq = reader.u64()
        devices = tuple(reader.u32() for _ in range(reader.u16()))
        reader.done()
        return Peer(account, bool(flags & _VERIFIED), offered, seq, devices)


_INITIATED = 0x01
_RESET = 0x02


@dataclass(frozen=True, slots=True)
class SessionRef:
    """One session of a line, named by its base key.

    ``initiated``: this device began it. ``reset``: it did so with a reset. ``retired``: since when, in Unix seconds, it is there
    for messages under way alone, for it lost against one that was begun at the same time, or was replaced by a reset; else 0.
    """

    base_key: bytes
    initiated: bool
    reset: bool = False
    retired: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """All sessions with one device: the first is the one to send with, the others are archived, newest first.

    ``last_reset`` is when this device last sent a reset there, in Unix seconds, or 0.
    """

    refs: tuple[SessionRef, ...] = ()
    last_reset: int = 0

    def encode(self) -> bytes:
        listed = (ref.base_key + u8(_flags(ref)) + u64(ref.retired) for ref in self.refs)
        return u8(_VERSION) + u64(self.last_reset) + u8(len(self.refs)) + b"".join(listed)

    @staticmethod
    @lru_cache(_PARSED)
    def parse(record: bytes) -> Line:
        reader = _open(record)
        last_reset = reader.u64()
        refs = []
        for _ in range(reader.u8()):
            base_key, flags, retired = reader.take(KEY_BYTES), reader.u8(), reader.u64()
            refs.append(SessionRef(base_key, bool(flags & _INITIATED), bool(flags & _RESET), retired))
        reader.done()
        return Line(tuple(refs), last_reset)

    def find(self, base_key: bytes, *, initiated: bool) -> SessionRef | None:
        """The session of that base key that this device did, or did not, begin."""
        return next((ref for ref in self.refs if ref.base_key == base_key and ref.initiated is initiated), None)


def _flags(ref: SessionRef) -> int:
    return (_INITIATED if ref.initiated else 0) | (_RESET if ref.reset else 0)
