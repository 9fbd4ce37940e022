"""Transport-wide congestion control feedback on the wire (draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sfu.plane.errors import MediaError

__all__ = ["TransportCc", "build_transport_cc", "parse_transport_cc"]

_HEAD = struct.Struct("!BBHIIHH")
_HEAD_BYTES = 20
_TICK_S = 250e-6
# Reference time counts 64 ms in 24 bits; one unit is 256 ticks of 250 us.
_TICKS_PER_REFERENCE = 256
_REFERENCE_MODULUS = 1 << 24
_NOT_RECEIVED, _SMALL_DELTA, _LARGE_DELTA = 0, 1, 2
_MAX_RUN = 0x1FFF
# A message stays below 1200 bytes, the packet size that WebRTC trusts to pass everywhere: 2 bytes for the worst symbol density of
# 7 in a chunk plus at most 2 bytes of delta for each packet.
_MAX_STATUSES = 480
# As far back as anybody remembers what was sent. Runs of losses would let 40 bytes describe 65535 packets.
_MAX_DESCRIBED = 8192


@dataclass(frozen=True, slots=True)
class TransportCc:
    """One feedback message. ``arrivals`` holds, for each transport sequence number from ``base_sequence`` on, its arrival or None.

    Arrivals are seconds on the sender's own clock, which wraps every 12.4 days (24 bits of 64 ms).
    """

    sender_ssrc: int
    media_ssrc: int
    base_sequence: int
    feedback_count: int
    arrivals: tuple[float | None, ...]

    def build(self) -> bytes:
        """Return the message on the wire, which may be several packets; see `build_transport_cc`."""
        packets = build_transport_cc(self.sender_ssrc, self.media_ssrc, self.base_sequence, self.feedback_count, self.arrivals)
        return b"".join(packets)


def parse_transport_cc(packet: bytes) -> TransportCc:
    """Parse one whole RTCP packet of type 205 and format 15, padding included.

    Raises MediaError when it is truncated or promises more packets than it describes.
    """
    size = len(packet)
    if size < _HEAD_BYTES:
        raise MediaError("transport feedback is truncated")
    first, _, _, sender_ssrc, media_ssrc, base_sequence, count = _HEAD.unpack_from(packet)
    if count > _MAX_DESCRIBED:
        raise MediaError("transport feedback describes too many packets")
    if first & 0x20:
        padding_bytes = packet[-1]
        if padding_bytes == 0 or _HEAD_BYTES + padding_bytes > size:
            raise MediaError("transport feedback has bad padding")
        size -= padding_bytes
    reference = int.from_bytes(packet[16:19], "big")
    try:
        symbols, offset = _parse_symbols(packet, count, size)
        arrivals = _parse_deltas(packet, symbols, reference, offset, size)
    except (IndexError, struct.error):
        raise MediaError("transport feedback is truncated") from None
    return TransportCc(sender_ssrc, media_ssrc, base_sequence, packet[19], tuple(arrivals))


def _parse_symbols(packet: bytes, count: int, size: int) -> tuple[list[int], int]:
    symbols: list[int] = []
    offset = _HEAD_BYTES
    while len(symbols) < count:
        if offset + 2 > size:
            raise IndexError
        chunk = packet[offset] << 8 | packet[offset + 1]
        offset += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13 & 3] * (chunk & _MAX_RUN)
            if not chunk & _MAX_RUN:
                raise MediaError("transport feedback has an empty run")
        elif chunk & 0x4000:
            symbols += [chunk >> shift & 3 for shift in (12, 10, 8, 6, 4, 2, 0)]
        else:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    # The last chunk may describe more than the count: those symbols are filler.
    return symbols[:count], offset


def _parse_deltas(packet: bytes, symbols: list[int], reference: int, offset: int, size: int) -> list[float | None]:
    ticks = reference * _TICKS_PER_REFERENCE
    arrivals: list[float | None] = []
    for symbol in symbols:
        if symbol == _SMALL_DELTA:
            if offset + 1 > size:
                raise IndexError
            ticks += packet[offset]
            offset += 1
            arrivals.append(ticks * _TICK_S)
        elif symbol == _LARGE_DELTA:
            if offset + 2 > size:
                raise IndexError
            ticks += int.from_bytes(packet[offset : offset + 2], "big", signed=True)
            offset += 2
            arrivals.append(ticks * _TICK_S)
        else:
            # 3 is reserved and treated as not received, which asks for nothing.
            arrivals.append(None)
    return arrivals


def build_transport_cc(
    sender_ssrc: int, media_ssrc: int, base_sequence: int, feedback_count: int, arrivals: tuple[float | None, ...]
) -> list[bytes]:
    """Return the RTCP packets that report ``arrivals`` for the numbers from ``base_sequence`` on.

    One packet as a rule; more when the message would be too long, or when two arrivals are too far apart for a delta (8.2 s). The
    feedback count then grows by one per packet. Trailing numbers that are not received are left out.
    """
    packets: list[bytes] = []
    start = 0
    while start < len(arrivals):
        taken, packet = _build_one(
            sender_ssrc, media_ssrc, base_sequence + start & 0xFFFF, feedback_count + len(packets) & 0xFF, arrivals, start
        )
        if packet:
            packets.append(packet)
        start += taken
    return packets


def _build_one(
    sender_ssrc: int,
    media_ssrc: int,
    base_sequence: int,
    feedback_count: int,
    arrivals: tuple[float | None, ...],
    start: int,
) -> tuple[int, bytes]:
    """Return how many arrivals were consumed and the packet, which is empty when none of them was received."""
    window = arrivals[start : start + _MAX_STATUSES]
    first_arrival = next((arrival for arrival in window if arrival is not None), None)
    if first_arrival is None:
        return len(window), b""
    last_ticks = round(first_arrival / _TICK_S)
    reference = last_ticks // _TICKS_PER_REFERENCE
    last_ticks = reference * _TICKS_PER_REFERENCE
    symbols: list[int] = []
    deltas = bytearray()
    for arrival in window:
        if arrival is None:
            symbols.append(_NOT_RECEIVED)
            continue
        ticks = round(arrival / _TICK_S)
        delta = ticks - last_ticks
        if 0 <= delta <= 255:
            symbols.append(_SMALL_DELTA)
            deltas.append(delta)
        elif -0x8000 <= delta <= 0x7FFF:
            symbols.append(_LARGE_DELTA)
            deltas += delta.to_bytes(2, "big", signed=True)
        else:
            break
        last_ticks = ticks
    taken = len(symbols)
    while symbols[-1] == _NOT_RECEIVED:
        symbols.pop()
    body = _encode_symbols(symbols) + bytes(deltas)
    padding_bytes = -len(body) % 4
    if padding_bytes:
        body += bytes(padding_bytes - 1) + bytes((padding_bytes,))
    words = (_HEAD_BYTES + len(body)) // 4 - 1
    head = _HEAD.pack(0x8F | (0x20 if padding_bytes else 0), 205, words, sender_ssrc, media_ssrc, base_sequence, len(symbols))
    return taken, head + (reference % _REFERENCE_MODULUS).to_bytes(3, "big") + bytes((feedback_count,)) + body


def _encode_symbols(symbols: list[int]) -> bytes:
    chunks = bytearray()
    index = 0
    while index < len(symbols):
        symbol = symbols[index]
        run = 1
        while index + run < len(symbols) and symbols[index + run] == symbol and run < _MAX_RUN:
            run += 1
        one_bit = symbols[index : index + 14]
        if run >= 14 or run >= 7 and max(one_bit) == _LARGE_DELTA:
            chunk = symbol << 13 | run
        elif max(one_bit) < _LARGE_DELTA:
            run = len(one_bit)
            chunk = 0x8000
            for position, value in enumerate(one_bit):
                chunk |= value << (13 - position)
        else:
            two_bit = symbols[index : index + 7]
            run = len(two_bit)
            chunk = 0xC000
            for position, value in enumerate(two_bit):
                chunk |= value << (12 - 2 * position)
        chunks += chunk.to_bytes(2, "big")
        index += run
    return bytes(chunks)
