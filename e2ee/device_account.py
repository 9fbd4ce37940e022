"""A device and its account in the store: making them, and what only the primary device does, which has the account key."""

from __future__ import annotations

from e2ee.certificates import DeviceCertificate, DeviceList, device_key_signature, issue_certificate, issue_device_list
from e2ee.device_steps import DeviceSteps
from e2ee.errors import LimitReached, UntrustedIdentity
from e2ee.handshake import LocalDevice
from e2ee.limits import Limits, Policy
from e2ee.primitives import KEY_BYTES, KeyPair, Random, agreement_pair, signing_pair
from e2ee.records import COUNTERS, LOCAL, LocalRecord, Peer, counter_record, read_counter
from e2ee.store.interface import Transaction
from e2ee.workspace import SessionCache, Workspace
from salam import AuthError, ConflictError, NotFoundError

__all__ = [
    "account_pair",
    "admit_device",
    "create_account",
    "keep_linked",
    "load_local",
    "local_device",
    "remove_device",
    "reserve_device_id",
]

_KEY = b"self"
_COUNTER = b"device"
# A restored account does not know which ids removed devices had, and an id never comes back with another key. So it goes on from a
# random number of 31 bits, above those of accounts that were never restored.
_RESTORED_IDS_FROM = 2**16
_RESTORED_IDS = 2**31 - _RESTORED_IDS_FROM


def local_device(record: LocalRecord) -> LocalDevice:
    """The device that a record describes."""
    certificate = DeviceCertificate.parse(record.certificate)
    return LocalDevice(certificate, signing_pair(record.signing_seed), agreement_pair(record.agreement_seed))


def load_local(tx: Transaction) -> LocalRecord:
    """Who the device of this store is; `salam.NotFoundError` where there is none yet."""
    record = tx.get(LOCAL, _KEY)
    if record is None:
        raise NotFoundError("the store holds no device yet")
    return LocalRecord.parse(record)


def create_account(
    tx: Transaction,
    user_id: str,
    *,
    account: KeyPair | None,
    previous: DeviceList | None,
    policy: Policy,
    limits: Limits,
    random: Random,
    now: float,
) -> LocalRecord:
    """The first device of an account, or the new one of an account that a backup gives back.

    ``previous`` is the newest device list of a restored account: the new one follows it, and names this device alone. Draws:
    [account 32], [device id 4, after a list], signing 32, agreement 32. Raises `salam.ConflictError` where the store holds a
    device, `UntrustedIdentity` for a list of another account, and `BadSignature`.
    """
    _check_empty(tx)
    account = signing_pair(random(KEY_BYTES)) if account is None else account
    device_id = 1
    if previous is not None:
        previous.verify()
        device_id = _RESTORED_IDS_FROM + int.from_bytes(random(4), "big") % _RESTORED_IDS
    signing, agreement = signing_pair(random(KEY_BYTES)), agreement_pair(random(KEY_BYTES))
    certificate = issue_certificate(
        account,
        user_id=user_id,
        device_id=device_id,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, user_id, device_id, agreement.public),
        created=int(now),
        suites=policy.suites,
    )
    issued = issue_device_list(
        account, user_id=user_id, created=int(now), certificates=(certificate,), previous=previous, limits=limits
    )
    record = LocalRecord(certificate.encoded, signing.secret, agreement.secret, account.secret)
    tx.put(LOCAL, _KEY, record.encode())
    tx.put(COUNTERS, _COUNTER, counter_record(device_id + 1))
    DeviceSteps(local_device(record), policy, limits, random=random).learn(tx, user_id, issued, (certificate,))
    return record


