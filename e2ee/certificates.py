"""What devices a user has: device certificates and device lists, both signed by the account key (the profile's section 2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from e2ee.encoding import Reader, check_device_id, fixed, lp, u8, u16, u32, u64, user_bytes
from e2ee.errors import DeviceListRollback, LimitReached, MalformedMessage, UnsupportedVersion, UntrustedIdentity
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.primitives import KEY_BYTES, SIGNATURE_BYTES, KeyPair, check_agreement_key, sha256, sign, verify

__all__ = ["NO_HASH", "DeviceCertificate", "DeviceList", "device_key_signature", "issue_certificate", "issue_device_list"]

_VERSION = 1
_MAX_SUITES = 8
# The same certificate comes with a device list, with each bundle and with a linked device: it is read and verified once. What
# is kept is public, and a failure is not. 1,024 devices are those of the largest group, and a kilobyte each stays near a megabyte.
_KEPT_CERTIFICATES = 1_024
_HASH_BYTES = 32
# What the first list of an account names as the one before it.
NO_HASH = bytes(_HASH_BYTES)


def _check_suites(suites: tuple[int, ...]) -> None:
    if not 1 <= len(suites) <= _MAX_SUITES or list(suites) != sorted(set(suites)):
        raise MalformedMessage(f"a certificate lists the suites {suites}; they must be 1 to {_MAX_SUITES}, rising")


def _check_version(version: int, what: str) -> None:
    if version != _VERSION:
        raise UnsupportedVersion(f"a {what} has version {version}; this release reads {_VERSION}")


def _device_key_body(user: bytes, device_id: int, signing_public: bytes, agreement_public: bytes) -> bytes:
    return lp(user) + u32(device_id) + signing_public + agreement_public


def device_key_signature(signing: KeyPair, user_id: str, device_id: int, agreement_public: bytes) -> bytes:
    """The device's own signature over both of its public keys, which binds them to each other and to the device.

    Raises `MalformedMessage` for an id that the profile does not allow, `InvalidKey` for an agreement key of small order.
    """
    user, device = user_bytes(user_id), check_device_id(device_id)
    return sign(signing, "device-key", _device_key_body(user, device, signing.public, check_agreement_key(agreement_public)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCertificate:
    """The account key's word that a device belongs to its user, with the device's keys and suites.

    One that was parsed is not trusted before `verify`, and then only as far as its ``account`` key is: whether that is the key of
    ``user_id`` is the caller's question.
    """

    user_id: str
    device_id: int
    account: bytes
    signing: bytes
    agreement: bytes
    created: int
    suites: tuple[int, ...]
    device_signature: bytes = field(repr=False)
    encoded: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the whole certificate, by which a device list names it."""
        return sha256(self.encoded)

    @staticmethod
    def parse(data: bytes) -> DeviceCertificate:
        """Read a certificate without checking signatures or keys; `MalformedMessage` for anything that is not laid out as one."""
        return _parse_certificate(data)

    def verify(self) -> None:
        """Check both signatures and all three keys: `BadSignature` or `InvalidKey`."""
        _verify_certificate(self.encoded)

    def check_follows(self, known: DeviceCertificate) -> None:
        """`UntrustedIdentity` unless this is the same device with the same signing key, which a device id keeps for ever."""
        if (self.user_id, self.device_id) != (known.user_id, known.device_id):
            raise UntrustedIdentity("a certificate is that of another device", old=known.signing, new=self.signing)
        if self.signing != known.signing:
            raise UntrustedIdentity("a known device has another signing key", old=known.signing, new=self.signing)


@lru_cache(maxsize=_KEPT_CERTIFICATES)
def _parse_certificate(data: bytes) -> DeviceCertificate:
    reader = Reader(data)
    _check_version(reader.u8(), "device certificate")
    user_id, device_id = reader.user(), reader.device_id()
    account, signing, agreement = reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.take(KEY_BYTES)
    created = reader.u64()
    suites = tuple(reader.take(reader.u8()))
    _check_suites(suites)
    device_signature = reader.take(SIGNATURE_BYTES)
    reader.take(SIGNATURE_BYTES)
    reader.done()
    return DeviceCertificate(
        user_id=user_id,
        device_id=device_id,
        account=account,
        signing=signing,
        agreement=agreement,
        created=created,
        suites=suites,
        device_signature=device_signature,
        encoded=data,
    )


@lru_cache(maxsize=_KEPT_CERTIFICATES)
def _verify_certificate(encoded: bytes) -> None:
    certificate = DeviceCertificate.parse(encoded)
    check_agreement_key(certificate.agreement)
    user = user_bytes(certificate.user_id)
    body = _device_key_body(user, certificate.device_id, certificate.signing, certificate.agreement)
    verify(certificate.signing, "device-key", body, certificate.device_signature)
    verify(certificate.account, "device-cert", encoded[:-SIGNATURE_BYTES], encoded[-SIGNATURE_BYTES:])


