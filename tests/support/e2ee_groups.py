"""A group of devices and the server between them, which shows every operation to everybody in one order."""

from __future__ import annotations

from collections.abc import Iterable

from e2ee import (
    Content,
    Device,
    DeviceOptions,
    E2EEError,
    GroupReceived,
    GroupSent,
    Limits,
    MemoryStore,
    Operation,
    SenderKeyDistribution,
)
from e2ee.primitives import signing_pair
from tests.support.e2ee_world import Directory, ManualClock, finish, link, meet, new_device, options

__all__ = ["GroupWorld", "distribution", "keys_to", "pairwise"]

Address = tuple[str, int]
# So many that nobody runs out of them where everybody meets everybody.
_LIMITS = Limits(one_time_prekeys=4, one_time_prekeys_refill=1, one_time_kem_prekeys=1, one_time_kem_prekeys_refill=1)


class GroupWorld:
    """People by name, each with one device at first; all know each other's lists from the start."""

    def __init__(self, *names: str, limits: Limits = _LIMITS) -> None:
        self.directory, self.clock, self.limits = Directory(), ManualClock(), limits
        self.devices: dict[Address, Device] = {}
        self.stores: dict[Address, MemoryStore] = {}
        self.operations: list[bytes] = []
        for name in names:
            store = MemoryStore()
            self._adopt(finish(new_device(self.directory, name, self.options(name), store)), store)
        self.introduce()

    def options(self, name: str, device_id: int = 1) -> DeviceOptions:
        return options(self.clock, seed=sum(name.encode()) * 100 + device_id, limits=self.limits)

    def __getitem__(self, name: str) -> Device:
        """The first device of somebody."""
        return self.devices[name, 1]

    def _adopt(self, device: Device, store: MemoryStore) -> Device:
        address = (device.user_id, device.device_id)
        self.devices[address], self.stores[address] = device, store
        return device

    def link(self, name: str) -> Device:
        """Another device of somebody; whoever is to know of it has to be told (`introduce`)."""
        store = MemoryStore()
        return self._adopt(finish(link(self.directory, self[name], self.options(name, len(self.devices)), store)), store)

    def reload(self, device: Device) -> Device:
        """The device as another process would find it in its store."""
        address = (device.user_id, device.device_id)
        again = finish(Device.load(self.stores[address], self.options(device.user_id, 50 + device.device_id)))
        self.devices[address] = again
        return again

    def introduce(self, *names: str) -> None:
        """Show the lists of these people, or of all, to everybody."""
        for device in self.devices.values():
            for name in names or self.directory.lists:
                finish(device.learn(name, self.directory.lists[name].encoded, self.directory.certificates(name)))

    def connect(self, device: Device, group_id: bytes) -> None:
        """Begin the sessions that the next message to the group needs."""
        for address in finish(device.groups.needs_bundles(group_id)):
            finish(device.start(self.directory.bundle(*address)))

    def create(self, admin: str, others: Iterable[str], **chosen: Iterable[str]) -> bytes:
        """A group that all its members' devices have joined."""
        operation = finish(self[admin].groups.create(others, **{key: list(names) for key, names in chosen.items()}))
        self.operations = [operation.encoded]
        for device in self.devices.values():
            if device.user_id in finish(self[admin].groups.view(operation.group_id)).members:  # type: ignore[union-attr]
                finish(device.groups.join(self.operations))
        return operation.group_id

    def announce(self, operation: Operation) -> None:
        """Show an operation to everybody who keeps the group, its signer among them."""
        self.operations.append(operation.encoded)
        for device in self.devices.values():
            if finish(device.groups.view(operation.group_id)) is not None:
                assert finish(device.groups.apply([operation.encoded])) == [operation]

    def say(self, device: Device, group_id: bytes, data: bytes) -> GroupSent:
        """Send, with the keys delivered; who reads it is for the caller."""
        self.connect(device, group_id)
        sent = finish(device.groups.send(group_id, data))
        self.give_keys(device, sent)
        return sent

    def give_keys(self, device: Device, sent: GroupSent) -> None:
        for key in sent.keys:
            received = finish(self.devices[key.user_id, key.device_id].decrypt(device.user_id, device.device_id, key.message))
            assert received.refused is None

    def hear(self, reader: Device, sender: Device, sent: GroupSent) -> bytes:
        received = finish(reader.groups.receive(sender.user_id, sender.device_id, sent.message))
        assert received == GroupReceived(sent.group_id, sent.epoch, sender.user_id, sender.device_id, received.data)
        return received.data

    def meet(self, device: Device, user_id: str) -> None:
        finish(meet(self.directory, device, user_id))


def keys_to(sent: GroupSent) -> list[Address]:
    """The devices that are sent the sender key."""
    return sorted((key.user_id, key.device_id) for key in sent.keys)


def distribution(group_id: bytes, number: int = 0, **changed: object) -> SenderKeyDistribution:
    """A sender key for a group, as somebody may tell of it."""
    public = signing_pair(bytes(32)).public
    fields: dict[str, object] = {
        "group_id": group_id,
        "epoch": 0,
        "key_id": number.to_bytes(8, "big"),
        "iteration": 0,
        "chain_key": bytes(32),
        "signing_public": public,
    }
    return SenderKeyDistribution(**(fields | changed))  # type: ignore[arg-type]


def pairwise(world: GroupWorld, sender: str, to: str, content: Content) -> E2EEError | None:
    """Tell something in a session; why it did not count, if so."""
    world.meet(world[sender], to)
    sent = finish(world[sender].encrypt(to, content))
    (message,) = [one.message for one in sent if one.user_id == to]
    return finish(world[to].decrypt(sender, 1, message)).refused
