"""One WebRTC transport: ICE and DTLS on the control side, keys and path in the media plane."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfu.closable import Closable
from sfu.consumer import Consumer
from sfu.context import Context
from sfu.dtls import DtlsAssociation, DtlsConnected, DtlsFailed, DtlsRole, DtlsState, Fingerprint
from sfu.ice import CredentialsRetired, IceDrop, IceLiteAgent, IceState, IceStateChanged, PathAdded, PathRemoved, PathSelected
from sfu.paths import NetworkPath
from sfu.producer import Producer
from sfu.publish_answer import ProducerSpec
from sfu.sdp import MediaSection
from sfu.sdp_lines import LocalTransport
from sfu.subscribe_offer import AcceptedTrack
from turn_client import StunMessage

if TYPE_CHECKING:
    from sfu.router import Router

__all__ = ["Transport", "TransportState", "TransportStats"]


class TransportState(enum.Enum):
    """How it stands with the peer; ICE and DTLS together."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    """No check for some seconds; it may come back by itself."""
    FAILED = "failed"
    """Consent expired, or DTLS failed or was closed: only a restart or a new peer connection helps."""


@dataclass(frozen=True, slots=True)
class TransportStats:
    """What a transport is made of now."""

    transport_id: int
    state: TransportState
    ice: IceState
    dtls: DtlsState
    tcp: bool
    producers: int
    consumers: int
    rtt_s: float | None


class Transport(Closable):
    """One peer connection of one participant; made by `Router.create_transport`.

    Its description for the peer comes from `local`; the peer's own goes into `set_remote`.
    """

    def __init__(self, context: Context, router: Router) -> None:
        super().__init__()
        self.transport_id = context.new_id()
        self.router = router
        self.rtt_s: float | None = None
        """Latest round-trip time to the peer, None while unknown."""
        self._context = context
        self._ice = IceLiteAgent(context.new_credentials())
        self._dtls = DtlsAssociation(context.identity)
        self._state = TransportState.NEW
        self._producers: dict[int, Producer] = {}
        self._consumers: dict[int, Consumer] = {}
        context.plane.add_transport(self.transport_id)
        context.transports[self.transport_id] = self
        context.by_ufrag[self._ice.credentials.ufrag] = self

    def __repr__(self) -> str:
        return f"<Transport {self.transport_id} {self.close_reason or self._state.value}>"

    @property
    def state(self) -> TransportState:
        """How it stands with the peer."""
        return self._state

    @property
    def producers(self) -> tuple[Producer, ...]:
        """The tracks that come in over it."""
        return tuple(self._producers.values())

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """The tracks that go out over it."""
        return tuple(self._consumers.values())

    @property
    def remote_ufrag(self) -> str | None:
        """The peer's username fragment as its latest description said it."""
        return self._ice.remote_ufrag

    @property
    def remote_fingerprints(self) -> tuple[Fingerprint, ...]:
        """The peer's certificate as its latest description said it; empty before the first."""
        return self._dtls.fingerprints

    def local(self, setup: str) -> LocalTransport:
        """Our side for a description; ``setup`` is ``actpass`` in offers, else the role."""
        credentials = self._ice.credentials
        return LocalTransport(
            credentials.ufrag, credentials.password, self._context.identity.fingerprint, self._context.candidates, setup
        )

    def set_remote(self, section: MediaSection, role: DtlsRole) -> None:
        """Take the peer's ICE and DTLS parameters; ``role`` is ours.

        Another certificate than before means another peer connection: a new DTLS association begins (RFC 8842 section 5.3). One
        begins too when the present one is over.
        """
        self._check_open()
        self._ice.set_remote_ufrag(section.ice_ufrag)
        fingerprints = tuple(section.fingerprints)
        over = self._dtls.state in (DtlsState.FAILED, DtlsState.CLOSED)
        if over or (self._dtls.state is not DtlsState.NEW and set(fingerprints) != set(self._dtls.fingerprints)):
            self._dtls = DtlsAssociation(self._context.identity)
        self._dtls.start(role, fingerprints, self._context.monotonic())
        self._flush()

    def restart_ice(self) -> None:
        """Use new ICE credentials from the next description on; media keeps to the present path until a new one is nominated."""
        self._check_open()
        credentials = self._context.new_credentials()
        self._context.by_ufrag[credentials.ufrag] = self
        self._ice.restart(credentials)
        self._flush()

    def produce(self, spec: ProducerSpec) -> Producer:
        """Receive a track over this transport. Raises ClosedError when closed."""
        self._check_open()
        producer = Producer(self._context, self, spec)
        self._producers[producer.producer_id] = producer
        producer.on_close(lambda _: self._producers.pop(producer.producer_id, None))
        return producer

    def consume(self, producer: Producer, accepted: AcceptedTrack) -> Consumer:
        """Send a track over this transport.

        Raises ClosedError when closed and ConflictError when the peer did not accept the producer's codec.
        """
        self._check_open()
        consumer = Consumer(self._context, self, producer, accepted)
        self._consumers[consumer.consumer_id] = consumer
        consumer.on_close(lambda _: self._consumers.pop(consumer.consumer_id, None))
        return consumer

    def stats(self) -> TransportStats:
        """What it is made of now."""
        return TransportStats(
            transport_id=self.transport_id,
            state=self._state,
            ice=self._ice.state,
            dtls=self._dtls.state,
            tcp=self._ice.selected_path is not None and not isinstance(self._ice.selected_path, tuple),
            producers=len(self._producers),
            consumers=len(self._consumers),
            rtt_s=self.rtt_s,
        )

    # --------------------------------------------------------------------------------------------- for the engine

    def receive_stun(self, message: StunMessage, path: NetworkPath, now: float) -> IceDrop | None:
        """Take a STUN message for one of our username fragments; returns why it was ignored, if it was."""
        dropped = self._ice.receive(message, path, now)
        self._flush()
        return dropped

    def receive_dtls(self, data: bytes, now: float) -> None:
        """Take a datagram that looks like DTLS, from a path that ICE authenticated."""
        self._dtls.receive(data, now)
        self._flush()

    def path_closed(self, path: NetworkPath) -> None:
        """Forget a TCP connection that ended."""
        self._ice.path_closed(path)
        self._flush()

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._ice.handle_timer(now)
        self._dtls.handle_timer(now)
        self._flush()

    def next_deadline(self) -> float:
        """When `handle_timer` has something to do."""
        return min(self._ice.next_deadline(), self._dtls.next_deadline())

    # --------------------------------------------------------------------------------------------- inside

    def _flush(self) -> None:
        self._apply_ice_events()
        for event in self._dtls.take_events():
            if isinstance(event, DtlsConnected):
                self._context.plane.set_keys(self.transport_id, event.keys)
            elif isinstance(event, DtlsFailed):
                self.router.log.info("transport %d: %s", self.transport_id, event.reason)
        self._send(self._dtls.take_datagrams())
        self._context.outbox += self._ice.take_datagrams()
        self._update_state()
        self._context.wake()

    def _send(self, datagrams: Sequence[bytes]) -> None:
        path = self._ice.selected_path
        if path is not None:
            self._context.outbox += [(datagram, path) for datagram in datagrams]

    def _apply_ice_events(self) -> None:
        context, plane = self._context, self._context.plane
        for event in self._ice.take_events():
            if isinstance(event, PathAdded):
                if context.by_path.get(event.path, self) is not self:
                    # The address belongs to a new peer connection now; what the plane knows about it is of the old one.
                    plane.forget_path(event.path)
                context.by_path[event.path] = self
                plane.allow_path(self.transport_id, event.path)
            elif isinstance(event, PathSelected):
                plane.set_path(self.transport_id, event.path)
            elif isinstance(event, PathRemoved):
                self._forget(event.path)
            elif isinstance(event, CredentialsRetired):
                context.by_ufrag.pop(event.ufrag, None)
            elif isinstance(event, IceStateChanged):
                self.router.log.debug("transport %d: ice %s", self.transport_id, event.state.value)

    def _forget(self, path: NetworkPath) -> None:
        if self._context.by_path.get(path) is self:
            del self._context.by_path[path]
            self._context.plane.forget_path(path)
        if self._ice.selected_path is None:
            self._context.plane.set_path(self.transport_id, None)

    def _update_state(self) -> None:
        state = self._combined_state()
        if state is not self._state and not self.closed:
            self._state = state
            self.router.listener.on_transport_state(self, state)

    def _combined_state(self) -> TransportState:
        if self._dtls.state in (DtlsState.FAILED, DtlsState.CLOSED) or self._ice.state is IceState.EXPIRED:
            return TransportState.FAILED
        if self._ice.state is IceState.DISCONNECTED:
            return TransportState.DISCONNECTED
        if self._ice.state is IceState.CONNECTED:
            return TransportState.CONNECTED if self._dtls.state is DtlsState.CONNECTED else TransportState.CONNECTING
        return TransportState.NEW

    def _release(self) -> None:
        for consumer in self.consumers:
            consumer.close("transport_closed")
        for producer in self.producers:
            producer.close("transport_closed")
        self._dtls.close()
        self._send(self._dtls.take_datagrams())
        context = self._context
        for ufrag in [ufrag for ufrag, owner in context.by_ufrag.items() if owner is self]:
            del context.by_ufrag[ufrag]
        for path in [path for path, owner in context.by_path.items() if owner is self]:
            del context.by_path[path]
            context.plane.forget_path(path)
        context.transports.pop(self.transport_id, None)
        context.plane.remove_transport(self.transport_id)
        context.wake()
