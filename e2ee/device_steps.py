"""What a device does, as synchronous steps inside of a transaction.

`Device` runs one or several of these in one `Store.run`. Whoever builds on a device (groups, sealed sender, calls, the application
itself) calls them in a transaction of its own, so that its records and the device's are written together or not at all: for example
the pairwise messages that carry a sender key, and the note that they are on their way.

Steps of one device take turns: one store runs one transaction at a time. `now` is always in Unix seconds. A step that raises has
changed nothing, except that a message whose content is malformed counts as read if the transaction is committed all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from e2ee.certificates import NO_HASH, DeviceCertificate, DeviceList
from e2ee.content import Content, Reset, encode, parse
from e2ee.device_messages import Address, Contact, Follower, Outgoing, Received
from e2ee.device_prekeys import PreKeyUpload, accept_first, check_unseen, find_secrets, refill
from e2ee.errors import DecryptionFailed, LimitReached, NoSession, UntrustedIdentity
from e2ee.handshake import LocalDevice, PreKeyMessage, initiate, respond
from e2ee.limits import Limits, Policy
from e2ee.lines import begin, sending_session, settle
from e2ee.peers import Learned, accept_identity, known_list, learn, set_verified, trusted_peer
from e2ee.prekey_message import TYPE_PREKEY, message_type
from e2ee.prekeys import Bundle
from e2ee.primitives import NoPickle, Random, encapsulate
from e2ee.records import PEERS, Peer, SessionRef
from e2ee.session import Session
from e2ee.store.interface import Transaction
from e2ee.workspace import SessionCache, Workspace

__all__ = ["DeviceSteps"]


class DeviceSteps(NoPickle):
    """The steps of one device. ``random`` and ``encapsulate`` are others than the system's only in tests."""

    def __init__(
        self,
        local: LocalDevice,
        policy: Policy,
        limits: Limits,
        *,
        random: Random,
        encapsulate: Callable[[bytes], tuple[bytes, bytes]] = encapsulate,
    ) -> None:
        self.local = local
        self.policy = policy
        self.limits = limits
        self.random = random
        self._encapsulate = encapsulate
        self._cache = SessionCache()
        self._space: Workspace | None = None
        self._own = (local.certificate.user_id, local.certificate.device_id)
        self._follower: Follower | None = None

    def follow(self, follower: Follower) -> None:
        """Let ``follower``, the only one, take part in every transaction from now on."""
        self._follower = follower

    def learn(self, tx: Transaction, user_id: str, device_list: DeviceList, certificates: Iterable[DeviceCertificate]) -> Learned:
        """See `Device.learn`; here a changed account key is returned (``refused``), for the note of it has to be committed."""
        learned = learn(self._workspace(tx), user_id, device_list, certificates, self.limits)
        if self._follower is not None and learned.removed:
            self._follower.devices_left(tx, user_id, learned.removed)
        return learned

    def accept_identity(self, tx: Transaction, user_id: str, account: bytes) -> None:
        """See `Device.accept_identity`."""
        if user_id == self._own[0]:
            raise UntrustedIdentity("the own account key is not changed", old=self.local.certificate.account, new=account)
        gone = accept_identity(self._workspace(tx), user_id, account)
        if self._follower is not None and gone:
            self._follower.devices_left(tx, user_id, gone)

    def set_verified(self, tx: Transaction, user_id: str, account: bytes, *, verified: bool) -> None:
        """See `Device.set_verified`."""
        set_verified(self._workspace(tx), user_id, account, verified=verified)

    def peer(self, tx: Transaction, user_id: str) -> Peer | None:
        """What is known of a user, or None."""
        return self._workspace(tx).peer(user_id)

    def device_list(self, tx: Transaction, user_id: str) -> DeviceList | None:
        """The newest device list of a user, or None."""
        return known_list(self._workspace(tx), user_id)

    def contacts(self, tx: Transaction) -> list[Contact]:
        """See `Device.contacts`."""
        found = []
        for key, record in tx.scan(PEERS):
            known = known_list(self._workspace(tx), key.decode())
            found.append(Contact(key.decode(), Peer.parse(record), NO_HASH if known is None else known.hash))
        return found

    def certificates(self, tx: Transaction, user_id: str) -> list[DeviceCertificate]:
        """The verified certificates of all devices on the newest list of a user; none of a stranger."""
        peer = self.peer(tx, user_id)
        found = (self.certificate(tx, user_id, device_id) for device_id in (peer.devices if peer else ()))
        return [certificate for certificate in found if certificate is not None]

    def certificate(self, tx: Transaction, user_id: str, device_id: int) -> DeviceCertificate | None:
        """The verified certificate of a device, also of one that was removed, under the user's trusted account key; or None.

        With `present_certificate` these are the two answers that a group wants of its `Resolver`.
        """
        return self._workspace(tx).certificate(user_id, device_id)

    def present_certificate(self, tx: Transaction, user_id: str, device_id: int) -> DeviceCertificate | None:
        """The verified certificate of a device that is on the user's newest list, or None."""
        space = self._workspace(tx)
        peer = space.peer(user_id)
        return space.certificate(user_id, device_id) if peer is not None and device_id in peer.devices else None

    def refill(self, tx: Transaction, *, one_time_left: int | None, kem_once_left: int | None, now: float) -> PreKeyUpload:
        """See `Device.publish` (None for both counts) and `Device.replenish`."""
        return refill(
            tx,
            self.local,
            self.limits,
            one_time_left=one_time_left,
            kem_once_left=kem_once_left,
            random=self.random,
            now=now,
        )

    def trusted(self, tx: Transaction, user_id: str) -> Peer:
        """What is known of a user to whom something is to be sent.

        Raises `NoSession` where no list is known, and `UntrustedIdentity` while the account key is in doubt, or, for the own user,
        where this device is no longer on its list.
        """
        peer = trusted_peer(self._workspace(tx), user_id)
        if user_id == self._own[0] and self._own[1] not in peer.devices:
            raise UntrustedIdentity("this device is no longer on the list of its user")
        return peer

    def recipients(self, tx: Transaction, user_id: str) -> list[Address]:
        """All devices that get what is said to a user: those of its list, and the other ones of our own user.

        Raises what `trusted` raises.
        """
        own_user = self._own[0]
        siblings = self.trusted(tx, own_user).devices
        found = [(own_user, device_id) for device_id in siblings if (own_user, device_id) != self._own]
        if user_id == own_user:
            return found
        return [(user_id, device_id) for device_id in self.trusted(tx, user_id).devices] + found

    def needs_bundles(self, tx: Transaction, user_id: str, *, now: float) -> list[Address]:
        """Which of `recipients` have no session to send with; raises what that raises."""
        return self.without_session(tx, self.recipients(tx, user_id), now=now)

    def without_session(self, tx: Transaction, addresses: Iterable[Address], *, now: float) -> list[Address]:
        """Which of these devices have no session to send with."""
        return [address for address in addresses if self._sending(tx, address, now) is None]

    def start(self, tx: Transaction, bundle: Bundle, *, now: float) -> bool:
        """Begin a session with the device of a bundle, unless there is one to send with; whether it did.

        Raises `UntrustedIdentity` for a certificate that is not the one on the user's known list, or while the user's account key
        is in doubt, `NoSession` where no list is known, and what `initiate` raises.
        """
        if self._sending(tx, (bundle.certificate.user_id, bundle.certificate.device_id), now) is not None:
            return False
        self._begin(tx, bundle, reset=False, now=now)
        return True

    def reset(self, tx: Transaction, bundle: Bundle, *, now: float) -> Outgoing:
        """Begin anew with a device whose messages cannot be read any more, and tell it so.

        Raises `LimitReached` when it was told so within the last reset_interval_s, and what `start` raises.
        """
        certificate = bundle.certificate
        last = self._workspace(tx).line(certificate.user_id, certificate.device_id).last_reset
        if last and 0 <= int(now) - last < self.limits.reset_interval_s:
            raise LimitReached(f"a device is sent one reset in {self.limits.reset_interval_s:.0f} s (reset_interval_s)")
        session = self._begin(tx, bundle, reset=True, now=now)
        return self._encrypt(tx, session, encode(Reset()), now)

    def encrypt(self, tx: Transaction, user_id: str, content: Content, *, now: float, skip_missing: bool = False) -> list[Outgoing]:
        """See `Device.encrypt`."""
        encoded = encode(content)
        sessions = [(address, self._sending(tx, address, now)) for address in self.recipients(tx, user_id)]
        there = [session for _, session in sessions if session is not None]
        if len(there) < len(sessions) and not (skip_missing and there):
            raise NoSession(f"{len(sessions) - len(there)} of {len(sessions)} devices have no session; start them (needs_bundles)")
        return [self._encrypt(tx, session, encoded, now) for session in there]

    def encrypt_to(self, tx: Transaction, user_id: str, device_id: int, content: Content, *, now: float) -> Outgoing:
        """One message for one device, which must be on its user's list.

        Raises `NoSession` and `UntrustedIdentity` as `encrypt` does.
        """
        if (user_id, device_id) not in self.recipients(tx, user_id):
            raise NoSession("that device is not on the known list of its user")
        session = self._sending(tx, (user_id, device_id), now)
        if session is None:
            raise NoSession("that device has no session; start one")
        return self._encrypt(tx, session, encode(content), now)

    def decrypt(self, tx: Transaction, from_user: str, from_device: int, message: bytes, *, now: float) -> Received:
        """See `Device.decrypt`."""
        received = self._read(tx, from_user, from_device, message, now)
        if self._follower is None:
            return received
        return replace(received, refused=self._follower.received(tx, received))

    def _read(self, tx: Transaction, from_user: str, from_device: int, message: bytes, now: float) -> Received:
        space = self._workspace(tx)
        if message_type(message) == TYPE_PREKEY:
            return self._read_first(space, from_user, from_device, message, now)
        line = space.line(from_user, from_device)
        if not line.refs:
            raise NoSession("there is no session with the sender")
        for ref in line.refs:
            session = space.session(from_user, from_device, ref)
            try:
                content = session.decrypt(message, now=now)
            except DecryptionFailed:
                continue
            return self._received(space, session, ref, content, now)
        raise DecryptionFailed("no session with the sender opens the message")

    def _read_first(self, space: Workspace, from_user: str, from_device: int, message: bytes, now: float) -> Received:
        """A message of type 2: of a session that is there, or the begin of one."""
        first = PreKeyMessage.parse(message)
        certificate = self.present_certificate(space.tx, from_user, from_device)
        if certificate is None or certificate.signing != first.signing:
            old = None if certificate is None else certificate.signing
            raise UntrustedIdentity("a first message is not from a device that is known", old=old, new=first.signing)
        ref = space.line(from_user, from_device).find(first.base_key, initiated=False)
        if ref is not None:
            session = space.session(from_user, from_device, ref)
            return self._received(space, session, ref, session.decrypt(message, now=now), now)
        check_unseen(space.tx, first)
        secrets = find_secrets(space.tx, first, self.limits, now=now)
        session = respond(self.local, certificate, first, secrets, self.policy, now=now, limits=self.limits)
        content = session.decrypt(message, now=now)
        parse(content)
        accept_first(space.tx, first)
        space.add(session)
        return self._received(space, session, SessionRef(first.base_key, initiated=False), content, now, started=True)

    def _received(
        self, space: Workspace, session: Session, ref: SessionRef, content: bytes, now: float, *, started: bool = False
    ) -> Received:
        space.used(session)
        parsed = parse(content)
        settle(space, session, ref, self.limits, reset=isinstance(parsed, Reset), now=now)
        return Received(session.peer_user, session.peer_device, parsed, session.peer_signing, started)

    def _begin(self, tx: Transaction, bundle: Bundle, *, reset: bool, now: float) -> Session:
        space, certificate = self._workspace(tx), bundle.certificate
        if (certificate.user_id, certificate.device_id) not in self.recipients(tx, certificate.user_id):
            raise UntrustedIdentity("the bundle is not that of a device on the known list of its user", new=certificate.signing)
        known = space.certificate(certificate.user_id, certificate.device_id)
        if known is None or known.encoded != certificate.encoded:
            raise UntrustedIdentity("the bundle holds another certificate than the one that is known", new=certificate.signing)
        session = initiate(
            self.local,
            bundle,
            self.policy,
            random=self.random,
            now=now,
            encapsulate=self._encapsulate,
            limits=self.limits,
        )
        begin(space, session, reset=reset, now=now)
        return session

    def _sending(self, tx: Transaction, address: Address, now: float) -> Session | None:
        return sending_session(self._workspace(tx), *address, self.limits, now=now)

    def _encrypt(self, tx: Transaction, session: Session, encoded: bytes, now: float) -> Outgoing:
        message = session.encrypt(encoded, random=self.random, now=now)
        self._workspace(tx).used(session)
        return Outgoing(session.peer_user, session.peer_device, message)

    def _workspace(self, tx: Transaction) -> Workspace:
        """One for each transaction, whoever calls the steps in it."""
        if self._space is None or self._space.tx is not tx:
            self._space = Workspace(tx, self._cache, self.limits)
        return self._space
