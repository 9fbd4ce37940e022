"""The messages of the ``salam.v1`` WebSocket protocol, in both directions.

Two subprotocols carry the same structs: ``salam.v1.json`` (text frames) and ``salam.v1.msgpack`` (binary frames). Every message is
one object with its type in ``t``. A request carries ``id``, a number that the client picks; exactly one reply names it in ``re``.
Everything else that the server sends is an event and may come at any time. Unknown fields are ignored, unknown types are answered
with an `Error`, so that a newer client can talk to an older server.

Two peer connections per participant: the client offers on ``publish`` and the server answers; the server offers on ``subscribe``
and the client answers. Each side therefore always knows who renegotiates, and glare cannot happen.

A client that lost its connection says `Hello` again with the ``resume`` secret of its `Welcome`. When that is still good
(``resumed``), it is in its room as before and gets a `RoomState`, a `StreamState` per watched stream, and the `SubscribeOffer` that
it has not answered. Otherwise it joins anew. `Join` for the room that one is in already answers with the room as it is now.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from signaling.message_types import ChatText, DisplayName, Message, Name, RequestId, Sdp, ShortId
from signaling.secure_messages import (
    Devices,
    FetchBundles,
    FetchDevices,
    KeyBundles,
    KeysLow,
    KeysPublished,
    PublishKeys,
    SecureMessage,
    SecureSent,
    SendSecure,
    TakeSecure,
)

Kind = Literal["audio", "video"]
Source = Literal["microphone", "camera", "screen", "screen_audio"]
StreamPhase = Literal["offline", "starting", "live", "interrupted", "ended"]
PeerConnectionName = Literal["publish", "subscribe"]


# ------------------------------------------------------------------------------------------------- parts of messages


class PublishedTrack(Struct, omit_defaults=True, kw_only=True):
    """What a client publishes on one m-line of its offer."""

    mid: Annotated[str, Meta(min_length=1, max_length=16)]
    source: Source
    muted: bool = False


class TrackInfo(Struct, omit_defaults=True, kw_only=True):
    """A track that a participant publishes, as everybody in the room sees it."""

    track_id: str
    kind: Kind
    source: Source
    muted: bool = False
    muted_by_moderator: bool = False
    """True when a moderator muted it: its owner may unmute it again, and is told who asked for silence."""
    layers: list[str] = msgspec.field(default_factory=list)
    """The simulcast rids, lowest first; empty for a track of one layer."""


class ParticipantInfo(Struct, omit_defaults=True, kw_only=True):
    """A participant as everybody in the room sees them."""

    participant_id: str
    name: str
    hand_raised: bool = False
    moderator: bool = False
    connected: bool = True
    """False while the participant's connection is lost and may still be resumed."""
    keys_revision: int = 0
    """Rises with each `PublishKeys` of another device or device list. 0 without any keys: nothing that is encrypted end to end can
    be sent there."""
    tracks: list[TrackInfo] = msgspec.field(default_factory=list)


class SubscribedTrack(Struct, omit_defaults=True, kw_only=True):
    """Which m-line of the server's offer carries whose track."""

    mid: str
    participant_id: str
    track_id: str
    kind: Kind
    source: Source


class ChatLine(Struct, omit_defaults=True, kw_only=True):
    """One line of text chat in a room or beside a stream."""

    chat_id: str
    participant_id: str
    name: str
    text: str
    sent_at: float
    """Unix seconds by the server's clock."""


class IceServer(Struct, omit_defaults=True, kw_only=True):
    """An ICE server in the shape of the browser's RTCIceServer."""

    urls: list[str]
    username: str = ""
    credential: str = ""

    def __repr__(self) -> str:
        # Messages end up in debug logs and in the output of failing tests.
        return f"IceServer(urls={self.urls!r}, username={self.username!r}, credential={'<secret>' if self.credential else ''!r})"


class SpeakerLevel(Struct, kw_only=True):
    """How loud a participant is."""

    participant_id: str
    level_dbov: int
    """0 is the loudest, -127 is silence (RFC 6464)."""


class QualityReport(Struct, omit_defaults=True, kw_only=True):
    """How good one participant's media reaches the server and leaves it."""

    participant_id: str
    score: int
    """3 good, 2 fair, 1 poor, 0 lost."""
    reason: Literal["good", "uplink_loss", "downlink_loss", "high_rtt", "low_bitrate", "lost"] = "good"
    rtt_ms: float = 0.0
    loss_percent: float = 0.0


# ------------------------------------------------------------------------------------------------- requests


class Hello(Message, tag="hello"):
    """First message of every connection; answered by `Welcome`."""

    id: RequestId
    token: str = ""
    client: Annotated[str, Meta(max_length=128)] = ""
    resume: Annotated[str, Meta(max_length=128)] = ""
    """The ``resume`` secret of an earlier `Welcome`, to take that session over within its grace time."""


class Join(Message, tag="join"):
    """Enter a room; answered by `Joined`. For the room that one is in already, its state as it is now."""

    id: RequestId
    room: Name
    name: DisplayName


