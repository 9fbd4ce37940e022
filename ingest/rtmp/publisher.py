"""The client's side of an RTMP connection that publishes one stream: sans-IO, for robots, relays and tests.

Driving it: send `data_to_send`, hand `receive_data` what comes back, and so on until `state` is PUBLISHING; from then on `send`
media and at the end `finish`. A refusal makes the state CLOSED and is told in `refusal`.
"""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit

from ingest.rtmp import amf
from ingest.rtmp.chunk import ChunkReader, ChunkWriter, Message, MessageType
from ingest.rtmp.handshake import HANDSHAKE_NONCE_BYTES
from salam import ConfigError, ProtocolError

__all__ = ["PublisherState", "RtmpPublisher"]

DEFAULT_PORT = 1935
_VERSION = b"\x03"
_PART_BYTES = 1536
# What a chunk header costs per chunk is nothing at this size, and audio still gets between the chunks of a picture.
_CHUNK_SIZE_BYTES = 16_384
_CONTROL_CHUNK_STREAM, _COMMAND_CHUNK_STREAM, _MEDIA_CHUNK_STREAM = 2, 3, 6
_CONNECT, _CREATE_STREAM, _PUBLISH = 1.0, 2.0, 3.0
_PING_REQUEST, _PING_RESPONSE = 6, 7


class PublisherState(Enum):
    """Where the client stands."""

    HANDSHAKE = "handshake"
    CONNECTING = "connecting"
    CREATING = "creating"
    REQUESTING = "requesting"
    PUBLISHING = "publishing"
    CLOSED = "closed"


class RtmpPublisher:
    """Publishes to ``url`` (``rtmp://HOST[:PORT]/APP/STREAM[?token=JWT]``); ``nonce`` is 1528 random bytes for the handshake.

    Raises ConfigError when the URL has another form.
    """

    def __init__(self, url: str, *, nonce: bytes) -> None:
        try:
            parts = urlsplit(url)
            self.host, self.port = parts.hostname or "", parts.port or DEFAULT_PORT
        except ValueError:
            raise ConfigError("the publish URL has no valid host and port") from None
        app, _, stream = parts.path.strip("/").partition("/")
        if parts.scheme != "rtmp" or not self.host or not app or not stream:
            raise ConfigError("the publish URL must look like rtmp://HOST:PORT/APP/STREAM")
        if len(nonce) != HANDSHAKE_NONCE_BYTES:
            raise ValueError(f"the nonce must have {HANDSHAKE_NONCE_BYTES} bytes")
        self.state = PublisherState.HANDSHAKE
        self.refusal: str | None = None
        """What the server said when it refused or ended the publication."""
        self._app = app
        self._stream = f"{stream}?{parts.query}" if parts.query else stream
        self._reader = ChunkReader()
        self._writer = ChunkWriter()
        self._stream_id = 0
        self._buffer = b""
        self._out = bytearray(_VERSION + bytes(8) + nonce)

    def data_to_send(self) -> bytes:
        """Return, once, the bytes that are to be sent now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take ``data`` from the server.

        Raises ProtocolError when it does not speak RTMP.
        """
        if self.state is PublisherState.HANDSHAKE:
            data = self._shake_hands(data)
        self._reader.receive_data(data)
        while (message := self._reader.next_message()) is not None:
            self._on_message(message)

    def send(self, message: Message) -> None:
        """Send an audio, video or data message; its stream id is filled in. Ignored once closed.

        Raises RuntimeError before the server has accepted the publication.
        """
        if self.state is PublisherState.CLOSED:
            return
        if self.state is not PublisherState.PUBLISHING:
            raise RuntimeError("the publication has not been accepted yet")
        own = Message(message.type_id, self._stream_id, message.timestamp_ms, message.payload)
        self._out += self._writer.write(_MEDIA_CHUNK_STREAM, own)

    def finish(self) -> None:
        """Say goodbye; the state is CLOSED afterwards."""
        if self.state is PublisherState.PUBLISHING:
            self._command(0, "FCUnpublish", 0.0, None, self._stream)
            self._command(0, "deleteStream", 0.0, None, float(self._stream_id))
        self.state = PublisherState.CLOSED

    def _shake_hands(self, data: bytes) -> bytes:
        """Return what lies behind the handshake, once it is over."""
        self._buffer += data
        if self._buffer[:1] not in (b"", _VERSION):
            raise ProtocolError("the server does not speak RTMP")
        if len(self._buffer) < 1 + 2 * _PART_BYTES:
            return b""
        # C2 is S1 sent back; S2, our own bytes, is not looked at: it proves nothing.
        self._out += self._buffer[1 : 1 + _PART_BYTES]
        rest, self._buffer = self._buffer[1 + 2 * _PART_BYTES :], b""
        self.state = PublisherState.CONNECTING
        self._out += self._writer.set_chunk_size(_CHUNK_SIZE_BYTES)
        host = f"[{self.host}]" if ":" in self.host else self.host
        properties: dict[str, amf.AmfInput] = {
            "app": self._app,
            "type": "nonprivate",
            "flashVer": "FMLE/3.0 (compatible; Salam)",
            "tcUrl": f"rtmp://{host}:{self.port}/{self._app}",
        }
        self._command(0, "connect", _CONNECT, properties)
        return rest

    def _on_message(self, message: Message) -> None:
        if message.type_id == MessageType.COMMAND_AMF0:
            self._on_command(amf.decode(message.payload))
        elif message.type_id == MessageType.USER_CONTROL and message.payload[:2] == _PING_REQUEST.to_bytes(2, "big"):
            payload = _PING_RESPONSE.to_bytes(2, "big") + message.payload[2:6]
            self._out += self._writer.write(_CONTROL_CHUNK_STREAM, Message(MessageType.USER_CONTROL, 0, 0, payload))

    def _on_command(self, values: list[amf.AmfValue]) -> None:
        if self.state is PublisherState.CLOSED:
            return
        name, transaction, *rest = values if len(values) > 1 else (None, None)
        information = next((value for value in reversed(rest) if isinstance(value, dict)), {})
        if name == "_result" and transaction == _CONNECT and self.state is PublisherState.CONNECTING:
            self.state = PublisherState.CREATING
            self._command(0, "createStream", _CREATE_STREAM, None)
        elif name == "_result" and transaction == _CREATE_STREAM and self.state is PublisherState.CREATING:
            stream_id = rest[-1] if rest else None
            if not isinstance(stream_id, float) or not 0 < stream_id < 2**32:
                raise ProtocolError("the server gave no stream id")
            self._stream_id = int(stream_id)
            self.state = PublisherState.REQUESTING
            self._command(self._stream_id, "publish", _PUBLISH, None, self._stream, "live")
        elif name == "_error" or (name == "onStatus" and information.get("level") == "error"):
            self.refusal = str(information.get("description") or information.get("code") or "no reason given")
            self.state = PublisherState.CLOSED
        elif name == "onStatus" and information.get("code") == "NetStream.Publish.Start":
            self.state = PublisherState.PUBLISHING

    def _command(self, stream_id: int, *values: amf.AmfInput) -> None:
        message = Message(MessageType.COMMAND_AMF0, stream_id, 0, amf.encode(*values))
        self._out += self._writer.write(_COMMAND_CHUNK_STREAM, message)
