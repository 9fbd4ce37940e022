"""Whom a device trusts: account keys, device lists, certificates, and the account's own devices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from e2ee import (
    BadSignature,
    Device,
    DeviceListRollback,
    InvalidKey,
    LimitReached,
    MalformedMessage,
    MemoryStore,
    NoSession,
    UntrustedIdentity,
)
from e2ee.certificates import DeviceCertificate, DeviceList, device_key_signature, issue_certificate, issue_device_list
from e2ee.primitives import KeyPair, agreement_pair, signing_pair
from e2ee.records import COUNTERS, LINES, SESSIONS, counter_record
from salam import AuthError, ConflictError, NotFoundError
from tests.support.e2ee_world import Directory, finish, link, meet, new_device, options, seeded

ACCOUNT = signing_pair(bytes([7]) * 32)


def certificate(device_id: int, account: KeyPair = ACCOUNT, user_id: str = "bob", seed: int | None = None) -> DeviceCertificate:
    random = seeded(device_id if seed is None else seed)
    signing, agreement = signing_pair(random(32)), agreement_pair(random(32))
    return issue_certificate(
        account,
        user_id=user_id,
        device_id=device_id,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, user_id, device_id, agreement.public),
        created=0,
        suites=(1,),
    )


def listed(
    *certificates: DeviceCertificate, previous: DeviceList | None = None, account: KeyPair = ACCOUNT, user_id: str = "bob"
) -> DeviceList:
    return issue_device_list(account, user_id=user_id, created=0, certificates=certificates, previous=previous)


async def learn(device: Device, device_list: DeviceList, *certificates: DeviceCertificate) -> tuple[tuple[int, ...], ...]:
    learned = await device.learn(device_list.user_id, device_list.encoded, [known.encoded for known in certificates])
    return learned.added, learned.removed


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def ann(directory: Directory) -> Device:
    return finish(new_device(directory, "ann", options(seed=1)))


async def test_the_first_account_key_is_trusted_as_it_comes(ann: Device) -> None:
    one, two = certificate(1), certificate(2)
    assert await learn(ann, listed(two, one), one, two) == ((1, 2), ())
    peer = await ann.peer("bob")
    assert peer is not None
    assert (peer.account, peer.seq, peer.devices, peer.verified, peer.offered) == (ACCOUNT.public, 1, (1, 2), False, None)
    assert await ann.devices_of("bob") == (listed(one, two), [one, two])
    assert await ann.devices_of("nobody") is None


async def test_a_list_follows_the_one_before(ann: Device) -> None:
    one, two = certificate(1), certificate(2)
    first = listed(one)
    second = listed(one, two, previous=first)
    third = listed(two, previous=second)
    assert await learn(ann, first, one) == ((1,), ())
    assert await learn(ann, second, two) == ((2,), ())
    assert await learn(ann, second) == ((), ())
    assert await learn(ann, third) == ((), (1,))
    with pytest.raises(DeviceListRollback):
        await learn(ann, second)
    with pytest.raises(DeviceListRollback):
        await learn(ann, listed(one, previous=second), one)


async def test_a_certificate_that_is_missing_is_told(ann: Device) -> None:
    with pytest.raises(MalformedMessage):
        await learn(ann, listed(certificate(1)))
    assert await ann.peer("bob") is None


async def test_the_list_of_somebody_else_is_refused(ann: Device) -> None:
    with pytest.raises(MalformedMessage):
        await ann.learn("cleo", listed(certificate(1)).encoded, [certificate(1).encoded])


async def test_forged_lists_and_certificates_are_refused(ann: Device) -> None:
    one = certificate(1)
    good = listed(one)
    with pytest.raises(BadSignature):
        await ann.learn("bob", good.encoded[:-1] + bytes([good.encoded[-1] ^ 1]), [one.encoded])
    forged = DeviceCertificate.parse(one.encoded[:-1] + bytes([one.encoded[-1] ^ 1]))
    with pytest.raises(BadSignature):
        await learn(ann, listed(forged), forged)
    assert await ann.peer("bob") is None


async def test_a_certificate_of_another_account_is_refused(ann: Device) -> None:
    stranger = certificate(1, account=signing_pair(bytes(32)))
    claimed = replace(stranger, account=ACCOUNT.public)
    with pytest.raises(UntrustedIdentity):
        await learn(ann, listed(claimed), stranger)


async def test_a_device_id_keeps_its_signing_key(ann: Device) -> None:
    one = certificate(1)
    first = listed(one)
    gone = listed(previous=first)
    again = certificate(1, seed=99)
    await learn(ann, first, one)
    await learn(ann, gone)
    with pytest.raises(UntrustedIdentity) as refused:
        await learn(ann, listed(again, previous=gone), again)
    assert (refused.value.old, refused.value.new) == (one.signing, again.signing)


async def test_an_account_has_had_a_bounded_number_of_devices(ann: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2ee.peers._MAX_CERTIFICATES", 1)
    first = listed(certificate(1))
    await learn(ann, first, certificate(1))
    with pytest.raises(LimitReached):
        await learn(ann, listed(certificate(2), previous=first), certificate(2))


async def test_another_account_key_blocks_until_somebody_decides(directory: Directory, ann: Device) -> None:
    bob = await new_device(directory, "bob", options(seed=2))
    await meet(directory, ann, "bob")
    other = signing_pair(bytes([9]) * 32)
    changed = listed(certificate(1, other), account=other)
    for _ in range(2):
        with pytest.raises(UntrustedIdentity) as refused:
            await learn(ann, changed, certificate(1, other))
        assert (refused.value.old, refused.value.new) == (bob.local.certificate.account, other.public)
    for call in (ann.encrypt("bob", b""), ann.needs_bundles("bob")):
        with pytest.raises(UntrustedIdentity):
            await call
    # The list under the trusted key alone does not lift it: a person decides.
    await ann.learn("bob", directory.lists["bob"].encoded)
    with pytest.raises(UntrustedIdentity):
        await ann.encrypt("bob", b"")
    with pytest.raises(UntrustedIdentity):
        await ann.accept_identity("bob", bytes(32))
    await ann.accept_identity("bob", bob.local.certificate.account)
    assert len(await ann.encrypt("bob", b"")) == 1


async def test_an_accepted_key_begins_from_nothing(directory: Directory, ann: Device) -> None:
    bob = await new_device(directory, "bob", options(seed=2))
    await meet(directory, ann, "bob")
    await ann.set_verified("bob", bob.local.certificate.account)
    other = signing_pair(bytes([9]) * 32)
    with pytest.raises(UntrustedIdentity):
        await learn(ann, listed(certificate(1, other), account=other))
    await ann.accept_identity("bob", other.public)
    peer = await ann.peer("bob")
    assert peer is not None
    assert (peer.account, peer.verified, peer.devices) == (other.public, False, ())
    assert await ann.run(lambda tx: tx.count(SESSIONS)) == 0
    with pytest.raises(NoSession):
        await ann.encrypt("bob", b"")
    # The same device id may have another key under another account key, and the numbers begin again.
    assert await learn(ann, listed(certificate(1, other), account=other), certificate(1, other)) == ((1,), ())


async def test_a_key_may_be_known_before_the_user_is_met(ann: Device) -> None:
    with pytest.raises(InvalidKey):
        await ann.accept_identity("bob", bytes(32))
    await ann.accept_identity("bob", ACCOUNT.public)
    other = signing_pair(bytes([9]) * 32)
    with pytest.raises(UntrustedIdentity):
        await learn(ann, listed(certificate(1, other), account=other))
    await ann.accept_identity("bob", ACCOUNT.public)
    assert await learn(ann, listed(certificate(1)), certificate(1)) == ((1,), ())


async def test_the_own_account_key_is_not_changed(ann: Device) -> None:
    with pytest.raises(UntrustedIdentity):
        await ann.accept_identity("ann", ACCOUNT.public)


async def test_a_comparison_holds_for_one_key(ann: Device) -> None:
    with pytest.raises(UntrustedIdentity):
        await ann.set_verified("bob", ACCOUNT.public)
    await learn(ann, listed(certificate(1)), certificate(1))
    with pytest.raises(UntrustedIdentity):
        await ann.set_verified("bob", bytes(32))
    for verified in (True, False):
        await ann.set_verified("bob", ACCOUNT.public, verified=verified)
        peer = await ann.peer("bob")
        assert peer is not None
        assert peer.verified is verified


async def test_a_removed_device_has_no_session_and_gets_nothing(directory: Directory, ann: Device) -> None:
    bob = await new_device(directory, "bob", options(seed=2))
    phone = await link(directory, bob, options(seed=3))
    await meet(directory, ann, "bob")
    await meet(directory, phone, "ann")
    sent = await phone.encrypt("ann", b"late")
    assert await ann.run(lambda tx: tx.count(LINES)) == 2
    directory.put_list(await bob.remove_device(2))
    await meet(directory, ann, "bob")
    assert [one.device_id for one in await ann.encrypt("bob", b"")] == [1]
    with pytest.raises(UntrustedIdentity):
        await ann.decrypt("bob", 2, next(one.message for one in sent if one.user_id == "ann"))
    # Its certificate stays known, for what it signed in groups.
    assert await ann.run(lambda tx: ann.steps.certificate(tx, "bob", 2)) == phone.local.certificate
    assert await ann.run(lambda tx: ann.steps.present_certificate(tx, "bob", 2)) is None
    await phone.learn("bob", directory.lists["bob"].encoded)
    with pytest.raises(UntrustedIdentity):
        await phone.encrypt("ann", b"")


async def test_a_store_holds_one_device(directory: Directory) -> None:
    store = MemoryStore()
    ann = await new_device(directory, "ann", options(seed=1), store)
    with pytest.raises(ConflictError):
        await Device.create(store, "bob", options())
    with pytest.raises(ConflictError):
        await link(directory, ann, options(seed=2), store)


async def test_a_wrong_user_id_is_refused() -> None:
    store = MemoryStore()
    with pytest.raises(MalformedMessage):
        await Device.create(store, "", options())
    with pytest.raises(NotFoundError):
        await Device.load(store)


async def test_only_the_primary_device_changes_the_list(directory: Directory, ann: Device) -> None:
    phone = await link(directory, ann, options(seed=2))
    for call in (phone.reserve_device_id(), phone.remove_device(1)):
        with pytest.raises(AuthError):
            await call
    with pytest.raises(AuthError):
        await phone.admit_device(certificate(3))
    with pytest.raises(AuthError):
        phone.account  # noqa: B018
    with pytest.raises(ConflictError):
        await ann.remove_device(1)
    with pytest.raises(NotFoundError):
        await ann.remove_device(3)


async def test_device_ids_are_never_given_again(directory: Directory, ann: Device) -> None:
    await link(directory, ann, options(seed=2))
    directory.put_list(await ann.remove_device(2))
    assert await ann.reserve_device_id() == 3
    # An old copy of the store came back.
    await ann.run(lambda tx: tx.put(COUNTERS, b"device", counter_record(1)))
    assert await ann.reserve_device_id() == 3
    await ann.run(lambda tx: tx.put(COUNTERS, b"device", counter_record(2**32 - 1)))
    with pytest.raises(LimitReached):
        await ann.reserve_device_id()


def own_certificate(
    ann: Device, device_id: int, signing: KeyPair, agreement: KeyPair, suites: tuple[int, ...] = (1,)
) -> DeviceCertificate:
    return issue_certificate(
        ann.account,
        user_id="ann",
        device_id=device_id,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, "ann", device_id, agreement.public),
        created=0,
        suites=suites,
    )


async def test_a_device_may_be_signed_again_with_the_same_keys(ann: Device) -> None:
    signing, agreement = signing_pair(bytes([3]) * 32), agreement_pair(bytes([4]) * 32)
    device_id = await ann.reserve_device_id()
    for suites, seq in (((1,), 2), ((1, 2), 3)):
        device_list = await ann.admit_device(own_certificate(ann, device_id, signing, agreement, suites))
        assert (device_list.seq, len(device_list.devices)) == (seq, 2)


async def test_a_device_of_another_account_is_not_admitted(ann: Device) -> None:
    with pytest.raises(UntrustedIdentity):
        await ann.admit_device(certificate(2))
    with pytest.raises(UntrustedIdentity):
        await ann.admit_device(certificate(2, user_id="ann"))


async def test_linking_takes_only_what_belongs_together(directory: Directory, ann: Device) -> None:
    signing, agreement = signing_pair(bytes([3]) * 32), agreement_pair(bytes([4]) * 32)
    before = directory.lists["ann"]
    issued = own_certificate(ann, await ann.reserve_device_id(), signing, agreement)
    device_list = await ann.admit_device(issued)
    with pytest.raises(UntrustedIdentity):
        await Device.link(MemoryStore(), issued, device_list, signing=agreement, agreement=agreement)
    with pytest.raises(UntrustedIdentity):
        await Device.link(MemoryStore(), issued, before, signing=signing, agreement=agreement)
    phone = await Device.link(MemoryStore(), issued, device_list, signing=signing, agreement=agreement)
    assert (await phone.publish()).device_list is None
    assert [contact.list_hash for contact in await phone.contacts()] == [bytes(32)]
    await phone.learn("ann", device_list.encoded, [ann.local.certificate.encoded])
    assert (await phone.publish()).device_list == device_list
    assert [contact.list_hash for contact in await phone.contacts()] == [device_list.hash]


async def test_contacts_are_everybody_who_is_known(ann: Device) -> None:
    await learn(ann, listed(certificate(1)), certificate(1))
    assert [(known.user_id, known.peer.seq) for known in await ann.contacts()] == [("ann", 1), ("bob", 1)]


async def test_a_restored_account_goes_on_with_a_new_device(directory: Directory, ann: Device) -> None:
    account = signing_pair(seeded(1)(32))
    assert account.public == ann.local.certificate.account
    bob = await new_device(directory, "bob", options(seed=2))
    await meet(directory, bob, "ann")
    again = await Device.create(MemoryStore(), "ann", options(seed=6), account=account, previous=directory.lists["ann"])
    assert again.device_id >= 2**16
    directory.publish(await again.publish())
    await meet(directory, bob, "ann")
    assert [sent.device_id for sent in await bob.encrypt("ann", b"")] == [again.device_id]
    assert await again.reserve_device_id() == again.device_id + 1


async def test_an_account_is_restored_from_its_own_list_alone(directory: Directory, ann: Device) -> None:
    with pytest.raises(UntrustedIdentity):
        await Device.create(MemoryStore(), "ann", options(), account=ACCOUNT, previous=directory.lists["ann"])
    encoded = directory.lists["ann"].encoded
    forged = DeviceList.parse(encoded[:-1] + bytes([encoded[-1] ^ 1]))
    with pytest.raises(BadSignature):
        await Device.create(MemoryStore(), "ann", options(), account=ACCOUNT, previous=forged)
