"""Fuzz target: bundles and single prekeys are malformed or encode to the very bytes they were parsed from."""

from contextlib import suppress

from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.errors import BadSignature, InvalidKey, MalformedMessage
from e2ee.prekeys import (
    Bundle,
    KemPreKey,
    OneTimePreKey,
    SignedPreKey,
    make_kem_prekey,
    make_one_time_prekey,
    make_signed_prekey,
)
from e2ee.primitives import agreement_pair, signing_pair

_ACCOUNT, _SIGNING, _AGREEMENT = signing_pair(bytes(32)), signing_pair(b"\x01" * 32), agreement_pair(b"\x02" * 32)
_CERTIFICATE = issue_certificate(
    _ACCOUNT,
    user_id="bob",
    device_id=1,
    signing_public=_SIGNING.public,
    agreement_public=_AGREEMENT.public,
    device_signature=device_key_signature(_SIGNING, "bob", 1, _AGREEMENT.public),
    created=1,
    suites=(1, 2),
)
_SIGNED = make_signed_prekey(_SIGNING, 1, 1, bytes)[0]
_ONE_TIME = make_one_time_prekey(2, bytes)[0]
_KEM = make_kem_prekey(_SIGNING, 3, 1, bytes, once=True)[0]

SEEDS: list[bytes] = [
    Bundle(_CERTIFICATE, _SIGNED).encode(),
    Bundle(_CERTIFICATE, _SIGNED, _ONE_TIME).encode(),
    Bundle(_CERTIFICATE, _SIGNED, _ONE_TIME, _KEM, True).encode(),
    _SIGNED.encode(),
    _ONE_TIME.encode(),
    _KEM.encode(),
]


def one_input(data: bytes) -> None:
    """Parse ``data`` as a bundle, which may be verified, and as each prekey."""
    with suppress(MalformedMessage):
        bundle = Bundle.parse(data)
        assert bundle.encode() == data
        with suppress(BadSignature, InvalidKey):
            bundle.verify()
    for parse in (SignedPreKey.parse, KemPreKey.parse, OneTimePreKey.parse):
        with suppress(MalformedMessage):
            assert parse(data).encode() == data
