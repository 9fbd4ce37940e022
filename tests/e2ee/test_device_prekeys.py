"""The prekeys of a device: how many, how long, and never the same id twice."""

from __future__ import annotations

import pytest

from e2ee import Bundle, Device, LimitReached, Limits, Policy, PreKeyReplay, PreKeyUpload, UnknownPreKey
from e2ee.records import (
    COUNTERS,
    KEM_LAST_PREKEYS,
    KEM_ONCE_PREKEYS,
    LINES,
    ONE_TIME_PREKEYS,
    SIGNED_PREKEYS,
    counter_record,
    device_key,
    seen_table,
)
from tests.support.e2ee_world import FEW_PREKEYS, X25519_ONLY, Directory, ManualClock, finish, meet, new_device, options

DAY_S = 86_400.0
HYBRID = Policy()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def bob(directory: Directory, clock: ManualClock) -> Device:
    return finish(new_device(directory, "bob", options(clock, seed=2, policy=HYBRID)))


def ids(upload: PreKeyUpload) -> list[int]:
    found = [] if upload.signed is None else [upload.signed.id]
    found += [] if upload.kem_last is None else [upload.kem_last.id]
    return found + [one_time.id for one_time in upload.one_time] + [kem.id for kem in upload.kem_once]


def counts(device: Device) -> list[int]:
    tables = (SIGNED_PREKEYS, KEM_LAST_PREKEYS, ONE_TIME_PREKEYS, KEM_ONCE_PREKEYS)
    return finish(device.run(lambda tx: [tx.count(table) for table in tables]))


def full(device: Device) -> PreKeyUpload:
    return finish(device.replenish(one_time_left=3, kem_once_left=2))


def test_a_device_shows_a_full_set(clock: ManualClock) -> None:
    directory = Directory()
    bob = finish(new_device(directory, "bob", options(clock, policy=HYBRID)))
    publication = finish(bob.publish())
    prekeys = publication.prekeys
    assert (len(prekeys.one_time), len(prekeys.kem_once)) == (3, 2)
    for one_time, kem, once in ((None, prekeys.kem_last, False), (prekeys.one_time[0], prekeys.kem_once[0], True)):
        assert prekeys.signed is not None
        Bundle(publication.certificate, prekeys.signed, one_time, kem, once).verify()


def test_a_device_without_the_kem_shows_none(clock: ManualClock) -> None:
    bob = finish(new_device(Directory(), "bob", options(clock, policy=X25519_ONLY)))
    prekeys = finish(bob.publish()).prekeys
    assert prekeys.kem_last is None
    assert not prekeys.kem_once
    assert counts(bob) == [1, 0, 6, 0]


def test_showing_it_again_keeps_the_lasting_prekeys_and_makes_new_ones_for_once(bob: Device) -> None:
    one, other = finish(bob.publish()).prekeys, finish(bob.publish()).prekeys
    assert (one.signed, one.kem_last) == (other.signed, other.kem_last)
    assert not {prekey.id for prekey in one.one_time} & {prekey.id for prekey in other.one_time}


def test_no_id_comes_twice(bob: Device, clock: ManualClock) -> None:
    seen: list[int] = []
    for _ in range(5):
        clock.now += 8 * DAY_S
        seen += ids(finish(bob.replenish(one_time_left=0, kem_once_left=0)))
    assert len(seen) == len(set(seen)) == 5 * 7
    assert min(seen) > 7


def test_nothing_is_made_while_enough_is_left(bob: Device) -> None:
    assert not full(bob)
    few = finish(bob.replenish(one_time_left=1, kem_once_left=1))
    assert not few
    none = finish(bob.replenish(one_time_left=0, kem_once_left=1))
    assert (len(none.one_time), len(none.kem_once), none.signed, none.kem_last) == (3, 0, None, None)


