"""The known answers of sealed sender."""

from __future__ import annotations

from typing import Any

import pytest

from e2ee.certificates import DeviceCertificate
from e2ee.errors import E2EEError
from e2ee.hpke import hpke_open, hpke_seal
from e2ee.primitives import agreement_pair, signing_pair
from e2ee.sealed import SenderCertificate, issue_sender_certificate, open_sender, seal_sender
from tests.e2ee.kat import make_sealed
from tests.support.e2ee import Recorded, edited, read_kat
from tests.support.kat import chosen


def raw(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def code_at(certificate: SenderCertificate, server: bytes, now: float) -> str | None:
    try:
        certificate.verify(server, now=now)
    except E2EEError as error:
        return error.code
    return None


def test_the_file_is_what_the_maker_writes() -> None:
    assert read_kat("sealed") == [*map(_plain, make_sealed.cases())]


def _plain(case: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return case | {"times": [list(time) for time in case["times"]]} if "times" in case else case


@pytest.mark.parametrize("case", chosen("sealed", "hpke"))
def test_hpke(case: dict[str, Any]) -> None:
    seed, public, random, info, aad, plain, sealed = raw(
        case, "recipient_seed", "recipient", "random", "info", "aad", "plain", "sealed"
    )
    assert hpke_seal(public, plain, info=info, aad=aad, random=Recorded(random)) == sealed
    assert hpke_open(agreement_pair(seed), sealed, info=info, aad=aad) == plain


@pytest.mark.parametrize("case", chosen("sealed", "certificate"))
def test_certificate(case: dict[str, Any]) -> None:
    server, signing = signing_pair(bytes.fromhex(case["server_seed"])), bytes.fromhex(case["signing"])
    issued = issue_sender_certificate(
        server, user_id=case["user"], device_id=case["device"], signing_public=signing, expires=case["expires"]
    )
    assert issued.encoded.hex() == case["encoded"]
    assert SenderCertificate.parse(issued.encoded) == issued
    assert [[now, code_at(issued, server.public, now)] for now, _ in case["times"]] == case["times"]


@pytest.mark.parametrize("case", chosen("sealed", "certificate_refused"))
def test_certificate_refused(case: dict[str, Any]) -> None:
    encoded, server = raw(case, "encoded", "server")
    try:
        refused = code_at(SenderCertificate.parse(edited(encoded, case["edit"])), server, case["now"])
    except E2EEError as error:
        refused = error.code
    assert refused == case["error"]


@pytest.mark.parametrize("case", chosen("sealed", "seal"))
def test_seal(case: dict[str, Any]) -> None:
    encoded, recipient, seed, server, message, random = raw(
        case, "sender_certificate", "recipient_certificate", "agreement_seed", "server", "message", "random"
    )
    sender, own, recorded = SenderCertificate.parse(encoded), DeviceCertificate.parse(recipient), Recorded(random)
    sealed = seal_sender(own, sender, message, random=recorded)
    assert not recorded.left
    assert sealed.hex() == case["sealed"]
    assert open_sender(own, agreement_pair(seed), sealed, server=server, now=case["now"]) == (sender, message)


@pytest.mark.parametrize("case", chosen("sealed", "seal_refused"))
def test_seal_refused(case: dict[str, Any]) -> None:
    encoded, recipient, message = raw(case, "sender_certificate", "recipient_certificate", "message")
    with pytest.raises(E2EEError) as refused:
        seal_sender(DeviceCertificate.parse(recipient), SenderCertificate.parse(encoded), message)
    assert refused.value.code == case["error"]


@pytest.mark.parametrize("case", chosen("sealed", "open_refused"))
def test_open_refused(case: dict[str, Any]) -> None:
    recipient, seed, server = raw(case, "recipient_certificate", "agreement_seed", "server")
    of = next(one for one in read_kat("sealed") if one["name"] == case["of"]) if "of" in case else case
    sealed = edited(bytes.fromhex(of["sealed"]), case.get("edit", []))
    with pytest.raises(E2EEError) as refused:
        open_sender(DeviceCertificate.parse(recipient), agreement_pair(seed), sealed, server=server, now=case["now"])
    assert refused.value.code == case["error"]
