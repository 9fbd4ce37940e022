"""What the RTP payload formats of a robot have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from salam import ProtocolError

__all__ = ["MAX_PAYLOAD_BYTES", "CodecName", "Depacketizer", "PayloadError", "Piece", "split_evenly"]

CodecName = Literal["VP8", "H264", "opus"]

MAX_PAYLOAD_BYTES = 1_140
"""Largest payload that a robot sends. Browsers keep the whole RTP packet under 1,200 bytes; header, extensions and the two bytes
that a retransmission adds take up to 60 of them."""


class PayloadError(ProtocolError):
    """A packet's payload is not what its payload format allows."""

    default_code = "bad_payload"


@dataclass(frozen=True, slots=True)
class Piece:
    """What one packet carries of a frame."""

    data: bytes
    """The packet's payload as `Depacketizer.join` takes it."""
    first: bool
    """True when a frame surely begins here; False may also mean that the format cannot tell."""
    keyframe: bool
    """True when the packet begins a keyframe."""


class Depacketizer(Protocol):
    """The receiving half of a payload format; without state, so one serves any number of streams."""

    def read(self, payload: bytes) -> Piece:
        """Return what ``payload`` carries. Raises PayloadError and nothing else."""

    def join(self, pieces: Sequence[bytes]) -> bytes:
        """Return the frame that the payloads of all its packets, in order, make up. Raises PayloadError and nothing else."""


def split_evenly(data: bytes, limit: int) -> list[bytes]:
    """Cut ``data`` into the fewest parts of at most ``limit`` bytes, all nearly equal; at least one part.

    A frame of nearly equal packets leaves no tiny last one, which would cost a whole header; browsers cut frames the same way.
    """
    count = max(-(-len(data) // limit), 1)
    return [data[len(data) * index // count : len(data) * (index + 1) // count] for index in range(count)]
