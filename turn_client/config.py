"""What an allocation is asked to be, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from salam.errors import ConfigError
from turn_client.credentials import LongTermCredentials

__all__ = ["AllocationConfig"]


@dataclass(frozen=True, slots=True)
class AllocationConfig:
    """Settings of one allocation. Raises ConfigError for values that contradict each other or leave their ranges."""

    credentials: LongTermCredentials
    reliable: bool = False
    """Whether the transport to the server is TCP or TLS: no retransmission, padded ChannelData."""
    family: Literal["ipv4", "ipv6", "both"] = "ipv4"
    """Of the relayed address; "both" asks for two (RFC 8656 section 7.1)."""
    lifetime_s: int = 600
    """Asked for at every refresh; the server decides. RFC 8656 section 7.2 makes 600 s the default."""
    dont_fragment: bool = False
    """Ask whether the server can set DF; given up when it cannot, see `Allocation.dont_fragment`."""
    even_port: bool = False
    reserve: bool = False
    """With ``even_port``: reserve the next-higher port, whose token comes with `Allocated`."""
    reservation_token: bytes | None = None
    """8 bytes from another allocation's `Allocated`: take the port that it reserved."""
    mobility: bool = False
    """Ask for a ticket with which the allocation survives a change of our address (RFC 8016); given up when refused."""
    tcp_relay: bool = False
    """Relay TCP connections instead of datagrams (RFC 6062); needs ``reliable``."""
    software: str = ""
    """SOFTWARE, sent in requests; empty sends none, which says less to the network."""
    reallocate: bool = True
    """Whether an allocation that the server lost is made anew at once, over the same transport."""
    max_peers: int = 1024
    """Each costs the server a permission and maybe one of 4,096 channels; an ICE agent has tens."""
    max_queued_packets: int = 64
    """Per peer, while its permission is on the way; the oldest are dropped: about a second of one audio or a frame of video."""
    max_queued_bytes: int = 1 << 20
    """Of all peers together, for the same reason."""
    max_events: int = 4096
    """Events not yet taken; when full, further datagrams are dropped and other events still kept. A shell takes them per packet."""
    channel_after_packets: int = 2
    """A channel is bound at this datagram to a peer: most peers of an ICE agent get one check and no more. 0: never by itself."""
    idle_peer_s: float = 600.0
    """A peer without traffic either way is not refreshed after this long; one that was asked for by `bind` always is."""
    permission_lifetime_s: float = 300.0
    """RFC 8656 section 9; shorter only for a server that is configured against the RFC. Refreshed after four fifths of it."""
    channel_lifetime_s: float = 600.0
    """RFC 8656 section 12, likewise."""
    keepalive_s: float = 15.0
    """Silence towards the server after which a Binding indication keeps the NAT's mapping (RFC 8445 section 11); 0: never."""

    def __post_init__(self) -> None:
        if self.family not in ("ipv4", "ipv6", "both"):
            raise ConfigError(f"family is {self.family!r}; allowed: ipv4, ipv6, both")
        if not 0 < self.lifetime_s <= 86_400:
            raise ConfigError(f"lifetime_s is {self.lifetime_s}; allowed: 1 to 86400")
        if self.reserve and not self.even_port:
            raise ConfigError("reserve needs even_port (RFC 8656 section 7.1)")
        if self.reservation_token is not None:
            if len(self.reservation_token) != 8:
                raise ConfigError("reservation_token has 8 bytes (RFC 8656 section 18.10)")
            if self.even_port or self.family != "ipv4":
                raise ConfigError("reservation_token decides family and port; even_port and another family contradict it")
        if self.even_port and self.family == "both":
            raise ConfigError("a dual allocation cannot ask for an even port (RFC 8656 section 7.1)")
        if self.tcp_relay and not self.reliable:
            raise ConfigError("tcp_relay needs TCP or TLS to the server (RFC 6062 section 4.1)")
        if self.tcp_relay and (self.even_port or self.dont_fragment or self.reservation_token is not None):
            raise ConfigError("tcp_relay excludes even_port, dont_fragment and reservation_token (RFC 6062 section 4.1)")
        if len(self.software) > 127:
            raise ConfigError("software has fewer than 128 characters (RFC 8489 section 14.14)")
        if self.permission_lifetime_s <= 0 or self.channel_lifetime_s <= 0:
            raise ConfigError("permission_lifetime_s and channel_lifetime_s are more than 0")
        for name in ("max_peers", "max_queued_packets", "max_queued_bytes", "max_events"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is at least 1")
