"""Length-prefixed NAL units, as MP4, FLV and the access units of this package carry them (ISO/IEC 14496-15, section 5.3.2)."""

from __future__ import annotations

from salam import ProtocolError

__all__ = ["LENGTH_SIZE_BYTES", "to_four_byte_lengths"]

LENGTH_SIZE_BYTES = 4
"""The size of the length prefixes of every H.264 and HEVC access unit that leaves an ingest."""


def to_four_byte_lengths(data: bytes, length_size_bytes: int) -> bytes:
    """Return ``data`` with four-byte length prefixes; empty NAL units are left out.

    Raises ProtocolError when the lengths do not add up or no unit is left, so that no decoder behind sees such a picture.
    """
    at, end, whole = 0, len(data), length_size_bytes == LENGTH_SIZE_BYTES
    kept: list[bytes] = []
    while at < end:
        body = at + length_size_bytes
        size = int.from_bytes(data[at:body], "big")
        at = body + size
        if at > end or body > end:
            raise ProtocolError("a picture whose NAL unit lengths do not add up", code="bad_nal_units")
        if size:
            kept.append(data[body:at])
        else:
            whole = False
    if not kept:
        raise ProtocolError("a picture without NAL units", code="bad_nal_units")
    if whole:
        return data
    return b"".join(len(unit).to_bytes(LENGTH_SIZE_BYTES, "big") + unit for unit in kept)
