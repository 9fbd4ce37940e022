"""What two peers agreed on for each m-line, as the media code needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.media import CodecName
from sfu.plane.interface import ExtensionIds, Kind

__all__ = ["PayloadType", "ReceivePlan", "RemoteTransport", "SendPlan"]


@dataclass(frozen=True, slots=True)
class PayloadType:
    """One codec by its payload type."""

    number: int
    codec: CodecName
    clock_rate_hz: int
    rtx: int | None = None
    """Payload type of its retransmissions (RFC 4588), None when they come in the stream itself."""


@dataclass(frozen=True, slots=True)
class SendPlan:
    """One m-line on which we send."""

    mid: str
    kind: Kind
    payload_type: PayloadType
    extensions: ExtensionIds
    rids: tuple[str, ...] = ()
    """Simulcast rids that the other side takes; empty for one stream without a rid."""


@dataclass(frozen=True, slots=True)
class ReceivePlan:
    """One m-line on which we receive."""

    mid: str
    kind: Kind
    payload_types: Mapping[int, PayloadType]
    extensions: ExtensionIds
    ssrcs: tuple[int, ...] = ()
    rtx_ssrcs: Mapping[int, int] = field(default_factory=dict)
    """SSRC of retransmissions to SSRC of the stream."""


@dataclass(frozen=True, slots=True)
class RemoteTransport:
    """How to reach the other side and how to know it."""

    ufrag: str
    password: str = field(repr=False)
    lite: bool
    candidates: tuple[str, ...]
    """Values of ``a=candidate`` lines."""
