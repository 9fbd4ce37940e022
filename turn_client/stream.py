"""Frames out of a byte stream: STUN messages and ChannelData as they follow one another over TCP and TLS, without I/O.

RFC 8489 section 6.2.2 and RFC 8656 section 12.5: no extra framing; a STUN message says its length, and ChannelData is padded to a
multiple of four bytes with a padding that its length does not count. The work is linear in the bytes,
however large or small the reads are.
"""

from __future__ import annotations

import struct

from turn_client.stun import MAGIC_COOKIE, StunError

__all__ = ["MAX_STREAM_FRAME_BYTES", "StreamParser", "frame_for_stream"]

_STUN_HEADER_BYTES = 20
_CHANNEL_HEADER_BYTES = 4
_COOKIE_BYTES = MAGIC_COOKIE.to_bytes(4, "big")

MAX_STREAM_FRAME_BYTES = _STUN_HEADER_BYTES + 0xFFFF
"""The largest frame that a 16-bit length can describe; a parser never holds more than this."""

# What fills ChannelData up, by its length modulo four. STUN messages always have a multiple of four bytes.
_PADDING = (b"", bytes(3), bytes(2), bytes(1))

_read_header = struct.Struct("!HH").unpack_from


class StreamParser:
    """Cuts one direction of one connection into frames.

    A frame is what would have been one datagram over UDP: the padding of ChannelData is taken off. A stream that is not STUN
    cannot be read on, because where the next frame begins is unknown: after garbage the parser is broken for good, and the
    connection is of no more use.
    """

    def __init__(self) -> None:
        # The beginning of a frame whose rest has not come yet; a bytearray while many small reads are gathered.
        self._partial: bytes | bytearray = b""
        self._error: StunError | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished frame; always less than `MAX_STREAM_FRAME_BYTES`."""
        return len(self._partial)

    @property
    def broken(self) -> bool:
        """Whether garbage was met; every further `feed` raises."""
        return self._error is not None

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read from the connection and return the frames that it completes, in order.

        Frames that came whole before garbage are returned; the error is then raised by the next call, even one without data.
        Raises StunError when the stream holds what is neither a STUN message nor ChannelData.
        """
        if self._error is not None:
            raise self._error
        frames: list[bytes] = []
        try:
            if self._partial:
                if len(self._partial) > len(data):
                    data = self._gather(data, frames)
                else:
                    # Joining is the quickest, and no more work than the read itself was.
                    data = b"".join((self._partial, data))
                    self._partial = b""
            at = 0
            end = len(data)
            while end - at >= 4:
                kind, length = _read_header(data, at)
                # RFC 8656 section 12: the numbers above 0x4FFF are reserved, and no server may send one.
                if 0x4000 <= kind <= 0x4FFF:
                    stop = at + 4 + length
                    after = stop + (-length & 3)
                else:
                    cookie = data[at + 4 : at + 8]
                    if kind > 0x3FFF or length & 3 or (cookie != _COOKIE_BYTES and not _COOKIE_BYTES.startswith(cookie)):
                        raise _garbage(kind, length)
                    after = stop = at + 20 + length
                if after > end:
                    break
                frames.append(data[at:stop])
                at = after
            if at < end:
                self._partial = data[at:]
        except StunError as error:
            self._error = error
            self._partial = b""
            if not frames:
                raise
        return frames

    def _gather(self, data: bytes, frames: list[bytes]) -> bytes:
        """Move the rest of a large unfinished frame over from ``data``; returns what is left of that.

        Joining each small read with what is there would copy that again and again.
        """
        partial = self._partial if isinstance(self._partial, bytearray) else bytearray(self._partial)
        self._partial = partial
        at = 0
        # First the bytes that tell the length, and for a STUN message the cookie with it; then the rest in one step.
        while True:
            wanted, size = _wanted(partial)
            taken = data[at : at + wanted - len(partial)]
            partial += taken
            at += len(taken)
            if len(partial) < wanted:
                return b""
            if size:
                frames.append(bytes(memoryview(partial)[:size]))
                self._partial = b""
                return data[at:]


def _wanted(head: bytearray) -> tuple[int, int]:
    """How many bytes must be there to go on, and how many of them are the frame; 0 while that is unknown."""
    if len(head) < 4:
        return 4, 0
    kind, length = _read_header(head)
    if 0x4000 <= kind <= 0x4FFF:
        return _CHANNEL_HEADER_BYTES + length + (-length & 3), _CHANNEL_HEADER_BYTES + length
    if kind > 0x3FFF or length & 3:
        raise _garbage(kind, length)
    if len(head) < 8:
        return 8, 0
    if head[4:8] != _COOKIE_BYTES:
        raise _garbage(kind, length)
    return _STUN_HEADER_BYTES + length, _STUN_HEADER_BYTES + length


def _garbage(kind: int, length: int) -> StunError:
    if kind > 0x3FFF:
        return StunError(f"a frame that begins with 0x{kind:04x} is neither STUN nor ChannelData")
    return StunError("the length of a STUN message is no multiple of four" if length & 3 else "wrong magic cookie in the stream")


def frame_for_stream(frame: bytes) -> bytes:
    """Return ``frame``, one STUN message or ChannelData without padding, as it is written to a stream (RFC 8656 section 12.5)."""
    return frame + _PADDING[len(frame) & 3]
