"""The RTMP chunk stream: messages cut into interleaved chunks (RTMP 1.0, section 5.3).

`ChunkReader` takes bytes in pieces of any size and gives back whole messages; `ChunkWriter` does the reverse. Neither does I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from ingest.rtmp.limits import RtmpLimits
from salam import ProtocolError

__all__ = ["DEFAULT_CHUNK_SIZE_BYTES", "ChunkReader", "ChunkWriter", "Message", "MessageType"]

# Both directions start with this (section 5.4.1).
DEFAULT_CHUNK_SIZE_BYTES = 128

# A 24-bit timestamp field of all ones says that 32 bits follow (section 5.3.1.3).
_EXTENDED = 0xFFFFFF
_TIMESTAMP_MASK = 0xFFFFFFFF
# A step of half the range or more is a step backwards, which only a full header can express.
_HALF_RANGE = 1 << 31

# Bytes of the message header for each chunk type (section 5.3.1.2).
_HEADER_BYTES = (11, 7, 3, 0)

# Chunk stream ids by the length of the basic header (section 5.3.1.1).
_FIRST_TWO_BYTE_ID = 64
_FIRST_THREE_BYTE_ID = 320
_LAST_ID = 65_599


class MessageType(IntEnum):
    """Message type ids (RTMP 1.0, sections 5.4, 6.2 and 7.1)."""

    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACK_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    COMMAND_AMF3 = 17
    DATA_AMF0 = 18
    COMMAND_AMF0 = 20
    AGGREGATE = 22


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message; ``timestamp_ms`` is modulo 2^32, as on the wire."""

    type_id: int
    stream_id: int
    timestamp_ms: int
    payload: bytes


class _ChunkStream:
    """What one chunk stream id remembers between its chunks."""

    __slots__ = ("delta_ms", "extended", "field", "length_bytes", "payload", "stream_id", "timestamp_ms", "type_id")

    def __init__(self) -> None:
        self.timestamp_ms = 0
        self.delta_ms = 0
        self.field = 0
        self.extended = False
        self.length_bytes = 0
        self.type_id = 0
        self.stream_id = 0
        self.payload: bytearray | None = None


