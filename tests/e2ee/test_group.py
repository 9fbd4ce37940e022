"""Groups of devices that send to each other: keys given and taken away, bounds, and records."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import replace

import pytest

from e2ee.certificates import DeviceCertificate
from e2ee.content import SenderKeyDistribution
from e2ee.errors import (
    BadSignature,
    CounterExhausted,
    DuplicateMessage,
    GroupStateMismatch,
    InvalidKey,
    LimitReached,
    MalformedMessage,
    NotAMember,
    UnknownSenderKey,
    UnsupportedVersion,
)
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, OperationKind
from e2ee.group_records import SENDING_NAME, STATE_NAME, holder_name, key_name
from e2ee.limits import DAY_S, DEFAULT_LIMITS, MAX_COUNTER, Limits
from tests.support.group_parties import Directory, Party, apply_changes, counted_random, make_party

NOW = 1_700_000_000.0
ALICE, ALICE_2, BOB, CAROL = make_party("alice"), make_party("alice", 2), make_party("bob"), make_party("carol")
BOB_AGAIN = make_party("bob", 7, account="second")
EVERYBODY = (ALICE, ALICE_2, BOB, CAROL)
RESOLVE = Directory([*EVERYBODY, BOB_AGAIN])

Deliveries = list[tuple[str, int, SenderKeyDistribution]]


class Room:
    """A group of alice (an admin, two devices), bob and carol, whose devices all know the same."""

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        others = (BOB.member(), CAROL.member())
        alice, first = SenderKeyGroup.create(ALICE.certificate, ALICE.signing, others, time=int(NOW), limits=limits)
        self.operations = [first.encoded]
        self.limits = limits
        self.groups = {ALICE.address: alice}
        for party in (ALICE_2, BOB, CAROL):
            self.join(party)

    def __getitem__(self, party: Party) -> SenderKeyGroup:
        return self.groups[party.address]

    def join(self, party: Party) -> None:
        joined = SenderKeyGroup.join(party.certificate, self.operations, RESOLVE, limits=self.limits)
        self.groups[party.address] = joined

    def change(
        self, kind: OperationKind, *, members: tuple[Member, ...] = (), users: tuple[str, ...] = (), signer: Party = ALICE
    ) -> None:
        operation = self[signer].propose(signer.signing, kind, time=int(NOW), members=members, users=users)
        self.operations.append(operation.encoded)
        for group in self.groups.values():
            assert group.apply(operation.encoded, RESOLVE) == operation

    def prepare(self, sender: Party, devices: Iterable[Party] = EVERYBODY, *, now: float = NOW) -> Deliveries:
        return self[sender].prepare_send([party.certificate for party in devices], now=now)

    def share(self, sender: Party, devices: Iterable[Party] = EVERYBODY, *, now: float = NOW) -> list[tuple[str, int]]:
        """Give the sender's key to whoever has to have it, and say who that was."""
        deliveries = self.prepare(sender, devices, now=now)
        for user, device, key in deliveries:
            self.groups[user, device].receive_key(*sender.address, key)
        self[sender].mark_distributed(deliveries)
        return sorted((user, device) for user, device, _ in deliveries)

    def read(self, reader: Party, sender: Party, message: bytes) -> bytes:
        return self[reader].decrypt(*sender.address, message, now=NOW)


def addresses(*parties: Party) -> list[tuple[str, int]]:
    return sorted(party.address for party in parties)


def certificates(*parties: Party) -> list[DeviceCertificate]:
    return [party.certificate for party in parties]


def test_everybody_reads_what_one_sends() -> None:
    room = Room()
    assert room[ALICE].members.keys() == {"alice", "bob", "carol"}
    assert room[ALICE].group_id == room[BOB].group_id
    assert room.share(ALICE) == addresses(ALICE_2, BOB, CAROL)
    assert room.share(ALICE) == []
    message = room[ALICE].encrypt(b"salam", now=NOW)
    assert [room.read(reader, ALICE, message) for reader in (ALICE_2, BOB, CAROL)] == [b"salam"] * 3


def test_nothing_is_sent_while_a_delivery_is_due() -> None:
    room = Room()
    assert room[ALICE].withheld == ()
    with pytest.raises(UnknownSenderKey, match=r"\(0 deliveries"):
        room[ALICE].encrypt(b"", now=NOW)
    deliveries = room.prepare(ALICE)
    room[ALICE].mark_distributed(deliveries[1:])
    with pytest.raises(UnknownSenderKey, match="1 deliveries"):
        room[ALICE].encrypt(b"", now=NOW)
    assert room.prepare(ALICE) == deliveries[:1]
    room[ALICE].mark_distributed(deliveries)
    room[ALICE].encrypt(b"", now=NOW)


