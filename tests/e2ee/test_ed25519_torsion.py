"""Ed25519 keys and signatures with parts of small order: what OpenSSL and browsers accept, and the profile does not.

The points are computed here with plain integers, from the curve's equation (RFC 8032 section 5.1), not copied from a list.
"""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl import bindings as sodium

from e2ee.errors import BadSignature, InvalidKey
from e2ee.primitives import PREFIX, check_signing_key, sign, signing_pair, verifies, verify

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741  the name that the square root of -1 has everywhere
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def decode(data: bytes) -> Point:
    number = int.from_bytes(data, "little")
    sign_bit, y = number >> 255, number & (2**255 - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * I % P
    assert v * x * x % P == u
    return (x if x & 1 == sign_bit else -x % P), y


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


@cache
def torsion() -> list[Point]:
    """The eight points whose order divides 8."""
    y = 2
    while True:
        try:
            point = times(ORDER, decode(y.to_bytes(32, "little")))
        except AssertionError:
            point = (0, 1)
        if times(4, point) != (0, 1):
            return [times(index, point) for index in range(8)]
        y += 1


def encodings() -> list[bytes]:
    """Every 32 bytes that some reader takes for a point of small order: also y + p where it fits, and -0 for x."""
    found = set()
    for _, y in torsion():
        for form in (y, y + P):
            if form < 2**255:
                found |= {(form | bit << 255).to_bytes(32, "little") for bit in (0, 1)}
    return sorted(found)


TORSION = encodings()
BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
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
    """A key with a part of small order is refused where a key is taken in on its own.

    Under `verify` it is a key as in RFC 8032: only its holder can sign, in one of up to eight tries, and nobody else.
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
        vanishes = times(challenge % 8, torsion()[index]) == (0, 1)
        accepted += vanishes
        if vanishes:
            verify(key, "spk", bytes([nonce]), signature)
        else:
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
