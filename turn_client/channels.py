"""Channel numbers: which are free, and which must rest before another peer may have them (RFC 8656 section 12)."""

from __future__ import annotations

from collections import deque

from turn_client.errors import Address
from turn_client.timers import Timers

__all__ = ["FIRST_CHANNEL", "LAST_CHANNEL", "ChannelNumbers"]

FIRST_CHANNEL = 0x4000
LAST_CHANNEL = 0x4FFF
"""RFC 8656 section 12: 4,096 numbers; the rest of the old range is left to other protocols (RFC 7983)."""
_REST_S = 300.0
"""RFC 8656 section 12: a number is not bound to another peer until five minutes after its binding expired."""
_NOBODY: Address = ("", 0)


class ChannelNumbers:
    """Hands out channel numbers, the longest unused first; a peer that had one lately gets the same again."""

    def __init__(self) -> None:
        self._free: deque[int] = deque(range(FIRST_CHANNEL, LAST_CHANNEL + 1))
        self._resting: Timers[int] = Timers()
        # Both have at most one entry per resting number.
        self._former: dict[Address, int] = {}
        self._owners: dict[int, Address] = {}

    def take(self, peer: Address, now: float) -> int | None:
        """Return a number to bind to ``peer``, None when all are in use or resting."""
        for number in self._resting.due(now):
            self._former.pop(self._owners.pop(number, _NOBODY), None)
            self._free.append(number)
        former = self._former.pop(peer, None)
        if former is not None:
            # The server may still hold it, and then binds the peer to no other (RFC 8656 section 12.2).
            self._resting.cancel(former)
            del self._owners[former]
            return former
        return self._free.popleft() if self._free else None

    def release(self, number: int, expires_at: float, peer: Address | None) -> None:
        """Give back a number whose binding to ``peer`` the server forgets at ``expires_at``: it rests for others from there on.

        Without a peer (the server refused to bind it) it rests for everybody.
        """
        self._resting.set(number, expires_at + _REST_S)
        if peer is not None:
            self._former[peer] = number
            self._owners[number] = peer
