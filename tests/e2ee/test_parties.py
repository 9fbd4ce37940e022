"""Two to five people with several devices, and everything that may happen to them, in any order.

The network loses, reorders and doubles messages; devices crash before and after a commit, come back from an old backup, are linked
and removed; everybody begins sessions at the same time. Whatever happens: a message is delivered exactly once or fails with an
error that says why, a removed device is sent nothing, and any two devices can talk again after at most a few resets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from e2ee import (
    ApplicationContent,
    DecryptionFailed,
    Device,
    DeviceOptions,
    DuplicateMessage,
    LimitReached,
    Limits,
    MemoryStore,
    NoSession,
    Outgoing,
    Policy,
    PreKeyReplay,
    Received,
    Reset,
    Transaction,
    UnknownPreKey,
    UntrustedIdentity,
)
from e2ee.lines import sending_session
from e2ee.workspace import SessionCache, Workspace
from tests.support.e2ee_world import X25519_ONLY, Directory, ManualClock, finish, link, meet, new_device, seeded

T = TypeVar("T")
Address = tuple[str, int]

USERS = ("ann", "bob", "cleo", "dan", "eve")
INBOX = "app.inbox"
HOUR_S = 3_601.0
LONG_S = 1_000 * 86_400.0
# Few prekeys, so that they run out; nothing dies of age in the days that a run takes, so that no message is late for good.
LIMITS = Limits(
    one_time_prekeys=2,
    one_time_prekeys_refill=1,
    one_time_kem_prekeys=1,
    one_time_kem_prekeys_refill=1,
    skipped_lifetime_s=LONG_S,
    max_skipped_chains=1_000,
    max_archived_sessions=60,
    signed_prekey_lifetime_s=LONG_S,
)
# What a message may fail with that was read before, or whose device lost its state since.
LOST = (DecryptionFailed, DuplicateMessage, NoSession, PreKeyReplay, UnknownPreKey, UntrustedIdentity)


class Crash(Exception):
    """The process ends here."""


class CrashingStore:
    """A store whose process can be told to end ``before`` or ``after`` the next commit, or to go on when that is ``refused``."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.crash: str | None = None

    async def run(self, work: Callable[[Transaction], T]) -> T:
        crash, self.crash = self.crash, None

        def crashing(tx: Transaction) -> T:
            if crash in ("before", "refused"):
                tx.before_commit(_end)
            return work(tx)

        result = await self.inner.run(crashing)
        if crash == "after":
            raise Crash
        return result

    async def close(self) -> None:
        await self.inner.close()


def _end() -> None:
    raise Crash


@dataclass(frozen=True)
class Packet:
    """A message under way. ``text`` is what it says, None for a reset; ``era`` is that of its link."""

    sender: Address
    to: Address
    message: bytes = field(repr=False)
    text: bytes | None
    era: int


@dataclass
class Party:
    """One device and its store, with an old copy of that."""

    device: Device
    store: CrashingStore
    backup: MemoryStore
    removed: bool = False
    restored: bool = False

    @property
    def address(self) -> Address:
        return self.device.user_id, self.device.device_id

    def has_kept(self, table: str, text: bytes) -> bool:
        return finish(self.device.run(lambda tx: tx.get(table, text))) is not None


@dataclass
class Link:
    """What two devices may expect of each other: every message of the present era is readable unless the link is broken."""

    era: int = 0
    broken: bool = False


