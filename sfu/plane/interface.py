"""The media plane's one interface: what policy tells the plane, and what the plane tells back.

The plane is the mechanism: everything that happens to each packet. It is sans-IO. Packets go in with `MediaPlane.receive`, time
goes in as ``now`` (monotonic seconds), and datagrams, control packets and events are taken out:

1. Call one mutating method (a command, `receive`, or `handle_timer`).
2. Then drain `take_datagrams`, `take_control` and `take_events`, in that order.
3. Then arm one timer for `next_deadline`.

Policy is everything that runs tens of times a second on summaries: negotiation, who receives which layer, speaker detection,
bandwidth. It only ever talks to the plane through this interface, so a second implementation can take the first one's place, and a
recorded trace of calls must come out of both byte for byte the same. For that the plane reads no clock and no random source: every
initial sequence number, SSRC and timestamp offset is part of a config.

A *path* is where a datagram came from or goes to: any hashable value that the I/O layer understands (a UDP address, or the object
of a TCP connection). The plane compares paths and never looks inside.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Kind = Literal["audio", "video"]
Path = Hashable


class SrtpProfile(enum.Enum):
    """SRTP protection profiles with their DTLS-SRTP names (RFC 5764 4.1.2, RFC 7714 14.2)."""

    AEAD_AES_128_GCM = "SRTP_AEAD_AES_128_GCM"
    AEAD_AES_256_GCM = "SRTP_AEAD_AES_256_GCM"
    AES128_CM_SHA1_80 = "SRTP_AES128_CM_SHA1_80"


@dataclass(frozen=True, slots=True, repr=False)
class SrtpKeys:
    """Master keys of one transport, both directions, each as key || salt. No repr: they are secret."""

    profile: SrtpProfile
    inbound: bytes
    outbound: bytes


@dataclass(frozen=True, slots=True)
class Codec:
    """One negotiated codec of an m-line, by its payload type in that direction."""

    payload_type: int
    name: Literal["VP8", "H264", "VP9", "opus"]
    clock_rate_hz: int
    rtx_payload_type: int | None = None
    """Payload type of its RTX stream (RFC 4588), None when RTX was not negotiated."""


@dataclass(frozen=True, slots=True)
class ExtensionIds:
    """Negotiated RTP header extension ids of one m-line; 0 means not negotiated. The same URI may have another id on every peer."""

    mid: int = 0
    rid: int = 0
    repaired_rid: int = 0
    abs_send_time: int = 0
    transport_cc: int = 0
    audio_level: int = 0
    video_orientation: int = 0
    abs_capture_time: int = 0
    playout_delay: int = 0


@dataclass(frozen=True, slots=True)
class ProducerConfig:
    """A track that comes in over a transport: one m-line of the publisher's offer."""

    producer_id: int
    transport_id: int
    kind: Kind
    mid: str
    codecs: tuple[Codec, ...]
    """In the order of the answer; a publisher may send any of them, and the plane keeps to the payload type it sees."""
    extensions: ExtensionIds
    rids: tuple[str, ...] = ()
    """Simulcast rids, lowest quality first; empty for one layer, which then has the spatial layer 0."""
    ssrcs: tuple[int, ...] = ()
    """Signalled primary SSRCs (a=ssrc) for m-lines without simulcast; learnt from MID and RID when empty."""
    rtx_ssrcs: Mapping[int, int] = field(default_factory=dict)
    """Signalled RTX SSRC to primary SSRC (a=ssrc-group:FID)."""
    receiver_ssrc: int = 1
    """SSRC under which the plane sends feedback to this publisher."""


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """A producer's track on its way out over another transport: one m-line of the subscriber's offer."""

    consumer_id: int
    transport_id: int
    producer_id: int
    mid: str
    codec: Codec
    """With the payload types of the subscriber; its name must be the producer's codec."""
    extensions: ExtensionIds
    ssrc: int
    rtx_ssrc: int | None
    cname: str
    """Equal for all tracks of one participant, so that the receiver synchronises them."""
    first_sequence: int
    """In [1000, 32767]: an early loss across the wrap would desynchronise the receiver's rollover counter."""
    first_rtx_sequence: int
    first_timestamp: int


class Timer(enum.Enum):
    """Why the plane wants to be called at its next deadline."""

    NONE = "none"
    NACK = "nack"
    TRANSPORT_FEEDBACK = "transport_feedback"
    REPORTS = "reports"
    KEYFRAME_REQUEST = "keyframe_request"
    SUMMARY = "summary"


# ------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """What one layer of a producer did since the last summary.

    Sent about twice a second while it has packets, and once when it stops.
    """

    producer_id: int
    spatial: int
    active: bool
    bitrate_bps: int
    frames_per_s: float
    loss_fraction: float
    """Packets still missing after repair, of those expected, since the last summary."""
    jitter_s: float
    height: int = 0
    """Height in pixels of the last keyframe, 0 while unknown."""


@dataclass(frozen=True, slots=True)
class AudioSummary:
    """How loud an audio producer was since the last summary; about ten times a second while it has packets."""

    producer_id: int
    level_dbov: int
    """The loudest packet: 0 is loudest, -127 silence (RFC 6464)."""
    voice_packets: int
    packets: int


@dataclass(frozen=True, slots=True)
class ConsumerLayer:
    """A consumer forwards another layer from now on: the first packet of a keyframe of it was just sent."""

    consumer_id: int
    spatial: int | None
    """None once nothing is forwarded."""


@dataclass(frozen=True, slots=True)
class ReceiverSummary:
    """What a subscriber's receiver reports say about one consumer."""

    consumer_id: int
    loss_fraction: float
    jitter_s: float
    rtt_s: float | None