def keep_linked(
    tx: Transaction, certificate: DeviceCertificate, device_list: DeviceList, signing: KeyPair, agreement: KeyPair, limits: Limits
) -> LocalRecord:
    """This device as another one of an account, with what linking gave it.

    Only the account key is taken from the list; `Device.learn` takes the list itself, once the other certificates are there too.
    Raises `salam.ConflictError` where the store holds a device, `UntrustedIdentity` for a certificate of other keys or one that the
    list does not name, `BadSignature` and `InvalidKey`.
    """
    _check_empty(tx)
    certificate.verify()
    device_list.verify()
    if (certificate.signing, certificate.agreement) != (signing.public, agreement.public):
        raise UntrustedIdentity("the certificate is not that of this device", old=signing.public, new=certificate.signing)
    if not device_list.includes(certificate):
        raise UntrustedIdentity("the device list does not name this device", old=device_list.account, new=certificate.account)
    record = LocalRecord(certificate.encoded, signing.secret, agreement.secret, None)
    tx.put(LOCAL, _KEY, record.encode())
    space = Workspace(tx, SessionCache(), limits)
    space.set_peer(certificate.user_id, Peer(certificate.account, devices=(certificate.device_id,)))
    space.set_certificate(certificate)
    return record


def reserve_device_id(tx: Transaction, record: LocalRecord, steps: DeviceSteps) -> int:
    """An id for a device that is being linked; it is never given again. `salam.AuthError` on a device without the account key."""
    account_pair(record)
    device_id = read_counter(tx.get(COUNTERS, _COUNTER), 1)
    # After an old copy of the store came back, the counter may be behind what the account's list says.
    while steps.certificate(tx, steps.local.certificate.user_id, device_id) is not None:
        device_id += 1
    if device_id >= 2**32 - 1:
        raise LimitReached("all device ids are used up")
    tx.put(COUNTERS, _COUNTER, counter_record(device_id + 1))
    return device_id


def admit_device(
    tx: Transaction, record: LocalRecord, steps: DeviceSteps, certificate: DeviceCertificate, *, now: float
) -> DeviceList:
    """The list that names the device of ``certificate`` too, which was signed with the account key.

    Raises `salam.AuthError` without the account key, `BadSignature`, `InvalidKey`, `LimitReached` for too many devices, and
    `UntrustedIdentity` for a certificate of another account or an id that another device has or had.
    """
    account = account_pair(record)
    siblings = steps.certificates(tx, steps.local.certificate.user_id)
    others = [known for known in siblings if known.device_id != certificate.device_id]
    return _issue(tx, account, steps, (*others, certificate), now)


def remove_device(tx: Transaction, record: LocalRecord, steps: DeviceSteps, device_id: int, *, now: float) -> DeviceList:
    """Take a device off the list; it is sent nothing from now on.

    Raises `salam.AuthError` without the account key, `salam.NotFoundError` for a device that is not listed, and
    `salam.ConflictError` for this device itself.
    """
    account = account_pair(record)
    own = steps.local.certificate
    if device_id == own.device_id:
        raise ConflictError("a device does not remove itself")
    siblings = steps.certificates(tx, own.user_id)
    kept = tuple(known for known in siblings if known.device_id != device_id)
    if len(kept) == len(siblings):
        raise NotFoundError("the account has no such device")
    return _issue(tx, account, steps, kept, now)


def _check_empty(tx: Transaction) -> None:
    if tx.get(LOCAL, _KEY) is not None:
        raise ConflictError("the store holds a device already", code="device_exists")


def account_pair(record: LocalRecord) -> KeyPair:
    """The account key; `salam.AuthError` on a device that does not hold it."""
    if record.account_seed is None:
        raise AuthError("this device does not hold the account key; only the primary one does", code="not_primary_device")
    return signing_pair(record.account_seed)


def _issue(
    tx: Transaction, account: KeyPair, steps: DeviceSteps, certificates: tuple[DeviceCertificate, ...], now: float
) -> DeviceList:
    user_id = steps.local.certificate.user_id
    issued = issue_device_list(
        account,
        user_id=user_id,
        created=int(now),
        certificates=certificates,
        previous=steps.device_list(tx, user_id),
        limits=steps.limits,
    )
    steps.learn(tx, user_id, issued, certificates)
    return issued
