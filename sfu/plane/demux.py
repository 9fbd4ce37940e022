"""Which track and layer an SSRC belongs to, before and after it is known (RFC 8843 9.2, RFC 8852)."""

from __future__ import annotations

from dataclasses import dataclass

from sfu.plane.layers import Layer
from sfu.plane.producers import Producer
from sfu.plane.rtp import RtpPacket

__all__ = ["Demultiplexer", "Stream"]

# SSRCs of removed tracks that are remembered: two for each of the three layers of some ten tracks that come and go.
_MAX_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Stream:
    """What an SSRC carries."""

    producer: Producer
    layer: Layer
    is_rtx: bool


class Demultiplexer:
    """Binds SSRCs to layers: as signalled, else by MID and RID, else by a payload type that only one track has.

    A binding lasts, because senders stop sending MID and RID once a receiver report names the SSRC. At most one primary and one RTX
    SSRC per layer are kept.
    """

    def __init__(self) -> None:
        self._streams: dict[int, Stream] = {}
        self._producers: list[Producer] = []
        self._remembered: dict[int, tuple[str, int, bool]] = {}
        """SSRC to (mid, layer, is RTX) of removed tracks: a sender that starts again keeps its SSRC and sends no MID with it."""

    @property
    def producers(self) -> tuple[Producer, ...]:
        """The producers of the transport."""
        return tuple(self._producers)

    def lookup(self, ssrc: int) -> Stream | None:
        """Return what a bound SSRC carries."""
        return self._streams.get(ssrc)

    def add(self, producer: Producer) -> None:
        """Expect a producer's packets, and bind its signalled SSRCs.

        Those are ignored with simulcast, where nothing says which is which layer.
        """
        self._producers.append(producer)
        config = producer.config
        if config.rids:
            return
        layer = producer.layers[0]
        if config.ssrcs:
            self._bind(config.ssrcs[0], Stream(producer, layer, is_rtx=False))
            for rtx_ssrc, primary in config.rtx_ssrcs.items():
                if primary == config.ssrcs[0]:
                    self._bind(rtx_ssrc, Stream(producer, layer, is_rtx=True))

    def remove(self, producer: Producer) -> None:
        """Expect it no more."""
        self._producers.remove(producer)
        for ssrc in [ssrc for ssrc, stream in self._streams.items() if stream.producer is producer]:
            stream = self._streams.pop(ssrc)
            self._remembered[ssrc] = (producer.config.mid, producer.layers.index(stream.layer), stream.is_rtx)
            if len(self._remembered) > _MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]

    def forget(self, ssrc: int) -> None:
        """The source has said goodbye: another one may take its place at once."""
        stream = self._streams.pop(ssrc, None)
        if stream is None:
            return
        if stream.is_rtx:
            stream.layer.rtx_ssrc = None
        else:
            stream.layer.reset()
            stream.layer.ssrc = None

    def resolve(self, packet: RtpPacket, now: float) -> Stream | str:
        """Return what the packet's SSRC carries, binding it if need be, or the reason for which the packet must be dropped."""
        stream = self._streams.get(packet.ssrc)
        if stream is not None:
            return stream
        found = self._identify(packet)
        if isinstance(found, str):
            return found
        if found.is_rtx:
            if found.layer.rtx_ssrc is not None:
                self._streams.pop(found.layer.rtx_ssrc, None)
        elif not found.producer.may_bind(found.layer, now):
            return "second_source"
        elif found.layer.ssrc is not None:
            self._streams.pop(found.layer.ssrc, None)
        self._bind(packet.ssrc, found)
        return found

    def _bind(self, ssrc: int, stream: Stream) -> None:
        self._streams[ssrc] = stream
        self._remembered.pop(ssrc, None)
        if stream.is_rtx:
            stream.layer.rtx_ssrc = ssrc
        else:
            stream.layer.bind(ssrc)

    def _identify(self, packet: RtpPacket) -> Stream | str:
        extensions = packet.extensions
        reason = "unknown_ssrc"
        known = self._recall(packet)
        if known is not None:
            return known
        for producer in self._producers:
            ids = producer.config.extensions
            mid = extensions.get(ids.mid) if ids.mid else None
            if mid is not None and mid != producer.config.mid.encode():
                continue
            is_rtx = producer.repaired_codec_of(packet.payload_type) is not None
            if not is_rtx and producer.codec_of(packet.payload_type) is None:
                if mid is not None:
                    return "payload_type"
                continue
            if not producer.config.rids:
                if mid is not None or self._only_one_takes(packet.payload_type):
                    return Stream(producer, producer.layers[0], is_rtx)
                continue
            rid = self._rid(packet, producer, is_rtx=is_rtx)
            if rid is None:
                continue
            if rid in producer.config.rids:
                return Stream(producer, producer.layers[producer.config.rids.index(rid)], is_rtx)
            reason = "unknown_rid"
        return reason

    def _recall(self, packet: RtpPacket) -> Stream | None:
        mid, spatial, is_rtx = self._remembered.get(packet.ssrc, ("", 0, False))
        for producer in self._producers:
            if not mid or producer.config.mid != mid or spatial >= len(producer.layers):
                continue
            said = packet.extensions.get(producer.config.extensions.mid)
            takes = producer.repaired_codec_of if is_rtx else producer.codec_of
            if said in (None, mid.encode()) and takes(packet.payload_type) is not None:
                return Stream(producer, producer.layers[spatial], is_rtx)
        return None

    @staticmethod
    def _rid(packet: RtpPacket, producer: Producer, *, is_rtx: bool) -> str | None:
        ids = producer.config.extensions
        element_id = ids.repaired_rid if is_rtx else ids.rid
        value = packet.extensions.get(element_id) if element_id else None
        return None if value is None else value.decode("ascii", "replace")

    def _only_one_takes(self, payload_type: int) -> bool:
        takers = [
            producer
            for producer in self._producers
            if producer.codec_of(payload_type) is not None or producer.repaired_codec_of(payload_type) is not None
        ]
        return len(takers) == 1