@dataclass(frozen=True, slots=True)
class PublisherRtt:
    """Round-trip time to a publisher, where its reports allow one to be measured."""

    transport_id: int
    rtt_s: float


@dataclass(frozen=True, slots=True)
class PacketArrival:
    """One packet of a transport as its receiver saw it, for send-side bandwidth estimation."""

    transport_sequence: int
    sent_s: float
    size_bytes: int
    arrived_s: float | None
    """On the receiver's own clock; None when it reports the packet lost."""


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """A transport-wide feedback message from a subscriber, matched with what was sent."""

    transport_id: int
    arrivals: tuple[PacketArrival, ...]


@dataclass(frozen=True, slots=True)
class EstimatedBitrate:
    """A REMB message from a subscriber."""

    transport_id: int
    bitrate_bps: int


PlaneEvent = LayerSummary | AudioSummary | ConsumerLayer | ReceiverSummary | PublisherRtt | TransportFeedback | EstimatedBitrate


# ------------------------------------------------------------------------------------------------- statistics


@dataclass(frozen=True, slots=True)
class LayerStats:
    """Totals of one received layer since its producer was added."""

    spatial: int
    ssrc: int
    packets: int
    bytes: int
    keyframes: int
    packets_lost: int
    """Never repaired."""
    packets_repaired: int
    nacks_sent: int
    keyframe_requests_sent: int


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """Totals of one producer."""

    producer_id: int
    layers: tuple[LayerStats, ...]


@dataclass(frozen=True, slots=True)
class ConsumerStats:
    """Totals of one consumer."""

    consumer_id: int
    packets: int
    bytes: int
    retransmissions: int
    retransmissions_refused: int
    """Asked for but too old, too often, or never sent."""
    switches: int
    keyframe_requests: int
    spatial: int | None
    target_spatial: int | None


@dataclass(frozen=True, slots=True)
class PlaneStats:
    """Totals of the whole plane."""

    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    drops: Mapping[str, int]
    """Reason to count; the reasons are a fixed set."""
    duplicates: int = 0
    """Packets that had arrived before: senders repeat old ones to probe the bandwidth. Nothing is lost with them."""
    probes: int = 0
    """RTX packets without a payload, which only probe the bandwidth."""


class MediaPlane(Protocol):
    """A media plane; see the module's docstring for the order of calls.

    Commands raise `salam.NotFoundError` for an unknown id, `salam.ConflictError` for an id in use, and otherwise nothing.
    Nothing that a peer sends makes a method raise: bad input is counted in `PlaneStats.drops`.
    """

    def add_transport(self, transport_id: int) -> None:
        """Make a transport that has neither keys nor a path yet."""

    def set_keys(self, transport_id: int, keys: SrtpKeys) -> None:
        """Give the transport its SRTP keys, after the DTLS handshake; a second call replaces them (new DTLS association)."""

    def set_path(self, transport_id: int, path: Path | None) -> None:
        """Send to ``path`` from now on; None holds back everything. Paths that were allowed stay allowed until `forget_path`."""

    def allow_path(self, transport_id: int, path: Path) -> None:
        """Accept media from ``path`` for this transport: an ICE check from there was authenticated."""

    def forget_path(self, path: Path) -> None:
        """Accept nothing more from ``path``; unknown paths are ignored."""

    def remove_transport(self, transport_id: int) -> None:
        """Remove the transport with its producers and consumers, and the consumers of those producers; idempotent."""

    def add_producer(self, config: ProducerConfig) -> None:
        """Receive a track."""

    def set_producer_paused(self, producer_id: int, *, paused: bool) -> None:
        """Forward nothing of it while paused; feedback to the publisher goes on."""

    def remove_producer(self, producer_id: int) -> None:
        """Remove the producer and its consumers; idempotent."""

    def add_consumer(self, config: ConsumerConfig) -> None:
        """Forward a producer over a transport; audio at once, video from the keyframe of the layer that `set_target` names."""

    def set_target(self, consumer_id: int, spatial: int | None, temporal: int = 255, *, now: float) -> None:
        """Forward ``spatial`` (index into the producer's rids) from its next keyframe on, asking for one; None stops at once.

        While waiting for the keyframe the layer forwarded so far goes on. ``temporal`` caps the VP8 temporal layer.
        """

    def remove_consumer(self, consumer_id: int) -> None:
        """Remove the consumer; idempotent."""

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Take one datagram from the network, whatever it is; STUN and DTLS come out of `take_control` (RFC 7983)."""

    def handle_timer(self, now: float) -> None:
        """Do whatever is due at ``now``."""

    def next_deadline(self) -> tuple[float, Timer]:
        """The earliest time at which `handle_timer` has something to do, with its reason; (inf, NONE) when nothing waits."""

    def take_datagrams(self) -> list[tuple[bytes, Path]]:
        """Return and clear the datagrams to send, in order."""

    def take_control(self) -> list[tuple[bytes, Path]]:
        """Return and clear the received STUN and DTLS packets."""

    def take_events(self) -> list[PlaneEvent]:
        """Return and clear the events."""

    def producer_stats(self, producer_id: int) -> ProducerStats:
        """Totals of a producer."""

    def consumer_stats(self, consumer_id: int) -> ConsumerStats:
        """Totals of a consumer."""

    def stats(self) -> PlaneStats:
        """Totals of the plane."""
