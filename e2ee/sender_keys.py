"""Sender keys: one chain of message keys and one signing pair for each sending device (the profile's section 7).

A chain gives forward secrecy: who takes a device learns nothing about messages that were read. It gives no healing: who takes the
chain reads on until a new key is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from e2ee.content import GROUP_ID_BYTES, KEY_ID_BYTES
from e2ee.encoding import Reader, u8, u32, u64
from e2ee.errors import (
    CounterExhausted,
    DuplicateMessage,
    MalformedMessage,
    TooManySkipped,
    UnsupportedSuite,
    UnsupportedVersion,
)
from e2ee.limits import MAX_COUNTER, SUITE_X25519, Limits
from e2ee.padding import unpad
from e2ee.primitives import (
    AESGCM,
    KEY_BYTES,
    NONCE_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    KeyPair,
    NoPickle,
    Random,
    hmac_sha256,
    open_sealed,
    sign,
    signing_pair,
    verify,
)
from e2ee.skipped import SkippedKey

__all__ = ["GroupMessage", "Opened", "ReceivingKey", "SendingKey", "read_skipped", "skipped_record"]

_VERSION = 1
_TYPE = 3
_HEADER = bytes((_VERSION, _TYPE, SUITE_X25519, 0))
_HEAD_BYTES = len(_HEADER) + GROUP_ID_BYTES + 4 + KEY_ID_BYTES + 4 + NONCE_BYTES
_KIND = "group-msg"
_RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class GroupMessage:
    """A group message, parsed and not judged. ``head`` is all before the ciphertext."""

    group_id: bytes
    epoch: int
    key_id: bytes
    iteration: int
    nonce: bytes
    sealed: bytes
    signature: bytes
    head: bytes

    @staticmethod
    def parse(data: bytes) -> GroupMessage:
        """Read a message of type 3; `MalformedMessage` for whatever is none."""
        reader = Reader(data)
        version, kind, suite, flags = reader.u8(), reader.u8(), reader.u8(), reader.u8()
        if version != _VERSION:
            raise UnsupportedVersion(f"a group message of version {version}")
        if kind != _TYPE or flags:
            raise MalformedMessage(f"a message of type {kind} with flags {flags} is no group message")
        if suite != SUITE_X25519:
            raise UnsupportedSuite(f"a group message of suite {suite}")
        group_id, epoch, key_id = reader.take(GROUP_ID_BYTES), reader.u32(), reader.take(KEY_ID_BYTES)
        iteration, nonce = reader.u32(), reader.take(NONCE_BYTES)
        if reader.left < TAG_BYTES + SIGNATURE_BYTES:
            raise MalformedMessage("a group message ends before its tag and signature")
        sealed, signature = reader.take(reader.left - SIGNATURE_BYTES), reader.rest()
        return GroupMessage(group_id, epoch, key_id, iteration, nonce, sealed, signature, data[:_HEAD_BYTES])


class SendingKey(NoPickle):
    """The sender key of this device. It only moves forward; nothing that it has sent can be opened with it."""

    __slots__ = ("_chain_key", "_created", "_iteration", "_key_id", "_signing")

    def __init__(self, key_id: bytes, chain_key: bytes, signing: KeyPair, *, iteration: int, created: int) -> None:
        self._key_id = key_id
        self._chain_key = chain_key
        self._signing = signing
        self._iteration = iteration
        self._created = created

    @staticmethod
    def make(*, random: Random, now: float) -> SendingKey:
        """A new key; ``now`` in Unix seconds. Draws: key id 8, chain key 32, Ed25519 seed 32."""
        key_id, chain_key, seed = random(KEY_ID_BYTES), random(KEY_BYTES), random(KEY_BYTES)
        return SendingKey(key_id, chain_key, signing_pair(seed), iteration=0, created=int(now))

    @property
    def key_id(self) -> bytes:
        return self._key_id

    @property
    def chain_key(self) -> bytes:
        """The chain key of the next message: what a device gets that joins now. A secret."""
        return self._chain_key

    @property
    def public(self) -> bytes:
        """The Ed25519 key that verifies what is sent."""
        return self._signing.public

    @property
    def iteration(self) -> int:
        """The number of the next message, and of those sent before it."""
        return self._iteration

    def worn(self, *, now: float, limits: Limits) -> bool:
        """Whether its messages or its days are used up."""
        return self._iteration >= limits.sender_key_max_messages or now - self._created >= limits.sender_key_lifetime_s

    def encrypt(self, padded: bytes, *, group_id: bytes, epoch: int, binding: bytes, random: Random) -> bytes:
        """The message of type 3 around a padded plaintext; ``binding`` is what both sides know and is not sent. Draws: nonce 12.

        Raises `CounterExhausted` at the end of the chain.
        """
        if self._iteration >= MAX_COUNTER:
            raise CounterExhausted("the sender key has reached its last message")
        nonce = random(NONCE_BYTES)
        message_key, chain_key = _step(self._chain_key)
        head = _HEADER + group_id + u32(epoch) + self._key_id + u32(self._iteration) + nonce
        unsigned = head + AESGCM(message_key).encrypt(nonce, padded, head + binding)
        message = unsigned + sign(self._signing, _KIND, unsigned + binding)
        self._chain_key, self._iteration = chain_key, self._iteration + 1
        return message

    def to_record(self) -> bytes:
        """The key as it is stored; secret."""
        numbers = u32(self._iteration) + u64(self._created)
        return u8(_RECORD_VERSION) + self._key_id + numbers + self._chain_key + self._signing.secret

    @staticmethod
    def from_record(record: bytes) -> SendingKey:
        """What `to_record` wrote; `MalformedMessage` for anything else."""
        reader = _record_reader(record)
        key_id, iteration, created = reader.take(KEY_ID_BYTES), reader.u32(), reader.u64()
        chain_key, seed = reader.take(KEY_BYTES), reader.take(KEY_BYTES)
        reader.done()
        return SendingKey(key_id, chain_key, signing_pair(seed), iteration=iteration, created=created)


@dataclass(frozen=True, slots=True)
class Opened:
    """What reading a message gave: its content, the skipped keys that came by number, and the numbers of those that went."""

    content: bytes = field(repr=False)
    kept: Mapping[int, SkippedKey] = field(repr=False)
    dropped: tuple[int, ...]


class ReceivingKey(NoPickle):
    """The sender key of another device, from the message on at which this device was given it.

    ``epoch`` is that in which it was given, ``account`` the account key of its owner then, or None as long as that epoch is ahead.
    ``serial`` rises with each key of a device.
    """

    __slots__ = ("_chain_key", "_iteration", "_key_id", "_public", "_skipped", "account", "epoch", "serial")

    def __init__(
        self,
        key_id: bytes,
        chain_key: bytes,
        public: bytes,
        *,
        iteration: int,
        epoch: int,
        account: bytes | None,
        serial: int,
    ) -> None:
        self._key_id = key_id
        self._chain_key = chain_key
        self._public = public
        self._iteration = iteration
        self._skipped: dict[int, SkippedKey] = {}
        self.epoch = epoch
        self.account = account
        self.serial = serial

    @property
    def key_id(self) -> bytes:
        return self._key_id

    @property
    def skipped(self) -> Mapping[int, SkippedKey]:
        """The keys of messages that have not come yet, by number, the oldest first. Not to be kept: it changes."""
        return MappingProxyType(self._skipped)

    def restore_skipped(self, skipped: Mapping[int, SkippedKey]) -> None:
        """Take back the skipped keys, which are stored one by one."""
        self._skipped = dict(sorted(skipped.items(), key=lambda item: (item[1].added, item[0])))

    def open(self, message: GroupMessage, *, binding: bytes, now: float, limits: Limits) -> Opened:
        """The content of a message under this key; ``now`` in Unix seconds.

        The signature comes first: only the owner of the key can make this device compute. Raises `BadSignature`,
        `DuplicateMessage`, `TooManySkipped`, `CounterExhausted`, `DecryptionFailed` and, for a wrong padding, `MalformedMessage`;
        then nothing has changed.
        """
        verify(self._public, _KIND, message.head + message.sealed + binding, message.signature)
        if message.iteration >= MAX_COUNTER:
            raise CounterExhausted("a message number is past the end of every chain")
        expired = self._expired(now, limits)
        if message.iteration < self._iteration:
            skipped = self._skipped.get(message.iteration)
            if skipped is None or message.iteration in expired:
                raise DuplicateMessage("the message was read before, or its key is gone")
            content = _open(skipped.message_key, message, binding)
            return self._commit(content, {}, (*expired, message.iteration))
        ahead = message.iteration - self._iteration
        if ahead > limits.max_skip or len(self._skipped) - len(expired) + ahead > limits.max_skipped_stored:
            raise TooManySkipped(f"{ahead} messages of a sender key are missing")
        chain_key, passed, added = self._chain_key, {}, int(now)
        for number in range(self._iteration, message.iteration):
            message_key, chain_key = _step(chain_key)
            passed[number] = SkippedKey(message_key, added)
        message_key, chain_key = _step(chain_key)
        content = _open(message_key, message, binding)
        self._chain_key, self._iteration = chain_key, message.iteration + 1
        return self._commit(content, passed, expired)

    def _commit(self, content: bytes, passed: dict[int, SkippedKey], dropped: tuple[int, ...]) -> Opened:
        for number in dropped:
            del self._skipped[number]
        self._skipped.update(passed)
        return Opened(content, passed, dropped)

    def _expired(self, now: float, limits: Limits) -> tuple[int, ...]:
        """The numbers whose keys have been kept for too long. They were put in by time, so the first that is young ends it."""
        expired = []
        for number, key in self._skipped.items():
            if now - key.added < limits.skipped_lifetime_s:
                break
            expired.append(number)
        return tuple(expired)

    def to_record(self) -> bytes:
        """The key as it is stored, without its skipped keys, which are stored one by one; secret."""
        account = u8(0) if self.account is None else u8(1) + self.account
        numbers = u32(self._iteration) + u32(self.epoch) + u32(self.serial)
        return u8(_RECORD_VERSION) + self._key_id + numbers + self._chain_key + self._public + account

    @staticmethod
    def from_record(record: bytes) -> ReceivingKey:
        """What `to_record` wrote; `MalformedMessage` for anything else."""
        reader = _record_reader(record)
        key_id, iteration, epoch, serial = reader.take(KEY_ID_BYTES), reader.u32(), reader.u32(), reader.u32()
        chain_key, public = reader.take(KEY_BYTES), reader.take(KEY_BYTES)
        account = reader.take(KEY_BYTES) if reader.u8() else None
        reader.done()
        return ReceivingKey(key_id, chain_key, public, iteration=iteration, epoch=epoch, account=account, serial=serial)


def skipped_record(key: SkippedKey) -> bytes:
    """A skipped key as it is stored; secret."""
    return u8(_RECORD_VERSION) + u64(key.added) + key.message_key


def read_skipped(record: bytes) -> SkippedKey:
    """What `skipped_record` wrote; `MalformedMessage` for anything else."""
    reader = _record_reader(record)
    added, message_key = reader.u64(), reader.take(KEY_BYTES)
    reader.done()
    return SkippedKey(message_key, added)


def _step(chain_key: bytes) -> tuple[bytes, bytes]:
    """The message key of a chain's next message, and the chain key after it (the profile's section 5)."""
    return hmac_sha256(chain_key, b"\x01"), hmac_sha256(chain_key, b"\x02")


def _open(message_key: bytes, message: GroupMessage, binding: bytes) -> bytes:
    return unpad(open_sealed(message_key, message.nonce, message.sealed, message.head + binding))


def _record_reader(record: bytes) -> Reader:
    reader = Reader(record)
    version = reader.u8()
    if version != _RECORD_VERSION:
        raise UnsupportedVersion(f"a sender key record of version {version}")
    return reader