def test_a_device_that_cannot_be_reached_is_left_out_and_asked_for_again() -> None:
    room = Room()
    deliveries = room.prepare(ALICE)
    room[ALICE].mark_distributed(deliveries[:2])
    room[ALICE].mark_unsent(deliveries[2:])
    room[ALICE].encrypt(b"", now=NOW)
    assert room.prepare(ALICE, (ALICE_2, BOB)) == []
    again = room.prepare(ALICE)
    assert [(user, device) for user, device, _ in again] == [CAROL.address]
    assert again[0][2].iteration == 1
    assert again[0][2].key_id == deliveries[0][2].key_id


def test_who_lacks_the_key_is_known_before_it_is_given() -> None:
    room = Room()

    def lacking(*devices: Party, now: float = NOW) -> list[tuple[str, int]]:
        return room[ALICE].lacking(certificates(*devices), now=now)

    everybody = [party.address for party in (ALICE_2, BOB, CAROL)]
    assert lacking(*EVERYBODY) == everybody
    deliveries = room.prepare(ALICE, (ALICE_2, BOB))
    assert lacking(ALICE_2, BOB) == everybody[:2]
    room[ALICE].mark_distributed(deliveries)
    assert lacking(ALICE_2, BOB) == []
    assert lacking(*EVERYBODY) == [CAROL.address]
    # Without bob, and after its time, it has to be another key.
    assert lacking(ALICE_2) == [ALICE_2.address]
    assert lacking(ALICE_2, BOB, now=NOW + 400 * DAY_S) == everybody[:2]


def test_a_device_that_lost_its_key_is_given_it_again() -> None:
    room = Room()
    room.share(ALICE)
    room[ALICE].encrypt(b"", now=NOW)
    room[ALICE].drain_changes()
    room[ALICE].give_again(*BOB.address)
    assert room[ALICE].drain_changes().keys() == {holder_name(BOB.address)}
    assert room[ALICE].lacking(certificates(*EVERYBODY), now=NOW) == [BOB.address]
    with pytest.raises(UnknownSenderKey, match="1 deliveries"):
        room[ALICE].encrypt(b"", now=NOW)
    again = room.prepare(ALICE)
    assert [(user, device) for user, device, _ in again] == [BOB.address]
    assert again[0][2].iteration == 1
    # Who never had it is not given it.
    room[ALICE].mark_distributed(again)
    room[ALICE].give_again("nobody", 1)
    assert room.prepare(ALICE) == []
    assert holder_name(("nobody", 1)) not in apply_changes({}, room[ALICE])


def test_a_device_that_was_left_out_is_left_out_of_the_store() -> None:
    room = Room()
    deliveries = room.prepare(ALICE)
    held = apply_changes({}, room[ALICE])
    room[ALICE].mark_unsent(deliveries[:1])
    assert room[ALICE].drain_changes() == {holder_name(deliveries[0][:2]): None}
    assert holder_name(deliveries[0][:2]) in held


def test_a_group_that_comes_back_has_the_limits_that_it_is_given() -> None:
    room = Room()
    room.share(ALICE)
    records = apply_changes({}, room[ALICE])
    again = SenderKeyGroup.from_records(ALICE.certificate, records, limits=Limits(max_content_bytes=1))
    again.encrypt(b"x", now=NOW)
    with pytest.raises(LimitReached):
        again.encrypt(b"xy", now=NOW)


def test_deliveries_of_a_key_that_was_replaced_count_no_more() -> None:
    room = Room()
    room[ALICE].mark_distributed([])
    old = room.prepare(ALICE)
    room.change(OperationKind.REKEY)
    room[ALICE].mark_distributed(old)
    room[ALICE].mark_unsent(old)
    assert room[ALICE].needs_rotation(now=NOW)
    new = room.prepare(ALICE)
    room[ALICE].mark_distributed(old)
    with pytest.raises(UnknownSenderKey):
        room[ALICE].encrypt(b"", now=NOW)
    room[ALICE].mark_distributed(new * 2)
    room[ALICE].mark_unsent(new)
    room[ALICE].encrypt(b"", now=NOW)
    assert room.prepare(ALICE) == []


