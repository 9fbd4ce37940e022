"""What a device does in groups, as synchronous steps inside of a transaction (the profile's section 7).

`DeviceGroups` runs one or several of these in one `Store.run`; they stand beside the `DeviceSteps` of the same device, in the same
transactions. A step that raises may have changed something, and then the transaction has to fail; but `receive` has not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from e2ee.certificates import DeviceCertificate
from e2ee.content import ApplicationContent, GroupOperations, Reset, SenderKeyDistribution, encode, parse
from e2ee.device_messages import Address, Outgoing, Received
from e2ee.device_steps import DeviceSteps
from e2ee.errors import (
    DuplicateMessage,
    E2EEError,
    GroupStateMismatch,
    MalformedMessage,
    NoSession,
    NotAMember,
    UntrustedIdentity,
)
from e2ee.group import SenderKeyGroup
from e2ee.group_membership import apply_operation, create_group, join_group, propose, resolver
from e2ee.group_messages import GroupChain, GroupReceived, GroupSent, GroupView
from e2ee.group_operation import Operation, OperationKind, Role, chain_contents
from e2ee.group_records import holder_name
from e2ee.group_store import GroupCache, GroupSpace
from e2ee.primitives import NoPickle
from e2ee.sender_keys import GroupMessage
from e2ee.store.interface import StoreError, Transaction

__all__ = ["GroupSteps"]


class _Device(NamedTuple):
    user_id: str
    device_id: int
    account: bytes


class GroupSteps(NoPickle):
    """The steps of one device in its groups. It follows the device's own steps (`DeviceSteps.follow`)."""

    def __init__(self, steps: DeviceSteps) -> None:
        self._steps = steps
        self._local = steps.local
        self._limits = steps.limits
        self._own = (steps.local.certificate.user_id, steps.local.certificate.device_id)
        self._cache = GroupCache()
        self._space: GroupSpace | None = None
        steps.follow(self)

    # What there is

    def ids(self, tx: Transaction) -> list[bytes]:
        """The ids of all groups that are kept."""
        return self.space(tx).ids()

    def view(self, tx: Transaction, group_id: bytes) -> GroupView | None:
        """The group as this device sees it, or None."""
        group = self.space(tx).find(group_id)
        return None if group is None else _view(group)

    def chain(self, tx: Transaction, group_id: bytes) -> GroupChain:
        """See `DeviceGroups.chain`."""
        space = self.space(tx)
        space.get(group_id)
        log = space.log(group_id)
        certificates = dict.fromkeys(signed.certificate for signed in log)
        return GroupChain(group_id, tuple(signed.operation for signed in log), tuple(certificates))

    def forget(self, tx: Transaction, group_id: bytes) -> None:
        """See `DeviceGroups.forget`."""
        self.space(tx).drop(group_id)

    # Who is in it

    def create(self, tx: Transaction, users: Iterable[str], *, admins: Collection[str], now: float) -> Operation:
        """See `DeviceGroups.create`."""
        return create_group(self.space(tx), self._steps, users, admins, now=now)

    def propose(
        self,
        tx: Transaction,
        group_id: bytes,
        kind: OperationKind,
        users: Sequence[str] = (),
        *,
        role: Role = Role.MEMBER,
        now: float,
    ) -> Operation:
        """The next operation of a group, signed and not applied; ``users`` are whom it is about.

        Raises `GroupStateMismatch`, `NotAMember`, `LimitReached`, and what `DeviceSteps.trusted` raises for somebody to be added.
        """
        return propose(self.space(tx), self._steps, group_id, kind, users, role, now=now)

    def join(self, tx: Transaction, operations: Iterable[Operation], certificates: Iterable[DeviceCertificate]) -> GroupView:
        """See `DeviceGroups.join`."""
        space, ordered = self.space(tx), sorted(operations, key=_epoch)
        if not ordered:
            raise GroupStateMismatch("a chain has at least the creation of the group")
        group = space.find(ordered[0].group_id)
        if group is None:
            group = join_group(space, self._steps, ordered, resolver(space, self._steps, certificates, replay=True))
            self._settle(tx, group, group.members)
        else:
            self.apply(tx, ordered, certificates, replay=True)
        return _view(group)

    def apply(
        self,
        tx: Transaction,
        operations: Iterable[Operation],
        certificates: Iterable[DeviceCertificate] = (),
        *,
        replay: bool = False,
    ) -> list[Operation]:
        """See `DeviceGroups.apply`; what comes before the one that it raises for has been applied."""
        space, applied = self.space(tx), []
        resolve = resolver(space, self._steps, certificates, replay=replay)
        for operation in sorted(operations, key=_epoch):
            if apply_operation(space, self._steps, operation, resolve):
                self._settle(tx, space.get(operation.group_id), [member.user_id for member in operation.members])
                applied.append(operation)
        return applied

    def send_chain(self, tx: Transaction, group_id: bytes, user_id: str, *, now: float) -> list[Outgoing]:
        """See `DeviceGroups.send_chain`."""
        if user_id not in self.space(tx).get(group_id).members:
            raise NotAMember("the chain is for members")
        pieces = chain_contents(group_id, self.chain(tx, group_id).operations, limits=self._limits)
        devices = [(user_id, device_id) for device_id in self._steps.trusted(tx, user_id).devices]
        to = [address for address in devices if address != self._own]
        return [self._steps.encrypt_to(tx, *address, piece, now=now) for address in to for piece in pieces]

    # What is said

    def needs_bundles(self, tx: Transaction, group_id: bytes, *, skip_missing: bool = False, now: float) -> list[Address]:
        """See `DeviceGroups.needs_bundles`."""
        group = self.space(tx).get(group_id)
        devices, _ = self._devices(tx, group, skip_missing)
        return self._steps.without_session(tx, group.lacking(devices, now=now), now=now)

    def send(self, tx: Transaction, group_id: bytes, data: bytes, *, skip_missing: bool = False, now: float) -> GroupSent:
        """See `DeviceGroups.send`."""
        group = self.space(tx).get(group_id)
        devices, unreachable = self._devices(tx, group, skip_missing)
        deliveries = group.prepare_send(devices, now=now, random=self._steps.random)
        missing = self._steps.without_session(tx, [(user_id, device_id) for user_id, device_id, _ in deliveries], now=now)
        if missing and not skip_missing:
            raise NoSession(f"{len(missing)} devices of the group have no session; start them (needs_bundles)")
        left_out = set(missing)
        sent = [delivery for delivery in deliveries if delivery[:2] not in left_out]
        keys = [self._steps.encrypt_to(tx, user_id, device_id, key, now=now) for user_id, device_id, key in sent]
        group.mark_distributed(sent)
        group.mark_unsent(delivery for delivery in deliveries if delivery[:2] in left_out)
        message = group.encrypt(encode(ApplicationContent(data)), now=now, random=self._steps.random)
        return GroupSent(group_id, group.epoch, message, tuple(keys), tuple(missing), unreachable, group.withheld)

    def receive(self, tx: Transaction, from_user: str, from_device: int, message: bytes, *, now: float) -> GroupReceived:
        """See `DeviceGroups.receive`. When it raises nothing has changed, but that malformed content counts as read."""
        parsed = GroupMessage.parse(message)
        group = self.space(tx).get(parsed.group_id)
        if (from_user, from_device) == self._own:
            raise DuplicateMessage("this device said that itself")
        self._check_device(tx, group, from_user, from_device, parsed.epoch)
        content = parse(group.decrypt(from_user, from_device, message, now=now))
        if not isinstance(content, ApplicationContent):
            raise MalformedMessage("a message to a group holds something that is for one device alone")
        return GroupReceived(parsed.group_id, parsed.epoch, from_user, from_device, content.data)

    def renew_keys(self, tx: Transaction) -> None:
        """Make a new sender key in each group before the next message to it, for a copy of the store may have used this one."""
        space = self.space(tx)
        for group_id in space.ids():
            space.get(group_id).renew_key()

    # What comes through the sessions

    def received(self, tx: Transaction, received: Received) -> E2EEError | None:
        """See `Follower.received`: take sender keys and operations, and give keys again to who begins anew."""
        space, content, address = self.space(tx), received.content, (received.user_id, received.device_id)
        try:
            if isinstance(content, SenderKeyDistribution):
                self._take_key(tx, address, content)
            elif isinstance(content, GroupOperations) and space.find(content.group_id) is not None:
                operations = [Operation.parse(operation) for operation in content.operations]
                if any(operation.group_id != content.group_id for operation in operations):
                    raise MalformedMessage("a chain with operations of another group")
                self.apply(tx, operations)
            elif isinstance(content, Reset):
                for group in space.with_record(holder_name(address)):
                    group.give_again(*address)
        except StoreError:
            raise
        except E2EEError as error:
            return error
        return None

    def devices_left(self, tx: Transaction, user_id: str, gone: Collection[int]) -> None:
        """See `Follower.devices_left`: nothing that they said counts, and no key that they have is used again."""
        space, peer = self.space(tx), self._steps.peer(tx, user_id)
        for device_id in gone:
            space.forget_waiting(user_id, device_id)
        for group_id in space.ids():
            space.get(group_id).update_devices(user_id, () if peer is None else peer.devices)

    def _take_key(self, tx: Transaction, address: Address, key: SenderKeyDistribution) -> None:
        space = self.space(tx)
        group = space.find(key.group_id)
        if group is None or (key.epoch > group.epoch and address[0] not in group.members):
            space.wait(*address, key)
            return
        self._check_device(tx, group, *address, key.epoch)
        group.receive_key(*address, key)

    def _settle(self, tx: Transaction, group: SenderKeyGroup, users: Iterable[str]) -> None:
        """Take the sender keys of these users that came before the group knew them; those that do not count are dropped."""
        for user_id in users:
            peer = self._steps.peer(tx, user_id)
            for device_id in () if peer is None else peer.devices:
                for key in self.space(tx).waited(user_id, device_id, group.group_id):
                    try:
                        self._take_key(tx, (user_id, device_id), key)
                    except StoreError:
                        raise
                    except E2EEError:
                        continue

    def _check_device(self, tx: Transaction, group: SenderKeyGroup, user_id: str, device_id: int, epoch: int) -> None:
        """`UntrustedIdentity` for a device that is not on its user's list, `NotAMember` for one of another account key."""
        certificate = self._steps.present_certificate(tx, user_id, device_id)
        if certificate is None:
            raise UntrustedIdentity("a group's message or key is not from a device that is known")
        if group.state.account_at(user_id, epoch) not in (None, certificate.account):
            raise NotAMember("the group knows the sender under another account key")

    def _devices(self, tx: Transaction, group: SenderKeyGroup, skip_missing: bool) -> tuple[list[_Device], tuple[str, ...]]:
        """All devices of all members, and the members whose devices are not known for sure."""
        devices: list[_Device] = []
        unreachable: list[str] = []
        for user_id in group.members:
            try:
                peer = self._steps.trusted(tx, user_id)
            except (NoSession, UntrustedIdentity):
                if not skip_missing or user_id == self._own[0]:
                    raise
                unreachable.append(user_id)
                continue
            devices += (_Device(user_id, device_id, peer.account) for device_id in peer.devices)
        return devices, tuple(unreachable)

    def space(self, tx: Transaction) -> GroupSpace:
        """The groups as one transaction sees and changes them; one for each transaction, whoever calls the steps in it."""
        if self._space is None or self._space.tx is not tx:
            self._space = GroupSpace(tx, self._local.certificate, self._cache, self._limits)
        return self._space


def _epoch(operation: Operation) -> int:
    return operation.epoch


def _view(group: SenderKeyGroup) -> GroupView:
    return GroupView(group.group_id, group.epoch, group.state.hashes[-1], dict(group.members), group.is_member)
