"""Relays for peers that speak ICE through aioice, aiortc's `RTCPeerConnection` among them. The only place that knows aioice."""

from turn_client.ice.client import RelayedConnection as RelayedConnection
from turn_client.ice.client import RelaySource as RelaySource
from turn_client.ice.client import RelayTransport as RelayTransport
from turn_client.ice.client import use_relays as use_relays

__all__ = ["RelaySource", "RelayTransport", "RelayedConnection", "use_relays"]
