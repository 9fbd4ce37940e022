"""SFrame (RFC 9605): the header, the key schedule, and one frame sealed or opened under one key.

What the frame is, who sent it and whether it came before are the business of `e2ee.frames` and `e2ee.call_keys`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag

from e2ee.errors import DecryptionFailed, MalformedMessage, UnsupportedSuite
from e2ee.primitives import AESGCM, NONCE_BYTES, TAG_BYTES

__all__ = ["MAX_FRAME_COUNTER", "MAX_KID", "FrameKey", "Header", "MediaSuite", "media_suite", "ratchet"]

# Both travel in at most eight bytes (section 4.3).
MAX_KID: Final = 2**64 - 1
MAX_FRAME_COUNTER: Final = 2**64 - 1
# A value below this is inside the first byte of the header.
_SHORT: Final = 8
_LONG_FLAG: Final = 0x08


class MediaSuite(IntEnum):
    """The cipher suites that are offered. The profile uses the second; the others of the RFC have tags of 4 to 10 bytes."""

    AES_128_GCM_SHA256_128 = 4
    AES_256_GCM_SHA512_128 = 5

    @property
    def hash_name(self) -> str:
        return "sha512" if self is MediaSuite.AES_256_GCM_SHA512_128 else "sha256"

    @property
    def hash_bytes(self) -> int:
        """Nh: also the length of a ratcheted base key."""
        return hashlib.new(self.hash_name).digest_size

    @property
    def key_bytes(self) -> int:
        """Nk."""
        return 32 if self is MediaSuite.AES_256_GCM_SHA512_128 else 16


def media_suite(number: int) -> MediaSuite:
    """The suite of that number in the IANA registry; `UnsupportedSuite` for every other than 4 and 5."""
    try:
        return MediaSuite(number)
    except ValueError:
        raise UnsupportedSuite(f"SFrame suite {number} is not offered") from None


@dataclass(frozen=True, slots=True)
class Header:
    """Key id and counter of one frame (section 4.3)."""

    kid: int
    counter: int

    def encode(self) -> bytes:
        """The header in its shortest form, 1 to 17 bytes."""
        first_kid, kid = _encode_number(self.kid)
        first_counter, counter = _encode_number(self.counter)
        return bytes((first_kid << 4 | first_counter,)) + kid + counter

    @staticmethod
    def parse(data: bytes) -> tuple[Header, int]:
        """The header at the front of ``data``, and its length in bytes.

        `MalformedMessage` where the bytes run out, and for a number that is longer than it must be: one header has one form.
        """
        if not data:
            raise MalformedMessage("an SFrame object is empty")
        kid, position = _parse_number(data[0] >> 4, data, 1)
        counter, position = _parse_number(data[0] & 0x0F, data, position)
        return Header(kid, counter), position


def _encode_number(value: int) -> tuple[int, bytes]:
    if value < _SHORT:
        return value, b""
    length = (value.bit_length() + 7) // 8
    return _LONG_FLAG | length - 1, value.to_bytes(length, "big")


def _parse_number(nibble: int, data: bytes, position: int) -> tuple[int, int]:
    if not nibble & _LONG_FLAG:
        return nibble, position
    end = position + (nibble & 0x07) + 1
    if end > len(data):
        raise MalformedMessage("an SFrame header is truncated")
    value = int.from_bytes(data[position:end], "big")
    if value < _SHORT or data[position] == 0:
        raise MalformedMessage("an SFrame header is not in its shortest form")
    return value, end


def _expand(prk: bytes, info: bytes, length: int, hash_name: str) -> bytes:
    """HKDF-Expand (RFC 5869) for at most one block, which is all that the RFC's two GCM suites need."""
    return hmac.digest(prk, info + b"\x01", hash_name)[:length]


def ratchet(base_key: bytes, suite: MediaSuite = MediaSuite.AES_256_GCM_SHA512_128) -> bytes:
    """The base key of the next step (section 5.1), as long as the suite's hash. Whoever has one step derives all later ones."""
    secret = hmac.digest(b"", base_key, suite.hash_name)
    return _expand(secret, b"SFrame 1.0 Ratchet", suite.hash_bytes, suite.hash_name)


class FrameKey:
    """What a base key gives under one key id (section 4.4.2): it seals and opens frames, and counts nothing."""

    __slots__ = ("_cipher", "_salt", "kid", "suite")

    def __init__(self, kid: int, base_key: bytes, suite: MediaSuite = MediaSuite.AES_256_GCM_SHA512_128) -> None:
        """``kid`` is 0 to `MAX_KID`; ``base_key`` may have any length, 16 bytes and more where it is to protect anything."""
        self.kid = kid
        self.suite = suite
        secret = hmac.digest(b"", base_key, suite.hash_name)
        context = kid.to_bytes(8, "big") + suite.to_bytes(2, "big")
        self._cipher = AESGCM(_expand(secret, b"SFrame 1.0 Secret key " + context, suite.key_bytes, suite.hash_name))
        salt = _expand(secret, b"SFrame 1.0 Secret salt " + context, NONCE_BYTES, suite.hash_name)
        self._salt = int.from_bytes(salt, "big")

    def seal(self, counter: int, plaintext: bytes, metadata: bytes = b"") -> bytes:
        """Header, ciphertext and tag. The caller never uses a ``counter`` (0 to `MAX_FRAME_COUNTER`) twice under one key."""
        header = Header(self.kid, counter).encode()
        return header + self._cipher.encrypt(self._nonce(counter), plaintext, header + metadata)

    def open(self, sealed: bytes, metadata: bytes = b"") -> bytes:
        """The plaintext of a whole SFrame object.

        `MalformedMessage` for a broken header or less than a tag behind it; `DecryptionFailed` for another key id than this
        key's, and for everything that is not exactly what was sealed.
        """
        header, length = Header.parse(sealed)
        if len(sealed) - length < TAG_BYTES:
            raise MalformedMessage("an SFrame object is shorter than its tag")
        if header.kid != self.kid:
            raise DecryptionFailed("the frame does not open")
        try:
            return self._cipher.decrypt(self._nonce(header.counter), sealed[length:], sealed[:length] + metadata)
        except InvalidTag:
            raise DecryptionFailed("the frame does not open") from None

    def _nonce(self, counter: int) -> bytes:
        return (self._salt ^ counter).to_bytes(NONCE_BYTES, "big")
