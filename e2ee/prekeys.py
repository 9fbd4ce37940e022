"""Prekeys, which a device leaves with the server so that others can begin a session while it is away (the profile's section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from e2ee.certificates import DeviceCertificate
from e2ee.encoding import Reader, lp, u8, u32, u64
from e2ee.errors import MalformedMessage, UnsupportedVersion
from e2ee.primitives import (
    KEM_PUBLIC_BYTES,
    KEM_SEED_BYTES,
    KEY_BYTES,
    SIGNATURE_BYTES,
    KeyPair,
    Random,
    agreement_pair,
    check_agreement_key,
    kem_pair,
    sign,
    verify,
)

__all__ = [
    "FLAG_KEM",
    "FLAG_KEM_ONCE",
    "FLAG_ONE_TIME",
    "Bundle",
    "KemPreKey",
    "OneTimePreKey",
    "SignedPreKey",
    "check_flags",
    "make_kem_prekey",
    "make_one_time_prekey",
    "make_signed_prekey",
]

_VERSION = 1
# Id, where it is signed the time, the key, where it is signed the signature.
_SIGNED = Struct(f">IQ{KEY_BYTES}s{SIGNATURE_BYTES}s")
_KEM = Struct(f">IQ{KEM_PUBLIC_BYTES}s{SIGNATURE_BYTES}s")
_ONE_TIME = Struct(f">I{KEY_BYTES}s")
FLAG_ONE_TIME = 0x01
FLAG_KEM = 0x02
FLAG_KEM_ONCE = 0x04


def check_flags(flags: int) -> int:
    """The flags of a bundle or a first message; `MalformedMessage` for unknown ones, or "one-time" without its KEM prekey."""
    if flags & ~(FLAG_ONE_TIME | FLAG_KEM | FLAG_KEM_ONCE) or (flags & FLAG_KEM_ONCE and not flags & FLAG_KEM):
        raise MalformedMessage(f"the prekey flags {flags:#04x} are not of the profile")
    return flags


@dataclass(frozen=True, slots=True)
class SignedPreKey:
    """An X25519 prekey that the device signed and everybody may use until the next one. ``created`` is in Unix seconds."""

    id: int
    created: int
    public: bytes
    signature: bytes = field(repr=False)

    def encode(self) -> bytes:
        return u32(self.id) + u64(self.created) + self.public + self.signature

    @staticmethod
    def read(reader: Reader) -> SignedPreKey:
        """Take one from ``reader``, unverified; `MalformedMessage` where the bytes run out."""
        return SignedPreKey(*reader.fields(_SIGNED))

    @staticmethod
    def parse(data: bytes) -> SignedPreKey:
        """Read one alone, as a device uploads it; unverified, `MalformedMessage` for another layout."""
        reader = Reader(data)
        prekey = SignedPreKey.read(reader)
        reader.done()
        return prekey

    def verify(self, signing: bytes) -> None:
        """Check key and signature under the device's signing key: `InvalidKey` or `BadSignature`."""
        check_agreement_key(self.public)
        verify(signing, "spk", self.encode()[:-SIGNATURE_BYTES], self.signature)


@dataclass(frozen=True, slots=True)
class KemPreKey:
    """An ML-KEM-768 prekey, signed: for one use, or the last resort that stays when those are gone."""

    id: int
    created: int
    public: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def encode(self) -> bytes:
        return u32(self.id) + u64(self.created) + self.public + self.signature

    @staticmethod
    def read(reader: Reader) -> KemPreKey:
        """Take one from ``reader``, unverified; `MalformedMessage` where the bytes run out."""
        return KemPreKey(*reader.fields(_KEM))

    @staticmethod
    def parse(data: bytes) -> KemPreKey:
        """Read one alone, as a device uploads it; unverified, `MalformedMessage` for another layout."""
        reader = Reader(data)
        prekey = KemPreKey.read(reader)
        reader.done()
        return prekey

    def verify(self, signing: bytes, *, once: bool) -> None:
        """Check the signature under the device's signing key and the kind: `BadSignature`. The key itself is checked at its use."""
        verify(signing, _kem_kind(once), self.encode()[:-SIGNATURE_BYTES], self.signature)