def test_who_is_removed_reads_nothing_and_sends_nothing() -> None:
    room = Room()
    room.share(ALICE)
    room.share(BOB)
    old_key = room.prepare(ALICE, (ALICE_2, BOB, CAROL))
    room.change(OperationKind.REMOVE, users=("bob",))
    assert not room[BOB].is_member
    assert room[ALICE].needs_rotation(now=NOW)
    deliveries = room.prepare(ALICE)
    assert addresses(ALICE_2, CAROL) == sorted((user, device) for user, device, _ in deliveries)
    room[ALICE].mark_distributed(deliveries)
    message = room[ALICE].encrypt(b"among us", now=NOW)
    with pytest.raises(NotAMember):
        room.read(BOB, ALICE, message)
    with pytest.raises(NotAMember):
        room[BOB].prepare_send([], now=NOW)
    with pytest.raises(NotAMember):
        room[BOB].encrypt(b"", now=NOW)
    with pytest.raises(NotAMember):
        room[BOB].propose(BOB.signing, OperationKind.REKEY, time=0)
    with pytest.raises(NotAMember):
        room[CAROL].receive_key(*BOB.address, deliveries[0][2])
    with pytest.raises(NotAMember):
        SenderKeyGroup.join(BOB.certificate, room.operations, RESOLVE)
    assert old_key == []


def test_a_ghost_cannot_send_in_the_present_epoch() -> None:
    """Whoever was removed and goes on as if it were not has another chain, or another state, than the others."""
    room = Room()
    room.share(BOB)
    late = room[BOB].encrypt(b"under way", now=NOW)
    ghost = {name: record for name, record in room[BOB].drain_changes().items() if record is not None}
    room.change(OperationKind.REMOVE, users=("bob",))
    assert room.read(CAROL, BOB, late) == b"under way"
    still = SenderKeyGroup.from_records(BOB.certificate, ghost)
    message = bytearray(still.encrypt(b"still here", now=NOW))
    message[20:24] = room[CAROL].epoch.to_bytes(4, "big")
    with pytest.raises(NotAMember):
        room.read(CAROL, BOB, bytes(message))


def test_two_views_of_a_group_do_not_read_each_other() -> None:
    room = Room()
    room.share(ALICE)
    left = room[ALICE].propose(ALICE.signing, OperationKind.REKEY, time=1)
    right = room[ALICE].propose(ALICE.signing, OperationKind.REKEY, time=2)
    room[ALICE].apply(left.encoded, RESOLVE)
    room[BOB].apply(right.encoded, RESOLVE)
    room.share(ALICE, (ALICE_2, BOB))
    with pytest.raises(BadSignature):
        room.read(BOB, ALICE, room[ALICE].encrypt(b"", now=NOW))
    following = room[ALICE].propose(ALICE.signing, OperationKind.REKEY, time=3)
    for operation in (left, following):
        with pytest.raises(GroupStateMismatch):
            room[BOB].apply(operation.encoded, RESOLVE)


def test_a_leaving_member_is_done() -> None:
    room = Room()
    room.share(BOB)
    room.change(OperationKind.REMOVE, users=("bob",), signer=BOB)
    assert SENDING_NAME not in room[BOB].drain_changes()
    with pytest.raises(NotAMember):
        room[BOB].encrypt(b"", now=NOW)


def test_who_joins_judges_the_chain_by_its_own_limits() -> None:
    room = Room()
    with pytest.raises(LimitReached):
        SenderKeyGroup.join(BOB.certificate, room.operations, RESOLVE, limits=Limits(max_group_members=2))
    assert SenderKeyGroup.join(BOB.certificate, room.operations, RESOLVE, limits=Limits(max_group_members=3)).is_member


def test_a_proposal_that_others_would_refuse_is_not_made() -> None:
    room = Room()
    with pytest.raises(GroupStateMismatch):
        room[BOB].propose(BOB.signing, OperationKind.REKEY, time=0)
    small = Room(limits=Limits(max_group_members=3))
    with pytest.raises(LimitReached):
        small[ALICE].propose(ALICE.signing, OperationKind.ADD, time=0, members=(Member("dave", bytes(32)),))
    with pytest.raises(LimitReached):
        SenderKeyGroup.create(ALICE.certificate, ALICE.signing, (BOB.member(),), time=0, limits=Limits(max_group_members=1))


