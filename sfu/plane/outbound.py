"""The way out over one transport: protection, the path, transport-wide numbers."""

from __future__ import annotations

from sfu.plane.errors import MediaError
from sfu.plane.interface import Path
from sfu.plane.srtp import SrtpContext
from sfu.plane.twcc import SentHistory

__all__ = ["Outbox", "Outbound"]

# 6.18 fixed point seconds in 24 bits.
_ABS_SEND_TIME_UNITS = 1 << 18
_ABS_SEND_TIME_MASK = 0xFFFFFF


class Outbox:
    """What the whole plane sends, until the driver takes it; the driver does after each call, so nothing piles up."""

    __slots__ = ("_abs_send_time", "_abs_send_time_at", "_ntp_offset_s", "bytes", "datagrams", "drops", "packets")

    def __init__(self, ntp_offset_s: float, drops: dict[str, int]) -> None:
        self._ntp_offset_s = ntp_offset_s
        self._abs_send_time = 0
        self._abs_send_time_at = -1.0
        self.drops = drops
        self.datagrams: list[tuple[bytes, Path]] = []
        self.packets = 0
        self.bytes = 0

    def take(self) -> list[tuple[bytes, Path]]:
        """Return and clear the datagrams."""
        datagrams = self.datagrams
        self.datagrams = []
        return datagrams

    def ntp_s(self, now: float) -> float:
        """Return NTP seconds for ``now``."""
        return now + self._ntp_offset_s

    def abs_send_time(self, now: float) -> int:
        """Return the abs-send-time of a packet sent at ``now``; many packets are sent at the same one."""
        if now != self._abs_send_time_at:
            self._abs_send_time_at = now
            self._abs_send_time = int((now + self._ntp_offset_s) * _ABS_SEND_TIME_UNITS) & _ABS_SEND_TIME_MASK
        return self._abs_send_time


class Outbound:
    """Protects packets of one transport and queues them; holds everything back while there are no keys or no path."""

    __slots__ = ("_context", "_path", "history", "outbox", "ready", "rtt_s")

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.history = SentHistory()
        self._context: SrtpContext | None = None
        self._path: Path | None = None
        self.ready = False
        """Whether a packet would be sent now. What would not be must not take numbers either."""
        self.rtt_s: float | None = None
        """Round trip to this peer, None until it was measured."""

    def set_context(self, context: SrtpContext) -> None:
        """Use these keys from now on."""
        self._context = context
        self.ready = self._path is not None

    def set_path(self, path: Path | None) -> None:
        """Send there from now on; None holds back."""
        self._path = path
        self.ready = path is not None and self._context is not None

    @property
    def path(self) -> Path | None:
        """Where packets go."""
        return self._path

    def send_rtp(self, plain: bytes, now: float, *, numbered: bool) -> bytes | None:
        """Protect and queue a packet, ``numbered`` if it carries the next transport sequence number; None if it cannot be."""
        if self._context is None or self._path is None:
            return None
        try:
            datagram = self._context.protect_rtp(plain)
        except MediaError:
            self.outbox.drops["protect_failed"] += 1
            return None
        size = len(datagram)
        if numbered:
            self.history.record(size, now)
        outbox = self.outbox
        outbox.datagrams.append((datagram, self._path))
        outbox.packets += 1
        outbox.bytes += size
        return datagram

    def send_again(self, datagram: bytes) -> None:
        """Queue a packet that is protected already."""
        outbox = self.outbox
        outbox.datagrams.append((datagram, self._path))
        outbox.packets += 1
        outbox.bytes += len(datagram)

    def send_rtcp(self, plain: bytes) -> None:
        """Protect and queue an RTCP packet or compound; nothing happens while held back."""
        if self._context is None or self._path is None:
            return
        try:
            self.send_again(self._context.protect_rtcp(plain))
        except MediaError:
            self.outbox.drops["protect_failed"] += 1
