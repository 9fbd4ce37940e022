"""RTCP compounds on the wire (RFC 3550 6, RFC 4585 6, RFC 5104 4.3, RFC 3611 4, draft-alvestrand-rmcat-remb-03).

`parse_rtcp` walks a compound or a reduced-size packet (RFC 5506) and returns the messages that it knows; other types are skipped.
Every message has a `build` method that returns one RTCP packet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sfu.plane.errors import MediaError
from sfu.plane.transport_cc import TransportCc, parse_transport_cc

__all__ = [
    "Bye",
    "Dlrr",
    "DlrrBlock",
    "Fir",
    "Nack",
    "Pli",
    "ReceiverReferenceTime",
    "ReceiverReport",
    "Remb",
    "ReportBlock",
    "RtcpMessage",
    "SenderReport",
    "SourceDescription",
    "parse_rtcp",
]

_SR, _RR, _SDES, _BYE, _RTPFB, _PSFB, _XR = 200, 201, 202, 203, 205, 206, 207
_FMT_NACK, _FMT_TRANSPORT_CC = 1, 15
_FMT_PLI, _FMT_FIR, _FMT_APPLICATION = 1, 4, 15
_XR_REFERENCE_TIME, _XR_DLRR = 4, 5
_CNAME = 1
_BLOCK = struct.Struct("!IIIIII")
_SENDER_INFO = struct.Struct("!IQIII")
_TWO_SSRCS = struct.Struct("!II")
_MAX_REMB_MANTISSA = (1 << 18) - 1


def _packet(count: int, kind: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """One source in a sender or receiver report (RFC 3550 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Of 256, since the last report."""
    packets_lost: int
    """Cumulative; negative with duplicates."""
    highest_sequence: int
    """With the number of cycles in the upper 16 bits."""
    jitter: int
    """In timestamp units."""
    last_sr: int
    """Middle 32 bits of the NTP time of the last sender report, 0 before one."""
    delay_since_last_sr: int
    """In 1/65536 s."""

    def encode(self) -> bytes:
        """Return the block's 24 bytes."""
        lost = self.fraction_lost << 24 | self.packets_lost & 0xFFFFFF
        return _BLOCK.pack(self.ssrc, lost, self.highest_sequence, self.jitter, self.last_sr, self.delay_since_last_sr)


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a source has sent, and which NTP time belongs to which RTP timestamp."""

    ssrc: int
    ntp: int
    """64-bit NTP timestamp."""
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        info = _SENDER_INFO.pack(self.ssrc, self.ntp, self.rtp_timestamp, self.packets, self.octets)
        return _packet(len(self.blocks), _SR, info + b"".join(block.encode() for block in self.blocks))


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What a receiver got of up to 31 sources."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        body = self.ssrc.to_bytes(4, "big") + b"".join(block.encode() for block in self.blocks)
        return _packet(len(self.blocks), _RR, body)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """Canonical names of up to 31 sources; the other items are skipped."""

    names: tuple[tuple[int, str], ...]
    """Pairs of SSRC and CNAME."""

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        body = bytearray()
        for ssrc, name in self.names:
            text = name.encode()[:255]
            chunk = ssrc.to_bytes(4, "big") + bytes((_CNAME, len(text))) + text
            # At least one zero byte ends the list of items, then zeros up to the next word.
            body += chunk + bytes(4 - len(chunk) % 4)
        return _packet(len(self.names), _SDES, bytes(body))


@dataclass(frozen=True, slots=True)
class Bye:
    """Sources that have ended."""

    ssrcs: tuple[int, ...]

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        return _packet(len(self.ssrcs), _BYE, b"".join(ssrc.to_bytes(4, "big") for ssrc in self.ssrcs))


@dataclass(frozen=True, slots=True)
class Nack:
    """Sequence numbers of ``media_ssrc`` that are missing (RFC 4585 6.2.1), each of 16 bits."""

    sender_ssrc: int
    media_ssrc: int
    sequences: tuple[int, ...]

    def build(self) -> bytes:
        """Return the message as one RTCP packet; ``sequences`` must be in order, oldest first."""
        body = bytearray(_TWO_SSRCS.pack(self.sender_ssrc, self.media_ssrc))
        index = 0
        while index < len(self.sequences):
            first = self.sequences[index]
            mask = 0
            index += 1
            while index < len(self.sequences):
                distance = self.sequences[index] - first & 0xFFFF
                if not 1 <= distance <= 16:
                    break
                mask |= 1 << (distance - 1)
                index += 1
            body += struct.pack("!HH", first, mask)
        return _packet(_FMT_NACK, _RTPFB, bytes(body))


@dataclass(frozen=True, slots=True)
class Pli:
    """Picture loss indication: a request for a keyframe (RFC 4585 6.3.1)."""

    sender_ssrc: int
    media_ssrc: int

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        return _packet(_FMT_PLI, _PSFB, _TWO_SSRCS.pack(self.sender_ssrc, self.media_ssrc))


@dataclass(frozen=True, slots=True)
class Fir:
    """Full intra request (RFC 5104 4.3.1): a command for a keyframe, numbered so that a repetition is known as one."""

    sender_ssrc: int
    requests: tuple[tuple[int, int], ...]
    """Pairs of SSRC and command number."""

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        entries = b"".join(struct.pack("!IB3x", ssrc, number & 0xFF) for ssrc, number in self.requests)
        return _packet(_FMT_FIR, _PSFB, _TWO_SSRCS.pack(self.sender_ssrc, 0) + entries)


@dataclass(frozen=True, slots=True)
class Remb:
    """Receiver's estimate of the bitrate that it can take."""

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...]

    def build(self) -> bytes:
        """Return the message as one RTCP packet; the bitrate is rounded down to 18 significant bits."""
        exponent = max(self.bitrate_bps.bit_length() - 18, 0)
        rate = len(self.ssrcs) << 24 | exponent << 18 | self.bitrate_bps >> exponent
        body = _TWO_SSRCS.pack(self.sender_ssrc, 0) + b"REMB" + rate.to_bytes(4, "big")
        return _packet(_FMT_APPLICATION, _PSFB, body + b"".join(ssrc.to_bytes(4, "big") for ssrc in self.ssrcs))


