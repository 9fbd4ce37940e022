"""Devices, prekeys and sessions for the tests of end-to-end encryption, and the small tools of its known-answer files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.handshake import LocalDevice, PreKeyMessage, PreKeySecrets, initiate, respond
from e2ee.limits import DEFAULT_LIMITS, Limits, Policy
from e2ee.prekeys import Bundle, make_kem_prekey, make_one_time_prekey, make_signed_prekey
from e2ee.primitives import KeyPair, Random, agreement_pair, signing_pair, system_random
from e2ee.session import Session

KAT = Path(__file__).resolve().parents[1] / "e2ee" / "kat"
ANY_SUITE = Policy(min_suite=1)
NOW = 1_700_000_000.0


class Recorded:
    """A source of randomness that gives recorded bytes, front to back, and no more."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def __call__(self, length: int) -> bytes:
        assert length <= len(self.left), "more randomness is drawn than was recorded"
        taken, self.left = self.left[:length], self.left[length:]
        return taken


def local_device(
    user: str,
    device_id: int = 1,
    *,
    account: KeyPair | None = None,
    suites: tuple[int, ...] = (1, 2),
    created: int = int(NOW),
    random: Random = system_random,
) -> LocalDevice:
    """A device of ``user``. Draws the seeds of the account (unless given), of the signing and of the agreement key."""
    owner = account or signing_pair(random(32))
    signing, agreement = signing_pair(random(32)), agreement_pair(random(32))
    certificate = issue_certificate(
        owner,
        user_id=user,
        device_id=device_id,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, user, device_id, agreement.public),
        created=created,
        suites=suites,
    )
    return LocalDevice(certificate, signing, agreement)


@dataclass(frozen=True)
class Offer:
    """A bundle and the secrets behind it."""

    bundle: Bundle
    secrets: PreKeySecrets


def offer(
    device: LocalDevice, *, one_time: bool = True, kem: bool = True, kem_once: bool = True, random: Random = system_random
) -> Offer:
    """One bundle of ``device``. Draws the seeds of the signed prekey, then of the one-time and of the KEM prekey."""
    signed, signed_pair = make_signed_prekey(device.signing, 1, int(NOW), random)
    one_time_prekey, one_time_pair = make_one_time_prekey(2, random) if one_time else (None, None)
    kem_prekey, kem_pair = make_kem_prekey(device.signing, 3, int(NOW), random, once=kem_once) if kem else (None, None)
    bundle = Bundle(device.certificate, signed, one_time_prekey, kem_prekey, kem and kem_once)
    return Offer(bundle, PreKeySecrets(signed_pair, one_time_pair, kem_pair))


@dataclass(frozen=True)
class Met:
    """Two devices after the first message: ``first`` was read by ``bob`` and said ``hello``."""

    alice: Session
    bob: Session
    first: bytes


def meet(*, kem: bool = True, one_time: bool = True, limits: Limits = DEFAULT_LIMITS, now: float = NOW) -> Met:
    """A new session of two new devices, in suite 2 with a KEM prekey and else in suite 1."""
    alice, bob = local_device("alice"), local_device("bob", suites=(1, 2) if kem else (1,))
    offered = offer(bob, one_time=one_time, kem=kem)
    mine = initiate(alice, offered.bundle, ANY_SUITE, now=now, limits=limits)
    first = mine.encrypt(b"hello", now=now)
    theirs = respond(bob, alice.certificate, PreKeyMessage.parse(first), offered.secrets, ANY_SUITE, now=now, limits=limits)
    assert theirs.decrypt(first, now=now) == b"hello"
    return Met(mine, theirs, first)


def talk(met: Met, now: float = NOW) -> Met:
    """The same, after both have answered once: every message from here on is of type 1."""
    assert met.alice.decrypt(met.bob.encrypt(b"hi", now=now), now=now) == b"hi"
    assert met.bob.decrypt(met.alice.encrypt(b"well", now=now), now=now) == b"well"
    return met


def edited(data: bytes, edits: list[dict[str, Any]]) -> bytes:
    """``data`` with ``delete`` bytes at ``at`` replaced by the bytes ``insert`` (hex), one edit after the other."""
    for edit in edits:
        at = edit["at"]
        data = data[:at] + bytes.fromhex(edit["insert"]) + data[at + edit["delete"] :]
    return data


def flip(data: bytes, at: int) -> dict[str, Any]:
    """The edit that flips the lowest bit of byte ``at`` (from the end, if negative)."""
    at %= len(data)
    return {"at": at, "delete": 1, "insert": bytes([data[at] ^ 1]).hex()}


def write_kat(kind: str, note: str, cases: list[dict[str, Any]]) -> None:
    """Write a known-answer file."""
    document = {"profile": "salam-e2ee v1", "kind": kind, "note": note, "cases": cases}
    (KAT / f"{kind}.json").write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n")


def read_kat(kind: str) -> list[dict[str, Any]]:
    """The cases of a known-answer file."""
    document = json.loads((KAT / f"{kind}.json").read_text())
    assert (document["profile"], document["kind"]) == ("salam-e2ee v1", kind)
    cases: list[dict[str, Any]] = document["cases"]
    return cases
