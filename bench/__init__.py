"""Robots for test rigs, network emulation, and what load is made of."""

from bench.netem import PERFECT as PERFECT
from bench.netem import PRESETS as PRESETS
from bench.netem import BurstLoss as BurstLoss
from bench.netem import Link as Link
from bench.netem import LinkConfig as LinkConfig
from bench.netem import LinkStats as LinkStats
from bench.netem_proxy import ProxyStats as ProxyStats
from bench.netem_proxy import UdpProxy as UdpProxy

__all__ = ["PERFECT", "PRESETS", "BurstLoss", "Link", "LinkConfig", "LinkStats", "ProxyStats", "UdpProxy"]