def issue_certificate(
    account: KeyPair,
    *,
    user_id: str,
    device_id: int,
    signing_public: bytes,
    agreement_public: bytes,
    device_signature: bytes,
    created: int,
    suites: tuple[int, ...],
) -> DeviceCertificate:
    """Sign a device into the account, after checking that the device vouches for its own keys.

    ``created`` is in Unix seconds, ``suites`` rise. Raises `BadSignature` or `InvalidKey` for keys that do not belong together,
    `MalformedMessage` for values that the layout cannot carry.
    """
    _check_suites(suites)
    user, device = user_bytes(user_id), check_device_id(device_id)
    keys = account.public + fixed(signing_public, KEY_BYTES) + fixed(agreement_public, KEY_BYTES)
    body = u8(_VERSION) + lp(user) + u32(device) + keys + u64(created) + u8(len(suites)) + bytes(suites)
    signed = body + fixed(device_signature, SIGNATURE_BYTES)
    certificate = DeviceCertificate.parse(signed + sign(account, "device-cert", signed))
    certificate.verify()
    return certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceList:
    """All devices of a user, numbered and chained by hash, so that a server can hide neither a device nor its removal for long.

    ``devices`` are pairs of device id and certificate hash, rising by id. One that was parsed is not trusted before `verify`, and
    then only as far as its ``account`` key is.
    """

    user_id: str
    account: bytes
    seq: int
    prev_hash: bytes
    created: int
    devices: tuple[tuple[int, bytes], ...]
    encoded: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the whole list, which its successor names."""
        return sha256(self.encoded)

    @staticmethod
    def parse(data: bytes, limits: Limits = DEFAULT_LIMITS) -> DeviceList:
        """Read a list without checking its signature; `MalformedMessage` for anything that is not laid out as one."""
        reader = Reader(data)
        _check_version(reader.u8(), "device list")
        user_id, account = reader.user(), reader.take(KEY_BYTES)
        seq, prev_hash, created, count = reader.u64(), reader.take(_HASH_BYTES), reader.u64(), reader.u16()
        if seq < 1 or (seq == 1 and prev_hash != NO_HASH):
            raise MalformedMessage("a device list is numbered from 1, and the first has none before it")
        if count > limits.max_devices:
            raise MalformedMessage(f"a device list names {count} devices; it may name {limits.max_devices} (max_devices)")
        devices = tuple((reader.device_id(), reader.take(_HASH_BYTES)) for _ in range(count))
        if any(this[0] >= following[0] for this, following in zip(devices, devices[1:], strict=False)):
            raise MalformedMessage("the devices of a list do not rise")
        reader.take(SIGNATURE_BYTES)
        reader.done()
        return DeviceList(
            user_id=user_id, account=account, seq=seq, prev_hash=prev_hash, created=created, devices=devices, encoded=data
        )

    def verify(self) -> None:
        """Check the signature under the list's own account key: `BadSignature` or `InvalidKey`."""
        verify(self.account, "device-list", self.encoded[:-SIGNATURE_BYTES], self.encoded[-SIGNATURE_BYTES:])

    def includes(self, certificate: DeviceCertificate) -> bool:
        """Whether this very certificate is on the list, for the same user and under the same account key."""
        same_account = certificate.user_id == self.user_id and certificate.account == self.account
        return same_account and (certificate.device_id, certificate.hash) in self.devices

    def check_follows(self, known: DeviceList) -> None:
        """Check that this list may take the place of ``known``, or is the same.

        Raises `UntrustedIdentity` for another user or account key, `DeviceListRollback` for an older list, another one under the
        same number, or a direct successor that does not name the known one.
        """
        if self.user_id != known.user_id or self.account != known.account:
            raise UntrustedIdentity("a device list is under another account key", old=known.account, new=self.account)
        if self.seq < known.seq:
            raise DeviceListRollback(f"a device list has number {self.seq}; {known.seq} is known")
        if self.seq == known.seq and self.hash != known.hash:
            raise DeviceListRollback(f"there are two device lists with number {self.seq}")
        if self.seq == known.seq + 1 and self.prev_hash != known.hash:
            raise DeviceListRollback(f"device list {self.seq} does not follow from the one before it")


def issue_device_list(
    account: KeyPair,
    *,
    user_id: str,
    created: int,
    certificates: tuple[DeviceCertificate, ...],
    previous: DeviceList | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> DeviceList:
    """Sign the list of a user's devices that follows ``previous``, or the first one.

    Raises `UntrustedIdentity` for a certificate of another user or account, `LimitReached` for more devices than ``limits`` allows,
    `MalformedMessage` for the same device twice.
    """
    if len(certificates) > limits.max_devices:
        raise LimitReached(f"{len(certificates)} devices; an account may have {limits.max_devices} (max_devices)")
    for certificate in certificates:
        if certificate.user_id != user_id or certificate.account != account.public:
            raise UntrustedIdentity("a certificate is not of this account", old=account.public, new=certificate.account)
    named = b"".join(u32(device) + digest for device, digest in sorted((known.device_id, known.hash) for known in certificates))
    seq, prev_hash = (1, NO_HASH) if previous is None else (previous.seq + 1, previous.hash)
    head = u8(_VERSION) + lp(user_bytes(user_id)) + account.public + u64(seq) + prev_hash + u64(created)
    body = head + u16(len(certificates)) + named
    issued = DeviceList.parse(body + sign(account, "device-list", body), limits)
    if previous is not None:
        issued.check_follows(previous)
    return issued
