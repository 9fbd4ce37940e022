"""One strict receiver for each stream that a robot receives."""

from __future__ import annotations

from bench.peer import ReceivePlan
from bench.strict_receiver import StrictConfig, StrictReceiver
from sfu.plane import Codec, MediaError, parse_rtp

__all__ = ["Judge"]

# Streams judged by one robot; later ones go unjudged, which a rig of this size notices by the number of receivers.
_MAX_RECEIVERS = 512


class Judge:
    """Hands each received packet to the strict receiver of its stream, made from what was negotiated."""

    def __init__(self, *, flushing_publishers: bool = False) -> None:
        """``flushing_publishers`` is `StrictConfig.flushing_source` of every stream."""
        self._flushing = flushing_publishers
        self._receivers: dict[int, StrictReceiver] = {}

    def on_packet(self, plan: ReceivePlan, packet: bytes) -> None:
        """Take a decrypted RTP packet, media or retransmission, that came on the m-line of ``plan``."""
        try:
            parsed = parse_rtp(packet)
        except MediaError:
            return
        ssrc = plan.rtx_ssrcs.get(parsed.ssrc, parsed.ssrc)
        receiver = self._receivers.get(ssrc)
        if receiver is None:
            known = plan.payload_types.get(parsed.payload_type)
            if known is None or ssrc != parsed.ssrc or len(self._receivers) >= _MAX_RECEIVERS:
                return
            rtx_ssrc = next((rtx for rtx, media in plan.rtx_ssrcs.items() if media == ssrc), None)
            codec = Codec(known.number, known.codec, known.clock_rate_hz, known.rtx)
            config = StrictConfig(codec, ssrc, rtx_ssrc, plan.extensions, plan.mid, flushing_source=self._flushing)
            receiver = self._receivers[ssrc] = StrictReceiver(config)
        receiver.receive(packet)

    def receivers(self) -> list[StrictReceiver]:
        """Return all receivers, in the order in which their streams began."""
        return list(self._receivers.values())