def test_keys_wear_out_by_messages_and_by_days() -> None:
    room = Room(limits=Limits(sender_key_max_messages=2))
    room.share(ALICE)
    for _ in range(2):
        room[ALICE].encrypt(b"", now=NOW)
    with pytest.raises(UnknownSenderKey):
        room[ALICE].encrypt(b"", now=NOW)
    assert room[ALICE].needs_rotation(now=NOW)
    assert len(room.share(ALICE)) == 3
    room[ALICE].encrypt(b"", now=NOW + 7 * DAY_S - 1)
    with pytest.raises(UnknownSenderKey):
        room[ALICE].encrypt(b"", now=NOW + 7 * DAY_S)
    assert len(room.share(ALICE, now=NOW + 7 * DAY_S)) == 3


def test_a_thousand_messages_and_then_another_key() -> None:
    room = Room()
    room.share(ALICE)
    for _ in range(1_000):
        room[ALICE].encrypt(b"", now=NOW)
    with pytest.raises(UnknownSenderKey):
        room[ALICE].encrypt(b"", now=NOW)


def test_a_device_that_is_gone_gets_no_more() -> None:
    room = Room()
    room.share(ALICE)
    room.share(BOB)
    assert room.share(ALICE, (BOB, CAROL)) == addresses(BOB, CAROL)
    room[BOB].update_devices("alice", {1, 2})
    assert not room[BOB].needs_rotation(now=NOW)
    room[BOB].update_devices("alice", {1})
    assert room[BOB].needs_rotation(now=NOW)
    message = room[ALICE].encrypt(b"x", now=NOW)
    assert room.read(BOB, ALICE, message) == b"x"
    room[BOB].update_devices("alice", {2})
    with pytest.raises(UnknownSenderKey):
        room.read(BOB, ALICE, room[ALICE].encrypt(b"x", now=NOW))


def test_another_account_key_is_withheld_until_the_group_knows_it() -> None:
    room = Room()
    room.share(ALICE)
    room.share(BOB)
    spoken = room[BOB].encrypt(b"the old bob", now=NOW)
    assert room.share(ALICE, (ALICE_2, BOB_AGAIN, CAROL)) == addresses(ALICE_2, CAROL)
    assert room[ALICE].withheld == ("bob",)
    room.change(OperationKind.RENEW, members=(BOB_AGAIN.member(),))
    assert not room[BOB].is_member
    room.join(BOB_AGAIN)
    assert room.share(ALICE, (ALICE_2, BOB, BOB_AGAIN, CAROL)) == addresses(ALICE_2, BOB_AGAIN, CAROL)
    assert room[ALICE].withheld == ("bob",)
    assert room.read(CAROL, BOB, spoken) == b"the old bob"


def test_an_old_key_of_a_renewed_member_is_refused_in_the_new_epoch() -> None:
    room = Room()
    keys = room.prepare(BOB, (CAROL,))
    room[CAROL].receive_key(*BOB.address, keys[0][2])
    room.change(OperationKind.RENEW, members=(BOB_AGAIN.member(),))
    thief = SenderKeyGroup(BOB_AGAIN.certificate, room[CAROL].state)
    mine = thief.prepare_send([CAROL.certificate], now=NOW, random=counted_random("thief"))
    thief.mark_distributed(mine)
    message = bytearray(thief.encrypt(b"", now=NOW))
    message[24:32] = keys[0][2].key_id
    with pytest.raises(NotAMember):
        room.read(CAROL, BOB, bytes(message))


def test_whoever_joins_reads_from_now_on() -> None:
    room = Room()
    room.change(OperationKind.REMOVE, users=("carol",))
    room.share(ALICE, (ALICE_2, BOB))
    before = room[ALICE].encrypt(b"before", now=NOW)
    room.change(OperationKind.ADD, members=(CAROL.member(),))
    room.join(CAROL)
    assert not room[ALICE].needs_rotation(now=NOW)
    assert room.share(ALICE) == addresses(CAROL)
    after = room[ALICE].encrypt(b"after", now=NOW)
    with pytest.raises(NotAMember):
        room.read(CAROL, ALICE, before)
    assert room.read(CAROL, ALICE, after) == b"after"
    assert room.read(BOB, ALICE, after) == b"after"
    assert room.read(BOB, ALICE, before) == b"before"


