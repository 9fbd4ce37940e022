"""Linking a device to an account: both sides as state machines without any I/O (the profile's section 12).

The new device shows an offer as a QR code; the primary, which holds the account key, scans it. The other three messages go through
the server. Both then show six digits, and a person says whether they are the same: only that keeps the server out. The new device
commits to a random value in its offer and tells it last, so nobody can look for keys that give the digits of the other side; for
the same reason each side takes one proposal or answer only, and a new try needs a new offer.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import Enum, auto

from e2ee.certificates import DeviceCertificate, DeviceList, device_key_signature, issue_certificate
from e2ee.encoding import Reader, check_device_id, lp, u8, u32, user_bytes
from e2ee.errors import MalformedMessage, UnsupportedVersion, UntrustedIdentity
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.primitives import (
    AESGCM,
    EMPTY_SALT,
    KEY_BYTES,
    NONCE_BYTES,
    PREFIX,
    SIGNATURE_BYTES,
    KeyPair,
    NoPickle,
    Random,
    agree,
    agreement_pair,
    check_agreement_key,
    check_signing_key,
    hkdf,
    open_sealed,
    sha256,
    system_random,
)
from salam import RequestError

__all__ = ["LinkOffer", "LinkState", "NewDevice", "PrimaryDevice"]

_MAGIC = b"SLL1"
_VERSION = 1
_MAX_SUITES = 8
_HASH_BYTES = 32
_CODE_BYTES = 8
_CODE_DIGITS = 6
_STEP_COMPLETE = b"\x04"


class LinkState(Enum):
    """How far one side is. `CODE`: the digits are shown, and nothing goes on before a person has confirmed them."""

    STARTED = auto()
    PROPOSED = auto()
    CODE = auto()
    CONFIRMED = auto()
    LINKED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOffer:
    """What the new device shows as a QR code: its keys, and the commitment to a random value."""

    ephemeral: bytes
    signing: bytes
    agreement: bytes
    suites: tuple[int, ...]
    commitment: bytes

    def encode(self) -> bytes:
        keys = self.ephemeral + self.signing + self.agreement
        return _MAGIC + keys + u8(len(self.suites)) + bytes(self.suites) + self.commitment

    @staticmethod
    def parse(data: bytes) -> LinkOffer:
        """Read what a camera saw, without checking the keys; `MalformedMessage` for anything that is not laid out as an offer."""
        reader = Reader(data)
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise MalformedMessage("this is no offer of a device")
        ephemeral, signing, agreement = reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.take(KEY_BYTES)
        suites = tuple(reader.take(reader.u8()))
        if not 1 <= len(suites) <= _MAX_SUITES or list(suites) != sorted(set(suites)):
            raise MalformedMessage(f"an offer lists the suites {suites}; they must be 1 to {_MAX_SUITES}, rising")
        commitment = reader.take(_HASH_BYTES)
        reader.done()
        return LinkOffer(ephemeral=ephemeral, signing=signing, agreement=agreement, suites=suites, commitment=commitment)


def _commitment(nonce: bytes) -> bytes:
    return sha256(PREFIX, b"link-commit", nonce)


class _Channel(NoPickle):
    """The two keys that both sides agree on, and what every message between them is bound to."""

    __slots__ = ("_bound", "_new_device", "_primary")

    def __init__(self, agreed: bytes, offer: bytes, primary_ephemeral: bytes) -> None:
        self._bound = sha256(offer) + primary_ephemeral
        keys = hkdf(EMPTY_SALT, agreed, PREFIX + b"link" + self._bound, 2 * KEY_BYTES)
        self._primary, self._new_device = keys[:KEY_BYTES], keys[KEY_BYTES:]

    def seal(self, plain: bytes, *, by_primary: bool, random: Random, step: bytes = b"") -> bytes:
        nonce = random(NONCE_BYTES)
        key = self._primary if by_primary else self._new_device
        return nonce + AESGCM(key).encrypt(nonce, plain, self._bound + step)

    def open(self, sealed: Reader, *, by_primary: bool, step: bytes = b"") -> Reader:
        key = self._primary if by_primary else self._new_device
        nonce = sealed.take(NONCE_BYTES)
        return Reader(open_sealed(key, nonce, sealed.rest(), self._bound + step))


def _message(data: bytes) -> Reader:
    """What follows the version of a message."""
    reader = Reader(data)
    version = reader.u8()
    if version != _VERSION:
        raise UnsupportedVersion(f"a linking message has version {version}; this release reads {_VERSION}")
    return reader


def _code(nonce: bytes, offer: bytes, proposal: bytes) -> str:
    number = int.from_bytes(hkdf(nonce, sha256(offer, proposal), PREFIX + b"link-code", _CODE_BYTES), "big")
    return f"{number % 10**_CODE_DIGITS:0{_CODE_DIGITS}d}"


class _Side(NoPickle):
    """Where a side is, and the digits that it shows."""

    __slots__ = ("_shown", "_state")

    def __init__(self) -> None:
        self._state = LinkState.STARTED
        self._shown = ""

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def code(self) -> str:
        """The six digits to show; `salam.RequestError` before there are any."""
        if not self._shown:
            raise RequestError("there is no code yet")
        return self._shown

    def confirm(self) -> None:
        """A person has seen the same digits on both screens. If they differ, drop this object: somebody stands between."""
        self._expect(LinkState.CODE)
        self._state = LinkState.CONFIRMED

    def _expect(self, state: LinkState) -> None:
        if self._state is not state:
            raise RequestError(f"linking is at {self._state.name.lower()}, and this comes at {state.name.lower()}")


class NewDevice(_Side):
    """The side of the device that joins an account: `offer`, `propose` (read the proposal), `confirm`, `complete`.

    Draws the ephemeral seed (32) and the committed value (32) when it is made, and one nonce (12) for its answer.
    """

    __slots__ = (
        "_account",
        "_agreement",
        "_channel",
        "_device_id",
        "_ephemeral",
        "_nonce",
        "_offer",
        "_random",
        "_signing",
        "_user_id",
    )

    def __init__(self, *, signing: KeyPair, agreement: KeyPair, suites: tuple[int, ...], random: Random = system_random) -> None:
        super().__init__()
        self._signing = signing
        self._agreement = agreement
        self._random = random
        self._ephemeral = agreement_pair(random(KEY_BYTES))
        self._nonce = random(KEY_BYTES)
        offer = LinkOffer(
            ephemeral=self._ephemeral.public,
            signing=signing.public,
            agreement=agreement.public,
            suites=suites,
            commitment=_commitment(self._nonce),
        )
        self._offer = LinkOffer.parse(offer.encode()).encode()
        self._channel: _Channel | None = None
        self._user_id, self._device_id, self._account = "", 0, b""

    @property
    def offer(self) -> bytes:
        """What to show as a QR code."""
        return self._offer

    @property
    def user_id(self) -> str:
        """The user that the proposal names; empty before."""
        return self._user_id

    @property
    def device_id(self) -> int:
        """The device id that the proposal gives; 0 before."""
        return self._device_id

    @property
    def account(self) -> bytes:
        """The account key that the proposal names; empty before. It is not to be trusted before `complete`."""
        return self._account

    def propose(self, proposal: bytes) -> bytes:
        """Read the primary's proposal and give the answer to send; the digits can be shown from here on.

        Only one proposal is ever read. Raises `MalformedMessage`, `InvalidKey`, or `DecryptionFailed` for one that is not meant for
        this offer, which changes nothing; `salam.RequestError` after the first.
        """
        self._expect(LinkState.STARTED)
        reader = _message(proposal)
        primary = reader.take(KEY_BYTES)
        channel = _Channel(agree(self._ephemeral.secret, primary), self._offer, primary)
        body = channel.open(reader, by_primary=True)
        user_id, device_id, account = body.user(), body.device_id(), check_signing_key(body.take(KEY_BYTES))
        body.done()
        signature = device_key_signature(self._signing, user_id, device_id, self._agreement.public)
        accept = u8(_VERSION) + channel.seal(self._nonce + signature, by_primary=False, random=self._random)
        self._channel = channel
        self._user_id, self._device_id, self._account = user_id, device_id, account
        self._shown = _code(self._nonce, self._offer, proposal)
        self._state = LinkState.CODE
        return accept

    def complete(self, message: bytes, *, limits: Limits = DEFAULT_LIMITS) -> tuple[DeviceCertificate, DeviceList]:
        """Read the last message: this device's certificate and the account's device list, both checked.

        Only after `confirm`. Raises `MalformedMessage` or `DecryptionFailed` for other bytes, `BadSignature`, `InvalidKey` and
        `UntrustedIdentity` for a certificate or list that is not this device's on that account; nothing is changed then.
        """
        self._expect(LinkState.CONFIRMED)
        assert self._channel is not None
        body = self._channel.open(_message(message), by_primary=True, step=_STEP_COMPLETE)
        certificate, devices = DeviceCertificate.parse(body.lp()), DeviceList.parse(body.rest(), limits)
        certificate.verify()
        devices.verify()
        expected = (self._user_id, self._device_id, self._account, self._signing.public, self._agreement.public)
        named = (certificate.user_id, certificate.device_id, certificate.account, certificate.signing, certificate.agreement)
        if named != expected or not devices.includes(certificate):
            raise UntrustedIdentity("the certificate or the device list is not that of this device", new=certificate.account)
        self._state = LinkState.LINKED
        return certificate, devices


class PrimaryDevice(_Side):
    """The side of the device that holds the account key: `propose`, `accept`, `confirm`, `certificate`, `complete`.

    Draws the ephemeral seed (32) and a nonce (12) for the proposal, and a nonce (12) for the last message.
    """

    __slots__ = ("_account", "_certificate", "_channel", "_device_id", "_offer", "_proposal", "_random", "_signature", "_user_id")

    def __init__(self, account: KeyPair, *, user_id: str, device_id: int, random: Random = system_random) -> None:
        super().__init__()
        user_bytes(user_id)
        self._account = account
        self._user_id = user_id
        self._device_id = check_device_id(device_id)
        self._random = random
        self._offer: LinkOffer | None = None
        self._channel: _Channel | None = None
        self._proposal = b""
        self._signature = b""
        self._certificate: DeviceCertificate | None = None

    def propose(self, offer: bytes) -> bytes:
        """Read the scanned offer and give the proposal to send; `MalformedMessage` or `InvalidKey` for what is no offer."""
        self._expect(LinkState.STARTED)
        parsed = LinkOffer.parse(offer)
        check_signing_key(parsed.signing)
        check_agreement_key(parsed.agreement)
        check_agreement_key(parsed.ephemeral)
        ephemeral = agreement_pair(self._random(KEY_BYTES))
        channel = _Channel(agree(ephemeral.secret, parsed.ephemeral), offer, ephemeral.public)
        named = lp(user_bytes(self._user_id)) + u32(self._device_id) + self._account.public
        self._proposal = u8(_VERSION) + ephemeral.public + channel.seal(named, by_primary=True, random=self._random)
        self._offer, self._channel = parsed, channel
        self._state = LinkState.PROPOSED
        return self._proposal

    def accept(self, message: bytes) -> None:
        """Read the new device's answer; the digits can be shown from here on.

        Raises `MalformedMessage` or `DecryptionFailed` for other bytes, `UntrustedIdentity` for a value that the offer did not
        commit to; nothing is changed then.
        """
        self._expect(LinkState.PROPOSED)
        assert self._offer is not None
        assert self._channel is not None
        body = self._channel.open(_message(message), by_primary=False)
        nonce, signature = body.take(KEY_BYTES), body.take(SIGNATURE_BYTES)
        body.done()
        if not hmac.compare_digest(_commitment(nonce), self._offer.commitment):
            raise UntrustedIdentity("the new device tells another value than the one that it committed to", new=self._offer.signing)
        self._signature = signature
        self._shown = _code(nonce, self._offer.encode(), self._proposal)
        self._state = LinkState.CODE

    def certificate(self, *, created: int) -> DeviceCertificate:
        """Sign the new device into the account, after `confirm`; ``created`` in Unix seconds. The caller puts it on a new list.

        Raises `BadSignature` when the new device did not sign its own keys.
        """
        self._expect(LinkState.CONFIRMED)
        assert self._offer is not None
        self._certificate = issue_certificate(
            self._account,
            user_id=self._user_id,
            device_id=self._device_id,
            signing_public=self._offer.signing,
            agreement_public=self._offer.agreement,
            device_signature=self._signature,
            created=created,
            suites=self._offer.suites,
        )
        return self._certificate

    def complete(self, devices: DeviceList) -> bytes:
        """The last message, with the certificate and a device list that has it; `UntrustedIdentity` for another list."""
        self._expect(LinkState.CONFIRMED)
        assert self._channel is not None
        if self._certificate is None or not devices.includes(self._certificate):
            raise UntrustedIdentity("the new device is not on the device list", new=devices.account)
        plain = lp(self._certificate.encoded) + devices.encoded
        sealed = u8(_VERSION) + self._channel.seal(plain, by_primary=True, random=self._random, step=_STEP_COMPLETE)
        self._state = LinkState.LINKED
        return sealed
