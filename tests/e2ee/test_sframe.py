"""SFrame: the vectors of RFC 9605, round trips, and refusal of everything that is not what was sealed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.errors import DecryptionFailed, MalformedMessage, UnsupportedSuite
from e2ee.sframe import MAX_FRAME_COUNTER, MAX_KID, FrameKey, Header, MediaSuite, media_suite, ratchet
from tests.support.vectors import load_vectors

KEY = bytes(range(32))
NUMBERS = st.integers(0, MAX_KID)


def test_headers_of_the_vectors() -> None:
    for vector in load_vectors("sframe/test-vectors.json")["header"]:
        header = Header(vector["kid"], vector["ctr"])
        encoded = bytes.fromhex(vector["encoded"])
        assert header.encode() == encoded
        assert Header.parse(encoded + b"rest") == (header, len(encoded))


def test_frames_of_the_vectors() -> None:
    offered = set()
    for vector in load_vectors("sframe/test-vectors.json")["sframe"]:
        if vector["cipher_suite"] < MediaSuite.AES_128_GCM_SHA256_128:
            with pytest.raises(UnsupportedSuite):
                media_suite(vector["cipher_suite"])
            continue
        suite = media_suite(vector["cipher_suite"])
        offered.add(suite)
        key = FrameKey(vector["kid"], bytes.fromhex(vector["base_key"]), suite)
        plain, sealed, metadata = (bytes.fromhex(vector[name]) for name in ("pt", "ct", "metadata"))
        assert key.seal(vector["ctr"], plain, metadata) == sealed
        assert key.open(sealed, metadata) == plain
    assert offered == set(MediaSuite)


# Section 4.3 in numbers: what is inside the first byte, and where another byte begins.
@pytest.mark.parametrize(
    ("kid", "counter", "encoded"),
    [
        (0, 0, "00"),
        (7, 7, "77"),
        (8, 0, "8008"),
        (0, 8, "0808"),
        (255, 256, "89ff0100"),
        (2**36 - 1, 0, "c00fffffffff"),
        (MAX_KID, MAX_FRAME_COUNTER, "ff" + "ff" * 16),
    ],
)
def test_header_at_its_edges(kid: int, counter: int, encoded: str) -> None:
    assert Header(kid, counter).encode().hex() == encoded
    assert Header.parse(bytes.fromhex(encoded)) == (Header(kid, counter), len(encoded) // 2)


@pytest.mark.parametrize("encoded", ["", "80", "08", "9801", "8007", "0807", "900001", "090001", "f0" + "00" * 8])
def test_broken_headers(encoded: str) -> None:
    with pytest.raises(MalformedMessage):
        Header.parse(bytes.fromhex(encoded))


@given(NUMBERS, NUMBERS, st.binary(max_size=20))
@settings(max_examples=100)
def test_header_round_trip(kid: int, counter: int, rest: bytes) -> None:
    encoded = Header(kid, counter).encode()
    assert Header.parse(encoded + rest) == (Header(kid, counter), len(encoded))


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_one_header_has_one_form(data: bytes) -> None:
    try:
        header, length = Header.parse(data)
    except MalformedMessage:
        return
    assert header.encode() == data[:length]


@pytest.mark.parametrize("number", [-1, 0, 1, 2, 3, 6, 7, 8, 65_535])
def test_other_suites_are_refused(number: int) -> None:
    with pytest.raises(UnsupportedSuite):
        media_suite(number)


@pytest.mark.parametrize("suite", list(MediaSuite))
@pytest.mark.parametrize("plain", [b"", b"a frame", bytes(2000)])
def test_round_trip(suite: MediaSuite, plain: bytes) -> None:
    key = FrameKey(0x123, KEY, suite)
    sealed = key.seal(9, plain, b"meta")
    assert len(sealed) == len(plain) + 16 + len(Header(0x123, 9).encode())
    assert key.open(sealed, b"meta") == plain


def test_every_changed_byte_is_noticed() -> None:
    key = FrameKey(0x123, KEY)
    sealed = key.seal(0x1234, b"a frame of some length", b"meta")
    for index in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[index] ^= 1 << bit
            with pytest.raises((DecryptionFailed, MalformedMessage)):
                key.open(bytes(changed), b"meta")
    with pytest.raises(DecryptionFailed):
        key.open(sealed, b"metb")
    with pytest.raises(DecryptionFailed):
        key.open(sealed)
    with pytest.raises(DecryptionFailed):
        key.open(sealed + b"\x00", b"meta")


def test_a_cut_object_is_refused() -> None:
    key = FrameKey(1, KEY)
    sealed = key.seal(1, b"")
    with pytest.raises(MalformedMessage):
        key.open(sealed[:-1])
    with pytest.raises(MalformedMessage):
        key.open(b"")


def test_another_kid_suite_or_key_does_not_open() -> None:
    sealed = FrameKey(1, KEY).seal(0, b"plain")
    for key in (FrameKey(2, KEY), FrameKey(1, KEY[::-1]), FrameKey(1, KEY, MediaSuite.AES_128_GCM_SHA256_128)):
        with pytest.raises(DecryptionFailed):
            key.open(sealed)


def test_ratchet_gives_keys_of_the_hash_length_that_differ() -> None:
    steps = [KEY]
    for _ in range(15):
        steps.append(ratchet(steps[-1]))
    assert [len(step) for step in steps] == [32] + [64] * 15
    assert len(set(steps)) == 16
    assert len(ratchet(KEY, MediaSuite.AES_128_GCM_SHA256_128)) == 32


def test_ratchet_is_hkdf_as_the_rfc_writes_it() -> None:
    assert ratchet(KEY) == HKDF(SHA512(), 64, b"", b"SFrame 1.0 Ratchet").derive(KEY)


def test_the_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(FrameKey(1, KEY))
