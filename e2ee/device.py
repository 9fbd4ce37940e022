"""A device: the one object that an application needs for encrypted chat with other people's devices.

Each call is one transaction of the store: when it returns, what it did is durable, so a ciphertext never leaves before the state
that made it is safe. Nothing is fetched or sent: the application brings device lists and bundles, and carries messages away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from e2ee.certificates import DeviceCertificate, DeviceList
from e2ee.content import ApplicationContent, Content
from e2ee.device_account import (
    account_pair,
    admit_device,
    create_account,
    keep_linked,
    load_local,
    local_device,
    remove_device,
    reserve_device_id,
)
from e2ee.device_groups import DeviceGroups
from e2ee.device_messages import Address, Contact, Incoming, Outgoing, Received, hand_over
from e2ee.device_prekeys import PreKeyUpload
from e2ee.device_steps import DeviceSteps
from e2ee.errors import E2EEError, StaleState
from e2ee.group_steps import GroupSteps
from e2ee.limits import DEFAULT_LIMITS, Limits, Policy
from e2ee.peers import Learned
from e2ee.prekeys import Bundle
from e2ee.primitives import KeyPair, Random, encapsulate, system_random
from e2ee.records import LocalRecord, Peer
from e2ee.store.interface import Store, StoreError, Transaction
from salam.clock import Clock, RealClock

__all__ = ["Device", "DeviceOptions", "OnPlaintext", "Publication", "retry_stale"]

T = TypeVar("T")

# Puts what was received where the application keeps it, in the transaction that moves the session. It runs where the store works,
# which may be another thread, and must not wait.
OnPlaintext = Callable[[Transaction, Received], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """How a device behaves. ``random`` and ``encapsulate`` are others than the system's only in tests."""

    policy: Policy = field(default_factory=Policy)
    limits: Limits = DEFAULT_LIMITS
    clock: Clock = field(default_factory=RealClock)
    random: Random = system_random
    encapsulate: Callable[[bytes], tuple[bytes, bytes]] = encapsulate


@dataclass(frozen=True, slots=True)
class Publication:
    """What a device shows to everybody through the server. ``device_list`` is None on a linked device before it learned its own."""

    certificate: DeviceCertificate
    device_list: DeviceList | None
    prekeys: PreKeyUpload


async def retry_stale(call: Callable[[], Awaitable[T]], attempts: int = 3) -> T:
    """Await ``call()`` again when another writer of the same store was faster; `StaleState` when that was so ``attempts`` times."""
    for _ in range(attempts - 1):
        try:
            return await call()
        except StaleState:
            continue
    return await call()


