"""STUN messages: a strict codec without I/O (RFC 8489), with the attributes that ICE, TURN and NAT discovery add.

`parse_message` accepts or raises `StunError`; nothing else escapes it. Attributes of known type are checked for their shape while
parsing, so that the typed readers (of `StunMessage`, and in `turn_client.attributes`) cannot fail later.
"""

from __future__ import annotations

import binascii
import enum
import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from salam.errors import ProtocolError

__all__ = [
    "MAGIC_COOKIE",
    "Attribute",
    "MessageClass",
    "Method",
    "StunError",
    "StunMessage",
    "build_message",
    "decode_xor_address",
    "encode_error_code",
    "encode_xor_address",
    "parse_message",
]

MAGIC_COOKIE = 0x2112A442
"""RFC 8489 section 5."""

_HEADER_BYTES = 20
_COOKIE_BYTES = MAGIC_COOKIE.to_bytes(4, "big")
_FINGERPRINT_XOR = 0x5354554E
# Both as lengths of the whole attribute, with its 4-byte header: what the length field counts up to.
_INTEGRITY_ATTRIBUTE_BYTES = 24
_INTEGRITY_SHA256_ATTRIBUTE_BYTES = 36
_FINGERPRINT_ATTRIBUTE_BYTES = 8
# The largest message in the specifications carries about a dozen attributes; more is somebody making us work.
_MAX_ATTRIBUTES = 32
# RFC 8489 section 14.3: "fewer than 509 bytes".
_MAX_USERNAME_BYTES = 508
# RFC 8489 sections 14.8 to 14.10 and 14.14: reason phrase, realm, nonce and software have fewer than 128 characters, which is at
# most 763 bytes by the count of the RFC.
_MAX_TEXT_BYTES = 763
# RFC 8489 section 14.16: a domain name, at most 255 bytes.
_MAX_DOMAIN_BYTES = 255


class StunError(ProtocolError):
    """The bytes are not a STUN message that RFC 8489 allows."""

    default_code = "bad_stun"


