"""Groups of a device: who is in them, what is said, and what comes through sessions."""

from __future__ import annotations

import pytest

from e2ee import (
    ApplicationContent,
    BadSignature,
    CallKey,
    Device,
    DuplicateMessage,
    E2EEError,
    GroupOperations,
    GroupReceived,
    GroupStateMismatch,
    Incoming,
    LimitReached,
    Limits,
    MalformedMessage,
    MemoryStore,
    NoSession,
    NotAMember,
    Role,
    Transaction,
    UnknownSenderKey,
    UntrustedIdentity,
)
from e2ee.certificates import issue_device_list
from e2ee.content import encode
from e2ee.group_store import WAITING
from e2ee.primitives import signing_pair
from tests.support.e2ee_groups import GroupWorld, distribution, keys_to, pairwise
from tests.support.e2ee_world import finish, new_device

ADDRESS = ("bob", 1)


@pytest.fixture
def world() -> GroupWorld:
    return GroupWorld("ann", "bob", "cleo", "dan")


# Who is in it


def test_a_group_from_its_creation_to_a_removal(world: GroupWorld) -> None:
    group = world.create("ann", ["bob", "cleo"], admins=["bob"])
    views = [finish(world[name].groups.view(group)) for name in ("ann", "bob", "cleo")]
    assert views[0] == views[1] == views[2]
    assert views[0] is not None
    assert {name: member.role for name, member in views[0].members.items()} == {
        "ann": Role.ADMIN,
        "bob": Role.ADMIN,
        "cleo": Role.MEMBER,
    }
    assert (views[0].epoch, views[0].is_member) == (0, True)
    assert finish(world["ann"].groups.ids()) == [group]
    for sender in ("ann", "bob", "cleo"):
        sent = world.say(world[sender], group, b"from " + sender.encode())
        assert keys_to(sent) == [(name, 1) for name in ("ann", "bob", "cleo") if name != sender]
        for reader in {"ann", "bob", "cleo"} - {sender}:
            assert world.hear(world[reader], world[sender], sent) == b"from " + sender.encode()
    assert world.say(world["ann"], group, b"again").keys == ()
    world.announce(finish(world["bob"].groups.remove(group, ["cleo"])))
    sent = world.say(world["ann"], group, b"without cleo")
    assert keys_to(sent) == [("bob", 1)]
    assert world.hear(world["bob"], world["ann"], sent) == b"without cleo"
    with pytest.raises(NotAMember):
        world.hear(world["cleo"], world["ann"], sent)
    with pytest.raises(NotAMember):
        finish(world["cleo"].groups.send(group, b"still here"))
    left = finish(world["cleo"].groups.view(group))
    assert left is not None
    assert (left.is_member, left.epoch) == (False, 1)


