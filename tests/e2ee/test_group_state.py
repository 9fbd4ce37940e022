"""The chain of a group's operations: what it takes, what it refuses, what it remembers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee import content
from e2ee.certificates import NO_HASH
from e2ee.encoding import lp
from e2ee.errors import (
    E2EEError,
    GroupStateMismatch,
    LimitReached,
    MalformedMessage,
    NotAMember,
    UnsupportedVersion,
    UntrustedIdentity,
)
from e2ee.group_operation import Member, Operation, OperationKind, Role, chain_contents, sign_operation
from e2ee.group_state import GroupState
from e2ee.limits import DEFAULT_LIMITS, Limits
from tests.support.group_parties import Directory, Party, make_party

ALICE, BOB, CAROL = make_party("alice"), make_party("bob"), make_party("carol")
BOB_AGAIN = make_party("bob", 2, account="second")
RESOLVE = Directory([ALICE, BOB, CAROL, BOB_AGAIN])
GROUP_ID = bytes(range(16))


def operation(
    state: GroupState | None,
    kind: OperationKind,
    *,
    members: tuple[Member, ...] = (),
    users: tuple[str, ...] = (),
    signer: Party = ALICE,
) -> Operation:
    return sign_operation(
        signer.signing,
        group_id=GROUP_ID,
        epoch=0 if state is None else state.epoch + 1,
        prev_hash=NO_HASH if state is None else state.hashes[-1],
        signer_user=signer.address[0],
        signer_device=signer.address[1],
        time=1_700_000_000,
        kind=kind,
        members=members,
        users=users,
    )


def created(*others: Member, limits: Limits = DEFAULT_LIMITS) -> GroupState:
    first = operation(None, OperationKind.CREATE, members=(ALICE.member(Role.ADMIN), *others))
    return GroupState.create(first, RESOLVE, limits=limits)


def after(
    state: GroupState,
    kind: OperationKind,
    *,
    members: tuple[Member, ...] = (),
    users: tuple[str, ...] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> GroupState:
    return state.apply(operation(state, kind, members=members, users=users), RESOLVE, limits=limits)


def crowd(count: int) -> tuple[Member, ...]:
    return tuple(Member(f"user{number}", bytes(32)) for number in range(count))


def test_a_group_of_256_is_made_and_no_larger() -> None:
    assert len(created(*crowd(255)).members) == 256
    with pytest.raises(LimitReached, match="256"):
        created(*crowd(256))


def test_a_group_grows_to_256_and_no_further() -> None:
    state = created()
    assert len(after(state, OperationKind.ADD, members=crowd(255)).members) == 256
    with pytest.raises(LimitReached, match="256"):
        after(state, OperationKind.ADD, members=crowd(256))


@pytest.mark.parametrize(
    ("kind", "epoch", "prev_hash"),
    [(OperationKind.ADD, 0, NO_HASH), (OperationKind.CREATE, 1, NO_HASH), (OperationKind.CREATE, 0, b"\x01" + NO_HASH[1:])],
)
def test_a_chain_starts_with_its_creation_only(kind: OperationKind, epoch: int, prev_hash: bytes) -> None:
    first = sign_operation(
        ALICE.signing,
        group_id=GROUP_ID,
        epoch=epoch,
        prev_hash=prev_hash,
        signer_user="alice",
        signer_device=1,
        time=0,
        kind=kind,
        members=(ALICE.member(Role.ADMIN),),
    )
    with pytest.raises(GroupStateMismatch):
        GroupState.create(first, RESOLVE)


def test_a_signer_must_be_a_device_of_the_member() -> None:
    state = created(BOB.member(Role.ADMIN))
    signed = operation(state, OperationKind.REKEY, signer=BOB)
    with pytest.raises(UntrustedIdentity) as unknown:
        state.apply(signed, Directory([ALICE]))
    assert str(unknown.value) == "the signer's device is not one of its account"
    assert (unknown.value.old, unknown.value.new) == (BOB.certificate.account, None)
    with pytest.raises(UntrustedIdentity) as other:
        state.apply(operation(state, OperationKind.REKEY, signer=BOB_AGAIN), RESOLVE)
    assert str(other.value) == "the signer's device is of another account key"
    assert (other.value.old, other.value.new) == (BOB.certificate.account, BOB_AGAIN.certificate.account)


def test_a_whole_chain_is_judged_by_the_limits() -> None:
    first = operation(None, OperationKind.CREATE, members=(ALICE.member(Role.ADMIN),))
    second = operation(GroupState.create(first, RESOLVE), OperationKind.ADD, members=(BOB.member(),))
    chain = [first.encoded, second.encoded]
    assert len(GroupState.replay(chain, RESOLVE, limits=Limits(max_group_members=2)).members) == 2
    with pytest.raises(LimitReached):
        GroupState.replay(chain, RESOLVE, limits=Limits(max_group_members=1))


def test_an_empty_chain_is_none() -> None:
    with pytest.raises(GroupStateMismatch):
        GroupState.replay([], RESOLVE)


def test_the_last_one_out_may_be_an_admin() -> None:
    state = after(created(), OperationKind.REMOVE, users=("alice",))
    assert state.members == {}
    with pytest.raises(NotAMember):
        after(state, OperationKind.REKEY)


def test_an_operation_of_a_stranger_is_refused_by_its_content() -> None:
    with pytest.raises(NotAMember):
        created().changed(operation(created(), OperationKind.REKEY, signer=BOB))


def test_a_role_that_stays_the_same_is_taken() -> None:
    state = after(created(BOB.member()), OperationKind.ROLE, members=(BOB.member(),))
    assert state.members["bob"].role is Role.MEMBER


def test_hashes_and_stays_of_the_last_epochs_are_kept() -> None:
    limits = Limits(group_epochs_kept=4)
    state = created(BOB.member(), limits=limits)
    state = after(state, OperationKind.REMOVE, users=("bob",), limits=limits)
    for _ in range(2):
        state = after(state, OperationKind.REKEY, limits=limits)
    assert state.epoch == 3
    assert state.hash_at(0) is not None
    assert state.account_at("bob", 0) == BOB.certificate.account
    assert state.account_at("bob", 1) is None
    assert state.knows("bob", BOB.certificate.account)
    first = state.hashes[0]
    state = after(state, OperationKind.REKEY, limits=limits)
    assert (state.hash_at(0), len(state.hashes)) == (None, 4)
    assert first not in state.hashes
    assert state.hash_at(5) is None
    assert not state.knows("bob", BOB.certificate.account)


def test_64_epochs_are_kept() -> None:
    state = created()
    for _ in range(64):
        state = after(state, OperationKind.REKEY)
    assert (state.hash_at(0), len(state.hashes)) == (None, 64)
    assert state.hash_at(1) == state.hashes[0]
    assert state.hash_at(64) == state.hashes[-1]


def test_whoever_comes_back_was_there_twice() -> None:
    state = created(BOB.member())
    state = after(state, OperationKind.REMOVE, users=("bob",))
    state = after(state, OperationKind.ADD, members=(BOB.member(),))
    state = after(state, OperationKind.RENEW, members=(BOB_AGAIN.member(),))
    old, new = BOB.certificate.account, BOB_AGAIN.certificate.account
    assert [state.account_at("bob", epoch) for epoch in range(4)] == [old, None, old, new]
    assert state.account_at("nobody", 0) is None


def test_a_record_brings_the_same_state_back() -> None:
    state = created(BOB.member(Role.ADMIN), CAROL.member())
    state = after(state, OperationKind.REMOVE, users=("bob",))
    state = after(state, OperationKind.ADD, members=(BOB_AGAIN.member(),))
    record = state.to_record()
    assert GroupState.from_record(record) == state
    for end in range(len(record)):
        with pytest.raises(MalformedMessage):
            GroupState.from_record(record[:end])
    with pytest.raises(MalformedMessage):
        GroupState.from_record(record + b"\x00")
    with pytest.raises(UnsupportedVersion):
        GroupState.from_record(b"\x02" + record[1:])


def test_a_record_has_a_fixed_layout() -> None:
    """Stores of this version must be read by every later one."""
    state = created(BOB.member())
    alice, bob = lp(b"alice") + ALICE.certificate.account, lp(b"bob") + BOB.certificate.account
    start = b"\x01" + GROUP_ID + bytes(4) + b"\x00\x01" + state.hashes[0]
    stay = bytes(4) + b"\xff" * 4
    members, stays = b"\x00\x02" + alice + b"\x01" + bob + b"\x00", bytes(3) + b"\x02" + alice + stay + bob + stay
    assert state.to_record() == start + members + stays


def test_a_record_without_a_hash_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="hash"):
        GroupState.from_record(b"\x01" + bytes(22))


@pytest.mark.parametrize("kind", list(OperationKind))
def test_no_flipped_bit_of_an_operation_is_accepted(kind: OperationKind) -> None:
    state = None if kind is OperationKind.CREATE else created(BOB.member(), CAROL.member())
    members = {
        OperationKind.CREATE: (ALICE.member(Role.ADMIN), BOB.member()),
        OperationKind.ADD: crowd(2),
        OperationKind.ROLE: (BOB.member(Role.ADMIN),),
        OperationKind.RENEW: (BOB_AGAIN.member(),),
    }
    users = ("bob", "carol") if kind is OperationKind.REMOVE else ()
    good = operation(state, kind, members=members.get(kind, ()), users=users)

    def apply(encoded: bytes) -> None:
        parsed = Operation.parse(encoded)
        if state is None:
            GroupState.create(parsed, RESOLVE)
        else:
            state.apply(parsed, RESOLVE)

    apply(good.encoded)
    for position in range(len(good.encoded)):
        for bit in (0x01, 0x80):
            flipped = bytearray(good.encoded)
            flipped[position] ^= bit
            with pytest.raises(E2EEError):
                apply(bytes(flipped))
    for end in range(len(good.encoded)):
        with pytest.raises(MalformedMessage):
            Operation.parse(good.encoded[:end])


def test_an_operation_has_at_most_65535_bytes() -> None:
    long_ids = tuple(Member(f"{number:0250}", bytes(32)) for number in range(229))
    fitting = operation(created(), OperationKind.ADD, members=long_ids)
    assert 65_000 < len(fitting.encoded) <= 65_535
    with pytest.raises(MalformedMessage, match="65535"):
        operation(created(), OperationKind.ADD, members=(*long_ids, Member("x" * 255, bytes(32))))
    with pytest.raises(UnsupportedVersion):
        Operation.parse(bytes(65_535))
    with pytest.raises(MalformedMessage, match="65535"):
        Operation.parse(bytes(65_536))
    with pytest.raises(LimitReached, match="fit"):
        chain_contents(GROUP_ID, [bytes(65_516)])


def test_a_long_chain_comes_in_pieces() -> None:
    state = created()
    chain = [operation(None, OperationKind.CREATE, members=(ALICE.member(Role.ADMIN),)).encoded]
    for _ in range(9):
        chain.append(operation(state, OperationKind.REKEY).encoded)
        state = after(state, OperationKind.REKEY)
    limits = Limits(max_content_bytes=600)
    pieces = chain_contents(GROUP_ID, chain, limits=limits)
    assert len(pieces) == 3
    assert all(len(content.encode(piece)) <= 600 for piece in pieces)
    assert GroupState.replay([one for piece in pieces for one in piece.operations], RESOLVE) == state
    assert len(chain_contents(GROUP_ID, chain)) == 1
    assert chain_contents(GROUP_ID, [bytes(65_515)])[0].operations == (bytes(65_515),)
    assert chain_contents(GROUP_ID, []) == []


def test_pieces_of_a_chain_are_filled_to_the_last_byte() -> None:
    empty = len(content.encode(content.GroupOperations(group_id=GROUP_ID, operations=())))
    limits = Limits(max_content_bytes=empty + 2 * (2 + 10))
    pieces = chain_contents(GROUP_ID, [bytes(10)] * 3, limits=limits)
    assert [len(piece.operations) for piece in pieces] == [2, 1]
    assert len(content.encode(pieces[0])) == limits.max_content_bytes


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_the_parser_raises_one_type(data: bytes) -> None:
    for candidate in (data, b"\x01" + data, b"\x01" + bytes(52) + lp(b"alice") + bytes(3) + b"\x01" + bytes(8) + data):
        try:
            parsed = Operation.parse(candidate)
        except MalformedMessage:
            continue
        assert parsed.encoded == candidate


@pytest.mark.parametrize(
    ("user_id", "device_id", "kind", "members"),
    [
        ("", 1, OperationKind.REKEY, ()),
        ("alice", 0, OperationKind.REKEY, ()),
        ("alice", 1, OperationKind.ADD, ()),
        ("alice", 1, OperationKind.ADD, (Member("bob", bytes(31)),)),
        ("alice", 1, OperationKind.ADD, (Member("b" * 256, bytes(32)),)),
        ("alice", 1, OperationKind.ADD, (BOB.member(), BOB_AGAIN.member())),
        ("alice", 1, OperationKind.ROLE, ()),
    ],
)
def test_what_no_layout_carries_is_not_signed(
    user_id: str, device_id: int, kind: OperationKind, members: tuple[Member, ...]
) -> None:
    with pytest.raises(MalformedMessage):
        sign_operation(
            ALICE.signing,
            group_id=GROUP_ID,
            epoch=1,
            prev_hash=NO_HASH,
            signer_user=user_id,
            signer_device=device_id,
            time=0,
            kind=kind,
            members=members,
        )
