"""A random run of a group: devices that send, join, leave and restart, racing admins, and a network that keeps no promise."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from e2ee.certificates import DeviceCertificate
from e2ee.content import SenderKeyDistribution
from e2ee.errors import DuplicateMessage, E2EEError, GroupStateMismatch, NotAMember, UnknownSenderKey
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, Operation, OperationKind, Role
from e2ee.group_state import GroupState
from tests.support.group_parties import Directory, Party, apply_changes, make_party

NOW = 1_700_000_000.0
ALICE, ALICE_2, BOB, CAROL = make_party("alice"), make_party("alice", 2), make_party("bob"), make_party("carol")
BOB_AGAIN = make_party("bob", 7, account="second")

Deliveries = list[tuple[str, int, SenderKeyDistribution]]


class RandomRun(RuleBasedStateMachine):
    """Two to five users, up to seven devices, a server that orders operations, and a network that loses, repeats and reorders.

    True at every step: what is read is what was sent, by whom it was sent, once, and only by members of the epoch it was sent in;
    of two operations for one epoch only one counts. True at the end, once everything has come: everybody reads everybody.
    """

    POOL = (ALICE, ALICE_2, BOB, CAROL, make_party("dave"), make_party("erin"), BOB_AGAIN)

    @initialize(others=st.sets(st.sampled_from(["bob", "carol", "dave", "erin"]), min_size=1), second=st.booleans())
    def create(self, others: set[str], second: bool) -> None:
        role = Role.ADMIN if second else Role.MEMBER
        members = [party.member(role) for party in self.POOL[2:6] if party.address[0] in others]
        group, first = SenderKeyGroup.create(ALICE.certificate, ALICE.signing, members, time=0)
        self.parties = {party.address: party for party in self.POOL}
        self.resolve = Directory(self.POOL)
        self.present = set(self.parties)
        self.groups = {ALICE.address: group}
        self.stored: dict[tuple[str, int], dict[bytes, bytes]] = {}
        self.truth = [GroupState.create(first, self.resolve)]
        self.log = [first.encoded]
        self.proposed: list[Operation] = []
        self.keys: dict[tuple[str, int], Deliveries] = {address: [] for address in self.parties}
        self.messages: list[tuple[tuple[str, int], int, bytes, bytes]] = []
        self.was_read: set[tuple[tuple[str, int], int]] = set()
        # Who was given a sender key, and the epoch in which it was first given, by key id.
        self.handed: dict[bytes, set[tuple[str, int]]] = {}
        self.made: dict[bytes, int] = {}
        self.count = 0

    def certificates(self) -> list[DeviceCertificate]:
        return [self.parties[address].certificate for address in sorted(self.present)]

    def joined(self, number: int) -> tuple[tuple[str, int], SenderKeyGroup]:
        address = sorted(self.groups)[number % len(self.groups)]
        return address, self.groups[address]

    @rule(who=st.integers(0, 6), kind=st.sampled_from(list(OperationKind)[1:]), whom=st.integers(0, 6), role=st.sampled_from(Role))
    def propose(self, who: int, kind: OperationKind, whom: int, role: Role) -> None:
        address, group = self.joined(who)
        target = self.POOL[whom]
        members: tuple[Member, ...] = ()
        if kind in (OperationKind.ADD, OperationKind.ROLE, OperationKind.RENEW):
            known = group.members.get(target.address[0])
            members = (target.member(known.role if known and kind is OperationKind.RENEW else role),)
        users = (target.address[0],) if kind is OperationKind.REMOVE else ()
        try:
            proposal = group.propose(self.parties[address].signing, kind, time=len(self.log), members=members, users=users)
        except (GroupStateMismatch, NotAMember):
            return
        self.proposed.append(proposal)

    @precondition(lambda self: self.proposed)
    @rule(which=st.integers(0, 9))
    def order(self, which: int) -> None:
        """The server takes one proposal; all others for that epoch are too late, for everybody."""
        operation = self.proposed.pop(which % len(self.proposed))
        try:
            state = self.truth[-1].apply(operation, self.resolve)
        except E2EEError:
            for group in self.groups.values():
                if group.epoch == self.truth[-1].epoch:
                    with pytest.raises(E2EEError):
                        group.apply(operation.encoded, self.resolve)
            return
        self.truth.append(state)
        self.log.append(operation.encoded)

    @rule(who=st.integers(0, 6), steps=st.integers(1, 3))
    def follow(self, who: int, steps: int) -> None:
        address, group = self.joined(who)
        for encoded in self.log[group.epoch + 1 :][:steps]:
            group.apply(encoded, self.resolve)
        assert group.state.hashes[-1] == self.truth[group.epoch].hashes[-1]

    @rule(which=st.integers(0, 6))
    def join(self, which: int) -> None:
        party = self.POOL[which]
        if party.address not in self.groups and self.is_in(party, len(self.truth) - 1):
            self.groups[party.address] = SenderKeyGroup.join(party.certificate, self.log, self.resolve)

    @rule(who=st.integers(0, 6), text=st.binary(max_size=70))
    def send(self, who: int, text: bytes) -> None:
        address, group = self.joined(who)
        try:
            deliveries = group.prepare_send(self.certificates(), now=NOW)
        except NotAMember:
            return
        for user, device, key in deliveries:
            assert self.is_in(self.parties[user, device], group.epoch)
            self.keys[user, device].append((*address, key))
            self.handed.setdefault(key.key_id, set()).add((user, device))
            self.made.setdefault(key.key_id, group.epoch)
        group.mark_distributed(deliveries)
        message = group.encrypt(text, now=NOW)
        self.messages.append((address, group.epoch, text, message))
        self.check_holders(message[24:32], group.epoch)

    def check_holders(self, key_id: bytes, epoch: int) -> None:
        """Nobody who is gone has the key that is sent with, and none is older than the last rekey."""
        for holder in self.handed.get(key_id, ()):
            assert holder in self.present
            assert self.is_in(self.parties[holder], epoch)
        since = self.log[self.made.get(key_id, epoch) + 1 : epoch + 1]
        assert all(Operation.parse(encoded).kind is not OperationKind.REKEY for encoded in since)

    @rule(thief=st.integers(0, 6), victim=st.integers(0, 6), which=st.integers(0, 99))
    def pass_on(self, thief: int, victim: int, which: int) -> None:
        """A device gives another's sender key to a third as its own."""
        waiting = self.keys[self.joined(victim)[0]]
        if waiting:
            waiting.append((*self.joined(thief)[0], waiting[which % len(waiting)][2]))

    @rule(who=st.integers(0, 6), which=st.integers(0, 99), again=st.booleans())
    def deliver_key(self, who: int, which: int, again: bool) -> None:
        address, group = self.joined(who)
        waiting = self.keys[address]
        if waiting:
            self.take_key(group, waiting, which % len(waiting), again=again)

    def take_key(self, group: SenderKeyGroup, waiting: Deliveries, place: int, *, again: bool) -> None:
        user, device, key = waiting[place]
        try:
            group.receive_key(user, device, key)
        except GroupStateMismatch:
            assert key.epoch > group.epoch
            return
        except NotAMember:
            # Only one that was passed on.
            assert self.truth[key.epoch].account_at(user, key.epoch) is None
        if not again:
            del waiting[place]

    @precondition(lambda self: self.messages)
    @rule(who=st.integers(0, 6), which=st.integers(0, 99))
    def deliver(self, who: int, which: int) -> None:
        self.read(*self.joined(who), which % len(self.messages))

    def read(self, address: tuple[str, int], group: SenderKeyGroup, which: int) -> bool:
        """Have a device read a message; whether that went well is told, and that it was right is checked."""
        sender, epoch, text, message = self.messages[which]
        try:
            content = group.decrypt(*sender, message, now=NOW)
        except (GroupStateMismatch, NotAMember, UnknownSenderKey, DuplicateMessage):
            return False
        assert content == text
        assert self.is_in(self.parties[address], epoch)
        assert self.is_in(self.parties[sender], epoch)
        assert (address, which) not in self.was_read
        self.was_read.add((address, which))
        # Nobody else can be made its author.
        for other in self.groups:
            if other != sender:
                with pytest.raises(E2EEError):
                    group.decrypt(*other, message, now=NOW)
        return True

    def is_in(self, party: Party, epoch: int) -> bool:
        member = self.truth[epoch].members.get(party.address[0])
        return member is not None and member.account == party.certificate.account

    @precondition(lambda self: ALICE_2.address in self.present and len(self.messages) > 2)
    @rule()
    def remove_device(self) -> None:
        """The second device of alice is removed from her list."""
        self.present.remove(ALICE_2.address)
        for group in self.groups.values():
            group.update_devices("alice", [1])

    @rule(who=st.integers(0, 6))
    def restart(self, who: int) -> None:
        address, group = self.joined(who)
        records = apply_changes(self.stored.setdefault(address, {}), group)
        self.groups[address] = SenderKeyGroup.from_records(self.parties[address].certificate, records)

    def teardown(self) -> None:
        """Everybody gets all operations and keys; then everybody who is in the group reads everybody else who is."""
        if not hasattr(self, "truth"):
            return
        for which in range(len(self.POOL)):
            self.join(which)
        for number in range(len(self.groups)):
            self.follow(number, len(self.log))
        senders = [address for address, group in self.groups.items() if group.is_member and address in self.present]
        for address in senders:
            self.send(sorted(self.groups).index(address), b"the end")
        fresh = range(len(self.messages) - len(senders), len(self.messages))
        for address, group in self.groups.items():
            waiting = self.keys[address]
            for place in reversed(range(len(waiting))):
                self.take_key(group, waiting, place, again=False)
            expected = sum(self.messages[which][0] != address for which in fresh) if address in senders else 0
            assert sum(self.read(address, group, which) for which in fresh) == expected


TestRandomRun = RandomRun.TestCase
TestRandomRun.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