def test_a_key_that_comes_before_its_operation_waits_for_it() -> None:
    room = Room()
    operation = room[ALICE].propose(ALICE.signing, OperationKind.ADD, time=0, members=(Member("dave", bytes(32)),))
    room[ALICE].apply(operation.encoded, RESOLVE)
    key = room.prepare(ALICE, (BOB,))[0][2]
    room[ALICE].mark_distributed(room.prepare(ALICE, (BOB,)))
    message = room[ALICE].encrypt(b"ahead", now=NOW)
    room[BOB].receive_key(*ALICE.address, key)
    with pytest.raises(GroupStateMismatch):
        room.read(BOB, ALICE, message)
    with pytest.raises(GroupStateMismatch):
        room[BOB].receive_key("dave", 1, key)
    under_that_key = bytearray(message)
    under_that_key[20:24] = bytes(4)
    with pytest.raises(UnknownSenderKey):
        room.read(BOB, ALICE, bytes(under_that_key))
    records = apply_changes({}, room[BOB])
    room[BOB].apply(operation.encoded, RESOLVE)
    changes = room[BOB].drain_changes()
    assert changes.keys() == {STATE_NAME, key_name(ALICE.address, key.key_id)}
    records |= {name: record for name, record in changes.items() if record is not None}
    assert room.read(BOB, ALICE, message) == b"ahead"
    room.groups[BOB.address] = SenderKeyGroup.from_records(BOB.certificate, records)
    assert room.read(BOB, ALICE, message) == b"ahead"


def test_an_operation_writes_no_key_that_it_does_not_change() -> None:
    room = Room()
    room.share(ALICE)
    room[BOB].drain_changes()
    room.change(OperationKind.REKEY)
    assert room[BOB].drain_changes().keys() == {STATE_NAME}


def test_a_key_that_came_before_the_removal_of_its_owner_goes() -> None:
    room = Room()
    room.share(ALICE)
    key = room.prepare(CAROL, (BOB,))[0][2]
    ahead = SenderKeyDistribution(
        group_id=key.group_id,
        epoch=1,
        key_id=key.key_id,
        iteration=0,
        chain_key=key.chain_key,
        signing_public=key.signing_public,
    )
    room[BOB].receive_key(*CAROL.address, ahead)
    room.change(OperationKind.REMOVE, users=("carol",))
    with pytest.raises(NotAMember):
        room[BOB].receive_key(*CAROL.address, ahead)
    room[BOB].receive_key(*CAROL.address, key)


def test_keys_of_users_long_gone_are_forgotten() -> None:
    limits = Limits(group_epochs_kept=2)
    room = Room(limits=limits)
    room.share(CAROL)
    room.share(ALICE)
    skipped = [room[CAROL].encrypt(b"", now=NOW) for _ in range(3)]
    room.read(BOB, CAROL, skipped[2])
    room.change(OperationKind.REMOVE, users=("carol",))
    held = apply_changes({}, room[BOB])
    assert sum(name[:1] in (b"r", b"k") and b"carol" in name for name in held) == 3
    room.change(OperationKind.REKEY)
    assert not any(b"carol" in name for name in apply_changes(held, room[BOB]))
    with pytest.raises(GroupStateMismatch):
        room.read(BOB, CAROL, skipped[1])


def test_five_keys_of_a_device_are_kept() -> None:
    room = Room()
    messages = []
    for _ in range(6):
        room.share(ALICE)
        messages.append(room[ALICE].encrypt(b"", now=NOW))
        room.change(OperationKind.REKEY)
    with pytest.raises(UnknownSenderKey):
        room.read(BOB, ALICE, messages[0])
    restored = SenderKeyGroup.from_records(BOB.certificate, apply_changes({}, room[BOB]))
    room.groups[BOB.address] = restored
    room.share(ALICE)
    with pytest.raises(UnknownSenderKey):
        room.read(BOB, ALICE, messages[1])
    for message in messages[2:]:
        room.read(BOB, ALICE, message)


def test_a_key_for_another_group_or_a_lost_epoch_is_refused() -> None:
    room = Room(limits=Limits(group_epochs_kept=1))
    other = Room()
    with pytest.raises(GroupStateMismatch):
        room[BOB].receive_key(*ALICE.address, other.prepare(ALICE, (BOB,))[0][2])
    key = room.prepare(ALICE, (BOB,))[0][2]
    room.change(OperationKind.REKEY)
    with pytest.raises(GroupStateMismatch):
        room[BOB].receive_key(*ALICE.address, key)
    other.share(ALICE)
    with pytest.raises(GroupStateMismatch):
        room.read(BOB, ALICE, other[ALICE].encrypt(b"", now=NOW))


