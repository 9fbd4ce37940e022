"""The profile's bounds on groups, with a device that keeps them: 256 members, 1,024 devices."""

from __future__ import annotations

from functools import cache

import pytest

from e2ee import (
    Device,
    DeviceCertificate,
    DeviceList,
    DeviceOptions,
    LimitReached,
    Limits,
    MemoryStore,
    Role,
    SenderKeyDistribution,
    Transaction,
)
from e2ee.certificates import device_key_signature, issue_certificate, issue_device_list
from e2ee.limits import DEFAULT_LIMITS
from e2ee.prekeys import Bundle, make_signed_prekey
from e2ee.primitives import KeyPair, agreement_pair, signing_pair
from tests.support.e2ee_groups import GroupWorld
from tests.support.e2ee_world import X25519_ONLY, ManualClock, finish, seeded

CLOCK = ManualClock()
FEW = Limits(one_time_prekeys=1, one_time_prekeys_refill=1)
OPTIONS = DeviceOptions(policy=X25519_ONLY, clock=CLOCK, random=seeded(1), limits=FEW)
MOST_DEVICES = DEFAULT_LIMITS.max_devices


class Account:
    """A user with many devices, as far as others see them."""

    def __init__(self, user_id: str, devices: int) -> None:
        self.user_id, self.draw = user_id, seeded(sum(user_id.encode()) * 7)
        self.account = signing_pair(self.draw(32))
        self.signing: list[KeyPair] = []
        self.agreement: list[KeyPair] = []
        self.certificates: list[DeviceCertificate] = []
        self.lists: list[DeviceList] = []
        self.grow(devices)

    def grow(self, devices: int) -> None:
        for device_id in range(len(self.certificates) + 1, devices + 1):
            signing, agreement = signing_pair(self.draw(32)), agreement_pair(self.draw(32))
            self.signing.append(signing)
            self.agreement.append(agreement)
            certificate = issue_certificate(
                self.account,
                user_id=self.user_id,
                device_id=device_id,
                signing_public=signing.public,
                agreement_public=agreement.public,
                device_signature=device_key_signature(signing, self.user_id, device_id, agreement.public),
                created=int(CLOCK.now),
                suites=(1,),
            )
            self.certificates.append(certificate)
        issued = issue_device_list(
            self.account,
            user_id=self.user_id,
            created=int(CLOCK.now),
            certificates=tuple(self.certificates),
            previous=self.lists[-1] if self.lists else None,
        )
        self.lists.append(issued)

    def shown_to(self, device: Device) -> None:
        finish(device.learn(self.user_id, self.lists[-1].encoded, [certificate.encoded for certificate in self.certificates]))

    def bundle(self, device_id: int) -> bytes:
        prekey, _ = make_signed_prekey(self.signing[device_id - 1], 1, int(CLOCK.now), self.draw)
        return Bundle(self.certificates[device_id - 1], prekey, None, None, False).encode()


@cache
def ann() -> MemoryStore:
    store = MemoryStore()
    finish(Device.create(store, "ann", OPTIONS))
    return store


def load() -> Device:
    return finish(Device.load(ann().copy(), OPTIONS))


def test_256_members() -> None:
    device = load()
    users = [Account(f"user {number}", 1) for number in range(256)]
    for user in users:
        user.shown_to(device)
    names = [user.user_id for user in users]
    with pytest.raises(LimitReached, match="256 members"):
        finish(device.groups.create(names))
    created = finish(device.groups.create(names[:254]))
    added = finish(device.groups.add(created.group_id, names[254:255]))
    with pytest.raises(LimitReached, match="256 members"):
        finish(device.groups.add(created.group_id, names[254:]))
    finish(device.groups.apply([added.encoded]))
    view = finish(device.groups.view(created.group_id))
    assert view is not None
    assert len(view.members) == 256
    with pytest.raises(LimitReached, match="256 members"):
        finish(device.groups.add(created.group_id, names[255:]))
    finish(device.groups.set_role(created.group_id, names[0], Role.ADMIN))
    with pytest.raises(LimitReached, match="256 members"):
        finish(device.groups.create(names[:256]))
    finish(device.groups.create(names[:255]))


def test_1024_devices() -> None:
    device = load()
    users = [Account(f"user {number}", MOST_DEVICES) for number in range(31)]
    last = Account("last", MOST_DEVICES - 1)
    for user in (*users, last):
        user.shown_to(device)
    group = finish(device.groups.create([user.user_id for user in (*users, last)])).group_id
    wanted = finish(device.groups.needs_bundles(group))
    assert len(wanted) == 1_023
    by_name = {user.user_id: user for user in (*users, last)}
    for user_id, device_id in wanted:
        finish(device.start(by_name[user_id].bundle(device_id)))
    sent = finish(device.groups.send(group, b"everybody"))
    assert len(sent.keys) == 1_023
    last.grow(MOST_DEVICES)
    last.shown_to(device)
    for call in (device.groups.needs_bundles(group), device.groups.send(group, b"one too many")):
        with pytest.raises(LimitReached, match="1024 devices"):
            finish(call)
    # What is left out does not count, and whoever is removed makes room.
    finish(device.groups.apply([finish(device.groups.remove(group, ["user 0"])).encoded]))
    again = finish(device.groups.send(group, b"room", skip_missing=True))
    assert (len(again.keys), again.left_out) == (1_023 - MOST_DEVICES, (("last", MOST_DEVICES),))


def test_keys_of_so_many_devices_are_kept_and_no_more() -> None:
    """The reader's bound, with a lower one: one device more is refused its key, and the message that carried it is read."""
    limits = Limits(max_group_devices=3, one_time_prekeys=4, one_time_prekeys_refill=1)
    world = GroupWorld("ann", "bob", "cleo", "dan", "eve", limits=limits)
    operation = finish(world["eve"].groups.create(["ann", "bob", "cleo", "dan"]))
    for name in ("ann", "bob", "cleo", "dan"):
        finish(world[name].groups.join([operation.encoded]))
    outcomes = []
    for name in ("bob", "cleo", "dan", "eve"):
        sender = world[name]
        world.meet(sender, "ann")
        key = finish(sender.run(lambda tx, sender=sender: _own_key(tx, sender, operation.group_id)))  # type: ignore[misc]
        (message,) = finish(sender.encrypt("ann", key))
        received = finish(world["ann"].decrypt(name, 1, message.message))
        outcomes.append(None if received.refused is None else received.refused.code)
    assert outcomes == [None, None, None, "limit_reached"]


def _own_key(tx: Transaction, sender: Device, group_id: bytes) -> SenderKeyDistribution:
    group = sender.groups.steps.space(tx).get(group_id)
    ((_, _, key),) = group.prepare_send([sender.steps.certificates(tx, "ann")[0]], now=CLOCK.now)
    return key
