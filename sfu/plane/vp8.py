"""The VP8 payload descriptor and keyframe header (RFC 7741 4.2, RFC 6386 9.1)."""

from __future__ import annotations

import struct

from sfu.plane.errors import MediaError

__all__ = ["Vp8Descriptor", "encode_vp8_descriptor", "parse_vp8"]

_X = 0x80
_S = 0x10
_PARTITION = 0x07
_I, _L, _T, _K = 0x80, 0x40, 0x20, 0x10
_FULL = struct.Struct("!BBHBB")


class Vp8Descriptor:
    """One packet's descriptor; None for a field that is absent."""

    __slots__ = (
        "first",
        "height",
        "keyframe",
        "keyidx",
        "picture_id",
        "picture_id_bits",
        "size_bytes",
        "start",
        "sync",
        "temporal",
        "tl0picidx",
        "width",
    )

    def __init__(self) -> None:
        self.first = 0
        """The first byte without its X bit."""
        self.start = False
        """First packet of the picture: S set and partition 0."""
        self.keyframe = False
        """First packet of a keyframe."""
        self.picture_id: int | None = None
        self.picture_id_bits = 15
        self.tl0picidx: int | None = None
        self.temporal: int | None = None
        self.sync = False
        """Y: depends on the base layer alone."""
        self.keyidx: int | None = None
        self.size_bytes = 1
        self.width = 0
        self.height = 0


def parse_vp8(payload: bytes) -> Vp8Descriptor:
    """Parse the descriptor of an RTP payload, and the picture's size where a keyframe starts.

    Raises MediaError when the descriptor is truncated or nothing follows it.
    """
    try:
        return _parse(payload)
    except IndexError:
        raise MediaError("VP8 payload descriptor is truncated") from None


def _parse(payload: bytes) -> Vp8Descriptor:
    descriptor = Vp8Descriptor()
    first = payload[0]
    descriptor.first = first & 0x7F
    descriptor.start = first & (_S | _PARTITION) == _S
    offset = 1
    if first & _X:
        flags = payload[1]
        offset = 2
        if flags & _I:
            value = payload[offset]
            offset += 1
            if value & 0x80:
                value = (value & 0x7F) << 8 | payload[offset]
                offset += 1
            else:
                descriptor.picture_id_bits = 7
            descriptor.picture_id = value
        if flags & _L:
            descriptor.tl0picidx = payload[offset]
            offset += 1
        if flags & (_T | _K):
            value = payload[offset]
            offset += 1
            if flags & _T:
                descriptor.temporal = value >> 6
                descriptor.sync = bool(value & 0x20)
            if flags & _K:
                descriptor.keyidx = value & 0x1F
    descriptor.size_bytes = offset
    if descriptor.start:
        # Inverse key frame flag of the frame tag: 0 is a keyframe.
        descriptor.keyframe = not payload[offset] & 1
        if descriptor.keyframe and len(payload) >= offset + 10 and payload[offset + 3 : offset + 6] == b"\x9d\x01\x2a":
            descriptor.width = (payload[offset + 6] | payload[offset + 7] << 8) & 0x3FFF
            descriptor.height = (payload[offset + 8] | payload[offset + 9] << 8) & 0x3FFF
    elif offset >= len(payload):
        raise IndexError
    return descriptor


def encode_vp8_descriptor(source: Vp8Descriptor, picture_id: int | None, tl0picidx: int | None, keyidx: int | None) -> bytes:
    """Return ``source`` with other numbers.

    A picture id is always written with 15 bits: receivers unwrap it with that width, and a sender may change its own on the way.
    """
    temporal = source.temporal
    if picture_id is not None and tl0picidx is not None and temporal is not None:
        last = temporal << 6 | (0x20 if source.sync else 0)
        flags = _I | _L | _T
        if keyidx is not None:
            flags |= _K
            last |= keyidx
        return _FULL.pack(source.first | _X, flags, 0x8000 | picture_id, tl0picidx, last)
    flags = 0
    rest = bytearray()
    if picture_id is not None:
        flags |= _I
        rest += (0x8000 | picture_id).to_bytes(2, "big")
    if tl0picidx is not None:
        flags |= _L
        rest.append(tl0picidx)
    if temporal is not None or keyidx is not None:
        flags |= (_T if temporal is not None else 0) | (_K if keyidx is not None else 0)
        rest.append((temporal or 0) << 6 | (0x20 if source.sync else 0) | (keyidx or 0))
    if not flags:
        return bytes((source.first,))
    return bytes((source.first | _X, flags)) + rest