class World:
    """All parties, what is under way between them, and what the server keeps."""

    def __init__(self, directory: Directory, stores: list[MemoryStore], policy: Policy) -> None:
        self.directory = directory.copy()
        self.clock = ManualClock()
        self.options = DeviceOptions(policy=policy, limits=LIMITS, clock=self.clock, random=seeded(1))
        self.parties: list[Party] = []
        self.packets: list[Packet] = []
        self._links: dict[frozenset[Address], Link] = {}
        self._texts = 0
        for store in stores:
            self.adopt(CrashingStore(store.copy()))

    def adopt(self, store: CrashingStore) -> Party:
        device = finish(Device.load(store, self.options))
        self.parties.append(Party(device, store, store.inner.copy()))
        return self.parties[-1]

    def link(self, one: Address, other: Address) -> Link:
        return self._links.setdefault(frozenset((one, other)), Link())

    def break_links(self, address: Address) -> None:
        for party in self.parties:
            if party.address != address:
                link = self.link(address, party.address)
                link.era, link.broken = link.era + 1, True

    def at(self, address: Address) -> Party:
        return next(party for party in self.parties if party.address == address)

    def active(self) -> list[Party]:
        return [party for party in self.parties if not party.removed]

    def crashed(self, party: Party, crash: str | None) -> None:
        """What follows a commit that failed."""
        if crash != "refused":
            self.restart(party)

    def restart(self, party: Party) -> None:
        """The process comes back and finds what its store holds."""
        party.store.crash = None
        party.device = finish(Device.load(party.store, self.options))

    def send(self, sender: Party, user_id: str, crash: str | None = None) -> list[Packet]:
        """Say something new to a user, as an application would; nothing leaves when the process ends meanwhile."""
        self._texts += 1
        text = b"message %d" % self._texts
        finish(meet(self.directory, sender.device, user_id))
        sender.store.crash = crash
        try:
            outgoing = finish(sender.device.encrypt(user_id, text))
        except Crash:
            self.crashed(sender, crash)
            return []
        listed = {(user, device) for user in (user_id, sender.address[0]) for device, _ in self.directory.lists[user].devices}
        assert {(sent.user_id, sent.device_id) for sent in outgoing} == listed - {sender.address}
        return [self.packet(sender, sent, text) for sent in outgoing]

    def packet(self, sender: Party, sent: Outgoing, text: bytes | None) -> Packet:
        to = (sent.user_id, sent.device_id)
        return Packet(sender.address, to, sent.message, text, self.link(sender.address, to).era)

    def deliver(self, packet: Packet, crash: str | None = None) -> bool:
        """Hand a packet to its device; whether that could read it. Raises `Crash`."""
        party, link = self.at(packet.to), self.link(packet.sender, packet.to)
        read_before = packet.text is None or party.has_kept(INBOX, packet.text)
        try:
            received = self._read(party, packet, crash)
        except LOST as error:
            if read_before or link.broken or packet.era != link.era:
                return False
            raise AssertionError(f"{packet} was never read, and nothing is lost on its link") from error
        if packet.era != link.era:
            # Its sender may have forgotten the session that this device has just been led to.
            link.era, link.broken = link.era + 1, True
        assert (received.user_id, received.device_id) == packet.sender
        assert received.content == (Reset() if packet.text is None else ApplicationContent(packet.text))
        return True

    def _read(self, party: Party, packet: Packet, crash: str | None) -> Received:
        def keep(tx: Transaction, received: Received) -> None:
            if packet.text is not None:
                assert tx.get(INBOX, packet.text) is None, f"{packet} was delivered twice"
                tx.put(INBOX, packet.text, b"")

        party.store.crash = crash
        try:
            return finish(party.device.decrypt(*packet.sender, packet.message, keep))
        except UntrustedIdentity:
            # A device that is new here: look whether its user has it, and try again.
            self.look_up(party, packet.sender[0])
            return finish(party.device.decrypt(*packet.sender, packet.message, keep))
        finally:
            party.store.crash = None

    def look_up(self, party: Party, user_id: str) -> None:
        certificates = self.directory.certificates(user_id)
        finish(party.device.learn(user_id, self.directory.lists[user_id].encoded, certificates))

    def reset(self, party: Party, address: Address) -> Packet | None:
        """Begin anew with a device; None when that was done within the hour."""
        for user_id in (party.address[0], address[0]):
            self.look_up(party, user_id)
        try:
            return self.packet(party, finish(party.device.reset(self.directory.bundle(*address))), None)
        except LimitReached:
            return None

    def heal(self, one: Party, other: Party) -> None:
        """Two devices that are both there come to talk again, each noticing by itself what it cannot read."""
        link = self.link(one.address, other.address)
        for _ in range(4):
            self.clock.now += HOUR_S
            told = [self._told(one, other), self._told(other, one), self._told(one, other), self._told(other, one)]
            if all(told) and self.sending(one, other) == self.sending(other, one):
                break
        else:
            raise AssertionError(f"{one.address} and {other.address} cannot talk any more, or not in the same session")
        if link.broken:
            link.era, link.broken = link.era + 1, False

    def _told(self, sender: Party, to: Party) -> bool:
        """Whether ``to`` can read what ``sender`` says; if not it begins anew."""
        (packet,) = [sent for sent in self.send(sender, to.address[0]) if sent.to == to.address]
        if self.deliver(packet):
            return True
        reset = self.reset(to, sender.address)
        if reset is not None:
            self.deliver(reset)
        return False

    def sending(self, party: Party, to: Party) -> bytes | None:
        def transcript(tx: Transaction) -> bytes | None:
            space = Workspace(tx, SessionCache(), LIMITS)
            session = sending_session(space, *to.address, LIMITS, now=self.clock.now)
            return None if session is None else session.transcript

        return finish(party.device.run(transcript))


