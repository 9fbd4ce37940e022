"""Writes linking.json: ``python -m tests.e2ee.kat.make_linking``. All of it follows from names.

Types of cases:

- ``link``: the whole of one linking. The new device has ``signing_seed``, ``agreement_seed`` and ``suites`` and draws
  ``new_random``; the primary has ``account_seed``, gives ``user`` and ``device`` and draws ``primary_random``. The messages are
  ``offer``, ``proposal``, ``accept`` and ``complete``, the digits ``code``. ``certificate`` is of the time ``created``, and the
  list is ``devices``. ``refused`` are messages that the side reading step 2, 3 or 4 refuses before it reads the right one:
  ``edit`` of that step's message, or a ``message``, gives ``error``.
- ``offer_refused``: ``offer`` gives ``error`` to the primary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from e2ee.certificates import DeviceCertificate, issue_certificate, issue_device_list
from e2ee.errors import E2EEError
from e2ee.linking import LinkOffer, NewDevice, PrimaryDevice
from e2ee.primitives import AESGCM, EMPTY_SALT, PREFIX, agree, agreement_pair, hkdf, sha256, signing_pair
from tests.support.e2ee import NOW, edited, flip, local_device, write_kat
from tests.support.kat import Case, Named, append, cut, refusal, seeded


def _refused(read: Callable[[bytes], Any], step: int, message: bytes, edits: dict[str, list[Case]]) -> list[Case]:
    made: list[Case] = []
    for name, edit in edits.items():
        try:
            read(edited(message, edit))
        except E2EEError as error:
            made.append({"step": step, "name": name, "edit": edit} | refusal(error))
        else:
            raise AssertionError(f"{name} was not refused")
    return made


def _flips(message: bytes, where: dict[str, int]) -> dict[str, list[Case]]:
    edits = {f"a bit of the {what} is changed": [flip(message, at)] for what, at in where.items()}
    edits |= {"it is empty": [cut(message, 0)], "it ends early": [cut(message, len(message) - 1)]}
    edits |= {"it ends in its nonce": [cut(message, 12)], "a byte follows": [append(message, b"\0")]}
    return edits


class _Keys:
    """What both sides have in common, computed apart, to make what only a dishonest one sends."""

    def __init__(self, offer: bytes, new_seed: bytes, proposal: bytes) -> None:
        primary = proposal[1:33]
        self.bound = sha256(offer) + primary
        self.both = hkdf(EMPTY_SALT, agree(new_seed, primary), PREFIX + b"link" + self.bound, 64)

    def by_primary(self, plain: bytes, step: bytes = b"") -> bytes:
        return b"\1" + bytes(12) + AESGCM(self.both[:32]).encrypt(bytes(12), plain, self.bound + step)

    def by_new(self, plain: bytes) -> bytes:
        return b"\1" + bytes(12) + AESGCM(self.both[32:]).encrypt(bytes(12), plain, self.bound)


def _own(read: Callable[[bytes], Any], step: int, messages: dict[str, bytes]) -> list[Case]:
    made: list[Case] = []
    for name, message in messages.items():
        try:
            read(message)
        except E2EEError as error:
            made.append({"step": step, "name": name, "message": message.hex()} | refusal(error))
        else:
            raise AssertionError(f"{name} was not refused")
    return made


def _link(user: str, device: int, suites: tuple[int, ...]) -> Case:
    account, first = signing_pair(seeded(f"account {user}")), Named(f"first {user}")
    known = local_device(user, 1, account=account, random=first).certificate
    before = issue_device_list(account, user_id=user, created=int(NOW) - 100, certificates=(known,))
    signing, agreement = signing_pair(seeded(f"signing {user}")), agreement_pair(seeded(f"agreement {user}"))
    new_random, primary_random = Named(f"new {user}"), Named(f"primary {user}")
    new = NewDevice(signing=signing, agreement=agreement, suites=suites, random=new_random)
    primary = PrimaryDevice(account, user_id=user, device_id=device, random=primary_random)
    proposal = primary.propose(new.offer)
    where = {"version": 0, "ephemeral key": 1, "nonce": 33, "ciphertext": 45, "tag": -1}
    refused = _refused(new.propose, 2, proposal, _flips(proposal, where) | {"a key of small order": [_zero_key()]})
    accept = new.propose(proposal)
    keys = _Keys(new.offer, new_random.drawn[:32], proposal)
    refused += _refused(primary.accept, 3, accept, _flips(accept, {"version": 0, "nonce": 1, "ciphertext": 13, "tag": -1}))
    other = {"another committed value": keys.by_new(seeded("other value") + bytes(64)), "too short": keys.by_new(bytes(95))}
    refused += _own(primary.accept, 3, other | {"too long": keys.by_new(bytes(97)), "the primary's own": proposal})
    primary.accept(accept)
    assert primary.code == new.code
    primary.confirm()
    new.confirm()
    certificate = primary.certificate(created=int(NOW))
    devices = issue_device_list(account, user_id=user, created=int(NOW), certificates=(known, certificate), previous=before)
    complete = primary.complete(devices)
    refused += _refused(new.complete, 4, complete, _flips(complete, {"version": 0, "nonce": 1, "ciphertext": 13, "tag": -1}))
    refused += _own(new.complete, 4, _completions(keys, certificate, known, devices.encoded, before.encoded))
    new.complete(complete)
    return {
        "type": "link",
        "name": f"{user} links device {device}",
        "account_seed": account.secret.hex(),
        "user": user,
        "device": device,
        "signing_seed": signing.secret.hex(),
        "agreement_seed": agreement.secret.hex(),
        "suites": list(suites),
        "new_random": new_random.drawn.hex(),
        "primary_random": primary_random.drawn.hex(),
        "offer": new.offer.hex(),
        "proposal": proposal.hex(),
        "accept": accept.hex(),
        "code": new.code,
        "created": int(NOW),
        "certificate": certificate.encoded.hex(),
        "devices": devices.encoded.hex(),
        "complete": complete.hex(),
        "refused": refused,
    }


def _completions(
    keys: _Keys, certificate: DeviceCertificate, known: DeviceCertificate, devices: bytes, before: bytes
) -> dict[str, bytes]:
    def message(named: bytes, listed: bytes) -> bytes:
        return keys.by_primary(len(named).to_bytes(2, "big") + named + listed, b"\4")

    forged_list, forged = devices[:-1] + bytes([devices[-1] ^ 1]), certificate.encoded[:-1] + bytes([certificate.encoded[-1] ^ 1])
    mallory = signing_pair(seeded("mallory"))
    stranger = issue_certificate(
        mallory,
        user_id=certificate.user_id,
        device_id=certificate.device_id,
        signing_public=certificate.signing,
        agreement_public=certificate.agreement,
        device_signature=certificate.device_signature,
        created=int(NOW),
        suites=certificate.suites,
    )
    strangers = issue_device_list(mallory, user_id=certificate.user_id, created=int(NOW), certificates=(stranger,))
    return {
        "another device's certificate": message(known.encoded, devices),
        "a list without this device": message(certificate.encoded, before),
        "a list with a forged signature": message(certificate.encoded, forged_list),
        "a forged certificate": message(forged, devices),
        "a certificate and list of another account": message(stranger.encoded, strangers.encoded),
        "a certificate that is cut": message(certificate.encoded[:-1], devices),
        "nothing": keys.by_primary(b"", b"\4"),
        "a message without the step": keys.by_primary(b"", b""),
    }


def _zero_key() -> Case:
    return {"at": 1, "delete": 32, "insert": "00" * 32}


def _offers() -> list[Case]:
    key, good = agreement_pair(seeded("an agreement key")).public, signing_pair(seeded("a signing key")).public
    fields: dict[str, Any] = {"ephemeral": key, "signing": good, "agreement": key, "suites": (1, 2), "commitment": seeded("c")}
    encoded = LinkOffer(**fields).encode()
    offers = {
        "nothing": b"",
        "another magic": edited(encoded, [flip(encoded, 3)]),
        "cut": encoded[:-1],
        "a byte follows": encoded + b"\0",
        "no suites": LinkOffer(**fields | {"suites": ()}).encode(),
        "suites that fall": LinkOffer(**fields | {"suites": (2, 1)}).encode(),
        "a suite twice": LinkOffer(**fields | {"suites": (2, 2)}).encode(),
        "nine suites": LinkOffer(**fields | {"suites": tuple(range(1, 10))}).encode(),
        "an ephemeral key of small order": LinkOffer(**fields | {"ephemeral": bytes(32)}).encode(),
        "an agreement key of small order": LinkOffer(**fields | {"agreement": b"\1" + bytes(31)}).encode(),
        "a signing key of small order": LinkOffer(**fields | {"signing": b"\1" + bytes(31)}).encode(),
        "a signing key that is not canonical": LinkOffer(**fields | {"signing": b"\xff" * 31 + b"\x7f"}).encode(),
    }
    made: list[Case] = []
    for name, offer in offers.items():
        try:
            PrimaryDevice(signing_pair(seeded("p")), user_id="alice", device_id=2).propose(offer)
        except E2EEError as error:
            made.append({"type": "offer_refused", "name": f"offer: {name}", "offer": offer.hex()} | refusal(error))
        else:
            raise AssertionError(f"{name} was not refused")
    return made


def cases() -> list[Case]:
    return [_link("alice", 2, (1, 2)), _link("زيد", 4_294_967_295, (1,)), *_offers()]


if __name__ == "__main__":
    write_kat("linking", "Types of cases as in make_linking.py.", cases())
