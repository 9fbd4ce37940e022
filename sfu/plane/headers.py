"""The RTP headers of one sent stream, with the header extensions that the subscriber negotiated."""

from __future__ import annotations

import struct

from sfu.plane.interface import ExtensionIds
from sfu.plane.packets import forwarded_ids
from sfu.plane.rtp import encode_extensions

__all__ = ["HeaderWriter"]

_FIXED = struct.Struct("!BBHII")
# The usual case in one step: fixed header, extension head, abs-send-time as one word, transport-cc as byte and number.
_USUAL = struct.Struct("!BBHIIHHIBH")
_ONE_BYTE_PROFILE = 0xBEDE
_PADDING = (b"", b"\0", b"\0\0", b"\0\0\0")


class HeaderWriter:
    """Writes headers for one m-line of a subscriber; ids are the subscriber's, whatever the publisher's were."""

    def __init__(self, extensions: ExtensionIds, mid: str) -> None:
        self._forwarded = forwarded_ids(extensions)
        self._abs_send_time = extensions.abs_send_time
        self._transport_cc = extensions.transport_cc
        self._mid = extensions.mid
        self._mid_value = mid.encode()
        self.carries_transport_sequence = bool(extensions.transport_cc)
        ids = (*self._forwarded, self._abs_send_time, self._transport_cc, self._mid)
        self._usual = bool(self._abs_send_time and self._transport_cc) and max(ids) <= 14 and 1 <= len(self._mid_value) <= 16
        self._abs_send_time_head = self._abs_send_time << 28 | 2 << 24
        self._transport_cc_head = self._transport_cc << 4 | 1
        self._tail = b""
        self._tail_padded = b""
        self._words = 0
        self._set_tail(with_mid=bool(self._mid))

    def stop_mid(self) -> None:
        """Leave the MID out from now on: the receiver has bound the SSRC."""
        self._mid = 0
        self._set_tail(with_mid=False)

    def _set_tail(self, *, with_mid: bool) -> None:
        tail = bytes((self._mid << 4 | len(self._mid_value) - 1,)) + self._mid_value if with_mid and self._usual else b""
        self._tail = tail
        self._tail_padded = tail + _PADDING[-(7 + len(tail)) % 4]
        self._words = (7 + len(self._tail_padded)) // 4

    def write(
        self,
        marker_and_type: int,
        sequence: int,
        timestamp: int,
        ssrc: int,
        abs_send_time: int,
        transport_sequence: int,
        extras: tuple[tuple[int, bytes], ...],
    ) -> bytes:
        """Return a header: marker bit and payload type in one byte, 16-bit numbers, 24-bit abs-send-time, extensions to pass on."""
        if not self._usual:
            return self._write_any(marker_and_type, sequence, timestamp, ssrc, abs_send_time, transport_sequence, extras)
        tail = self._tail_padded
        words = self._words
        if extras:
            parts = [self._tail]
            for kind, value in extras:
                element_id = self._forwarded[kind]
                if element_id and 1 <= len(value) <= 16:
                    parts.append(bytes((element_id << 4 | len(value) - 1,)))
                    parts.append(value)
            tail = b"".join(parts)
            tail += _PADDING[-(7 + len(tail)) % 4]
            words = (7 + len(tail)) // 4
        head = _USUAL.pack(
            0x90,
            marker_and_type,
            sequence,
            timestamp,
            ssrc,
            _ONE_BYTE_PROFILE,
            words,
            self._abs_send_time_head | abs_send_time,
            self._transport_cc_head,
            transport_sequence,
        )
        return head + tail

    def _write_any(
        self,
        marker_and_type: int,
        sequence: int,
        timestamp: int,
        ssrc: int,
        abs_send_time: int,
        transport_sequence: int,
        extras: tuple[tuple[int, bytes], ...],
    ) -> bytes:
        elements: list[tuple[int, bytes]] = []
        if self._abs_send_time:
            elements.append((self._abs_send_time, abs_send_time.to_bytes(3, "big")))
        if self._transport_cc:
            elements.append((self._transport_cc, transport_sequence.to_bytes(2, "big")))
        if self._mid:
            elements.append((self._mid, self._mid_value))
        elements += [(self._forwarded[kind], value) for kind, value in extras if self._forwarded[kind]]
        block = encode_extensions(elements)
        return _FIXED.pack(0x90 if block else 0x80, marker_and_type, sequence, timestamp, ssrc) + block
