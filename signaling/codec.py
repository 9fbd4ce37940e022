"""The two encodings of the ``salam.v1`` protocol: JSON in text frames, MessagePack in binary frames."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Protocol, TypeVar

import msgspec

from salam.errors import ProtocolError
from signaling.messages import Request, ServerMessage

__all__ = ["MAX_MESSAGE_BYTES", "Codec", "Encoding", "MessageError", "negotiate"]

# The largest allowed SDP (262,144 characters) with every line end escaped by JSON stays below this, with room for the other fields.
MAX_MESSAGE_BYTES = 640 * 1024

# Beyond this JavaScript cannot hold the number, and MessagePack cannot carry it: the same bound as `messages.RequestId`.
_MAX_REQUEST_ID = 2**53 - 1

_T_co = TypeVar("_T_co", covariant=True)


class Encoding(Enum):
    """How messages are written; the value is the WebSocket subprotocol."""

    JSON = "salam.v1.json"
    MSGPACK = "salam.v1.msgpack"


class MessageError(ProtocolError):
    """A frame that holds no message that we know.

    ``request_id`` is the id of the request when that much could be read, and -1 otherwise. The code is ``malformed`` (no JSON or
    MessagePack object), ``too_large``, ``unknown_type`` or ``invalid_message`` (a known type with a missing or wrong field).
    """

    default_code = "malformed"

    def __init__(self, message: str, *, code: str | None = None, request_id: int = -1) -> None:
        super().__init__(message, code=code)
        self.request_id = request_id


class _Envelope(msgspec.Struct, kw_only=True):
    id: Any = -1
    t: Any = None


class _Decoder(Protocol[_T_co]):
    # Text for JSON, bytes for MessagePack: `Codec` has checked which before.
    def decode(self, data: Any, /) -> _T_co: ...


class _Encoder(Protocol):
    def encode(self, obj: Any, /) -> bytes: ...


def negotiate(offered: Iterable[str]) -> Encoding | None:
    """Return the first encoding among the ``offered`` subprotocols, in the client's order; None when there is none."""
    for name in offered:
        for encoding in Encoding:
            if encoding.value == name:
                return encoding
    return None


class Codec:
    """Reads and writes the messages of one encoding. Holds no state of a connection, so that all connections can share one.

    ``max_bytes`` bounds what is read.
    """

    def __init__(self, encoding: Encoding, *, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.encoding = encoding
        self._max_bytes = max_bytes
        self._encoder: _Encoder
        self._requests: _Decoder[Request]
        self._messages: _Decoder[ServerMessage]
        self._envelopes: _Decoder[_Envelope]
        if encoding is Encoding.JSON:
            self._encoder = msgspec.json.Encoder()
            self._requests = msgspec.json.Decoder(Request)
            self._messages = msgspec.json.Decoder(ServerMessage)
            self._envelopes = msgspec.json.Decoder(_Envelope)
        else:
            self._encoder = msgspec.msgpack.Encoder()
            self._requests = msgspec.msgpack.Decoder(Request)
            self._messages = msgspec.msgpack.Decoder(ServerMessage)
            self._envelopes = msgspec.msgpack.Decoder(_Envelope)

    @property
    def is_text(self) -> bool:
        """True when messages travel in text frames."""
        return self.encoding is Encoding.JSON

    def encode(self, message: Request | ServerMessage) -> bytes:
        """Return ``message`` as the payload of one frame (UTF-8 for text frames)."""
        return self._encoder.encode(message)

    def decode_request(self, frame: bytes | str) -> Request:
        """Return the request in ``frame``, the payload of one frame: str from a text frame, bytes from a binary one.

        Raises MessageError, and nothing else, for any content.
        """
        return self._decode(self._requests, frame)

    def decode_server_message(self, frame: bytes | str) -> ServerMessage:
        """Return the reply or event in ``frame``; see `decode_request`."""
        return self._decode(self._messages, frame)

    def _decode(self, decoder: _Decoder[_T_co], frame: bytes | str) -> _T_co:
        if len(frame) > self._max_bytes:
            raise MessageError(f"the message has {len(frame)} bytes; allowed: {self._max_bytes}", code="too_large")
        if isinstance(frame, str) != self.is_text:
            wanted = "text" if self.is_text else "binary"
            raise MessageError(f"{self.encoding.value} uses {wanted} frames")
        try:
            return decoder.decode(frame)
        except msgspec.ValidationError as error:
            raise self._explain(frame, error) from error
        # Nesting beyond the interpreter's limit, and text that is no valid UTF-8, have exceptions of their own.
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise MessageError(f"the frame holds no {self.encoding.name} object") from error

    def _explain(self, frame: bytes | str, error: msgspec.ValidationError) -> MessageError:
        try:
            envelope = self._envelopes.decode(frame)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return MessageError(f"the frame holds no {self.encoding.name} object")
        known_id = isinstance(envelope.id, int) and not isinstance(envelope.id, bool) and 0 <= envelope.id <= _MAX_REQUEST_ID
        request_id = envelope.id if known_id else -1
        if not isinstance(envelope.t, str):
            return MessageError("the message has no type in `t`", code="invalid_message", request_id=request_id)
        if str(error).endswith("at `$.t`"):
            return MessageError("the type of the message is not known here", code="unknown_type", request_id=request_id)
        # The library's text names the field and what is expected of it; it goes to the sender alone.
        return MessageError(str(error), code="invalid_message", request_id=request_id)
