"""One socket to one server: UDP, TCP or TLS, all of them giving and taking whole frames."""

from turn_client.link.client import Link as Link
from turn_client.link.client import LinkReceiver as LinkReceiver
from turn_client.link.client import LinkStats as LinkStats
from turn_client.link.client import StreamLink as StreamLink
from turn_client.link.client import UdpLink as UdpLink
from turn_client.link.client import open_link as open_link

__all__ = ["Link", "LinkReceiver", "LinkStats", "StreamLink", "UdpLink", "open_link"]
