"""Project Wycheproof against the primitives: every valid vector accepted, every invalid one refused.

What the vectors call "acceptable" is decided here, with the reason beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from e2ee.errors import DecryptionFailed, InvalidKey, LimitReached
from e2ee.primitives import (
    AESGCM,
    KEM_CIPHERTEXT_BYTES,
    KEM_SEED_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    agree,
    agreement_pair,
    decapsulate,
    encapsulate,
    hkdf,
    hmac_sha256,
    kem_pair,
    open_sealed,
    verifies,
)
from tests.support.vectors import load_vectors

Vector = dict[str, Any]


def vectors(name: str) -> Iterator[tuple[Vector, Vector]]:
    """Pairs of group and vector."""
    data = load_vectors(f"wycheproof/{name}_test.json")
    pairs = [(group, vector) for group in data["testGroups"] for vector in group["tests"]]
    assert len(pairs) == data["numberOfTests"] > 0
    return iter(pairs)


def raw(vector: Vector, *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def outcome(call: Any, *arguments: Any) -> bytes | type[Exception]:
    try:
        result: bytes = call(*arguments)
    except (InvalidKey, DecryptionFailed, LimitReached) as error:
        return type(error)
    return result


# Acceptable vectors of X25519 that are taken: RFC 7748 says that every string is a public key. The twist is as safe as the curve,
# edge cases of the arithmetic are where a careless one is wrong, and a form that is not canonical is read modulo the prime.
TAKEN = {"Twist", "SpecialPublicKey", "NonCanonicalPublic", "EdgeCaseShared", "EdgeCaseMultiplication", "Ktv", "SmallPublicKey"}
# Those that are refused: the agreement would be all zero, which RFC 7748 section 6.1 lets one refuse and the profile makes one.
REFUSED = {"LowOrderPublic", "ZeroSharedSecret"}


def test_x25519() -> None:
    counts: Counter[str] = Counter()
    for _, vector in vectors("x25519"):
        private, public, shared = raw(vector, "private", "public", "shared")
        flags = set(vector["flags"])
        refused = bool(flags & REFUSED)
        assert refused == (shared == bytes(32))
        assert not (refused and vector["result"] == "valid")
        assert vector["result"] == "valid" or flags & (TAKEN | REFUSED)
        assert outcome(agree, private, public) == (InvalidKey if refused else shared), vector["tcId"]
        counts["refused" if refused else vector["result"]] += 1
    assert counts == {"valid": 264, "acceptable": 223, "refused": 31}


def test_ed25519() -> None:
    for group, vector in vectors("ed25519"):
        public = bytes.fromhex(group["publicKey"]["pk"])
        message, signature = raw(vector, "msg", "sig")
        assert verifies(public, message, signature) == (vector["result"] == "valid"), vector["tcId"]


def test_aes_gcm() -> None:
    """The profile has keys of 256 bits, nonces of 96 and tags of 128. Vectors of another size are refused, valid or not."""
    counts: Counter[str] = Counter()
    for group, vector in vectors("aes_gcm"):
        key, nonce, aad, plain, sealed, tag = raw(vector, "key", "iv", "aad", "msg", "ct", "tag")
        opened = outcome(open_sealed, key, nonce, sealed + tag, aad)
        assert group["tagSize"] == 8 * TAG_BYTES
        if len(key) != KEY_BYTES:
            expected: bytes | type[Exception] = InvalidKey
            counts["another key size"] += 1
        elif len(nonce) != NONCE_BYTES:
            expected = DecryptionFailed
            counts["another nonce size"] += 1
        else:
            expected = plain if vector["result"] == "valid" else DecryptionFailed
            counts[vector["result"]] += 1
            if vector["result"] == "valid":
                assert AESGCM(key).encrypt(nonce, plain, aad) == sealed + tag
        assert opened == expected, vector["tcId"]
    assert set(counts) == {"valid", "invalid", "another key size", "another nonce size"}
    assert min(counts["valid"], counts["invalid"]) > 20


@pytest.mark.parametrize("length", [0, 1, TAG_BYTES - 1])
def test_aes_gcm_never_takes_a_short_tag(length: int) -> None:
    with pytest.raises(DecryptionFailed):
        open_sealed(bytes(32), bytes(12), AESGCM(bytes(32)).encrypt(bytes(12), b"", b"")[:length], b"")


def test_hkdf() -> None:
    for _, vector in vectors("hkdf_sha256"):
        ikm, salt, info, okm = raw(vector, "ikm", "salt", "info", "okm")
        made = outcome(hkdf, salt, ikm, info, vector["size"])
        assert made == (okm if vector["result"] == "valid" else LimitReached), vector["tcId"]


def test_hmac() -> None:
    """Vectors with a tag of 128 bits are of a truncation that the profile does not have; their first half is compared."""
    sizes = set()
    for group, vector in vectors("hmac_sha256"):
        key, message, tag = raw(vector, "key", "msg", "tag")
        sizes.add(group["tagSize"])
        same = hmac_sha256(key, message)[: group["tagSize"] // 8] == tag
        assert same == (vector["result"] == "valid"), vector["tcId"]
    assert 256 in sizes


def test_mlkem_decapsulation() -> None:
    for _, vector in vectors("mlkem_768"):
        seed, ciphertext = raw(vector, "seed", "c")
        opened = outcome(decapsulate, seed, ciphertext)
        if vector["result"] == "valid":
            assert opened == bytes.fromhex(vector["K"]), vector["tcId"]
            assert kem_pair(seed).public == bytes.fromhex(vector["ek"])
        else:
            assert opened is InvalidKey, vector["tcId"]
            assert len(seed) != KEM_SEED_BYTES or len(ciphertext) != KEM_CIPHERTEXT_BYTES


def test_mlkem_encapsulation_checks_the_key() -> None:
    """The draws of encapsulation cannot be handed in, so a valid key's ciphertext is its own; the key check is what is seen."""
    seen = set()
    for _, vector in vectors("mlkem_768_encaps"):
        public = bytes.fromhex(vector["ek"])
        seen.add(vector["result"])
        if vector["result"] == "valid":
            secret, ciphertext = encapsulate(public)
            assert (len(secret), len(ciphertext)) == (32, KEM_CIPHERTEXT_BYTES)
        else:
            with pytest.raises(InvalidKey):
                encapsulate(public)
    assert seen == {"valid", "invalid"}


def test_wrong_sizes_give_our_errors() -> None:
    for key in (0, 16, 24, 31, 33):
        with pytest.raises(InvalidKey):
            open_sealed(bytes(key), bytes(12), bytes(16), b"")
    for nonce in (0, 8, 11, 13, 16):
        with pytest.raises(DecryptionFailed):
            open_sealed(bytes(32), bytes(nonce), bytes(16), b"")
    for length in (0, 31, 33):
        with pytest.raises(InvalidKey):
            agree(bytes(32), bytes(length))
        with pytest.raises(InvalidKey):
            agree(bytes(length), agreement_pair(bytes(32)).public)
    with pytest.raises(LimitReached):
        hkdf(b"", b"", b"", 8_161)
    assert len(hkdf(b"", b"", b"", 8_160)) == 8_160
