"""Groups of a device in its store: crashes, other processes, old copies, damaged records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from e2ee import (
    Device,
    DeviceSteps,
    DuplicateMessage,
    GroupReceived,
    GroupSteps,
    Incoming,
    Received,
    Reset,
    SqliteStore,
    StaleState,
    StoreError,
    Transaction,
)
from e2ee.group_records import STATE_NAME
from e2ee.group_store import GROUPS, WAITING, operations_table, records_table
from e2ee.records import device_key
from tests.support.e2ee_groups import GroupWorld, distribution, keys_to, pairwise
from tests.support.e2ee_world import Directory, ManualClock, finish, meet, new_device, options

ADDRESS = ("bob", 1)


@pytest.fixture
def world() -> GroupWorld:
    return GroupWorld("ann", "bob", "cleo", "dan")


# Crashes, other processes and old copies


def crashes_of(device: Device, before: bool) -> Callable[[Callable[[Transaction], object]], None]:
    def run(work: Callable[[Transaction], object]) -> None:
        def crashing(tx: Transaction) -> None:
            work(tx)
            if before:
                raise KeyboardInterrupt

        finish(device.run(crashing))

    return run


def test_nothing_of_a_failed_transaction_is_met_again(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    world.connect(world["ann"], group)
    ann, now = world["ann"], world.clock.now
    steps = ann.groups.steps
    for work in (
        lambda tx: steps.send(tx, group, b"never sent", now=now),
        lambda tx: steps.create(tx, ["bob"], admins=(), now=now),
        lambda tx: steps.forget(tx, group),
    ):
        with pytest.raises(KeyboardInterrupt):
            crashes_of(ann, True)(work)
    assert finish(ann.groups.ids()) == [group]
    sent = world.say(ann, group, b"sent")
    assert keys_to(sent) == [("bob", 1)]
    with pytest.raises(KeyboardInterrupt):
        crashes_of(world["bob"], True)(
            lambda tx: world["bob"].groups.steps.receive(tx, "ann", 1, sent.message, now=world.clock.now)
        )
    assert world.hear(world.reload(world["bob"]), ann, sent) == b"sent"


def test_an_old_copy_of_the_store_makes_new_keys(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    world.say(world["ann"], group, b"1")
    old = world.stores["ann", 1].copy()
    world.hear(world["bob"], world["ann"], world.say(world["ann"], group, b"2"))
    world.stores["ann", 1] = old
    ann = world.reload(world["ann"])
    with pytest.raises(DuplicateMessage):
        # The same number of the same key: lost, and not read as something else.
        world.hear(world["bob"], ann, finish(ann.groups.send(group, b"3")))
    world.directory.publish(finish(ann.publish()))
    reset = finish(ann.reset(world.directory.bundle("bob", 1)))
    finish(world["bob"].decrypt("ann", 1, reset.message))
    sent = world.say(ann, group, b"4")
    assert keys_to(sent) == [("bob", 1)]
    assert world.hear(world["bob"], ann, sent) == b"4"


def test_two_processes_over_one_store(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    one, other = world["ann"], world.reload(world["ann"])
    world.say(one, group, b"1")
    texts = []
    for device in (other, one, other):
        sent = finish(device.groups.send(group, b"more"))
        assert sent.keys == ()
        texts.append(world.hear(world["bob"], device, sent))
    assert texts == [b"more"] * 3

    def overtaken(tx: Transaction) -> None:
        one.groups.steps.send(tx, group, b"", now=world.clock.now)
        record, version = tx.get_versioned("groups", group)  # type: ignore[misc]
        tx.put_versioned("groups", group, record, version)

    with pytest.raises(StaleState):
        finish(one.run(overtaken))


async def test_a_group_over_sqlite(tmp_path: Path) -> None:
    directory, clock = Directory(), ManualClock()
    stores = [SqliteStore(tmp_path / name, bytes(32)) for name in ("ann", "bob")]
    ann = await new_device(directory, "ann", options(clock, seed=1), stores[0])
    bob = await new_device(directory, "bob", options(clock, seed=2), stores[1])
    await meet(directory, ann, "bob")
    await meet(directory, bob, "ann")
    operation = await ann.groups.create(["bob"])
    await bob.groups.join([operation.encoded])
    sent = await asyncio.gather(*(ann.groups.send(operation.group_id, b"%d" % number) for number in range(5)))
    for key in (key for one in sent for key in one.keys):
        await bob.decrypt("ann", 1, key.message)
    bob = await Device.load(stores[1], options(clock, seed=3))
    results = await bob.groups.receive_many([Incoming("ann", 1, one.message) for one in reversed(sent)])
    assert sorted(one.data for one in results if isinstance(one, GroupReceived)) == [b"%d" % number for number in range(5)]
    for store in stores:
        await store.close()


# What lies in the store


def spoiled(world: GroupWorld, table: str, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change a record of bob's, whose device is then loaded again."""

    def work(tx: Transaction) -> None:
        record = tx.get(table, key)
        assert record is not None
        tx.put(table, key, change(record))

    finish(world["bob"].run(work))
    world.reload(world["bob"])


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("which", ["log", "head", "state", "waiting"])
def test_records_that_are_damaged_or_of_a_later_release(world: GroupWorld, which: str, later: bool) -> None:
    """They are the store's fault: no message is lost, or refused, for them."""
    group, unknown = world.create("ann", ["bob"]), bytes(16)
    assert pairwise(world, "ann", "bob", distribution(unknown)) is None
    sent = world.say(world["ann"], group, b"hello")
    (more,) = finish(world["ann"].encrypt("bob", distribution(unknown, 1)))
    table, key = {
        "log": (operations_table(group), bytes(4)),
        "head": (GROUPS, group),
        "state": (records_table(group), STATE_NAME),
        "waiting": (WAITING, device_key("ann", 1)),
    }[which]
    spoiled(world, table, key, lambda record: b"\xff" + record[1:] if later else record[:2])
    bob = world["bob"]
    calls: list[Coroutine[Any, Any, object]] = []
    if which == "waiting":
        calls.append(bob.decrypt("ann", 1, more.message))
    else:
        calls += [bob.groups.join(world.operations), bob.groups.chain(group)]
    if which in ("head", "state"):
        calls.append(bob.groups.receive("ann", 1, sent.message))
        calls.append(bob.groups.receive_many([Incoming("ann", 1, sent.message)]))
    for call in calls:
        with pytest.raises(StoreError) as raised:
            finish(call)
        assert raised.value.code == ("store_newer" if later else "store_corrupt")


