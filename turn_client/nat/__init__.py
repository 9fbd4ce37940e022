"""Finding out what kind of NAT is in the way, over real sockets."""

from turn_client.nat.client import discover_binding_lifetime as discover_binding_lifetime
from turn_client.nat.client import discover_nat as discover_nat

__all__ = ["discover_binding_lifetime", "discover_nat"]
