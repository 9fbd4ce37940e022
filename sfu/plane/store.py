"""What may be asked for again: the packets of a layer, and how each subscriber was sent them."""

from __future__ import annotations

from sfu.plane.packets import MediaPacket

__all__ = ["PacketStore", "SentEntry", "SentLog"]

# About 4 s of a 2.5 Mbps layer: four times what a receiver waits. With 1500 bytes per packet a layer holds at most 1.5 MB, however
# many subscribers it has. A power of two.
_STORED_PACKETS = 1024
# Never repair what is older: the receiver has played past it.
_MAX_AGE_S = 3.0
# The bounds of LiveKit and libwebrtc: a receiver that asks more often than this is on a path that drops the repetitions too.
_MAX_RESENDS = 3
_MAX_SPACING_S = 0.1


class PacketStore:
    """The last packets of one layer by straight sequence number."""

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: list[MediaPacket | None] = [None] * _STORED_PACKETS

    def put(self, packet: MediaPacket) -> None:
        """Keep ``packet`` in the place of the one that came 1024 before."""
        self._slots[packet.sequence % _STORED_PACKETS] = packet

    def get(self, sequence: int) -> MediaPacket | None:
        """Return the packet with this number if it is still kept."""
        packet = self._slots[sequence % _STORED_PACKETS]
        return packet if packet is not None and packet.sequence == sequence else None

    def clear(self) -> None:
        """Forget everything."""
        self._slots = [None] * _STORED_PACKETS


class SentEntry:
    """How one packet was sent to one subscriber; its bytes stay in the layer's store."""

    __slots__ = ("datagram", "descriptor", "last_s", "packet_sequence", "resends", "sequence", "store", "timestamp")

    def __init__(
        self,
        sequence: int,
        packet_sequence: int,
        store: PacketStore,
        timestamp: int,
        descriptor: bytes,
        datagram: bytes | None,
        now: float,
    ) -> None:
        self.sequence = sequence
        self.packet_sequence = packet_sequence
        self.store = store
        self.timestamp = timestamp
        self.descriptor = descriptor
        self.datagram = datagram
        """The protected packet itself, for subscribers without RTX: the same sequence number must carry the same bytes."""
        self.last_s = now
        self.resends = 0


class SentLog:
    """The last packets sent to one subscriber, by straight output number.

    1024 entries of some 150 bytes; a subscriber without RTX holds its datagrams as well, at most 1.5 MB.
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: list[SentEntry | None] = [None] * _STORED_PACKETS

    def put(self, entry: SentEntry) -> None:
        """Remember a sent packet."""
        self._slots[entry.sequence % _STORED_PACKETS] = entry

    def claim(self, sequence: int, now: float, rtt_s: float | None) -> tuple[SentEntry, MediaPacket] | None:
        """Return what to send again for a request, and count it; None when it is unknown, too old, or asked for too often.

        The first repetition may follow at once; further ones keep a distance of 2 round trips, at most 100 ms.
        """
        entry = self._slots[sequence % _STORED_PACKETS]
        if entry is None or entry.sequence != sequence or entry.resends >= _MAX_RESENDS:
            return None
        packet = entry.store.get(entry.packet_sequence)
        if packet is None or now - packet.arrived_s > _MAX_AGE_S:
            return None
        spacing_s = _MAX_SPACING_S if rtt_s is None else min(_MAX_SPACING_S, 2 * rtt_s)
        if entry.resends and now - entry.last_s < spacing_s:
            return None
        entry.resends += 1
        entry.last_s = now
        return entry, packet

    def clear(self) -> None:
        """Forget everything: what was sent must not be sent again."""
        self._slots = [None] * _STORED_PACKETS
