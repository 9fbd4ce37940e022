"""One room and its participants: plain state, and how others see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from signaling.chat_log import ChatLog
from signaling.key_shelf import KeyShelf
from signaling.limits import Limits
from signaling.mailbox import Mailbox
from signaling.media import MediaTrack, OfferedTrack, PublishResult, SubscriptionOffer
from signaling.messages import ParticipantInfo, PublishedTrack, TrackInfo
from signaling.session import Session

__all__ = ["Participant", "Room", "RoomSummary", "Track"]


@dataclass(slots=True)
class Track:
    """A published track with what its owner or a moderator set."""

    media: MediaTrack
    muted: bool = False
    muted_by_moderator: bool = False

    def info(self) -> TrackInfo:
        """Return the track as others see it."""
        return TrackInfo(
            track_id=self.media.track_id,
            kind=self.media.kind,
            source=self.media.source,
            muted=self.muted,
            muted_by_moderator=self.muted_by_moderator,
            layers=list(self.media.layers),
        )


@dataclass(slots=True, eq=False)
class Participant:
    """Somebody in a room. ``seated`` is False until the media server is ready for them; until then nobody sees them."""

    participant_id: str
    name: str
    session: Session
    room: Room
    moderator: bool
    shelf: KeyShelf
    mailbox: Mailbox
    seated: bool = False
    hand_raised: bool = False
    tracks: dict[str, Track] = field(default_factory=dict)
    offer: SubscriptionOffer | None = None
    """The newest offer of the media server that the client has not answered."""

    def info(self) -> ParticipantInfo:
        """Return the participant as others see them."""
        return ParticipantInfo(
            participant_id=self.participant_id,
            name=self.name,
            hand_raised=self.hand_raised,
            moderator=self.moderator,
            connected=self.session.connection_id is not None,
            keys_revision=self.shelf.revision,
            tracks=[track.info() for track in self.tracks.values()],
        )

    def offered_tracks(self, tracks: list[PublishedTrack]) -> tuple[OfferedTrack, ...]:
        """Return what the client publishes for the media server; a track that is known keeps its muted state."""
        known = {track.media.mid: track for track in self.tracks.values()}
        return tuple(
            OfferedTrack(
                mid=offered.mid,
                kind_hint="",
                source=offered.source,
                muted=known[offered.mid].muted if offered.mid in known else offered.muted,
            )
            for offered in tracks
        )

    def take_tracks(self, offered: tuple[OfferedTrack, ...], result: PublishResult) -> bool:
        """Replace the tracks by those of ``result``; return whether anything changed for the others."""
        before = [track.info() for track in self.tracks.values()]
        muted_mids = {track.mid for track in offered if track.muted}
        kept = self.tracks
        self.tracks = {}
        for media in result.tracks:
            old = kept.get(media.track_id)
            self.tracks[media.track_id] = Track(
                media,
                muted=media.mid in muted_mids if old is None else old.muted,
                muted_by_moderator=old is not None and old.muted_by_moderator,
            )
        return before != [track.info() for track in self.tracks.values()]


@dataclass(frozen=True, slots=True)
class RoomSummary:
    """A room in one line, for an operator."""

    room: str
    participants: int
    """Everybody in the room, those included whose connection is lost for the moment."""
    connected: int
    tracks: int


class Room:
    """The participants of one room, in the order of their coming, and its chat."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.participants: dict[str, Participant] = {}
        self.chat = ChatLog(history=limits.chat_history, remembered=limits.chat_ids_remembered)

    def __repr__(self) -> str:
        return f"<Room {self.name} participants={len(self.participants)}>"

    def seated(self) -> Iterator[Participant]:
        """Yield everybody who is visible."""
        return (participant for participant in self.participants.values() if participant.seated)

    def others(self, participant: Participant) -> list[ParticipantInfo]:
        """Return everybody visible but ``participant``."""
        return [other.info() for other in self.seated() if other is not participant]

    def summary(self) -> RoomSummary:
        """Return the room in one line."""
        seated = list(self.seated())
        return RoomSummary(
            room=self.name,
            participants=len(seated),
            connected=sum(participant.session.connection_id is not None for participant in seated),
            tracks=sum(len(participant.tracks) for participant in seated),
        )