@dataclass(frozen=True, slots=True)
class ReceiverReferenceTime:
    """The clock of somebody who sends nothing, so that the other side can answer with a `Dlrr` (RFC 3611 4.4)."""

    ssrc: int
    ntp: int

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        return _packet(0, _XR, struct.pack("!IBxHQ", self.ssrc, _XR_REFERENCE_TIME, 2, self.ntp))


@dataclass(frozen=True, slots=True)
class DlrrBlock:
    """For one receiver: its last reference time and how long ago it came."""

    ssrc: int
    last_rr: int
    """Middle 32 bits of the NTP time."""
    delay: int
    """In 1/65536 s."""


@dataclass(frozen=True, slots=True)
class Dlrr:
    """The answer to reference times of receivers (RFC 3611 4.5)."""

    ssrc: int
    blocks: tuple[DlrrBlock, ...]

    def build(self) -> bytes:
        """Return the message as one RTCP packet."""
        head = struct.pack("!IBxH", self.ssrc, _XR_DLRR, 3 * len(self.blocks))
        return _packet(
            0, _XR, head + b"".join(struct.pack("!III", block.ssrc, block.last_rr, block.delay) for block in self.blocks)
        )


RtcpMessage = (
    SenderReport | ReceiverReport | SourceDescription | Bye | Nack | Pli | Fir | Remb | TransportCc | ReceiverReferenceTime | Dlrr
)


def parse_rtcp(data: bytes) -> list[RtcpMessage]:
    """Parse a compound; unknown packet types and formats are skipped.

    Raises MediaError when any packet in it is not RTCP or is truncated.
    """
    messages: list[RtcpMessage] = []
    offset = 0
    try:
        while offset < len(data):
            if offset + 4 > len(data) or data[offset] >> 6 != 2:
                raise MediaError("RTCP packet has no valid header")
            end = offset + 4 + 4 * (data[offset + 2] << 8 | data[offset + 3])
            if end > len(data):
                raise MediaError("RTCP packet is truncated")
            _parse_one(data[offset:end], messages)
            offset = end
    except (struct.error, IndexError):
        raise MediaError("RTCP packet is truncated") from None
    return messages


