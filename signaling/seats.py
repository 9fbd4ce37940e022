"""Who sits in which room: entering, leaving, being replaced or removed, losing and resuming the connection."""

from __future__ import annotations

import math
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from salam.errors import ConflictError, LimitError, NotFoundError, RequestError, SalamError
from signaling.effects import AddParticipant, CloseRoom, MediaCall, MediaRequest, OpenRoom, RemoveParticipant, ReplyTo
from signaling.key_shelf import KeyShelf
from signaling.limits import Limits
from signaling.mailbox import Mailbox
from signaling.media import SubscriptionOffer
from signaling.messages import (
    Done,
    Join,
    Joined,
    Leave,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    Removed,
    RoomState,
    ServerMessage,
    SubscribedTrack,
    SubscribeOffer,
)
from signaling.room import Participant, Room
from signaling.session import Session, Sessions

__all__ = ["LeaveReason", "Seats", "clean_name"]

# 72 bits: unique within one process's life, and short enough to be read out in a log.
_ID_BYTES = 9

LeaveReason = Literal["left", "lost", "removed", "closed"]


def clean_name(name: str) -> str:
    """Return ``name`` without surrounding space. Raises RequestError when nothing is left or a control character is in it."""
    cleaned = name.strip()
    # Control, line and paragraph separators would let a name draw over what stands around it.
    if not cleaned or any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in cleaned):
        raise RequestError("the name must have a visible character and no control characters", code="bad_name")
    return cleaned


