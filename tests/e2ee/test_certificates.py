"""Device certificates and device lists: what is signed, what follows, what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.certificates import (
    NO_HASH,
    DeviceCertificate,
    DeviceList,
    device_key_signature,
    issue_certificate,
    issue_device_list,
)
from e2ee.errors import (
    BadSignature,
    DeviceListRollback,
    InvalidKey,
    LimitReached,
    MalformedMessage,
    UnsupportedVersion,
    UntrustedIdentity,
)
from e2ee.limits import Limits
from e2ee.primitives import KeyPair, agreement_pair, sign, signing_pair
from tests.support.e2ee import edited, local_device

ACCOUNT = signing_pair(b"account".ljust(32))
SIGNING = signing_pair(b"signing".ljust(32))
AGREEMENT = agreement_pair(b"agreement".ljust(32))
SMALL_ORDER_ED25519 = b"\x01" + bytes(31)


def issue(
    user: str = "alice", device_id: int = 1, suites: tuple[int, ...] = (1, 2), account: KeyPair = ACCOUNT
) -> DeviceCertificate:
    return issue_certificate(
        account,
        user_id=user,
        device_id=device_id,
        signing_public=SIGNING.public,
        agreement_public=AGREEMENT.public,
        device_signature=device_key_signature(SIGNING, user, device_id, AGREEMENT.public),
        created=7,
        suites=suites,
    )


@given(
    user=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    device_id=st.integers(1, 2**32 - 1),
    suites=st.sets(st.integers(0, 255), min_size=1, max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_a_certificate_comes_back(user: str, device_id: int, suites: set[int]) -> None:
    certificate = issue(user, device_id, tuple(sorted(suites)))
    parsed = DeviceCertificate.parse(certificate.encoded)
    parsed.verify()
    assert parsed == certificate
    assert (parsed.user_id, parsed.device_id, parsed.created, set(parsed.suites)) == (user, device_id, 7, suites)
    assert (parsed.account, parsed.signing, parsed.agreement) == (ACCOUNT.public, SIGNING.public, AGREEMENT.public)
    assert parsed.hash == certificate.hash


def test_the_certificate_is_laid_out_as_the_profile_says() -> None:
    device = b"\x00\x05alice" + b"\x00\x00\x00\x09" + SIGNING.public + AGREEMENT.public
    device_signature = sign(SIGNING, "device-key", device)
    assert device_key_signature(SIGNING, "alice", 9, AGREEMENT.public) == device_signature
    keys = ACCOUNT.public + SIGNING.public + AGREEMENT.public
    body = b"\x01\x00\x05alice\x00\x00\x00\x09" + keys + (7).to_bytes(8, "big") + b"\x02\x01\x02" + device_signature
    assert issue(device_id=9).encoded == body + sign(ACCOUNT, "device-cert", body)


def test_every_byte_of_a_certificate_counts() -> None:
    encoded = issue().encoded
    for at in range(len(encoded)):
        altered = encoded[:at] + bytes([encoded[at] ^ 1]) + encoded[at + 1 :]
        with pytest.raises((MalformedMessage, BadSignature, InvalidKey)):
            DeviceCertificate.parse(altered).verify()
    for length in range(len(encoded)):
        with pytest.raises(MalformedMessage):
            DeviceCertificate.parse(encoded[:length])
    with pytest.raises(MalformedMessage):
        DeviceCertificate.parse(encoded + b"\x00")


def test_a_certificate_of_another_version() -> None:
    with pytest.raises(UnsupportedVersion):
        DeviceCertificate.parse(b"\x02" + issue().encoded[1:])


@pytest.mark.parametrize("suites", [(), (2, 1), (1, 1), tuple(range(9))])
def test_suites_rise_and_are_one_to_eight(suites: tuple[int, ...]) -> None:
    with pytest.raises(MalformedMessage):
        issue(suites=suites)
    good = issue(suites=(1, 2)).encoded
    at = 1 + 7 + 4 + 96 + 8
    with pytest.raises(MalformedMessage):
        DeviceCertificate.parse(good[:at] + bytes([len(suites), *suites]) + good[at + 3 :])


def test_keys_are_checked_where_they_enter() -> None:
    encoded = issue().encoded
    for at, key in ((12, SMALL_ORDER_ED25519), (44, SMALL_ORDER_ED25519), (76, bytes(32))):
        with pytest.raises(InvalidKey):
            DeviceCertificate.parse(encoded[:at] + key + encoded[at + 32 :]).verify()
    with pytest.raises(InvalidKey):
        device_key_signature(SIGNING, "alice", 1, bytes(32))
    with pytest.raises(MalformedMessage):
        device_key_signature(SIGNING, "alice", 0, AGREEMENT.public)


def test_an_account_does_not_sign_what_the_device_has_not() -> None:
    good = {"user_id": "alice", "device_id": 1, "signing_public": SIGNING.public, "agreement_public": AGREEMENT.public}
    signature = device_key_signature(SIGNING, "alice", 1, AGREEMENT.public)
    for wrong, error in (
        ({"user_id": "bob"}, BadSignature),
        ({"device_id": 2}, BadSignature),
        ({"agreement_public": agreement_pair(bytes(32)).public}, BadSignature),
        ({"signing_public": ACCOUNT.public}, BadSignature),
        ({"signing_public": b"short"}, MalformedMessage),
    ):
        with pytest.raises(error):
            issue_certificate(ACCOUNT, **{**good, **wrong}, device_signature=signature, created=1, suites=(1,))  # type: ignore[arg-type]


def test_a_device_keeps_its_signing_key() -> None:
    known = issue()
    known.check_follows(issue(suites=(2,)))
    other = local_device("alice").certificate
    with pytest.raises(UntrustedIdentity) as caught:
        other.check_follows(known)
    assert (caught.value.old, caught.value.new) == (known.signing, other.signing)
    with pytest.raises(UntrustedIdentity):
        issue(device_id=2).check_follows(known)


def make_list(*certificates: DeviceCertificate, previous: DeviceList | None = None, account: KeyPair = ACCOUNT) -> DeviceList:
    return issue_device_list(account, user_id="alice", created=9, certificates=certificates, previous=previous)


def test_a_list_comes_back() -> None:
    first, second = issue(device_id=1), issue(device_id=2)
    devices = make_list(second, first)
    assert devices.devices == ((1, first.hash), (2, second.hash))
    assert (devices.seq, devices.prev_hash, devices.created) == (1, NO_HASH, 9)
    parsed = DeviceList.parse(devices.encoded)
    parsed.verify()
    assert parsed == devices
    assert parsed.includes(first)
    assert not parsed.includes(issue(device_id=3))
    assert not parsed.includes(issue(device_id=1, suites=(1,)))
    assert not parsed.includes(issue("bob"))
    empty = make_list(previous=devices)
    assert (empty.seq, empty.prev_hash, empty.devices) == (2, devices.hash, ())
    empty.check_follows(devices)


def test_every_byte_of_a_list_counts() -> None:
    encoded = make_list(issue(), previous=make_list()).encoded
    for at in range(len(encoded)):
        altered = encoded[:at] + bytes([encoded[at] ^ 1]) + encoded[at + 1 :]
        with pytest.raises((MalformedMessage, BadSignature, InvalidKey)):
            DeviceList.parse(altered).verify()
    for length in range(len(encoded)):
        with pytest.raises(MalformedMessage):
            DeviceList.parse(encoded[:length])


def test_lists_that_are_none() -> None:
    encoded = make_list(issue(device_id=1), issue(device_id=2)).encoded
    seq = 1 + 7 + 32
    count = seq + 8 + 32 + 8
    first, second = encoded[count + 2 : count + 38], encoded[count + 38 : count + 74]
    edits = [
        (0, b"\x02"),
        (seq, bytes(8)),
        (seq + 8, b"\x01"),
        (count + 2, second + first),
        (count + 2, first + first),
        (count + 2, bytes(4)),
        (count, b"\x00\x03"),
        (count, b"\x00\x01"),
    ]
    for at, replacement in edits:
        with pytest.raises(MalformedMessage):
            DeviceList.parse(edited(encoded, [{"at": at, "delete": len(replacement), "insert": replacement.hex()}]))


def test_a_list_holds_32_devices_and_no_more() -> None:
    certificates = tuple(issue(device_id=number) for number in range(1, 34))
    full = make_list(*certificates[:32])
    assert len(DeviceList.parse(full.encoded).devices) == 32
    with pytest.raises(LimitReached):
        make_list(*certificates)
    larger = issue_device_list(ACCOUNT, user_id="alice", created=1, certificates=certificates, limits=Limits(max_devices=33))
    with pytest.raises(MalformedMessage):
        DeviceList.parse(larger.encoded)


def test_a_list_is_of_one_account() -> None:
    for stranger in (issue("bob"), issue(account=SIGNING)):
        with pytest.raises(UntrustedIdentity):
            make_list(stranger)
    with pytest.raises(MalformedMessage):
        make_list(issue(), issue())
    with pytest.raises(UntrustedIdentity):
        make_list(previous=issue_device_list(SIGNING, user_id="alice", created=1, certificates=()))


def test_what_follows_a_list() -> None:
    chain = [make_list()]
    for _ in range(3):
        chain.append(make_list(issue(), previous=chain[-1]))
    fork = make_list(previous=chain[0])
    for known in chain:
        for offered in chain:
            if offered.seq >= known.seq:
                offered.check_follows(known)
            else:
                with pytest.raises(DeviceListRollback):
                    offered.check_follows(known)
    with pytest.raises(DeviceListRollback):
        fork.check_follows(chain[1])
    with pytest.raises(DeviceListRollback):
        chain[2].check_follows(fork)
    chain[3].check_follows(fork)
    for other in (make_list(account=SIGNING), issue_device_list(ACCOUNT, user_id="bob", created=1, certificates=())):
        with pytest.raises(UntrustedIdentity) as caught:
            other.check_follows(chain[0])
        assert (caught.value.old, caught.value.new) == (ACCOUNT.public, other.account)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_malformed_or_parsed(data: bytes) -> None:
    for parse in (DeviceCertificate.parse, DeviceList.parse):
        with suppress(MalformedMessage):
            parse(data)
