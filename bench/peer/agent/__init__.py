"""The ICE agent of a robot's peer: aioice's, with relays of our own TURN client, and more patience and more haste where needed."""

from bench.peer.agent.client import LOOPBACK as LOOPBACK
from bench.peer.agent.client import IceAgent as IceAgent
from bench.peer.agent.client import IceNetwork as IceNetwork
from bench.peer.agent.client import IcePath as IcePath
from bench.peer.agent.client import make_agent as make_agent

__all__ = ["LOOPBACK", "IceAgent", "IceNetwork", "IcePath", "make_agent"]
