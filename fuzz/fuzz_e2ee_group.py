"""Fuzz target: group operations, group messages and stored records raise `MalformedMessage`, and their use `E2EEError`, or nothing.

The first byte of an input says which of them the rest is.
"""

from e2ee.certificates import NO_HASH, DeviceCertificate, device_key_signature, issue_certificate
from e2ee.errors import E2EEError, MalformedMessage
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, Operation, OperationKind, Role, sign_operation
from e2ee.group_state import GroupState
from e2ee.primitives import agreement_pair, signing_pair
from e2ee.sender_keys import GroupMessage, ReceivingKey, SendingKey, read_skipped

_ACCOUNT, _SIGNING, _AGREEMENT = signing_pair(bytes(32)), signing_pair(b"\x01" * 32), agreement_pair(b"\x02" * 32)


def _certificate(user_id: str) -> DeviceCertificate:
    return issue_certificate(
        _ACCOUNT,
        user_id=user_id,
        device_id=1,
        signing_public=_SIGNING.public,
        agreement_public=_AGREEMENT.public,
        device_signature=device_key_signature(_SIGNING, user_id, 1, _AGREEMENT.public),
        created=0,
        suites=(1, 2),
    )


_ALICE, _BOB = _certificate("alice"), _certificate("bob")


def _resolve(user_id: str, device_id: int) -> DeviceCertificate | None:
    return {"alice": _ALICE, "bob": _BOB}.get(user_id)


def _operation(epoch: int, prev_hash: bytes, kind: OperationKind, *members: Member, users: tuple[str, ...] = ()) -> Operation:
    return sign_operation(
        _SIGNING,
        group_id=bytes(16),
        epoch=epoch,
        prev_hash=prev_hash,
        signer_user="alice",
        signer_device=1,
        time=0,
        kind=kind,
        members=members,
        users=users,
    )


_ADMIN, _MEMBER = Member("alice", _ACCOUNT.public, Role.ADMIN), Member("bob", _ACCOUNT.public)
_FIRST = _operation(0, NO_HASH, OperationKind.CREATE, _ADMIN, _MEMBER)
_STATE = GroupState.create(_FIRST, _resolve)
_SENDER, _READER = SenderKeyGroup(_ALICE, _STATE), SenderKeyGroup(_BOB, _STATE)
_KEYS = _SENDER.prepare_send([_BOB], now=0.0, random=bytes)
_SENDER.mark_distributed(_KEYS)
_READER.receive_key("alice", 1, _KEYS[0][2])
_MESSAGES = [_SENDER.encrypt(b"x" * size, now=0.0) for size in (0, 70)]

_CHANGES = _SENDER.drain_changes()

SEEDS: list[bytes] = [
    b"\x00" + _FIRST.encoded,
    b"\x00" + _operation(1, _STATE.hashes[-1], OperationKind.ADD, Member("carol", bytes(32))).encoded,
    b"\x00" + _operation(1, _STATE.hashes[-1], OperationKind.REMOVE, users=("bob",)).encoded,
    b"\x00" + _operation(1, _STATE.hashes[-1], OperationKind.ROLE, Member("bob", _ACCOUNT.public, Role.ADMIN)).encoded,
    b"\x00" + _operation(1, _STATE.hashes[-1], OperationKind.REKEY).encoded,
    *(b"\x01" + message for message in _MESSAGES),
    b"\x02" + _STATE.to_record(),
    *(
        bytes([3 + b"ohrk".index(name[:1])]) + (record or b"")
        for name, record in _SENDER.drain_changes().items()
        if name[:1] in b"oh"
    ),
    *(b"\x05" + (record or b"") for name, record in _READER.drain_changes().items() if name[:1] == b"r"),
    b"\x06\x01" + bytes(40),
]


def one_input(data: bytes) -> None:
    """Read ``data`` as what its first byte says, and use what comes out of it."""
    kind, rest = data[:1], data[1:]
    try:
        match kind:
            case b"\x00":
                _apply(Operation.parse(rest))
            case b"\x01":
                GroupMessage.parse(rest)
                _read(rest)
            case b"\x02":
                GroupState.from_record(rest).to_record()
            case b"\x03":
                SendingKey.from_record(rest).to_record()
            case b"\x04":
                SenderKeyGroup.from_records(_ALICE, {b"s": _STATE.to_record(), b"h" + rest: b"\x01\x00"})
            case b"\x05":
                ReceivingKey.from_record(rest).to_record()
            case _:
                read_skipped(rest)
    except MalformedMessage:
        return


def _apply(operation: Operation) -> None:
    try:
        if operation.epoch:
            _STATE.apply(operation, _resolve)
        else:
            GroupState.create(operation, _resolve)
    except E2EEError:
        return


def _read(message: bytes) -> None:
    try:
        _READER.decrypt("alice", 1, message, now=0.0)
    except E2EEError:
        return
