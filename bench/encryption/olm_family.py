"""vodozemac (Rust) and python-olm (C) under measurement: Olm has no post-quantum handshake."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from bench.encryption.contender import Setup, Talker

__all__ = ["Olm", "Vodozemac"]


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


class _VodozemacTalker:
    def __init__(self, session: Any) -> None:
        self._session = session

    def encrypt(self, plaintext: bytes) -> Any:
        return self._session.encrypt(plaintext)

    def decrypt(self, message: Any) -> bytes:
        plaintext: bytes = self._session.decrypt(message)
        return plaintext


class Vodozemac:
    """vodozemac's Python binding. Its handshake is 3DH: no signed prekey, so it verifies no signature."""

    name = "vodozemac"

    def __init__(self) -> None:
        self._module: Any = import_module("vodozemac")
        self.version = version("vodozemac")
        self._initiator = self._module.Account()

    def prepare(self, post_quantum: bool) -> Setup | None:
        if post_quantum:
            return None
        initiator, responder = self._initiator, self._module.Account()
        responder.generate_one_time_keys(1)
        (one_time,) = responder.one_time_keys.values()
        responder.mark_keys_as_published()
        own_identity, identity = initiator.curve25519_key, responder.curve25519_key

        def setup(plaintext: bytes) -> tuple[Talker, Talker]:
            mine = initiator.create_outbound_session(identity, one_time)
            theirs, read = responder.create_inbound_session(own_identity, mine.encrypt(plaintext).to_pre_key())
            assert read == plaintext
            return _VodozemacTalker(mine), _VodozemacTalker(theirs)

        return setup

    def forge(self, message: Any) -> Any:
        kind, ciphertext = message.to_parts()
        return self._module.AnyOlmMessage.from_parts(kind, _flipped(ciphertext))

    def refuses(self, talker: Talker, message: Any) -> bool:
        try:
            talker.decrypt(message)
        except self._module.OlmDecryptionException:
            return True
        return False


class _OlmTalker:
    def __init__(self, session: Any) -> None:
        self._session = session

    def encrypt(self, plaintext: bytes) -> Any:
        return self._session.encrypt(plaintext)

    def decrypt(self, message: Any) -> bytes:
        # The binding decodes to text; the plaintexts here are ASCII.
        text: str = self._session.decrypt(message)
        return text.encode()


class Olm:
    """libolm through python-olm."""

    name = "olm"

    def __init__(self) -> None:
        self._module: Any = import_module("olm")
        self.version = version("python-olm")
        self._initiator = self._module.Account()

    def prepare(self, post_quantum: bool) -> Setup | None:
        if post_quantum:
            return None
        olm, initiator, responder = self._module, self._initiator, self._module.Account()
        responder.generate_one_time_keys(1)
        (one_time,) = responder.one_time_keys["curve25519"].values()
        own_identity, identity = initiator.identity_keys["curve25519"], responder.identity_keys["curve25519"]

        def setup(plaintext: bytes) -> tuple[Talker, Talker]:
            mine = olm.OutboundSession(initiator, identity, one_time)
            message = mine.encrypt(plaintext)
            theirs = olm.InboundSession(responder, message, own_identity)
            assert theirs.decrypt(message).encode() == plaintext
            return _OlmTalker(mine), _OlmTalker(theirs)

        return setup

    def forge(self, message: Any) -> Any:
        # The messages of this binding are base 64 text without padding; a character in the authentication tag is changed.
        text = message.ciphertext
        return self._module.OlmMessage(text[:-4] + ("A" if text[-4] != "A" else "B") + text[-3:])

    def refuses(self, talker: Talker, message: Any) -> bool:
        try:
            talker.decrypt(message)
        except self._module.OlmSessionError:
            return True
        return False
