"""Salam's own sessions under measurement, without a store."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from bench.encryption.contender import Setup, Talker
from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.errors import E2EEError
from e2ee.handshake import LocalDevice, PreKeyMessage, PreKeySecrets, initiate, respond
from e2ee.limits import SUITE_PQ, SUITE_X25519, Policy
from e2ee.prekeys import Bundle, make_kem_prekey, make_one_time_prekey, make_signed_prekey
from e2ee.primitives import KEY_BYTES, agreement_pair, signing_pair, system_random
from e2ee.session import Session

__all__ = ["Salam"]


class _SessionTalker:
    def __init__(self, session: Session, now: float) -> None:
        self._session = session
        self._now = now

    def encrypt(self, plaintext: bytes) -> bytes:
        return self._session.encrypt(plaintext, now=self._now)

    def decrypt(self, message: bytes) -> bytes:
        return self._session.decrypt(message, now=self._now)


def _device(user_id: str, suites: tuple[int, ...], now: float) -> LocalDevice:
    account, signing = signing_pair(system_random(KEY_BYTES)), signing_pair(system_random(KEY_BYTES))
    agreement = agreement_pair(system_random(KEY_BYTES))
    certificate = issue_certificate(
        account,
        user_id=user_id,
        device_id=1,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, user_id, 1, agreement.public),
        created=int(now),
        suites=suites,
    )
    return LocalDevice(certificate, signing, agreement)


class Salam:
    """`e2ee` as an application without a store would use it: bundles and messages are bytes, every signature is verified."""

    name = "salam"

    def __init__(self) -> None:
        self.version = version("salam-rtc")
        self._now = time.time()
        self._initiators = {suites: _device("amal", suites, self._now) for suites in ((SUITE_X25519,), (SUITE_X25519, SUITE_PQ))}

    def prepare(self, post_quantum: bool) -> Setup | None:
        """A responder whose bundle has a one-time prekey, and in suite 2 a one-time KEM prekey."""
        now = self._now
        suites = (SUITE_X25519, SUITE_PQ) if post_quantum else (SUITE_X25519,)
        policy = Policy(min_suite=suites[-1], suites=suites)
        initiator, responder = self._initiators[suites], _device("badr", suites, now)
        signed, signed_pair = make_signed_prekey(responder.signing, 1, int(now), system_random)
        one_time, one_time_pair = make_one_time_prekey(2, system_random)
        kem, kem_pair = make_kem_prekey(responder.signing, 3, int(now), system_random, once=True) if post_quantum else (None, None)
        bundle = Bundle(responder.certificate, signed, one_time, kem, post_quantum).encode()
        secrets = PreKeySecrets(signed_pair, one_time_pair, kem_pair)

        def setup(plaintext: bytes) -> tuple[Talker, Talker]:
            mine = initiate(initiator, Bundle.parse(bundle), policy, now=now)
            message = mine.encrypt(plaintext, now=now)
            theirs = respond(responder, initiator.certificate, PreKeyMessage.parse(message), secrets, policy, now=now)
            assert theirs.decrypt(message, now=now) == plaintext
            return _SessionTalker(mine, now), _SessionTalker(theirs, now)

        return setup

    def forge(self, message: Any) -> Any:
        # The encrypted header is what a forger cannot make, so a forgery is a message with a header that does not open.
        return message[:16] + bytes([message[16] ^ 1]) + message[17:]

    def refuses(self, talker: Talker, message: Any) -> bool:
        try:
            talker.decrypt(message)
        except E2EEError:
            return True
        return False
