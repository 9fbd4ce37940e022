"""The primitives of the profile, each from the library that is strict about it.

- Ed25519 by libsodium: OpenSSL accepts a forged signature under a public key of small order, libsodium refuses it, and is faster.
  Keys of mixed order, about which implementations differ, are refused before.
- X25519 by libsodium on raw bytes; an all-zero result is refused there.
- AES-256-GCM, HKDF and ML-KEM-768 (FIPS 203) by OpenSSL through `cryptography`; HMAC through the standard library's SHA-256.

Private keys are raw seeds (32 bytes; 64 for ML-KEM), for that is what is stored. Nothing here keeps, logs or prints a secret. What
Python cannot promise, constant time of its own operations and wiping of memory, is said in docs/topics/e2ee.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from nacl import bindings as sodium
from nacl.exceptions import BadSignatureError, CryptoError

from e2ee.errors import BadSignature, DecryptionFailed, InvalidKey, LimitReached

__all__ = [
    "AESGCM",
    "EMPTY_SALT",
    "KEM_CIPHERTEXT_BYTES",
    "KEM_PUBLIC_BYTES",
    "KEM_SEED_BYTES",
    "KEY_BYTES",
    "NONCE_BYTES",
    "PREFIX",
    "SIGNATURE_BYTES",
    "TAG_BYTES",
    "KeyPair",
    "NoPickle",
    "Random",
    "agree",
    "agreement_pair",
    "check_agreement_key",
    "check_signing_key",
    "decapsulate",
    "encapsulate",
    "hkdf",
    "hkdf_expand",
    "hmac_pair",
    "hmac_sha256",
    "kem_pair",
    "open_sealed",
    "sha256",
    "sign",
    "signing_pair",
    "system_random",
    "verifies",
    "verify",
]

PREFIX = b"salam/e2ee/1/"
KEY_BYTES = 32
SIGNATURE_BYTES = 64
NONCE_BYTES = 12
TAG_BYTES = 16
KEM_PUBLIC_BYTES = 1184
KEM_CIPHERTEXT_BYTES = 1088
KEM_SEED_BYTES = 64
EMPTY_SALT = bytes(32)
_HMAC_BLOCK_BYTES = 64
_INNER_PAD, _OUTER_PAD = (int.from_bytes(bytes([pad]) * _HMAC_BLOCK_BYTES, "little") for pad in (0x36, 0x5C))
_SHA256 = hashes.SHA256()
# RFC 5869: the block counter is one byte.
_HKDF_MAX_BYTES = 255 * 32

# A device verifies under the same few keys again and again, and to look at one costs almost as much as to verify.
_KEYS_REMEMBERED = 4_096

# Fills the number of bytes asked for. Only tests pass another one than the system's.
Random = Callable[[int], bytes]
system_random: Random = os.urandom

# The points of order 1, 2, 4 and 8 of Curve25519 and their forms that are not canonical (RFC 7748 section 6.1), each with the high
# bit, which X25519 ignores, cleared and set. libsodium refuses the agreements they would give; naming them refuses the key where it
# enters.
_SMALL_ORDER_X25519 = frozenset(
    (int.from_bytes(bytes.fromhex(point), "little") | high).to_bytes(32, "little")
    for high in (0, 1 << 255)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class NoPickle:
    """Base of what holds secrets: `pickle` and `copy` raise `TypeError`, for a copy in a cache or a log is a leak."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds secrets and is neither pickled nor copied")


@dataclass(frozen=True, slots=True)
class KeyPair(NoPickle):
    """A private seed and its public key, whose kind the owner knows. The secret is never shown."""

    secret: bytes = field(repr=False)
    public: bytes


def sha256(*parts: bytes) -> bytes:
    """SHA-256 of all parts, one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def _hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """The two blocks that HMAC puts before its inputs (RFC 2104 section 2)."""
    if len(key) > _HMAC_BLOCK_BYTES:
        key = hashlib.sha256(key).digest()
    number = int.from_bytes(key, "little")
    return (number ^ _INNER_PAD).to_bytes(_HMAC_BLOCK_BYTES, "little"), (number ^ _OUTER_PAD).to_bytes(_HMAC_BLOCK_BYTES, "little")


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104).

    Composed of SHA-256, here and in `hmac_pair`: `hmac.digest` looks the algorithm up and prepares the key for each
    message, which is most of the cost of the short ones here (twice in each step of a chain).
    """
    sha = hashlib.sha256
    inner, outer = _hmac_pads(key)
    return sha(outer + sha(inner + message).digest()).digest()


