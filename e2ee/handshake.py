"""The handshake: X3DH, with ML-KEM-768 in suite 2 (the profile's section 4). Neither side keeps anything of one that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from e2ee.certificates import DeviceCertificate
from e2ee.encoding import lp, u8, u32, user_bytes
from e2ee.errors import DowngradeRefused, PreKeysExhausted, UnknownPreKey, UntrustedIdentity
from e2ee.limits import DEFAULT_LIMITS, SUITE_PQ, SUITE_X25519, Limits, Policy
from e2ee.prekey_message import PreKeyMessage as PreKeyMessage
from e2ee.prekey_message import encode_outer
from e2ee.prekeys import Bundle
from e2ee.primitives import (
    EMPTY_SALT,
    KEY_BYTES,
    PREFIX,
    KeyPair,
    NoPickle,
    Random,
    agree,
    agreement_pair,
    decapsulate,
    encapsulate,
    hkdf,
    sha256,
    system_random,
)
from e2ee.ratchet import Ratchet
from e2ee.session import Session

__all__ = ["LocalDevice", "PreKeyMessage", "PreKeySecrets", "choose_suite", "initiate", "respond"]

_VERSION = 1
# The best first.
_KNOWN_SUITES = (SUITE_PQ, SUITE_X25519)
# X3DH section 2.2: sets the input apart from that of XEdDSA, and shows a reviewer the same construction.
_X3DH_START = b"\xff" * 32
_ABSENT, _LAST_RESORT, _ONE_TIME = b"\x00", b"\x01", b"\x02"


@dataclass(frozen=True, slots=True)
class LocalDevice(NoPickle):
    """This device: its certificate and the two pairs that the certificate names."""

    certificate: DeviceCertificate
    signing: KeyPair
    agreement: KeyPair


@dataclass(frozen=True, slots=True)
class PreKeySecrets(NoPickle):
    """The pairs of the prekeys that a first message names: X25519, X25519 and ML-KEM-768."""

    signed: KeyPair
    one_time: KeyPair | None = None
    kem: KeyPair | None = None


def choose_suite(own: tuple[int, ...], theirs: tuple[int, ...], policy: Policy) -> int:
    """The highest suite that both certificates list; `DowngradeRefused` without one, or below the policy."""
    suite = next((known for known in _KNOWN_SUITES if known in own and known in theirs), 0)
    if suite < policy.min_suite:
        raise DowngradeRefused(f"the best common suite is {suite or 'none'}; the policy wants {policy.min_suite} (min_suite)")
    return suite


@dataclass(frozen=True, slots=True)
class _Kem:
    public: bytes
    once: bool
    ciphertext: bytes
    secret: bytes = field(repr=False)

    def transcript_part(self) -> bytes:
        return (_ONE_TIME if self.once else _LAST_RESORT) + self.public + self.ciphertext


def _transcript(
    suite: int,
    initiator: DeviceCertificate,
    responder: DeviceCertificate,
    base_key: bytes,
    signed: bytes,
    one_time: bytes | None,
    kem: _Kem | None,
) -> bytes:
    first, second = user_bytes(initiator.user_id), user_bytes(responder.user_id)
    return sha256(
        PREFIX,
        b"transcript",
        u8(_VERSION) + u8(suite),
        lp(first) + u32(initiator.device_id),
        lp(second) + u32(responder.device_id),
        initiator.signing + initiator.agreement,
        responder.signing + responder.agreement,
        base_key + signed,
        _ABSENT if one_time is None else b"\x01" + one_time,
        _ABSENT if kem is None else kem.transcript_part(),
    )


def _root_keys(suite: int, transcript: bytes, agreements: list[bytes], kem: _Kem | None) -> bytes:
    """RK, HK and NHK, one after the other."""
    ikm = b"".join([_X3DH_START, *agreements]) + (b"" if kem is None else kem.secret)
    return hkdf(EMPTY_SALT, ikm, PREFIX + b"x3dh" + u8(suite) + transcript, 3 * KEY_BYTES)


def _encapsulated(bundle: Bundle, suite: int, encapsulate: Callable[[bytes], tuple[bytes, bytes]]) -> _Kem | None:
    if suite != SUITE_PQ or bundle.kem is None:
        return None
    secret, ciphertext = encapsulate(bundle.kem.public)
    return _Kem(bundle.kem.public, bundle.kem_once, ciphertext, secret)


def initiate(
    local: LocalDevice,
    bundle: Bundle,
    policy: Policy,
    *,
    random: Random = system_random,
    now: float,
    encapsulate: Callable[[bytes], tuple[bytes, bytes]] = encapsulate,
    limits: Limits = DEFAULT_LIMITS,
) -> Session:
    """Begin a session with the device whose bundle this is; the bundle is verified here.

    That ``bundle.certificate`` is the one on the user's device list, under a trusted account key, is for the caller to have
    checked. ``now`` is in Unix seconds. Raises `BadSignature`, `InvalidKey`, `DowngradeRefused`, and `PreKeysExhausted` where the
    policy wants a one-time prekey.
    """
    bundle.verify()
    own, theirs = local.certificate, bundle.certificate
    suite = choose_suite(own.suites, theirs.suites, policy)
    if suite == SUITE_PQ and bundle.kem is None:
        raise DowngradeRefused("the bundle has no KEM prekey, which suite 2 needs")
    if policy.require_one_time and bundle.one_time is None:
        raise PreKeysExhausted("the bundle has no one-time prekey, which the policy wants")
    base = agreement_pair(random(KEY_BYTES))
    signed, one_time = bundle.signed.public, bundle.one_time
    agreements = [agree(local.agreement.secret, signed), agree(base.secret, theirs.agreement), agree(base.secret, signed)]
    if one_time is not None:
        agreements.append(agree(base.secret, one_time.public))
    kem = _encapsulated(bundle, suite, encapsulate)
    transcript = _transcript(suite, own, theirs, base.public, signed, one_time.public if one_time else None, kem)
    keys = _root_keys(suite, transcript, agreements, kem)
    outer = encode_outer(
        suite=suite,
        signing=own.signing,
        agreement=own.agreement,
        device_signature=own.device_signature,
        base_key=base.public,
        signed_id=bundle.signed.id,
        one_time_id=one_time.id if one_time else None,
        kem_id=bundle.kem.id if kem and bundle.kem else None,
        kem_once=kem is not None and kem.once,
        kem_ciphertext=kem.ciphertext if kem else b"",
    )
    return Session(
        peer_user=theirs.user_id,
        peer_device=theirs.device_id,
        peer_signing=theirs.signing,
        suite=suite,
        transcript=transcript,
        base_key=base.public,
        initiator=True,
        created=int(now),
        ratchet=Ratchet.initiator(suite, transcript, keys, signed, random, limits),
        outer=outer,
        limits=limits,
    )


def respond(
    local: LocalDevice,
    peer: DeviceCertificate,
    message: PreKeyMessage,
    secrets: PreKeySecrets,
    policy: Policy,
    *,
    now: float,
    limits: Limits = DEFAULT_LIMITS,
) -> Session:
    """The session of a first message, ready for `Session.decrypt` of that whole message.

    ``peer`` is the sender's certificate as it is known and was verified. Keep the session, drop the one-time prekeys and remember
    ``message.fingerprint`` only once that message has been decrypted, for nothing here proves that the sender made it. ``now`` is
    in Unix seconds. Raises `UntrustedIdentity` where the message names other keys than ``peer`` has, `DowngradeRefused`,
    `UnknownPreKey` where a prekey is named that ``secrets`` lacks, and `InvalidKey`.
    """
    if (message.signing, message.agreement, message.device_signature) != (peer.signing, peer.agreement, peer.device_signature):
        raise UntrustedIdentity("a first message is not under the known keys of its sender", old=peer.signing, new=message.signing)
    own, suite = local.certificate, message.suite
    if suite != choose_suite(own.suites, peer.suites, policy):
        raise DowngradeRefused(f"a first message has suite {suite}, which is not the best that both devices have")
    one_time = _named(message.one_time_id, secrets.one_time)
    kem_pair = _named(message.kem_id, secrets.kem)
    signed, base_key = secrets.signed, message.base_key
    agreements = [agree(signed.secret, peer.agreement), agree(local.agreement.secret, base_key), agree(signed.secret, base_key)]
    if one_time is not None:
        agreements.append(agree(one_time.secret, base_key))
    kem = None
    if kem_pair is not None:
        secret = decapsulate(kem_pair.secret, message.kem_ciphertext)
        kem = _Kem(kem_pair.public, message.kem_once, message.kem_ciphertext, secret)
    transcript = _transcript(suite, peer, own, base_key, signed.public, one_time.public if one_time else None, kem)
    keys = _root_keys(suite, transcript, agreements, kem)
    return Session(
        peer_user=peer.user_id,
        peer_device=peer.device_id,
        peer_signing=peer.signing,
        suite=suite,
        transcript=transcript,
        base_key=base_key,
        initiator=False,
        created=int(now),
        ratchet=Ratchet.responder(suite, transcript, keys, signed, limits),
        limits=limits,
    )


def _named(prekey_id: int | None, pair: KeyPair | None) -> KeyPair | None:
    if prekey_id is None:
        return None
    if pair is None:
        raise UnknownPreKey(f"a first message names the prekey {prekey_id}, which is not there")
    return pair
