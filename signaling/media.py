"""What signaling asks of a media server, and what it is told back.

Signaling knows rooms and people, not packets. The composition root hands it a `CallMedia`; rooms without media (chat only) use
`NoMedia`. The two directions are kept apart: signaling calls the methods of `CallMedia`, and the media side calls a
`MediaListener`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from salam.errors import RequestError

__all__ = [
    "CallMedia",
    "MediaListener",
    "MediaQuality",
    "MediaTrack",
    "NoMedia",
    "OfferedTrack",
    "PublishResult",
    "SubscriptionOffer",
]


@dataclass(frozen=True, slots=True)
class OfferedTrack:
    """One m-line of a publisher's offer that carries a track."""

    mid: str
    kind_hint: Literal["audio", "video", ""]
    source: Literal["microphone", "camera", "screen", "screen_audio"]
    muted: bool = False


@dataclass(frozen=True, slots=True)
class MediaTrack:
    """A track as the media server knows it."""

    track_id: str
    participant_id: str
    mid: str
    kind: Literal["audio", "video"]
    source: Literal["microphone", "camera", "screen", "screen_audio"]
    layers: tuple[str, ...] = ()
    """Simulcast rids, lowest first; empty for one layer."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The answer to a publisher's offer and all tracks that the participant publishes from now on."""

    sdp: str
    tracks: tuple[MediaTrack, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionOffer:
    """A whole offer for a participant's subscribe connection; ``tracks`` name the m-lines in use by the mid *of this offer*."""

    revision: int
    sdp: str
    tracks: tuple[MediaTrack, ...]


@dataclass(frozen=True, slots=True)
class MediaQuality:
    """How well media flows between one participant and the server."""

    participant_id: str
    score: int
    """3 good, 2 fair, 1 poor, 0 lost."""
    reason: Literal["good", "uplink_loss", "downlink_loss", "high_rtt", "low_bitrate", "lost"]
    rtt_ms: float
    loss_percent: float


class MediaListener(Protocol):
    """What the media server reports about one room; calls are synchronous, come on the event loop and must not block."""

    def on_subscription_offer(self, participant_id: str, offer: SubscriptionOffer) -> None:
        """The participant's subscribe connection needs this negotiation; only the newest revision counts."""

    def on_layer_changed(self, participant_id: str, track_id: str, rid: str) -> None:
        """Another layer of ``track_id`` is now forwarded to the participant; an empty rid means none."""

    def on_speakers(self, levels: list[tuple[str, int]]) -> None:
        """Who speaks: (participant id, level in dBov), loudest first."""

    def on_quality(self, reports: list[MediaQuality]) -> None:
        """Scores that changed."""

    def on_connection_lost(self, participant_id: str, connection: Literal["publish", "subscribe"]) -> None:
        """The connection's ICE consent expired or its DTLS ended; the client may restart ICE or come back."""


class CallMedia(Protocol):
    """A media server for rooms. All methods raise SalamError subclasses and leave nothing half-done when they do."""

    async def open_room(self, room: str, listener: MediaListener) -> None:
        """Make the room's router; ConflictError when it exists."""

    async def close_room(self, room: str) -> None:
        """Close the room and everything in it; idempotent."""

    async def add_participant(self, room: str, participant_id: str) -> None:
        """Prepare for a participant; they are subscribed to everything in the room as soon as there is something."""

    async def remove_participant(self, room: str, participant_id: str) -> None:
        """Close both connections and all tracks of the participant; idempotent."""

    async def publish(self, room: str, participant_id: str, sdp: str, tracks: tuple[OfferedTrack, ...]) -> PublishResult:
        """Answer the participant's offer: the first one, a renegotiation, or an ICE restart. ProtocolError for a bad SDP."""

    async def subscription_answer(self, room: str, participant_id: str, revision: int, sdp: str) -> None:
        """Take the client's answer; an answer to an older revision is ignored."""

    async def restart_subscription(self, room: str, participant_id: str) -> None:
        """Offer again with new ICE credentials."""

    async def set_layer(self, room: str, participant_id: str, track_id: str, *, height: int, rid: str) -> None:
        """Choose what the participant receives of a video; see `signaling.messages.SetLayer`."""

    async def set_muted(self, room: str, track_id: str, *, muted: bool) -> None:
        """Stop or resume forwarding a track to everybody."""


class NoMedia:
    """A `CallMedia` for rooms that carry no audio or video: joining and chat work, publishing is refused."""

    async def open_room(self, room: str, listener: MediaListener) -> None:
        return None

    async def close_room(self, room: str) -> None:
        return None

    async def add_participant(self, room: str, participant_id: str) -> None:
        return None

    async def remove_participant(self, room: str, participant_id: str) -> None:
        return None

    async def publish(self, room: str, participant_id: str, sdp: str, tracks: tuple[OfferedTrack, ...]) -> PublishResult:
        raise RequestError("this server carries no media; only text chat is available", code="no_media")

    async def subscription_answer(self, room: str, participant_id: str, revision: int, sdp: str) -> None:
        raise RequestError("this server carries no media; only text chat is available", code="no_media")

    async def restart_subscription(self, room: str, participant_id: str) -> None:
        raise RequestError("this server carries no media; only text chat is available", code="no_media")

    async def set_layer(self, room: str, participant_id: str, track_id: str, *, height: int, rid: str) -> None:
        raise RequestError("this server carries no media; only text chat is available", code="no_media")

    async def set_muted(self, room: str, track_id: str, *, muted: bool) -> None:
        raise RequestError("this server carries no media; only text chat is available", code="no_media")
