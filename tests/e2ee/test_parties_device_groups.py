"""Devices in one group, over a server that shows everything to everybody, in any order, twice or never, and orders operations.

Devices crash before and after a commit, come back from an old copy, are linked and removed. Whatever happens: whoever was to read a
message reads it exactly once, unless a key got lost on its way; nobody else ever reads it; and at the end, after at most one reset
for each two devices, everybody in the group reads everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from e2ee import (
    DuplicateMessage,
    E2EEError,
    GroupReceived,
    GroupSent,
    GroupStateMismatch,
    GroupView,
    MemoryStore,
    NotAMember,
    Operation,
    Role,
    Transaction,
    UnknownSenderKey,
    UntrustedIdentity,
)
from tests.e2ee.test_parties import CRASHES, HOUR_S, LIMITS, LOST, NUMBERS, USERS, Crash, CrashingStore, Party, World, people
from tests.support.e2ee_world import X25519_ONLY, finish, link, meet

Address = tuple[str, int]

READ = "app.read"
GHOST = USERS[-1]
# Nothing dies of age or number in the time that a run takes, so that no message is late for good.
GROUP_LIMITS = replace(LIMITS, sender_keys_kept=100, sender_keys_waiting=100, group_epochs_kept=1_000)
# An operation or the sender key is still under way: the item is kept and tried again.
EARLY = (UnknownSenderKey, GroupStateMismatch)


@dataclass(frozen=True)
class Item:
    """What the server shows to a device: an operation, a message to the group, or a sender key for it alone."""

    kind: str
    sender: Address
    data: bytes = field(repr=False)
    text: bytes = b""


class DeviceGroups(RuleBasedStateMachine):
    """One group, of which the last user is never a member."""

    # Items that some device has read, to tell what comes again.
    taken: frozenset[Item] = frozenset()

    @initialize(count=st.integers(2, 4))
    def begin(self, count: int) -> None:
        self.world = World(*people(5, X25519_ONLY), X25519_ONLY)
        self.world.options = replace(self.world.options, limits=GROUP_LIMITS)
        self.boxes: dict[Address, list[Item]] = {}
        self.shown: dict[Address, list[bytes]] = {}
        self.chain: list[Operation] = []
        self.readers: dict[bytes, set[Address]] = {}
        self.senders: dict[bytes, Address] = {}
        # Of these senders the reader may lack a key; what it may miss for that is excused.
        self.troubled: set[tuple[Address, Address]] = set()
        self.excused: set[tuple[Address, bytes]] = set()
        for party in self.world.parties:
            self.world.restart(party)
            self.boxes[party.address], self.shown[party.address] = [], []
            for user_id in USERS:
                self.world.look_up(party, user_id)
        first = self.world.parties[0]
        operation = finish(first.device.groups.create(USERS[1:count]))
        self.group_id = operation.group_id
        self.announce(first, operation)

    # Who is there

    def party(self, number: int) -> Party:
        active = self.world.active()
        return active[number % len(active)]

    def view(self, party: Party) -> GroupView | None:
        return finish(party.device.groups.view(self.group_id))

    def member(self, number: int, *, admin: bool = False) -> Party | None:
        """A device of a member, as far as that device knows."""
        found = []
        for party in self.world.active():
            view = self.view(party)
            if view is not None and view.is_member and (not admin or view.members[party.address[0]].role is Role.ADMIN):
                found.append(party)
        return found[number % len(found)] if found else None

    # What the server shows

    def announce(self, party: Party, operation: Operation) -> None:
        """The server takes an operation if it is the first of its epoch, and shows it to everybody."""
        if operation.epoch == len(self.chain):
            self.chain.append(operation)
            for box in self.boxes.values():
                box.append(Item("operation", party.address, operation.encoded))

    def trouble(self, reader: Address, sender: Address) -> None:
        """The reader may have no key of the sender from now on, and not read what it has not read yet."""
        self.troubled.add((reader, sender))
        for text, readers in self.readers.items():
            if self.senders[text] == sender and reader in readers and not self.world.at(reader).has_kept(READ, text):
                self.excused.add((reader, text))

    def trouble_with(self, address: Address) -> None:
        for other in self.boxes:
            self.trouble(address, other)
            self.trouble(other, address)

    def take(self, party: Party, item: Item, crash: str | None = None) -> bool:
        """Hand one item to a device; False when it may come later only."""
        try:
            return self.try_to_take(party, item, crash)
        except UntrustedIdentity:
            # A device that is new here, or gone: look, and try again.
            self.world.look_up(party, item.sender[0])
        try:
            return self.try_to_take(party, item, None)
        except UntrustedIdentity:
            assert item.kind != "operation"
            assert self.may_fail(party, item), f"{party.address} does not know who sent {item}"
            return True

    def try_to_take(self, party: Party, item: Item, crash: str | None) -> bool:
        party.store.crash = crash
        try:
            if item.kind == "key":
                return self.take_key(party, item)
            if item.kind == "operation":
                return self.take_operation(party, item)
            return self.read(party, item)
        finally:
            party.store.crash = None

    def may_fail(self, party: Party, item: Item) -> bool:
        if item.kind == "key":
            return (party.address, item.sender) in self.troubled or self.world.at(item.sender).removed
        excused = (party.address, item.text) in self.excused or self.world.at(item.sender).removed
        return party.address not in self.readers[item.text] or excused or party.has_kept(READ, item.text)

    def take_key(self, party: Party, item: Item) -> bool:
        try:
            received = finish(party.device.decrypt(*item.sender, item.data))
        except UntrustedIdentity:
            raise
        except LOST:
            taken = item in self.taken
            assert taken or self.may_fail(party, item), f"{party.address} cannot read {item}"
            if not taken:
                self.trouble(party.address, item.sender)
            return True
        assert received.refused is None or self.may_fail(party, item)
        return True

    def take_operation(self, party: Party, item: Item) -> bool:
        shown = self.shown[party.address]
        if item.data not in shown:
            shown.append(item.data)
        certificates = [shelf.certificate.encoded for shelf in self.world.directory.shelves.values()]
        groups = party.device.groups
        try:
            if self.view(party) is None:
                finish(groups.join(shown, certificates))
            else:
                finish(groups.apply([item.data], certificates, replay=True))
        except GroupStateMismatch:
            return self.view(party) is None
        except NotAMember:
            assert self.view(party) is None
        return True

    def read(self, party: Party, item: Item) -> bool:
        def keep(tx: Transaction, received: GroupReceived) -> None:
            assert received.data == item.text
            assert party.address in self.readers[item.text], f"{party.address} reads what is not for it"
            assert tx.get(READ, item.text) is None, "something was read twice"
            tx.put(READ, item.text, b"")

        try:
            finish(party.device.groups.receive(*item.sender, item.data, keep))
        except UntrustedIdentity:
            raise
        except EARLY:
            return False
        except E2EEError:
            assert party.address == item.sender or self.may_fail(party, item), f"{party.address} cannot read {item}"
        return True

    def pull(self, party: Party, position: int, *, again: bool = False, crash: str | None = None) -> bool:
        """Let a device look at one item of its box; whether that item is done with."""
        box = self.boxes[party.address]
        item = box[position]
        try:
            done = self.take(party, item, crash)
        except Crash:
            self.world.crashed(party, crash)
            done, again = True, True
        if done and item.kind == "key":
            self.taken |= {item}
        if done:
            del box[position]
            if again:
                box.append(item)
        return done

    def drain(self, party: Party) -> None:
        position = 0
        while position < len(self.boxes[party.address]):
            position = 0 if self.pull(party, position) else position + 1

    # What happens

    @rule(who=NUMBERS, which=st.lists(NUMBERS, min_size=1, max_size=4), again=st.booleans(), crash=CRASHES)
    def look(self, who: int, which: list[int], again: bool, crash: str | None) -> None:
        party = self.party(who)
        for number in which:
            if self.boxes[party.address]:
                self.pull(party, number % len(self.boxes[party.address]), again=again, crash=crash)

    @rule(who=NUMBERS)
    def look_at_all(self, who: int) -> None:
        self.drain(self.party(who))

    @rule(who=NUMBERS, which=NUMBERS)
    def lose(self, who: int, which: int) -> None:
        party = self.party(who)
        box = [item for item in self.boxes[party.address] if item.kind != "operation"]
        if box:
            item = box[which % len(box)]
            self.boxes[party.address].remove(item)
            if item.kind == "key":
                self.trouble(party.address, item.sender)
            else:
                self.excused.add((party.address, item.text))

    @rule(who=NUMBERS, crash=CRASHES)
    def say(self, who: int, crash: str | None) -> None:
        party = self.member(who)
        if party is not None:
            self.send(party, crash)

    def send(self, party: Party, crash: str | None = None) -> tuple[bytes, GroupSent] | None:
        view = self.view(party)
        assert view is not None
        for user_id in view.members:
            finish(meet(self.world.directory, party.device, user_id))
        text = b"said %d" % len(self.readers)
        party.store.crash = crash
        try:
            sent = finish(party.device.groups.send(self.group_id, text))
        except Crash:
            self.world.crashed(party, crash)
            if crash == "after":
                # The keys count as given and never left.
                for reader in self.boxes:
                    self.trouble(reader, party.address)
            return None
        finally:
            party.store.crash = None
        devices = {(user_id, device_id) for user_id in view.members for device_id in self.listed(user_id)}
        readers = devices - {party.address}
        assert {(key.user_id, key.device_id) for key in sent.keys} <= readers
        self.readers[text], self.senders[text] = readers, party.address
        for reader in readers:
            if (reader, party.address) in self.troubled:
                self.excused.add((reader, text))
        for key in sent.keys:
            self.boxes[key.user_id, key.device_id].append(Item("key", party.address, key.message))
        for box in self.boxes.values():
            box.append(Item("group", party.address, sent.message, text))
        return text, sent

    def listed(self, user_id: str) -> list[int]:
        return [device_id for device_id, _ in self.world.directory.lists[user_id].devices]

    @rule(who=NUMBERS, kind=st.sampled_from(["add", "remove", "rekey", "role", "leave"]), whom=NUMBERS)
    def change(self, who: int, kind: str, whom: int) -> None:
        party = self.member(who, admin=kind != "leave")
        if party is None:
            return
        self.drain(party)
        user_id, groups = USERS[:-1][whom % 4], party.device.groups
        self.world.look_up(party, user_id)
        proposals = {
            "add": lambda: groups.add(self.group_id, [user_id]),
            "remove": lambda: groups.remove(self.group_id, [user_id]),
            "rekey": lambda: groups.rekey(self.group_id),
            "role": lambda: groups.set_role(self.group_id, user_id, Role.ADMIN),
            "leave": lambda: groups.remove(self.group_id, [party.address[0]]),
        }
        try:
            operation = finish(proposals[kind]())
        except (NotAMember, GroupStateMismatch):
            return
        self.announce(party, operation)

    @rule(who=NUMBERS)
    def restart(self, who: int) -> None:
        self.world.restart(self.party(who))

    @rule(who=NUMBERS)
    def back_up(self, who: int) -> None:
        party = self.party(who)
        party.backup = party.store.inner.copy()

    @rule(who=NUMBERS)
    def restore(self, who: int) -> None:
        party = self.party(who)
        party.store, party.restored = CrashingStore(party.backup.copy()), True
        self.world.restart(party)
        self.world.break_links(party.address)
        self.world.directory.publish(replace(finish(party.device.publish()), device_list=None))
        self.trouble_with(party.address)
        # What it read since the copy was made it may not read again, and the server tells it of the group once more.
        self.excused |= {(party.address, text) for text in self.readers}
        self.boxes[party.address] += [Item("operation", USERS_FIRST, operation.encoded) for operation in self.chain]

    @rule(days=st.sampled_from([0.1, 8.0]))
    def wait(self, days: float) -> None:
        self.world.clock.now += days * 86_400

    @rule(who=NUMBERS)
    def link(self, who: int) -> None:
        primary = self.primary(who)
        if primary is not None and primary.address[0] != GHOST and len(self.world.parties) < 8:
            store = MemoryStore()
            finish(link(self.world.directory, primary.device, self.world.options, store))
            party = self.world.adopt(CrashingStore(store))
            self.boxes[party.address] = [Item("operation", USERS_FIRST, operation.encoded) for operation in self.chain]
            self.shown[party.address] = []
            for user_id in USERS:
                self.world.look_up(party, user_id)

    @rule(who=NUMBERS, which=NUMBERS)
    def remove(self, who: int, which: int) -> None:
        primary = self.primary(who)
        if primary is None:
            return
        others = [party for party in self.world.active() if party.address[0] == primary.address[0] and party is not primary]
        if others:
            removed = others[which % len(others)]
            self.world.directory.put_list(finish(primary.device.remove_device(removed.address[1])))
            self.world.break_links(removed.address)
            self.trouble_with(removed.address)
            removed.removed = True

    def primary(self, number: int) -> Party | None:
        party = self.party(number)
        return party if party.device.is_primary and not party.restored else None

    @precondition(lambda self: self.troubled)
    @rule(which=NUMBERS)
    def begin_anew(self, which: int) -> None:
        """A reader that misses keys of a sender says so."""
        pairs = sorted(self.troubled)
        reader, sender = (self.world.at(address) for address in pairs[which % len(pairs)])
        if reader is not sender and not reader.removed and not sender.removed:
            self.heal(reader, sender)

    def heal(self, reader: Party, sender: Party) -> None:
        """Their sessions work again, each has the other's key coming with the next message."""
        self.world.heal(reader, sender)
        for one, other in ((reader, sender), (sender, reader)):
            self.world.clock.now += HOUR_S
            reset = self.world.reset(one, other.address)
            assert reset is not None
            assert self.world.deliver(reset)
            self.troubled.discard((one.address, other.address))

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for party in self.world.parties:
            for user_id in USERS:
                self.world.look_up(party, user_id)
            self.drain(party)
        for text, readers in self.readers.items():
            for reader in readers:
                excused = (reader, text) in self.excused or self.world.at(self.senders[text]).removed
                assert excused or self.world.at(reader).has_kept(READ, text), f"{reader} did not read {text!r}"
        for reader, sender in sorted(self.troubled):
            one, other = self.world.at(reader), self.world.at(sender)
            if (reader, sender) in self.troubled and one is not other and not one.removed and not other.removed:
                self.heal(one, other)
        self.everybody_talks()

    def everybody_talks(self) -> None:
        members = [party for party in self.world.active() if (view := self.view(party)) is not None and view.is_member]
        assert len({view.hash for party in members if (view := self.view(party)) is not None}) <= 1
        for sender in members:
            result = self.send(sender)
            assert result is not None
            text, _ = result
            for party in self.world.parties:
                self.drain(party)
            have = {party.address for party in self.world.parties if party.has_kept(READ, text)}
            assert have == self.readers[text] == {party.address for party in members if party is not sender}
            for party in self.world.parties:
                if party.address not in have:
                    with pytest.raises(E2EEError):
                        finish(party.device.groups.receive(*sender.address, result[1].message))
                else:
                    with pytest.raises(DuplicateMessage):
                        finish(party.device.groups.receive(*sender.address, result[1].message))


# Who showed an operation does not matter: it is signed.
USERS_FIRST = (USERS[0], 1)


@pytest.mark.timeout(600)
def test_device_groups() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        DeviceGroups,
        settings=settings(max_examples=120, stateful_step_count=20, deadline=None, database=None, suppress_health_check=checks),
    )
