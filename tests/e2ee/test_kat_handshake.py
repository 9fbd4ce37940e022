"""The known answers of the handshake, which the browser's implementation runs too."""

from __future__ import annotations

from typing import Any

import pytest

from e2ee import primitives
from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.errors import E2EEError
from e2ee.handshake import LocalDevice, PreKeyMessage, PreKeySecrets, initiate, respond
from e2ee.limits import Policy
from e2ee.prekeys import Bundle
from e2ee.primitives import agreement_pair, kem_pair, signing_pair
from e2ee.ratchet import Ratchet
from e2ee.session import Session
from tests.support.e2ee import Recorded, edited, read_kat

ALL = {case["name"]: case for case in read_kat("handshake")}
CASES = [name for name, case in ALL.items() if "of" not in case]
REFUSALS = [name for name, case in ALL.items() if "of" in case]


def unhex(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def local(side: dict[str, Any], suites: list[int] | None = None) -> LocalDevice:
    account, signing = (signing_pair(seed) for seed in unhex(side, "account_seed", "signing_seed"))
    agreement = agreement_pair(bytes.fromhex(side["agreement_seed"]))
    certificate = issue_certificate(
        account,
        user_id=side["user"],
        device_id=side["device"],
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, side["user"], side["device"], agreement.public),
        created=side["created"],
        suites=tuple(suites or side["suites"]),
    )
    if suites is None:
        assert certificate.encoded.hex() == side["certificate"]
    return LocalDevice(certificate, signing, agreement)


def prekeys(case: dict[str, Any], without: str | None = None) -> PreKeySecrets:
    def seed(kind: str) -> bytes | None:
        return bytes.fromhex(case[kind]["seed"]) if case[kind] and kind != without else None

    signed, one_time, kem = seed("signed_prekey"), seed("one_time_prekey"), seed("kem_prekey")
    assert signed is not None
    return PreKeySecrets(agreement_pair(signed), agreement_pair(one_time) if one_time else None, kem_pair(kem) if kem else None)


def policy(case: dict[str, Any]) -> Policy:
    return Policy(**case["policy"])


def begin(case: dict[str, Any], alice: LocalDevice, bundle: bytes, rules: Policy) -> tuple[Session, Recorded]:
    def encapsulate(public: bytes) -> tuple[bytes, bytes]:
        primitives.encapsulate(public)  # It checks the key; its own draw is of no use here.
        assert public == kem_pair(bytes.fromhex(case["kem_prekey"]["seed"])).public
        secret, ciphertext = unhex(case["kem"], "secret", "ciphertext")
        return secret, ciphertext

    random = Recorded(bytes.fromhex(case["random"]))
    parsed = Bundle.parse(bundle)
    assert parsed.encode() == bundle
    return initiate(alice, parsed, rules, random=random, now=case["now"], encapsulate=encapsulate), random


@pytest.mark.parametrize("name", CASES)
def test_handshake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ALL[name]
    alice, bob = local(case["initiator"]), local(case["responder"])
    keys: list[bytes] = []
    for method in ("initiator", "responder"):
        made = getattr(Ratchet, method)

        def noted(suite: int, transcript: bytes, root_keys: bytes, *rest: Any, made: Any = made) -> Ratchet:
            keys.append(root_keys)
            ratchet: Ratchet = made(suite, transcript, root_keys, *rest)
            return ratchet

        monkeypatch.setattr(Ratchet, method, noted)
    mine, random = begin(case, alice, bytes.fromhex(case["bundle"]), policy(case))
    content, message, reply_content, reply = unhex(case, "content", "message", "reply_content", "reply")
    assert mine.transcript.hex() == case["transcript"]
    assert mine.encrypt(content, random=random, now=case["now"]) == message
    assert random.left == b""
    first = PreKeyMessage.parse(message)
    assert first.fingerprint.hex() == case["fingerprint"]
    theirs = respond(bob, alice.certificate, first, prekeys(case), policy(case), now=case["now"])
    assert theirs.decrypt(message, now=case["now"]) == content
    assert [part.hex() for part in keys] == [case["root_key"] + case["header_key"] + case["next_header_key"]] * 2
    assert theirs.encrypt(reply_content, random=Recorded(bytes.fromhex(case["reply_random"])), now=case["now"]) == reply
    assert mine.decrypt(reply, now=case["now"]) == reply_content


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    refused = ALL[name]
    case, data = ALL[refused["of"]], ALL[refused["of"]][refused["target"]]
    altered = edited(bytes.fromhex(data), refused["edit"])
    attempt = refused_bundle if refused["target"] == "bundle" else refused_message
    with pytest.raises(E2EEError) as caught:
        attempt(refused, case, altered)
    assert caught.value.code == refused["error"]


def refused_bundle(refused: dict[str, Any], case: dict[str, Any], altered: bytes) -> None:
    begin(case, local(case["initiator"]), altered, policy(refused))


def refused_message(refused: dict[str, Any], case: dict[str, Any], altered: bytes) -> None:
    peer = local(case["initiator"], refused.get("initiator_suites")).certificate
    bob = local(case["responder"], refused.get("responder_suites"))
    secrets = prekeys(case, refused.get("without"))
    session = respond(bob, peer, PreKeyMessage.parse(altered), secrets, policy(refused), now=case["now"])
    session.decrypt(altered, now=case["now"])
