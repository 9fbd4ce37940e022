"""Ed25519 keys and signatures with parts of small order: what OpenSSL and browsers accept, and the profile does not.

The points are computed (tests/support/edwards.py), not copied from a list.
"""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl import bindings as sodium

from e2ee.errors import BadSignature, InvalidKey
from e2ee.primitives import PREFIX, check_signing_key, sign, signing_pair, verifies, verify
from tests.support.edwards import BASE, ORDER, P, Point, add, encode, encodings, times, torsion

TORSION = encodings()
MESSAGE = b"\x00"
# Enough that each key of mixed order has signatures that verify and others that do not.
TRIES = 40


def test_the_list_is_whole() -> None:
    """Eight points, of which two have x = 0 and so a second sign, and two forms of y above the prime: 14 encodings."""
    assert len(set(torsion())) == 8
    assert len(TORSION) == 14
    assert all(encode(point) in TORSION for point in torsion())


@pytest.mark.parametrize("key", TORSION, ids=bytes.hex)
def test_a_key_of_small_order_is_no_key(key: bytes) -> None:
    with pytest.raises(InvalidKey):
        check_signing_key(key)
    for r in TORSION:
        with pytest.raises(InvalidKey):
            verifies(key, MESSAGE, r + bytes(32))
        with pytest.raises(InvalidKey):
            verify(key, "device-cert", MESSAGE, r + bytes(32))


def test_openssl_accepts_such_a_forgery() -> None:
    """The reason for these tests: a signature that nobody made, for any message."""
    neutral = encode((0, 1))
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), MESSAGE)


@pytest.mark.parametrize("r", TORSION, ids=bytes.hex)
def test_a_signature_with_r_of_small_order_is_refused(r: bytes) -> None:
    """Whoever holds the key can make one: r = 0, S = h a. OpenSSL takes it for the canonical neutral element."""
    key, scalar = _key_and_scalar()
    challenge = int.from_bytes(hashlib.sha512(r + key + MESSAGE).digest(), "little") % ORDER
    signature = r + (challenge * scalar % ORDER).to_bytes(32, "little")
    assert not verifies(key, MESSAGE, signature)
    if r == encode((0, 1)):
        Ed25519PublicKey.from_public_bytes(key).verify(signature, MESSAGE)


def test_a_signature_with_s_above_the_order_is_refused() -> None:
    pair = signing_pair(bytes(32))
    signature = sign(pair, "spk", b"body")
    verify(pair.public, "spk", b"body", signature)
    s = int.from_bytes(signature[32:], "little")
    for multiple in (1, 2, 7):
        with pytest.raises(BadSignature):
            verify(pair.public, "spk", b"body", signature[:32] + (s + multiple * ORDER).to_bytes(32, "little"))


def _key_and_scalar(mixed_with: Point = (0, 1)) -> tuple[bytes, int]:
    scalar = int.from_bytes(hashlib.sha512(b"a scalar").digest(), "little") % ORDER
    return encode(add(times(scalar, BASE), mixed_with)), scalar


def test_the_arithmetic_here_is_that_of_the_library() -> None:
    key, scalar = _key_and_scalar()
    assert key == sodium.crypto_scalarmult_ed25519_base_noclamp(scalar.to_bytes(32, "little"))
    assert check_signing_key(key) == key


@pytest.mark.parametrize("index", range(1, 8))
def test_keys_of_mixed_order(index: int) -> None:
    """A key with a part of small order is no key, also where a signature under it would verify.

    Verifiers with and without the cofactor differ about such signatures, and so would two devices about a list or an operation.
    """
    key, scalar = _key_and_scalar(torsion()[index])
    with pytest.raises(InvalidKey):
        check_signing_key(key)
    accepted, point = 0, (0, 1)
    for nonce in range(1, TRIES):
        message = PREFIX + b"spk\x00" + bytes([nonce])
        point = add(point, BASE)
        r = encode(point)
        challenge = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER
        signature = r + ((nonce + challenge * scalar) % ORDER).to_bytes(32, "little")
        # Equal without the cofactor exactly when the part of small order vanishes from h A.
        if times(challenge % 8, torsion()[index]) == (0, 1):
            accepted += 1
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        with pytest.raises(InvalidKey):
            verify(key, "spk", bytes([nonce]), signature)
    assert 0 < accepted < TRIES - 1


@pytest.mark.parametrize("y", [P, P + 1, P + 3, 2**255 - 1])
def test_keys_that_are_not_canonical(y: int) -> None:
    for bit in (0, 1):
        key = (y | bit << 255).to_bytes(32, "little")
        with pytest.raises(InvalidKey):
            check_signing_key(key)
        with pytest.raises(InvalidKey):
            verifies(key, MESSAGE, key + bytes(32))


def test_a_key_that_is_no_point() -> None:
    with pytest.raises(InvalidKey):
        verify((2).to_bytes(32, "little"), "spk", b"", bytes(64))


def test_lengths() -> None:
    key = _key_and_scalar()[0]
    for length in (0, 31, 33):
        with pytest.raises(InvalidKey):
            check_signing_key(bytes(length))
        with pytest.raises(InvalidKey):
            verifies(key[:length].ljust(length, b"\0"), MESSAGE, bytes(64))
    for length in (0, 63, 65):
        assert not verifies(key, MESSAGE, bytes(length))
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(key).verify(bytes(63), MESSAGE)
