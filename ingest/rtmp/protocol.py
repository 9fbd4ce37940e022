"""The server's side of one RTMP connection that publishes: sans-IO.

::

    HANDSHAKE ── C2 ──> CONNECTING ── connect ──> CONNECTED ── publish ──> REQUESTED ── accept ──> PUBLISHING
                            │                         ^                        │                       │
                            └─ wrong application      └───────── goodbye ──────┼───────────────────────┘
                               ──> CLOSED                                      └─ refuse ──> CLOSED

Driving it: `receive_data` with what arrived, then `next_event` until it returns None, and after that send `data_to_send`. A
`PublishRequested` must be answered with `accept` or `refuse` before the next event is asked for. `handle_timeout` is due at
`deadline_s`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from ingest.rtmp import amf
from ingest.rtmp.address import is_stream_name, split_app, split_stream, token_in
from ingest.rtmp.chunk import ChunkReader, Message, MessageType
from ingest.rtmp.handshake import ServerHandshake
from ingest.rtmp.limits import RtmpLimits
from ingest.rtmp.publication import InputDropped, Publication, PublicationEvent
from ingest.rtmp.replies import CAPS_RECONNECT, Replies
from salam import ProtocolError

__all__ = ["PublishFinished", "PublishRequested", "RtmpSession", "SessionEvent", "SessionState"]

# The one message stream that createStream gives out. A publisher needs one; 0 is the connection itself.
_STREAM_ID = 1
# Clients that set no window of their own get an acknowledgement as often as Adobe's server sent them.
_DEFAULT_WINDOW_BYTES = 2_500_000
# A window below one kilobyte would make us answer every packet.
_MIN_WINDOW_BYTES = 1024
_PING_REQUEST = 6
# FLV tag header and trailer inside an aggregate message (FLV E.4.1).
_TAG_HEADER_BYTES = 11
_TAG_TRAILER_BYTES = 4
_GOODBYES = frozenset({"FCUnpublish", "deleteStream", "closeStream"})


class SessionState(Enum):
    """Where a connection stands."""

    HANDSHAKE = "handshake"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    REQUESTED = "requested"
    PUBLISHING = "publishing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """The client wants to publish stream ``name``; ``token`` is what its URL carries, maybe empty."""

    name: str
    token: str

    def __repr__(self) -> str:
        return f"PublishRequested(name={self.name!r}, token=<token>)"


@dataclass(frozen=True, slots=True)
class PublishFinished:
    """The client said that its publication is over."""


SessionEvent: TypeAlias = PublishRequested | PublishFinished | PublicationEvent


class RtmpSession:
    """One connection. ``app`` is the only application name taken, ``nonce`` random bytes for the handshake, ``now`` monotonic
    seconds."""

    def __init__(self, *, app: str, limits: RtmpLimits, nonce: bytes, now: float) -> None:
        self.state = SessionState.HANDSHAKE
        self.publication: Publication | None = None
        self._app = app
        self._limits = limits
        self._handshake = ServerHandshake(nonce)
        self._reader = ChunkReader(limits)
        self._replies = Replies()
        self._events: deque[SessionEvent] = deque()
        # An aggregate's parts are given out one by one: a goodbye in the middle must take effect before the next part.
        self._parts: Iterator[Message] = iter(())
        self._start_by_s = now + limits.start_timeout_s
        self._connect_url = ""
        self._app_field = ""
        self._can_reconnect = False
        self._pending_name = ""
        self._window_bytes = _DEFAULT_WINDOW_BYTES
        self._acknowledged_bytes = 0
        # Messages since `_counting_from_s`, against floods.
        self._messages = 0
        self._counting_from_s = now

    @property
    def bytes_received(self) -> int:
        """Bytes of chunks that came in; the handshake is not counted."""
        return self._reader.bytes_received

    def receive_data(self, data: bytes) -> None:
        """Take ``data`` from the connection; ignored once closed.

        Raises ProtocolError when the client does not speak RTMP.
        """
        if self.state is SessionState.CLOSED:
            return
        if self.state is not SessionState.HANDSHAKE:
            self._reader.receive_data(data)
            return
        self._replies.raw(self._handshake.receive_data(data))
        if self._handshake.done:
            self.state = SessionState.CONNECTING
            self._reader.receive_data(self._handshake.take_rest())

    def data_to_send(self) -> bytes:
        """Return, once, the bytes that are to be sent now."""
        received = self._reader.bytes_received
        if received - self._acknowledged_bytes >= self._window_bytes and self.state is not SessionState.CLOSED:
            self._acknowledged_bytes = received
            self._replies.acknowledge(received)
        return self._replies.take()

    def next_event(self, now: float) -> SessionEvent | None:
        """Return what happened next, or None until more data arrives.

        Raises ProtocolError when the connection cannot go on; events that were returned before stay valid.
        """
        while not self._events:
            if self.state is SessionState.REQUESTED:
                raise RuntimeError("answer the publish request before asking for the next event")
            if self.state in (SessionState.CLOSED, SessionState.HANDSHAKE):
                return None
            message = next(self._parts, None) or self._reader.next_message()
            if message is None:
                return None
            self._count_message(now)
            self._on_message(message, now)
        event = self._events.popleft()
        if isinstance(event, PublishRequested):
            self.state = SessionState.REQUESTED
        return event

    def accept(self, now: float) -> None:
        """Let the requested publication begin at ``now``."""
        if self.state is not SessionState.REQUESTED:
            raise RuntimeError("there is no publish request to accept")
        self.state = SessionState.PUBLISHING
        self.publication = Publication(self._pending_name, gather_s=self._limits.gather_s, now=now)
        self._replies.stream_begin(_STREAM_ID)
        self._replies.status(_STREAM_ID, "status", "NetStream.Publish.Start", f"{self._pending_name} is being published.")

    def refuse(self, code: str, description: str) -> None:
        """Refuse the requested publication, or end a running one, with a status ``code`` and a sentence for the person there."""
        if self.state is SessionState.CLOSED:
            return
        self._replies.status(_STREAM_ID, "error", code, description)
        self.state = SessionState.CLOSED

    def ask_to_reconnect(self, description: str) -> None:
        """Ask a client that can do so to connect again (Enhanced RTMP v2, Reconnect Request), and close."""
        if self._can_reconnect and self.state is not SessionState.CLOSED:
            self._replies.status(0, "status", "NetConnection.Connect.ReconnectRequest", description)
        self.state = SessionState.CLOSED

    @property
    def deadline_s(self) -> float:
        """When `handle_timeout` is due (monotonic seconds); infinite once closed."""
        if self.state is SessionState.CLOSED:
            return float("inf")
        if self.publication is not None:
            return self.publication.last_unit_s + self._limits.silence_timeout_s
        return self._start_by_s

    def handle_timeout(self, now: float) -> None:
        """Close when `deadline_s` has passed, telling the client why."""
        if now < self.deadline_s:
            return
        if self.publication is not None:
            reason = self.publication.unsupported
            self.refuse(
                "NetStream.Failed", f"No usable media for {self._limits.silence_timeout_s:g} s{f': {reason}' if reason else ''}."
            )
        elif self.state is SessionState.HANDSHAKE:
            self.state = SessionState.CLOSED
        else:
            self.refuse("NetConnection.Connect.Rejected", f"Nothing was published within {self._limits.start_timeout_s:g} s.")

    def _count_message(self, now: float) -> None:
        if now - self._counting_from_s >= 1.0:
            self._counting_from_s, self._messages = now, 0
        self._messages += 1
        if self._messages > self._limits.max_messages_per_s:
            raise ProtocolError(f"more than {self._limits.max_messages_per_s} messages in a second", code="message_flood")

    def _on_message(self, message: Message, now: float) -> None:
        match message.type_id:
            case MessageType.VIDEO | MessageType.AUDIO:
                self._on_media(message, now)
            case MessageType.COMMAND_AMF0:
                self._on_command(amf.decode(message.payload), now)
            case MessageType.COMMAND_AMF3:
                self._on_command(amf.decode(_without_amf3_wrapper(message.payload)), now)
            case MessageType.DATA_AMF0:
                self._on_data(message.payload)
            case MessageType.DATA_AMF3:
                self._on_data(_without_amf3_wrapper(message.payload))
            case MessageType.AGGREGATE:
                self._parts = _parts_of(message)
            case MessageType.USER_CONTROL:
                if len(message.payload) >= 6 and int.from_bytes(message.payload[:2], "big") == _PING_REQUEST:
                    self._replies.pong(message.payload[2:6])
            case MessageType.WINDOW_ACK_SIZE:
                if len(message.payload) >= 4:
                    self._window_bytes = max(int.from_bytes(message.payload[:4], "big"), _MIN_WINDOW_BYTES)
        # Acknowledgements and bandwidth limits concern what we send, which is next to nothing; unknown types are to be passed over.

    def _on_media(self, message: Message, now: float) -> None:
        # Media before the publication is accepted or after its end has nowhere to go; encoders that stop send some.
        if self.publication is None:
            return
        kind: Literal["video", "audio"] = "video" if message.type_id == MessageType.VIDEO else "audio"
        self._events += self.publication.on_media(kind, message.payload, message.timestamp_ms, now)

    def _on_data(self, payload: bytes) -> None:
        if self.publication is not None:
            self._events += self.publication.on_metadata(payload)

    def _on_command(self, values: list[amf.AmfValue], now: float) -> None:
        name = values[0] if values else None
        transaction = values[1] if len(values) > 1 else 0.0
        if not isinstance(name, str) or not isinstance(transaction, float):
            raise ProtocolError("a command without name and transaction number")
        if self.state is SessionState.CONNECTING:
            if name != "connect":
                raise ProtocolError("a command before connect")
            self._on_connect(transaction, values[2] if len(values) > 2 else None)
        elif name == "createStream":
            self._replies.result(transaction, float(_STREAM_ID))
        elif name == "publish":
            self._on_publish(transaction, values[3] if len(values) > 3 else None)
        elif name == "FCPublish":
            self._replies.notice("onFCPublish", "NetStream.Publish.Start", "Go on.")
            self._answer(transaction)
        elif name in _GOODBYES:
            self._on_goodbye(name, transaction, now)
        elif name == "play":
            self.refuse("NetStream.Play.Failed", "Streams are played over HLS, not over RTMP.")
            self._events.append(InputDropped("play_refused"))
        elif name in ("releaseStream", "_checkbw", "getStreamLength"):
            self._answer(transaction)
        elif transaction:
            self._replies.error(transaction, "NetConnection.Call.Failed", "This command is not known here.")

    def _answer(self, transaction: float) -> None:
        # Number 0 says that no answer is wanted (section 7.1.1).
        if transaction:
            self._replies.result(transaction, None)

    def _on_connect(self, transaction: float, properties: amf.AmfValue) -> None:
        if not isinstance(properties, dict):
            raise ProtocolError("a connect command without properties")
        app, url, caps = properties.get("app"), properties.get("tcUrl"), properties.get("capsEx")
        self._app_field = app if isinstance(app, str) else ""
        self._connect_url = url if isinstance(url, str) else ""
        self._can_reconnect = isinstance(caps, float) and caps.is_integer() and bool(int(caps) & CAPS_RECONNECT)
        if split_app(self._app_field) != self._app:
            description = f"There is no such application here; the address is rtmp://HOST/{self._app}/STREAM."
            self._replies.error(transaction, "NetConnection.Connect.Rejected", description)
            self.state = SessionState.CLOSED
            self._events.append(InputDropped("wrong_application"))
            return
        encoding = properties.get("objectEncoding")
        self._replies.welcome(transaction, object_encoding=encoding if isinstance(encoding, float) else 0.0)
        self.state = SessionState.CONNECTED

    def _on_publish(self, transaction: float, stream: amf.AmfValue) -> None:
        if self.state is SessionState.PUBLISHING:
            raise ProtocolError("a second publish on one connection")
        address = stream if isinstance(stream, str) else ""
        name = split_stream(address)
        token = token_in(address, self._app_field, self._connect_url)
        if not is_stream_name(name):
            description = "The stream name must be 1 to 64 letters, digits, '-', '_' or '.', and begin with a letter or a digit."
            self.refuse("NetStream.Publish.BadName", description)
            self._events.append(InputDropped("bad_stream_name"))
            return
        self._answer(transaction)
        self._pending_name = name
        self._events.append(PublishRequested(name, token))

    def _on_goodbye(self, name: str, transaction: float, now: float) -> None:
        if name == "FCUnpublish":
            self._replies.notice("onFCUnpublish", "NetStream.Unpublish.Success", "Over.")
        self._answer(transaction)
        if self.state is SessionState.PUBLISHING:
            self.publication = None
            self.state = SessionState.CONNECTED
            # The connection may publish again; otherwise it is a stranger like any other.
            self._start_by_s = now + self._limits.start_timeout_s
            self._replies.status(_STREAM_ID, "status", "NetStream.Unpublish.Success", "The publication is over.")
            self._events.append(PublishFinished())


def _without_amf3_wrapper(payload: bytes) -> bytes:
    # A leading zero says "AMF0 follows" (section 7.1.1). A command starts with a string's marker, so a zero cannot be its first
    # value.
    return payload[1:] if payload[:1] == b"\x00" else payload


def _parts_of(aggregate: Message) -> Iterator[Message]:
    """Give the FLV tags in ``aggregate`` as messages of their own (RTMP 1.0, section 7.1.6).

    The aggregate's timestamp belongs to its first tag, and the others keep their distance from it. Raises ProtocolError, when
    the broken part is reached, at a part that is cut short.
    """
    data, at, offset_ms = aggregate.payload, 0, None
    while at < len(data):
        header = data[at : at + _TAG_HEADER_BYTES]
        if len(header) < _TAG_HEADER_BYTES:
            raise ProtocolError("an aggregate message that ends inside a tag header")
        size = int.from_bytes(header[1:4], "big")
        # The lower 24 bits come first, the upper 8 after them.
        timestamp_ms = int.from_bytes(header[4:7], "big") | header[7] << 24
        at += _TAG_HEADER_BYTES
        payload = data[at : at + size]
        if len(payload) < size:
            raise ProtocolError("an aggregate message that ends inside a tag")
        if offset_ms is None:
            offset_ms = aggregate.timestamp_ms - timestamp_ms
        at += size + _TAG_TRAILER_BYTES
        # Aggregates in aggregates have no meaning and would recurse.
        if header[0] != MessageType.AGGREGATE:
            yield Message(header[0], aggregate.stream_id, (timestamp_ms + offset_ms) & 0xFFFFFFFF, payload)
