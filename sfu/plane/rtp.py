"""RTP packets on the wire (RFC 3550 5.1) and their header extensions (RFC 8285)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from sfu.plane.errors import MediaError

__all__ = ["RtpPacket", "build_rtp", "encode_extensions", "parse_rtp"]

_FIXED = struct.Struct("!BBHII")
_FIXED_BYTES = 12
_ONE_BYTE_PROFILE = 0xBEDE
# The low four bits of the two-byte profile are application bits that receivers ignore (RFC 8285 4.3).
_TWO_BYTE_PROFILE = 0x1000
_NO_EXTENSIONS: Mapping[int, bytes] = {}


class RtpPacket:
    """One parsed RTP packet; a plain slotted class because one is made for each received packet."""

    __slots__ = ("extensions", "marker", "padding_bytes", "payload", "payload_type", "sequence", "ssrc", "timestamp")

    def __init__(
        self,
        payload_type: int,
        sequence: int,
        timestamp: int,
        ssrc: int,
        payload: bytes,
        *,
        marker: bool = False,
        extensions: Mapping[int, bytes] = _NO_EXTENSIONS,
        padding_bytes: int = 0,
    ) -> None:
        self.payload_type = payload_type
        self.sequence = sequence
        self.timestamp = timestamp
        self.ssrc = ssrc
        self.payload = payload
        self.marker = marker
        self.extensions = extensions
        self.padding_bytes = padding_bytes

    def __repr__(self) -> str:
        return (
            f"<RtpPacket pt={self.payload_type} seq={self.sequence} ts={self.timestamp} ssrc={self.ssrc:#x} "
            f"{len(self.payload)}+{self.padding_bytes} bytes{' marker' if self.marker else ''}>"
        )


def parse_rtp(data: bytes) -> RtpPacket:
    """Parse a plain RTP packet; padding is removed from the payload and counted.

    Raises MediaError for another version, a truncated packet, or padding longer than the payload.
    """
    size = len(data)
    if size < _FIXED_BYTES:
        raise MediaError("RTP packet is shorter than its fixed header")
    first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
    if first >> 6 != 2:
        raise MediaError("RTP version is not 2")
    offset = _FIXED_BYTES + 4 * (first & 0x0F)
    extensions = _NO_EXTENSIONS
    if first & 0x10:
        if offset + 4 > size:
            raise MediaError("RTP header extension is truncated")
        profile = data[offset] << 8 | data[offset + 1]
        end = offset + 4 + 4 * (data[offset + 2] << 8 | data[offset + 3])
        if end > size:
            raise MediaError("RTP header extension is truncated")
        if profile == _ONE_BYTE_PROFILE:
            extensions = _parse_one_byte(data, offset + 4, end)
        elif profile & 0xFFF0 == _TWO_BYTE_PROFILE:
            extensions = _parse_two_byte(data, offset + 4, end)
        offset = end
    padding_bytes = 0
    if first & 0x20:
        padding_bytes = data[-1]
        if padding_bytes == 0 or offset + padding_bytes > size:
            raise MediaError("RTP padding is longer than the payload")
    if offset > size:
        raise MediaError("RTP contributing sources are truncated")
    return RtpPacket(
        second & 0x7F,
        sequence,
        timestamp,
        ssrc,
        data[offset : size - padding_bytes],
        marker=second >= 0x80,
        extensions=extensions,
        padding_bytes=padding_bytes,
    )


def _parse_one_byte(data: bytes, offset: int, end: int) -> Mapping[int, bytes]:
    elements: dict[int, bytes] = {}
    while offset < end:
        head = data[offset]
        offset += 1
        if head == 0:
            continue
        element_id = head >> 4
        if element_id == 15:
            # Reserved: everything after it is to be ignored (RFC 8285 4.2).
            break
        after = offset + (head & 0x0F) + 1
        if after > end:
            raise MediaError("RTP header extension element is truncated")
        elements[element_id] = data[offset:after]
        offset = after
    return elements


def _parse_two_byte(data: bytes, offset: int, end: int) -> Mapping[int, bytes]:
    elements: dict[int, bytes] = {}
    while offset < end:
        element_id = data[offset]
        offset += 1
        if element_id == 0:
            continue
        if offset >= end:
            raise MediaError("RTP header extension element is truncated")
        after = offset + 1 + data[offset]
        if after > end:
            raise MediaError("RTP header extension element is truncated")
        elements[element_id] = data[offset + 1 : after]
        offset = after
    return elements


def encode_extensions(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the whole extension block, profile and length included; empty without elements.

    The one-byte form is used unless an id is above 14 or a value is empty or longer than 16 bytes. Ids are 1 to 255 and values at
    most 255 bytes long: the caller's own configuration, so nothing is checked.
    """
    elements = tuple(elements)
    if not elements:
        return b""
    if all(element_id <= 14 and 1 <= len(value) <= 16 for element_id, value in elements):
        profile = _ONE_BYTE_PROFILE
        body = b"".join(bytes((element_id << 4 | len(value) - 1,)) + value for element_id, value in elements)
    else:
        profile = _TWO_BYTE_PROFILE
        body = b"".join(bytes((element_id, len(value))) + value for element_id, value in elements)
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", profile, len(body) // 4) + body


def build_rtp(packet: RtpPacket) -> bytes:
    """Return the packet on the wire, with its extensions and padding."""
    block = encode_extensions(packet.extensions.items())
    first = 0x80 | (0x10 if block else 0) | (0x20 if packet.padding_bytes else 0)
    header = _FIXED.pack(first, packet.marker << 7 | packet.payload_type, packet.sequence, packet.timestamp, packet.ssrc)
    padding = bytes(packet.padding_bytes - 1) + bytes((packet.padding_bytes,)) if packet.padding_bytes else b""
    return header + block + packet.payload + padding
