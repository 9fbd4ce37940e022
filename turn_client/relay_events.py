"""What a `TurnClient` tells its owner: everything about the relay as a whole, and what concerns single peers."""

from __future__ import annotations

from dataclasses import dataclass

from turn_client.errors import Address, TurnError
from turn_client.events import AllocationStats, IcmpReceived, PeerFailed, PeerReady
from turn_client.resolution import ServerEndpoint

__all__ = ["ClientStats", "RelayChanged", "RelayEvent", "RelayLost", "RelayMoved"]


@dataclass(frozen=True, slots=True)
class RelayChanged:
    """The relayed addresses are others now, on this server or another one; peers must be told (an ICE restart, for example).

    Peers that were asked for by `TurnClient.bind` are bound again without a word.
    """

    relayed: tuple[Address, ...]
    former: tuple[Address, ...]
    server: ServerEndpoint
    """Who relays now."""
    error: TurnError | None
    """What ended the former relay; None when it only went silent."""


@dataclass(frozen=True, slots=True)
class RelayMoved:
    """We have another address of our own, and the relayed addresses stayed (RFC 8016): peers need not know."""

    local: Address


@dataclass(frozen=True, slots=True)
class RelayLost:
    """No server relays for us any more, and the client has given up: it only wants to be closed."""

    error: TurnError


RelayEvent = RelayChanged | RelayMoved | RelayLost | PeerReady | PeerFailed | IcmpReceived


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counters of a client since it was opened, and where it stands."""

    server: ServerEndpoint | None = None
    """Who relays now, and over which transport; None while nobody does."""
    failovers: int = 0
    """How often the relay had to be made anew, on another server or the same."""
    moves: int = 0
    """How often the allocation was brought over to another socket."""
    renewals: int = 0
    """How often new credentials came."""
    dropped_unread: int = 0
    """Datagrams dropped because nobody received them, the oldest first."""
    dropped_unrelayed: int = 0
    """Datagrams that were sent while there was no relay."""
    queued_frames: int = 0
    """Datagrams that waited because the socket to the server was full; of the link of now."""
    dropped_frames: int = 0
    """Those that waited too long; of the link of now."""
    allocation: AllocationStats = AllocationStats()
    """Of the allocation of now."""
