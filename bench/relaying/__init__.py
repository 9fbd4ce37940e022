"""Measures `turn_client` beside aioice's TURN client, through a real coturn and in one run: ``salam bench turn``."""

from bench.relaying.contender import PEERS as PEERS
from bench.relaying.contender import Contender as Contender
from bench.relaying.contender import Relay as Relay
from bench.relaying.runner import measure_relaying as measure_relaying

__all__ = ["PEERS", "Contender", "Relay", "measure_relaying"]
