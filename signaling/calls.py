"""What participants ask for once they are in a room, and what the media server answers and reports."""

from __future__ import annotations

from salam.errors import AuthError, NotFoundError, RequestError, SalamError
from signaling.effects import (
    AddParticipant,
    AnswerSubscription,
    ChooseLayer,
    MediaCall,
    Publish,
    ReplyTo,
    RestartSubscription,
    SetMuted,
)
from signaling.media import MediaQuality, PublishResult, SubscriptionOffer
from signaling.messages import (
    Chat,
    ChatEvent,
    ChatLine,
    Done,
    LayerChanged,
    Moderate,
    Mute,
    MuteRequested,
    PublishAnswer,
    PublishOffer,
    Quality,
    QualityReport,
    RaiseHand,
    RestartIce,
    SetLayer,
    SpeakerLevel,
    Speakers,
    SubscribeAnswer,
)
from signaling.room import Participant
from signaling.seats import Seats
from signaling.session import Session, Sessions

__all__ = ["Calls"]


class Calls:
    """Requests of seated participants. Every method that takes a request raises SalamError when it cannot be carried out."""

    def __init__(self, sessions: Sessions, seats: Seats) -> None:
        self._sessions = sessions
        self._seats = seats

    # ------------------------------------------------------------------------------------------- requests

    def publish_offer(self, session: Session, message: PublishOffer, reply_to: ReplyTo) -> None:
        """Have the media server answer the client's offer."""
        participant = self._seats.of(session)
        session.grants.require_publish()
        mids = [track.mid for track in message.tracks]
        if len(set(mids)) != len(mids):
            raise RequestError(f"the tracks name the mids {', '.join(mids)}; allowed: each once", code="bad_tracks")
        muted_mids = frozenset(track.mid for track in message.tracks if track.muted)
        self._seats.call_media(participant, Publish(message.sdp, participant.offered_tracks(message.tracks), muted_mids), reply_to)

    def awaits_answer(self, session: Session, revision: int) -> bool:
        """Return whether an offer of this ``revision`` has been sent to ``session`` and is unanswered."""
        offer = self._seats.of(session).offer
        return offer is not None and offer.revision == revision

    def subscribe_answer(self, session: Session, message: SubscribeAnswer, reply_to: ReplyTo) -> None:
        """Give the client's answer to the media server."""
        participant = self._seats.of(session)
        session.grants.require_subscribe()
        if participant.offer is not None and participant.offer.revision <= message.revision:
            participant.offer = None
        self._seats.call_media(participant, AnswerSubscription(message.revision, message.sdp), reply_to)

    def restart_ice(self, session: Session, message: RestartIce, reply_to: ReplyTo) -> None:
        """Have the media server offer again with new ICE credentials."""
        participant = self._seats.of(session)
        session.grants.require_subscribe()
        self._seats.call_media(participant, RestartSubscription(), reply_to)

    def set_layer(self, session: Session, message: SetLayer, reply_to: ReplyTo) -> None:
        """Choose what is received of a video."""
        participant = self._seats.of(session)
        session.grants.require_subscribe()
        self._seats.call_media(participant, ChooseLayer(message.track_id, message.height, message.rid), reply_to)

    def mute(self, session: Session, message: Mute, reply_to: ReplyTo) -> None:
        """Mute or unmute an own track."""
        participant = self._seats.of(session)
        if message.track_id not in participant.tracks:
            raise NotFoundError("you publish no such track", code="unknown_track")
        self._seats.call_media(participant, SetMuted(message.track_id, message.muted), reply_to)

    def raise_hand(self, session: Session, message: RaiseHand, reply_to: ReplyTo) -> None:
        """Raise or lower the own hand."""
        self._set_hand(self._seats.of(session), message.raised)
        self._done(reply_to)

    def chat(self, session: Session, message: Chat, reply_to: ReplyTo, wall: float) -> None:
        """Say a line to the room; a repeated one is accepted and not shown again."""
        participant = self._seats.of(session)
        line = ChatLine(
            chat_id=message.chat_id,
            participant_id=participant.participant_id,
            name=participant.name,
            text=message.text,
            sent_at=wall,
        )
        if participant.room.chat.add(session.grants.identity, line):
            self._seats.tell(participant.room, ChatEvent(line=line))
        self._done(reply_to)

    def moderate(self, session: Session, message: Moderate, reply_to: ReplyTo, now: float) -> None:
        """Mute a track, lower a hand or remove a participant, as a moderator."""
        moderator = self._seats.of(session)
        if not moderator.moderator:
            raise AuthError("only a moderator may do this", code="grant_missing")
        target = moderator.room.participants.get(message.participant_id)
        if target is None or not target.seated:
            raise NotFoundError("this participant is not in the room", code="unknown_participant")
        if message.action == "mute":
            if message.track_id not in target.tracks:
                raise NotFoundError("this participant publishes no such track", code="unknown_track")
            self._seats.call_media(target, SetMuted(message.track_id, True, by_moderator=moderator.name), reply_to)
            return
        if message.action == "lower_hand":
            self._set_hand(target, False)
        elif target is moderator:
            raise RequestError("leave the room instead of removing yourself", code="bad_target")
        else:
            self._seats.remove_by_id(target.room.name, target.participant_id, now)
        self._done(reply_to)

    def _set_hand(self, participant: Participant, raised: bool) -> None:
        if participant.hand_raised != raised:
            participant.hand_raised = raised
            self._seats.tell_update(participant)

    def _done(self, reply_to: ReplyTo | None) -> None:
        if reply_to is not None:
            self._sessions.reply(reply_to, Done(re=reply_to.request_id))

    # ------------------------------------------------------------------------------------------- answers of the media server

    def media_done(self, call: MediaCall, result: PublishResult | None) -> None:
        """The media server has carried out ``call``."""
        participant = self._seats.find(call.room, call.participant_id)
        if participant is None:
            # Left meanwhile; the removal follows on the same line. Who asked may be somebody else, a moderator.
            self.media_failed(call, NotFoundError("this participant has left", code="unknown_participant"))
            return
        match call.request:
            case AddParticipant():
                self._seats.added(participant, call.reply_to)
            case Publish(tracks=offered, muted_mids=muted_mids) if result is not None:
                known = set(participant.tracks)
                changed = participant.take_tracks(offered, result)
                if call.reply_to is not None:
                    track_ids = {track.mid: track.track_id for track in result.tracks}
                    self._sessions.reply(
                        call.reply_to, PublishAnswer(re=call.reply_to.request_id, sdp=result.sdp, track_ids=track_ids)
                    )
                if changed:
                    self._seats.tell_update(participant)
                for track in participant.tracks.values():
                    # A reloaded page knows nothing of the silence before: what it says itself counts.
                    wanted = track.media.mid in muted_mids
                    if track.media.track_id not in known and track.muted != wanted:
                        self._seats.call_media(participant, SetMuted(track.media.track_id, wanted))
            case SetMuted() as request:
                self._muted(participant, request)
                self._done(call.reply_to)
            case _:
                self._done(call.reply_to)

    def media_failed(self, call: MediaCall, error: SalamError) -> None:
        """The media server has refused ``call``."""
        participant = self._seats.find(call.room, call.participant_id)
        if participant is not None and isinstance(call.request, AddParticipant):
            self._seats.add_failed(participant, error, call.reply_to)
        elif call.reply_to is not None:
            self._sessions.fail(call.reply_to, code=error.code, message=error.message, retryable=error.retryable)

    def _muted(self, participant: Participant, request: SetMuted) -> None:
        track = participant.tracks.get(request.track_id)
        if track is None:
            return
        before = track.info()
        by_moderator = bool(request.by_moderator)
        # A moderator does not take over the silence that the owner chose.
        track.muted_by_moderator = request.muted and (track.muted_by_moderator or (by_moderator and not track.muted))
        if not by_moderator:
            track.muted_by_moderator = False
        track.muted = request.muted
        if before == track.info():
            return
        if by_moderator:
            self._sessions.send(participant.session, MuteRequested(track_id=request.track_id, by=request.by_moderator))
        self._seats.tell_update(participant)

    # ------------------------------------------------------------------------------------------- reports of the media server

    def subscription_offered(self, room: str, participant_id: str, offer: SubscriptionOffer) -> None:
        """The participant's subscribe connection has to be negotiated."""
        participant = self._seats.find(room, participant_id)
        if participant is not None:
            self._seats.take_offer(participant, offer)

    def layer_changed(self, room: str, participant_id: str, track_id: str, rid: str) -> None:
        """Another layer is forwarded to the participant."""
        participant = self._seats.find(room, participant_id)
        if participant is not None and participant.seated:
            self._sessions.send(participant.session, LayerChanged(track_id=track_id, rid=rid))

    def speakers_changed(self, room: str, levels: list[tuple[str, int]]) -> None:
        """Other people speak now."""
        known = self._seats.rooms.get(room)
        if known is None:
            return
        speakers = [
            SpeakerLevel(participant_id=participant_id, level_dbov=level)
            for participant_id, level in levels
            if participant_id in known.participants
        ]
        self._seats.tell(known, Speakers(speakers=speakers))

    def quality_changed(self, room: str, reports: list[MediaQuality]) -> None:
        """Scores changed."""
        known = self._seats.rooms.get(room)
        if known is None:
            return
        told = [
            QualityReport(
                participant_id=report.participant_id,
                score=report.score,
                reason=report.reason,
                rtt_ms=report.rtt_ms,
                loss_percent=report.loss_percent,
            )
            for report in reports
            if report.participant_id in known.participants
        ]
        if told:
            self._seats.tell(known, Quality(reports=told))

    def media_lost(self, room: str, participant_id: str) -> None:
        """Media no longer reaches the participant: tell them, so that they restart ICE."""
        participant = self._seats.find(room, participant_id)
        if participant is not None and participant.seated:
            lost = QualityReport(participant_id=participant_id, score=0, reason="lost")
            self._sessions.send(participant.session, Quality(reports=[lost]))
