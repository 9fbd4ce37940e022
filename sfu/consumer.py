"""A track that goes out to one subscriber."""

from __future__ import annotations

from typing import TYPE_CHECKING

from salam.errors import ConflictError
from sfu.closable import Closable
from sfu.context import Context
from sfu.plane.interface import ConsumerConfig, ConsumerStats
from sfu.subscribe_offer import AcceptedTrack

if TYPE_CHECKING:
    from sfu.producer import Producer
    from sfu.transport import Transport

__all__ = ["Consumer"]


class Consumer(Closable):
    """One subscription of a `Transport` to a `Producer`; made by `Transport.consume`.

    Audio flows at once; video from the keyframe of the layer that `set_target` names.
    """

    def __init__(self, context: Context, transport: Transport, producer: Producer, accepted: AcceptedTrack) -> None:
        super().__init__()
        codec = accepted.codecs.get(producer.spec.codec.name)
        if codec is None:
            raise ConflictError(f"the subscriber does not take {producer.spec.codec.name}", code="codec_not_supported")
        self.consumer_id = context.new_id()
        self.transport = transport
        self.producer = producer
        self.spatial: int | None = None
        """The layer that is forwarded now; None before the first keyframe and while nothing is."""
        self.target: int | None = None
        self.loss_fraction = 0.0
        """Of the latest receiver report."""
        self.rtt_s: float | None = None
        self._context = context
        context.plane.add_consumer(
            ConsumerConfig(
                consumer_id=self.consumer_id,
                transport_id=transport.transport_id,
                producer_id=producer.producer_id,
                mid=accepted.mid,
                codec=codec,
                extensions=accepted.extensions,
                ssrc=accepted.ssrc,
                rtx_ssrc=accepted.rtx_ssrc if codec.rtx_payload_type is not None else None,
                cname=accepted.cname,
                first_sequence=context.rng.randrange(1000, 32_768),
                first_rtx_sequence=context.rng.randrange(1000, 32_768),
                first_timestamp=context.rng.randrange(2**32),
            )
        )
        context.consumers[self.consumer_id] = self
        producer.attach(self)
        context.wake()

    def __repr__(self) -> str:
        return f"<Consumer {self.consumer_id} of producer {self.producer.producer_id} {self.close_reason or 'open'}>"

    def set_target(self, spatial: int | None, temporal: int = 255) -> None:
        """Forward this spatial layer from its next keyframe on; None stops at once. Raises ClosedError when closed."""
        self._check_open()
        self.target = spatial
        self._context.plane.set_target(self.consumer_id, spatial, temporal, now=self._context.monotonic())
        self._context.wake()

    def stats(self) -> ConsumerStats:
        """Totals. Raises ClosedError when closed."""
        self._check_open()
        return self._context.plane.consumer_stats(self.consumer_id)

    def _release(self) -> None:
        self._context.consumers.pop(self.consumer_id, None)
        self._context.plane.remove_consumer(self.consumer_id)
        self._context.wake()
