"""The primitives: published vectors, and what each must refuse."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium

from e2ee import primitives
from e2ee.encoding import Reader, check_device_id, fixed, lp, u8, u16, u32, u64, user_bytes
from e2ee.errors import BadSignature, DecryptionFailed, InvalidKey, LimitReached, MalformedMessage
from e2ee.primitives import (
    AESGCM,
    KeyPair,
    agree,
    agreement_pair,
    check_agreement_key,
    check_signing_key,
    decapsulate,
    encapsulate,
    hkdf,
    hkdf_expand,
    hmac_pair,
    hmac_sha256,
    kem_pair,
    open_sealed,
    sha256,
    sign,
    signing_pair,
    system_random,
    verifies,
    verify,
)

P = 2**255 - 19
# The orders 1, 2, 4, 8 of Curve25519 and its twist (RFC 7748), with every form that is not canonical and both high bits.
SMALL_X25519 = [
    (value | high << 255).to_bytes(32, "little")
    for high in (0, 1)
    for value in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P - 1,
        P,
        P + 1,
    )
]
# y-coordinates of the eight points of small order of Ed25519 (RFC 8032), and forms of them that are not canonical.
Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303021042
SMALL_ED25519 = [(value | high << 255).to_bytes(32, "little") for high in (0, 1) for value in (0, 1, P - 1, P, P + 1, Y8, P - Y8)]


def test_x25519_gives_both_sides_the_same() -> None:
    one, other = agreement_pair(system_random(32)), agreement_pair(system_random(32))
    assert agree(one.secret, other.public) == agree(other.secret, one.public)
    # RFC 7748 section 5.2, the first vector.
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert agree(scalar, point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


@pytest.mark.parametrize("public", SMALL_X25519, ids=bytes.hex)
def test_agreement_keys_of_small_order_are_refused(public: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidKey):
        check_agreement_key(public)
    with pytest.raises(InvalidKey):
        agree(system_random(32), public)
    # The list is not all that stands between: libsodium refuses the result, which is all zero.
    monkeypatch.setattr(primitives, "_SMALL_ORDER_X25519", frozenset())
    with pytest.raises(InvalidKey):
        agree(system_random(32), public)


def test_agreement_keys_have_their_length() -> None:
    pair = agreement_pair(system_random(32))
    assert check_agreement_key(pair.public) == pair.public
    for length in (0, 31, 33):
        with pytest.raises(InvalidKey):
            agree(pair.secret, bytes([9]) * length)
        with pytest.raises(InvalidKey):
            agree(bytes(length), pair.public)
        with pytest.raises(InvalidKey):
            agreement_pair(bytes(length))


@pytest.mark.parametrize("public", SMALL_ED25519, ids=bytes.hex)
def test_signing_keys_of_small_order_are_refused(public: bytes) -> None:
    with pytest.raises(InvalidKey):
        check_signing_key(public)
    # The forgery that OpenSSL accepts: R is the key's neutral element and S is zero.
    for signature in (public + bytes(32), b"\x01" + bytes(63)):
        with pytest.raises(InvalidKey):
            verify(public, "spk", b"anything", signature)


def test_signatures() -> None:
    pair = signing_pair(system_random(32))
    assert check_signing_key(pair.public) == pair.public
    signature = sign(pair, "spk", b"body")
    verify(pair.public, "spk", b"body", signature)
    assert verifies(pair.public, b"salam/e2ee/1/spk\x00body", signature)
    for kind, body, altered in (
        ("kem-last", b"body", signature),
        ("spk", b"bodY", signature),
        ("spk", b"body", signature[:-1]),
        ("spk", b"body", bytes(64)),
        ("spk", b"body", b"\x01" + bytes(31) + signature[32:]),
    ):
        with pytest.raises(BadSignature):
            verify(pair.public, kind, body, altered)
    for length in (0, 31, 33):
        with pytest.raises(InvalidKey):
            verify(bytes([3]) * length, "spk", b"body", signature)
        with pytest.raises(InvalidKey):
            signing_pair(bytes(length))
        for wrong in (KeyPair(bytes(length), pair.public), KeyPair(pair.secret, bytes(length))):
            with pytest.raises(InvalidKey):
                sign(wrong, "spk", b"body")


def test_a_signature_whose_s_is_not_below_the_order_is_refused() -> None:
    pair = signing_pair(system_random(32))
    signature = sign(pair, "spk", b"body")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(BadSignature):
        verify(pair.public, "spk", b"body", signature[:32] + s.to_bytes(32, "little"))


def test_a_signature_whose_r_is_of_small_order_is_refused() -> None:
    """A key's owner can make one that satisfies the equation: R is the neutral element and S = h * a."""
    seed = system_random(32)
    pair, message = signing_pair(seed), b"salam/e2ee/1/spk\x00body"
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = bytearray(hashlib.sha512(seed).digest()[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    neutral = b"\x01" + bytes(31)
    challenge = int.from_bytes(hashlib.sha512(neutral + pair.public + message).digest(), "little")
    s = challenge * int.from_bytes(scalar, "little") % order
    with pytest.raises(BadSignature):
        verify(pair.public, "spk", b"body", neutral + s.to_bytes(32, "little"))


def test_the_key_that_is_not_canonical_but_sound_is_refused() -> None:
    """y = p + 3 and beyond encode points that have a canonical form; both libraries must not see two keys in one."""
    for y in range(P, 2**255):
        with pytest.raises(InvalidKey):
            check_signing_key(y.to_bytes(32, "little"))


@example(key=b"k" * 64, first=b"", second=b"\x02")
@example(key=b"k" * 65, first=b"\x01", second=b"")
@given(key=st.binary(max_size=200), first=st.binary(max_size=200), second=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_hmac_is_that_of_the_library(key: bytes, first: bytes, second: bytes) -> None:
    expected = tuple(hmac.digest(key, message, "sha256") for message in (first, second))
    assert hmac_pair(key, first, second) == expected
    assert hmac_sha256(key, first) == expected[0]


def test_hkdf_of_rfc_5869() -> None:
    ikm, salt, info = b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA))
    okm = hkdf(salt, ikm, info, 42)
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    without = hkdf(b"", ikm, b"", 42)
    assert without.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert hkdf(bytes(32), ikm, b"", 42) == without
    assert hkdf(salt, ikm, info, 8_160)[:42] == okm
    assert hkdf_expand(hmac_sha256(salt, ikm), info, 10) == okm[:10]
    with pytest.raises(LimitReached):
        hkdf(salt, ikm, info, 8_161)


def test_ml_kem() -> None:
    pair = kem_pair(system_random(64))
    secret, ciphertext = encapsulate(pair.public)
    assert (len(pair.public), len(ciphertext), len(secret)) == (1184, 1088, 32)
    assert decapsulate(pair.secret, ciphertext) == secret
    assert decapsulate(pair.secret, bytes([ciphertext[0] ^ 1]) + ciphertext[1:]) != secret
    for public in (b"", pair.public[:-1], pair.public + b"\x00", b"\xff" * 1184):
        with pytest.raises(InvalidKey):
            encapsulate(public)
    for short in (b"", ciphertext[:-1], ciphertext + b"\x00"):
        with pytest.raises(InvalidKey):
            decapsulate(pair.secret, short)


def test_sealed_data() -> None:
    key, nonce = system_random(32), system_random(12)
    sealed = AESGCM(key).encrypt(nonce, b"plain", b"aad")
    assert open_sealed(key, nonce, sealed, b"aad") == b"plain"
    for wrong in ((nonce, sealed[:-1], b"aad"), (nonce, sealed, b"aaD"), (nonce[:-1], sealed, b"aad"), (nonce, b"", b"aad")):
        with pytest.raises(DecryptionFailed):
            open_sealed(key, *wrong)
    with pytest.raises(InvalidKey):
        open_sealed(key[:16], nonce, sealed, b"aad")


def test_secrets_are_neither_shown_nor_pickled() -> None:
    pair = KeyPair(b"\x77" * 32, b"\x01" * 32)
    assert repr(b"\x77" * 4)[2:-1] not in repr(pair)
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            copier(pair)
    assert sha256(b"a", b"b") == hashlib.sha256(b"ab").digest()
    assert sodium.crypto_sign_BYTES == 64


def test_encoding() -> None:
    packed = u8(1) + u16(2) + u32(3) + u64(4) + lp(b"xy") + lp(b"bob") + u32(7)
    reader = Reader(packed)
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.lp(), reader.user()) == (1, 2, 3, 4, b"xy", "bob")
    assert (reader.position, reader.left) == (len(packed) - 4, 4)
    assert reader.device_id() == 7
    reader.done()
    assert fixed(b"ab", 2) == b"ab"
    for refused in (
        lambda: Reader(b"\x00").u16(),
        lambda: Reader(lp(b"")).user(),
        lambda: Reader(lp(b"x" * 256)).user(),
        lambda: Reader(lp(b"\xff")).user(),
        lambda: Reader(u32(0)).device_id(),
        lambda: Reader(b"x").done(),
        lambda: fixed(b"a", 2),
        lambda: user_bytes(""),
        lambda: user_bytes("x" * 256),
        lambda: user_bytes("\ud800"),
        lambda: check_device_id(0),
        lambda: check_device_id(2**32),
    ):
        with pytest.raises(MalformedMessage):
            refused()
    assert Reader(b"rest").rest() == b"rest"
    assert check_device_id(2**32 - 1) == 2**32 - 1
    assert user_bytes("\u00fc" * 127 + "x") == ("\u00fc" * 127 + "x").encode()