@dataclass(frozen=True, slots=True)
class OneTimePreKey:
    """An X25519 prekey for one session. It is not signed: whoever changes it only makes the first message unreadable."""

    id: int
    public: bytes

    def encode(self) -> bytes:
        return u32(self.id) + self.public

    @staticmethod
    def read(reader: Reader) -> OneTimePreKey:
        """Take one from ``reader``; `MalformedMessage` where the bytes run out."""
        return OneTimePreKey(*reader.fields(_ONE_TIME))

    @staticmethod
    def parse(data: bytes) -> OneTimePreKey:
        """Read one alone, as a device uploads it; `MalformedMessage` for another layout."""
        reader = Reader(data)
        prekey = OneTimePreKey.read(reader)
        reader.done()
        return prekey


def _kem_kind(once: bool) -> str:
    return "kem-once" if once else "kem-last"


def make_signed_prekey(signing: KeyPair, id: int, created: int, random: Random) -> tuple[SignedPreKey, KeyPair]:
    """A new signed prekey and its X25519 pair. Draws 32 bytes."""
    pair = agreement_pair(random(KEY_BYTES))
    body = u32(id) + u64(created) + pair.public
    return SignedPreKey(id, created, pair.public, sign(signing, "spk", body)), pair


def make_kem_prekey(signing: KeyPair, id: int, created: int, random: Random, *, once: bool) -> tuple[KemPreKey, KeyPair]:
    """A new KEM prekey, for one use or as the last resort, and its ML-KEM-768 pair. Draws 64 bytes."""
    pair = kem_pair(random(KEM_SEED_BYTES))
    body = u32(id) + u64(created) + pair.public
    return KemPreKey(id, created, pair.public, sign(signing, _kem_kind(once), body)), pair


def make_one_time_prekey(id: int, random: Random) -> tuple[OneTimePreKey, KeyPair]:
    """A new one-time prekey and its X25519 pair. Draws 32 bytes."""
    pair = agreement_pair(random(KEY_BYTES))
    return OneTimePreKey(id, pair.public), pair


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the server hands out for one device: its certificate and one prekey of each kind that is there.

    ``kem_once`` says that ``kem`` is a one-time one; it is False where there is none. Nothing in a parsed bundle is trusted before
    `verify`, and whether ``certificate`` is the user's own, on the current device list, is the caller's question.
    """

    certificate: DeviceCertificate
    signed: SignedPreKey
    one_time: OneTimePreKey | None = None
    kem: KemPreKey | None = None
    kem_once: bool = False

    def encode(self) -> bytes:
        flags, optional = 0, b""
        if self.one_time is not None:
            flags |= FLAG_ONE_TIME
            optional += self.one_time.encode()
        if self.kem is not None:
            flags |= FLAG_KEM | (FLAG_KEM_ONCE if self.kem_once else 0)
            optional += self.kem.encode()
        return u8(_VERSION) + u8(flags) + lp(self.certificate.encoded) + self.signed.encode() + optional

    @staticmethod
    def parse(data: bytes) -> Bundle:
        """Read a bundle, unverified; `MalformedMessage` for anything that is not laid out as one."""
        reader = Reader(data)
        version = reader.u8()
        if version != _VERSION:
            raise UnsupportedVersion(f"a bundle has version {version}; this release reads {_VERSION}")
        flags = check_flags(reader.u8())
        certificate = DeviceCertificate.parse(reader.lp())
        signed = SignedPreKey.read(reader)
        one_time = OneTimePreKey.read(reader) if flags & FLAG_ONE_TIME else None
        kem = KemPreKey.read(reader) if flags & FLAG_KEM else None
        reader.done()
        return Bundle(certificate, signed, one_time, kem, bool(flags & FLAG_KEM_ONCE))

    def verify(self) -> None:
        """Check the certificate, every prekey's signature and every X25519 key: `BadSignature` or `InvalidKey`."""
        self.certificate.verify()
        signing = self.certificate.signing
        self.signed.verify(signing)
        if self.one_time is not None:
            check_agreement_key(self.one_time.public)
        if self.kem is not None:
            self.kem.verify(signing, once=self.kem_once)
