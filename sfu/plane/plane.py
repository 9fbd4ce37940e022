"""The media plane in pure Python: transports, producers and consumers behind the `MediaPlane` interface."""

from __future__ import annotations

from salam.errors import ConflictError, NotFoundError
from sfu.plane.forwarder import AudioForwarder, Forwarder
from sfu.plane.interface import (
    ConsumerConfig,
    ConsumerStats,
    Path,
    PlaneEvent,
    PlaneStats,
    ProducerConfig,
    ProducerStats,
    SrtpKeys,
    Timer,
)
from sfu.plane.outbound import Outbox
from sfu.plane.producers import Producer
from sfu.plane.schedule import Schedule
from sfu.plane.transport import Transport
from sfu.plane.video_forwarder import VideoForwarder

__all__ = ["DROP_REASONS", "PurePlane"]

DROP_REASONS = (
    "no_keys",
    "not_media",
    "payload",
    "payload_type",
    "protect_failed",
    "rtcp",
    "rtp",
    "rtx_before_primary",
    "second_source",
    "sequence_jump",
    "srtcp",
    "srtp",
    "too_many_sources",
    "unknown_path",
    "unknown_rid",
    "unknown_ssrc",
)
"""Every reason for which the plane drops a packet."""

# What senders do on purpose to find out the bandwidth (draft-ietf-rmcat-gcc 4): of no use to anybody else, and nothing is missing
# without it.
_PROBING = ("duplicate", "rtx_padding")

# Authenticated addresses of one peer: its candidates, twice over for an ICE restart. The oldest make way.
_MAX_PATHS = 32