class Leave(Message, tag="leave"):
    """Leave the room; answered by `Done`."""

    id: RequestId


class PublishOffer(Message, tag="publish_offer"):
    """The client's whole offer on the publish connection; answered by `PublishAnswer`.

    An ICE restart is an offer with new credentials.
    """

    id: RequestId
    sdp: Sdp
    tracks: Annotated[list[PublishedTrack], Meta(max_length=16)]


class SubscribeAnswer(Message, tag="subscribe_answer"):
    """The client's answer to the `SubscribeOffer` of the same ``revision``; answered by `Done`."""

    id: RequestId
    revision: RequestId
    sdp: Sdp


class RestartIce(Message, tag="restart_ice"):
    """Ask for a `SubscribeOffer` with new ICE credentials, after a network change; answered by `Done`."""

    id: RequestId


class SetLayer(Message, tag="set_layer"):
    """Say how large a subscribed video is shown, so that the right layer is forwarded; answered by `Done`.

    ``height`` is in device pixels; 0 stops the video. ``rid`` asks for one layer by name instead.
    """

    id: RequestId
    track_id: ShortId
    height: Annotated[int, Meta(ge=0, le=8640)] = 720
    rid: Annotated[str, Meta(max_length=16)] = ""


class Mute(Message, tag="mute"):
    """Tell the room that an own track is muted or not; the server stops forwarding a muted track. Answered by `Done`."""

    id: RequestId
    track_id: ShortId
    muted: bool


class RaiseHand(Message, tag="raise_hand"):
    """Raise or lower the own hand; answered by `Done`."""

    id: RequestId
    raised: bool


class Chat(Message, tag="chat"):
    """Send a line to the room, or to the stream named in ``stream``; answered by `Done`.

    ``chat_id`` is picked by the client and stays unique: a retry with the same one is not shown twice.
    """

    id: RequestId
    chat_id: ShortId
    text: ChatText
    stream: Name | Literal[""] = ""


class Moderate(Message, tag="moderate"):
    """A moderator mutes a track, lowers a hand or removes a participant; answered by `Done`."""

    id: RequestId
    action: Literal["mute", "lower_hand", "remove"]
    participant_id: ShortId
    track_id: Annotated[str, Meta(max_length=64)] = ""


class Watch(Message, tag="watch"):
    """Follow a live stream: viewer count, chat, state. Answered by `Watching`."""

    id: RequestId
    stream: Name
    name: Annotated[str, Meta(max_length=64)] = ""


class Unwatch(Message, tag="unwatch"):
    """Stop following a stream; answered by `Done`."""

    id: RequestId
    stream: Name


class React(Message, tag="react"):
    """Send a reaction to a stream; answered by `Done`."""

    id: RequestId
    stream: Name
    emoji: Annotated[str, Meta(min_length=1, max_length=16)]


class Ping(Message, tag="ping"):
    """Keep the connection alive and measure it; answered by `Pong`."""

    id: RequestId


Request = (
    Hello
    | Join
    | Leave
    | PublishOffer
    | SubscribeAnswer
    | RestartIce
    | SetLayer
    | Mute
    | RaiseHand
    | Chat
    | Moderate
    | Watch
    | Unwatch
    | React
    | PublishKeys
    | FetchDevices
    | FetchBundles
    | SendSecure
    | TakeSecure
    | Ping
)


# ------------------------------------------------------------------------------------------------- replies


class Welcome(Message, tag="welcome"):
    """The connection is accepted."""

    re: int
    session_id: str
    resume: str
    """Secret with which the client may take this session over after its connection is lost."""
    resumed: bool = False
    server: str = ""
    user_id: str = ""
    """Who the client is to the server, and in its end-to-end keys: the identity of its token, or one that was made up."""
    guest: bool = False
    """True when ``user_id`` was made up for this session."""
    heartbeat_s: float = 30.0
    resume_grace_s: float = 30.0
    ice_servers: list[IceServer] = msgspec.field(default_factory=list)
    """The ICE servers that need no credentials; `Joined` has all of them."""


class Joined(Message, tag="joined"):
    """The room as it is now."""

    re: int
    room: str
    participant_id: str
    moderator: bool = False
    can_publish: bool = True
    participants: list[ParticipantInfo] = msgspec.field(default_factory=list)
    """Everybody else in the room."""
    chat: list[ChatLine] = msgspec.field(default_factory=list)
    """The latest lines, oldest first."""
    ice_servers: list[IceServer] = msgspec.field(default_factory=list)
    """The ICE servers for media in this room, those of the `Welcome` included."""
    ice_ttl_s: float = 0.0
    """How long the credentials among them are good for; new ones come before with `IceServersChanged`. 0: for good."""


class PublishAnswer(Message, tag="publish_answer"):
    """The server's answer on the publish connection, with the track that each m-line became."""

    re: int
    sdp: str
    track_ids: dict[str, str]
    """mid to track id."""


