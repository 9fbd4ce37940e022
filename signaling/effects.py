"""What the sans-IO core wants done: frames sent, connections closed, the media server called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from signaling.media import OfferedTrack
from signaling.messages import ServerMessage

__all__ = [
    "AddParticipant",
    "AnswerSubscription",
    "ChooseLayer",
    "Close",
    "CloseCode",
    "CloseRoom",
    "Effect",
    "MediaCall",
    "MediaRequest",
    "OpenRoom",
    "PingPeer",
    "Publish",
    "RemoveParticipant",
    "ReplyTo",
    "RestartSubscription",
    "Send",
    "SetMuted",
]


class CloseCode(IntEnum):
    """Why a WebSocket is closed; below 4000 as in RFC 6455, section 7.4.1, and the IANA registry."""

    NORMAL = 1000
    GOING_AWAY = 1001
    """The server stops."""
    POLICY = 1008
    """No valid token, too many unreadable messages, or a flood."""
    HELLO_TIMEOUT = 4000
    """No `Hello` came in time."""
    SILENT = 4001
    """The peer was not heard for too long; the session may be resumed."""
    SLOW = 4002
    """The peer does not read fast enough; the session may be resumed."""
    RESUMED_ELSEWHERE = 4003
    """Another connection took the session over; this one must not come back by itself."""
    TOKEN_EXPIRED = 4004
    """The time of the session's token is over, and the session with it; come back with a new token."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``message`` on each of the connections."""

    connection_ids: tuple[int, ...]
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class PingPeer:
    """Send a WebSocket ping, so that a living peer is heard and proxies see traffic."""

    connection_id: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; what was sent before goes out first, unless the peer is too slow to take it."""

    connection_id: int
    code: CloseCode
    reason: str


@dataclass(frozen=True, slots=True)
class OpenRoom:
    """Open ``room`` at the media server, after an earlier room of that name is closed."""

    room: str


@dataclass(frozen=True, slots=True)
class CloseRoom:
    """Close ``room`` at the media server, after the calls of its participants."""

    room: str


@dataclass(frozen=True, slots=True)
class AddParticipant:
    """`CallMedia.add_participant`."""


@dataclass(frozen=True, slots=True)
class RemoveParticipant:
    """`CallMedia.remove_participant`; calls of the participant that have not begun are dropped."""


@dataclass(frozen=True, slots=True)
class Publish:
    """`CallMedia.publish`."""

    sdp: str
    tracks: tuple[OfferedTrack, ...]
    """A track whose mid is known comes as muted as it is now."""
    muted_mids: frozenset[str] = frozenset()
    """What the client itself says is muted."""


@dataclass(frozen=True, slots=True)
class AnswerSubscription:
    """`CallMedia.subscription_answer`."""

    revision: int
    sdp: str


@dataclass(frozen=True, slots=True)
class RestartSubscription:
    """`CallMedia.restart_subscription`."""


@dataclass(frozen=True, slots=True)
class ChooseLayer:
    """`CallMedia.set_layer`."""

    track_id: str
    height: int
    rid: str


@dataclass(frozen=True, slots=True)
class SetMuted:
    """`CallMedia.set_muted`; ``by_moderator`` is the name of the moderator who asked, or empty when the owner did."""

    track_id: str
    muted: bool
    by_moderator: str = ""


MediaRequest = AddParticipant | RemoveParticipant | Publish | AnswerSubscription | RestartSubscription | ChooseLayer | SetMuted


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """The request that a reply belongs to. Bound to the connection: a client that came back has forgotten the request."""

    connection_id: int
    request_id: int


@dataclass(frozen=True, slots=True)
class MediaCall:
    """One call about one participant; the calls of a participant are made one after the other, in order."""

    room: str
    participant_id: str
    request: MediaRequest
    reply_to: ReplyTo | None = None


Effect = Send | PingPeer | Close | OpenRoom | CloseRoom | MediaCall