def test_what_is_there_is_filled_up(clock: ManualClock) -> None:
    limits = Limits(one_time_prekeys=10, one_time_prekeys_refill=5, one_time_kem_prekeys=4, one_time_kem_prekeys_refill=2)
    bob = finish(new_device(Directory(), "bob", options(clock, limits=limits, policy=HYBRID)))
    upload = finish(bob.replenish(one_time_left=4, kem_once_left=1))
    assert (len(upload.one_time), len(upload.kem_once)) == (6, 3)


def test_lasting_prekeys_are_renewed_and_die(directory: Directory, bob: Device, clock: ManualClock) -> None:
    clock.now += 7 * DAY_S - 1
    assert not full(bob)
    clock.now += 1
    renewed = full(bob)
    assert renewed.signed is not None
    assert renewed.kem_last is not None
    assert counts(bob)[:2] == [2, 2]
    clock.now += 23 * DAY_S
    full(bob)
    assert counts(bob)[:2] == [2, 2]


def test_the_last_day_of_a_signed_prekey(directory: Directory, bob: Device, clock: ManualClock) -> None:
    ann = finish(new_device(directory, "ann", options(clock, seed=1, policy=HYBRID)))
    finish(bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann")))
    finish(meet(directory, ann, "bob"))
    (sent,) = finish(ann.encrypt("bob", b""))
    clock.now += 30 * DAY_S
    with pytest.raises(UnknownPreKey):
        finish(bob.decrypt("ann", 1, sent.message))
    clock.now -= 1
    finish(bob.decrypt("ann", 1, sent.message))


def test_accepted_first_messages_are_remembered_as_long_as_they_could_come_again(
    directory: Directory, bob: Device, clock: ManualClock
) -> None:
    ann = finish(new_device(directory, "ann", options(clock, seed=1, policy=HYBRID)))
    finish(bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann")))
    directory.shelves["bob", 1].one_time.clear()
    directory.shelves["bob", 1].kem_once.clear()
    finish(meet(directory, ann, "bob"))
    (sent,) = finish(ann.encrypt("bob", b""))
    finish(bob.decrypt("ann", 1, sent.message))
    finish(bob.run(lambda tx: tx.delete(LINES, device_key("ann", 1))))
    clock.now += 29 * DAY_S
    full(bob)
    with pytest.raises(PreKeyReplay):
        finish(bob.decrypt("ann", 1, sent.message))
    assert finish(bob.run(lambda tx: tx.count(seen_table(1)))) == 1
    clock.now += DAY_S
    full(bob)
    assert finish(bob.run(lambda tx: tx.count(seen_table(1)))) == 0
    with pytest.raises(UnknownPreKey):
        finish(bob.decrypt("ann", 1, sent.message))


def test_prekeys_for_once_are_gone_after_it(directory: Directory, bob: Device, clock: ManualClock) -> None:
    ann = finish(new_device(directory, "ann", options(clock, seed=1, policy=HYBRID)))
    finish(bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann")))
    finish(meet(directory, ann, "bob"))
    before = counts(bob)
    (sent,) = finish(ann.encrypt("bob", b""))
    finish(bob.decrypt("ann", 1, sent.message))
    assert counts(bob) == [before[0], before[1], before[2] - 1, before[3] - 1]


def test_prekeys_that_never_come_back_do_not_pile_up(bob: Device) -> None:
    for _ in range(15):
        finish(bob.replenish(one_time_left=0, kem_once_left=0))
    assert counts(bob)[2:] == [10 * FEW_PREKEYS.one_time_prekeys, 10 * FEW_PREKEYS.one_time_kem_prekeys]
    newest = max(ids(finish(bob.replenish(one_time_left=0, kem_once_left=2))))
    assert finish(bob.run(lambda tx: tx.get(ONE_TIME_PREKEYS, newest.to_bytes(4, "big")))) is not None


def test_ids_end_some_day(bob: Device) -> None:
    finish(bob.run(lambda tx: tx.put(COUNTERS, b"prekey", counter_record(2**32 - 3))))
    with pytest.raises(LimitReached):
        finish(bob.replenish(one_time_left=0, kem_once_left=2))
    assert counts(bob)[2] == 3
