"""Fuzz target: sender certificates, sealed messages, what is inside of them, and codes of safety numbers."""

from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.encoding import lp
from e2ee.errors import E2EEError, MalformedMessage
from e2ee.hpke import hpke_seal
from e2ee.primitives import PREFIX, agreement_pair, signing_pair
from e2ee.safety_number import SafetyCode
from e2ee.sealed import SenderCertificate, issue_sender_certificate, open_sender, seal_sender

_NOW = 1_700_000_000.0
_SERVER, _SIGNING, _AGREEMENT = signing_pair(bytes(32)), signing_pair(b"s" * 32), agreement_pair(b"a" * 32)
_OWN = issue_certificate(
    signing_pair(b"k" * 32),
    user_id="alice",
    device_id=1,
    signing_public=_SIGNING.public,
    agreement_public=_AGREEMENT.public,
    device_signature=device_key_signature(_SIGNING, "alice", 1, _AGREEMENT.public),
    created=1,
    suites=(1, 2),
)
_SENDER = issue_sender_certificate(_SERVER, user_id="bob", device_id=2, signing_public=_SIGNING.public, expires=int(_NOW) + 60)
_MESSAGE = b"\x01\x01\x02\x00 and the rest of a message"
_HEAD = bytes.fromhex("01050100")
SEEDS: list[bytes] = [
    _SENDER.encoded,
    seal_sender(_OWN, _SENDER, _MESSAGE, random=bytes),
    lp(_SENDER.encoded) + _MESSAGE,
    SafetyCode(user_id="alice", account=bytes(32), peer_id="bob", peer_account=bytes(32)).encode(),
]


def one_input(data: bytes) -> None:
    """Read ``data`` as each of them; what a dishonest sender puts inside is sealed first."""
    for parse in (SenderCertificate.parse, SafetyCode.parse):
        try:
            parse(data)
        except MalformedMessage:
            pass
    info = PREFIX + b"sealed" + _OWN.hash
    inside = _HEAD + hpke_seal(_AGREEMENT.public, data, info=info, aad=_HEAD, random=bytes)
    for sealed in (data, inside):
        try:
            open_sender(_OWN, _AGREEMENT, sealed, server=_SERVER.public, now=_NOW)
        except E2EEError:
            pass
