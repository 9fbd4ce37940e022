"""Encrypted groups: what every back end offers, and the one that works by sender keys (the profile's section 7)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Generic, Protocol, TypeVar

from e2ee.certificates import NO_HASH, DeviceCertificate
from e2ee.content import GROUP_ID_BYTES, SenderKeyDistribution
from e2ee.encoding import Reader, lp, u8, u32, user_bytes
from e2ee.errors import (
    CounterExhausted,
    GroupStateMismatch,
    LimitReached,
    MalformedMessage,
    NotAMember,
    UnknownSenderKey,
    UnsupportedVersion,
)
from e2ee.group_operation import Member, Operation, OperationKind, Role, sign_operation
from e2ee.group_records import (
    SENDING_NAME,
    STATE_NAME,
    Address,
    Journal,
    RecordKind,
    holder_name,
    key_name,
    read_name,
    skipped_prefix,
)
from e2ee.group_state import GroupState, Resolver
from e2ee.limits import DEFAULT_LIMITS, MAX_COUNTER, Limits
from e2ee.padding import pad
from e2ee.primitives import KeyPair, NoPickle, Random, check_signing_key, system_random
from e2ee.sender_keys import GroupMessage, ReceivingKey, SendingKey, read_skipped, skipped_record
from e2ee.skipped import SkippedKey

__all__ = ["Delivery", "GroupDevice", "GroupSession", "SenderKeyGroup"]

_HOLDER_VERSION = 1
# After these a device that had the sender key may not have the next one.
_ROTATING = frozenset((OperationKind.REMOVE, OperationKind.RENEW, OperationKind.REKEY))

# What a back end sends to single devices, through their pairwise sessions, before it can send to the group.
D = TypeVar("D")
Delivery = tuple[str, int, D]


class GroupDevice(Protocol):
    """What has to be known of a device to send to it: a `DeviceCertificate` is one."""

    @property
    def user_id(self) -> str: ...

    @property
    def device_id(self) -> int: ...

    @property
    def account(self) -> bytes:
        """The trusted account key, on whose signed list the device is."""


class GroupSession(ABC, Generic[D]):
    """A group as one device sees it. Synchronous and without I/O; the caller stores `drain_changes` before it sends anything.

    A back end decides how keys are made and what `prepare_send` hands out; who is a member is decided by the chain of operations.
    """

    @property
    @abstractmethod
    def group_id(self) -> bytes:
        """The group's id, 16 bytes."""

    @property
    @abstractmethod
    def epoch(self) -> int:
        """The number of the last operation."""

    @property
    @abstractmethod
    def members(self) -> Mapping[str, Member]:
        """The present members by user id."""

    @abstractmethod
    def apply(self, operation: bytes, resolve: Resolver) -> Operation:
        """Take the next operation of the chain; raises what `GroupState.apply` raises, and then nothing has changed."""

    @abstractmethod
    def prepare_send(self, devices: Iterable[GroupDevice], *, now: float, random: Random = system_random) -> list[Delivery[D]]:
        """What single devices have to be sent before `encrypt`; ``devices`` are all present devices of all members."""

    @abstractmethod
    def mark_distributed(self, sent: Iterable[Delivery[D]]) -> None:
        """These deliveries of `prepare_send` are on their way, or will be for sure."""

    @abstractmethod
    def encrypt(self, content: bytes, *, now: float, random: Random = system_random) -> bytes:
        """One message for the whole group."""

    @abstractmethod
    def receive_key(self, from_user: str, from_device: int, distribution: D) -> None:
        """Take a delivery that came through the pairwise session with exactly this device."""

    @abstractmethod
    def decrypt(self, from_user: str, from_device: int, message: bytes, *, now: float) -> bytes:
        """The content of a message of this device."""

    @abstractmethod
    def drain_changes(self) -> dict[bytes, bytes | None]:
        """The records that changed since the last call, by name within the group; None for one to delete.

        All of them belong into one transaction. When that fails, this object is ahead of the store and must be loaded again.
        """


