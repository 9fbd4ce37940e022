"""What a robot counts, track by track."""

from __future__ import annotations

from dataclasses import dataclass

from bench.peer import ReceivedTrackStats, SentLayerStats, SentTrackStats

__all__ = ["ReceivedTrack", "RobotStats", "SentTrack", "received_track", "sent_track"]


@dataclass(frozen=True, slots=True)
class SentTrack:
    """Totals of a published track, all layers together, and each layer."""

    track_id: str
    kind: str
    codec: str
    packets: int
    bytes: int
    """Payload bytes, without retransmissions."""
    frames: int
    """Pictures, or frames of sound, of the best layer."""
    keyframes: int
    packets_resent: int
    keyframe_requests: int
    layers: tuple[SentLayerStats, ...]
    """From the lowest quality up."""


@dataclass(frozen=True, slots=True)
class ReceivedTrack:
    """Totals of a track that is received from another participant."""

    track_id: str
    participant_id: str
    source: str
    kind: str
    codec: str
    layer: str
    """The rid that the server says it forwards; empty for tracks of one layer, and while nothing is forwarded."""
    packets: int
    """Those that came by themselves, without retransmissions."""
    bytes: int
    packets_lost: int
    """Missing on the way, as of the last report, whether repaired later or not."""
    packets_repaired: int
    frames: int
    keyframes: int
    frames_given_up: int
    """Incomplete, or useless without one that was."""
    frames_decoded: int
    """0 unless the robot decodes."""
    nacks_sent: int
    keyframe_requests_sent: int
    jitter_s: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class RobotStats:
    """Totals of one robot."""

    sent: tuple[SentTrack, ...]
    received: tuple[ReceivedTrack, ...]
    dropped: int
    """Datagrams that were no valid media of a negotiated stream."""
    decode_failures: int
    connections_lost: int = 0
    """How often nothing was heard any more on a media connection that had stood."""


def sent_track(track_id: str, stats: SentTrackStats) -> SentTrack:
    """Put the layers of a sent track together."""
    best = stats.layers[-1]
    return SentTrack(
        track_id=track_id,
        kind=stats.kind,
        codec=stats.codec,
        packets=sum(layer.packets for layer in stats.layers),
        bytes=sum(layer.bytes for layer in stats.layers),
        frames=best.frames,
        keyframes=best.keyframes,
        packets_resent=sum(layer.packets_resent for layer in stats.layers),
        keyframe_requests=stats.keyframe_requests,
        layers=stats.layers,
    )


def received_track(
    stats: ReceivedTrackStats, *, track_id: str, participant_id: str, source: str, layer: str, frames_decoded: int
) -> ReceivedTrack:
    """Name a received stream by its track."""
    return ReceivedTrack(
        track_id=track_id,
        participant_id=participant_id,
        source=source,
        kind=stats.kind,
        codec=stats.codec,
        layer=layer,
        packets=stats.packets,
        bytes=stats.bytes,
        packets_lost=stats.packets_lost,
        packets_repaired=stats.packets_repaired,
        frames=stats.frames,
        keyframes=stats.keyframes,
        frames_given_up=stats.frames_given_up,
        frames_decoded=frames_decoded,
        nacks_sent=stats.nacks_sent,
        keyframe_requests_sent=stats.keyframe_requests_sent,
        jitter_s=stats.jitter_s,
        width=stats.width,
        height=stats.height,
    )
