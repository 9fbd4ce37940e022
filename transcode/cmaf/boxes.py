"""ISO base media boxes: building them, and walking them (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from transcode.h264 import BitstreamError

__all__ = ["box", "find_box", "full_box", "iter_boxes"]

# The fields in front of the children of container boxes, in bytes: version and flags, counts, and sample entry fields.
_CHILD_OFFSETS = {b"stsd": 8, b"avc1": 78, b"mp4a": 28}
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"mvex", b"moof", b"traf", *_CHILD_OFFSETS})


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box of type ``kind`` holding ``parts``."""
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """Return a box that begins with a version and 24 bits of flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def iter_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, payload) of the boxes in ``data``; raises BitstreamError when a size does not fit."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise BitstreamError("a box header ends early")
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8 or position + size > len(data):
            raise BitstreamError(f"box {kind!r} has a size that does not fit")
        yield kind, data[position + 8 : position + size]
        position += size


def find_box(data: bytes, *path: bytes) -> bytes:
    """Return the payload of the first box at ``path``; raises BitstreamError when there is none."""
    for kind, payload in iter_boxes(data):
        if kind != path[0]:
            continue
        if len(path) == 1:
            return payload
        if kind not in _CONTAINERS:
            break
        return find_box(payload[_CHILD_OFFSETS.get(kind, 0) :], *path[1:])
    raise BitstreamError(f"no box {'/'.join(part.decode('latin-1') for part in path)}")
