"""Hybrid public key encryption, RFC 9180: base mode, one message, of the suite that the profile uses.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The ephemeral key's 32 random bytes are the X25519 private key itself, without
the RFC's DeriveKeyPair, which is only one way to choose it.
"""

from __future__ import annotations

from e2ee.errors import DecryptionFailed
from e2ee.primitives import (
    AESGCM,
    KEY_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    KeyPair,
    Random,
    agree,
    agreement_pair,
    hkdf_expand,
    hmac_sha256,
    open_sealed,
    system_random,
)

__all__ = ["ENCAPSULATED_BYTES", "hpke_open", "hpke_seal"]

ENCAPSULATED_BYTES = 32
_VERSION = b"HPKE-v1"
# RFC 9180 section 7: the KEM, then KEM, KDF and AEAD, each by its two-byte number.
_KEM_SUITE = b"KEM" + bytes.fromhex("0020")
_SUITE = b"HPKE" + bytes.fromhex("002000010002")
_MODE_BASE = b"\x00"


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """LabeledExtract of section 4."""
    return hmac_sha256(salt or bytes(32), _VERSION + suite + label + ikm)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand of section 4."""
    return hkdf_expand(prk, length.to_bytes(2, "big") + _VERSION + suite + label + info, length)


def _shared_secret(agreed: bytes, encapsulated: bytes, recipient: bytes) -> bytes:
    """ExtractAndExpand of section 4.1."""
    prk = _extract(_KEM_SUITE, b"", b"eae_prk", agreed)
    return _expand(_KEM_SUITE, prk, b"shared_secret", encapsulated + recipient, KEY_BYTES)


def _schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of the first message (section 5.1), of mode base with neither pre-shared key nor its id."""
    context = _MODE_BASE + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    secret = _extract(_SUITE, shared, b"secret", b"")
    return _expand(_SUITE, secret, b"key", context, KEY_BYTES), _expand(_SUITE, secret, b"base_nonce", context, NONCE_BYTES)


def hpke_seal(recipient: bytes, plain: bytes, *, info: bytes, aad: bytes, random: Random = system_random) -> bytes:
    """``enc || ciphertext`` for the X25519 public key ``recipient`` (`InvalidKey` when it is none); draws 32 bytes."""
    ephemeral = agreement_pair(random(KEY_BYTES))
    shared = _shared_secret(agree(ephemeral.secret, recipient), ephemeral.public, recipient)
    key, nonce = _schedule(shared, info)
    return ephemeral.public + AESGCM(key).encrypt(nonce, plain, aad)


def hpke_open(recipient: KeyPair, sealed: bytes, *, info: bytes, aad: bytes) -> bytes:
    """The plaintext of ``enc || ciphertext``; `DecryptionFailed` for what does not open, `InvalidKey` for a bad ``enc``."""
    if len(sealed) < ENCAPSULATED_BYTES + TAG_BYTES:
        raise DecryptionFailed("the data does not open")
    encapsulated = sealed[:ENCAPSULATED_BYTES]
    shared = _shared_secret(agree(recipient.secret, encapsulated), encapsulated, recipient.public)
    key, nonce = _schedule(shared, info)
    return open_sealed(key, nonce, sealed[ENCAPSULATED_BYTES:], aad)