class Method(enum.IntEnum):
    """STUN and TURN methods (RFC 8489 section 18.2, RFC 8656 section 17, RFC 6062 section 6.1)."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009
    CONNECT = 0x00A
    CONNECTION_BIND = 0x00B
    CONNECTION_ATTEMPT = 0x00C


class MessageClass(enum.IntEnum):
    """The class of a message, as the two bits sit in the message type (RFC 8489 section 5)."""

    REQUEST = 0x000
    INDICATION = 0x010
    SUCCESS = 0x100
    ERROR = 0x110


class Attribute(enum.IntEnum):
    """Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1, RFC 8656 section 18, RFC 6062, RFC 8016, RFC 5780)."""

    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = 0x0003
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    CHANNEL_NUMBER = 0x000C
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    EVEN_PORT = 0x0018
    REQUESTED_TRANSPORT = 0x0019
    DONT_FRAGMENT = 0x001A
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    RESERVATION_TOKEN = 0x0022
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    PADDING = 0x0026
    RESPONSE_PORT = 0x0027
    CONNECTION_ID = 0x002A
    ADDITIONAL_ADDRESS_FAMILY = 0x8000
    ADDRESS_ERROR_CODE = 0x8001
    PASSWORD_ALGORITHMS = 0x8002
    ALTERNATE_DOMAIN = 0x8003
    ICMP = 0x8004
    SOFTWARE = 0x8022
    ALTERNATE_SERVER = 0x8023
    CACHE_TIMEOUT = 0x8027
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C
    MOBILITY_TICKET = 0x8030


def _has(*lengths: int) -> Callable[[bytes], bool]:
    return lambda value: len(value) in lengths


def _is_address(value: bytes) -> bool:
    return (len(value), value[1:2]) in ((8, b"\x01"), (20, b"\x02"))


def _is_error(value: bytes) -> bool:
    return 4 <= len(value) <= 4 + _MAX_TEXT_BYTES and 3 <= value[2] <= 6 and value[3] <= 99


def _is_text(limit: int) -> Callable[[bytes], bool]:
    def check(value: bytes) -> bool:
        if len(value) > limit:
            return False
        try:
            value.decode()
        except UnicodeDecodeError:
            return False
        return True

    return check


def _is_algorithm_list(value: bytes) -> bool:
    at = 0
    while at + 4 <= len(value):
        at += 4 + (int.from_bytes(value[at + 2 : at + 4], "big") + 3 & ~3)
    return at == len(value) > 0


# What the value of each known type must look like. SOFTWARE, reason phrases and DATA are for people or for peers and are not
# decoded here.
_CHECKS: dict[int, Callable[[bytes], bool]] = {
    Attribute.MAPPED_ADDRESS: _is_address,
    Attribute.CHANGE_REQUEST: _has(4),
    Attribute.USERNAME: _is_text(_MAX_USERNAME_BYTES),
    Attribute.MESSAGE_INTEGRITY: _has(20),
    Attribute.ERROR_CODE: _is_error,
    Attribute.UNKNOWN_ATTRIBUTES: lambda value: len(value) % 2 == 0,
    Attribute.CHANNEL_NUMBER: _has(4),
    Attribute.LIFETIME: _has(4),
    Attribute.XOR_PEER_ADDRESS: _is_address,
    Attribute.REALM: _is_text(_MAX_TEXT_BYTES),
    Attribute.NONCE: lambda value: 0 < len(value) <= _MAX_TEXT_BYTES,
    Attribute.XOR_RELAYED_ADDRESS: _is_address,
    Attribute.REQUESTED_ADDRESS_FAMILY: _has(4),
    Attribute.EVEN_PORT: _has(1),
    Attribute.REQUESTED_TRANSPORT: _has(4),
    Attribute.DONT_FRAGMENT: _has(0),
    # RFC 8489 section 14.6: truncated to no fewer than 16 bytes, in steps of four.
    Attribute.MESSAGE_INTEGRITY_SHA256: _has(16, 20, 24, 28, 32),
    Attribute.PASSWORD_ALGORITHM: _is_algorithm_list,
    Attribute.USERHASH: _has(32),
    Attribute.XOR_MAPPED_ADDRESS: _is_address,
    Attribute.RESERVATION_TOKEN: _has(8),
    Attribute.PRIORITY: _has(4),
    Attribute.USE_CANDIDATE: _has(0),
    # RFC 5780 section 7.5: two bytes and two of padding, which senders count or do not.
    Attribute.RESPONSE_PORT: _has(2, 4),
    Attribute.CONNECTION_ID: _has(4),
    Attribute.ADDITIONAL_ADDRESS_FAMILY: _has(4),
    Attribute.ADDRESS_ERROR_CODE: _is_error,
    Attribute.PASSWORD_ALGORITHMS: _is_algorithm_list,
    Attribute.ALTERNATE_DOMAIN: _is_text(_MAX_DOMAIN_BYTES),
    Attribute.ICMP: _has(8),
    Attribute.ALTERNATE_SERVER: _is_address,
    Attribute.CACHE_TIMEOUT: _has(4),
    Attribute.FINGERPRINT: _has(4),
    Attribute.ICE_CONTROLLED: _has(8),
    Attribute.ICE_CONTROLLING: _has(8),
    Attribute.RESPONSE_ORIGIN: _is_address,
    Attribute.OTHER_ADDRESS: _is_address,
}
_TRAILERS = frozenset({Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256, Attribute.FINGERPRINT})


@dataclass(frozen=True, slots=True)
class StunMessage:
    """A parsed message; ``attributes`` are in wire order, without those that RFC 8489 says to ignore after the integrity."""

    method: int
    message_class: MessageClass
    transaction_id: bytes
    attributes: tuple[tuple[int, bytes], ...] = ()
    raw: bytes = b""
    integrity_offset: int | None = None
    """Where MESSAGE-INTEGRITY starts in ``raw``; None without one."""
    integrity_sha256_offset: int | None = None

    def get(self, attribute: int) -> bytes | None:
        """Return the value of the first attribute of this type, or None."""
        return next((value for kind, value in self.attributes if kind == attribute), None)

    @property
    def username(self) -> str | None:
        """USERNAME, None without one."""
        value = self.get(Attribute.USERNAME)
        return None if value is None else value.decode()

    @property
    def priority(self) -> int | None:
        """PRIORITY of an ICE check, None without one."""
        value = self.get(Attribute.PRIORITY)
        return None if value is None else int.from_bytes(value, "big")

    @property
    def use_candidate(self) -> bool:
        """Whether the check nominates its pair (RFC 8445 section 7.1.2)."""
        return self.get(Attribute.USE_CANDIDATE) is not None

    @property
    def error(self) -> tuple[int, str] | None:
        """ERROR-CODE as number and reason phrase, None without one."""
        value = self.get(Attribute.ERROR_CODE)
        return None if value is None else (value[2] * 100 + value[3], value[4:].decode(errors="replace"))

    @property
    def mapped_address(self) -> tuple[str, int] | None:
        """XOR-MAPPED-ADDRESS as address and port, None without one."""
        value = self.get(Attribute.XOR_MAPPED_ADDRESS)
        return None if value is None else decode_xor_address(value, self.transaction_id)

    def unknown_required(self) -> tuple[int, ...]:
        """Types below 0x8000 that this codec does not know: a request with one is answered 420 (RFC 8489 section 6.3.1)."""
        return tuple(kind for kind, _ in self.attributes if kind < 0x8000 and kind not in _KNOWN)

    def check_integrity(self, key: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY is there and was made with ``key`` (RFC 8489 section 14.5)."""
        if self.integrity_offset is None:
            return False
        at = self.integrity_offset
        expected = _keyed_hash(self.raw[:at], _INTEGRITY_ATTRIBUTE_BYTES, key, "sha1")
        return hmac.compare_digest(expected, self.raw[at + 4 : at + _INTEGRITY_ATTRIBUTE_BYTES])

    def check_integrity_sha256(self, key: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY-SHA256, maybe truncated, is there and was made with ``key`` (RFC 8489 section 14.6)."""
        if self.integrity_sha256_offset is None:
            return False
        at = self.integrity_sha256_offset
        length = int.from_bytes(self.raw[at + 2 : at + 4], "big")
        expected = _keyed_hash(self.raw[:at], 4 + length, key, "sha256")[:length]
        return hmac.compare_digest(expected, self.raw[at + 4 : at + 4 + length])


_KNOWN = frozenset(Attribute)


def parse_message(data: bytes) -> StunMessage:
    """Parse one datagram as a STUN message.

    FINGERPRINT is verified when present. Integrity is not: that needs a key, see `StunMessage.check_integrity`.

    Raises StunError for anything that RFC 8489 sections 5, 6.3 and 14 do not allow.
    """
    if len(data) < _HEADER_BYTES:
        raise StunError("shorter than a STUN header")
    kind, length = struct.unpack_from("!HH", data)
    if kind & 0xC000:
        raise StunError("the first two bits of a STUN message are zero")
    if data[4:8] != _COOKIE_BYTES:
        raise StunError("wrong magic cookie")
    if length % 4 or length != len(data) - _HEADER_BYTES:
        raise StunError("the STUN length does not match the datagram")
    attributes, sha1_at, sha256_at = _parse_attributes(data)
    return StunMessage(
        method=(kind & 0x000F) | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2,
        message_class=MessageClass(kind & 0x0110),
        transaction_id=data[8:20],
        attributes=attributes,
        raw=bytes(data),
        integrity_offset=sha1_at,
        integrity_sha256_offset=sha256_at,
    )


def _parse_attributes(data: bytes) -> tuple[tuple[tuple[int, bytes], ...], int | None, int | None]:
    attributes: list[tuple[int, bytes]] = []
    offsets: dict[int, int] = {}
    at = _HEADER_BYTES
    seen = 0
    while at < len(data):
        if Attribute.FINGERPRINT in offsets:
            raise StunError("FINGERPRINT is not the last attribute")
        # The total length is a multiple of four and so is every step: four bytes are always left here.
        kind, length = struct.unpack_from("!HH", data, at)
        end = at + 4 + length
        if end > len(data):
            raise StunError("an attribute runs over the end of the message")
        seen += 1
        if seen > _MAX_ATTRIBUTES:
            raise StunError(f"more than {_MAX_ATTRIBUTES} attributes")
        value = bytes(data[at + 4 : end])
        check = _CHECKS.get(kind)
        if check is not None and not check(value):
            raise StunError(f"malformed attribute 0x{kind:04x} of {length} bytes")
        if kind in _TRAILERS and kind not in offsets:
            offsets[kind] = at
            if kind == Attribute.FINGERPRINT:
                _check_fingerprint(data, at, value)
            attributes.append((kind, value))
        elif not offsets:
            # Whatever follows the integrity is not protected by it and is ignored (RFC 8489 section 14.5).
            attributes.append((kind, value))
        at = end + (-length % 4)
    return tuple(attributes), offsets.get(Attribute.MESSAGE_INTEGRITY), offsets.get(Attribute.MESSAGE_INTEGRITY_SHA256)


def _check_fingerprint(data: bytes, at: int, value: bytes) -> None:
    if int.from_bytes(value, "big") != _fingerprint(data[:at]):
        raise StunError("wrong FINGERPRINT")


def _fingerprint(head: bytes) -> int:
    # The header's length counts the FINGERPRINT itself (RFC 8489 section 14.7).
    length = len(head) - _HEADER_BYTES + _FINGERPRINT_ATTRIBUTE_BYTES
    return binascii.crc32(head[:2] + struct.pack("!H", length) + head[4:]) ^ _FINGERPRINT_XOR


def _keyed_hash(head: bytes, attribute_bytes: int, key: bytes, algorithm: Literal["sha1", "sha256"]) -> bytes:
    # The header's length counts up to the end of the integrity attribute, whatever follows it (RFC 8489 section 14.5).
    length = len(head) - _HEADER_BYTES + attribute_bytes
    return hmac.new(key, head[:2] + struct.pack("!H", length) + head[4:], getattr(hashlib, algorithm)).digest()


def build_message(
    method: int,
    message_class: MessageClass,
    transaction_id: bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
    *,
    integrity_key: bytes | None = None,
    integrity_sha256_key: bytes | None = None,
    fingerprint: bool = False,
) -> bytes:
    """Serialise a message.

    ``integrity_key`` adds MESSAGE-INTEGRITY, ``integrity_sha256_key`` MESSAGE-INTEGRITY-SHA256 and ``fingerprint`` FINGERPRINT, in
    that order, at the end.

    Raises ValueError when the transaction id is not 12 bytes or the message grows over 65535 bytes.
    """
    if len(transaction_id) != 12:
        raise ValueError("a transaction id has 12 bytes")
    body = bytearray()
    for kind, value in attributes:
        body += struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
    kind = message_class | (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2
    total = len(body) + (_INTEGRITY_ATTRIBUTE_BYTES if integrity_key is not None else 0)
    total += _INTEGRITY_SHA256_ATTRIBUTE_BYTES if integrity_sha256_key is not None else 0
    total += _FINGERPRINT_ATTRIBUTE_BYTES if fingerprint else 0
    if total > 0xFFFF:
        raise ValueError("the message is longer than its length field can say")
    message = struct.pack("!HH", kind, total) + _COOKIE_BYTES + transaction_id + bytes(body)
    if integrity_key is not None:
        digest = _keyed_hash(message, _INTEGRITY_ATTRIBUTE_BYTES, integrity_key, "sha1")
        message += struct.pack("!HH", Attribute.MESSAGE_INTEGRITY, len(digest)) + digest
    if integrity_sha256_key is not None:
        digest = _keyed_hash(message, _INTEGRITY_SHA256_ATTRIBUTE_BYTES, integrity_sha256_key, "sha256")
        message += struct.pack("!HH", Attribute.MESSAGE_INTEGRITY_SHA256, len(digest)) + digest
    if fingerprint:
        message += struct.pack("!HHI", Attribute.FINGERPRINT, 4, _fingerprint(message))
    return message


def encode_xor_address(address: str, port: int, transaction_id: bytes) -> bytes:
    """Value of XOR-MAPPED-ADDRESS and its kin (RFC 8489 section 14.2). Raises ValueError for what is not an IP address.

    IPv4-mapped IPv6 addresses, as dual-stack sockets report them, are written as IPv4.
    """
    # A scope ("%eth0") has a meaning on this host only.
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    family = 1 if parsed.version == 4 else 2
    return struct.pack("!BBH", 0, family, port ^ MAGIC_COOKIE >> 16) + _xor(parsed.packed, _COOKIE_BYTES + transaction_id)


def decode_xor_address(value: bytes, transaction_id: bytes) -> tuple[str, int]:
    """Address and port of an XOR-MAPPED-ADDRESS value. Raises StunError when it is malformed."""
    if not _is_address(value):
        raise StunError("malformed address")
    port = int.from_bytes(value[2:4], "big") ^ MAGIC_COOKIE >> 16
    return str(ipaddress.ip_address(_xor(value[4:], _COOKIE_BYTES + transaction_id))), port


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ key for byte, key in zip(data, mask, strict=False))


def encode_error_code(code: int, reason: str) -> bytes:
    """Value of ERROR-CODE (RFC 8489 section 14.8); ``code`` is 300 to 699."""
    return struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()[:_MAX_TEXT_BYTES]
