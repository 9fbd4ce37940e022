"""HPKE against another implementation, sealed sender by every flipped byte, and safety numbers."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.errors import DecryptionFailed, E2EEError, InvalidKey, MalformedMessage, UntrustedIdentity
from e2ee.hpke import ENCAPSULATED_BYTES, hpke_open, hpke_seal
from e2ee.primitives import agreement_pair, signing_pair
from e2ee.safety_number import SafetyCode, check_code, grouped, safety_number
from e2ee.sealed import SenderCertificate, issue_sender_certificate, open_sender, seal_sender
from tests.support.e2ee import NOW, local_device

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
SERVER = signing_pair(b"v" * 32)
ALICE, BOB = local_device("alice"), local_device("bob", 2)
SENDER = issue_sender_certificate(
    SERVER, user_id="alice", device_id=1, signing_public=ALICE.certificate.signing, expires=int(NOW) + 60
)
MESSAGE = bytes.fromhex("01020200") + b"whatever a session wrote"


@settings(max_examples=40, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), plain=st.binary(max_size=500), info=st.binary(max_size=100))
def test_hpke_is_that_of_another_implementation(seed: bytes, plain: bytes, info: bytes) -> None:
    pair = agreement_pair(seed)
    theirs = SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(pair.public), info)
    assert hpke_open(pair, theirs, info=info, aad=b"") == plain
    ours = hpke_seal(pair.public, plain, info=info, aad=b"")
    assert SUITE.decrypt(ours, X25519PrivateKey.from_private_bytes(seed), info) == plain


def test_hpke_is_bound_to_info_and_aad() -> None:
    pair = agreement_pair(b"p" * 32)
    sealed = hpke_seal(pair.public, b"text", info=b"info", aad=b"aad")
    assert hpke_open(pair, sealed, info=b"info", aad=b"aad") == b"text"
    for info, aad in ((b"other", b"aad"), (b"info", b"other"), (b"", b"")):
        with pytest.raises(DecryptionFailed):
            hpke_open(pair, sealed, info=info, aad=aad)
    for length in (0, ENCAPSULATED_BYTES, ENCAPSULATED_BYTES + 15):
        with pytest.raises(DecryptionFailed):
            hpke_open(pair, sealed[:length], info=b"info", aad=b"aad")
    for low in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(InvalidKey):
            hpke_seal(low, b"", info=b"", aad=b"")
        with pytest.raises(InvalidKey):
            hpke_open(pair, low + bytes(16), info=b"", aad=b"")


def opened(sealed: bytes) -> tuple[SenderCertificate, bytes]:
    return open_sender(BOB.certificate, BOB.agreement, sealed, server=SERVER.public, now=NOW)


def test_every_flipped_byte_of_a_sealed_message() -> None:
    sealed = seal_sender(BOB.certificate, SENDER, MESSAGE)
    assert opened(sealed) == (SENDER, MESSAGE)
    for at in range(len(sealed)):
        mask = 1 << at % 8
        if at == 35:
            # X25519 ignores the high bit of a public key, but the key schedule does not.
            mask = 0x80
        with pytest.raises(E2EEError):
            opened(sealed[:at] + bytes([sealed[at] ^ mask]) + sealed[at + 1 :])
        with pytest.raises(E2EEError):
            opened(sealed[:at])


def test_every_flipped_byte_of_a_sender_certificate() -> None:
    for at in range(len(SENDER.encoded)):
        wrong = SENDER.encoded[:at] + bytes([SENDER.encoded[at] ^ 1]) + SENDER.encoded[at + 1 :]
        with pytest.raises(E2EEError):
            SenderCertificate.parse(wrong).verify(SERVER.public, now=NOW)


def test_times_that_are_none() -> None:
    with pytest.raises(UntrustedIdentity):
        SENDER.verify(SERVER.public, now=float("nan"))


def test_a_safety_number_is_of_both() -> None:
    keys = [ALICE.certificate.account, BOB.certificate.account]
    number = safety_number("alice", keys[0], "bob", keys[1])
    assert grouped(number).split(" ") == [number[at : at + 5] for at in range(0, 60, 5)]
    assert number == safety_number("bob", keys[1], "alice", keys[0])
    assert number != safety_number("alice", keys[1], "bob", keys[0])
    assert number[:30] != number[30:]
    for wrong in ("", "x" * 256, "\ud800"):
        with pytest.raises(MalformedMessage):
            safety_number(wrong, keys[0], "bob", keys[1])
    with pytest.raises(MalformedMessage):
        safety_number("alice", keys[0][:31], "bob", keys[1])


def test_every_flipped_byte_of_a_safety_code() -> None:
    account, peer_account = ALICE.certificate.account, BOB.certificate.account
    shown = SafetyCode(user_id="bob", account=peer_account, peer_id="alice", peer_account=account).encode()
    known = {"user_id": "alice", "peer_id": "bob"}
    check_code(shown, account=account, peer_account=peer_account, **known)
    for at in range(len(shown)):
        wrong = shown[:at] + bytes([shown[at] ^ 1]) + shown[at + 1 :]
        with pytest.raises((MalformedMessage, UntrustedIdentity)):
            check_code(wrong, account=account, peer_account=peer_account, **known)
