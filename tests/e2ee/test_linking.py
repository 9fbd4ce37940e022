"""Linking: the order of steps, every flipped byte, and somebody in between."""

from __future__ import annotations

import pickle

import pytest

from e2ee.certificates import DeviceList, issue_device_list
from e2ee.errors import BadSignature, DecryptionFailed, E2EEError, MalformedMessage, UntrustedIdentity
from e2ee.linking import LinkState, NewDevice, PrimaryDevice
from e2ee.primitives import AESGCM, EMPTY_SALT, PREFIX, KeyPair, agree, agreement_pair, hkdf, sha256, signing_pair
from salam import RequestError
from tests.support.e2ee import NOW
from tests.support.kat import Named

ACCOUNT = signing_pair(b"k" * 32)
MALLORY = signing_pair(b"m" * 32)


def new_device(name: str = "new") -> NewDevice:
    return NewDevice(signing=signing_pair(b"s" * 32), agreement=agreement_pair(b"a" * 32), suites=(1, 2), random=Named(name))


def primary_device(account: KeyPair = ACCOUNT) -> PrimaryDevice:
    return PrimaryDevice(account, user_id="alice", device_id=2)


def listed(primary: PrimaryDevice, account: KeyPair = ACCOUNT) -> DeviceList:
    certificate = primary.certificate(created=int(NOW))
    return issue_device_list(account, user_id="alice", created=int(NOW), certificates=(certificate,))


def flips(message: bytes) -> list[bytes]:
    return [message[:at] + bytes([message[at] ^ 1 << at % 8]) + message[at + 1 :] for at in range(len(message))]


def test_every_flipped_byte_of_every_message() -> None:
    new, primary = new_device(), primary_device()
    proposal = primary.propose(new.offer)
    for wrong in flips(proposal):
        with pytest.raises(E2EEError):
            new.propose(wrong)
    accept = new.propose(proposal)
    for wrong in flips(accept):
        with pytest.raises(E2EEError):
            primary.accept(wrong)
    primary.accept(accept)
    assert new.code == primary.code
    assert len(new.code) == 6
    primary.confirm()
    new.confirm()
    complete = primary.complete(listed(primary))
    for wrong in flips(complete):
        with pytest.raises(E2EEError):
            new.complete(wrong)
    certificate, devices = new.complete(complete)
    assert devices.includes(certificate)


def test_every_flipped_byte_of_an_offer() -> None:
    """A changed offer is refused at once, or its new device cannot read the proposal: both bind all of it."""
    new = new_device()
    for wrong in flips(new.offer):
        primary = primary_device()
        try:
            proposal = primary.propose(wrong)
        except E2EEError:
            assert primary.state is LinkState.STARTED
            continue
        with pytest.raises(DecryptionFailed):
            new.propose(proposal)


def test_steps_out_of_order() -> None:
    new, primary = new_device(), primary_device()
    for side in (new, primary):
        with pytest.raises(RequestError):
            _ = side.code
        with pytest.raises(RequestError):
            side.confirm()
    with pytest.raises(RequestError):
        primary.accept(b"")
    with pytest.raises(RequestError):
        new.complete(b"")
    proposal = primary.propose(new.offer)
    with pytest.raises(RequestError):
        primary.propose(new.offer)
    accept = new.propose(proposal)
    primary.accept(accept)
    with pytest.raises(RequestError):
        primary.accept(accept)
    with pytest.raises(RequestError):
        primary.certificate(created=1)
    primary.confirm()
    with pytest.raises(RequestError):
        primary.confirm()
    stranger = issue_device_list(ACCOUNT, user_id="alice", created=1, certificates=())
    with pytest.raises(UntrustedIdentity):
        primary.complete(stranger)
    devices = listed(primary)
    with pytest.raises(UntrustedIdentity):
        primary.complete(stranger)
    complete = primary.complete(devices)
    with pytest.raises(RequestError):
        new.complete(complete)
    new.confirm()
    new.complete(complete)
    assert new.state is primary.state is LinkState.LINKED
    with pytest.raises(RequestError):
        new.complete(complete)


def test_one_offer_reads_one_proposal() -> None:
    """Else a server could try proposals until the digits are those of the other side."""
    new = new_device()
    new.propose(primary_device(MALLORY).propose(new.offer))
    shown = new.code
    with pytest.raises(RequestError):
        new.propose(primary_device().propose(new.offer))
    assert new.code == shown


def test_somebody_in_between_shows_other_digits() -> None:
    """A server that answers the offer itself, and the real primary with an offer of its own, has different digits on both sides."""
    new, primary = new_device(), primary_device()
    between_primary, between_new = primary_device(MALLORY), new_device("between")
    new_accept = new.propose(between_primary.propose(new.offer))
    between_primary.accept(new_accept)
    primary.accept(between_new.propose(primary.propose(between_new.offer)))
    assert new.code != primary.code
    assert new.account == MALLORY.public


def forged_accept(primary: PrimaryDevice, nonce: bytes, signature: bytes, random: Named) -> None:
    """Play the new device by hand, with that nonce and signature."""
    new = NewDevice(signing=signing_pair(b"s" * 32), agreement=agreement_pair(b"a" * 32), suites=(1,), random=random)
    proposal = primary.propose(new.offer)
    bound = sha256(new.offer) + proposal[1:33]
    keys = hkdf(EMPTY_SALT, agree(random.drawn[:32], proposal[1:33]), PREFIX + b"link" + bound, 64)
    committed = nonce or random.drawn[32:64]
    sealed = AESGCM(keys[32:]).encrypt(bytes(12), committed + signature, bound)
    primary.accept(b"\1" + bytes(12) + sealed)


def test_a_value_that_was_not_committed_to() -> None:
    primary = primary_device()
    with pytest.raises(UntrustedIdentity):
        forged_accept(primary, bytes(32), bytes(64), Named("forged"))
    assert primary.state is LinkState.PROPOSED


def test_a_device_that_did_not_sign_its_keys() -> None:
    primary = primary_device()
    forged_accept(primary, b"", bytes(64), Named("forged"))
    primary.confirm()
    with pytest.raises(BadSignature):
        primary.certificate(created=1)
    assert primary.state is LinkState.CONFIRMED


@pytest.mark.parametrize("suites", [(), (2, 1), (1, 1), tuple(range(1, 10))])
def test_suites_of_an_offer(suites: tuple[int, ...]) -> None:
    with pytest.raises(MalformedMessage):
        NewDevice(signing=signing_pair(b"s" * 32), agreement=agreement_pair(b"a" * 32), suites=suites)


def test_ids_of_the_primary() -> None:
    for user, device in (("", 1), ("alice", 0), ("alice", 2**32)):
        with pytest.raises(MalformedMessage):
            PrimaryDevice(ACCOUNT, user_id=user, device_id=device)


def test_no_secret_is_shown() -> None:
    for side in (new_device(), primary_device()):
        assert "object at" in repr(side)
        with pytest.raises(TypeError):
            pickle.dumps(side)
