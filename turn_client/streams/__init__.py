"""TCP connections between us and peers, through the relay (RFC 6062)."""

from turn_client.streams.client import PeerStreams as PeerStreams

__all__ = ["PeerStreams"]
