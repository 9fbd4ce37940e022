"""Fuzz target: the RTCP walker raises its own exception type or nothing, and what it returns can be built."""

from sfu.plane import MediaError, parse_rtcp
from sfu.plane.rtcp import (
    Bye,
    Dlrr,
    DlrrBlock,
    Fir,
    Nack,
    Pli,
    ReceiverReferenceTime,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    SourceDescription,
)
from sfu.plane.transport_cc import TransportCc

_BLOCK = ReportBlock(5, 12, -3, 70_000, 90, 0x12345678, 65_536)

SEEDS: list[bytes] = [
    SenderReport(1, 1 << 40, 2, 3, 4, (_BLOCK,)).build() + SourceDescription(((1, "someone"), (2, "x"))).build(),
    ReceiverReport(1, (_BLOCK, _BLOCK)).build() + ReceiverReferenceTime(1, 1 << 50).build(),
    Dlrr(1, (DlrrBlock(2, 3, 4),)).build() + Bye((1, 2)).build(),
    Nack(1, 2, (65_530, 65_535, 3, 40)).build() + Pli(1, 2).build() + Fir(1, ((2, 3),)).build(),
    Remb(1, 3_000_000, (7, 8)).build(),
    TransportCc(1, 2, 65_530, 9, (1.0, None, 1.001, *([None] * 30), 1.2, 1.1, *([1.3] * 20))).build(),
]


def one_input(data: bytes) -> None:
    """Walk ``data`` and build again whatever it holds."""
    try:
        messages = parse_rtcp(data)
    except MediaError:
        return
    for message in messages:
        message.build()
