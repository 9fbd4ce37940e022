"""Who is in a device's groups: operations made, taken and logged, in a transaction (the profile's section 7)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import cast

from e2ee.certificates import DeviceCertificate
from e2ee.device_steps import DeviceSteps
from e2ee.errors import GroupStateMismatch, LimitReached, NotAMember
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, Operation, OperationKind, Role
from e2ee.group_state import Resolver
from e2ee.group_store import GroupSpace, SignedOperation
from e2ee.limits import Limits

__all__ = ["apply_operation", "create_group", "join_group", "propose", "resolver"]


def create_group(space: GroupSpace, steps: DeviceSteps, users: Iterable[str], admins: Collection[str], *, now: float) -> Operation:
    """See `DeviceGroups.create`. Draws: group id 16, and 8 bytes for the store."""
    members = [_member(space, steps, user_id, Role.ADMIN if user_id in admins else Role.MEMBER) for user_id in users]
    own = steps.local.certificate
    group, operation = SenderKeyGroup.create(
        own, steps.local.signing, members, time=int(now), random=steps.random, limits=steps.limits
    )
    space.add(group, steps.random)
    _log(space, operation, own)
    return operation


def propose(
    space: GroupSpace,
    steps: DeviceSteps,
    group_id: bytes,
    kind: OperationKind,
    users: Sequence[str],
    role: Role,
    *,
    now: float,
) -> Operation:
    """See `GroupSteps.propose`."""
    group = space.get(group_id)
    if kind is OperationKind.REMOVE:
        return group.propose(steps.local.signing, kind, time=int(now), users=tuple(users))
    members: list[Member] = []
    for user_id in users:
        known = group.members.get(user_id)
        if kind is OperationKind.ADD:
            members.append(_member(space, steps, user_id, role))
        elif known is None:
            raise NotAMember("somebody whom the operation is about is no member")
        elif kind is OperationKind.ROLE:
            members.append(Member(user_id, known.account, role))
        else:
            members.append(_member(space, steps, user_id, known.role))
    return group.propose(steps.local.signing, kind, time=int(now), members=tuple(members))


def resolver(space: GroupSpace, steps: DeviceSteps, certificates: Iterable[DeviceCertificate], *, replay: bool) -> Resolver:
    """Who may sign: devices on the present lists; where a chain is replayed, all that the accounts ever had, and ``certificates``.

    A certificate vouches for itself under the account key in it, and the chain says which account key each member has. Raises
    `BadSignature` and `InvalidKey` for one that does not.
    """
    given = {(certificate.user_id, certificate.device_id): certificate for certificate in certificates}
    for certificate in given.values():
        certificate.verify()

    def resolve(user_id: str, device_id: int) -> DeviceCertificate | None:
        if not replay:
            return steps.present_certificate(space.tx, user_id, device_id)
        return given.get((user_id, device_id)) or steps.certificate(space.tx, user_id, device_id)

    return resolve


def join_group(space: GroupSpace, steps: DeviceSteps, operations: Sequence[Operation], resolve: Resolver) -> SenderKeyGroup:
    """The group of a whole chain, in order, that is not kept yet; raises what `SenderKeyGroup.join` raises, and `LimitReached`."""
    _check_room(operations[-1], steps.limits)
    encoded = [operation.encoded for operation in operations]
    group = SenderKeyGroup.join(steps.local.certificate, encoded, resolve, limits=steps.limits)
    space.add(group, steps.random)
    for operation in operations:
        _log(space, operation, _signer(operation, resolve))
    return group


def apply_operation(space: GroupSpace, steps: DeviceSteps, operation: Operation, resolve: Resolver) -> bool:
    """Take an operation; False for one that was taken before.

    Raises `GroupStateMismatch` where another one was taken in its place, or the group is not kept, `LimitReached`, and what
    `GroupState.apply` raises; then nothing has changed.
    """
    group = space.get(operation.group_id)
    if operation.epoch <= group.epoch:
        if space.logged(group.group_id, operation.epoch) != operation.encoded:
            raise GroupStateMismatch("another operation of that epoch was taken")
        return False
    _check_room(operation, steps.limits)
    group.apply(operation.encoded, resolve)
    _log(space, operation, _signer(operation, resolve))
    return True


def _member(space: GroupSpace, steps: DeviceSteps, user_id: str, role: Role) -> Member:
    return Member(user_id, steps.trusted(space.tx, user_id).account, role)


def _signer(operation: Operation, resolve: Resolver) -> DeviceCertificate:
    """The certificate of an operation that was verified, for which the resolver had an answer."""
    return cast(DeviceCertificate, resolve(operation.signer_user, operation.signer_device))


def _check_room(operation: Operation, limits: Limits) -> None:
    if operation.epoch >= limits.max_group_operations:
        raise LimitReached(f"a group has at most {limits.max_group_operations} operations (max_group_operations)")


def _log(space: GroupSpace, operation: Operation, certificate: DeviceCertificate) -> None:
    space.append(operation.group_id, operation.epoch, SignedOperation(certificate.encoded, operation.encoded))