class Watching(Message, tag="watching"):
    """The stream as it is now."""

    re: int
    stream: str
    state: StreamPhase
    viewers: int = 0
    chat: list[ChatLine] = msgspec.field(default_factory=list)


class Done(Message, tag="done"):
    """The request was carried out."""

    re: int


class Pong(Message, tag="pong"):
    """The answer to a `Ping`."""

    re: int


class Error(Message, tag="error"):
    """The request was not carried out. ``re`` is -1 when the message could not be read well enough to know its id."""

    re: int
    code: str
    message: str
    retryable: bool = False


# ------------------------------------------------------------------------------------------------- events


class ParticipantJoined(Message, tag="participant_joined"):
    """Somebody entered the room."""

    participant: ParticipantInfo


class ParticipantLeft(Message, tag="participant_left"):
    """Somebody left the room."""

    participant_id: str
    reason: Literal["left", "lost", "removed", "closed"] = "left"


class ParticipantUpdated(Message, tag="participant_updated"):
    """Something about a participant changed, their tracks included; the whole new state. Sent to that participant too."""

    participant: ParticipantInfo


class RoomState(Message, tag="room_state"):
    """The room as it is now, sent after the `Welcome` of a resumed session that is in a room; replaces all that was known of it."""

    room: str
    participant: ParticipantInfo
    """The receiver."""
    can_publish: bool = True
    participants: list[ParticipantInfo] = msgspec.field(default_factory=list)
    """Everybody else in the room."""
    chat: list[ChatLine] = msgspec.field(default_factory=list)
    """The latest lines, oldest first."""


class StreamState(Message, tag="stream_state"):
    """A watched stream as it is now, sent after the `Welcome` of a resumed session; replaces all that was known of it."""

    stream: str
    state: StreamPhase
    viewers: int = 0
    chat: list[ChatLine] = msgspec.field(default_factory=list)


class IceServersChanged(Message, tag="ice_servers"):
    """ICE servers with new credentials, before those that the client has expire, and after each resume; replaces all it had.

    A connection whose media goes through a relay restarts ICE with them: its relay may hang up on the old ones.
    """

    ice_servers: list[IceServer]
    ice_ttl_s: float = 0.0
    """How long the credentials are good for, in seconds from now; 0: for good."""


class SubscribeOffer(Message, tag="subscribe_offer"):
    """The server's whole offer on the subscribe connection; the client sends a `SubscribeAnswer` with the same revision."""

    revision: int
    sdp: str
    tracks: list[SubscribedTrack]


class LayerChanged(Message, tag="layer_changed"):
    """Another layer of a subscribed video is forwarded now; ``rid`` is empty while none is."""

    track_id: str
    rid: str = ""


class Speakers(Message, tag="speakers"):
    """Who speaks now, loudest first; empty when nobody does."""

    speakers: list[SpeakerLevel]


class Quality(Message, tag="quality"):
    """Connection quality of the participants whose score changed."""

    reports: list[QualityReport]


class MuteRequested(Message, tag="mute_requested"):
    """A moderator muted an own track; forwarding has stopped already."""

    track_id: str
    by: str = ""


class ChatEvent(Message, tag="chat_line"):
    """A new line in the room's chat, or in the chat of ``stream``."""

    line: ChatLine
    stream: str = ""


class StreamChanged(Message, tag="stream_changed"):
    """State or viewer count of a watched stream changed."""

    stream: str
    state: StreamPhase
    viewers: int = 0


class Reaction(Message, tag="reaction"):
    """Somebody reacted to a watched stream; sent to everybody who watches it, to the sender too."""

    stream: str
    emoji: str


class Removed(Message, tag="removed"):
    """This session is out of the room and must not come back by itself."""

    reason: Literal["moderator", "replaced", "room_closed"]


class Drain(Message, tag="drain"):
    """The server is about to stop; come back after ``retry_after_s`` seconds."""

    retry_after_s: float


Reply = Welcome | Joined | PublishAnswer | Watching | KeysPublished | Devices | KeyBundles | SecureSent | Done | Pong | Error
Event = (
    ParticipantJoined
    | ParticipantLeft
    | ParticipantUpdated
    | RoomState
    | StreamState
    | IceServersChanged
    | SubscribeOffer
    | LayerChanged
    | Speakers
    | Quality
    | MuteRequested
    | ChatEvent
    | StreamChanged
    | Reaction
    | SecureMessage
    | KeysLow
    | Removed
    | Drain
)
ServerMessage = (
    Welcome
    | Joined
    | PublishAnswer
    | Watching
    | KeysPublished
    | Devices
    | KeyBundles
    | SecureSent
    | Done
    | Pong
    | Error
    | ParticipantJoined
    | ParticipantLeft
    | ParticipantUpdated
    | RoomState
    | StreamState
    | IceServersChanged
    | SubscribeOffer
    | LayerChanged
    | Speakers
    | Quality
    | MuteRequested
    | ChatEvent
    | StreamChanged
    | Reaction
    | SecureMessage
    | KeysLow
    | Removed
    | Drain
)
