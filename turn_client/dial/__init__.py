"""The way to a relay: names are looked up, and whatever may lead to a server races."""

from turn_client.dial.client import ClientConfig as ClientConfig
from turn_client.dial.client import Dialer as Dialer

__all__ = ["ClientConfig", "Dialer"]