def test_a_store_that_fails_while_a_waiting_key_is_taken(world: GroupWorld) -> None:
    operation = finish(world["ann"].groups.create(["bob"]))
    world.say(world["ann"], operation.group_id, b"early")

    class Failing(GroupSteps):
        def _take_key(self, *_arguments: object) -> None:
            raise StoreError("the disk is gone")

    steps = Failing(world["bob"].steps)
    with pytest.raises(StoreError):
        finish(world["bob"].run(lambda tx: steps.join(tx, [operation], ())))


def test_only_some_groups_stay_in_memory(world: GroupWorld) -> None:
    groups = [finish(world["ann"].groups.create([])).group_id for _ in range(40)]
    for _ in range(2):
        assert [finish(world["ann"].groups.send(group, b"")).epoch for group in groups] == [0] * 40
    assert finish(world["ann"].groups.ids()) == sorted(groups)


def test_steps_that_nobody_follows(world: GroupWorld) -> None:
    """Sessions work without groups: then a sender key is content as any other."""
    world.meet(world["ann"], "bob")
    (sent,) = finish(world["ann"].encrypt("bob", distribution(bytes(16))))
    bob = world["bob"]
    steps = DeviceSteps(bob.local, bob.steps.policy, bob.steps.limits, random=bob.steps.random)
    received = finish(bob.run(lambda tx: steps.decrypt(tx, "ann", 1, sent.message, now=world.clock.now)))
    assert (received.content, received.refused) == (distribution(bytes(16)), None)
    assert finish(bob.run(lambda tx: tx.count(WAITING))) == 0


def test_a_reset_of_somebody_without_the_key_changes_nothing(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    world.say(world["ann"], group, b"")
    reset = Received("cleo", 1, Reset(), bytes(32))

    def work(tx: Transaction) -> None:
        steps = world["ann"].groups.steps
        steps.view(tx, group)
        assert steps.received(tx, reset) is None

    finish(world["ann"].run(work))
    assert finish(world["ann"].groups.send(group, b"")).keys == ()