@cache
def people(count: int, policy: Policy) -> tuple[Directory, list[MemoryStore]]:
    """The first devices of some people; their keys are made once, for they do not matter here."""
    directory, stores = Directory(), [MemoryStore() for _ in range(count)]
    for number, store in enumerate(stores):
        chosen = DeviceOptions(policy=policy, limits=LIMITS, clock=ManualClock(), random=seeded(100 + number))
        finish(new_device(directory, USERS[number], chosen, store))
    return directory, stores


NUMBERS = st.integers(0, 999)
CRASHES = st.sampled_from([None, None, None, "before", "after", "refused"])


class Parties(RuleBasedStateMachine):
    """What may happen, in any order. Numbers choose among what is there."""

    max_people = 5
    policy = X25519_ONLY

    @initialize(count=st.integers(2, 5))
    def begin(self, count: int) -> None:
        self.world = World(*people(min(count, self.max_people), self.policy), self.policy)

    def party(self, number: int) -> Party:
        parties = self.world.active()
        return parties[number % len(parties)]

    def users(self) -> list[str]:
        return sorted(self.world.directory.lists)

    @rule(who=NUMBERS, to=NUMBERS, crash=CRASHES)
    def send(self, who: int, to: int, crash: str | None) -> None:
        users = self.users()
        self.world.packets += self.world.send(self.party(who), users[to % len(users)], crash)

    @precondition(lambda self: self.world.packets)
    @rule(which=NUMBERS, again=st.booleans(), crash=CRASHES)
    def deliver(self, which: int, again: bool, crash: str | None) -> None:
        packet = self.world.packets.pop(which % len(self.world.packets))
        if self.world.at(packet.to).removed:
            return
        try:
            self.world.deliver(packet, crash)
        except Crash:
            self.world.crashed(self.world.at(packet.to), crash)
            again = True
        if again:
            self.world.packets.append(packet)

    @precondition(lambda self: self.world.packets)
    @rule()
    def deliver_all(self) -> None:
        packets, self.world.packets = self.world.packets, []
        for packet in packets:
            if not self.world.at(packet.to).removed:
                self.world.deliver(packet)

    @precondition(lambda self: self.world.packets)
    @rule(which=NUMBERS)
    def lose(self, which: int) -> None:
        self.world.packets.pop(which % len(self.world.packets))

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
        # The server hands out prekeys that this store may not have.
        self.world.directory.publish(replace(finish(party.device.publish()), device_list=None))

    @rule(who=NUMBERS, to=NUMBERS)
    def reset(self, who: int, to: int) -> None:
        party, other = self.party(who), self.party(to)
        if party is not other:
            packet = self.world.reset(party, other.address)
            self.world.packets += [packet] if packet else []

    @rule(who=NUMBERS)
    def replenish(self, who: int) -> None:
        party = self.party(who)
        upload = finish(party.device.replenish(**self.world.directory.left(party.address)))
        self.world.directory.replenish(party.address, upload)

    @rule(days=st.sampled_from([0.1, 8.0]))
    def wait(self, days: float) -> None:
        self.world.clock.now += days * 86_400

    @rule(who=NUMBERS)
    def link(self, who: int) -> None:
        primary = self.primary(who)
        if primary is not None and len(self.world.parties) < 8:
            store = MemoryStore()
            finish(link(self.world.directory, primary.device, self.world.options, store))
            self.world.adopt(CrashingStore(store))

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
            removed.removed = True

    def primary(self, number: int) -> Party | None:
        """A primary device that knows the newest list of its account and all ids that it ever gave."""
        party = self.party(number)
        return party if party.device.is_primary and not party.restored else None

    @rule(one=NUMBERS, other=NUMBERS)
    def heal(self, one: int, other: int) -> None:
        first, second = self.party(one), self.party(other)
        if first is not second:
            self.world.heal(first, second)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        active = self.world.active()
        for one, other in zip(active, active[1:], strict=False):
            self.world.heal(one, other)
        for party in self.world.parties:
            if party.removed:
                self.world.look_up(party, party.address[0])
                with pytest.raises(UntrustedIdentity):
                    finish(party.device.encrypt(party.address[0], b""))


class Couple(Parties):
    """Two people, who mostly talk to each other: all that happens, happens on one link."""

    max_people = 2


class HybridCouple(Couple):
    """The same in the suite with ML-KEM."""

    policy = Policy()


# More than a thousand runs are a minute of CPU on a quiet machine; a hang must still fail.
@pytest.mark.timeout(600)
# A minute of work in all, which a busy machine stretches; an interrupted run would look like a failure that does not come again.
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("machine", "runs", "steps"), [(Couple, 1_300, 8), (Parties, 640, 8), (HybridCouple, 60, 6)], ids=["two", "many", "hybrid"]
)
def test_parties(machine: type[Parties], runs: int, steps: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=runs, stateful_step_count=steps, deadline=None, database=None, suppress_health_check=checks),
    )
