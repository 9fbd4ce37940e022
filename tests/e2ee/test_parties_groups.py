"""Groups among several people whose server shows everything to everybody, in an order of its own, and adds a ghost.

Whoever was a member with a listed device when something was said reads it exactly once; nobody else ever does: not a member that
was removed, not one that came later, not the ghost, however much of the traffic they are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from e2ee import (
    BadSignature,
    DeviceCertificate,
    E2EEError,
    GroupStateMismatch,
    MemoryStore,
    NotAMember,
    Received,
    SenderKeyDistribution,
    Transaction,
    UnknownSenderKey,
    UntrustedIdentity,
)
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, OperationKind, Role, sign_operation
from e2ee.sender_keys import GroupMessage
from tests.e2ee.test_parties import USERS, CrashingStore, Party, World, people
from tests.support.e2ee_world import X25519_ONLY, finish, link, meet

T = TypeVar("T")
Address = tuple[str, int]

GROUP = "app.group"
READ = "app.read"
GHOST = "eve"
NUMBERS = st.integers(0, 999)
# The sender key or an operation is still under way: the item is kept and tried again.
EARLY = (UnknownSenderKey, GroupStateMismatch)


@dataclass(frozen=True)
class Item:
    """What the server shows to a device: an operation, a message to the group, or a pairwise message."""

    kind: str
    sender: Address
    data: bytes = field(repr=False)
    text: bytes = b""


class Groups(RuleBasedStateMachine):
    """One group, of which the last user is never a member."""

    @initialize(count=st.integers(2, 4))
    def begin(self, count: int) -> None:
        directory, stores = people(5, X25519_ONLY)
        self.world = World(directory, stores, X25519_ONLY)
        self.boxes: dict[Address, list[Item]] = {party.address: [] for party in self.world.parties}
        self.operations: dict[Address, list[bytes]] = {address: [] for address in self.boxes}
        self.chain: list[Item] = []
        self.given: dict[Address, list[SenderKeyDistribution]] = {address: [] for address in self.boxes}
        self.messages: dict[bytes, bytes] = {}
        self.senders: dict[bytes, Address] = {}
        self.may_read: dict[bytes, set[Address]] = {}
        first, *others = self.world.parties[:count]
        self.know_everybody()
        members = [Member(party.device.user_id, party.device.local.certificate.account) for party in others]

        def create(tx: Transaction) -> bytes:
            local = first.device.local
            group, operation = SenderKeyGroup.create(
                local.certificate, local.signing, members, time=0, random=self.world.options.random
            )
            self.save(tx, group)
            return operation.encoded

        self.announce(first, finish(first.device.run(create)))
        # Who made the group has it already.
        self.boxes[first.address].clear()

    def know_everybody(self) -> None:
        for party in self.world.parties:
            for user_id in USERS:
                self.world.look_up(party, user_id)

    def show(self, item: Item) -> None:
        for box in self.boxes.values():
            box.append(item)

    def announce(self, party: Party, operation: bytes) -> None:
        self.chain.append(Item("operation", party.address, operation))
        self.show(self.chain[-1])

    def load(self, tx: Transaction, party: Party) -> SenderKeyGroup | None:
        records = dict(tx.scan(GROUP))
        return SenderKeyGroup.from_records(party.device.local.certificate, records) if records else None

    def save(self, tx: Transaction, group: SenderKeyGroup) -> None:
        for name, record in group.drain_changes().items():
            if record is None:
                tx.delete(GROUP, name)
            else:
                tx.put(GROUP, name, record)

    def with_group(self, party: Party, work: Callable[[Transaction, SenderKeyGroup], T]) -> T | None:
        def run(tx: Transaction) -> T | None:
            group = self.load(tx, party)
            if group is None:
                return None
            result = work(tx, group)
            self.save(tx, group)
            return result

        return finish(party.device.run(run))

    def party(self, number: int) -> Party:
        return self.world.parties[number % len(self.world.parties)]

    def member(self, number: int, *, admin: bool = False) -> Party | None:
        """A device of a member, as far as that device knows."""
        found = []
        for party in self.world.parties:
            group = finish(party.device.run(lambda tx, party=party: self.load(tx, party)))  # type: ignore[misc]
            if group is not None and group.is_member and (not admin or group.members[party.device.user_id].role is Role.ADMIN):
                found.append(party)
        return found[number % len(found)] if found else None

    # What comes in

    def take(self, party: Party, item: Item) -> bool:
        """Hand one item to a device; False when it may come later only. An error says that it will never be read."""
        try:
            if item.kind == "pairwise":
                finish(party.device.decrypt(*item.sender, item.data, lambda tx, received: self.take_key(party, tx, received)))
                return True
            if item.kind == "operation":
                return self.apply(party, item.data)
            return self.with_group(party, lambda tx, group: self.read(tx, group, party, item)) is not None
        except EARLY:
            return False

    def take_key(self, party: Party, tx: Transaction, received: Received) -> None:
        assert isinstance(received.content, SenderKeyDistribution)
        group = self.load(tx, party)
        if group is None:
            # Undoes the reading of the message, which is tried again once the group is known.
            raise UnknownSenderKey("the group is not known yet")
        self.given[party.address].append(received.content)
        group.receive_key(received.user_id, received.device_id, received.content)
        self.save(tx, group)

    def apply(self, party: Party, operation: bytes) -> bool:
        def work(tx: Transaction) -> None:
            def resolve(user_id: str, device_id: int) -> DeviceCertificate | None:
                return party.device.steps.certificate(tx, user_id, device_id)

            group = self.load(tx, party)
            if group is None:
                known = [*self.operations[party.address], operation]
                self.operations[party.address] = known
                try:
                    group = SenderKeyGroup.join(party.device.local.certificate, known, resolve)
                except NotAMember:
                    return
            else:
                group.apply(operation, resolve)
            self.save(tx, group)

        finish(party.device.run(work))
        return True

    def read(self, tx: Transaction, group: SenderKeyGroup, party: Party, item: Item) -> bool:
        content = group.decrypt(*item.sender, item.data, now=self.world.clock.now)
        assert content == item.text
        assert party.address in self.may_read[item.text], f"{party.address} reads what is not for it"
        assert tx.get(READ, content) is None, "something was read twice"
        tx.put(READ, content, b"")
        return True

    def pull(self, party: Party, position: int) -> bool:
        """Let a device look at one item of its box; whether that item is done with."""
        box = self.boxes[party.address]
        item = box[position]
        if item.kind == "operation" and any(other.kind == "operation" for other in box[:position]):
            return False
        try:
            done = self.take(party, item)
        except E2EEError:
            assert party.address not in self.may_read.get(item.text, ()), f"{party.address} cannot read {item}"
            done = True
        if done:
            del box[position]
        return done

    def drain(self, party: Party) -> None:
        position = 0
        while position < len(self.boxes[party.address]):
            position = 0 if self.pull(party, position) else position + 1

    # What happens

    @rule(who=NUMBERS, which=st.integers(0, 5))
    def look(self, who: int, which: int) -> None:
        party = self.party(who)
        if self.boxes[party.address]:
            self.pull(party, which % len(self.boxes[party.address]))

    @rule(who=NUMBERS)
    def say(self, who: int) -> None:
        party = self.member(who)
        if party is None:
            return
        self.drain(party)
        text = b"said %d" % len(self.may_read)
        group = finish(party.device.run(lambda tx: self.load(tx, party)))
        if group is None or not group.is_member:
            return
        for user_id in group.members:
            finish(meet(self.world.directory, party.device, user_id))

        def work(tx: Transaction, group: SenderKeyGroup) -> tuple[list[tuple[Address, bytes]], bytes, set[Address]]:
            steps = party.device.steps
            devices = [certificate for user_id in group.members for certificate in steps.certificates(tx, user_id)]
            deliveries = group.prepare_send(devices, now=self.world.clock.now, random=self.world.options.random)
            sent = [
                steps.encrypt_to(tx, user_id, device_id, distribution, now=self.world.clock.now)
                for user_id, device_id, distribution in deliveries
            ]
            group.mark_distributed(deliveries)
            message = group.encrypt(text, now=self.world.clock.now, random=self.world.options.random)
            readers = {(certificate.user_id, certificate.device_id) for certificate in devices}
            return [((one.user_id, one.device_id), one.message) for one in sent], message, readers - {party.address}

        result = self.with_group(party, work)
        assert result is not None
        keys, message, self.may_read[text] = result
        for to, data in keys:
            self.boxes[to].append(Item("pairwise", party.address, data))
        self.show(Item("group", party.address, message, text))
        self.messages[text], self.senders[text] = message, party.address

    def cannot_open(self, party: Party, message: bytes) -> None:
        """The device was never given what opens the message, however faithfully it kept it all."""
        parsed = GroupMessage.parse(message)
        for key in self.given[party.address]:
            opens = key.key_id == parsed.key_id and key.iteration <= parsed.iteration
            assert not opens, f"{party.address} has the key of a message that is not for it"

    @rule(who=NUMBERS, kind=st.sampled_from(["add", "remove", "rekey", "role"]), whom=NUMBERS)
    def change(self, who: int, kind: str, whom: int) -> None:
        party = self.member(who, admin=True)
        if party is None:
            return
        self.drain(party)
        user_id = USERS[:-1][whom % 4]
        account = self.world.directory.lists[user_id].account

        def propose(tx: Transaction, group: SenderKeyGroup) -> bytes:
            options: dict[str, tuple[OperationKind, dict[str, object]]] = {
                "add": (OperationKind.ADD, {"members": (Member(user_id, account),)}),
                "remove": (OperationKind.REMOVE, {"users": (user_id,)}),
                "rekey": (OperationKind.REKEY, {}),
                "role": (OperationKind.ROLE, {"members": (Member(user_id, account, Role.ADMIN),)}),
            }
            chosen, arguments = options[kind]
            return group.propose(party.device.local.signing, chosen, time=0, **arguments).encoded  # type: ignore[arg-type]

        try:
            operation = self.with_group(party, propose)
        except (NotAMember, GroupStateMismatch):
            return
        if operation is not None:
            self.announce(party, operation)

    @rule(who=NUMBERS)
    def link(self, who: int) -> None:
        party = self.party(who)
        if party.device.is_primary and len(self.world.parties) < 8 and party.device.user_id != GHOST:
            store = MemoryStore()
            finish(link(self.world.directory, party.device, self.world.options, store))
            address = self.world.adopt(CrashingStore(store)).address
            # The server tells it how the group came to be.
            self.boxes[address], self.operations[address], self.given[address] = list(self.chain), [], []
            self.know_everybody()

    @rule()
    def the_ghost_gets_in_nowhere(self) -> None:
        ghost = next(party for party in self.world.parties if party.device.user_id == GHOST)
        self.drain(ghost)
        for party in self.world.parties[:2]:
            for name in (GHOST, USERS[0]):
                self.refuse(party, ghost, name)

    def refuse(self, party: Party, ghost: Party, name: str) -> None:
        """No device takes an operation that adds the ghost and that the ghost has signed, in whatever name."""
        member = Member(GHOST, ghost.device.local.certificate.account)

        def work(tx: Transaction, group: SenderKeyGroup) -> None:
            operation = sign_operation(
                ghost.device.local.signing,
                group_id=group.group_id,
                epoch=group.epoch + 1,
                prev_hash=group.state.hashes[-1],
                signer_user=name,
                signer_device=1,
                time=0,
                kind=OperationKind.ADD,
                members=(member,),
            )
            with pytest.raises((NotAMember, BadSignature, UntrustedIdentity)):
                group.apply(operation.encoded, lambda *address: party.device.steps.certificate(tx, *address))
            assert GHOST not in group.members

        self.with_group(party, work)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for party in self.world.parties:
            self.drain(party)
        self.the_ghost_gets_in_nowhere()
        for text, readers in self.may_read.items():
            for party in self.world.parties:
                if party.address not in readers and self.senders[text] != party.address:
                    self.cannot_open(party, self.messages[text])
            have = {party.address for party in self.world.parties if party.has_kept(READ, text)}
            assert have == readers, f"{text!r} was read by {have}, and not by {readers}"


@pytest.mark.timeout(600)
def test_groups() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Groups,
        settings=settings(max_examples=80, stateful_step_count=20, deadline=None, database=None, suppress_health_check=checks),
    )