def test_somebody_who_is_added_is_shown_the_chain(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    before = world.say(world["ann"], group, b"before")
    with pytest.raises(NotAMember):
        finish(world["ann"].groups.send_chain(group, "dan"))
    world.announce(finish(world["ann"].groups.add(group, ["dan"], Role.ADMIN)))
    world.meet(world["ann"], "dan")
    (piece,) = finish(world["ann"].groups.send_chain(group, "dan"))
    received = finish(world["dan"].decrypt("ann", 1, piece.message))
    assert received.content == GroupOperations(group_id=group, operations=tuple(world.operations))
    assert received.refused is None
    assert finish(world["dan"].groups.view(group)) is None
    view = finish(world["dan"].groups.join(reversed(world.operations)))
    assert view == finish(world["ann"].groups.view(group))
    sent = world.say(world["ann"], group, b"welcome")
    assert keys_to(sent) == [("dan", 1)]
    assert world.hear(world["dan"], world["ann"], sent) == b"welcome"
    with pytest.raises(NotAMember):
        world.hear(world["dan"], world["ann"], before)


def test_roles_and_rekeys(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    with pytest.raises(GroupStateMismatch):
        finish(world["bob"].groups.rekey(group))
    world.announce(finish(world["ann"].groups.set_role(group, "bob", Role.ADMIN)))
    world.say(world["ann"], group, b"")
    world.announce(finish(world["bob"].groups.rekey(group)))
    assert keys_to(world.say(world["ann"], group, b"")) == [("bob", 1)]
    world.announce(finish(world["ann"].groups.remove(group, ["ann"])))
    world.announce(finish(world["bob"].groups.add(group, ["cleo"])))
    with pytest.raises(GroupStateMismatch, match="last admin"):
        finish(world["bob"].groups.set_role(group, "bob", Role.MEMBER))
    for proposed in (world["bob"].groups.set_role(group, "dan", Role.ADMIN), world["bob"].groups.renew(group, "dan")):
        with pytest.raises(NotAMember):
            finish(proposed)
    with pytest.raises(MalformedMessage):
        finish(world["bob"].groups.add(group, []))
    with pytest.raises(MalformedMessage):
        finish(world["bob"].groups.create(["ann", "ann"]))


def test_nobody_is_added_who_is_not_known_for_sure(world: GroupWorld) -> None:
    with pytest.raises(NoSession):
        finish(world["ann"].groups.create(["eve"]))
    change_account(world, "dan")
    with pytest.raises(UntrustedIdentity):
        finish(world["ann"].groups.create(["dan"]))


def test_operations_that_come_twice_or_in_another_place(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"], admins=["bob"])
    first, second = finish(world["ann"].groups.rekey(group)), finish(world["bob"].groups.add(group, ["cleo"]))
    assert finish(world["ann"].groups.apply([first.encoded])) == [first]
    assert finish(world["ann"].groups.apply([first.encoded])) == []
    with pytest.raises(GroupStateMismatch, match="another operation"):
        finish(world["ann"].groups.apply([second.encoded]))
    with pytest.raises(GroupStateMismatch, match="not known here"):
        finish(world["cleo"].groups.apply([second.encoded]))
    with pytest.raises(GroupStateMismatch):
        finish(world["cleo"].groups.join([]))
    with pytest.raises(NotAMember):
        finish(world["cleo"].groups.join(world.operations))
    assert finish(world["bob"].groups.join([*world.operations, first.encoded])).epoch == 1
    assert finish(world["ann"].groups.apply([])) == []


def test_all_operations_of_a_call_or_none(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"], admins=["bob"])
    first, other = finish(world["ann"].groups.rekey(group)), finish(world["bob"].groups.rekey(group))
    finish(world["bob"].groups.apply([other.encoded]))
    second = finish(world["bob"].groups.rekey(group))
    with pytest.raises(GroupStateMismatch):
        finish(world["ann"].groups.apply([first.encoded, second.encoded]))
    view = finish(world["ann"].groups.view(group))
    assert view is not None
    assert view.epoch == 0
    assert finish(world["ann"].groups.chain(group)).operations == tuple(world.operations)


def test_an_operation_of_a_removed_device_is_only_caught_up_with(world: GroupWorld) -> None:
    tablet = world.link("ann")
    world.introduce("ann")
    group = world.create("ann", ["bob"])
    operation = finish(tablet.groups.rekey(group))
    world.directory.put_list(finish(world["ann"].remove_device(tablet.device_id)))
    finish(world["bob"].learn("ann", world.directory.lists["ann"].encoded))
    with pytest.raises(UntrustedIdentity):
        finish(world["bob"].groups.apply([operation.encoded]))
    assert finish(world["bob"].groups.apply([operation.encoded], replay=True)) == [operation]
    assert finish(world["ann"].groups.apply([operation.encoded], replay=True)) == [operation]
    added = finish(world["ann"].groups.add(group, ["dan"]))
    finish(world["ann"].groups.apply([added.encoded]))
    chain = finish(world["ann"].groups.chain(group))
    assert chain.operations == (*world.operations, operation.encoded, added.encoded)
    assert set(chain.certificates) == {world["ann"].local.certificate.encoded, tablet.local.certificate.encoded}
    # Somebody who never met the removed device has to be shown its certificate.
    newcomer = finish(new_device(world.directory, "eve", world.options("eve")))
    finish(newcomer.learn("ann", world.directory.lists["ann"].encoded, world.directory.certificates("ann")))
    with pytest.raises(UntrustedIdentity):
        finish(newcomer.groups.join(chain.operations))
    with pytest.raises(BadSignature):
        finish(newcomer.groups.join(chain.operations, [chain.certificates[0][:-1] + b"\0"]))
    with pytest.raises(NotAMember):
        finish(newcomer.groups.join(chain.operations, chain.certificates))
    assert finish(world["dan"].groups.join(chain.operations, chain.certificates)).epoch == 2


def test_a_forgotten_group_is_gone_and_can_be_joined_again(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    old = world.say(world["ann"], group, b"old")
    assert finish(world["bob"].groups.view(group)) is not None
    finish(world["bob"].groups.forget(group))
    assert finish(world["bob"].groups.view(group)) is None
    assert finish(world["bob"].groups.ids()) == []
    with pytest.raises(GroupStateMismatch):
        finish(world["bob"].groups.chain(group))
    finish(world["bob"].groups.join(world.operations))
    with pytest.raises(UnknownSenderKey):
        world.hear(world["bob"], world["ann"], old)


# What is said


def test_sessions_that_are_missing(world: GroupWorld) -> None:
    group = world.create("ann", ["bob", "cleo"])
    ann = world["ann"]
    assert finish(ann.groups.needs_bundles(group)) == [("bob", 1), ("cleo", 1)]
    with pytest.raises(NoSession, match="2 devices"):
        finish(ann.groups.send(group, b""))
    world.meet(ann, "bob")
    sent = finish(ann.groups.send(group, b"for bob", skip_missing=True))
    assert (keys_to(sent), sent.left_out) == ([("bob", 1)], (("cleo", 1),))
    world.give_keys(ann, sent)
    assert world.hear(world["bob"], ann, sent) == b"for bob"
    assert finish(ann.groups.needs_bundles(group)) == [("cleo", 1)]
    later = world.say(ann, group, b"for both")
    assert keys_to(later) == [("cleo", 1)]
    assert world.hear(world["cleo"], ann, later) == b"for both"
    with pytest.raises(DuplicateMessage):
        # The key begins where it was given.
        world.hear(world["cleo"], ann, sent)


def change_account(world: GroupWorld, name: str, *, lies_to: str = "ann") -> bytes:
    """The server shows a list of somebody under another account key."""
    account = signing_pair(bytes(31) + b"\7")
    own = world[name].local.certificate
    certificate = finish(Device.create(MemoryStore(), name, world.options(name, 77), account=account)).local.certificate
    shown = issue_device_list(account, user_id=name, created=own.created, certificates=(certificate,))
    with pytest.raises(UntrustedIdentity):
        finish(world[lies_to].learn(name, shown.encoded, [certificate.encoded]))
    return account.public


def test_members_whose_account_key_is_in_doubt(world: GroupWorld) -> None:
    group = world.create("ann", ["bob", "cleo"])
    ann = world["ann"]
    world.say(ann, group, b"")
    offered = change_account(world, "cleo")
    with pytest.raises(UntrustedIdentity):
        finish(ann.groups.send(group, b""))
    sent = finish(ann.groups.send(group, b"not for cleo", skip_missing=True))
    assert (sent.unreachable, keys_to(sent)) == (("cleo",), [("bob", 1)])
    with pytest.raises(UnknownSenderKey):
        world.hear(world["cleo"], ann, sent)
    # Accepted, but the group knows her under the old one.
    finish(ann.accept_identity("cleo", offered))
    with pytest.raises(NoSession):
        finish(ann.groups.send(group, b""))


def test_a_member_with_a_new_account_key_is_withheld_until_it_is_renewed() -> None:
    world = GroupWorld("ann", "bob", "cleo")
    group = world.create("ann", ["bob", "cleo"])
    ann, bob, old = world["ann"], world["bob"], world["cleo"]
    late = world.say(old, group, b"in time")
    world.say(ann, group, b"")
    cleo = finish(new_device(world.directory, "cleo", world.options("cleo", 9)))
    for device in (ann, bob):
        with pytest.raises(UntrustedIdentity):
            finish(device.learn("cleo", world.directory.lists["cleo"].encoded, world.directory.certificates("cleo")))
        finish(device.accept_identity("cleo", cleo.local.certificate.account))
        finish(device.learn("cleo", world.directory.lists["cleo"].encoded, world.directory.certificates("cleo")))
    for name in ("ann", "bob"):
        finish(cleo.learn(name, world.directory.lists[name].encoded, world.directory.certificates(name)))
    sent = world.say(ann, group, b"withheld")
    assert (sent.withheld, keys_to(sent)) == (("cleo",), [("bob", 1)])
    with pytest.raises(NotAMember):
        # The device is one of the account that is trusted now, and the group names the other.
        world.hear(bob, old, late)
    with pytest.raises(NotAMember):
        finish(cleo.groups.join(world.operations))
    world.devices["cleo", 1] = cleo
    renewed = finish(ann.groups.renew(group, "cleo"))
    world.operations.append(renewed.encoded)
    for device in (ann, bob):
        finish(device.groups.apply([renewed.encoded]))
    chain = finish(ann.groups.chain(group))
    finish(cleo.groups.join(chain.operations, chain.certificates))
    sent = world.say(cleo, group, b"a new key")
    assert [world.hear(device, cleo, sent) for device in (ann, bob)] == [b"a new key"] * 2


def test_batches(world: GroupWorld) -> None:
    one, other = world.create("ann", ["bob"]), world.create("ann", ["bob"])
    for group in (one, other):
        world.say(world["ann"], group, b"")
    sent = finish(world["ann"].groups.send_many([(one, b"1"), (other, b"2"), (one, b"3")]))
    kept: list[GroupReceived] = []
    incoming = [Incoming("ann", 1, message.message) for message in (*sent, sent[0])]
    results = finish(world["bob"].groups.receive_many(incoming, lambda tx, received: kept.append(received)))
    assert kept == results[:3]
    assert [received.data for received in kept] == [b"1", b"2", b"3"]
    assert isinstance(results[3], DuplicateMessage)
    with pytest.raises(LimitReached):
        finish(world["ann"].groups.send_many([(one, b"4"), (one, bytes(65_536))]))
    (again,) = finish(world["ann"].groups.send_many([(one, b"5")]))
    assert world.hear(world["bob"], world["ann"], again) == b"5"


def test_what_the_application_refuses_is_read_again(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    sent = world.say(world["ann"], group, b"hello")

    def refuse(tx: Transaction, received: GroupReceived) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        finish(world["bob"].groups.receive("ann", 1, sent.message, refuse))
    with pytest.raises(RuntimeError):
        finish(world["bob"].groups.receive_many([Incoming("ann", 1, sent.message)], refuse))
    with pytest.raises(TypeError):
        finish(world["bob"].groups.receive("ann", 1, sent.message, lambda tx, received: 1))  # type: ignore[arg-type]
    assert world.hear(world["bob"], world["ann"], sent) == b"hello"
    with pytest.raises(DuplicateMessage):
        world.hear(world["bob"], world["ann"], sent)


def test_messages_that_are_none(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    sent = world.say(world["ann"], group, b"hello")
    with pytest.raises(MalformedMessage):
        finish(world["bob"].groups.receive("ann", 1, b""))
    with pytest.raises(GroupStateMismatch):
        finish(world["cleo"].groups.receive("ann", 1, sent.message))
    with pytest.raises(DuplicateMessage, match="itself"):
        finish(world["ann"].groups.receive("ann", 1, sent.message))
    with pytest.raises(UntrustedIdentity):
        finish(world["bob"].groups.receive("ann", 2, sent.message))
    with pytest.raises(BadSignature):
        finish(world["bob"].groups.receive("ann", 1, sent.message[:-1] + b"\0"))


def test_only_application_content_is_for_a_group(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    world.say(world["ann"], group, b"")
    steps = world["ann"].groups.steps

    def work(tx: Transaction) -> bytes:
        own = steps.space(tx).get(group)
        return own.encrypt(encode(CallKey(call_id=bytes(16), generation=0, step=0, base_key=bytes(32))), now=world.clock.now)

    message = finish(world["ann"].run(work))
    with pytest.raises(MalformedMessage):
        finish(world["bob"].groups.receive("ann", 1, message))


# What comes through the sessions


def test_a_key_that_comes_before_the_chain_waits(world: GroupWorld) -> None:
    operation = finish(world["ann"].groups.create(["bob"]))
    group = operation.group_id
    sent = world.say(world["ann"], group, b"early")
    with pytest.raises(GroupStateMismatch):
        world.hear(world["bob"], world["ann"], sent)
    bob = world.reload(world["bob"])
    finish(bob.groups.join([operation.encoded]))
    assert world.hear(bob, world["ann"], sent) == b"early"
    assert finish(bob.run(lambda tx: tx.count(WAITING))) == 0


def test_a_key_of_somebody_whose_adding_has_not_come_waits(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    added = finish(world["ann"].groups.add(group, ["cleo"]))
    finish(world["ann"].groups.apply([added.encoded]))
    finish(world["cleo"].groups.join([*world.operations, added.encoded]))
    sent = world.say(world["cleo"], group, b"ahead")
    with pytest.raises(GroupStateMismatch):
        world.hear(world["bob"], world["cleo"], sent)
    finish(world["bob"].groups.apply([added.encoded]))
    assert world.hear(world["bob"], world["cleo"], sent) == b"ahead"


def test_keys_and_chains_that_do_not_count_are_refused_and_the_message_is_read(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    assert isinstance(pairwise(world, "cleo", "ann", distribution(group)), NotAMember)
    assert isinstance(pairwise(world, "bob", "ann", distribution(group, signing_public=bytes(32))), E2EEError)
    assert pairwise(world, "bob", "ann", distribution(group)) is None
    assert pairwise(world, "bob", "ann", ApplicationContent(b"")) is None
    foreign = finish(world["dan"].groups.create(["ann"]))
    chain = GroupOperations(group_id=group, operations=(foreign.encoded,))
    assert isinstance(pairwise(world, "bob", "ann", chain), MalformedMessage)
    chain = GroupOperations(group_id=group, operations=(b"",))
    assert isinstance(pairwise(world, "bob", "ann", chain), MalformedMessage)
    added = finish(world["ann"].groups.add(group, ["dan"]))
    chain = GroupOperations(group_id=group, operations=(*world.operations, added.encoded))
    assert pairwise(world, "ann", "bob", chain) is None
    view = finish(world["bob"].groups.view(group))
    assert view is not None
    assert view.members.keys() == {"ann", "bob", "dan"}


def test_waiting_keys_are_bounded_and_the_newest_stay() -> None:
    world = GroupWorld("ann", "bob", limits=Limits(sender_keys_waiting=2))
    groups = [bytes([number]) * 16 for number in range(3)]
    for number, group in enumerate(groups):
        assert pairwise(world, "ann", "bob", distribution(group, number)) is None
        assert pairwise(world, "ann", "bob", distribution(group, number)) is None

    def waiting(tx: Transaction) -> list[bytes]:
        space = world["bob"].groups.steps.space(tx)
        return [key.group_id for group in groups for key in space.waited("ann", 1, group)]

    assert finish(world["bob"].run(waiting)) == groups[1:]


def test_keys_that_waited_in_vain_are_dropped(world: GroupWorld) -> None:
    operation = finish(world["ann"].groups.create(["bob"]))
    # Of a time before dan was a member.
    assert pairwise(world, "dan", "bob", distribution(operation.group_id)) is None
    assert finish(world["bob"].run(lambda tx: tx.count(WAITING))) == 1
    added = finish(world["ann"].groups.add(operation.group_id, ["dan"]))
    finish(world["ann"].groups.apply([added.encoded]))
    finish(world["bob"].groups.join([operation.encoded, added.encoded]))
    assert finish(world["bob"].run(lambda tx: tx.count(WAITING))) == 0


def test_whoever_begins_anew_is_given_the_key_again(world: GroupWorld) -> None:
    group, other = world.create("ann", ["bob", "cleo"]), world.create("ann", ["cleo"])
    lost = world.stores[ADDRESS].copy()
    world.connect(world["ann"], group)
    sent = finish(world["ann"].groups.send(group, b"lost on the way"))
    finish(world["ann"].groups.send(other, b"", skip_missing=True))
    world.stores[ADDRESS] = lost
    bob = world.reload(world["bob"])
    with pytest.raises(UnknownSenderKey):
        world.hear(bob, world["ann"], sent)
    reset = finish(bob.reset(world.directory.bundle("ann", 1)))
    finish(world["ann"].decrypt("bob", 1, reset.message))
    again = world.say(world["ann"], group, b"again")
    assert keys_to(again) == [("bob", 1)]
    assert world.hear(bob, world["ann"], again) == b"again"
    with pytest.raises(DuplicateMessage):
        world.hear(bob, world["ann"], sent)


# Devices that come and go


def test_a_new_device_gets_the_key_and_a_removed_one_none(world: GroupWorld) -> None:
    group = world.create("ann", ["bob"])
    world.say(world["ann"], group, b"")
    tablet = world.link("bob")
    world.introduce("bob")
    finish(tablet.learn("ann", world.directory.lists["ann"].encoded, world.directory.certificates("ann")))
    world.meet(world["bob"], "bob")
    (piece,) = finish(world["bob"].groups.send_chain(group, "bob"))
    finish(tablet.decrypt("bob", 1, piece.message))
    finish(tablet.groups.join(world.operations))
    sent = world.say(world["ann"], group, b"for both")
    assert keys_to(sent) == [("bob", tablet.device_id)]
    assert [world.hear(reader, world["ann"], sent) for reader in (world["bob"], tablet)] == [b"for both"] * 2
    of_tablet = world.say(tablet, group, b"from the tablet")
    waiting = world.say(tablet, finish(tablet.groups.create(["ann"])).group_id, b"")
    assert waiting.keys
    world.directory.put_list(finish(world["bob"].remove_device(tablet.device_id)))
    finish(world["ann"].learn("bob", world.directory.lists["bob"].encoded))
    assert finish(world["ann"].run(lambda tx: tx.count(WAITING))) == 0
    sent = world.say(world["ann"], group, b"for one")
    assert keys_to(sent) == [("bob", 1)]
    with pytest.raises(UnknownSenderKey):
        world.hear(tablet, world["ann"], sent)
    with pytest.raises(UntrustedIdentity):
        world.hear(world["ann"], tablet, of_tablet)
    finish(tablet.learn("bob", world.directory.lists["bob"].encoded))
    for skip in (False, True):
        with pytest.raises(UntrustedIdentity, match="no longer on the list"):
            finish(tablet.groups.send(group, b"", skip_missing=skip))


# Bounds


def test_as_many_groups_and_operations_as_there_may_be() -> None:
    world = GroupWorld("ann", "bob", limits=Limits(max_groups=2, max_group_operations=2))
    group = world.create("ann", ["bob"])
    finish(world["ann"].groups.create(["bob"]))
    for _ in range(2):
        with pytest.raises(LimitReached, match="max_groups"):
            finish(world["ann"].groups.create(["bob"]))
    world.announce(finish(world["ann"].groups.rekey(group)))
    more = finish(world["ann"].groups.rekey(group))
    with pytest.raises(LimitReached, match="max_group_operations"):
        finish(world["ann"].groups.apply([more.encoded]))
    finish(world["bob"].groups.forget(group))
    with pytest.raises(LimitReached, match="max_group_operations"):
        finish(world["bob"].groups.join([*world.operations, more.encoded]))
    assert finish(world["bob"].groups.join(world.operations)).epoch == 1