class SenderKeyGroup(GroupSession[SenderKeyDistribution], NoPickle):
    """A group in which each device has a sender key that it gives to all others pairwise.

    ``own`` is the certificate of this device. Any method that raises leaves everything as it was. Not for two threads at once.
    """

    def __init__(
        self,
        own: DeviceCertificate,
        state: GroupState,
        *,
        limits: Limits = DEFAULT_LIMITS,
        stored: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Use `create`, `join` or `from_records`."""
        self._own = own
        self._state = state
        self._limits = limits
        self._sending: SendingKey | None = None
        # Devices that may have the present sending key, and whether its delivery is still due. At most max_group_devices.
        self._holders: dict[Address, bool] = {}
        self._due = 0
        self._withheld: tuple[str, ...] = ()
        # At most max_group_devices devices with sender_keys_kept keys each.
        self._receiving: dict[Address, dict[bytes, ReceivingKey]] = {}
        self._journal = Journal(set(stored or ()))
        if stored is None:
            self._put_state()
        else:
            self._restore(stored)

    @staticmethod
    def create(
        own: DeviceCertificate,
        signing: KeyPair,
        others: Iterable[Member],
        *,
        time: int,
        random: Random = system_random,
        limits: Limits = DEFAULT_LIMITS,
    ) -> tuple[SenderKeyGroup, Operation]:
        """A new group of this device's user, as its admin, and ``others``; with the operation that everybody has to get.

        ``time`` is in Unix seconds. Draws: group id 16. Raises `LimitReached` and `MalformedMessage` (somebody is there twice).
        """
        operation = sign_operation(
            signing,
            group_id=random(GROUP_ID_BYTES),
            epoch=0,
            prev_hash=NO_HASH,
            signer_user=own.user_id,
            signer_device=own.device_id,
            time=time,
            kind=OperationKind.CREATE,
            members=(Member(own.user_id, own.account, Role.ADMIN), *others),
        )
        state = GroupState.create(operation, lambda user_id, device_id: own, limits=limits)
        return SenderKeyGroup(own, state, limits=limits), operation

    @staticmethod
    def join(
        own: DeviceCertificate, operations: Iterable[bytes], resolve: Resolver, *, limits: Limits = DEFAULT_LIMITS
    ) -> SenderKeyGroup:
        """The group at the end of a whole chain; raises what `GroupState.replay` raises, and `NotAMember` if we are none."""
        group = SenderKeyGroup(own, GroupState.replay(operations, resolve, limits=limits), limits=limits)
        if not group.is_member:
            raise _no_member()
        return group

    @property
    def group_id(self) -> bytes:
        return self._state.group_id

    @property
    def epoch(self) -> int:
        return self._state.epoch

    @property
    def state(self) -> GroupState:
        return self._state

    @property
    def members(self) -> Mapping[str, Member]:
        return self._state.members

    @property
    def is_member(self) -> bool:
        """Whether this device's user is in the group, under this device's account key."""
        return self._state.account_at(self._own.user_id, self._state.epoch) == self._own.account

    @property
    def withheld(self) -> tuple[str, ...]:
        """The members that the last `prepare_send` left out, for their devices are of another account key than the group knows."""
        return self._withheld

    def propose(
        self, signing: KeyPair, kind: OperationKind, *, time: int, members: tuple[Member, ...] = (), users: tuple[str, ...] = ()
    ) -> Operation:
        """The next operation, signed by this device and not applied: it counts once it was the first to be sent to everybody.

        ``time`` is in Unix seconds. Raises `NotAMember`, `GroupStateMismatch` or `LimitReached` for what others would refuse.
        """
        self._require_member()
        operation = sign_operation(
            signing,
            group_id=self._state.group_id,
            epoch=self._state.epoch + 1,
            prev_hash=self._state.hashes[-1],
            signer_user=self._own.user_id,
            signer_device=self._own.device_id,
            time=time,
            kind=kind,
            members=members,
            users=users,
        )
        self._state.changed(operation, limits=self._limits)
        return operation

    def apply(self, operation: bytes, resolve: Resolver) -> Operation:
        parsed = Operation.parse(operation)
        self._state = self._state.apply(parsed, resolve, limits=self._limits)
        self._put_state()
        if parsed.kind in _ROTATING or not self.is_member:
            self._retire()
        self._settle_keys()
        return parsed

    def update_devices(self, user_id: str, devices: Collection[int]) -> None:
        """The user has these devices and no others: what the others sent is not read any more, and they get no more keys."""
        for address in [known for known in self._receiving if known[0] == user_id and known[1] not in devices]:
            for key in list(self._receiving[address].values()):
                self._drop_key(address, key)
        if any(holder[0] == user_id and holder[1] not in devices for holder in self._holders):
            self._retire()

    def needs_rotation(self, *, now: float) -> bool:
        """Whether a new sender key is made at the next `prepare_send`, as far as it is known without the devices."""
        return self._sending is None or self._sending.worn(now=now, limits=self._limits)

    def renew_key(self) -> None:
        """Make a new sender key at the next `prepare_send`: this one may have been used elsewhere, by a copy of the store."""
        self._retire()

    def give_again(self, user_id: str, device_id: int) -> None:
        """The device has lost what it was sent: it gets the sender key, if it had it, from the next `prepare_send`."""
        if (user_id, device_id) in self._holders:
            self._set_holder((user_id, device_id), due=True)

    def lacking(self, devices: Iterable[GroupDevice], *, now: float) -> list[Address]:
        """The devices for which `prepare_send` would now have a delivery; raises what that raises."""
        recipients, _, fresh = self._plan(devices, now)
        return [address for address in recipients if fresh or self._holders.get(address, True)]

    def prepare_send(
        self, devices: Iterable[GroupDevice], *, now: float, random: Random = system_random
    ) -> list[Delivery[SenderKeyDistribution]]:
        """The sender key for every device that does not have it, a new one if the present one is worn or known to somebody gone.

        ``devices`` are the trusted devices in the members' signed lists, all of them, our own among them. Those of users who are no
        members now are left out, and so are those of another account key than the group's (`withheld`). A device that is missing
        counts as gone. What is not marked with `mark_distributed` or `mark_unsent` is given again.

        ``now`` is in Unix seconds. Raises `NotAMember`, and `LimitReached` for too many devices.
        """
        recipients, withheld, fresh = self._plan(devices, now)
        sending = self._sending
        if sending is None or fresh:
            sending = SendingKey.make(random=random, now=now)
            self._retire()
            self._sending = sending
            self._journal.put(SENDING_NAME, sending.to_record)
        self._withheld = tuple(withheld)
        for address in recipients.keys() - self._holders.keys():
            self._set_holder(address, due=True)
        distribution = SenderKeyDistribution(
            group_id=self._state.group_id,
            epoch=self._state.epoch,
            key_id=sending.key_id,
            iteration=sending.iteration,
            chain_key=sending.chain_key,
            signing_public=sending.public,
        )
        return [(user_id, device_id, distribution) for user_id, device_id in recipients if self._holders[user_id, device_id]]

    def _plan(self, devices: Iterable[GroupDevice], now: float) -> tuple[dict[Address, None], dict[str, None], bool]:
        """Who gets the sender key, in order, who is withheld, and whether it has to be a new one."""
        self._require_member()
        recipients: dict[Address, None] = {}
        withheld: dict[str, None] = {}
        for device in devices:
            member = self._state.members.get(device.user_id)
            address = (device.user_id, device.device_id)
            if member is None or address == (self._own.user_id, self._own.device_id):
                continue
            if device.account == member.account:
                recipients[address] = None
            else:
                withheld[device.user_id] = None
        if len(recipients) >= self._limits.max_group_devices:
            raise LimitReached(f"a group has at most {self._limits.max_group_devices} devices (max_group_devices)")
        return recipients, withheld, self.needs_rotation(now=now) or not self._holders.keys() <= recipients.keys()

    def mark_distributed(self, sent: Iterable[Delivery[SenderKeyDistribution]]) -> None:
        """These deliveries are encrypted and stored for sending; those of a key that was replaced meanwhile change nothing."""
        for address in self._still_due(sent):
            self._set_holder(address, due=False)

    def mark_unsent(self, unsent: Iterable[Delivery[SenderKeyDistribution]]) -> None:
        """These deliveries never left, because there is no session with the device: it stays without the key for now.

        Leave the device out of the next `prepare_send`, or it is asked for again.
        """
        for address in self._still_due(unsent):
            del self._holders[address]
            self._due -= 1
            self._journal.delete(holder_name(address))

    def encrypt(self, content: bytes, *, now: float, random: Random = system_random) -> bytes:
        """A message of type 3 for all members; ``now`` in Unix seconds. Draws: nonce 12.

        Call `prepare_send` before each one: only it sees that devices came or went. Raises `NotAMember`, `LimitReached` for content
        that is too long, and `UnknownSenderKey` while a new key or a delivery is due.
        """
        self._require_member()
        if len(content) > self._limits.max_content_bytes:
            raise LimitReached(f"content has at most {self._limits.max_content_bytes} bytes (max_content_bytes)")
        sending = self._sending
        if sending is None or self._due or sending.worn(now=now, limits=self._limits):
            raise UnknownSenderKey(
                f"the sender key is not with everybody ({self._due} deliveries are due): prepare_send comes first"
            )
        own = (self._own.user_id, self._own.device_id)
        message = sending.encrypt(
            pad(content),
            group_id=self._state.group_id,
            epoch=self._state.epoch,
            binding=_binding(self._state.hashes[-1], own),
            random=random,
        )
        self._journal.put(SENDING_NAME, sending.to_record)
        return message

    def receive_key(self, from_user: str, from_device: int, distribution: SenderKeyDistribution) -> None:
        """Take the sender key of the device whose pairwise session carried it; one that is there already changes nothing.

        That the device is on its user's present list is for the caller to have checked, as for every message.
        Raises `GroupStateMismatch` for another group, an epoch that is no longer kept, or one that is ahead where the user is no
        member yet (apply what is missing, then try again); `NotAMember`; `InvalidKey`; `CounterExhausted`; `LimitReached`.
        """
        if distribution.group_id != self._state.group_id:
            raise GroupStateMismatch("the sender key is that of another group")
        if distribution.iteration >= MAX_COUNTER:
            raise CounterExhausted("a sender key is past the end of its chain")
        check_signing_key(distribution.signing_public)
        account = self._account_of_key(from_user, distribution.epoch)
        address = (from_user, from_device)
        if distribution.key_id in self._receiving.get(address, ()):
            return
        if address not in self._receiving and len(self._receiving) >= self._limits.max_group_devices:
            raise LimitReached(f"a group has at most {self._limits.max_group_devices} devices (max_group_devices)")
        keys = self._receiving.setdefault(address, {})
        key = ReceivingKey(
            distribution.key_id,
            distribution.chain_key,
            distribution.signing_public,
            iteration=distribution.iteration,
            epoch=distribution.epoch,
            account=account,
            serial=max((known.serial for known in keys.values()), default=0) + 1,
        )
        keys[key.key_id] = key
        self._journal.put(key_name(address, key.key_id), key.to_record)
        if len(keys) > self._limits.sender_keys_kept:
            self._drop_key(address, min(keys.values(), key=lambda known: known.serial))

    def decrypt(self, from_user: str, from_device: int, message: bytes, *, now: float) -> bytes:
        """The content of a message of this device; ``now`` in Unix seconds.

        Raises `GroupStateMismatch` for another group or an epoch that is ahead or no longer kept, `NotAMember` when the sender or
        this device was none then, `UnknownSenderKey` (keep the message until the key comes), and what `ReceivingKey.open` raises:
        `BadSignature` also when the two devices do not have the same chain of operations.
        """
        parsed = GroupMessage.parse(message)
        state_hash = self._state.hash_at(parsed.epoch)
        if parsed.group_id != self._state.group_id or state_hash is None:
            raise GroupStateMismatch("the message is of a group or an epoch that is not known here")
        account = self._state.account_at(from_user, parsed.epoch)
        if account is None or self._state.account_at(self._own.user_id, parsed.epoch) != self._own.account:
            raise NotAMember("the sender or this device was no member at the epoch of the message")
        address = (from_user, from_device)
        key = self._receiving.get(address, {}).get(parsed.key_id)
        if key is None or key.account is None:
            raise UnknownSenderKey("the sender key of the message has not come yet")
        if key.account != account:
            raise NotAMember("the sender key is that of another account key of the sender")
        opened = key.open(parsed, binding=_binding(state_hash, address), now=now, limits=self._limits)
        self._journal.put(key_name(address, key.key_id), key.to_record)
        prefix = skipped_prefix(address, key.key_id)
        for number, skipped in opened.kept.items():
            self._journal.put(prefix + u32(number), partial(skipped_record, skipped))
        for number in opened.dropped:
            self._journal.delete(prefix + u32(number))
        return opened.content

    def drain_changes(self) -> dict[bytes, bytes | None]:
        return self._journal.drain()

    @staticmethod
    def from_records(own: DeviceCertificate, records: Mapping[bytes, bytes], *, limits: Limits = DEFAULT_LIMITS) -> SenderKeyGroup:
        """The group whose records `drain_changes` gave over time; `MalformedMessage` for what it did not give."""
        if STATE_NAME not in records:
            raise MalformedMessage("a group's records without its state")
        return SenderKeyGroup(own, GroupState.from_record(records[STATE_NAME]), limits=limits, stored=records)

    def _restore(self, records: Mapping[bytes, bytes]) -> None:
        skipped: dict[tuple[Address, bytes], dict[int, SkippedKey]] = {}
        for name, record in records.items():
            if name == STATE_NAME:
                continue
            if name == SENDING_NAME:
                self._sending = SendingKey.from_record(record)
                continue
            kind, address, key_id, number = read_name(name)
            if kind == RecordKind.HOLDER:
                self._holders[address] = _read_holder(record)
            elif kind == RecordKind.KEY:
                self._receiving.setdefault(address, {})[key_id] = ReceivingKey.from_record(record)
            else:
                skipped.setdefault((address, key_id), {})[number] = read_skipped(record)
        self._due = sum(self._holders.values())
        for (address, key_id), keys in skipped.items():
            key = self._receiving.get(address, {}).get(key_id)
            if key is None:
                raise MalformedMessage("a stored skipped key does not belong to a sender key")
            key.restore_skipped(keys)

    def _require_member(self) -> None:
        if not self.is_member:
            raise _no_member()

    def _account_of_key(self, user_id: str, epoch: int) -> bytes | None:
        """The account key of whoever gives a sender key at an epoch, None while the epoch is ahead."""
        if epoch > self._state.epoch and user_id in self._state.members:
            return None
        if self._state.hash_at(epoch) is None:
            raise GroupStateMismatch("the sender key is of an epoch that is not known here")
        account = self._state.account_at(user_id, epoch)
        if account is None:
            raise NotAMember("the owner of the sender key was no member at its epoch")
        return account

    def _settle_keys(self) -> None:
        """After an operation: learn whose the keys were that came ahead of it, and forget those of users long gone."""
        for address, keys in list(self._receiving.items()):
            for key in list(keys.values()):
                if key.account is None and key.epoch <= self._state.epoch:
                    key.account = self._state.account_at(address[0], key.epoch)
                    if key.account is None:
                        self._drop_key(address, key)
                    else:
                        self._journal.put(key_name(address, key.key_id), key.to_record)
                elif key.account is not None and not self._state.knows(address[0], key.account):
                    self._drop_key(address, key)

    def _drop_key(self, address: Address, key: ReceivingKey) -> None:
        keys = self._receiving[address]
        del keys[key.key_id]
        if not keys:
            del self._receiving[address]
        self._journal.delete(key_name(address, key.key_id))
        prefix = skipped_prefix(address, key.key_id)
        for number in key.skipped:
            self._journal.delete(prefix + u32(number))

    def _retire(self) -> None:
        """Forget the sending key: the next `prepare_send` makes another."""
        self._sending = None
        self._journal.delete(SENDING_NAME)
        for address in self._holders:
            self._journal.delete(holder_name(address))
        self._holders.clear()
        self._due = 0

    def _still_due(self, deliveries: Iterable[Delivery[SenderKeyDistribution]]) -> list[Address]:
        key_id = None if self._sending is None else self._sending.key_id
        named = [(user_id, device_id) for user_id, device_id, distribution in deliveries if distribution.key_id == key_id]
        return [address for address in dict.fromkeys(named) if self._holders.get(address)]

    def _set_holder(self, address: Address, *, due: bool) -> None:
        self._due += due - self._holders.get(address, False)
        self._holders[address] = due
        self._journal.put(holder_name(address), lambda: u8(_HOLDER_VERSION) + u8(due))

    def _put_state(self) -> None:
        self._journal.put(STATE_NAME, self._state.to_record)


def _no_member() -> NotAMember:
    return NotAMember("this device's user is not in the group")


def _binding(state_hash: bytes, address: Address) -> bytes:
    """What both sides of a message know and is not sent: the state of the group, and who sends."""
    return state_hash + lp(user_bytes(address[0])) + u32(address[1])


def _read_holder(record: bytes) -> bool:
    reader = Reader(record)
    version, due = reader.u8(), reader.u8()
    reader.done()
    if version != _HOLDER_VERSION:
        raise UnsupportedVersion(f"a sender key's holder record of version {version}")
    return bool(due)
