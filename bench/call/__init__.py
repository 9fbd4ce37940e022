"""Calls between two robots themselves, without a media server between them."""

from bench.call.client import CallSignal as CallSignal
from bench.call.client import DirectCall as DirectCall

__all__ = ["CallSignal", "DirectCall"]
