"""Cutting an FLV file that is being written into RTMP messages."""

from __future__ import annotations

from ingest.rtmp import Message

__all__ = ["FlvTap"]

# FLV annex E.2 and E.4.1: the file header with its back pointer, and what surrounds each tag's body.
_FILE_HEADER_BYTES = 13
_TAG_HEADER_BYTES = 11
_TAG_TRAILER_BYTES = 4
_SCRIPT_TAG = 18
# AMF0 string: metadata goes to a server as the call "@setDataFrame" (RTMP 1.0 leaves it open, every server knows it).
_SET_DATA_FRAME = b"\x02\x00\x0d@setDataFrame"


class FlvTap:
    """A file object for a muxer: what is written to it comes out of `take` as messages. It holds what was not taken yet, no
    more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header_left = _FILE_HEADER_BYTES

    def write(self, data: bytes) -> int:
        """Take the next bytes of the file."""
        self._buffer += data
        return len(data)

    def seekable(self) -> bool:
        """A connection cannot go back."""
        return False

    def take(self) -> list[Message]:
        """Return the messages that are complete."""
        messages: list[Message] = []
        at = min(self._header_left, len(self._buffer))
        self._header_left -= at
        while len(self._buffer) - at >= _TAG_HEADER_BYTES:
            size = int.from_bytes(self._buffer[at + 1 : at + 4], "big")
            end = at + _TAG_HEADER_BYTES + size
            if len(self._buffer) < end + _TAG_TRAILER_BYTES:
                break
            tag_type = self._buffer[at]
            timestamp_ms = int.from_bytes(self._buffer[at + 4 : at + 7], "big") | self._buffer[at + 7] << 24
            payload = bytes(self._buffer[at + _TAG_HEADER_BYTES : end])
            messages.append(Message(tag_type, 0, timestamp_ms, _SET_DATA_FRAME + payload if tag_type == _SCRIPT_TAG else payload))
            at = end + _TAG_TRAILER_BYTES
        del self._buffer[:at]
        return messages
