"""doubleratchet and x3dh (pure Python) under measurement, with the algorithms that they recommend themselves."""

from __future__ import annotations

from collections.abc import Coroutine
from importlib import import_module
from importlib.metadata import version
from typing import Any

from bench.encryption.contender import Setup, Talker

__all__ = ["DoubleRatchet"]

# As many one-time prekeys as a device of ours has on offer.
_PREKEYS = 100
_MAX_SKIP = 1_000


def _drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits for anything, without charging an event loop to the library."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the library waited for something")


def _classes() -> tuple[type[Any], dict[str, Any], type[Any]]:
    """The three classes that the library leaves to its user, in the form that its documentation recommends."""
    doubleratchet: Any = import_module("doubleratchet")
    recommended = "doubleratchet.recommended"
    aead: Any = import_module(f"{recommended}.aead_aes_hmac")
    hkdf: Any = import_module(f"{recommended}.kdf_hkdf")
    hmacs: Any = import_module(f"{recommended}.kdf_separate_hmacs")
    curve: Any = import_module(f"{recommended}.diffie_hellman_ratchet_curve25519")
    x3dh: Any = import_module("x3dh")
    hash_function: Any = import_module(recommended).HashFunction.SHA_256
    ours: dict[str, Any] = {"_get_hash_function": staticmethod(lambda: hash_function)}

    def associated_data(associated: bytes, header: Any) -> bytes:
        counts = header.previous_sending_chain_length.to_bytes(4, "big") + header.sending_chain_length.to_bytes(4, "big")
        return b"".join((associated, header.ratchet_pub, counts))

    ratchet = type("Ratchet", (doubleratchet.DoubleRatchet,), {"_build_associated_data": staticmethod(associated_data)})
    configuration = {
        "diffie_hellman_ratchet_class": curve.DiffieHellmanRatchet,
        "root_chain_kdf": type("RootKDF", (hkdf.KDF,), {**ours, "_get_info": staticmethod(lambda: b"root")}),
        "message_chain_kdf": type("ChainKDF", (hmacs.KDF,), dict(ours)),
        "message_chain_constant": b"\x01\x02",
        "dos_protection_threshold": _MAX_SKIP,
        "max_num_skipped_message_keys": _MAX_SKIP,
        "aead": type("Aead", (aead.AEAD,), {**ours, "_get_info": staticmethod(lambda: b"aead")}),
    }
    encode = {"_encode_public_key": staticmethod(lambda key_format, pub: bytes(pub))}
    return ratchet, configuration, type("State", (x3dh.BaseState,), encode)


class _RatchetTalker:
    def __init__(self, ratchet: Any, associated: bytes) -> None:
        self._ratchet = ratchet
        self._associated = associated

    def encrypt(self, plaintext: bytes) -> Any:
        return _drive(self._ratchet.encrypt_message(plaintext, self._associated))

    def decrypt(self, message: Any) -> bytes:
        plaintext: bytes = _drive(self._ratchet.decrypt_message(message, self._associated))
        return plaintext


class DoubleRatchet:
    """The pure-Python library of the same specifications as ours, without header encryption."""

    name = "doubleratchet"

    def __init__(self) -> None:
        self._doubleratchet: Any = import_module("doubleratchet")
        self._x3dh: Any = import_module("x3dh")
        self.version = version("doubleratchet")
        self._ratchet, self._configuration, self._state = _classes()
        self._initiator = self._new_state()

    def _new_state(self) -> Any:
        state = self._state.create(self._x3dh.IdentityKeyFormat.ED_25519, self._x3dh.HashFunction.SHA_256, b"measure")
        state.generate_pre_keys(_PREKEYS)
        return state

    def prepare(self, post_quantum: bool) -> Setup | None:
        if post_quantum:
            return None
        initiator, responder, ratchet, configuration = self._initiator, self._new_state(), self._ratchet, self._configuration
        full = responder.bundle
        one_time = frozenset(list(full.pre_keys)[:1])
        bundle = self._x3dh.Bundle(full.identity_key, full.signed_pre_key, full.signed_pre_key_sig, one_time)

        def setup(plaintext: bytes) -> tuple[Talker, Talker]:
            secret, associated, header = _drive(initiator.get_shared_secret_active(bundle))
            mine, message = _drive(
                ratchet.encrypt_initial_message(
                    **configuration,
                    shared_secret=secret,
                    recipient_ratchet_pub=bundle.signed_pre_key,
                    message=plaintext,
                    associated_data=associated,
                )
            )
            secret, associated, signed = _drive(responder.get_shared_secret_passive(header))
            theirs, read = _drive(
                ratchet.decrypt_initial_message(
                    **configuration,
                    shared_secret=secret,
                    own_ratchet_priv=signed.priv,
                    message=message,
                    associated_data=associated,
                )
            )
            assert read == plaintext
            return _RatchetTalker(mine, associated), _RatchetTalker(theirs, associated)

        return setup

    def forge(self, message: Any) -> Any:
        """What costs the library most: an unknown ratchet key and as many skipped messages as it allows."""
        header = self._doubleratchet.Header(bytes(range(1, 33)), 0, _MAX_SKIP)
        return self._doubleratchet.EncryptedMessage(header, message.ciphertext)

    def refuses(self, talker: Talker, message: Any) -> bool:
        try:
            talker.decrypt(message)
        except self._doubleratchet.AuthenticationFailedException:
            return True
        return False
