"""One operation of a group's chain: its bytes, and its signature (the profile's section 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from e2ee.certificates import NO_HASH
from e2ee.content import GROUP_ID_BYTES, GroupOperations, encode
from e2ee.encoding import Reader, check_device_id, fixed, lp, u8, u16, u32, u64, user_bytes
from e2ee.errors import LimitReached, MalformedMessage, UnsupportedVersion
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.primitives import KEY_BYTES, PREFIX, SIGNATURE_BYTES, KeyPair, sha256, sign, verify

__all__ = ["Member", "Operation", "OperationKind", "Role", "chain_contents", "sign_operation"]

_VERSION = 1
# What the length before an operation can say. 256 members with ids of 200 bytes fit.
_MAX_BYTES = 65_535
_LENGTH_BYTES = 2


class OperationKind(IntEnum):
    """What an operation does."""

    CREATE = 1
    ADD = 2
    REMOVE = 3
    ROLE = 4
    RENEW = 5
    REKEY = 6


class Role(IntEnum):
    """What a member may do: an admin signs operations, a member only its own leaving."""

    MEMBER = 0
    ADMIN = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a group, under the account key that the group knows it by."""

    user_id: str
    account: bytes
    role: Role = Role.MEMBER

    def encode(self) -> bytes:
        return lp(user_bytes(self.user_id)) + fixed(self.account, KEY_BYTES) + u8(self.role)


@dataclass(frozen=True, slots=True)
class Operation:
    """A parsed operation. ``members`` is filled for create, add, role and renew, ``users`` for remove."""

    group_id: bytes
    epoch: int
    prev_hash: bytes
    signer_user: str
    signer_device: int
    time: int
    kind: OperationKind
    members: tuple[Member, ...]
    users: tuple[str, ...]
    encoded: bytes

    @staticmethod
    def parse(data: bytes) -> Operation:
        """Read an operation, without judging it; `MalformedMessage` for whatever is none."""
        if len(data) > _MAX_BYTES:
            raise MalformedMessage(f"a group operation has {len(data)} bytes; it may have {_MAX_BYTES}")
        reader = Reader(data)
        version = reader.u8()
        if version != _VERSION:
            raise UnsupportedVersion(f"a group operation of version {version}")
        group_id, epoch, prev_hash = reader.take(GROUP_ID_BYTES), reader.u32(), reader.take(len(NO_HASH))
        signer_user, signer_device, time = reader.user(), reader.device_id(), reader.u64()
        number = reader.u8()
        try:
            kind = OperationKind(number)
        except ValueError:
            raise MalformedMessage(f"no group operation has the number {number}") from None
        members, users = _arguments(reader, kind)
        reader.take(SIGNATURE_BYTES)
        reader.done()
        return Operation(group_id, epoch, prev_hash, signer_user, signer_device, time, kind, members, users, data)

    def verify(self, signing: bytes) -> None:
        """`BadSignature` unless the device with this public key signed the operation."""
        verify(signing, "group-op", self.encoded[:-SIGNATURE_BYTES], self.encoded[-SIGNATURE_BYTES:])

    def state_hash(self) -> bytes:
        """The hash of the group's state once this operation counts; it covers the whole chain through ``prev_hash``."""
        return sha256(PREFIX, b"group-state", self.prev_hash, self.encoded)


def sign_operation(
    signing: KeyPair,
    *,
    group_id: bytes,
    epoch: int,
    prev_hash: bytes,
    signer_user: str,
    signer_device: int,
    time: int,
    kind: OperationKind,
    members: tuple[Member, ...] = (),
    users: tuple[str, ...] = (),
) -> Operation:
    """Write and sign an operation; members and users are put in order.

    Whether the group takes it is not judged here (`GroupState.changed`), only that it can be read again: `MalformedMessage` for no
    member or user at all, one that is there twice, or more than 65,535 bytes. ``time`` is in Unix seconds.
    """
    ordered_members = tuple(sorted(members, key=lambda member: user_bytes(member.user_id)))
    ordered_users = tuple(sorted(users, key=user_bytes))
    body = b"".join(
        (
            u8(_VERSION),
            fixed(group_id, GROUP_ID_BYTES),
            u32(epoch),
            fixed(prev_hash, len(NO_HASH)),
            lp(user_bytes(signer_user)),
            u32(check_device_id(signer_device)),
            u64(time),
            u8(kind),
            _write_arguments(kind, ordered_members, ordered_users),
        )
    )
    return Operation.parse(body + sign(signing, "group-op", body))


def chain_contents(group_id: bytes, operations: Iterable[bytes], *, limits: Limits = DEFAULT_LIMITS) -> list[GroupOperations]:
    """A chain for somebody who joins, in as many pieces as it takes for each to fit into one message.

    Raises `LimitReached` for an operation that fits into none.
    """
    room = limits.max_content_bytes - len(encode(GroupOperations(group_id=group_id, operations=())))
    pieces: list[list[bytes]] = []
    left = 0
    for operation in operations:
        size = len(operation) + _LENGTH_BYTES
        if size > room:
            raise LimitReached(
                f"an operation of {len(operation)} bytes does not fit into {limits.max_content_bytes} (max_content_bytes)"
            )
        if size > left:
            pieces.append([])
            left = room
        pieces[-1].append(operation)
        left -= size
    return [GroupOperations(group_id=group_id, operations=tuple(piece)) for piece in pieces]


def _write_arguments(kind: OperationKind, members: tuple[Member, ...], users: tuple[str, ...]) -> bytes:
    if kind in (OperationKind.CREATE, OperationKind.ADD):
        return u16(len(members)) + b"".join(member.encode() for member in members)
    if kind is OperationKind.REMOVE:
        return u16(len(users)) + b"".join(lp(user_bytes(user)) for user in users)
    return b"".join(member.encode() for member in members)


def _arguments(reader: Reader, kind: OperationKind) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    if kind is OperationKind.REKEY:
        return (), ()
    if kind in (OperationKind.ROLE, OperationKind.RENEW):
        return (_member(reader),), ()
    count = reader.u16()
    if kind is OperationKind.REMOVE:
        users = tuple(reader.user() for _ in range(count))
        _check_order(users)
        return (), users
    members = tuple(_member(reader) for _ in range(count))
    _check_order(tuple(member.user_id for member in members))
    return members, ()


def _member(reader: Reader) -> Member:
    user_id, account, number = reader.user(), reader.take(KEY_BYTES), reader.u8()
    if number > Role.ADMIN:
        raise MalformedMessage(f"no role has the number {number}")
    return Member(user_id, account, Role(number))


def _check_order(users: tuple[str, ...]) -> None:
    """One set of users has one encoding, so that no two chains mean the same."""
    encoded = [user.encode() for user in users]
    if not encoded:
        raise MalformedMessage("a group operation names nobody")
    if any(one >= other for one, other in zip(encoded, encoded[1:], strict=False)):
        raise MalformedMessage("the users of a group operation do not ascend")
