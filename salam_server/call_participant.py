"""What a call room keeps for each participant and each published track."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from sfu import Consumer, DtlsRole, MediaSection, Producer, SessionDescription, SubscribeNegotiator, Transport
from sfu.policy import DownlinkController, LayerChooser, QualityMeter, Wish
from signaling.media import MediaTrack

__all__ = ["CallParticipant", "CallTrack", "Source", "dtls_role", "stream_id"]

Source = Literal["microphone", "camera", "screen", "screen_audio"]


def dtls_role(section: MediaSection) -> DtlsRole:
    """Our role opposite a peer's ``a=setup``: server, unless the peer will only be the server itself (RFC 5763 section 5)."""
    return DtlsRole.CLIENT if section.setup == "passive" else DtlsRole.SERVER


@dataclass(slots=True)
class CallTrack:
    """A published track."""

    track_id: str
    participant_id: str
    source: Source
    producer: Producer
    chooser: LayerChooser = field(init=False)

    def __post_init__(self) -> None:
        self.chooser = LayerChooser(self.producer.layer_count)

    def describe(self, mid: str | None = None) -> MediaTrack:
        """The track for signaling; ``mid`` is that of a subscriber's offer, else the publisher's own."""
        spec = self.producer.spec
        return MediaTrack(
            self.track_id, self.participant_id, spec.mid if mid is None else mid, spec.kind, self.source, layers=spec.rids
        )


def stream_id(track: CallTrack) -> str:
    """The MediaStream that a track belongs to in browsers: camera and microphone are one, the screen and its sound another."""
    return f"{track.participant_id}-{'screen' if track.source.startswith('screen') else 'main'}"


class CallParticipant:
    """One participant: a connection for publishing, one for subscribing, and what is known about both."""

    def __init__(self, participant_id: str, rng: random.Random) -> None:
        self.participant_id = participant_id
        self.session_id = rng.getrandbits(62)
        self.cname = f"c{rng.getrandbits(64):016x}"
        self.publish: Transport | None = None
        self.publish_origin = ""
        self.publish_version = 0
        self.tracks: dict[str, CallTrack] = {}
        """By the publisher's mid."""
        self.subscribe: Transport | None = None
        self.negotiator = SubscribeNegotiator(session_id=rng.getrandbits(62), rng=rng)
        self.offered_at_s: float | None = None
        """When the offer went out that has no answer yet; one at a time, the newest state after it."""
        self.restart_wanted = False
        self.wishes: dict[str, Wish] = {}
        self.consumers: dict[str, Consumer] = {}
        """By track id."""
        self.downlink = DownlinkController()
        self.quality = QualityMeter()
        self.lost_transports: set[int] = set()

    def is_other_connection(self, offer: SessionDescription) -> bool:
        """Whether the offer is of another peer connection than the present one: a reload, or a client that began anew."""
        assert self.publish is not None
        section = offer.transport_section()
        if set(self.publish.remote_fingerprints) != set(section.fingerprints):
            return True
        # The certificate may be kept over a reload. The session id alone proves nothing either way: some peers change it each time.
        return offer.origin != self.publish_origin and self.publish.remote_ufrag != section.ice_ufrag