class Device:
    """One device of one user, over the store that holds its state. Made by `create`, `link` or `load`.

    All methods raise what `Store.run` raises. They may be called at the same time; they take turns. A second process may use the
    same store; where that store does not lock (`Store.run`), the slower one of two gets `StaleState` (`retry_stale`).

    ``steps`` are the same things as synchronous steps, to be called in a transaction (`run`) together with other work.
    ``groups`` are the device's groups; what comes for them through `decrypt`, sender keys and operations, is taken by itself.
    """

    def __init__(self, store: Store, record: LocalRecord, options: DeviceOptions) -> None:
        """Use `create`, `link` or `load`."""
        self._store = store
        self._record = record
        self._clock = options.clock
        self.local = local_device(record)
        self.steps = DeviceSteps(self.local, options.policy, options.limits, random=options.random, encapsulate=options.encapsulate)
        self.groups = DeviceGroups(store, GroupSteps(self.steps), options.clock)

    def __repr__(self) -> str:
        return f"Device(user_id={self.user_id!r}, device_id={self.device_id})"

    @classmethod
    async def create(
        cls,
        store: Store,
        user_id: str,
        options: DeviceOptions | None = None,
        *,
        account: KeyPair | None = None,
        previous: DeviceList | None = None,
    ) -> Device:
        """A new account with this as its primary device; or, with the ``account`` key of a backup and the ``previous`` device list
        that the server has of it, a new primary device of that account, whose list names no other one.

        Raises `salam.ConflictError` where the store holds a device, `MalformedMessage` for a user id that the profile does not
        allow, and `UntrustedIdentity` or `BadSignature` for a list that is not of the account.
        """
        options = options or DeviceOptions()
        record = await store.run(
            lambda tx: create_account(
                tx,
                user_id,
                account=account,
                previous=previous,
                policy=options.policy,
                limits=options.limits,
                random=options.random,
                now=options.clock.wall(),
            )
        )
        return cls(store, record, options)

    @classmethod
    async def link(
        cls,
        store: Store,
        certificate: DeviceCertificate,
        device_list: DeviceList,
        *,
        signing: KeyPair,
        agreement: KeyPair,
        options: DeviceOptions | None = None,
    ) -> Device:
        """Another device of an account, with its own keys and what the primary device gave it when they were linked.

        Call `learn` for the own user next, with the certificates of the other devices. Raises what `keep_linked` raises.
        """
        options = options or DeviceOptions()
        record = await store.run(lambda tx: keep_linked(tx, certificate, device_list, signing, agreement, options.limits))
        return cls(store, record, options)

    @classmethod
    async def load(cls, store: Store, options: DeviceOptions | None = None) -> Device:
        """The device of this store; `salam.NotFoundError` where there is none yet."""
        return cls(store, await store.run(load_local), options or DeviceOptions())

    @property
    def user_id(self) -> str:
        return self.local.certificate.user_id

    @property
    def device_id(self) -> int:
        return self.local.certificate.device_id

    @property
    def is_primary(self) -> bool:
        """Whether this device holds the account key, and so can admit and remove devices."""
        return self._record.account_seed is not None

    @property
    def account(self) -> KeyPair:
        """The account key, for linking and for the backup; `salam.AuthError` unless this is the primary device."""
        return account_pair(self._record)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in one transaction of the store; see `Store.run`."""
        return await self._store.run(work)

    async def publish(self) -> Publication:
        """All that the server is to have of this device, with a full set of new one-time prekeys; they replace what is there.

        For registration, when the server lost them, and when an old copy of the store had to be put back, which knows nothing of
        prekeys made since; otherwise new ones come by `replenish`. Repeating it is safe. For the sake of the old copy, which may
        have used them, sender keys of groups are made anew before the next message.
        """

        def work(tx: Transaction) -> Publication:
            self.groups.steps.renew_keys(tx)
            prekeys = self.steps.refill(tx, one_time_left=None, kem_once_left=None, now=self._clock.wall())
            return Publication(self.local.certificate, self.steps.device_list(tx, self.user_id), prekeys)

        return await self._store.run(work)

    async def replenish(self, *, one_time_left: int, kem_once_left: int) -> PreKeyUpload:
        """What the server needs when it has so many one-time prekeys left: new ones where they run low, and a signed or last-resort
        prekey that is due. False as a truth value when there is nothing. Call it daily, and when the server says that it runs low.
        """
        return await self._store.run(
            lambda tx: self.steps.refill(tx, one_time_left=one_time_left, kem_once_left=kem_once_left, now=self._clock.wall())
        )

    async def reserve_device_id(self) -> int:
        """An id for a device that is being linked. `salam.AuthError` unless this is the primary device."""
        return await self._store.run(lambda tx: reserve_device_id(tx, self._record, self.steps))

    async def admit_device(self, certificate: DeviceCertificate) -> DeviceList:
        """Put a device on the account's list, whose certificate `PrimaryDevice` of linking has signed; publish what comes back.

        Raises what `device_account.admit_device` raises.
        """
        return await self._store.run(lambda tx: admit_device(tx, self._record, self.steps, certificate, now=self._clock.wall()))

    async def remove_device(self, device_id: int) -> DeviceList:
        """Take a device off the account; publish the list that comes back. Raises what `device_account.remove_device` raises."""
        return await self._store.run(lambda tx: remove_device(tx, self._record, self.steps, device_id, now=self._clock.wall()))

    async def learn(self, user_id: str, device_list: bytes, certificates: Iterable[bytes] = ()) -> Learned:
        """Take a user's device list and the certificates that are new in it; the sessions of removed devices are dropped.

        The first account key of a user is trusted as it comes. `UntrustedIdentity` with ``old`` and ``new`` for another one later:
        nothing is sent to that user from then on until `accept_identity`. Raises further `MalformedMessage`, `BadSignature`,
        `InvalidKey`, `DeviceListRollback`, and `LimitReached`.
        """
        parsed, given = DeviceList.parse(device_list, self.steps.limits), [DeviceCertificate.parse(data) for data in certificates]
        learned = await self._store.run(lambda tx: self.steps.learn(tx, user_id, parsed, given))
        if learned.refused is not None:
            raise learned.refused
        return learned

    async def accept_identity(self, user_id: str, account: bytes) -> None:
        """A person has decided that this is the user's account key: the one that was met, the old one, or one read off a QR code.

        With another than the trusted one all sessions with the user are dropped; `learn` its device list again. Raises
        `UntrustedIdentity` for a key that was never met, and for the own user.
        """
        await self._store.run(lambda tx: self.steps.accept_identity(tx, user_id, account))

    async def set_verified(self, user_id: str, account: bytes, *, verified: bool = True) -> None:
        """A person has compared the safety number under this account key, or takes that back.

        `UntrustedIdentity` unless the key is the trusted one.
        """
        await self._store.run(lambda tx: self.steps.set_verified(tx, user_id, account, verified=verified))

    async def peer(self, user_id: str) -> Peer | None:
        """What is known of a user: account key, verified or not, devices. None of a stranger."""
        return await self._store.run(lambda tx: self.steps.peer(tx, user_id))

    async def contacts(self) -> list[Contact]:
        """Everybody whose account key is known, by user id, the own user too: what a backup keeps of them."""
        return await self._store.run(self.steps.contacts)

    async def devices_of(self, user_id: str) -> tuple[DeviceList, list[DeviceCertificate]] | None:
        """The newest list of a user and the certificates that it names: to hand on, or, of the own user, to publish again."""

        def work(tx: Transaction) -> tuple[DeviceList, list[DeviceCertificate]] | None:
            known = self.steps.device_list(tx, user_id)
            return None if known is None else (known, self.steps.certificates(tx, user_id))

        return await self._store.run(work)

    async def needs_bundles(self, user_id: str) -> list[Address]:
        """The devices, also own ones, whose bundles have to be fetched and started before `encrypt`.

        Raises `NoSession` for a user whose device list is not known, and `UntrustedIdentity`.
        """
        return await self._store.run(lambda tx: self.steps.needs_bundles(tx, user_id, now=self._clock.wall()))

    async def start(self, bundle: bytes) -> bool:
        """Begin a session with the device of a bundle, unless there is one to send with; whether it did.

        Raises `MalformedMessage`, `UntrustedIdentity` for a device that is not on the known list, `BadSignature`, `InvalidKey`,
        `DowngradeRefused`, `PreKeysExhausted`, and `NoSession` for a user whose list is not known.
        """
        parsed = Bundle.parse(bundle)
        return await self._store.run(lambda tx: self.steps.start(tx, parsed, now=self._clock.wall()))

    async def reset(self, bundle: bytes) -> Outgoing:
        """Begin anew with a device whose messages fail with `DecryptionFailed` or `NoSession`, or with `DuplicateMessage` though
        they are new; the message that comes back tells it. What it sent before stays lost: the application asks for it again.

        Raises `LimitReached` when the last one is less than an hour ago, and what `start` raises.
        """
        parsed = Bundle.parse(bundle)
        return await self._store.run(lambda tx: self.steps.reset(tx, parsed, now=self._clock.wall()))

    async def encrypt(self, user_id: str, content: bytes | Content, *, skip_missing: bool = False) -> list[Outgoing]:
        """One message for each device of the user and each other own device. Bytes are the application's own content.

        With ``skip_missing`` devices without a session are left out, as long as there is one that has one. Raises `NoSession`
        otherwise (`needs_bundles`), `UntrustedIdentity` while the user's account key is in doubt, `LimitReached` for content that
        is too long, and `CounterExhausted`.
        """
        (sent,) = await self.encrypt_many([(user_id, content)], skip_missing=skip_missing)
        return sent

    async def encrypt_many(
        self, contents: Sequence[tuple[str, bytes | Content]], *, skip_missing: bool = False
    ) -> list[list[Outgoing]]:
        """Many contents, each for the user named with it, in one transaction; if one fails as `encrypt` may, none is sent."""

        def work(tx: Transaction) -> list[list[Outgoing]]:
            now = self._clock.wall()
            return [
                self.steps.encrypt(tx, user_id, _content(content), now=now, skip_missing=skip_missing)
                for user_id, content in contents
            ]

        return await self._store.run(work)

    async def decrypt(self, from_user: str, from_device: int, message: bytes, on_plaintext: OnPlaintext | None = None) -> Received:
        """Read one message of a device.

        ``on_plaintext`` is called in the same transaction: what it stores and what the session has moved are kept together or not
        at all, so a crash neither loses a message nor doubles it. What it raises is raised here, and the message can be read again.

        Raises `MalformedMessage`, `NoSession`, `UntrustedIdentity`, `UnknownPreKey`, `PreKeyReplay`, `DowngradeRefused`,
        `DecryptionFailed`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted`, `InvalidKey`, `LimitReached`.
        """

        def work(tx: Transaction) -> Received:
            received = self.steps.decrypt(tx, from_user, from_device, message, now=self._clock.wall())
            hand_over(tx, received, on_plaintext)
            return received

        return await self._store.run(work)

    async def decrypt_many(
        self, messages: Sequence[Incoming], on_plaintext: OnPlaintext | None = None
    ) -> list[Received | E2EEError]:
        """Read many messages in one transaction; in the place of one that cannot be read stands what `decrypt` would raise.

        What ``on_plaintext`` raises is raised here, and then no message counts as read.
        """

        def work(tx: Transaction) -> list[Received | E2EEError]:
            now = self._clock.wall()
            results: list[Received | E2EEError] = []
            for incoming in messages:
                try:
                    received = self.steps.decrypt(tx, incoming.user_id, incoming.device_id, incoming.message, now=now)
                except StoreError:
                    raise
                except E2EEError as error:
                    results.append(error)
                    continue
                hand_over(tx, received, on_plaintext)
                results.append(received)
            return results

        return await self._store.run(work)


def _content(content: bytes | Content) -> Content:
    return ApplicationContent(content) if isinstance(content, bytes) else content
