"""What an allocation tells its owner, and what it counts."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from turn_client.errors import Address, PeerUnreachable, TurnError

__all__ = [
    "Allocated",
    "AllocationState",
    "AllocationStats",
    "Closed",
    "ConnectionAttempt",
    "ConnectionFailed",
    "ConnectionReady",
    "CredentialsRejected",
    "Event",
    "Failed",
    "IcmpReceived",
    "Lost",
    "Moved",
    "PeerFailed",
    "PeerReady",
    "Received",
    "Redirected",
]


class AllocationState(enum.Enum):
    """The life of an allocation."""

    IDLE = "idle"
    ALLOCATING = "allocating"
    ALLOCATED = "allocated"
    CLOSING = "closing"
    """The Refresh with lifetime 0 is on its way."""
    CLOSED = "closed"
    REDIRECTED = "redirected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Allocated:
    """The server relays for us; comes again when a lost allocation was made anew, then maybe with other addresses."""

    relayed: tuple[Address, ...]
    """One address, or the IPv4 and the IPv6 one of a dual allocation."""
    mapped: Address
    """Our own address as the server sees it: a server-reflexive candidate."""
    lifetime_s: float
    reservation_token: bytes | None = None
    """Hands the reserved next-higher port to another allocation (RFC 8656 section 7.2)."""


@dataclass(frozen=True, slots=True)
class Received:
    """A datagram from a peer; ``channel`` says whether it came as ChannelData. Not given when `Allocation.on_data` is set."""

    peer: Address
    data: bytes
    channel: bool


@dataclass(frozen=True, slots=True)
class PeerReady:
    """Data flows to and from the peer: by indications, or by its channel (a second event)."""

    peer: Address
    channel: int | None


@dataclass(frozen=True, slots=True)
class PeerFailed:
    """Nothing can be relayed to the peer for now; what was queued for it is dropped. Other peers are not concerned."""

    peer: Address
    error: TurnError


@dataclass(frozen=True, slots=True)
class IcmpReceived:
    """The server saw an ICMP message about a datagram to the peer; its permission and channel stay."""

    peer: Address
    icmp_type: int
    icmp_code: int
    icmp_data: int = 0
    """The MTU of the next hop when the message is about a packet too big."""

    @property
    def error(self) -> PeerUnreachable:
        """The same as an exception, for a caller that waits for this peer."""
        return PeerUnreachable(self.peer, self.icmp_type, self.icmp_code)


@dataclass(frozen=True, slots=True)
class Redirected:
    """The server names another one (300); this allocation is over, the next one shares its `RedirectGuard`."""

    to: Address
    domain: str | None
    """The name to check the certificate of the new server against; None: the name of this one."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The server no longer knew the allocation; a new one is being made over the same transport."""

    error: TurnError


@dataclass(frozen=True, slots=True)
class Moved:
    """The server knows us at our new address, and the allocation is the one that it was (RFC 8016)."""

    mapped: Address
    """The new address as the server sees it."""


@dataclass(frozen=True, slots=True)
class CredentialsRejected:
    """A live allocation cannot be refreshed with these credentials; it lives on until it expires or others are given."""

    error: TurnError
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The allocation is over."""

    error: TurnError


@dataclass(frozen=True, slots=True)
class Closed:
    """The allocation was closed by its owner."""

    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionReady:
    """The server connected to the peer (RFC 6062 section 4.3): the data connection is bound by `ConnectionBinder`."""

    peer: Address
    connection_id: int


@dataclass(frozen=True, slots=True)
class ConnectionAttempt:
    """A peer connected to the relayed address (RFC 6062 section 4.4); to be bound within 30 s or the server drops it."""

    peer: Address
    connection_id: int


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The server could not connect to the peer, or refused to."""

    peer: Address
    error: TurnError


Event = (
    Allocated
    | Received
    | PeerReady
    | PeerFailed
    | IcmpReceived
    | Redirected
    | Lost
    | Moved
    | CredentialsRejected
    | Failed
    | Closed
    | ConnectionReady
    | ConnectionAttempt
    | ConnectionFailed
)


@dataclass(frozen=True, slots=True)
class AllocationStats:
    """Counters since the allocation object was made, and gauges of this moment."""

    packets_sent: int = 0
    """Datagrams for peers, by channel and by indication; the queued ones count when they leave."""
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    channel_packets_sent: int = 0
    channel_packets_received: int = 0
    requests: int = 0
    retransmissions: int = 0
    timeouts: int = 0
    stale_nonces: int = 0
    allocation_refreshes: int = 0
    permission_refreshes: int = 0
    channel_refreshes: int = 0
    reallocations: int = 0
    icmp_errors: int = 0
    peers: int = 0
    channels: int = 0
    queued_packets: int = 0
    rtt_s: float | None = None
    """Smoothed round-trip time to the server, None before the first sample."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Packets dropped, in either direction, by reason."""