class ChunkReader:
    """Puts the messages of one direction together.

    Call `receive_data` with what arrived, then `next_message` until it returns None. Set Chunk Size and Abort Message act here,
    and are returned too. After a ProtocolError the stream has no known position any more and the reader must be thrown away.
    """

    def __init__(self, limits: RtmpLimits | None = None) -> None:
        self.bytes_received = 0
        self.chunk_size_bytes = DEFAULT_CHUNK_SIZE_BYTES
        self._limits = RtmpLimits() if limits is None else limits
        self._streams: dict[int, _ChunkStream] = {}
        self._buffer = bytearray()
        self._offset = 0
        self._unfinished_bytes = 0
        # The chunk stream whose chunk body is being read, and what is missing of that body.
        self._current: _ChunkStream | None = None
        self._missing_bytes = 0

    def receive_data(self, data: bytes) -> None:
        """Add ``data`` to what is to be read."""
        self.bytes_received += len(data)
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        self._buffer += data

    def next_message(self) -> Message | None:
        """Return the next whole message, or None until more data arrives.

        Raises ProtocolError on anything that section 5.3 does not allow and on a crossed limit.
        """
        while True:
            if self._current is None and not self._read_header():
                return None
            message = self._read_body()
            if message is None:
                if self._current is not None:
                    return None
            else:
                if message.type_id == MessageType.SET_CHUNK_SIZE:
                    self._set_chunk_size(message.payload)
                elif message.type_id == MessageType.ABORT:
                    self._abort(message.payload)
                return message

    def _read_header(self) -> bool:
        """Read one chunk header; False, with nothing consumed, when it is not all there yet."""
        buffer, at = self._buffer, self._offset
        available = len(buffer) - at
        if available < 1:
            return False
        chunk_type, stream_key = buffer[at] >> 6, buffer[at] & 0x3F
        at += 1
        if stream_key < 2:
            id_bytes = stream_key + 1
            if available < 1 + id_bytes:
                return False
            stream_key = _FIRST_TWO_BYTE_ID + int.from_bytes(buffer[at : at + id_bytes], "little")
            at += id_bytes
        stream = self._streams.get(stream_key)
        self._check_chunk_type(chunk_type, stream)
        header = buffer[at : at + _HEADER_BYTES[chunk_type]]
        if len(header) < _HEADER_BYTES[chunk_type]:
            return False
        at += len(header)
        field, extended = self._timestamp_field(header, stream)
        if extended:
            raw = buffer[at : at + 4]
            if len(raw) < 4:
                return False
            value = int.from_bytes(raw, "big")
            # Some encoders leave the extended timestamp out of type 3 chunks. It always repeats a known value, so anything else
            # there is payload already.
            if chunk_type != 3 or (stream is not None and value in (stream.field, stream.timestamp_ms)):
                at += 4
                field = value if chunk_type != 3 else field
        if stream is None:
            stream = self._open_stream(stream_key)
        if stream.payload is None:
            self._begin_message(stream, chunk_type, header, field, extended)
        assert stream.payload is not None
        self._offset = at
        self._current = stream
        self._missing_bytes = min(self.chunk_size_bytes, stream.length_bytes - len(stream.payload))
        return True

    def _check_chunk_type(self, chunk_type: int, stream: _ChunkStream | None) -> None:
        if stream is None:
            # A type 1 header lacks only the message stream id, and librtmp opens control streams with it: id 0 is meant.
            if chunk_type > 1:
                raise ProtocolError("a chunk stream started without a full header")
            if len(self._streams) >= self._limits.max_chunk_streams:
                raise ProtocolError(f"more than {self._limits.max_chunk_streams} chunk streams on one connection")
        elif stream.payload is not None and chunk_type != 3:
            raise ProtocolError("a new message started inside an unfinished one of the same chunk stream")

    @staticmethod
    def _timestamp_field(header: bytearray, stream: _ChunkStream | None) -> tuple[int, bool]:
        if not header:
            return (0, False) if stream is None else (stream.field, stream.extended)
        field = int.from_bytes(header[:3], "big")
        return field, field == _EXTENDED

    def _open_stream(self, stream_key: int) -> _ChunkStream:
        stream = self._streams[stream_key] = _ChunkStream()
        return stream

    def _begin_message(self, stream: _ChunkStream, chunk_type: int, header: bytearray, field: int, extended: bool) -> None:
        if chunk_type <= 1:
            stream.length_bytes = int.from_bytes(header[3:6], "big")
            stream.type_id = header[6]
            if stream.length_bytes > self._limits.max_message_bytes:
                raise ProtocolError(
                    f"a message of {stream.length_bytes} bytes; {self._limits.max_message_bytes} are allowed",
                    code="message_too_large",
                )
        if chunk_type == 0:
            stream.stream_id = int.from_bytes(header[7:11], "little")
            stream.timestamp_ms = field
            # The field is a whole timestamp here, and a type 3 chunk that starts the next message adds it once more: odd, but
            # it is what section 5.3.1.2.4 says and what FFmpeg writes. Nobody means a step of more than four hours, though.
            stream.delta_ms = 0 if extended else field
        else:
            if chunk_type != 3:
                stream.delta_ms = field
            stream.timestamp_ms = (stream.timestamp_ms + stream.delta_ms) & _TIMESTAMP_MASK
        stream.field = field
        stream.extended = extended
        stream.payload = bytearray()

    def _read_body(self) -> Message | None:
        stream = self._current
        assert stream is not None
        assert stream.payload is not None
        taken = self._buffer[self._offset : self._offset + self._missing_bytes]
        self._unfinished_bytes += len(taken)
        if self._unfinished_bytes > self._limits.max_unfinished_bytes:
            raise ProtocolError(
                f"more than {self._limits.max_unfinished_bytes} bytes in unfinished messages", code="message_too_large"
            )
        stream.payload += taken
        self._offset += len(taken)
        self._missing_bytes -= len(taken)
        if self._missing_bytes:
            return None
        self._current = None
        if len(stream.payload) < stream.length_bytes:
            return None
        message = Message(stream.type_id, stream.stream_id, stream.timestamp_ms, bytes(stream.payload))
        self._discard(stream)
        return message

    def _set_chunk_size(self, payload: bytes) -> None:
        size = int.from_bytes(payload[:4], "big")
        if len(payload) < 4 or not self._limits.min_chunk_size_bytes <= size < _HALF_RANGE:
            raise ProtocolError(f"a chunk size outside {self._limits.min_chunk_size_bytes} to 2147483647")
        self.chunk_size_bytes = size

    def _abort(self, payload: bytes) -> None:
        if len(payload) < 4:
            raise ProtocolError("an abort message without a chunk stream id")
        stream = self._streams.get(int.from_bytes(payload[:4], "big"))
        if stream is not None and stream.payload is not None:
            self._discard(stream)

    def _discard(self, stream: _ChunkStream) -> None:
        assert stream.payload is not None
        self._unfinished_bytes -= len(stream.payload)
        stream.payload = None


