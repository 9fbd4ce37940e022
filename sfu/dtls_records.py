"""The record layer of DTLS 1.2 as far as it is visible from outside: what may be shown to OpenSSL, and how its output is cut up."""

from __future__ import annotations

import struct

__all__ = ["MAX_DATAGRAM_BYTES", "acceptable_records", "is_encrypted_handshake", "pack_records"]

MAX_DATAGRAM_BYTES = 1200
"""What passes every path that WebRTC uses without fragmentation; QUIC picked the same (RFC 9000 section 14)."""

_HEADER_BYTES = 13
_HANDSHAKE_HEADER_BYTES = 12
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_CONTENT_TYPES = frozenset({_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA})
_VERSIONS = frozenset({0xFEFF, 0xFEFD})
# Handshake messages that each side may send in the clear (RFC 5246 section 7.4, RFC 6347 section 4.3.2).
_FROM_CLIENT = frozenset({1, 11, 15, 16})
_FROM_SERVER = frozenset({0, 2, 3, 4, 11, 12, 13, 14, 22})
# A self-signed certificate takes well under 2 kB and the largest hello with post-quantum keys about as much.
_MAX_MESSAGE_BYTES = 16_384


def acceptable_records(data: bytes, *, from_client: bool, established: bool) -> tuple[bytes, int]:
    """Return the records of a datagram that OpenSSL may see, and how many were left out.

    Whatever is encrypted is authenticated and passes. In the clear pass only well-formed handshake messages of the right direction
    and the change of ciphers, and only before the handshake is complete: a forged alert or a senseless message in the clear would
    end the association, and RFC 6347 section 4.1.2.7 lets invalid records be dropped silently.
    """
    kept: list[bytes] = []
    dropped = 0
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER_BYTES:
            return b"".join(kept), dropped + 1
        content, version, epoch, _, _, length = struct.unpack_from("!BHHHIH", data, at)
        end = at + _HEADER_BYTES + length
        if content not in _CONTENT_TYPES or version not in _VERSIONS or end > len(data) or not length:
            # Where the next record would start is not known any more.
            return b"".join(kept), dropped + 1
        body = data[at + _HEADER_BYTES : end]
        if epoch or (not established and _harmless_in_the_clear(content, body, from_client=from_client)):
            kept.append(data[at:end])
        else:
            dropped += 1
        at = end
    return b"".join(kept), dropped


def _harmless_in_the_clear(content: int, body: bytes, *, from_client: bool) -> bool:
    if content == _CHANGE_CIPHER_SPEC:
        return body == b"\x01"
    if content != _HANDSHAKE:
        return False
    known = _FROM_CLIENT if from_client else _FROM_SERVER
    while body:
        if len(body) < _HANDSHAKE_HEADER_BYTES:
            return False
        total = int.from_bytes(body[1:4], "big")
        offset = int.from_bytes(body[6:9], "big")
        length = int.from_bytes(body[9:12], "big")
        if body[0] not in known or total > _MAX_MESSAGE_BYTES or offset + length > total:
            return False
        if len(body) < _HANDSHAKE_HEADER_BYTES + length:
            return False
        body = body[_HANDSHAKE_HEADER_BYTES + length :]
    return True


def is_encrypted_handshake(records: bytes) -> bool:
    """Whether whole records, as `acceptable_records` returns them, begin with a handshake message under the negotiated keys."""
    return records[0] == _HANDSHAKE and records[3:5] != b"\0\0"


def pack_records(stream: bytes) -> list[bytes]:
    """Cut OpenSSL's output, one record after another, into datagrams of at most `MAX_DATAGRAM_BYTES`; records stay whole."""
    datagrams: list[bytes] = []
    current = b""
    at = 0
    while at + _HEADER_BYTES <= len(stream):
        end = at + _HEADER_BYTES + int.from_bytes(stream[at + 11 : at + 13], "big")
        record = stream[at:end]
        if current and len(current) + len(record) > MAX_DATAGRAM_BYTES:
            datagrams.append(current)
            current = b""
        current += record
        at = end
    if current:
        datagrams.append(current)
    return datagrams
