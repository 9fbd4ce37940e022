"""What is known of other users: the trusted account key, the signed device list, the certificates.

The first account key of a user is trusted as it comes (trust on first use); another one later blocks sending until a person has
accepted it. A device list never goes back, and a device id keeps its signing key for as long as its account key lives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from e2ee.certificates import DeviceCertificate, DeviceList
from e2ee.encoding import user_bytes
from e2ee.errors import LimitReached, MalformedMessage, NoSession, UntrustedIdentity
from e2ee.limits import Limits
from e2ee.primitives import check_signing_key
from e2ee.records import DEVICE_LISTS, Peer, certificates_table
from e2ee.workspace import Workspace

__all__ = ["Learned", "accept_identity", "known_list", "learn", "set_verified", "trusted_peer"]

# Devices that one account may ever have had, at 300 bytes each: the certificates of removed ones are kept, for the chain of a group
# may name them, and so that no id comes back with another key.
_MAX_CERTIFICATES = 1_024


@dataclass(frozen=True, slots=True)
class Learned:
    """What a device list changed: device ids that came and that are gone.

    ``refused`` is set when the list is under another account key than the trusted one. Then nothing was learned but that key, and
    nothing is sent to the user until a person has decided.
    """

    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    refused: UntrustedIdentity | None = None


def trusted_peer(space: Workspace, user_id: str) -> Peer:
    """What is known of a user to whom something is to be sent: `NoSession` without a list, `UntrustedIdentity` while blocked."""
    peer = space.peer(user_id)
    if peer is None or not peer.devices:
        raise NoSession("no device of that user is known; learn its device list first")
    if peer.offered is not None:
        raise _changed(peer, peer.offered)
    return peer


def known_list(space: Workspace, user_id: str) -> DeviceList | None:
    """The newest device list of a user, or None."""
    record = space.tx.get(DEVICE_LISTS, user_bytes(user_id))
    return None if record is None else DeviceList.parse(record)


def learn(
    space: Workspace, user_id: str, device_list: DeviceList, certificates: Iterable[DeviceCertificate], limits: Limits
) -> Learned:
    """Take a user's device list and the certificates that it names; those that are known already need not be given again.

    Raises `MalformedMessage` for the list of somebody else or a certificate that is missing, `BadSignature` and `InvalidKey`,
    `DeviceListRollback`, and `UntrustedIdentity` for a known device with another signing key.
    """
    if device_list.user_id != user_id:
        raise MalformedMessage("the device list is that of another user")
    device_list.verify()
    peer = space.peer(user_id) or Peer(device_list.account)
    if device_list.account != peer.account:
        if peer.offered != device_list.account:
            space.set_peer(user_id, replace(peer, offered=device_list.account))
        return Learned(refused=_changed(peer, device_list.account))
    known = known_list(space, user_id)
    if known is not None:
        device_list.check_follows(known)
        if device_list.seq == known.seq:
            return Learned()
    _take_certificates(space, device_list, {certificate.hash: certificate for certificate in certificates})
    if space.tx.count(certificates_table(user_id)) > _MAX_CERTIFICATES:
        raise LimitReached(f"an account has had more than {_MAX_CERTIFICATES} devices")
    devices = tuple(device_id for device_id, _ in device_list.devices)
    removed = tuple(device_id for device_id in peer.devices if device_id not in devices)
    for device_id in removed:
        space.clear_line(user_id, device_id)
    space.tx.put(DEVICE_LISTS, user_bytes(user_id), device_list.encoded)
    space.set_peer(user_id, replace(peer, seq=device_list.seq, devices=devices))
    return Learned(tuple(device_id for device_id in devices if device_id not in peer.devices), removed)


def accept_identity(space: Workspace, user_id: str, account: bytes) -> tuple[int, ...]:
    """A person has decided for this account key: the trusted one, the one that was met instead, or, of a stranger, any.

    With another key than the trusted one all that was known under that is dropped, sessions too; learn the device list next.
    Returns the devices that are gone with it. Raises `UntrustedIdentity` for a key that was never met, and `InvalidKey`.
    """
    peer = space.peer(user_id)
    if peer is None:
        space.set_peer(user_id, Peer(check_signing_key(account)))
    elif account == peer.account:
        space.set_peer(user_id, replace(peer, offered=None))
    elif account == peer.offered:
        for device_id in peer.devices:
            space.clear_line(user_id, device_id)
        space.tx.clear(certificates_table(user_id))
        space.tx.delete(DEVICE_LISTS, user_bytes(user_id))
        space.set_peer(user_id, Peer(account))
        return peer.devices
    else:
        raise _changed(peer, account)
    return ()


def set_verified(space: Workspace, user_id: str, account: bytes, *, verified: bool) -> None:
    """Note whether a person has compared the user's account key; `UntrustedIdentity` unless it is the trusted one."""
    peer = space.peer(user_id)
    if peer is None or peer.account != account:
        old = None if peer is None else peer.account
        raise UntrustedIdentity("that is not the trusted account key of the user", old=old, new=account)
    space.set_peer(user_id, replace(peer, verified=verified))


def _changed(peer: Peer, account: bytes) -> UntrustedIdentity:
    message = "the account key of the user is another one than the trusted one; compare the safety number, then accept a key"
    return UntrustedIdentity(message, old=peer.account, new=account)


def _take_certificates(space: Workspace, device_list: DeviceList, given: dict[bytes, DeviceCertificate]) -> None:
    """Store the certificates of a list that are new; each is checked as if it were the only one."""
    for device_id, digest in device_list.devices:
        known = space.certificate(device_list.user_id, device_id)
        if known is not None and known.hash == digest:
            continue
        certificate = given.get(digest)
        if certificate is None:
            raise MalformedMessage("the device list names a certificate that is neither known nor given")
        certificate.verify()
        if not device_list.includes(certificate):
            raise UntrustedIdentity(
                "a certificate is not of the account of its list", old=device_list.account, new=certificate.account
            )
        if known is not None:
            certificate.check_follows(known)
        space.set_certificate(certificate)
