"""The messages that the server sends: control messages and answers to commands (RTMP 1.0, sections 5.4, 6.2 and 7.2)."""

from __future__ import annotations

from ingest.rtmp.amf import AmfInput, encode
from ingest.rtmp.chunk import ChunkWriter, Message, MessageType
from ingest.rtmp.flv import AUDIO_FOURCCS, VIDEO_FOURCCS

__all__ = ["CAPS_RECONNECT", "OUTBOUND_CHUNK_SIZE_BYTES", "Replies"]

# Control messages must use chunk stream 2 (section 5.4); 3 for commands is what every implementation does.
_CONTROL_CHUNK_STREAM = 2
_COMMAND_CHUNK_STREAM = 3

OUTBOUND_CHUNK_SIZE_BYTES = 4096
"""Larger than every reply, so that none is cut: some clients lose a connect answer that spans chunks."""

# The acknowledgement window we ask for and set: what Adobe's server used, known to every client.
_WINDOW_BYTES = 2_500_000
_LIMIT_DYNAMIC = 2
_STREAM_BEGIN = 0
_PING_RESPONSE = 7

# Capability bits of Enhanced RTMP's capsEx, and "can forward" of its codec info maps.
CAPS_RECONNECT = 1
_CAPS_MULTITRACK = 2
_CAPS_MOD_EX = 4
_CAPS_NANO_OFFSET = 8
_CODEC_CAN_FORWARD = 4
# The version strings that clients expect from a server; 31 is the capability set of Flash Media Server 3.
_SERVER_VERSION = "FMS/3,5,7,7009"
_SERVER_CAPABILITIES = 31


class Replies:
    """Writes what the server says into one buffer, which `take` empties."""

    def __init__(self) -> None:
        self._writer = ChunkWriter()
        self._out = bytearray()

    def take(self) -> bytes:
        """Return everything written since the last call."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def raw(self, data: bytes) -> None:
        """Send ``data`` as it is: the handshake."""
        self._out += data

    def welcome(self, transaction: float, *, object_encoding: float) -> None:
        """Accept a connect command; tells what Enhanced RTMP features there are."""
        self._control(MessageType.WINDOW_ACK_SIZE, _WINDOW_BYTES.to_bytes(4, "big"))
        self._control(MessageType.SET_PEER_BANDWIDTH, _WINDOW_BYTES.to_bytes(4, "big") + bytes((_LIMIT_DYNAMIC,)))
        self._out += self._writer.set_chunk_size(OUTBOUND_CHUNK_SIZE_BYTES)
        video: dict[str, AmfInput] = {fourcc.decode(): _CODEC_CAN_FORWARD for fourcc in VIDEO_FOURCCS}
        audio: dict[str, AmfInput] = {fourcc.decode(): _CODEC_CAN_FORWARD for fourcc in AUDIO_FOURCCS}
        properties: dict[str, AmfInput] = {
            "fmsVer": _SERVER_VERSION,
            "capabilities": _SERVER_CAPABILITIES,
            "capsEx": CAPS_RECONNECT | _CAPS_MULTITRACK | _CAPS_MOD_EX | _CAPS_NANO_OFFSET,
            "fourCcList": [*video, *audio],
            "videoFourCcInfoMap": video,
            "audioFourCcInfoMap": audio,
        }
        information: dict[str, AmfInput] = {
            "level": "status",
            "code": "NetConnection.Connect.Success",
            "description": "Connected.",
            "objectEncoding": object_encoding,
        }
        self._command(0, "_result", transaction, properties, information)

    def result(self, transaction: float, *values: AmfInput) -> None:
        """Answer the command numbered ``transaction``."""
        self._command(0, "_result", transaction, None, *values)

    def error(self, transaction: float, code: str, description: str) -> None:
        """Refuse the command numbered ``transaction``."""
        self._command(0, "_error", transaction, None, {"level": "error", "code": code, "description": description})

    def status(self, stream_id: int, level: str, code: str, description: str) -> None:
        """Tell the state of stream ``stream_id`` (0: of the connection); ``level`` is status or error."""
        self._command(stream_id, "onStatus", 0, None, {"level": level, "code": code, "description": description})

    def notice(self, name: str, code: str, description: str) -> None:
        """Send the notification ``name``, as some encoders await after FCPublish."""
        self._command(0, name, 0, None, {"code": code, "description": description})

    def stream_begin(self, stream_id: int) -> None:
        """Say that ``stream_id`` can be used (section 6.2)."""
        self._control(MessageType.USER_CONTROL, _STREAM_BEGIN.to_bytes(2, "big") + stream_id.to_bytes(4, "big"))

    def pong(self, stamp: bytes) -> None:
        """Answer a ping with its own time stamp."""
        self._control(MessageType.USER_CONTROL, _PING_RESPONSE.to_bytes(2, "big") + stamp)

    def acknowledge(self, received_bytes: int) -> None:
        """Tell how many bytes have come in, modulo 2^32 (section 5.4.3)."""
        self._control(MessageType.ACKNOWLEDGEMENT, (received_bytes & 0xFFFFFFFF).to_bytes(4, "big"))

    def _control(self, type_id: MessageType, payload: bytes) -> None:
        self._out += self._writer.write(_CONTROL_CHUNK_STREAM, Message(type_id, 0, 0, payload))

    def _command(self, stream_id: int, *values: AmfInput) -> None:
        message = Message(MessageType.COMMAND_AMF0, stream_id, 0, encode(*values))
        self._out += self._writer.write(_COMMAND_CHUNK_STREAM, message)
