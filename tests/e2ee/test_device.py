"""A device and its conversations: what an application does with it, and every way in which that is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from e2ee import (
    ApplicationContent,
    DecryptionFailed,
    Device,
    DowngradeRefused,
    DuplicateMessage,
    Incoming,
    LimitReached,
    Limits,
    MalformedMessage,
    MemoryStore,
    NoSession,
    Policy,
    PreKeyReplay,
    Received,
    Reset,
    SqliteStore,
    StaleState,
    StoreError,
    Transaction,
    UnknownPreKey,
    UnsupportedVersion,
    UntrustedIdentity,
    retry_stale,
)
from e2ee.records import LINES, SESSIONS, device_key
from e2ee.store import Durability
from salam import NotFoundError
from tests.support.e2ee_world import FEW_PREKEYS, Directory, ManualClock, finish, link, meet, new_device, options

T = TypeVar("T")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def ann(directory: Directory, clock: ManualClock) -> Device:
    return finish(new_device(directory, "ann", options(clock, seed=1)))


@pytest.fixture
def bob(directory: Directory, clock: ManualClock) -> Device:
    return finish(new_device(directory, "bob", options(clock, seed=2)))


async def talk(directory: Directory, one: Device, other: Device) -> None:
    """Let two devices have a session in which both have spoken."""
    for sender, to in ((one, other), (other, one)):
        await meet(directory, sender, to.user_id)
        await meet(directory, to, sender.user_id)
        for sent in await sender.encrypt(to.user_id, b"hello"):
            if sent.device_id == to.device_id and sent.user_id == to.user_id:
                await to.decrypt(sender.user_id, sender.device_id, sent.message)


async def say(sender: Device, to: Device, text: bytes) -> bytes:
    """The message that brings ``text`` to one device."""
    (message,) = [
        sent.message
        for sent in await sender.encrypt(to.user_id, text)
        if (sent.user_id, sent.device_id) == (to.user_id, to.device_id)
    ]
    return message


async def hear(to: Device, sender: Device, message: bytes) -> bytes:
    received = await to.decrypt(sender.user_id, sender.device_id, message)
    assert isinstance(received.content, ApplicationContent)
    return received.content.data


def keep(tx: Transaction, received: Received) -> None:
    assert isinstance(received.content, ApplicationContent)
    tx.put("app.inbox", received.content.data, b"")


async def inbox(device: Device) -> list[bytes]:
    return [key for key, _ in await device.run(lambda tx: tx.scan("app.inbox"))]


@pytest.mark.parametrize("policy", [Policy(), Policy(min_suite=1, suites=(1,))], ids=["hybrid", "x25519"])
async def test_two_people_talk(directory: Directory, policy: Policy) -> None:
    ann = await new_device(directory, "ann", options(policy=policy, seed=1))
    bob = await new_device(directory, "bob", options(policy=policy, seed=2))
    await meet(directory, ann, "bob")
    await meet(directory, bob, "ann")
    (sent,) = await ann.encrypt("bob", b"hello")
    received = await bob.decrypt("ann", 1, sent.message)
    assert received == Received("ann", 1, ApplicationContent(b"hello"), ann.local.signing.public, started=True)
    assert await hear(ann, bob, await say(bob, ann, b"hello yourself")) == b"hello yourself"
    assert await hear(bob, ann, await say(ann, bob, b"good")) == b"good"
    assert "hello" not in repr(received) + repr(sent)


async def test_devices_show_themselves_but_no_secret(ann: Device) -> None:
    assert repr(ann) == "Device(user_id='ann', device_id=1)"
    assert ann.is_primary


async def test_everybodys_devices_get_a_message_but_the_sending_one(directory: Directory, ann: Device, bob: Device) -> None:
    bobs_phone = await link(directory, bob, options(seed=3))
    anns_phone = await link(directory, ann, options(seed=4))
    await meet(directory, ann, "bob")
    sent = await ann.encrypt("bob", b"all")
    assert [(one.user_id, one.device_id) for one in sent] == [("bob", 1), ("bob", 2), ("ann", 2)]
    for device, one in zip((bob, bobs_phone, anns_phone), sent, strict=True):
        await meet(directory, device, "ann")
        assert await hear(device, ann, one.message) == b"all"
    assert [(one.user_id, one.device_id) for one in await ann.encrypt("ann", b"a note")] == [("ann", 2)]
    assert not anns_phone.is_primary


async def test_one_device_alone_can_be_told_something(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    sent = await ann.run(lambda tx: ann.steps.encrypt_to(tx, "bob", 1, ApplicationContent(b"you"), now=0.0))
    assert await hear(bob, ann, sent.message) == b"you"
    with pytest.raises(NoSession):
        await ann.run(lambda tx: ann.steps.encrypt_to(tx, "bob", 2, ApplicationContent(b"you"), now=0.0))


async def test_nothing_is_said_to_somebody_unknown(directory: Directory, ann: Device, bob: Device) -> None:
    for call in (ann.encrypt("bob", b""), ann.needs_bundles("bob"), ann.start(directory.bundle("bob", 1))):
        with pytest.raises(NoSession):
            await call
    assert await ann.peer("bob") is None


async def test_a_device_without_a_session_is_an_error_or_left_out(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    phone = await link(directory, bob, options(seed=3))
    await ann.learn("bob", directory.lists["bob"].encoded, directory.certificates("bob"))
    assert await ann.needs_bundles("bob") == [("bob", 2)]
    with pytest.raises(NoSession):
        await ann.encrypt("bob", b"")
    with pytest.raises(NoSession):
        await ann.run(lambda tx: ann.steps.encrypt_to(tx, "bob", 2, ApplicationContent(b""), now=0.0))
    assert [sent.device_id for sent in await ann.encrypt("bob", b"", skip_missing=True)] == [1]
    assert await ann.start(directory.bundle("bob", phone.device_id))
    assert len(await ann.encrypt("bob", b"")) == 2


async def test_without_any_session_nothing_is_left_out(directory: Directory, ann: Device, bob: Device) -> None:
    await ann.learn("bob", directory.lists["bob"].encoded, directory.certificates("bob"))
    with pytest.raises(NoSession):
        await ann.encrypt("bob", b"", skip_missing=True)


async def test_a_bundle_is_not_needed_twice(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    assert await ann.start(directory.bundle("bob", 1)) is False


async def test_a_bundle_must_be_that_of_the_known_device(directory: Directory, ann: Device, bob: Device) -> None:
    await ann.learn("bob", directory.lists["bob"].encoded, directory.certificates("bob"))
    with pytest.raises(UntrustedIdentity):
        await ann.start(directory.bundle("ann", 1))
    mallory = Directory()
    false_bob = await new_device(mallory, "bob", options(seed=9))
    with pytest.raises(UntrustedIdentity) as refused:
        await ann.start(mallory.bundle("bob", 1))
    assert refused.value.new == false_bob.local.signing.public


async def test_a_whole_batch_goes_in_one_commit(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    batch = await ann.encrypt_many([("bob", b"%d" % number) for number in range(20)])
    incoming = [Incoming("ann", 1, sent.message) for (sent,) in batch]
    results = await bob.decrypt_many(list(reversed(incoming)), keep)
    assert [result.content for result in results if isinstance(result, Received)] == [
        ApplicationContent(b"%d" % number) for number in reversed(range(20))
    ]
    assert len(await inbox(bob)) == 20


async def test_one_bad_message_of_a_batch_spoils_no_other(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    one, two = await say(ann, bob, b"1"), await say(ann, bob, b"2")
    broken = two[:-1] + bytes([two[-1] ^ 1])
    messages = [Incoming("ann", 1, message) for message in (one, broken, one, b"", two)] + [Incoming("eve", 1, two)]
    results = await bob.decrypt_many(messages, keep)
    kinds = [type(result) for result in results]
    assert kinds == [Received, DecryptionFailed, DuplicateMessage, MalformedMessage, Received, NoSession]
    assert await inbox(bob) == [b"1", b"2"]


async def test_an_application_that_fails_reads_the_message_again(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    message = await say(ann, bob, b"text")

    def fail(tx: Transaction, received: Received) -> None:
        keep(tx, received)
        raise ZeroDivisionError

    read: list[Callable[[], Awaitable[object]]] = [
        lambda: bob.decrypt("ann", 1, message, fail),
        lambda: bob.decrypt_many([Incoming("ann", 1, message)], fail),
    ]
    for again in read:
        with pytest.raises(ZeroDivisionError):
            await again()
    assert await inbox(bob) == []
    assert isinstance(await bob.decrypt("ann", 1, message, keep), Received)
    assert await inbox(bob) == [b"text"]


async def test_a_coroutine_as_callback_is_refused(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    message = await say(ann, bob, b"text")
    with pytest.raises(TypeError):
        await bob.decrypt("ann", 1, message, lambda tx, received: received)  # type: ignore[arg-type]
    assert await hear(bob, ann, message) == b"text"


async def test_the_callback_may_answer_in_the_same_transaction(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    answers: list[bytes] = []

    def answer(tx: Transaction, received: Received) -> None:
        (sent,) = bob.steps.encrypt(tx, received.user_id, ApplicationContent(b"thanks"), now=0.0)
        answers.append(sent.message)

    batch = [Incoming("ann", 1, await say(ann, bob, b"%d" % number)) for number in range(3)]
    await bob.decrypt_many(batch, answer)
    assert [await hear(ann, bob, message) for message in answers] == [b"thanks"] * 3


async def test_a_message_is_read_once(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    message = await say(ann, bob, b"text")
    assert await hear(bob, ann, message) == b"text"
    with pytest.raises(DuplicateMessage):
        await hear(bob, ann, message)


async def test_a_first_message_begins_one_session(directory: Directory, ann: Device, bob: Device) -> None:
    await meet(directory, ann, "bob")
    await bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann"))
    first, second = await say(ann, bob, b"1"), await say(ann, bob, b"2")
    results = await bob.decrypt_many([Incoming("ann", 1, second), Incoming("ann", 1, first)])
    assert [isinstance(result, Received) and result.started for result in results] == [True, False]
    with pytest.raises(DuplicateMessage):
        await bob.decrypt("ann", 1, first)


async def test_a_first_message_makes_no_second_session(directory: Directory, ann: Device, bob: Device) -> None:
    await meet(directory, ann, "bob")
    await bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann"))
    first = await say(ann, bob, b"1")
    assert await hear(bob, ann, first) == b"1"
    # Its session goes: as if bob had met so many others of ann since.
    await bob.run(lambda tx: tx.delete(LINES, device_key("ann", 1)))
    with pytest.raises(PreKeyReplay):
        await hear(bob, ann, first)


async def test_a_first_message_of_a_stranger_is_refused(directory: Directory, ann: Device, bob: Device) -> None:
    await meet(directory, ann, "bob")
    first = await say(ann, bob, b"1")
    with pytest.raises(UntrustedIdentity):
        await hear(bob, ann, first)
    mallory = Directory()
    await new_device(mallory, "ann", options(seed=9))
    await bob.learn("ann", mallory.lists["ann"].encoded, mallory.certificates("ann"))
    with pytest.raises(UntrustedIdentity) as refused:
        await hear(bob, ann, first)
    assert refused.value.old == mallory.shelves["ann", 1].certificate.signing


async def test_a_first_message_that_was_altered_takes_no_prekey(directory: Directory, ann: Device, bob: Device) -> None:
    await meet(directory, ann, "bob")
    await bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann"))
    first = await say(ann, bob, b"1")
    with pytest.raises(DecryptionFailed):
        await hear(bob, ann, first[:-1] + bytes([first[-1] ^ 1]))
    assert await hear(bob, ann, first) == b"1"


async def test_two_first_messages_cannot_share_a_one_time_prekey(directory: Directory, ann: Device, bob: Device) -> None:
    cleo = await new_device(directory, "cleo", options(seed=5))
    shared = directory.bundle("bob", 1)
    for device in (ann, cleo):
        await device.learn("bob", directory.lists["bob"].encoded, directory.certificates("bob"))
        await device.start(shared)
        await bob.learn(device.user_id, directory.lists[device.user_id].encoded, directory.certificates(device.user_id))
    assert await hear(bob, ann, await say(ann, bob, b"1")) == b"1"
    with pytest.raises(UnknownPreKey):
        await hear(bob, cleo, await say(cleo, bob, b"2"))


async def test_a_suite_below_the_policy_is_refused(directory: Directory) -> None:
    ann = await new_device(directory, "ann", options(seed=1, policy=Policy(min_suite=2)))
    bob = await new_device(directory, "bob", options(seed=2))
    await ann.learn("bob", directory.lists["bob"].encoded, directory.certificates("bob"))
    with pytest.raises(DowngradeRefused):
        await ann.start(directory.bundle("bob", 1))
    await meet(directory, bob, "ann")
    await ann.learn("bob", directory.lists["bob"].encoded, directory.certificates("bob"))
    with pytest.raises(DowngradeRefused):
        await hear(ann, bob, await say(bob, ann, b""))


async def test_malformed_content_counts_as_read(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)

    class Strange(ApplicationContent):
        kind = 99  # type: ignore[assignment]

    (sent,) = await ann.encrypt("bob", Strange(b""))
    (result,) = await bob.decrypt_many([Incoming("ann", 1, sent.message)])
    assert isinstance(result, MalformedMessage)
    (result,) = await bob.decrypt_many([Incoming("ann", 1, sent.message)])
    assert isinstance(result, DuplicateMessage)
    assert await hear(bob, ann, await say(ann, bob, b"still there")) == b"still there"


async def test_malformed_content_begins_no_session(directory: Directory, ann: Device, bob: Device) -> None:
    class Strange(ApplicationContent):
        kind = 99  # type: ignore[assignment]

    await meet(directory, ann, "bob")
    await bob.learn("ann", directory.lists["ann"].encoded, directory.certificates("ann"))
    (sent,) = await ann.encrypt("bob", Strange(b""))
    (result,) = await bob.decrypt_many([Incoming("ann", 1, sent.message)])
    assert isinstance(result, MalformedMessage)
    assert await bob.run(lambda tx: (tx.count(SESSIONS), tx.count(LINES))) == (0, 0)
    assert await hear(bob, ann, await say(ann, bob, b"text")) == b"text"


@pytest.mark.parametrize("message", [b"", b"\x01", b"\x01\x03", b"\x01\x02\x01", b"\x01\x01\x01\x00"])
async def test_what_is_no_message_is_malformed(directory: Directory, ann: Device, bob: Device, message: bytes) -> None:
    await talk(directory, ann, bob)
    with pytest.raises(MalformedMessage):
        await bob.decrypt("ann", 1, message)
    with pytest.raises(UnsupportedVersion):
        await bob.decrypt("ann", 1, b"\x02\x01")


async def test_a_session_that_nobody_answers_is_given_up(
    directory: Directory, clock: ManualClock, ann: Device, bob: Device
) -> None:
    await meet(directory, ann, "bob")
    await ann.encrypt("bob", b"")
    clock.now += FEW_PREKEYS.unacknowledged_lifetime_s - 1
    assert await ann.needs_bundles("bob") == []
    clock.now += 1
    assert await ann.needs_bundles("bob") == [("bob", 1)]
    with pytest.raises(NoSession):
        await ann.encrypt("bob", b"")
    assert bob.device_id == 1


async def test_an_answered_session_stays(directory: Directory, clock: ManualClock, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    clock.now += 10 * FEW_PREKEYS.unacknowledged_lifetime_s
    assert await ann.needs_bundles("bob") == []


async def test_a_lost_state_is_reset_once_an_hour(directory: Directory, clock: ManualClock, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    await bob.run(lambda tx: tx.delete(LINES, device_key("ann", 1)))
    with pytest.raises(NoSession):
        await hear(bob, ann, await say(ann, bob, b"lost"))
    sent = await bob.reset(directory.bundle("ann", 1))
    received = await ann.decrypt("bob", 1, sent.message)
    assert received.content == Reset()
    assert await hear(bob, ann, await say(ann, bob, b"again")) == b"again"
    clock.now += FEW_PREKEYS.reset_interval_s - 1
    with pytest.raises(LimitReached):
        await bob.reset(directory.bundle("ann", 1))
    clock.now += 1
    await bob.reset(directory.bundle("ann", 1))
    # A clock that was set back does not forbid it for longer.
    clock.now -= 86_400
    await bob.reset(directory.bundle("ann", 1))


async def test_a_device_comes_back_from_its_store(directory: Directory, clock: ManualClock, bob: Device, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ann.db", bytes(32), Durability.NORMAL)
    with pytest.raises(NotFoundError):
        await Device.load(store)
    ann = await new_device(directory, "ann", options(clock, seed=1), store)
    await talk(directory, ann, bob)
    late, later = await say(bob, ann, b"late"), await say(bob, ann, b"later")
    assert await hear(ann, bob, later) == b"later"
    await store.close()
    store = SqliteStore(tmp_path / "ann.db", bytes(32), Durability.NORMAL)
    again = await Device.load(store, options(clock, seed=7))
    assert again.local.certificate == ann.local.certificate
    assert await hear(again, bob, late) == b"late"
    assert await hear(bob, again, await say(again, bob, b"here")) == b"here"
    await store.close()


async def test_many_calls_at_once_take_turns(directory: Directory, clock: ManualClock, bob: Device, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ann.db", bytes(32), Durability.NORMAL)
    ann = await new_device(directory, "ann", options(clock, seed=1), store)
    await talk(directory, ann, bob)
    sent = await asyncio.gather(*(say(ann, bob, b"%d" % number) for number in range(30)))
    texts = {await hear(bob, ann, message) for message in sent}
    assert texts == {b"%d" % number for number in range(30)}
    await store.close()


async def test_two_processes_may_share_a_file(directory: Directory, clock: ManualClock, bob: Device, tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / "ann.db", bytes(32), Durability.NORMAL) for _ in range(2)]
    one = await new_device(directory, "ann", options(clock, seed=1), stores[0])
    other = await Device.load(stores[1], options(clock, seed=8))
    await talk(directory, one, bob)
    for number in range(6):
        device = (one, other)[number % 2]
        assert await hear(bob, device, await say(device, bob, b"%d" % number)) == b"%d" % number
    for store in stores:
        await store.close()


class Contended(MemoryStore):
    """A store whose writers do not exclude each other: another one is faster ``faster`` times."""

    faster = 0

    async def run(self, work: Callable[[Transaction], T]) -> T:
        def late(tx: Transaction) -> T:
            result = work(tx)
            if self.faster:
                for key, record in tx.scan(SESSIONS):
                    tx.put(SESSIONS, key, record)
            return result

        try:
            return await super().run(late)
        finally:
            self.faster = max(self.faster - 1, 0)


async def test_stale_state_is_told_and_tried_again(directory: Directory, clock: ManualClock, bob: Device) -> None:
    store = Contended()
    ann = await new_device(directory, "ann", options(clock, seed=1), store)
    await talk(directory, ann, bob)
    store.faster = 1
    with pytest.raises(StaleState):
        await say(ann, bob, b"text")
    store.faster = 2
    message = await retry_stale(lambda: say(ann, bob, b"text"))
    assert await hear(bob, ann, message) == b"text"


async def test_retrying_ends(ann: Device) -> None:
    calls: list[int] = []

    async def stale() -> None:
        calls.append(1)
        raise StaleState("somebody was faster")

    with pytest.raises(StaleState):
        await retry_stale(stale, attempts=4)
    assert len(calls) == 4

    async def once() -> str:
        if len(calls) == 4:
            await stale()
        return "done"

    assert await retry_stale(once) == "done"


async def test_a_damaged_store_is_no_result_of_a_batch(directory: Directory, ann: Device, bob: Device) -> None:
    await talk(directory, ann, bob)
    message = await say(ann, bob, b"text")
    await bob.run(lambda tx: tx.clear(SESSIONS))
    with pytest.raises(StoreError) as error:
        await bob.decrypt_many([Incoming("ann", 1, message)])
    assert error.value.code == "store_corrupt"


async def test_sessions_in_memory_are_bounded(
    directory: Directory, clock: ManualClock, ann: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2ee.workspace._SESSIONS_CACHED", 2)
    others = [await new_device(directory, name, options(clock, seed=number)) for number, name in enumerate(("b", "c", "d"), 10)]
    for _ in range(2):
        for other in others:
            await talk(directory, ann, other)
    assert [await hear(other, ann, await say(ann, other, b"text")) for other in others] == [b"text"] * 3


async def test_too_many_first_messages_are_refused(
    directory: Directory, ann: Device, bob: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2ee.device_prekeys._MAX_SEEN", 1)
    cleo = await new_device(directory, "cleo", options(seed=5))
    for device in (ann, cleo):
        await meet(directory, device, "bob")
        await bob.learn(device.user_id, directory.lists[device.user_id].encoded, directory.certificates(device.user_id))
    assert await hear(bob, ann, await say(ann, bob, b"1")) == b"1"
    with pytest.raises(LimitReached):
        await hear(bob, cleo, await say(cleo, bob, b"2"))


async def test_content_above_the_limit_moves_nothing(directory: Directory, clock: ManualClock, bob: Device) -> None:
    ann = await new_device(directory, "ann", options(clock, seed=1, limits=Limits(max_content_bytes=100, one_time_prekeys=3)))
    await talk(directory, ann, bob)
    before = await ann.run(lambda tx: tx.scan(SESSIONS))
    with pytest.raises(LimitReached):
        await ann.encrypt("bob", bytes(100))
    assert await ann.run(lambda tx: tx.scan(SESSIONS)) == before
    assert len(await ann.encrypt("bob", bytes(99))) == 1