def test_a_key_that_nobody_can_use_is_refused() -> None:
    room = Room()
    key = room.prepare(ALICE, (BOB,))[0][2]
    with pytest.raises(CounterExhausted):
        room[BOB].receive_key(*ALICE.address, replace(key, iteration=MAX_COUNTER))
    with pytest.raises(InvalidKey):
        room[BOB].receive_key(*ALICE.address, replace(key, signing_public=bytes(32)))
    room[BOB].drain_changes()
    room[BOB].receive_key(*ALICE.address, replace(key, iteration=MAX_COUNTER - 1))
    assert room[BOB].drain_changes().keys() == {key_name(ALICE.address, key.key_id)}


def test_content_has_a_bound() -> None:
    room = Room()
    room.share(ALICE)
    assert room.read(BOB, ALICE, room[ALICE].encrypt(bytes(65_536), now=NOW)) == bytes(65_536)
    with pytest.raises(LimitReached):
        room[ALICE].encrypt(bytes(65_537), now=NOW)


def test_1024_devices_and_no_more() -> None:
    members = [make_party(f"user{number}") for number in range(32)]
    group, _ = SenderKeyGroup.create(ALICE.certificate, ALICE.signing, [party.member() for party in members], time=0)
    devices = [
        DeviceCertificate(
            user_id=party.address[0],
            device_id=device_id,
            account=party.certificate.account,
            signing=bytes(32),
            agreement=bytes(32),
            created=0,
            suites=(1,),
            device_signature=b"",
            encoded=b"",
        )
        for party in members
        for device_id in range(1, 33)
    ]
    assert len(devices) == 1_024
    with pytest.raises(LimitReached, match="1024"):
        group.prepare_send([ALICE.certificate, *devices], now=NOW)
    deliveries = group.prepare_send([ALICE.certificate, *devices[1:]], now=NOW)
    assert len(deliveries) == 1_023
    key = deliveries[0][2]
    for device in devices:
        group.receive_key(device.user_id, device.device_id, key)
    with pytest.raises(LimitReached, match="1024"):
        group.receive_key("user0", 33, key)
    group.receive_key("user0", 32, key)


def test_records_bring_a_group_back() -> None:
    room = Room()
    room.share(ALICE)
    room.share(BOB, (ALICE,))
    messages = [room[ALICE].encrypt(bytes([number]), now=NOW) for number in range(4)]
    room.read(BOB, ALICE, messages[2])
    records = apply_changes({}, room[BOB])
    assert sorted(name[:1] for name in records) == [b"h", b"k", b"k", b"o", b"r", b"s"]
    room.groups[BOB.address] = SenderKeyGroup.from_records(BOB.certificate, records)
    assert room[BOB].drain_changes() == {}
    room.read(BOB, ALICE, messages[1])
    assert sorted(name[:1] for name in room[BOB].drain_changes()) == [b"k", b"r"]
    with pytest.raises(DuplicateMessage):
        room.read(BOB, ALICE, messages[1])
    room.read(BOB, ALICE, messages[0])
    assert room.read(ALICE, BOB, room[BOB].encrypt(b"still", now=NOW)) == b"still"
    room.prepare(BOB, (ALICE, CAROL))
    records = apply_changes(records, room[BOB])
    room.groups[BOB.address] = SenderKeyGroup.from_records(BOB.certificate, records)
    with pytest.raises(UnknownSenderKey, match="1 deliveries"):
        room[BOB].encrypt(b"", now=NOW)


def test_what_came_and_went_is_not_stored() -> None:
    room = Room()
    room[ALICE].drain_changes()
    room.share(ALICE)
    room.change(OperationKind.REKEY)
    assert room[ALICE].drain_changes().keys() == {STATE_NAME}


def test_damaged_records_are_malformed() -> None:
    room = Room()
    room.share(ALICE)
    good = apply_changes({}, room[ALICE])
    holder = holder_name(BOB.address)
    for wrong in (
        {},
        {**good, b"x" + holder[1:]: b""},
        {**good, holder + b"\x00": good[holder]},
        {**good, holder: good[holder] + b"\x00"},
        {**good, b"": b""},
        {**good, b"x" + holder[1:] + bytes(12): b"\x01" + bytes(40)},
        {**good, SENDING_NAME: b""},
        {**good, b"k" + holder[1:] + bytes(12): b"\x01" + bytes(40)},
    ):
        with pytest.raises(MalformedMessage):
            SenderKeyGroup.from_records(ALICE.certificate, wrong)
    with pytest.raises(UnsupportedVersion):
        SenderKeyGroup.from_records(ALICE.certificate, {**good, holder: b"\x02\x00"})


def test_a_group_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Room()[ALICE])
