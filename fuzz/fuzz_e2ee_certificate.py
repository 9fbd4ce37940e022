"""Fuzz target: device certificates and device lists are malformed or come back as they were, and verify or are refused."""

from contextlib import suppress

from e2ee.certificates import DeviceCertificate, DeviceList, device_key_signature, issue_certificate, issue_device_list
from e2ee.errors import BadSignature, InvalidKey, MalformedMessage
from e2ee.primitives import agreement_pair, signing_pair

_ACCOUNT, _SIGNING, _AGREEMENT = signing_pair(bytes(32)), signing_pair(b"\x01" * 32), agreement_pair(b"\x02" * 32)
_CERTIFICATE = issue_certificate(
    _ACCOUNT,
    user_id="alice",
    device_id=1,
    signing_public=_SIGNING.public,
    agreement_public=_AGREEMENT.public,
    device_signature=device_key_signature(_SIGNING, "alice", 1, _AGREEMENT.public),
    created=1,
    suites=(1, 2),
)
_FIRST = issue_device_list(_ACCOUNT, user_id="alice", created=1, certificates=())
_SECOND = issue_device_list(_ACCOUNT, user_id="alice", created=2, certificates=(_CERTIFICATE,), previous=_FIRST)

SEEDS: list[bytes] = [_CERTIFICATE.encoded, _FIRST.encoded, _SECOND.encoded]


def one_input(data: bytes) -> None:
    """Parse ``data`` as both, and check the signatures of what parses."""
    for parse in (DeviceCertificate.parse, DeviceList.parse):
        with suppress(MalformedMessage):
            parsed = parse(data)
            assert parsed.encoded == data
            with suppress(BadSignature, InvalidKey):
                parsed.verify()
                assert data in SEEDS, "something that was never signed verifies"