def hmac_pair(key: bytes, first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """`hmac_sha256` of two messages under one key: a step of a chain."""
    sha = hashlib.sha256
    inner, outer = _hmac_pads(key)
    return sha(outer + sha(inner + first).digest()).digest(), sha(outer + sha(inner + second).digest()).digest()


def hkdf(salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869); `LimitReached` above 8,160 bytes. An empty salt is that of the RFC, 32 zero bytes."""
    return HKDF(_SHA256, _hkdf_length(length), salt, info).derive(ikm)


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """The second half of `hkdf`, from a pseudorandom key of 32 bytes."""
    return HKDFExpand(_SHA256, _hkdf_length(length), info).derive(prk)


def _hkdf_length(length: int) -> int:
    if length > _HKDF_MAX_BYTES:
        raise LimitReached(f"HKDF-SHA256 gives at most {_HKDF_MAX_BYTES} bytes, not {length}")
    return length


def open_sealed(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """AES-256-GCM decryption; `DecryptionFailed` on any failure, a nonce of another length among them.

    A key of another length is `InvalidKey`: the profile has no AES-128, which the library would take without a word.
    """
    if len(key) != KEY_BYTES:
        raise InvalidKey("an AES-256 key does not have 32 bytes")
    if len(nonce) != NONCE_BYTES:
        raise DecryptionFailed("the data does not open")
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise DecryptionFailed("the data does not open") from None


def check_agreement_key(public: bytes) -> bytes:
    """The X25519 public key itself; `InvalidKey` for a wrong length or small order."""
    if len(public) != KEY_BYTES or public in _SMALL_ORDER_X25519:
        raise InvalidKey("an X25519 public key is not valid")
    return public


def agree(secret: bytes, public: bytes) -> bytes:
    """X25519 (RFC 7748); `InvalidKey` for a key of wrong length or a public key of small order, so the result is never all zero."""
    check_agreement_key(public)
    # The binding hands its arguments to C without looking at their length.
    if len(secret) != KEY_BYTES:
        raise InvalidKey("an X25519 private key does not have 32 bytes")
    try:
        return sodium.crypto_scalarmult(secret, public)
    except CryptoError:
        raise InvalidKey("an X25519 public key is not valid") from None


def signing_pair(seed: bytes) -> KeyPair:
    """The Ed25519 pair of a seed (RFC 8032); `InvalidKey` unless it has 32 bytes."""
    if len(seed) != KEY_BYTES:
        raise InvalidKey("an Ed25519 private key does not have 32 bytes")
    return KeyPair(seed, sodium.crypto_sign_seed_keypair(seed)[0])


def agreement_pair(seed: bytes) -> KeyPair:
    """The X25519 pair whose private key is ``seed`` (RFC 7748 clamps it at use); `InvalidKey` unless it has 32 bytes."""
    if len(seed) != KEY_BYTES:
        raise InvalidKey("an X25519 private key does not have 32 bytes")
    return KeyPair(seed, sodium.crypto_scalarmult_base(seed))


def kem_pair(seed: bytes) -> KeyPair:
    """The ML-KEM-768 pair of a 64-byte seed (FIPS 203, d || z)."""
    return KeyPair(seed, MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw())


# A refused key raises and is not remembered: whoever invents keys pushes out nobody's.
@lru_cache(_KEYS_REMEMBERED)
def check_signing_key(public: bytes) -> bytes:
    """The Ed25519 public key itself; `InvalidKey` for a wrong length, a form that is not canonical, small or mixed order."""
    if len(public) != KEY_BYTES or not sodium.crypto_core_ed25519_is_valid_point(public):
        raise InvalidKey("an Ed25519 public key is not valid")
    return public


def sign(key: KeyPair, kind: str, body: bytes) -> bytes:
    """Ed25519 (RFC 8032) over the profile's prefix, ``kind``, a zero byte and ``body``; `InvalidKey` for wrong lengths."""
    # The binding hands its arguments to C without looking at their length.
    if len(key.secret) != KEY_BYTES or len(key.public) != KEY_BYTES:
        raise InvalidKey("an Ed25519 pair does not have 32 and 32 bytes")
    return sodium.crypto_sign(PREFIX + kind.encode() + b"\x00" + body, key.secret + key.public)[:SIGNATURE_BYTES]


def verify(public: bytes, kind: str, body: bytes, signature: bytes) -> None:
    """`BadSignature` unless ``signature`` is that of ``kind`` and ``body`` under ``public``; `InvalidKey` for what is no key."""
    if not verifies(public, PREFIX + kind.encode() + b"\x00" + body, signature):
        raise BadSignature(f"the signature of kind {kind!r} does not verify")


def verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of the bare ``message``; `InvalidKey` for what is no key.

    The profile signs nothing without a kind: this is what `verify` stands on, and what published vectors are checked with.
    """
    check_signing_key(public)
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        sodium.crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """ML-KEM-768: the shared secret and the ciphertext. `InvalidKey` for a public key that FIPS 203's checks refuse."""
    try:
        return MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        raise InvalidKey("an ML-KEM-768 public key is not valid") from None


def decapsulate(seed: bytes, ciphertext: bytes) -> bytes:
    """ML-KEM-768: the shared secret; a ciphertext of the right length never fails but gives another secret (implicit rejection)."""
    try:
        return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)
    except ValueError:
        raise InvalidKey("an ML-KEM-768 ciphertext is not valid") from None
