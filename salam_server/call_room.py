"""One room of a call: who publishes what, who receives what, and which layer of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from salam.errors import ConflictError, LimitError, NotFoundError, RequestError
from salam.log import get_logger
from salam_server.call_participant import CallParticipant, CallTrack, dtls_role, stream_id
from sfu import (
    AcceptedTrack,
    Consumer,
    Producer,
    ProducerSpec,
    PublishAnswer,
    Router,
    RouterListener,
    SessionDescription,
    Transport,
    TransportState,
    answer_publish_offer,
    parse_description,
)
from sfu.plane.interface import AudioSummary, LayerSummary, ReceiverSummary
from sfu.policy import SpeakerDetector, Wish
from signaling.media import MediaListener, MediaQuality, MediaTrack, OfferedTrack, PublishResult, SubscriptionOffer

__all__ = ["CallRoom"]

# What the wire messages allow in one publication.
_MAX_TRACKS = 16
# Layers and quality follow summaries that come once or twice a second.
_SLOW_TICK_S = 1.0
# A client that has not answered for so long has lost the offer; a newer one may go out then.
_ANSWER_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Pending:
    """Work that waits for the end of the present turn of the event loop, so that changes are offered together."""

    scheduled: bool = False
    participants: set[str] = field(default_factory=set)


class CallRoom(RouterListener):
    """The media of one room.

    ``soon`` runs a callback once the present work is done: offers of several changes are made together there.
    """

    def __init__(
        self,
        name: str,
        router: Router,
        listener: MediaListener,
        *,
        monotonic: Callable[[], float],
        rng: random.Random,
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._router = router
        self._listener = listener
        self._monotonic = monotonic
        self._rng = rng
        self._soon = soon
        self._log = get_logger("call", room=name)
        self._participants: dict[str, CallParticipant] = {}
        self._tracks: dict[str, CallTrack] = {}
        self._by_producer: dict[int, CallTrack] = {}
        self._by_transport: dict[int, CallParticipant] = {}
        self._speakers = SpeakerDetector()
        self._pending = _Pending()
        self._slow_tick_s = 0.0
        router.listener = self

    @property
    def tracks(self) -> tuple[MediaTrack, ...]:
        """All tracks that are published now."""
        return tuple(track.describe() for track in self._tracks.values())

    @property
    def participants(self) -> tuple[CallParticipant, ...]:
        """Everybody in the room."""
        return tuple(self._participants.values())

    def close(self) -> None:
        """Close the router and forget everybody."""
        self._router.listener = RouterListener()
        self._router.close()
        self._participants.clear()
        self._tracks.clear()
        self._by_producer.clear()
        self._by_transport.clear()

    # --------------------------------------------------------------------------------------------- people

    def add_participant(self, participant_id: str) -> None:
        """Prepare for a participant. Raises ConflictError for an id in use."""
        if participant_id in self._participants:
            raise ConflictError("the participant is in the room already")
        self._participants[participant_id] = CallParticipant(participant_id, self._rng)
        self._resubscribe([participant_id])

    def remove_participant(self, participant_id: str) -> None:
        """Close both connections and all tracks of the participant; idempotent."""
        participant = self._participants.pop(participant_id, None)
        if participant is None:
            return
        self._end_publication(participant)
        if participant.subscribe is not None:
            self._by_transport.pop(participant.subscribe.transport_id, None)
            participant.subscribe.close("participant_left")
        self._speakers.remove(participant_id)
        self._resubscribe(self._participants)

    # --------------------------------------------------------------------------------------------- publishing

    def publish(self, participant_id: str, sdp: str, offered: tuple[OfferedTrack, ...]) -> PublishResult:
        """Answer a publisher's offer: the first one, a renegotiation, an ICE restart, or one of a new peer connection.

        Raises SdpError for an offer that cannot be answered, LimitError for too many tracks, and NotFoundError for an unknown
        participant. Nothing changes then.
        """
        participant = self._participant(participant_id)
        offer = parse_description(sdp)
        section = offer.transport_section()
        transport = participant.publish
        fresh = transport is None or participant.is_other_connection(offer)
        if fresh:
            transport = self._router.create_transport()
        assert transport is not None
        try:
            answer = self._answer(participant, transport, offer)
        except Exception:
            if fresh:
                transport.close("refused")
            raise
        if fresh:
            self._end_publication(participant)
            participant.publish = transport
            self._by_transport[transport.transport_id] = participant
        elif transport.remote_ufrag not in (None, section.ice_ufrag):
            transport.restart_ice()
            answer = self._answer(participant, transport, offer)
        participant.publish_origin = offer.origin
        participant.publish_version += 1
        transport.set_remote(section, dtls_role(section))
        self._sync_tracks(participant, transport, answer.producers, {track.mid: track for track in offered})
        self._resubscribe(other for other in self._participants if other != participant_id)
        return PublishResult(answer.sdp, tuple(track.describe() for track in participant.tracks.values()))

    def _answer(self, participant: CallParticipant, transport: Transport, offer: SessionDescription) -> PublishAnswer:
        # We are the server of the DTLS handshake unless the peer insists: it then need not wait for the answer to begin.
        setup = "active" if offer.transport_section().setup == "passive" else "passive"
        answer = answer_publish_offer(
            offer, transport.local(setup), session_id=participant.session_id, version=participant.publish_version + 1
        )
        if sum(spec.active for spec in answer.producers) > _MAX_TRACKS:
            raise LimitError(f"a participant publishes at most {_MAX_TRACKS} tracks")
        return answer

    def _sync_tracks(
        self, participant: CallParticipant, transport: Transport, specs: tuple[ProducerSpec, ...], offered: dict[str, OfferedTrack]
    ) -> None:
        wanted = {spec.mid: spec for spec in specs if spec.active}
        for mid, track in list(participant.tracks.items()):
            if wanted.get(mid) != track.producer.spec:
                self._end_track(participant, track)
        for mid, spec in wanted.items():
            hint = offered.get(mid)
            source = hint.source if hint is not None else "microphone" if spec.kind == "audio" else "camera"
            existing = participant.tracks.get(mid)
            if existing is not None:
                existing.source = source
                continue
            producer = transport.produce(spec)
            producer.set_paused(paused=hint is not None and hint.muted)
            track = CallTrack(f"t{self._rng.getrandbits(64):016x}", participant.participant_id, source, producer)
            participant.tracks[mid] = self._tracks[track.track_id] = self._by_producer[producer.producer_id] = track

    def _end_track(self, participant: CallParticipant, track: CallTrack) -> None:
        participant.tracks.pop(track.producer.spec.mid, None)
        self._tracks.pop(track.track_id, None)
        self._by_producer.pop(track.producer.producer_id, None)
        for other in self._participants.values():
            # Also where the track never got an m-line: its own publisher, and subscriptions that are full.
            other.wishes.pop(track.track_id, None)
        track.producer.close("unpublished")

    def _end_publication(self, participant: CallParticipant) -> None:
        for track in list(participant.tracks.values()):
            self._end_track(participant, track)
        if participant.publish is not None:
            self._by_transport.pop(participant.publish.transport_id, None)
            participant.publish.close("replaced")
            # What is closed is not lost: the next connection starts with a clean slate.
            participant.lost_transports.discard(participant.publish.transport_id)
            participant.publish = None

    def set_muted(self, track_id: str, *, muted: bool) -> None:
        """Stop or resume forwarding. Raises NotFoundError for an unknown track."""
        self._track(track_id).producer.set_paused(paused=muted)

    # --------------------------------------------------------------------------------------------- subscribing

    def subscription_answer(self, participant_id: str, revision: int, sdp: str) -> None:
        """Take the answer to the newest offer; older ones are ignored. Raises SdpError for a bad one, which changes nothing."""
        participant = self._participant(participant_id)
        transport = participant.subscribe
        if transport is None or revision != participant.negotiator.revision:
            return
        answer = parse_description(sdp)
        section = answer.transport_section()
        accepted = participant.negotiator.accept(answer)
        participant.offered_at_s = None
        transport.set_remote(section, dtls_role(section))
        for entry in accepted:
            self._consume(participant, transport, entry)
        if participant.negotiator.needs_offer:
            self._resubscribe([participant_id])

    def restart_subscription(self, participant_id: str) -> None:
        """Offer again with new ICE credentials. Raises NotFoundError for an unknown participant."""
        participant = self._participant(participant_id)
        if participant.subscribe is None:
            return
        participant.subscribe.restart_ice()
        participant.offered_at_s = None
        participant.restart_wanted = True
        self._resubscribe([participant_id])

    def set_layer(self, participant_id: str, track_id: str, *, height: int, rid: str) -> None:
        """Choose a layer. Raises NotFoundError for an unknown track and RequestError for a rid that it does not have."""
        participant = self._participant(participant_id)
        track = self._track(track_id)
        rids = track.producer.spec.rids
        if rid and rid not in rids:
            known = ", ".join(rids) or "one without a name"
            raise RequestError(f"the track has no layer {rid}; it has: {known}", code="unknown_layer")
        participant.wishes[track_id] = Wish(spatial=rids.index(rid)) if rid else Wish(height=height)
        consumer = participant.consumers.get(track_id)
        if consumer is not None:
            self._apply_layer(participant, track, consumer, self._monotonic())

    def _resubscribe(self, participant_ids: Iterable[str]) -> None:
        """Bring subscriptions in line with the room, and offer what changed, at the end of this turn."""
        self._pending.participants.update(participant_ids)
        if not self._pending.scheduled:
            self._pending.scheduled = True
            self._soon(self._run_pending)

    def _run_pending(self) -> None:
        self._pending.scheduled = False
        pending, self._pending.participants = self._pending.participants, set()
        for participant_id in pending:
            participant = self._participants.get(participant_id)
            if participant is not None and not self._router.closed:
                self._sync_subscription(participant)

    def _sync_subscription(self, participant: CallParticipant) -> None:
        negotiator = participant.negotiator
        wanted = {key for key, track in self._tracks.items() if track.participant_id != participant.participant_id}
        for track_id in negotiator.track_ids - wanted:
            negotiator.remove(track_id)
            participant.wishes.pop(track_id, None)
            participant.consumers.pop(track_id, None)
        for track_id in [key for key in self._tracks if key in wanted - negotiator.track_ids]:
            track = self._tracks[track_id]
            try:
                negotiator.add(
                    track_id, track.producer.kind, stream_id=stream_id(track), cname=self._participants[track.participant_id].cname
                )
            except LimitError as error:
                self._log.warning("a subscription is full: %s", error)
                break
        if participant.offered_at_s is None and (negotiator.needs_offer or participant.restart_wanted):
            self._offer(participant)

    def _offer(self, participant: CallParticipant) -> None:
        if participant.subscribe is None or participant.subscribe.closed:
            participant.subscribe = self._router.create_transport()
            self._by_transport[participant.subscribe.transport_id] = participant
        participant.offered_at_s = self._monotonic()
        participant.restart_wanted = False
        offer = participant.negotiator.offer(participant.subscribe.local("actpass"))
        tracks = tuple(self._tracks[track_id].describe(mid) for track_id, mid in offer.mids.items() if track_id in self._tracks)
        self._listener.on_subscription_offer(participant.participant_id, SubscriptionOffer(offer.revision, offer.sdp, tracks))

    def _consume(self, participant: CallParticipant, transport: Transport, accepted: AcceptedTrack) -> None:
        track = self._tracks.get(accepted.track_id)
        if track is None or track.producer.closed:
            return
        try:
            consumer = transport.consume(track.producer, accepted)
        except ConflictError as error:
            self._log.warning("participant %s gets no %s: %s", participant.participant_id, track.source, error)
            return
        participant.consumers[track.track_id] = consumer
        if track.producer.kind == "video":
            self._apply_layer(participant, track, consumer, self._monotonic())

    def _apply_layer(self, participant: CallParticipant, track: CallTrack, consumer: Consumer, now: float) -> None:
        if consumer.closed or track.producer.kind != "video":
            return
        # Until the client says how large it shows the video, the lowest layer is enough.
        wish = participant.wishes.get(track.track_id, Wish(spatial=0))
        cap = track.producer.layer_count - 1 - participant.downlink.steps_down
        target = track.chooser.choose(wish, now, cap=cap)
        if target != consumer.target or (target is None) != (consumer.target is None):
            consumer.set_target(target)

    # --------------------------------------------------------------------------------------------- reports of the SFU

    def on_transport_state(self, transport: Transport, state: TransportState) -> None:
        participant = self._by_transport.get(transport.transport_id)
        if participant is None:
            return
        participant.lost_transports.discard(transport.transport_id)
        if state in (TransportState.DISCONNECTED, TransportState.FAILED):
            participant.lost_transports.add(transport.transport_id)
        participant.quality.set_lost(lost=bool(participant.lost_transports))
        if state is TransportState.FAILED:
            connection = "publish" if transport is participant.publish else "subscribe"
            self._listener.on_connection_lost(participant.participant_id, connection)  # type: ignore[arg-type]

    def on_layer_summary(self, producer: Producer, summary: LayerSummary) -> None:
        track = self._by_producer.get(producer.producer_id)
        if track is None:
            return
        now = self._monotonic()
        track.chooser.update(summary, now)
        participant = self._participants.get(track.participant_id)
        if participant is not None and summary.active:
            participant.quality.on_uplink_loss(summary.loss_fraction)
        for other in self._participants.values():
            consumer = other.consumers.get(track.track_id)
            if consumer is not None:
                self._apply_layer(other, track, consumer, now)

    def on_audio_summary(self, producer: Producer, summary: AudioSummary) -> None:
        track = self._by_producer.get(producer.producer_id)
        if track is not None and track.source == "microphone" and not producer.paused:
            self._speakers.update(track.participant_id, summary, self._monotonic())

    def on_consumer_layer(self, consumer: Consumer) -> None:
        participant = self._by_transport.get(consumer.transport.transport_id)
        track = self._by_producer.get(consumer.producer.producer_id)
        rids = consumer.producer.spec.rids
        if participant is not None and track is not None and rids:
            rid = "" if consumer.spatial is None else rids[consumer.spatial]
            self._listener.on_layer_changed(participant.participant_id, track.track_id, rid)

    def on_receiver_summary(self, consumer: Consumer, summary: ReceiverSummary) -> None:
        participant = self._by_transport.get(consumer.transport.transport_id)
        if participant is None:
            return
        participant.quality.on_downlink_loss(summary.loss_fraction)
        if summary.rtt_s is not None:
            participant.quality.on_rtt(summary.rtt_s)
        # One lossy thumbnail is no congestion; what all consumers see together is.
        losses = [other.loss_fraction for other in consumer.transport.consumers]
        participant.downlink.on_loss(sum(losses) / len(losses), self._monotonic())

    def on_estimated_bitrate(self, transport: Transport, bitrate_bps: int) -> None:
        participant = self._by_transport.get(transport.transport_id)
        if participant is not None:
            sending_bps = sum(_bitrate(consumer) for consumer in transport.consumers)
            participant.downlink.on_estimate(bitrate_bps, sending_bps, self._monotonic())

    def tick(self, now: float) -> None:
        """Look at the clock: speakers each time, layers and quality about once a second."""
        speakers = self._speakers.poll(now)
        if speakers is not None:
            self._listener.on_speakers(speakers)
        if now - self._slow_tick_s < _SLOW_TICK_S:
            return
        self._slow_tick_s = now
        reports = []
        for participant in list(self._participants.values()):
            self._tick_participant(participant, now)
            grade = participant.quality.poll(now)
            if grade is not None:
                reports.append(_quality_report(participant, grade.score, grade.reason.value))
        if reports:
            self._listener.on_quality(reports)

    def _tick_participant(self, participant: CallParticipant, now: float) -> None:
        if participant.publish is not None and participant.publish.rtt_s is not None:
            participant.quality.on_rtt(participant.publish.rtt_s)
        if participant.downlink.poll(now):
            self._log.info("participant %s is held %d layers lower", participant.participant_id, participant.downlink.steps_down)
        participant.quality.set_held_back(held_back=participant.downlink.steps_down > 0)
        for track_id, consumer in participant.consumers.items():
            track = self._tracks.get(track_id)
            if track is not None:
                self._apply_layer(participant, track, consumer, now)
        if participant.offered_at_s is not None and now - participant.offered_at_s >= _ANSWER_TIMEOUT_S:
            participant.offered_at_s = None
            if participant.negotiator.needs_offer:
                self._resubscribe([participant.participant_id])

    def _participant(self, participant_id: str) -> CallParticipant:
        participant = self._participants.get(participant_id)
        if participant is None:
            raise NotFoundError("the participant is not in the room")
        return participant

    def _track(self, track_id: str) -> CallTrack:
        track = self._tracks.get(track_id)
        if track is None:
            raise NotFoundError("the track is not published (any more)")
        return track


def _bitrate(consumer: Consumer) -> int:
    summary = consumer.producer.layers.get(0 if consumer.spatial is None else consumer.spatial)
    return 0 if summary is None or consumer.target is None else summary.bitrate_bps


def _quality_report(participant: CallParticipant, score: int, reason: str) -> MediaQuality:
    quality = participant.quality
    return MediaQuality(
        participant_id=participant.participant_id,
        score=score,
        reason=reason,  # type: ignore[arg-type]
        rtt_ms=quality.rtt_s * 1000,
        loss_percent=quality.loss_fraction * 100,
    )