class PurePlane:
    """A `MediaPlane` without native code.

    ``ntp_offset_s`` is NTP seconds minus monotonic seconds: what to add to ``now`` to have NTP time. The plane itself reads no
    clock.
    """

    def __init__(self, ntp_offset_s: float) -> None:
        self._drops = dict.fromkeys(DROP_REASONS, 0)
        self._probing = dict.fromkeys(_PROBING, 0)
        self._outbox = Outbox(ntp_offset_s, self._drops)
        self._schedule = Schedule()
        self._events: list[PlaneEvent] = []
        self._control: list[tuple[bytes, Path]] = []
        self._transports: dict[int, Transport] = {}
        self._paths: dict[Path, Transport] = {}
        self._producers: dict[int, tuple[Producer, Transport]] = {}
        self._forwarders: dict[int, tuple[Forwarder, Producer, Transport]] = {}
        self._packets_in = 0
        self._bytes_in = 0
        self._now = 0.0

    # --------------------------------------------------------------------------------------------- transports

    def add_transport(self, transport_id: int) -> None:
        """Make a transport; ConflictError when the id is in use."""
        if transport_id in self._transports:
            raise ConflictError(f"transport {transport_id} exists already")
        self._transports[transport_id] = Transport(transport_id, self._schedule, self._outbox, self._emit)

    def _emit(self, event: PlaneEvent) -> None:
        self._events.append(event)

    def _transport(self, transport_id: int) -> Transport:
        transport = self._transports.get(transport_id)
        if transport is None:
            raise NotFoundError(f"transport {transport_id} does not exist")
        return transport

    def set_keys(self, transport_id: int, keys: SrtpKeys) -> None:
        """Give the transport its SRTP keys."""
        transport = self._transport(transport_id)
        transport.set_keys(keys)
        transport.rouse(self._now)

    def set_path(self, transport_id: int, path: Path | None) -> None:
        """Send to ``path`` from now on, and accept packets from it."""
        transport = self._transport(transport_id)
        if path is not None:
            self.allow_path(transport_id, path)
        transport.set_path(path, self._now)

    def allow_path(self, transport_id: int, path: Path) -> None:
        """Accept media from ``path`` for this transport; it belongs to the transport that allowed it last."""
        transport = self._transport(transport_id)
        self.forget_path(path)
        if len(transport.paths) >= _MAX_PATHS:
            oldest = next(known for known in transport.paths if known != transport.outbound.path)
            self.forget_path(oldest)
        self._paths[path] = transport
        transport.paths[path] = None

    def forget_path(self, path: Path) -> None:
        """Accept nothing more from ``path``."""
        transport = self._paths.pop(path, None)
        if transport is not None:
            transport.paths.pop(path, None)

    def remove_transport(self, transport_id: int) -> None:
        """Remove the transport and everything that depends on it."""
        transport = self._transports.pop(transport_id, None)
        if transport is None:
            return
        for producer in transport.producers:
            self.remove_producer(producer.config.producer_id)
        for consumer_id in tuple(transport.forwarders):
            self.remove_consumer(consumer_id)
        for path in tuple(transport.paths):
            self.forget_path(path)
        transport.close()

    # --------------------------------------------------------------------------------------------- producers and consumers

    def _producer(self, producer_id: int) -> tuple[Producer, Transport]:
        known = self._producers.get(producer_id)
        if known is None:
            raise NotFoundError(f"producer {producer_id} does not exist")
        return known

    def add_producer(self, config: ProducerConfig) -> None:
        """Receive a track; ConflictError when the id is in use."""
        transport = self._transport(config.transport_id)
        if config.producer_id in self._producers:
            raise ConflictError(f"producer {config.producer_id} exists already")
        producer = Producer(config, self._schedule, transport.link, self._emit, self._report_first)
        self._producers[config.producer_id] = (producer, transport)
        transport.add_producer(producer)

    def _report_first(self, forwarder: Forwarder, now: float) -> None:
        known = self._forwarders.get(forwarder.config.consumer_id)
        if known is not None:
            known[2].report_now(now)

    def set_producer_paused(self, producer_id: int, *, paused: bool) -> None:
        """Forward nothing of it while paused."""
        self._producer(producer_id)[0].set_paused(paused, self._now)

    def remove_producer(self, producer_id: int) -> None:
        """Remove the producer and its consumers."""
        known = self._producers.pop(producer_id, None)
        if known is None:
            return
        producer, transport = known
        for forwarder in tuple(producer.forwarders):
            self.remove_consumer(forwarder.config.consumer_id)
        transport.remove_producer(producer)
        producer.close()

    def _forwarder(self, consumer_id: int) -> Forwarder:
        known = self._forwarders.get(consumer_id)
        if known is None:
            raise NotFoundError(f"consumer {consumer_id} does not exist")
        return known[0]

    def add_consumer(self, config: ConsumerConfig) -> None:
        """Forward a producer over a transport; ConflictError when the id or an SSRC of the transport is in use."""
        producer, _ = self._producer(config.producer_id)
        transport = self._transport(config.transport_id)
        if config.consumer_id in self._forwarders:
            raise ConflictError(f"consumer {config.consumer_id} exists already")
        kind = VideoForwarder if producer.config.kind == "video" else AudioForwarder
        forwarder = kind(config, producer.layers, transport.outbound, producer.hooks)
        producer.forwarders.append(forwarder)
        transport.add_forwarder(forwarder)
        self._forwarders[config.consumer_id] = (forwarder, producer, transport)

    def set_target(self, consumer_id: int, spatial: int | None, temporal: int = 255, *, now: float) -> None:
        """Forward ``spatial`` from its next keyframe on; None stops at once."""
        self._now = now
        self._forwarder(consumer_id).set_target(spatial, temporal, now)

    def remove_consumer(self, consumer_id: int) -> None:
        """Remove the consumer."""
        known = self._forwarders.pop(consumer_id, None)
        if known is None:
            return
        forwarder, producer, transport = known
        forwarder.close()
        producer.forwarders.remove(forwarder)
        transport.remove_forwarder(forwarder)

    # --------------------------------------------------------------------------------------------- packets and time

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Take one datagram; first bytes as in RFC 7983."""
        self._now = now
        self._packets_in += 1
        self._bytes_in += len(data)
        first = data[0] if data else 255
        if 128 <= first <= 191:
            transport = self._paths.get(path)
            if transport is None:
                dropped: str | None = "unknown_path"
            elif len(data) < 12:
                dropped = "not_media"
            elif 192 <= data[1] <= 223:
                dropped = transport.receive_rtcp(data, now)
            else:
                dropped = transport.receive_rtp(data, now)
        elif first <= 3 or 20 <= first <= 63:
            self._control.append((data, path))
            dropped = None
        else:
            dropped = "not_media"
        if dropped is not None:
            (self._probing if dropped in self._probing else self._drops)[dropped] += 1

    def handle_timer(self, now: float) -> None:
        """Do whatever is due."""
        self._now = now
        self._schedule.run(now)

    def next_deadline(self) -> tuple[float, Timer]:
        """Return the earliest time at which something is due, and why."""
        return self._schedule.next_deadline()

    def take_datagrams(self) -> list[tuple[bytes, Path]]:
        """Return and clear the datagrams to send."""
        return self._outbox.take()

    def take_control(self) -> list[tuple[bytes, Path]]:
        """Return and clear the received STUN and DTLS packets."""
        control, self._control = self._control, []
        return control

    def take_events(self) -> list[PlaneEvent]:
        """Return and clear the events."""
        events, self._events = self._events, []
        return events

    # --------------------------------------------------------------------------------------------- statistics

    def producer_stats(self, producer_id: int) -> ProducerStats:
        """Return the totals of a producer."""
        return self._producer(producer_id)[0].stats()

    def consumer_stats(self, consumer_id: int) -> ConsumerStats:
        """Return the totals of a consumer."""
        return self._forwarder(consumer_id).stats()

    def stats(self) -> PlaneStats:
        """Return the totals of the plane."""
        outbox = self._outbox
        return PlaneStats(
            self._packets_in,
            self._bytes_in,
            outbox.packets,
            outbox.bytes,
            dict(self._drops),
            duplicates=self._probing["duplicate"],
            probes=self._probing["rtx_padding"],
        )