@dataclass(frozen=True, slots=True)
class _Sent:
    """The header of the last message on a chunk stream; ``delta_ms`` is None after a full header."""

    type_id: int
    stream_id: int
    timestamp_ms: int
    length_bytes: int
    delta_ms: int | None


class ChunkWriter:
    """Cuts messages into chunks, with the shortest header that is read the same way everywhere.

    The number of chunk streams is the caller's choice and therefore not bounded here.
    """

    def __init__(self) -> None:
        self.chunk_size_bytes = DEFAULT_CHUNK_SIZE_BYTES
        self._sent: dict[int, _Sent] = {}

    def set_chunk_size(self, size_bytes: int) -> bytes:
        """Return the Set Chunk Size message, and use ``size_bytes`` (1 to 2^31-1) from then on.

        Raises ValueError for another size.
        """
        if not 1 <= size_bytes < _HALF_RANGE:
            raise ValueError("a chunk size outside 1 to 2147483647")
        data = self.write(2, Message(MessageType.SET_CHUNK_SIZE, 0, 0, size_bytes.to_bytes(4, "big")))
        self.chunk_size_bytes = size_bytes
        return data

    def write(self, chunk_stream_id: int, message: Message) -> bytes:
        """Return ``message`` as chunks that follow one another."""
        return b"".join(self.chunks(chunk_stream_id, message))

    def chunks(self, chunk_stream_id: int, message: Message) -> Iterator[bytes]:
        """Give the chunks of ``message`` one at a time, so that those of other chunk streams may be put between them.

        Raises ValueError for a chunk stream id outside 2 to 65599.
        """
        header, extension = self._header(chunk_stream_id, message)
        continuation = _basic_header(3, chunk_stream_id) + extension
        payload, size = message.payload, self.chunk_size_bytes
        yield header + extension + payload[:size]
        for at in range(size, len(payload), size):
            yield continuation + payload[at : at + size]

    def _header(self, chunk_stream_id: int, message: Message) -> tuple[bytes, bytes]:
        """Choose the header of the first chunk: returns it and the extended timestamp, which every further chunk repeats."""
        last = self._sent.get(chunk_stream_id)
        timestamp_ms, length = message.timestamp_ms & _TIMESTAMP_MASK, len(message.payload)
        delta_ms = 0 if last is None else (timestamp_ms - last.timestamp_ms) & _TIMESTAMP_MASK
        if last is None or last.stream_id != message.stream_id or delta_ms >= _HALF_RANGE:
            chunk_type, value, kept = 0, timestamp_ms, None
        else:
            same_shape = last.length_bytes == length and last.type_id == message.type_id
            chunk_type = 1 if not same_shape else 3 if delta_ms == last.delta_ms else 2
            value, kept = delta_ms, delta_ms
        self._sent[chunk_stream_id] = _Sent(message.type_id, message.stream_id, timestamp_ms, length, kept)
        fields = b"".join(
            (
                min(value, _EXTENDED).to_bytes(3, "big"),
                length.to_bytes(3, "big"),
                bytes((message.type_id,)),
                message.stream_id.to_bytes(4, "little"),
            )
        )
        extension = value.to_bytes(4, "big") if value >= _EXTENDED else b""
        return _basic_header(chunk_type, chunk_stream_id) + fields[: _HEADER_BYTES[chunk_type]], extension


def _basic_header(chunk_type: int, chunk_stream_id: int) -> bytes:
    if not 2 <= chunk_stream_id <= _LAST_ID:
        raise ValueError(f"chunk stream id {chunk_stream_id} is outside 2 to {_LAST_ID}")
    top = chunk_type << 6
    if chunk_stream_id < _FIRST_TWO_BYTE_ID:
        return bytes((top | chunk_stream_id,))
    rest = chunk_stream_id - _FIRST_TWO_BYTE_ID
    if chunk_stream_id < _FIRST_THREE_BYTE_ID:
        return bytes((top, rest))
    return bytes((top | 1,)) + rest.to_bytes(2, "little")
