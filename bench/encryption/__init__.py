"""Measures `e2ee` beside other end-to-end encryption libraries of Python, in one process and one run: ``salam bench e2ee``."""

from bench.encryption.contender import Contender as Contender
from bench.encryption.contender import Talker as Talker
from bench.encryption.measure import PEERS as PEERS
from bench.encryption.measure import measure_encryption as measure_encryption

__all__ = ["PEERS", "Contender", "Talker", "measure_encryption"]
