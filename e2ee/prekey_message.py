"""The bytes that begin every pairwise message, and the first message of a session, type 2 (the profile's section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from e2ee.encoding import Reader, u8, u32
from e2ee.errors import MalformedMessage, UnsupportedSuite, UnsupportedVersion
from e2ee.limits import SUITE_PQ, SUITE_X25519
from e2ee.prekeys import FLAG_KEM, FLAG_KEM_ONCE, FLAG_ONE_TIME, check_flags
from e2ee.primitives import KEM_CIPHERTEXT_BYTES, KEY_BYTES, SIGNATURE_BYTES, sha256

__all__ = ["TYPE_MESSAGE", "TYPE_PREKEY", "VERSION", "PreKeyMessage", "message_type"]

VERSION = 1
TYPE_MESSAGE = 1
TYPE_PREKEY = 2
_SUITES = (SUITE_X25519, SUITE_PQ)
# Signing and agreement key, the signature over them, EK, and the ids of the three prekeys.
_KEYS = Struct(f">{KEY_BYTES}s{KEY_BYTES}s{SIGNATURE_BYTES}s{KEY_BYTES}sIII")


def message_type(message: bytes) -> int:
    """The type byte of a message whose version is known; `MalformedMessage` or `UnsupportedVersion` else."""
    if len(message) < 2:
        raise MalformedMessage("a message has less than two bytes")
    if message[0] != VERSION:
        raise UnsupportedVersion(f"a message has version {message[0]}; this release reads {VERSION}")
    return message[1]


def check_suite(suite: int) -> int:
    """The suite itself; `UnsupportedSuite` unless this release knows it."""
    if suite not in _SUITES:
        raise UnsupportedSuite(f"a message has suite {suite}; this release knows {_SUITES}")
    return suite


@dataclass(frozen=True, slots=True, kw_only=True)
class PreKeyMessage:
    """A message of type 2: what the responder needs to make the session, and a whole message of type 1.

    ``one_time_id`` and ``kem_id`` are None where no such prekey was used. ``kem_ciphertext`` is empty without one.
    """

    suite: int
    signing: bytes
    agreement: bytes
    device_signature: bytes = field(repr=False)
    base_key: bytes
    signed_id: int
    one_time_id: int | None
    kem_id: int | None
    kem_once: bool
    kem_ciphertext: bytes = field(repr=False)
    outer: bytes = field(repr=False)
    inner: bytes = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """What a responder remembers so that the same first message never makes a second session."""
        return sha256(self.base_key, u32(self.signed_id), u32(self.one_time_id or 0), u32(self.kem_id or 0))

    @staticmethod
    def parse(data: bytes) -> PreKeyMessage:
        """Read a message of type 2 without opening what is inside; `MalformedMessage` for another layout."""
        if message_type(data) != TYPE_PREKEY:
            raise MalformedMessage(f"a message has type {data[1]}; a first message has type {TYPE_PREKEY}")
        reader = Reader(data)
        reader.take(2)
        suite = check_suite(reader.u8())
        flags = check_flags(reader.u8())
        if bool(flags & FLAG_KEM) is not (suite == SUITE_PQ):
            raise MalformedMessage("a first message has a KEM ciphertext in suite 2 and in no other")
        signing, agreement, device_signature, base_key, signed_id, one_time, kem = reader.fields(_KEYS)
        one_time_id = _optional_id(one_time, bool(flags & FLAG_ONE_TIME))
        kem_id = _optional_id(kem, bool(flags & FLAG_KEM))
        kem_ciphertext = b"" if kem_id is None else reader.take(KEM_CIPHERTEXT_BYTES)
        outer = data[: reader.position]
        return PreKeyMessage(
            suite=suite,
            signing=signing,
            agreement=agreement,
            device_signature=device_signature,
            base_key=base_key,
            signed_id=signed_id,
            one_time_id=one_time_id,
            kem_id=kem_id,
            kem_once=bool(flags & FLAG_KEM_ONCE),
            kem_ciphertext=kem_ciphertext,
            outer=outer,
            inner=reader.rest(),
        )


def _optional_id(prekey_id: int, present: bool) -> int | None:
    if not present and prekey_id:
        raise MalformedMessage("a first message names a prekey that its flags say it has not used")
    return prekey_id if present else None


def encode_outer(
    *,
    suite: int,
    signing: bytes,
    agreement: bytes,
    device_signature: bytes,
    base_key: bytes,
    signed_id: int,
    one_time_id: int | None,
    kem_id: int | None,
    kem_once: bool,
    kem_ciphertext: bytes,
) -> bytes:
    """What stands before the inner message in a message of type 2."""
    flags = (FLAG_ONE_TIME if one_time_id is not None else 0) | (FLAG_KEM if kem_id is not None else 0)
    flags |= FLAG_KEM_ONCE if kem_once else 0
    prefix = u8(VERSION) + u8(TYPE_PREKEY) + u8(suite) + u8(flags)
    ids = u32(signed_id) + u32(one_time_id or 0) + u32(kem_id or 0)
    return prefix + signing + agreement + device_signature + base_key + ids + kem_ciphertext
