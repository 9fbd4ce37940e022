"""Prekeys and bundles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.errors import BadSignature, InvalidKey, MalformedMessage, UnsupportedVersion
from e2ee.prekeys import (
    Bundle,
    KemPreKey,
    OneTimePreKey,
    SignedPreKey,
    make_kem_prekey,
    make_one_time_prekey,
    make_signed_prekey,
)
from e2ee.primitives import sign, signing_pair, system_random
from tests.support.e2ee import local_device, offer

BOB = local_device("bob")


@pytest.mark.parametrize("one_time", [False, True])
@pytest.mark.parametrize("kem", [None, False, True], ids=["no kem", "last resort", "one-time kem"])
def test_a_bundle_comes_back(one_time: bool, kem: bool | None) -> None:
    bundle = offer(BOB, one_time=one_time, kem=kem is not None, kem_once=bool(kem)).bundle
    encoded = bundle.encode()
    assert encoded[1] == one_time | {None: 0, False: 2, True: 6}[kem]
    assert len(encoded) == 4 + len(BOB.certificate.encoded) + 108 + 36 * one_time + 1260 * (kem is not None)
    parsed = Bundle.parse(encoded)
    parsed.verify()
    assert parsed == bundle
    for length in range(len(encoded)):
        with pytest.raises(MalformedMessage):
            Bundle.parse(encoded[:length])
    with pytest.raises(MalformedMessage):
        Bundle.parse(encoded + b"\x00")


def test_every_byte_of_a_bundle_counts_but_the_one_time_prekey() -> None:
    encoded = offer(BOB).bundle.encode()
    free = range(4 + len(BOB.certificate.encoded) + 108, 4 + len(BOB.certificate.encoded) + 144)
    for at in range(len(encoded)):
        altered = encoded[:at] + bytes([encoded[at] ^ 1]) + encoded[at + 1 :]
        if at in free:
            Bundle.parse(altered).verify()
        else:
            with pytest.raises((MalformedMessage, BadSignature, InvalidKey)):
                Bundle.parse(altered).verify()


@pytest.mark.parametrize("flags", [4, 5, 8, 0x80, 0xFF])
def test_flags_that_are_none(flags: int) -> None:
    encoded = offer(BOB).bundle.encode()
    with pytest.raises(MalformedMessage):
        Bundle.parse(encoded[:1] + bytes([flags]) + encoded[2:])


def test_a_bundle_of_another_version() -> None:
    with pytest.raises(UnsupportedVersion):
        Bundle.parse(b"\x02" + offer(BOB).bundle.encode()[1:])


def test_prekeys_alone() -> None:
    signed, _ = make_signed_prekey(BOB.signing, 1, 2, system_random)
    once, _ = make_kem_prekey(BOB.signing, 3, 4, system_random, once=True)
    last, _ = make_kem_prekey(BOB.signing, 3, 4, system_random, once=False)
    one_time, pair = make_one_time_prekey(5, system_random)
    assert one_time.public == pair.public
    assert SignedPreKey.parse(signed.encode()) == signed
    assert KemPreKey.parse(once.encode()) == once
    assert OneTimePreKey.parse(one_time.encode()) == one_time
    prekeys: tuple[SignedPreKey | KemPreKey | OneTimePreKey, ...] = (signed, once, one_time)
    for prekey in prekeys:
        for wrong in (prekey.encode()[:-1], prekey.encode() + b"\x00"):
            with pytest.raises(MalformedMessage):
                prekey.parse(wrong)
    signed.verify(BOB.signing.public)
    once.verify(BOB.signing.public, once=True)
    last.verify(BOB.signing.public, once=False)
    stranger = signing_pair(system_random(32)).public
    refusals: tuple[Callable[[], None], ...] = (
        lambda: signed.verify(stranger),
        lambda: once.verify(BOB.signing.public, once=False),
        lambda: last.verify(BOB.signing.public, once=True),
        lambda: replace(signed, id=9).verify(BOB.signing.public),
        lambda: replace(last, created=9).verify(BOB.signing.public, once=False),
    )
    for refused in refusals:
        with pytest.raises(BadSignature):
            refused()


def test_keys_of_small_order_are_refused_however_they_are_signed() -> None:
    bundle = offer(BOB).bundle
    body = (1).to_bytes(4, "big") + (1).to_bytes(8, "big") + bytes(32)
    signed = SignedPreKey(1, 1, bytes(32), sign(BOB.signing, "spk", body))
    for wrong in (replace(bundle, signed=signed), replace(bundle, one_time=OneTimePreKey(1, b"\x01" + bytes(31)))):
        with pytest.raises(InvalidKey):
            wrong.verify()


@given(st.binary(max_size=700))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_malformed_or_parsed(data: bytes) -> None:
    for parse in (Bundle.parse, SignedPreKey.parse, KemPreKey.parse, OneTimePreKey.parse):
        with suppress(MalformedMessage):
            parse(data)
