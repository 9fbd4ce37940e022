"""Sealed sender: a message whose envelope tells the server whom it is for, and not whom it is from (the profile's section 8)."""

from __future__ import annotations

from dataclasses import dataclass, field

from e2ee.certificates import DeviceCertificate
from e2ee.encoding import Reader, check_device_id, fixed, lp, u8, u32, u64, user_bytes
from e2ee.errors import MalformedMessage, UnsupportedSuite, UnsupportedVersion, UntrustedIdentity
from e2ee.hpke import ENCAPSULATED_BYTES, hpke_open, hpke_seal
from e2ee.limits import DAY_S, SUITE_X25519
from e2ee.primitives import KEY_BYTES, PREFIX, SIGNATURE_BYTES, KeyPair, Random, sign, system_random, verify

__all__ = ["SenderCertificate", "issue_sender_certificate", "open_sender", "seal_sender"]

_VERSION = 1
_TYPE_SEALED = 5
_INNER_TYPES = (1, 2)
_HEAD = bytes((_VERSION, _TYPE_SEALED, SUITE_X25519, 0))
_KIND = "sender-cert"


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderCertificate:
    """The server's word, good for a day, that a device is that of a user. One that was parsed is not trusted before `verify`."""

    user_id: str
    device_id: int
    signing: bytes
    expires: int
    encoded: bytes = field(repr=False)

    @staticmethod
    def parse(data: bytes) -> SenderCertificate:
        """Read a certificate without checking its signature; `MalformedMessage` for anything that is not laid out as one."""
        reader = Reader(data)
        version = reader.u8()
        if version != _VERSION:
            raise UnsupportedVersion(f"a sender certificate has version {version}; this release reads {_VERSION}")
        user_id, device_id = reader.user(), reader.device_id()
        signing, expires = reader.take(KEY_BYTES), reader.u64()
        reader.take(SIGNATURE_BYTES)
        reader.done()
        return SenderCertificate(user_id=user_id, device_id=device_id, signing=signing, expires=expires, encoded=data)

    def verify(self, server: bytes, *, now: float) -> None:
        """Check the signature under the server's key, and the time in Unix seconds.

        Raises `BadSignature` or `InvalidKey`, and `UntrustedIdentity` for one that is past or names a time more than a day ahead.
        """
        verify(server, _KIND, self.encoded[:-SIGNATURE_BYTES], self.encoded[-SIGNATURE_BYTES:])
        if not now <= self.expires <= now + DAY_S:
            raise UntrustedIdentity("a sender certificate is not of these 24 hours", new=self.signing)


def issue_sender_certificate(
    server: KeyPair, *, user_id: str, device_id: int, signing_public: bytes, expires: int
) -> SenderCertificate:
    """What a server signs for a device that has proved who it is; ``expires`` in Unix seconds, at most a day ahead."""
    named = lp(user_bytes(user_id)) + u32(check_device_id(device_id))
    body = u8(_VERSION) + named + fixed(signing_public, KEY_BYTES) + u64(expires)
    return SenderCertificate.parse(body + sign(server, _KIND, body))


def _info(certificate: DeviceCertificate) -> bytes:
    return PREFIX + b"sealed" + certificate.hash


def _check_inner(message: bytes) -> bytes:
    if len(message) < 2 or message[0] != _VERSION or message[1] not in _INNER_TYPES:
        raise MalformedMessage("a sealed message holds no message of a session")
    return message


def seal_sender(
    recipient: DeviceCertificate, sender: SenderCertificate, message: bytes, *, random: Random = system_random
) -> bytes:
    """A message of type 5 around one of type 1 or 2, for one device, whose certificate was verified; draws 32 bytes.

    Raises `MalformedMessage` when ``message`` is none of a session, `InvalidKey` for a bad agreement key.
    """
    plain = lp(sender.encoded) + _check_inner(message)
    return _HEAD + hpke_seal(recipient.agreement, plain, info=_info(recipient), aad=_HEAD, random=random)


def open_sender(
    own: DeviceCertificate, agreement: KeyPair, sealed: bytes, *, server: bytes, now: float
) -> tuple[SenderCertificate, bytes]:
    """Who sent a message of type 5, and the message of type 1 or 2 in it.

    The caller lets exactly that user's device with that signing key read the message: the certificate alone is the server's word.
    ``server`` is the server's public key, ``now`` in Unix seconds. Raises `MalformedMessage` for other bytes, `DecryptionFailed` or
    `InvalidKey` for what was not sealed for this device, and as `SenderCertificate.verify`.
    """
    head = Reader(sealed)
    version, kind, suite, flags = head.u8(), head.u8(), head.u8(), head.u8()
    if version != _VERSION:
        raise UnsupportedVersion(f"a message has version {version}; this release reads {_VERSION}")
    if kind != _TYPE_SEALED or flags:
        raise MalformedMessage("this is no sealed message")
    if suite != SUITE_X25519:
        raise UnsupportedSuite(f"a sealed message has suite {suite}; this release reads {SUITE_X25519}")
    encapsulated = head.take(ENCAPSULATED_BYTES)
    inside = Reader(hpke_open(agreement, encapsulated + head.rest(), info=_info(own), aad=_HEAD))
    sender = SenderCertificate.parse(inside.lp())
    message = _check_inner(inside.rest())
    sender.verify(server, now=now)
    return sender, message
