"""The RTP payload format of VP8 (RFC 7741), both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.media.payload import MAX_PAYLOAD_BYTES, PayloadError, Piece, split_evenly

__all__ = ["Vp8Depacketizer", "Vp8Descriptor", "Vp8Packetizer", "parse_vp8_descriptor"]

_EXTENDED, _NON_REFERENCE, _START = 0x80, 0x20, 0x10
_HAS_PICTURE_ID, _HAS_TL0, _HAS_TID, _HAS_KEYIDX = 0x80, 0x40, 0x20, 0x10
_LONG_PICTURE_ID = 0x80
# The lowest bit of a frame's first byte is clear for a keyframe (RFC 6386 9.1).
_INTER_FRAME = 0x01


@dataclass(frozen=True, slots=True)
class Vp8Descriptor:
    """The payload descriptor (RFC 7741 4.2); None for fields that are absent."""

    start: bool
    """The first packet of a partition."""
    partition: int
    picture_id: int | None
    tl0_picture_index: int | None
    temporal: int | None
    size_bytes: int

    @property
    def starts_frame(self) -> bool:
        """Whether a frame begins with this packet."""
        return self.start and self.partition == 0


class Vp8Packetizer:
    """Cuts the frames of one layer into payloads with 15-bit picture ids and TL0PICIDX, as a browser with one temporal layer does.

    ``picture_id`` and ``tl0_picture_index`` are those of the first frame.
    """

    def __init__(self, picture_id: int = 0, tl0_picture_index: int = 0) -> None:
        self._picture_id = picture_id & 0x7FFF
        self._tl0 = tl0_picture_index & 0xFF

    def packetize(self, frame: bytes) -> list[bytes]:
        """Return the payloads of ``frame``; the last one belongs into a packet with the marker."""
        fields = bytes(
            (
                _HAS_PICTURE_ID | _HAS_TL0 | _HAS_TID,
                _LONG_PICTURE_ID | self._picture_id >> 8,
                self._picture_id & 0xFF,
                self._tl0,
                0,
            )
        )
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        self._tl0 = (self._tl0 + 1) & 0xFF
        parts = split_evenly(frame, MAX_PAYLOAD_BYTES - 1 - len(fields))
        return [bytes((_EXTENDED | (0 if index else _START),)) + fields + part for index, part in enumerate(parts)]


class Vp8Depacketizer:
    """Puts VP8 frames together from payloads."""

    def read(self, payload: bytes) -> Piece:
        """See `bench.media.payload.Depacketizer.read`."""
        descriptor = parse_vp8_descriptor(payload)
        first = descriptor.starts_frame
        return Piece(payload, first, first and not payload[descriptor.size_bytes] & _INTER_FRAME)

    def join(self, pieces: Sequence[bytes]) -> bytes:
        """See `bench.media.payload.Depacketizer.join`."""
        return b"".join(payload[parse_vp8_descriptor(payload).size_bytes :] for payload in pieces)


def parse_vp8_descriptor(payload: bytes) -> Vp8Descriptor:
    """Parse the descriptor at the head of ``payload``. Raises PayloadError when it is truncated or nothing follows it."""
    try:
        return _parse(payload)
    except IndexError:
        raise PayloadError("VP8 payload ends within its descriptor") from None


def _parse(payload: bytes) -> Vp8Descriptor:
    head = payload[0]
    offset = 1
    picture_id = tl0 = temporal = None
    if head & _EXTENDED:
        fields = payload[1]
        offset = 2
        if fields & _HAS_PICTURE_ID:
            picture_id = payload[offset] & 0x7F
            offset += 1
            if payload[offset - 1] & _LONG_PICTURE_ID:
                picture_id = picture_id << 8 | payload[offset]
                offset += 1
        if fields & _HAS_TL0:
            tl0 = payload[offset]
            offset += 1
        if fields & (_HAS_TID | _HAS_KEYIDX):
            temporal = payload[offset] >> 6 if fields & _HAS_TID else None
            offset += 1
    if offset >= len(payload):
        raise PayloadError("VP8 payload holds nothing but its descriptor")
    return Vp8Descriptor(bool(head & _START), head & 0x07, picture_id, tl0, temporal, offset)
