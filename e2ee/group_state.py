"""Who is in a group: a chain of signed operations, each device for itself replaying it (the profile's section 7).

No server can add anybody: an operation counts only when a device of an admin signed it, over the hash of everything before it. That
hash is in every group message, so two devices that were shown different chains cannot read each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from e2ee.certificates import NO_HASH, DeviceCertificate
from e2ee.content import GROUP_ID_BYTES
from e2ee.encoding import Reader, lp, u8, u16, u32, user_bytes
from e2ee.errors import GroupStateMismatch, LimitReached, MalformedMessage, NotAMember, UnsupportedVersion, UntrustedIdentity
from e2ee.group_operation import Member, Operation, OperationKind, Role
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.primitives import KEY_BYTES

__all__ = ["GroupState", "Resolver"]

# The verified certificate of (user id, device id), or None where there is none. For a new operation it answers from the user's
# present device list; for the replay of a chain, from every certificate that the account ever signed.
Resolver = Callable[[str, int], DeviceCertificate | None]

_RECORD_VERSION = 1
# An epoch that no chain reaches: the end of a stay that has not ended.
_OPEN = 2**32 - 1


@dataclass(frozen=True, slots=True)
class _Stay:
    """A user was a member under ``account`` from epoch ``since`` on and no longer at ``until``."""

    account: bytes
    since: int
    until: int = _OPEN


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group after one of its operations; `apply` gives the next state and leaves this one as it is.

    ``hashes`` are those of the last epochs, the oldest first and that of ``epoch`` last.
    """

    group_id: bytes
    epoch: int
    hashes: tuple[bytes, ...]
    members: Mapping[str, Member]
    _stays: Mapping[str, tuple[_Stay, ...]]

    @staticmethod
    def create(operation: Operation, resolve: Resolver, *, limits: Limits = DEFAULT_LIMITS) -> GroupState:
        """The state after the first operation of a chain; raises what `apply` raises."""
        if operation.kind is not OperationKind.CREATE or operation.epoch != 0 or operation.prev_hash != NO_HASH:
            raise GroupStateMismatch("a chain starts with the creation of the group")
        members = {member.user_id: member for member in operation.members}
        signer = members.get(operation.signer_user)
        if signer is None:
            raise NotAMember("who creates a group is a member of it")
        _check_signature(operation, signer, resolve)
        if signer.role is not Role.ADMIN:
            raise GroupStateMismatch("who creates a group is an admin of it")
        _check_size(members, limits)
        stays = {user_id: (_Stay(member.account, 0),) for user_id, member in members.items()}
        return GroupState(operation.group_id, 0, (operation.state_hash(),), members, stays)

    @staticmethod
    def replay(operations: Iterable[bytes], resolve: Resolver, *, limits: Limits = DEFAULT_LIMITS) -> GroupState:
        """The state after a whole chain; raises what `apply` raises, and `GroupStateMismatch` for an empty one."""
        state: GroupState | None = None
        for encoded in operations:
            operation = Operation.parse(encoded)
            if state is None:
                state = GroupState.create(operation, resolve, limits=limits)
            else:
                state = state.apply(operation, resolve, limits=limits)
        if state is None:
            raise GroupStateMismatch("a chain has at least the creation of the group")
        return state

    def apply(self, operation: Operation, resolve: Resolver, *, limits: Limits = DEFAULT_LIMITS) -> GroupState:
        """The state after ``operation``.

        Raises `GroupStateMismatch` for an operation that does not follow this state or is not within the signer's rights,
        `NotAMember` for a signer who is none, `UntrustedIdentity` for a device that is not one of the signer's account,
        `BadSignature`, and `LimitReached` for too many members.
        """
        if (operation.group_id, operation.epoch, operation.prev_hash) != (self.group_id, self.epoch + 1, self.hashes[-1]):
            raise GroupStateMismatch("the operation does not follow the group's state")
        signer = self.members.get(operation.signer_user)
        if signer is None:
            raise NotAMember("the signer of the operation is no member")
        _check_signature(operation, signer, resolve)
        members = self.changed(operation, limits=limits)
        hashes = (*self.hashes, operation.state_hash())[-limits.group_epochs_kept :]
        stays = self._next_stays(members, operation.epoch, operation.epoch - len(hashes) + 1)
        return GroupState(self.group_id, operation.epoch, hashes, members, stays)

    def changed(self, operation: Operation, *, limits: Limits = DEFAULT_LIMITS) -> Mapping[str, Member]:
        """The members after ``operation``, by its content alone: neither its place in the chain nor its signature is looked at.

        Raises `GroupStateMismatch`, `NotAMember` and `LimitReached` as `apply` does.
        """
        signer = self.members.get(operation.signer_user)
        if signer is None:
            raise NotAMember("the signer of the operation is no member")
        leaving = operation.kind is OperationKind.REMOVE and operation.users == (operation.signer_user,)
        if signer.role is not Role.ADMIN and not leaving:
            raise GroupStateMismatch("only an admin changes the group")
        members = dict(self.members)
        match operation.kind:
            case OperationKind.CREATE:
                raise GroupStateMismatch("a group is created once")
            case OperationKind.ADD:
                if any(member.user_id in members for member in operation.members):
                    raise GroupStateMismatch("somebody who is to be added is a member")
                members.update((member.user_id, member) for member in operation.members)
            case OperationKind.REMOVE:
                for user_id in operation.users:
                    if members.pop(user_id, None) is None:
                        raise GroupStateMismatch("somebody who is to be removed is no member")
            case OperationKind.ROLE | OperationKind.RENEW:
                _replace(members, operation)
            case _:
                # A rekey leaves the members as they are.
                pass
        _check_size(members, limits)
        if members and all(member.role is not Role.ADMIN for member in members.values()):
            raise GroupStateMismatch("the last admin stays one while others are in the group")
        return members

    def hash_at(self, epoch: int) -> bytes | None:
        """The hash of the state at ``epoch``, or None for an epoch that is ahead or no longer kept."""
        back = self.epoch - epoch
        return self.hashes[-1 - back] if 0 <= back < len(self.hashes) else None

    def account_at(self, user_id: str, epoch: int) -> bytes | None:
        """The account key under which the user was a member at a kept epoch, or None if it was none."""
        for stay in self._stays.get(user_id, ()):
            if stay.since <= epoch < stay.until:
                return stay.account
        return None

    def knows(self, user_id: str, account: bytes) -> bool:
        """Whether the user was a member under ``account`` at any kept epoch."""
        return any(stay.account == account for stay in self._stays.get(user_id, ()))

    def _next_stays(self, members: Mapping[str, Member], epoch: int, oldest: int) -> dict[str, tuple[_Stay, ...]]:
        """The stays once ``members`` are those of ``epoch``; what ended before ``oldest`` is forgotten, for its hashes are too."""
        stays = dict(self._stays)
        for user_id in self.members.keys() | members.keys():
            before, after = self.members.get(user_id), members.get(user_id)
            account_before = None if before is None else before.account
            account_after = None if after is None else after.account
            if account_before == account_after:
                continue
            of_user = stays.get(user_id, ())
            if account_before is not None:
                last = of_user[-1]
                of_user = (*of_user[:-1], _Stay(last.account, last.since, epoch))
            if account_after is not None:
                of_user = (*of_user, _Stay(account_after, epoch))
            stays[user_id] = of_user
        kept = ((user_id, tuple(stay for stay in of_user if stay.until > oldest)) for user_id, of_user in stays.items())
        return {user_id: of_user for user_id, of_user in kept if of_user}

    def to_record(self) -> bytes:
        """The state as it is stored."""
        parts = [u8(_RECORD_VERSION), self.group_id, u32(self.epoch), u16(len(self.hashes)), *self.hashes, u16(len(self.members))]
        parts += [member.encode() for member in self.members.values()]
        flat = [(user_id, stay) for user_id, of_user in self._stays.items() for stay in of_user]
        parts.append(u32(len(flat)))
        for user_id, stay in flat:
            parts += [lp(user_bytes(user_id)), stay.account, u32(stay.since), u32(stay.until)]
        return b"".join(parts)

    @staticmethod
    def from_record(record: bytes) -> GroupState:
        """What `to_record` wrote; `MalformedMessage` for anything else."""
        reader = Reader(record)
        version = reader.u8()
        if version != _RECORD_VERSION:
            raise UnsupportedVersion(f"a group record of version {version}")
        group_id, epoch = reader.take(GROUP_ID_BYTES), reader.u32()
        hashes = tuple(reader.take(len(NO_HASH)) for _ in range(reader.u16()))
        if not hashes:
            raise MalformedMessage("a group record without a hash")
        members: dict[str, Member] = {}
        for _ in range(reader.u16()):
            user_id, account, role = reader.user(), reader.take(KEY_BYTES), reader.u8()
            members[user_id] = Member(user_id, account, Role.ADMIN if role else Role.MEMBER)
        stays: dict[str, tuple[_Stay, ...]] = {}
        for _ in range(reader.u32()):
            user_id, stay = reader.user(), _Stay(reader.take(KEY_BYTES), reader.u32(), reader.u32())
            stays[user_id] = (*stays.get(user_id, ()), stay)
        reader.done()
        return GroupState(group_id, epoch, hashes, members, stays)


def _replace(members: dict[str, Member], operation: Operation) -> None:
    """Put the one member of a role or renew operation in the place of the one that it names."""
    after = operation.members[0]
    before = members.get(after.user_id)
    if before is None:
        raise GroupStateMismatch("the operation names somebody who is no member")
    if (before.account == after.account) is not (operation.kind is OperationKind.ROLE):
        raise GroupStateMismatch("a role keeps the account key, and a renewal changes it")
    if operation.kind is OperationKind.RENEW and before.role is not after.role:
        raise GroupStateMismatch("a renewal keeps the role")
    members[after.user_id] = after


def _check_signature(operation: Operation, signer: Member, resolve: Resolver) -> None:
    certificate = resolve(operation.signer_user, operation.signer_device)
    if certificate is None:
        raise UntrustedIdentity("the signer's device is not one of its account", old=signer.account)
    if certificate.account != signer.account:
        raise UntrustedIdentity("the signer's device is of another account key", old=signer.account, new=certificate.account)
    operation.verify(certificate.signing)


def _check_size(members: Mapping[str, Member], limits: Limits) -> None:
    if len(members) > limits.max_group_members:
        raise LimitReached(f"a group has at most {limits.max_group_members} members (max_group_members)")
