"""Groups of a device, as an application uses them: `Device.groups`.

Operations and messages are for everybody; the application carries them, and the server puts the operations in order: one counts
when it was the first of its epoch, and every device, also the one that signed it, then takes it with `apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from e2ee.certificates import DeviceCertificate
from e2ee.device_messages import Address, Incoming, Outgoing, hand_over
from e2ee.errors import E2EEError
from e2ee.group_messages import GroupChain, GroupReceived, GroupSent, GroupView
from e2ee.group_operation import Operation, OperationKind, Role
from e2ee.group_steps import GroupSteps
from e2ee.store.interface import Store, StoreError, Transaction
from salam.clock import Clock

__all__ = ["DeviceGroups", "OnGroupPlaintext"]

# Puts what was received where the application keeps it, as `OnPlaintext` does.
OnGroupPlaintext = Callable[[Transaction, GroupReceived], None]


class DeviceGroups:
    """The groups of one device. Each call is one transaction of the device's store, with all that it changes of sessions too.

    All methods raise what `Store.run` raises, and `GroupStateMismatch` for a group that is not kept here.

    ``steps`` are the same things as synchronous steps, to be called in a transaction (`Device.run`) together with other work.
    """

    def __init__(self, store: Store, steps: GroupSteps, clock: Clock) -> None:
        """Made by `Device`."""
        self._store = store
        self._clock = clock
        self.steps = steps

    async def ids(self) -> list[bytes]:
        """The ids of all groups that are kept, also of those whose member this device's user is no longer."""
        return await self._store.run(self.steps.ids)

    async def view(self, group_id: bytes) -> GroupView | None:
        """Who is in a group, as far as this device has followed it; None for a group that is not kept."""
        return await self._store.run(lambda tx: self.steps.view(tx, group_id))

    async def create(self, users: Iterable[str], *, admins: Collection[str] = ()) -> Operation:
        """A new group of the own user, an admin, and others, of whom ``admins`` are ones too. Its operation is for everybody.

        Everybody is in it under the account key that is trusted now. Raises `NoSession` for a user whose devices are not known,
        `UntrustedIdentity` for one whose account key is in doubt, `MalformedMessage` for one that is named twice, `LimitReached`.
        """
        users = list(users)
        return await self._store.run(lambda tx: self.steps.create(tx, users, admins=admins, now=self._clock.wall()))

    async def add(self, group_id: bytes, users: Iterable[str], role: Role = Role.MEMBER) -> Operation:
        """The operation that adds these users; send them the chain once it is applied (`send_chain`). Raises what `create` raises,
        `GroupStateMismatch` for a member or where this user is no admin, and `NotAMember` where it is not in the group.
        """
        return await self._propose(group_id, OperationKind.ADD, users, role)

    async def remove(self, group_id: bytes, users: Iterable[str]) -> Operation:
        """The operation that removes these users, or lets the own one leave. Once it is applied, they read nothing that is sent.

        Raises `GroupStateMismatch` for somebody who is no member, where this user is no admin, or for the last admin.
        """
        return await self._propose(group_id, OperationKind.REMOVE, users)

    async def set_role(self, group_id: bytes, user_id: str, role: Role) -> Operation:
        """The operation that makes a member an admin, or an admin a member. Raises `GroupStateMismatch` and `NotAMember`."""
        return await self._propose(group_id, OperationKind.ROLE, (user_id,), role)

    async def renew(self, group_id: bytes, user_id: str) -> Operation:
        """The operation that puts the account key of a member that is trusted now in the place of an older one.

        Raises `GroupStateMismatch` where it is the same, and what `add` raises.
        """
        return await self._propose(group_id, OperationKind.RENEW, (user_id,))

    async def rekey(self, group_id: bytes) -> Operation:
        """The operation after which everybody makes a new sender key: sign it when a device may have been read by somebody."""
        return await self._propose(group_id, OperationKind.REKEY)

    async def join(self, operations: Iterable[bytes], certificates: Iterable[bytes] = ()) -> GroupView:
        """Take part in the group of a whole chain: what somebody sent as `GroupOperations`, in any order, or what the server keeps.

        ``certificates`` are those of signers whom this device does not know, or no longer (`GroupChain`). A group that is kept
        already is brought up to the end of the chain.

        Raises `MalformedMessage`, `NotAMember` where the chain ends without this device's user, `UntrustedIdentity` for a signer
        whose certificate is missing, `BadSignature`, `GroupStateMismatch`, and `LimitReached`.
        """
        parsed, given = _parse(operations, certificates)
        return await self._store.run(lambda tx: self.steps.join(tx, parsed, given))

    async def apply(
        self, operations: Iterable[bytes], certificates: Iterable[bytes] = (), *, replay: bool = False
    ) -> list[Operation]:
        """Take operations, of one group or several; what was taken before changes nothing and is not in the result. All or none.

        A new operation counts from a device that is on its user's list now. With ``replay`` operations that were missed are caught
        up with: their signers may be off the lists since, and ``certificates`` may have to say who they were.

        Raises `MalformedMessage`, `GroupStateMismatch` for one that does not follow, or where another one was taken in its place,
        `NotAMember` and `UntrustedIdentity` for its signer, `BadSignature`, and `LimitReached`.
        """
        parsed, given = _parse(operations, certificates)
        return await self._store.run(lambda tx: self.steps.apply(tx, parsed, given, replay=replay))

    async def chain(self, group_id: bytes) -> GroupChain:
        """All operations of a group, and who signed them: for somebody who joins, and for the backup."""
        return await self._store.run(lambda tx: self.steps.chain(tx, group_id))

    async def send_chain(self, group_id: bytes, user_id: str) -> list[Outgoing]:
        """The operations of a group for a member, to each of its devices, the own one excepted, through their sessions.

        Raises `NotAMember`, `NoSession` (`Device.needs_bundles`), `UntrustedIdentity`.
        """
        return await self._store.run(lambda tx: self.steps.send_chain(tx, group_id, user_id, now=self._clock.wall()))

    async def needs_bundles(self, group_id: bytes, *, skip_missing: bool = False) -> list[Address]:
        """The devices whose bundles have to be fetched and started (`Device.start`) before `send`; raises what that raises."""
        return await self._store.run(
            lambda tx: self.steps.needs_bundles(tx, group_id, skip_missing=skip_missing, now=self._clock.wall())
        )

    async def send(self, group_id: bytes, data: bytes, *, skip_missing: bool = False) -> GroupSent:
        """Say something to a group: one message for all, and the sender key for each device that does not have it yet.

        A new sender key is made where somebody who had the last one is gone, and when it is worn. With ``skip_missing``, members
        whose devices are not known or whose account key is in doubt, and devices without a session, are left out.

        Raises `NotAMember` where this device's user is none (any more), `NoSession` and `UntrustedIdentity` for what would be left
        out, and `LimitReached` for too many devices or too much content.
        """
        (sent,) = await self.send_many([(group_id, data)], skip_missing=skip_missing)
        return sent

    async def send_many(self, contents: Sequence[tuple[bytes, bytes]], *, skip_missing: bool = False) -> list[GroupSent]:
        """Many contents, each for the group named with it, in one transaction; if one fails as `send` may, none is sent."""

        def work(tx: Transaction) -> list[GroupSent]:
            now = self._clock.wall()
            return [self.steps.send(tx, group_id, data, skip_missing=skip_missing, now=now) for group_id, data in contents]

        return await self._store.run(work)

    async def receive(
        self, from_user: str, from_device: int, message: bytes, on_plaintext: OnGroupPlaintext | None = None
    ) -> GroupReceived:
        """Read one message of a device to a group, with ``on_plaintext`` as in `Device.decrypt`.

        `GroupStateMismatch` (an operation, or the whole chain, has not come) and `UnknownSenderKey` (the key has not come through
        the session) mean: keep the message, and try again after the next operation or message of that device. A key that stays
        away is asked for with `Device.reset`.

        Raises further `MalformedMessage`, `UntrustedIdentity` for a device that is not on its user's list, `NotAMember` where the
        sender or this user was none then, `BadSignature`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted`.
        """

        def work(tx: Transaction) -> GroupReceived:
            received = self.steps.receive(tx, from_user, from_device, message, now=self._clock.wall())
            hand_over(tx, received, on_plaintext)
            return received

        return await self._store.run(work)

    async def receive_many(
        self, messages: Sequence[Incoming], on_plaintext: OnGroupPlaintext | None = None
    ) -> list[GroupReceived | E2EEError]:
        """Read many messages in one transaction; in the place of one that cannot be read stands what `receive` would raise.

        What ``on_plaintext`` raises is raised here, and then no message counts as read.
        """

        def work(tx: Transaction) -> list[GroupReceived | E2EEError]:
            now = self._clock.wall()
            results: list[GroupReceived | E2EEError] = []
            for incoming in messages:
                try:
                    received = self.steps.receive(tx, incoming.user_id, incoming.device_id, incoming.message, now=now)
                except StoreError:
                    raise
                except E2EEError as error:
                    results.append(error)
                    continue
                hand_over(tx, received, on_plaintext)
                results.append(received)
            return results

        return await self._store.run(work)

    async def forget(self, group_id: bytes) -> None:
        """Delete all that is kept of a group. Leave it first (`remove`), or others go on giving this device their keys."""
        await self._store.run(lambda tx: self.steps.forget(tx, group_id))

    async def _propose(
        self, group_id: bytes, kind: OperationKind, users: Iterable[str] = (), role: Role = Role.MEMBER
    ) -> Operation:
        named = list(users)
        return await self._store.run(lambda tx: self.steps.propose(tx, group_id, kind, named, role=role, now=self._clock.wall()))


def _parse(operations: Iterable[bytes], certificates: Iterable[bytes]) -> tuple[list[Operation], list[DeviceCertificate]]:
    return [Operation.parse(data) for data in operations], [DeviceCertificate.parse(data) for data in certificates]