def _parse_one(packet: bytes, messages: list[RtcpMessage]) -> None:
    kind = packet[1]
    count = packet[0] & 0x1F
    if kind == _RTPFB and count == _FMT_TRANSPORT_CC:
        messages.append(parse_transport_cc(packet))
        return
    body = packet[4:]
    if packet[0] & 0x20:
        padding_bytes = packet[-1]
        if padding_bytes == 0 or padding_bytes > len(body):
            raise MediaError("RTCP padding is longer than its packet")
        body = body[:-padding_bytes]
    if kind == _SR:
        ssrc, ntp, timestamp, packets, octets = _SENDER_INFO.unpack_from(body)
        messages.append(SenderReport(ssrc, ntp, timestamp, packets, octets, _parse_blocks(body, 24, count)))
    elif kind == _RR:
        messages.append(ReceiverReport(int.from_bytes(_exactly(body, 0, 4), "big"), _parse_blocks(body, 4, count)))
    elif kind == _SDES:
        messages.append(_parse_sdes(body, count))
    elif kind == _BYE:
        messages.append(Bye(struct.unpack_from(f"!{count}I", body)))
    elif kind == _RTPFB and count == _FMT_NACK:
        messages.append(_parse_nack(body))
    elif kind == _PSFB:
        _parse_payload_feedback(body, count, messages)
    elif kind == _XR:
        _parse_extended(body, messages)


def _exactly(body: bytes, offset: int, size: int) -> bytes:
    part = body[offset : offset + size]
    if len(part) != size:
        raise MediaError("RTCP packet is truncated")
    return part


def _parse_blocks(body: bytes, offset: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for index in range(count):
        ssrc, lost, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, offset + 24 * index)
        # The cumulative number is a signed one of 24 bits (RFC 3550 6.4.1).
        cumulative = ((lost & 0xFFFFFF) ^ 0x800000) - 0x800000
        blocks.append(ReportBlock(ssrc, lost >> 24, cumulative, highest, jitter, last_sr, delay))
    return tuple(blocks)


def _parse_sdes(body: bytes, count: int) -> SourceDescription:
    names = []
    offset = 0
    for _ in range(count):
        ssrc = int.from_bytes(_exactly(body, offset, 4), "big")
        offset += 4
        while body[offset] != 0:
            item, size = body[offset], body[offset + 1]
            text = _exactly(body, offset + 2, size)
            if item == _CNAME:
                names.append((ssrc, text.decode("utf-8", "replace")))
            offset += 2 + size
        offset += 4 - offset % 4
    return SourceDescription(tuple(names))


def _parse_nack(body: bytes) -> Nack:
    sender_ssrc, media_ssrc = _TWO_SSRCS.unpack_from(body)
    sequences = []
    for offset in range(8, len(body) - 3, 4):
        first, mask = struct.unpack_from("!HH", body, offset)
        sequences.append(first)
        while mask:
            lowest = mask & -mask
            sequences.append(first + lowest.bit_length() & 0xFFFF)
            mask ^= lowest
    return Nack(sender_ssrc, media_ssrc, tuple(sequences))


def _parse_payload_feedback(body: bytes, feedback_format: int, messages: list[RtcpMessage]) -> None:
    sender_ssrc, media_ssrc = _TWO_SSRCS.unpack_from(body)
    if feedback_format == _FMT_PLI:
        messages.append(Pli(sender_ssrc, media_ssrc))
    elif feedback_format == _FMT_FIR:
        requests = tuple(struct.unpack_from("!IB3x", body, offset) for offset in range(8, len(body) - 7, 8))
        messages.append(Fir(sender_ssrc, requests))
    elif feedback_format == _FMT_APPLICATION and body[8:12] == b"REMB":
        count = body[12]
        rate = int.from_bytes(_exactly(body, 12, 4), "big")
        bitrate_bps = (rate & _MAX_REMB_MANTISSA) << (rate >> 18 & 0x3F)
        messages.append(Remb(sender_ssrc, bitrate_bps, struct.unpack_from(f"!{count}I", body, 16)))


def _parse_extended(body: bytes, messages: list[RtcpMessage]) -> None:
    ssrc = int.from_bytes(_exactly(body, 0, 4), "big")
    offset = 4
    while offset < len(body):
        kind = body[offset]
        size = 4 * (int.from_bytes(_exactly(body, offset + 2, 2), "big"))
        block = _exactly(body, offset + 4, size)
        if kind == _XR_REFERENCE_TIME:
            messages.append(ReceiverReferenceTime(ssrc, int.from_bytes(_exactly(block, 0, 8), "big")))
        elif kind == _XR_DLRR:
            messages.append(Dlrr(ssrc, tuple(DlrrBlock(*parts) for parts in struct.iter_unpack("!III", block))))
        offset += 4 + size
