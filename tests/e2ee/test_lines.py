"""Which of several sessions is used: both begin at once, one begins anew, messages come late."""

from __future__ import annotations

import pytest

from e2ee import ApplicationContent, Device, Limits, MemoryStore, PreKeyReplay, Transaction
from e2ee.lines import sending_session
from e2ee.records import LINES, SESSIONS, Line, device_key, skipped_table
from e2ee.workspace import SessionCache, Workspace
from tests.support.e2ee_world import FEW_PREKEYS, Directory, ManualClock, finish, meet, new_device, options

HOUR_S = FEW_PREKEYS.reset_interval_s


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def directory() -> Directory:
    return Directory()


def pair(directory: Directory, clock: ManualClock, seed: int) -> tuple[Device, Device]:
    return (
        finish(new_device(directory, "ann", options(clock, seed=2 * seed + 1))),
        finish(new_device(directory, "bob", options(clock, seed=2 * seed + 2))),
    )


def line(device: Device, user_id: str) -> Line:
    record = finish(device.run(lambda tx: tx.get(LINES, device_key(user_id, 1))))
    return Line() if record is None else Line.parse(record)


def transcript(device: Device, user_id: str, clock: ManualClock) -> bytes:
    def work(tx: Transaction) -> bytes:
        session = sending_session(Workspace(tx, SessionCache(), FEW_PREKEYS), user_id, 1, FEW_PREKEYS, now=clock.now)
        assert session is not None
        return session.transcript

    return finish(device.run(work))


def say(sender: Device, user_id: str, text: bytes = b"text") -> bytes:
    (sent,) = finish(sender.encrypt(user_id, text))
    return sent.message


def hear(device: Device, user_id: str, message: bytes, text: bytes = b"text") -> None:
    assert finish(device.decrypt(user_id, 1, message)).content == ApplicationContent(text)


def both_begin(directory: Directory, ann: Device, bob: Device) -> tuple[bytes, bytes]:
    finish(meet(directory, ann, "bob"))
    finish(meet(directory, bob, "ann"))
    return say(ann, "bob"), say(bob, "ann")


def connect(directory: Directory, ann: Device, bob: Device) -> None:
    """One session, that ann began and bob has answered."""
    finish(bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann")))
    finish(meet(directory, ann, "bob"))
    hear(bob, "ann", say(ann, "bob"))
    finish(meet(directory, bob, "ann"))
    hear(ann, "bob", say(bob, "ann"))


def reset(directory: Directory, device: Device, user_id: str) -> bytes:
    return finish(device.reset(directory.bundle(user_id, 1))).message


def bases(device: Device, user_id: str) -> list[bytes]:
    return [ref.base_key for ref in line(device, user_id).refs]


@pytest.mark.parametrize("seed", range(4))
def test_who_begins_at_once_agrees_on_the_lower_transcript(directory: Directory, clock: ManualClock, seed: int) -> None:
    ann, bob = pair(directory, clock, seed)
    from_ann, from_bob = both_begin(directory, ann, bob)
    lower = min(transcript(ann, "bob", clock), transcript(bob, "ann", clock))
    hear(bob, "ann", from_ann)
    hear(ann, "bob", from_bob)
    assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock) == lower
    # What is under way in the other session is read, and changes nothing.
    hear(ann, "bob", say(bob, "ann"))
    hear(bob, "ann", say(ann, "bob"))
    assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock) == lower


@pytest.mark.parametrize("seed", range(4))
def test_late_messages_of_the_session_that_lost_are_read_and_change_nothing(
    directory: Directory, clock: ManualClock, seed: int
) -> None:
    ann, bob = pair(directory, clock, seed)
    from_ann, from_bob = both_begin(directory, ann, bob)
    late = [say(ann, "bob", b"late"), say(bob, "ann", b"late")]
    hear(bob, "ann", from_ann)
    hear(ann, "bob", from_bob)
    chosen = transcript(ann, "bob", clock)
    hear(bob, "ann", late[0], b"late")
    hear(ann, "bob", late[1], b"late")
    assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock) == chosen


def test_who_begins_anew_is_followed(directory: Directory, clock: ManualClock) -> None:
    ann, bob = pair(directory, clock, 0)
    connect(directory, ann, bob)
    before = transcript(bob, "ann", clock)
    finish(ann.run(lambda tx: tx.delete(LINES, device_key("bob", 1))))
    finish(meet(directory, ann, "bob"))
    hear(bob, "ann", say(ann, "bob"))
    assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock) != before
    assert len(line(bob, "ann").refs) == 2


def test_a_reset_goes_before_everything_but_a_fresh_reset(directory: Directory, clock: ManualClock) -> None:
    for seed in range(4):
        ann, bob = pair(directory, clock, seed)
        both_begin(directory, ann, bob)
        message = reset(directory, bob, "ann")
        finish(ann.decrypt("bob", 1, message))
        assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock)
        assert all(ref.retired for ref in line(ann, "bob").refs[1:])


