"""People with encrypted devices, and the directory that a server would keep for them: lists, certificates and prekeys."""

from __future__ import annotations

import random as randomness
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from e2ee import (
    Bundle,
    Device,
    DeviceOptions,
    KemPreKey,
    Limits,
    MemoryStore,
    OneTimePreKey,
    Policy,
    PreKeyUpload,
    Publication,
    SignedPreKey,
    Store,
)
from e2ee.certificates import DeviceCertificate, DeviceList, device_key_signature, issue_certificate
from e2ee.primitives import agreement_pair, signing_pair

__all__ = ["FEW_PREKEYS", "X25519_ONLY", "Directory", "ManualClock", "finish", "link", "meet", "new_device", "options", "seeded"]

T = TypeVar("T")
Address = tuple[str, int]

# The fast suite, for tests whose subject is not the handshake.
X25519_ONLY = Policy(min_suite=1, suites=(1,))
FEW_PREKEYS = Limits(one_time_prekeys=3, one_time_prekeys_refill=1, one_time_kem_prekeys=2, one_time_kem_prekeys_refill=1)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to its end what never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine waits for something")


def seeded(seed: int) -> Callable[[int], bytes]:
    """A source of bytes that is the same in every run."""
    return randomness.Random(seed).randbytes


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.now += delay_s


def options(
    clock: ManualClock | None = None, *, seed: int = 0, limits: Limits = FEW_PREKEYS, policy: Policy = X25519_ONLY
) -> DeviceOptions:
    """Options of a test's device: the fast suite, few prekeys, the same randomness in every run."""
    return DeviceOptions(policy=policy, limits=limits, clock=clock or ManualClock(), random=seeded(seed))


@dataclass
class _Shelf:
    certificate: DeviceCertificate
    signed: SignedPreKey
    kem_last: KemPreKey | None
    one_time: list[OneTimePreKey] = field(default_factory=list)
    kem_once: list[KemPreKey] = field(default_factory=list)


class Directory:
    """What the server keeps and hands out; it is as honest as a test leaves it."""

    def __init__(self) -> None:
        self.lists: dict[str, DeviceList] = {}
        self.shelves: dict[Address, _Shelf] = {}

    def copy(self) -> Directory:
        other = Directory()
        other.lists = dict(self.lists)
        for address, shelf in self.shelves.items():
            other.shelves[address] = _Shelf(
                shelf.certificate, shelf.signed, shelf.kem_last, list(shelf.one_time), list(shelf.kem_once)
            )
        return other

    def publish(self, publication: Publication) -> None:
        """Take what a device shows; its prekeys replace those that are there."""
        certificate, prekeys = publication.certificate, publication.prekeys
        assert prekeys.signed is not None
        shelf = _Shelf(certificate, prekeys.signed, prekeys.kem_last, list(prekeys.one_time), list(prekeys.kem_once))
        self.shelves[certificate.user_id, certificate.device_id] = shelf
        if publication.device_list is not None:
            self.put_list(publication.device_list)

    def put_list(self, device_list: DeviceList) -> None:
        self.lists[device_list.user_id] = device_list

    def replenish(self, address: Address, upload: PreKeyUpload) -> None:
        shelf = self.shelves[address]
        shelf.signed = upload.signed or shelf.signed
        shelf.kem_last = upload.kem_last or shelf.kem_last
        shelf.one_time += upload.one_time
        shelf.kem_once += upload.kem_once

    def left(self, address: Address) -> dict[str, int]:
        """How many one-time prekeys are left, as `Device.replenish` asks for it."""
        shelf = self.shelves[address]
        return {"one_time_left": len(shelf.one_time), "kem_once_left": len(shelf.kem_once)}

    def bundle(self, user_id: str, device_id: int) -> bytes:
        """The next bundle of a device; one-time keys are given once, the last resort again and again."""
        shelf = self.shelves[user_id, device_id]
        one_time = shelf.one_time.pop(0) if shelf.one_time else None
        kem_once = shelf.kem_once.pop(0) if shelf.kem_once else None
        return Bundle(shelf.certificate, shelf.signed, one_time, kem_once or shelf.kem_last, kem_once is not None).encode()

    def certificates(self, user_id: str) -> list[bytes]:
        """The certificates that the user's list names."""
        return [self.shelves[user_id, device_id].certificate.encoded for device_id, _ in self.lists[user_id].devices]


async def meet(directory: Directory, device: Device, user_id: str) -> None:
    """Learn what the directory has of a user and of the own one, and begin every session that is missing."""
    for user in (device.user_id, user_id):
        await device.learn(user, directory.lists[user].encoded, directory.certificates(user))
    for address in await device.needs_bundles(user_id):
        await device.start(directory.bundle(*address))


async def new_device(directory: Directory, user_id: str, chosen: DeviceOptions | None = None, store: Store | None = None) -> Device:
    """A new account's device, published."""
    device = await Device.create(store or MemoryStore(), user_id, chosen or options(seed=sum(user_id.encode())))
    directory.publish(await device.publish())
    return device


async def link(directory: Directory, primary: Device, chosen: DeviceOptions, store: Store | None = None) -> Device:
    """Another device of the primary's user, published, which knows its siblings; what pairing does, without its secrecy."""
    device_id = await primary.reserve_device_id()
    signing, agreement = signing_pair(chosen.random(32)), agreement_pair(chosen.random(32))
    certificate = issue_certificate(
        primary.account,
        user_id=primary.user_id,
        device_id=device_id,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, primary.user_id, device_id, agreement.public),
        created=int(chosen.clock.wall()),
        suites=chosen.policy.suites,
    )
    device_list = await primary.admit_device(certificate)
    device = await Device.link(
        store or MemoryStore(), certificate, device_list, signing=signing, agreement=agreement, options=chosen
    )
    directory.put_list(device_list)
    directory.publish(await device.publish())
    await device.learn(device.user_id, device_list.encoded, directory.certificates(device.user_id))
    return device
