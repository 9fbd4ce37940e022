"""Fuzz target: no message, content or stored record changes a session that refuses it, or raises anything but our errors."""

from contextlib import suppress

from e2ee import content
from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.errors import E2EEError, MalformedMessage
from e2ee.handshake import LocalDevice, PreKeyMessage, PreKeySecrets, initiate, respond
from e2ee.limits import Policy
from e2ee.prekeys import Bundle, make_kem_prekey, make_one_time_prekey, make_signed_prekey
from e2ee.primitives import agreement_pair, signing_pair
from e2ee.session import Session

_POLICY = Policy(min_suite=1)


def _device(user: str, number: int) -> LocalDevice:
    account, signing = signing_pair(bytes([number] * 32)), signing_pair(bytes([number + 1] * 32))
    agreement = agreement_pair(bytes([number + 2] * 32))
    certificate = issue_certificate(
        account,
        user_id=user,
        device_id=1,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, user, 1, agreement.public),
        created=1,
        suites=(1, 2),
    )
    return LocalDevice(certificate, signing, agreement)


_ALICE, _BOB = _device("alice", 1), _device("bob", 11)
_SIGNED, _SIGNED_PAIR = make_signed_prekey(_BOB.signing, 1, 1, bytes)
_ONE_TIME, _ONE_TIME_PAIR = make_one_time_prekey(2, bytes)
_KEM, _KEM_PAIR = make_kem_prekey(_BOB.signing, 3, 1, bytes, once=False)
_SECRETS = PreKeySecrets(_SIGNED_PAIR, _ONE_TIME_PAIR, _KEM_PAIR)
_HERS = initiate(_ALICE, Bundle(_BOB.certificate, _SIGNED, _ONE_TIME, _KEM), _POLICY, now=1.0)
_FIRST = _HERS.encrypt(b"first", now=1.0)
_HIS = respond(_BOB, _ALICE.certificate, PreKeyMessage.parse(_FIRST), _SECRETS, _POLICY, now=1.0)
_HIS.decrypt(_FIRST, now=1.0)
_HERS.decrypt(_HIS.encrypt(b"reply", now=1.0), now=1.0)
_LATE = _HERS.encrypt(b"late", now=1.0)
_HIS.decrypt(_HERS.encrypt(b"second", now=1.0), now=1.0)
_NEXT = _HERS.encrypt(b"next", now=1.0)
_RECORD, _SKIPPED = _HIS.to_record(), _HIS.drain_changes().added

SEEDS: list[bytes] = [
    _FIRST,
    _LATE,
    _NEXT,
    _RECORD,
    content.encode(content.CallKey(call_id=bytes(16), generation=1, step=0, base_key=bytes(32))),
    content.encode(content.GroupOperations(group_id=bytes(16), operations=(b"one", b"two"))),
]


def one_input(data: bytes) -> None:
    """Give ``data`` to a session, to a responder, and to the parsers of content and records."""
    session = Session.from_record(_RECORD, _SKIPPED)
    try:
        session.decrypt(data, now=2.0)
    except E2EEError:
        assert session.to_record() == _RECORD, "a refused message changed the session"
    else:
        assert data in (_LATE, _NEXT), "a message that was never sent was read"
    with suppress(E2EEError):
        respond(_BOB, _ALICE.certificate, PreKeyMessage.parse(data), _SECRETS, _POLICY, now=2.0).decrypt(data, now=2.0)
        assert data == _FIRST, "a first message that was never sent was read"
    with suppress(MalformedMessage):
        assert content.encode(content.parse(data)) == data
    with suppress(MalformedMessage):
        Session.from_record(data, _SKIPPED)