def test_of_two_resets_at_once_the_lower_transcript_stays(directory: Directory, clock: ManualClock) -> None:
    lower_won = set()
    for seed in range(6):
        ann, bob = pair(directory, clock, seed)
        both_begin(directory, ann, bob)
        from_ann, from_bob = reset(directory, ann, "bob"), reset(directory, bob, "ann")
        lower = min(transcript(ann, "bob", clock), transcript(bob, "ann", clock))
        lower_won.add(lower == transcript(ann, "bob", clock))
        finish(ann.decrypt("bob", 1, from_bob))
        finish(bob.decrypt("ann", 1, from_ann))
        assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock) == lower
    assert lower_won == {True, False}


def test_a_reset_that_nobody_answers_yields_to_the_next_one(directory: Directory, clock: ManualClock) -> None:
    for seed in range(4):
        ann, bob = pair(directory, clock, seed)
        both_begin(directory, ann, bob)
        reset(directory, ann, "bob")
        clock.now += HOUR_S
        finish(ann.decrypt("bob", 1, reset(directory, bob, "ann")))
        assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock)


def test_a_reset_within_the_session_in_use_retires_the_others(directory: Directory, clock: ManualClock) -> None:
    ann, bob = pair(directory, clock, 0)
    from_ann, _ = both_begin(directory, ann, bob)
    hear(bob, "ann", from_ann)
    first, second = reset(directory, ann, "bob"), say(ann, "bob")
    hear(bob, "ann", second)
    finish(bob.decrypt("ann", 1, first))
    assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock)
    assert [bool(ref.retired) for ref in line(bob, "ann").refs] == [False, *[True] * (len(line(bob, "ann").refs) - 1)]


@pytest.mark.parametrize("seed", range(4))
def test_two_sides_in_different_sessions_agree_after_a_while(directory: Directory, clock: ManualClock, seed: int) -> None:
    ann, bob = pair(directory, clock, seed)
    _, from_bob = both_begin(directory, ann, bob)
    hear(ann, "bob", from_bob)
    # Ann begins anew, and the message that would say so is lost.
    reset(directory, ann, "bob")
    for _ in range(2):
        hear(bob, "ann", say(ann, "bob"))
        hear(ann, "bob", say(bob, "ann"))
        clock.now += HOUR_S
    hear(bob, "ann", say(ann, "bob"))
    hear(ann, "bob", say(bob, "ann"))
    assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock)


def test_what_is_archived_is_bounded_and_what_is_dropped_leaves_nothing(directory: Directory, clock: ManualClock) -> None:
    limits = Limits(max_archived_sessions=2, one_time_prekeys=20)
    ann = finish(new_device(directory, "ann", options(clock, seed=1, limits=limits)))
    bob = finish(new_device(directory, "bob", options(clock, seed=2, limits=limits)))
    finish(bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann")))
    finish(meet(directory, ann, "bob"))
    skipped, first = say(ann, "bob"), say(ann, "bob")
    hear(bob, "ann", first)
    (oldest,) = bases(bob, "ann")
    table = skipped_table("ann", 1, oldest)
    assert finish(bob.run(lambda tx: tx.count(table))) == 1
    for _ in range(3):
        clock.now += HOUR_S
        finish(bob.decrypt("ann", 1, reset(directory, ann, "bob")))
    assert len(bases(bob, "ann")) == 3
    assert oldest not in bases(bob, "ann")
    assert finish(bob.run(lambda tx: (tx.count(SESSIONS), tx.count(table)))) == (3, 0)
    with pytest.raises(PreKeyReplay):
        hear(bob, "ann", skipped)


def test_a_late_message_of_an_archived_session_is_read(directory: Directory, clock: ManualClock) -> None:
    ann, bob = pair(directory, clock, 0)
    connect(directory, ann, bob)
    late = say(ann, "bob", b"late")
    finish(bob.decrypt("ann", 1, reset(directory, ann, "bob")))
    hear(bob, "ann", late, b"late")
    assert transcript(ann, "bob", clock) == transcript(bob, "ann", clock)


def test_a_session_kept_in_memory_is_that_of_the_store(directory: Directory, clock: ManualClock) -> None:
    store = MemoryStore()
    ann = finish(new_device(directory, "ann", options(clock, seed=1), store))
    bob = finish(new_device(directory, "bob", options(clock, seed=2)))
    finish(meet(directory, ann, "bob"))
    finish(meet(directory, bob, "ann"))
    twin = finish(Device.load(store, options(clock, seed=5)))
    for number in range(6):
        text = b"%d" % number
        hear(bob, "ann", say((ann, twin)[number % 2], "bob", text), text)
