"""Everything that a worker does except I/O: packets and time in, packets and the next deadline out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from salam.errors import ConflictError
from sfu.context import Context
from sfu.dtls import DtlsIdentity
from sfu.paths import NetworkPath
from sfu.plane.interface import (
    AudioSummary,
    ConsumerLayer,
    EstimatedBitrate,
    LayerSummary,
    MediaPlane,
    PlaneEvent,
    PublisherRtt,
    ReceiverSummary,
    TransportFeedback,
)
from sfu.router import Router
from sfu.sdp_lines import Candidate
from sfu.transport import TransportState
from turn_client import StunError, parse_message

__all__ = ["Engine"]

DropCounter = Callable[[str, NetworkPath], None]


class Engine:
    """The transports of one worker over one media plane.

    After each call take the datagrams with `take_datagrams` and arm a timer for `next_deadline`. ``wake`` is called when a
    command on one of the objects left something to take. ``count_drop`` gets the reason of each control packet that was ignored,
    and where it came from.
    """

    def __init__(
        self,
        *,
        plane: MediaPlane,
        identity: DtlsIdentity,
        rng: random.Random,
        monotonic: Callable[[], float],
        wake: Callable[[], None] = lambda: None,
        count_drop: DropCounter = lambda *_: None,
    ) -> None:
        self._context = Context(plane=plane, identity=identity, rng=rng, monotonic=monotonic, wake=wake)
        self._plane = plane
        self._count_drop = count_drop
        self._routers: dict[str, Router] = {}
        # No later than the earliest deadline of any transport; exact again after each timer. Packets only ever move deadlines, so a
        # look at the transport that got one is enough.
        self._control_deadline_s = math.inf

    @property
    def routers(self) -> tuple[Router, ...]:
        """The open routers."""
        return tuple(self._routers.values())

    @property
    def transport_count(self) -> int:
        """How many transports are open."""
        return len(self._context.transports)

    def set_candidates(self, candidates: tuple[Candidate, ...]) -> None:
        """Say where peers reach us; goes into every description from now on."""
        self._context.candidates = candidates

    def knows_path(self, path: NetworkPath) -> bool:
        """Whether ICE authenticated ``path`` for some transport."""
        return path in self._context.by_path

    def create_router(self, router_id: str) -> Router:
        """Make a router. Raises ConflictError when the id is taken."""
        if router_id in self._routers:
            raise ConflictError(f"a router named {router_id} exists")
        router = self._routers[router_id] = Router(self._context, router_id)
        router.on_close(lambda _: self._routers.pop(router_id, None))
        return router

    def receive(self, data: bytes, path: NetworkPath, now: float) -> None:
        """Take one datagram, whatever it is."""
        self._plane.receive(data, path, now)

    def path_closed(self, path: NetworkPath) -> None:
        """A TCP connection ended."""
        transport = self._context.by_path.get(path)
        if transport is not None:
            transport.path_closed(path)

    def handle_timer(self, now: float) -> None:
        """Do whatever is due at ``now``."""
        if self._plane.next_deadline()[0] <= now:
            self._plane.handle_timer(now)
        if self._control_deadline_s <= now:
            for transport in list(self._context.transports.values()):
                if transport.next_deadline() <= now:
                    transport.handle_timer(now)
            self._control_deadline_s = min(
                (transport.next_deadline() for transport in self._context.transports.values()), default=math.inf
            )

    def next_deadline(self) -> float:
        """When `handle_timer` has something to do; infinity when nothing waits."""
        return min(self._plane.next_deadline()[0], self._control_deadline_s)

    def take_datagrams(self, now: float) -> list[tuple[bytes, NetworkPath]]:
        """Work through what the plane put aside, and return and clear everything to send, in order."""
        plane, context = self._plane, self._context
        media = plane.take_datagrams()
        for data, path in plane.take_control():
            self._control(data, path, now)  # type: ignore[arg-type]
        for event in plane.take_events():
            self._dispatch(event)
        control, context.outbox = context.outbox, []
        # Commands that listeners gave in reaction to events may have produced more.
        return [*control, *media, *plane.take_datagrams()]  # type: ignore[list-item]

    def watch_deadlines(self) -> None:
        """Look at every transport's deadline again, after commands from outside."""
        for transport in self._context.transports.values():
            self._control_deadline_s = min(self._control_deadline_s, transport.next_deadline())

    def close(self) -> None:
        """Close every router."""
        for router in self.routers:
            router.close("worker_closed")

    def _control(self, data: bytes, path: NetworkPath, now: float) -> None:
        # RFC 7983: STUN starts with 0 to 3, DTLS with 20 to 63.
        if data and data[0] < 4:
            self._stun(data, path, now)
            return
        transport = self._context.by_path.get(path)
        if transport is None:
            self._count_drop("dtls_unknown_path", path)
            return
        transport.receive_dtls(data, now)
        self._control_deadline_s = min(self._control_deadline_s, transport.next_deadline())

    def _stun(self, data: bytes, path: NetworkPath, now: float) -> None:
        try:
            message = parse_message(data)
        except StunError:
            self._count_drop("stun_malformed", path)
            return
        transport = self._context.by_ufrag.get((message.username or "").partition(":")[0])
        if transport is None:
            self._count_drop("stun_unknown_ufrag", path)
            return
        owner = self._context.by_path.get(path)
        if owner is not None and owner is not transport and owner.state is TransportState.CONNECTED:
            # Somebody with credentials of their own and a forged address would cut the owner off. A peer connection that really
            # takes over the address of another one checks again until the silence of the old one has been noticed.
            self._count_drop("stun_path_in_use", path)
            return
        dropped = transport.receive_stun(message, path, now)
        if dropped is not None:
            self._count_drop(dropped.value, path)
        self._control_deadline_s = min(self._control_deadline_s, transport.next_deadline())

    def _dispatch(self, event: PlaneEvent) -> None:
        context = self._context
        if isinstance(event, LayerSummary | AudioSummary):
            self._dispatch_producer(event)
        elif isinstance(event, ConsumerLayer | ReceiverSummary):
            self._dispatch_consumer(event)
        elif (transport := context.transports.get(event.transport_id)) is None:
            return
        elif isinstance(event, PublisherRtt):
            transport.rtt_s = event.rtt_s
        elif isinstance(event, EstimatedBitrate):
            transport.router.listener.on_estimated_bitrate(transport, event.bitrate_bps)
        elif isinstance(event, TransportFeedback):
            transport.router.listener.on_transport_feedback(transport, event)

    def _dispatch_producer(self, event: LayerSummary | AudioSummary) -> None:
        producer = self._context.producers.get(event.producer_id)
        if producer is None:
            return
        listener = producer.transport.router.listener
        if isinstance(event, AudioSummary):
            listener.on_audio_summary(producer, event)
        else:
            producer.layers[event.spatial] = event
            listener.on_layer_summary(producer, event)

    def _dispatch_consumer(self, event: ConsumerLayer | ReceiverSummary) -> None:
        consumer = self._context.consumers.get(event.consumer_id)
        if consumer is None:
            return
        listener = consumer.transport.router.listener
        if isinstance(event, ConsumerLayer):
            consumer.spatial = event.spatial
            listener.on_consumer_layer(consumer)
            return
        consumer.loss_fraction = event.loss_fraction
        if event.rtt_s is not None:
            consumer.rtt_s = consumer.transport.rtt_s = event.rtt_s
        listener.on_receiver_summary(consumer, event)
