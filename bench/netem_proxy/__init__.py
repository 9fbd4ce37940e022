"""A UDP relay that puts an emulated network between real clients and a real server."""

from bench.netem_proxy.runner import ProxyStats as ProxyStats
from bench.netem_proxy.runner import UdpProxy as UdpProxy

__all__ = ["ProxyStats", "UdpProxy"]
