"""The handshake: what both sides agree on, and what each refuses without a trace."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.errors import (
    DecryptionFailed,
    DowngradeRefused,
    E2EEError,
    InvalidKey,
    MalformedMessage,
    NoSession,
    PreKeysExhausted,
    TooManySkipped,
    UnknownPreKey,
    UnsupportedSuite,
    UnsupportedVersion,
    UntrustedIdentity,
)
from e2ee.handshake import LocalDevice, PreKeyMessage, PreKeySecrets, choose_suite, initiate, respond
from e2ee.limits import Limits, Policy
from e2ee.prekey_message import message_type
from e2ee.primitives import agreement_pair, kem_pair, sha256, system_random
from e2ee.session import Session
from tests.support.e2ee import ANY_SUITE, NOW, Offer, Recorded, flip, local_device, meet, offer, talk

ALICE, BOB = local_device("alice"), local_device("bob")
SUITE_1_ONLY = local_device("bob", suites=(1,))


def begin(offered: Offer, policy: Policy = ANY_SUITE, alice: LocalDevice = ALICE) -> Session:
    return initiate(alice, offered.bundle, policy, now=NOW)


def answer(message: bytes, secrets: PreKeySecrets, bob: LocalDevice = BOB, alice: LocalDevice = ALICE) -> bytes:
    session = respond(bob, alice.certificate, PreKeyMessage.parse(message), secrets, ANY_SUITE, now=NOW)
    return session.decrypt(message, now=NOW)


@pytest.mark.parametrize("one_time", [False, True])
@pytest.mark.parametrize("kem", ["none", "last", "once"])
def test_both_sides_agree(one_time: bool, kem: str) -> None:
    bob = BOB if kem != "none" else SUITE_1_ONLY
    offered = offer(bob, one_time=one_time, kem=kem != "none", kem_once=kem == "once")
    mine = begin(offered)
    message = mine.encrypt(b"hello", now=NOW)
    first = PreKeyMessage.parse(message)
    assert (first.suite, first.one_time_id, first.kem_id) == (mine.suite, 2 if one_time else None, 3 if kem != "none" else None)
    assert first.outer + first.inner == message
    assert first.base_key == mine.base_key
    theirs = respond(bob, ALICE.certificate, first, offered.secrets, ANY_SUITE, now=NOW)
    assert theirs.decrypt(message, now=NOW) == b"hello"
    assert (theirs.transcript, theirs.base_key, theirs.suite) == (mine.transcript, mine.base_key, mine.suite)
    assert (mine.peer_user, mine.peer_device, mine.peer_signing) == ("bob", 1, bob.signing.public)
    assert (theirs.peer_user, theirs.peer_device, theirs.peer_signing) == ("alice", 1, ALICE.signing.public)
    assert (mine.initiator, theirs.initiator, mine.acknowledged, theirs.acknowledged) == (True, False, False, True)
    assert mine.decrypt(theirs.encrypt(b"reply", now=NOW), now=NOW) == b"reply"
    assert mine.acknowledged


def test_the_highest_common_suite_is_taken() -> None:
    any_, strict = ANY_SUITE, Policy(min_suite=2)
    assert choose_suite((1, 2), (1, 2), any_) == 2
    assert choose_suite((1, 2, 3, 9), (2, 3, 9), strict) == 2
    assert choose_suite((1, 2), (1,), any_) == 1
    for own, theirs, policy in (((1,), (2,), any_), ((3,), (3,), any_), ((1, 2), (1,), strict), ((1,), (1, 2), strict)):
        with pytest.raises(DowngradeRefused):
            choose_suite(own, theirs, policy)


def test_no_downgrade_by_the_server() -> None:
    """It leaves out the KEM prekey, or the one-time prekey, or hands out an old certificate."""
    for policy in (ANY_SUITE, Policy(min_suite=2)):
        with pytest.raises(DowngradeRefused):
            begin(offer(BOB, kem=False), policy)
    with pytest.raises(DowngradeRefused):
        begin(offer(SUITE_1_ONLY), Policy(min_suite=2))
    with pytest.raises(PreKeysExhausted):
        begin(offer(BOB, one_time=False), Policy(require_one_time=True))
    assert begin(offer(BOB), Policy(require_one_time=True)).suite == 2
    # A KEM prekey that comes with a device of suite 1 stays unused.
    session = begin(offer(SUITE_1_ONLY))
    assert session.suite == 1
    assert PreKeyMessage.parse(session.encrypt(b"", now=NOW)).kem_id is None


def test_no_downgrade_by_the_sender() -> None:
    offered = offer(BOB, kem=False)
    weaker = local_device("alice", suites=(1,))
    message = begin(offered, alice=weaker).encrypt(b"x", now=NOW)
    first = PreKeyMessage.parse(message)
    assert respond(BOB, weaker.certificate, first, offered.secrets, ANY_SUITE, now=NOW).decrypt(message, now=NOW) == b"x"
    with pytest.raises(DowngradeRefused):
        respond(BOB, weaker.certificate, first, offered.secrets, Policy(min_suite=2), now=NOW)
    # The known certificate of the same device lists suite 2, so this message should have been of suite 2.
    stronger = replace(weaker.certificate, suites=(1, 2))
    with pytest.raises(DowngradeRefused):
        respond(BOB, stronger, first, offered.secrets, ANY_SUITE, now=NOW)


def test_the_sender_is_the_one_that_is_known() -> None:
    offered = offer(BOB)
    first = PreKeyMessage.parse(begin(offered).encrypt(b"x", now=NOW))
    mallory = local_device("alice")
    with pytest.raises(UntrustedIdentity) as caught:
        respond(BOB, mallory.certificate, first, offered.secrets, ANY_SUITE, now=NOW)
    assert (caught.value.old, caught.value.new) == (mallory.signing.public, ALICE.signing.public)
    assert str(caught.value) == "a first message is not under the known keys of its sender"


def test_the_limits_are_those_of_both_ratchets() -> None:
    met = talk(meet(limits=Limits(max_skip=1)))
    for sender, reader in ((met.alice, met.bob), (met.bob, met.alice)):
        missed = [sender.encrypt(b"", now=NOW) for _ in range(3)]
        with pytest.raises(TooManySkipped):
            reader.decrypt(missed[2], now=NOW)
        reader.decrypt(missed[1], now=NOW)


@pytest.mark.parametrize("changed", ["user", "device"])
def test_the_addresses_are_part_of_the_agreement(changed: str) -> None:
    """The same keys under another name give other keys: no identity is misbound."""
    offered = offer(BOB)
    message = begin(offered).encrypt(b"x", now=NOW)
    other = replace(ALICE.certificate, **({"user_id": "alicf"} if changed == "user" else {"device_id": 2}))
    session = respond(BOB, other, PreKeyMessage.parse(message), offered.secrets, ANY_SUITE, now=NOW)
    with pytest.raises(DecryptionFailed):
        session.decrypt(message, now=NOW)


def test_every_prekey_is_part_of_the_agreement() -> None:
    offered = offer(BOB)
    message = begin(offered).encrypt(b"x", now=NOW)
    assert answer(message, offered.secrets) == b"x"
    pair, kem = agreement_pair(system_random(32)), kem_pair(system_random(64))
    for secrets in (
        replace(offered.secrets, signed=pair),
        replace(offered.secrets, one_time=pair),
        replace(offered.secrets, kem=kem),
    ):
        with pytest.raises(DecryptionFailed):
            answer(message, secrets)
    for secrets in (replace(offered.secrets, one_time=None), replace(offered.secrets, kem=None)):
        with pytest.raises(UnknownPreKey):
            answer(message, secrets)


def test_a_prekey_that_was_not_used_is_not_looked_at() -> None:
    offered = offer(BOB, one_time=False)
    message = begin(offered).encrypt(b"x", now=NOW)
    assert answer(message, replace(offered.secrets, one_time=agreement_pair(system_random(32)))) == b"x"


@pytest.mark.parametrize("kem", [False, True])
def test_every_byte_of_a_first_message_counts(kem: bool) -> None:
    bob = BOB if kem else SUITE_1_ONLY
    offered = offer(bob, kem=kem)
    message = begin(offered).encrypt(b"x", now=NOW)
    session = respond(bob, ALICE.certificate, PreKeyMessage.parse(message), offered.secrets, ANY_SUITE, now=NOW)
    before = session.to_record()
    for at in range(len(message)):
        altered = message[:at] + bytes([message[at] ^ 0x80]) + message[at + 1 :]
        with pytest.raises(E2EEError):
            answer(altered, offered.secrets, bob)
        with pytest.raises(E2EEError):
            session.decrypt(altered, now=NOW)
    assert session.to_record() == before
    for length in range(len(message)):
        with pytest.raises((MalformedMessage, DecryptionFailed)):
            answer(message[:length], offered.secrets, bob)
    assert session.decrypt(message, now=NOW) == b"x"


def test_first_messages_that_are_none() -> None:
    message = begin(offer(BOB)).encrypt(b"x", now=NOW)
    plain = begin(offer(SUITE_1_ONLY, one_time=False, kem=False)).encrypt(b"x", now=NOW)
    for wrong, error in (
        (b"", MalformedMessage),
        (b"\x01", MalformedMessage),
        (b"\x02" + message[1:], UnsupportedVersion),
        (b"\x01\x01" + message[2:], MalformedMessage),
        (message[:2] + b"\x03" + message[3:], UnsupportedSuite),
        (message[:2] + b"\x00" + message[3:], UnsupportedSuite),
        (message[:2] + b"\x01" + message[3:], MalformedMessage),
        (message[:3] + b"\x08" + message[4:], MalformedMessage),
        (message[:3] + b"\x04" + message[4:], MalformedMessage),
        (message[:3] + b"\x06" + message[4:], MalformedMessage),
        (plain[:2] + b"\x02" + plain[3:], MalformedMessage),
        (plain[:168] + b"\x00\x00\x00\x01" + plain[172:], MalformedMessage),
        (plain[:172] + b"\x00\x00\x00\x01" + plain[176:], MalformedMessage),
    ):
        with pytest.raises(error):
            PreKeyMessage.parse(wrong)


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xed" + b"\xff" * 30 + b"\x7f"])
def test_a_base_key_of_small_order_is_refused(key: bytes) -> None:
    offered = offer(BOB)
    message = begin(offered).encrypt(b"x", now=NOW)
    with pytest.raises(InvalidKey):
        answer(message[:132] + key + message[164:], offered.secrets)


def test_the_fingerprint_names_the_base_key_and_the_prekeys() -> None:
    offered = offer(BOB)
    one = PreKeyMessage.parse(begin(offered).encrypt(b"x", now=NOW))
    assert one.fingerprint == sha256(one.base_key, bytes([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]))
    session = begin(offered)
    first, second = (PreKeyMessage.parse(session.encrypt(text, now=NOW)) for text in (b"x", b"y"))
    assert first.fingerprint == second.fingerprint
    different = {
        one.fingerprint,
        first.fingerprint,
        replace(one, signed_id=9).fingerprint,
        replace(one, one_time_id=9).fingerprint,
        replace(one, kem_id=9).fingerprint,
        replace(one, one_time_id=None).fingerprint,
    }
    assert len(different) == 6


def test_a_session_that_has_read_nothing_sends_nothing() -> None:
    offered = offer(BOB)
    message = begin(offered).encrypt(b"x", now=NOW)
    session = respond(BOB, ALICE.certificate, PreKeyMessage.parse(message), offered.secrets, ANY_SUITE, now=NOW)
    before = session.to_record()
    with pytest.raises(NoSession):
        session.encrypt(b"y", now=NOW)
    assert session.to_record() == before


def test_randomness_is_drawn_as_the_profile_says() -> None:
    draws: list[int] = []

    def random(length: int) -> bytes:
        draws.append(length)
        return system_random(length)

    session = initiate(ALICE, offer(BOB).bundle, ANY_SUITE, random=random, now=NOW)
    session.encrypt(b"x", random=random, now=NOW)
    assert draws == [32, 32, 12, 12]
    # The seeds are the private keys themselves.
    seeds = bytes(range(64))
    assert (
        initiate(ALICE, offer(BOB).bundle, ANY_SUITE, random=Recorded(seeds), now=NOW).base_key == agreement_pair(seeds[:32]).public
    )


def test_both_may_begin_and_agree_whose_session_is_used() -> None:
    to_bob, to_alice = offer(BOB), offer(ALICE)
    a, b = begin(to_bob), initiate(BOB, to_alice.bundle, ANY_SUITE, now=NOW)
    from_a, from_b = a.encrypt(b"from a", now=NOW), b.encrypt(b"from b", now=NOW)
    at_bob = respond(BOB, ALICE.certificate, PreKeyMessage.parse(from_a), to_bob.secrets, ANY_SUITE, now=NOW)
    at_alice = respond(ALICE, BOB.certificate, PreKeyMessage.parse(from_b), to_alice.secrets, ANY_SUITE, now=NOW)
    assert at_bob.decrypt(from_a, now=NOW) == b"from a"
    assert at_alice.decrypt(from_b, now=NOW) == b"from b"
    used_by_alice = min((a, at_alice), key=lambda session: session.transcript)
    used_by_bob = min((b, at_bob), key=lambda session: session.transcript)
    assert used_by_alice.transcript == used_by_bob.transcript
    for sender, receiver in itertools.permutations((used_by_alice, used_by_bob)):
        assert receiver.decrypt(sender.encrypt(b"used", now=NOW), now=NOW) == b"used"
    with pytest.raises(DecryptionFailed):
        b.decrypt(from_a, now=NOW)


def test_secrets_are_neither_shown_nor_pickled() -> None:
    offered = offer(BOB)
    session = begin(offered)
    for holder in (ALICE, offered.secrets, session):
        assert not any(
            part in repr(holder) for part in (repr(ALICE.signing.secret)[2:-1], repr(offered.secrets.signed.secret)[2:-1])
        )
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            pickle.dumps(holder)
    assert repr(session) == "Session(peer_user='bob', peer_device=1, suite=2)"


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_malformed_or_parsed(data: st.DataObject) -> None:
    message = begin(offer(SUITE_1_ONLY, kem=False)).encrypt(b"x", now=NOW)
    cut, tail = data.draw(st.integers(0, len(message))), data.draw(st.binary(max_size=40))
    head = data.draw(st.sampled_from([message[:cut], message[:4], b"\x01\x02\x02\x03", b"\x01\x02"]))
    try:
        parsed = PreKeyMessage.parse(head + tail)
    except MalformedMessage:
        return
    assert parsed.outer + parsed.inner == head + tail


def test_the_type_of_a_message_is_its_second_byte() -> None:
    assert [message_type(b"\x01" + bytes([number])) for number in range(256)] == list(range(256))
    for short in (b"", b"\x01"):
        with pytest.raises(MalformedMessage):
            message_type(short)


def test_a_message_without_kem_has_an_empty_ciphertext() -> None:
    message = begin(offer(SUITE_1_ONLY, kem=False)).encrypt(b"x", now=NOW)
    assert PreKeyMessage.parse(message).kem_ciphertext == b""


def test_a_flipped_edit_is_a_change() -> None:
    assert flip(b"\x00\x01", -1) == {"at": 1, "delete": 1, "insert": "00"}