class Seats:
    """The rooms and the one participant that each session may be."""

    def __init__(self, sessions: Sessions, limits: Limits, *, new_id: Callable[[int], str]) -> None:
        self.rooms: dict[str, Room] = {}
        self._by_session: dict[str, Participant] = {}
        self._sessions = sessions
        self._limits = limits
        self._new_id = new_id
        # When (monotonic seconds) whom a moderator removed may come back, by room and identity.
        self._removals: OrderedDict[tuple[str, str], float] = OrderedDict()

    # ------------------------------------------------------------------------------------------- looking up

    def __len__(self) -> int:
        return len(self._by_session)

    def of(self, session: Session) -> Participant:
        """Return the participant that ``session`` is. Raises RequestError (``not_joined``) when it is in no room."""
        participant = self.seated(session)
        if participant is None:
            raise RequestError("join a room first", code="not_joined")
        return participant

    def seated(self, session: Session) -> Participant | None:
        """Return the participant that ``session`` is, or None when it is in no room."""
        participant = self._by_session.get(session.session_id)
        return participant if participant is not None and participant.seated else None

    def is_in_room(self, session: Session) -> bool:
        """Return whether ``session`` is in a room or about to enter one."""
        return session.session_id in self._by_session

    def find(self, room: str, participant_id: str) -> Participant | None:
        """Return a participant, or None when there is none (any more)."""
        known = self.rooms.get(room)
        return None if known is None else known.participants.get(participant_id)

    def tell(self, room: Room, message: ServerMessage, *, but: Participant | None = None) -> None:
        """Send to everybody visible in ``room``, except ``but``."""
        self._sessions.broadcast([other.session for other in room.seated() if other is not but], message)

    def tell_update(self, participant: Participant) -> None:
        """Tell everybody, the participant included, what the participant is like now."""
        self.tell(participant.room, ParticipantUpdated(participant=participant.info()))

    def call_media(self, participant: Participant, request: MediaRequest, reply_to: ReplyTo | None = None) -> None:
        """Have the media server called for ``participant``."""
        self._sessions.effects.append(MediaCall(participant.room.name, participant.participant_id, request, reply_to))

    # ------------------------------------------------------------------------------------------- entering

    def join(self, session: Session, message: Join, reply_to: ReplyTo, now: float) -> None:
        """Begin to enter a room; the reply comes once the media server is ready.

        Raises AuthError, ConflictError (in another room), LimitError (room full, too many rooms), RequestError (name, or removed by
        a moderator not long ago).
        """
        session.grants.require_room(message.room)
        self._require_not_removed(message.room, session.grants.identity, now)
        name = clean_name(message.name)
        current = self._by_session.get(session.session_id)
        if current is not None:
            if current.room.name != message.room:
                raise ConflictError(f"leave the room {current.room.name} first", code="already_joined")
            if not current.seated:
                raise ConflictError("entering this room is under way already", code="already_joined")
            self._sessions.reply(reply_to, self._joined(current, reply_to.request_id))
            return
        self._replace(session, message.room)
        room = self.rooms.get(message.room)
        if room is None:
            if len(self.rooms) >= self._limits.rooms:
                raise LimitError(f"this server has room for {self._limits.rooms} rooms", code="too_many_rooms")
            room = self.rooms[message.room] = Room(message.room, self._limits)
            self._sessions.effects.append(OpenRoom(room.name))
        if len(room.participants) >= self._limits.participants_per_room:
            raise LimitError(f"the room is full: {self._limits.participants_per_room} participants", code="room_full")
        participant = Participant(
            participant_id=self._new_id(_ID_BYTES),
            name=name,
            session=session,
            room=room,
            # In development nobody has a moderator's token, so whoever opens a room looks after it.
            moderator=not room.participants if session.anonymous else session.grants.moderate,
            shelf=KeyShelf(self._limits),
            mailbox=Mailbox(self._limits),
        )
        room.participants[participant.participant_id] = participant
        self._by_session[session.session_id] = participant
        self.call_media(participant, AddParticipant(), reply_to)

    def added(self, participant: Participant, reply_to: ReplyTo | None) -> None:
        """The media server is ready for ``participant``: they become visible."""
        participant.seated = True
        if participant.session.anonymous and not any(other.moderator for other in participant.room.participants.values()):
            # Whoever opened the room left before they were seen, and nobody was there to take over.
            participant.moderator = True
        self.tell(participant.room, ParticipantJoined(participant=participant.info()), but=participant)
        if reply_to is not None:
            self._sessions.reply(reply_to, self._joined(participant, reply_to.request_id))
        self.send_offer(participant)

    def add_failed(self, participant: Participant, error: SalamError, reply_to: ReplyTo | None) -> None:
        """The media server refused ``participant``: they never were here."""
        self._forget(participant)
        self._pass_on(participant)
        if reply_to is not None:
            self._sessions.fail(reply_to, code=error.code, message=error.message, retryable=error.retryable)

    def _replace(self, session: Session, room: str) -> None:
        known = self.rooms.get(room)
        if known is None or session.anonymous:
            return
        for other in list(known.participants.values()):
            if not other.session.anonymous and other.session.grants.identity == session.grants.identity:
                self._sessions.tell_removed(other.session, Removed(reason="replaced"))
                self.remove(other, "removed")

    def _joined(self, participant: Participant, request_id: int) -> Joined:
        ice = participant.session.ice
        return Joined(
            re=request_id,
            room=participant.room.name,
            participant_id=participant.participant_id,
            moderator=participant.moderator,
            can_publish=participant.session.grants.publish,
            participants=participant.room.others(participant),
            chat=participant.room.chat.lines(),
            ice_servers=[] if ice is None else ice.servers,
            ice_ttl_s=0.0 if ice is None else ice.ttl_s,
        )

    # ------------------------------------------------------------------------------------------- leaving

    def leave(self, session: Session, message: Leave, reply_to: ReplyTo) -> None:
        """Leave the room; also while still entering it. Raises RequestError (``not_joined``)."""
        participant = self._by_session.get(session.session_id)
        if participant is None:
            raise RequestError("you are in no room", code="not_joined")
        self.remove(participant, "left")
        self._sessions.reply(reply_to, Done(re=reply_to.request_id))

    def remove(self, participant: Participant, reason: LeaveReason) -> None:
        """Take ``participant`` out of the room and tell the others why."""
        self.call_media(participant, RemoveParticipant())
        self._forget(participant)
        if participant.seated:
            self.tell(participant.room, ParticipantLeft(participant_id=participant.participant_id, reason=reason))
        self._pass_on(participant)

    def session_ended(self, session: Session, reason: LeaveReason) -> None:
        """The session is gone for good."""
        participant = self._by_session.get(session.session_id)
        if participant is not None:
            self.remove(participant, reason)

    def remove_by_id(self, room: str, participant_id: str, now: float) -> None:
        """Take a participant out as a moderator would, and keep their identity out for a while. Raises NotFoundError."""
        participant = self.find(room, participant_id)
        if participant is None:
            raise NotFoundError("this participant is not in the room")
        key = (room, participant.session.grants.identity)
        self._removals[key] = now + self._limits.removal_s
        self._removals.move_to_end(key)
        if len(self._removals) > self._limits.removals_remembered:
            self._removals.popitem(last=False)
        self._sessions.tell_removed(participant.session, Removed(reason="moderator"))
        self.remove(participant, "removed")

    def _require_not_removed(self, room: str, identity: str, now: float) -> None:
        until = self._removals.get((room, identity))
        if until is None:
            return
        if until <= now:
            del self._removals[room, identity]
            return
        wait_s = math.ceil(until - now)
        raise RequestError(
            f"a moderator removed you from the room {room}; you may come back in {wait_s} s", code="removed_by_moderator"
        )

    def close_room(self, name: str) -> None:
        """Send everybody out of a room and close it. Raises NotFoundError."""
        room = self.rooms.get(name)
        if room is None:
            raise NotFoundError(f"there is no room {name}")
        participants = list(room.participants.values())
        for participant in participants:
            self._sessions.tell_removed(participant.session, Removed(reason="room_closed"))
        for participant in participants:
            # Everybody goes at once, so nobody is told about the others.
            participant.seated = False
        for participant in participants:
            self.remove(participant, "closed")

    def _forget(self, participant: Participant) -> None:
        room = participant.room
        del self._by_session[participant.session.session_id]
        del room.participants[participant.participant_id]
        if not room.participants:
            del self.rooms[room.name]
            self._sessions.effects.append(CloseRoom(room.name))

    def _pass_on(self, former: Participant) -> None:
        """In development, the longest present takes over from the last moderator who left."""
        if not former.moderator or any(participant.moderator for participant in former.room.seated()):
            return
        for heir in former.room.seated():
            if heir.session.anonymous:
                heir.moderator = True
                self.tell_update(heir)
                return

    # ------------------------------------------------------------------------------------------- losing and resuming

    def session_detached(self, session: Session) -> None:
        """The connection of ``session`` is lost; others see it until it is resumed."""
        participant = self._by_session.get(session.session_id)
        if participant is None:
            return
        if participant.seated:
            self.tell_update(participant)
        else:
            # The reply would go nowhere, and nobody has seen this participant yet.
            self.remove(participant, "lost")

    def session_resumed(self, session: Session) -> None:
        """Another connection carries ``session`` now: bring it up to date."""
        if session.removed is not None:
            self._sessions.tell_removed(session, session.removed)
        participant = self._by_session.get(session.session_id)
        if participant is None:
            return
        if not participant.seated:
            self.remove(participant, "lost")
            return
        self._sessions.send(
            session,
            RoomState(
                room=participant.room.name,
                participant=participant.info(),
                can_publish=session.grants.publish,
                participants=participant.room.others(participant),
                chat=participant.room.chat.lines(),
            ),
        )
        self.send_offer(participant)
        self.tell(participant.room, ParticipantUpdated(participant=participant.info()), but=participant)

    def take_offer(self, participant: Participant, offer: SubscriptionOffer) -> None:
        """Remember the newest offer of the media server and send it."""
        participant.offer = offer
        self.send_offer(participant)

    def send_offer(self, participant: Participant) -> None:
        """Send the unanswered offer, if there is one and the participant may receive media."""
        offer = participant.offer
        if offer is None or not participant.seated or not participant.session.grants.subscribe:
            return
        self._sessions.send(
            participant.session,
            SubscribeOffer(
                revision=offer.revision,
                sdp=offer.sdp,
                tracks=[
                    SubscribedTrack(
                        mid=track.mid,
                        participant_id=track.participant_id,
                        track_id=track.track_id,
                        kind=track.kind,
                        source=track.source,
                    )
                    for track in offer.tracks
                ],
            ),
        )
