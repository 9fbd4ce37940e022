"""A track that comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfu.closable import Closable
from sfu.context import Context
from sfu.plane.interface import Kind, LayerSummary, ProducerConfig, ProducerStats
from sfu.publish_answer import ProducerSpec

if TYPE_CHECKING:
    from sfu.consumer import Consumer
    from sfu.transport import Transport

__all__ = ["Producer"]


class Producer(Closable):
    """One published track on a `Transport`; made by `Transport.produce`."""

    def __init__(self, context: Context, transport: Transport, spec: ProducerSpec) -> None:
        super().__init__()
        self.producer_id = context.new_id()
        self.transport = transport
        self.spec = spec
        self.layers: dict[int, LayerSummary] = {}
        """The latest summary of each spatial layer."""
        self._context = context
        self._consumers: dict[int, Consumer] = {}
        self._paused = False
        context.plane.add_producer(
            ProducerConfig(
                producer_id=self.producer_id,
                transport_id=transport.transport_id,
                kind=spec.kind,
                mid=spec.mid,
                codecs=(spec.codec,),
                extensions=spec.extensions,
                rids=spec.rids,
                ssrcs=spec.ssrcs,
                rtx_ssrcs=dict(spec.rtx_ssrcs),
                receiver_ssrc=context.new_ssrc(),
            )
        )
        context.producers[self.producer_id] = self
        context.wake()

    def __repr__(self) -> str:
        return f"<Producer {self.producer_id} {self.kind} mid={self.spec.mid} {self.close_reason or 'open'}>"

    @property
    def kind(self) -> Kind:
        """Audio or video."""
        return self.spec.kind

    @property
    def layer_count(self) -> int:
        """How many spatial layers it may have."""
        return max(1, len(self.spec.rids))

    @property
    def paused(self) -> bool:
        """Whether forwarding is stopped."""
        return self._paused

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """Who receives it."""
        return tuple(self._consumers.values())

    def set_paused(self, *, paused: bool) -> None:
        """Stop forwarding it to everybody, or go on. Raises ClosedError when closed."""
        self._check_open()
        if paused != self._paused:
            self._paused = paused
            self._context.plane.set_producer_paused(self.producer_id, paused=paused)
            self._context.wake()

    def stats(self) -> ProducerStats:
        """Totals. Raises ClosedError when closed."""
        self._check_open()
        return self._context.plane.producer_stats(self.producer_id)

    def attach(self, consumer: Consumer) -> None:
        """Note a consumer, which ends with this producer."""
        self._consumers[consumer.consumer_id] = consumer
        consumer.on_close(lambda _: self._consumers.pop(consumer.consumer_id, None))

    def _release(self) -> None:
        for consumer in self.consumers:
            consumer.close("producer_closed")
        self._context.producers.pop(self.producer_id, None)
        self._context.plane.remove_producer(self.producer_id)
        self._context.wake()
