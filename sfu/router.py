"""A room's worth of transports, and where its news goes."""

from __future__ import annotations

from salam.log import get_logger
from sfu.closable import Closable
from sfu.consumer import Consumer
from sfu.context import Context
from sfu.plane.interface import AudioSummary, LayerSummary, ReceiverSummary, TransportFeedback
from sfu.producer import Producer
from sfu.transport import Transport, TransportState, TransportStats

__all__ = ["Router", "RouterListener"]


class RouterListener:
    """What a router reports; override what you need. Calls are synchronous and must not block."""

    def on_transport_state(self, transport: Transport, state: TransportState) -> None:
        """A transport's state changed."""

    def on_layer_summary(self, producer: Producer, summary: LayerSummary) -> None:
        """How a layer of a producer did lately; `Producer.layers` holds it too."""

    def on_audio_summary(self, producer: Producer, summary: AudioSummary) -> None:
        """How loud a producer was lately."""

    def on_consumer_layer(self, consumer: Consumer) -> None:
        """Another layer is forwarded to the consumer: `Consumer.spatial`."""

    def on_receiver_summary(self, consumer: Consumer, summary: ReceiverSummary) -> None:
        """What a subscriber's receiver reports say."""

    def on_transport_feedback(self, transport: Transport, feedback: TransportFeedback) -> None:
        """Which packets a subscriber got, and when: the raw material of a bandwidth estimator."""

    def on_estimated_bitrate(self, transport: Transport, bitrate_bps: int) -> None:
        """A subscriber's own estimate of what it can receive (REMB)."""


class Router(Closable):
    """The transports that can reach each other's producers: one room. Made by `Worker.create_router`."""

    def __init__(self, context: Context, router_id: str) -> None:
        super().__init__()
        self.router_id = router_id
        self.listener = RouterListener()
        self.log = get_logger("sfu", room=router_id)
        self._context = context
        self._transports: dict[int, Transport] = {}

    def __repr__(self) -> str:
        return f"<Router {self.router_id} transports={len(self._transports)} {self.close_reason or 'open'}>"

    @property
    def transports(self) -> tuple[Transport, ...]:
        """The open transports."""
        return tuple(self._transports.values())

    def create_transport(self) -> Transport:
        """Make a transport with fresh ICE credentials. Raises ClosedError when closed."""
        self._check_open()
        transport = Transport(self._context, self)
        self._transports[transport.transport_id] = transport
        transport.on_close(lambda _: self._transports.pop(transport.transport_id, None))
        return transport

    def stats(self) -> tuple[TransportStats, ...]:
        """One entry per transport."""
        return tuple(transport.stats() for transport in self._transports.values())

    def _release(self) -> None:
        for transport in self.transports:
            transport.close("router_closed")
