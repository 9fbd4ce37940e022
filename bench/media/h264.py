"""The RTP payload format of H.264 (RFC 6184, packetization mode 1), both ways."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.media.payload import MAX_PAYLOAD_BYTES, PayloadError, Piece, split_evenly

__all__ = ["H264Depacketizer", "H264Packetizer", "split_annex_b"]

_IDR, _SPS, _LAST_SINGLE, _STAP_A, _FU_A = 5, 7, 23, 24, 28
_TYPE_BITS, _HEADER_BITS = 0x1F, 0xE0
_FU_START, _FU_END = 0x80, 0x40
_START_CODE = b"\x00\x00\x00\x01"
_ANY_START_CODE = re.compile(rb"\x00\x00\x01")
_AGGREGATE_LENGTH_BYTES = 2
_FU_HEADER_BYTES = 2


class H264Packetizer:
    """Cuts access units in Annex B form into payloads: small NAL units together (STAP-A), large ones apart (FU-A)."""

    def packetize(self, frame: bytes) -> list[bytes]:
        """Return the payloads of ``frame``; the last one belongs into a packet with the marker."""
        payloads: list[bytes] = []
        together: list[bytes] = []
        for unit in split_annex_b(frame):
            if together and not _fits([*together, unit]):
                payloads.append(_aggregate(together))
                together = []
            if len(unit) > MAX_PAYLOAD_BYTES:
                payloads.extend(_fragments(unit))
            else:
                together.append(unit)
        if together:
            payloads.append(_aggregate(together))
        return payloads


class H264Depacketizer:
    """Puts access units in Annex B form together from payloads."""

    def read(self, payload: bytes) -> Piece:
        """See `bench.media.payload.Depacketizer.read`; where an access unit begins is known for sure only at its SPS."""
        kinds = [unit[0] & _TYPE_BITS for unit in _units(payload)]
        begins = _SPS in kinds
        return Piece(payload, begins, begins)

    def join(self, pieces: Sequence[bytes]) -> bytes:
        """See `bench.media.payload.Depacketizer.join`."""
        frame = bytearray()
        in_fragments = False
        for payload in pieces:
            if _kind(payload) != _FU_A:
                if in_fragments:
                    raise PayloadError("a fragmented NAL unit has no end")
                for unit in _units(payload):
                    frame += _START_CODE + unit
                continue
            if len(payload) <= _FU_HEADER_BYTES:
                raise PayloadError("H.264 fragment is empty")
            start = bool(payload[1] & _FU_START)
            if start == in_fragments:
                raise PayloadError("fragments of a NAL unit are out of order")
            if start:
                frame += _START_CODE + bytes((payload[0] & _HEADER_BITS | payload[1] & _TYPE_BITS,))
            frame += payload[_FU_HEADER_BYTES:]
            in_fragments = not payload[1] & _FU_END
        if in_fragments:
            raise PayloadError("a fragmented NAL unit has no end")
        return bytes(frame)


def split_annex_b(frame: bytes) -> list[bytes]:
    """Return the NAL units between the start codes of ``frame``, without them."""
    starts = [match.end() for match in _ANY_START_CODE.finditer(frame)]
    ends = [start - 3 for start in starts[1:]] + [len(frame)]
    # A fourth start-code byte, and trailing zero bytes, belong to no NAL unit (ISO/IEC 14496-10 Annex B.1).
    units = [frame[start:end].rstrip(b"\x00") for start, end in zip(starts, ends, strict=True)]
    return [unit for unit in units if unit]


def _kind(payload: bytes) -> int:
    if not payload:
        raise PayloadError("H.264 payload is empty")
    return payload[0] & _TYPE_BITS


def _units(payload: bytes) -> list[bytes]:
    """Return the NAL units that begin in ``payload``; of a fragment only the header of the first."""
    kind = _kind(payload)
    if 1 <= kind <= _LAST_SINGLE:
        return [payload]
    if kind == _FU_A:
        if len(payload) <= _FU_HEADER_BYTES:
            raise PayloadError("H.264 fragment is empty")
        return [bytes((payload[1] & _TYPE_BITS,))] if payload[1] & _FU_START else []
    if kind != _STAP_A:
        raise PayloadError(f"H.264 payload structure {kind} is not part of packetization mode 1")
    units = []
    offset = 1
    while offset < len(payload):
        size = int.from_bytes(payload[offset : offset + _AGGREGATE_LENGTH_BYTES], "big")
        offset += _AGGREGATE_LENGTH_BYTES
        if not size or offset + size > len(payload):
            raise PayloadError("H.264 aggregate is truncated")
        units.append(payload[offset : offset + size])
        offset += size
    if not units:
        raise PayloadError("H.264 aggregate is empty")
    return units


def _fits(units: list[bytes]) -> bool:
    return 1 + sum(_AGGREGATE_LENGTH_BYTES + len(unit) for unit in units) <= MAX_PAYLOAD_BYTES


def _aggregate(units: list[bytes]) -> bytes:
    if len(units) == 1:
        return units[0]
    # The aggregate is as important as its most important unit (RFC 6184 5.7).
    importance = max(unit[0] & 0x60 for unit in units)
    body = b"".join(len(unit).to_bytes(_AGGREGATE_LENGTH_BYTES, "big") + unit for unit in units)
    return bytes((importance | _STAP_A,)) + body


def _fragments(unit: bytes) -> list[bytes]:
    indicator = unit[0] & _HEADER_BITS | _FU_A
    parts = split_evenly(unit[1:], MAX_PAYLOAD_BYTES - _FU_HEADER_BYTES)
    flags = [(0 if index else _FU_START) | (_FU_END if index == len(parts) - 1 else 0) for index in range(len(parts))]
    return [bytes((indicator, flag | unit[0] & _TYPE_BITS)) + part for flag, part in zip(flags, parts, strict=True)]
