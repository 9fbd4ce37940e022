"""A WebRTC peer for robots, with real ICE, DTLS and SRTP."""

from bench.peer.agent import LOOPBACK as LOOPBACK
from bench.peer.agent import IceNetwork as IceNetwork
from bench.peer.agent import IcePath as IcePath
from bench.peer.client import PeerState as PeerState
from bench.peer.client import RtcPeer as RtcPeer
from bench.peer.plan import PayloadType as PayloadType
from bench.peer.plan import ReceivePlan as ReceivePlan
from bench.peer.receiver import ReceivedTrackStats as ReceivedTrackStats
from bench.peer.sender import SentLayerStats as SentLayerStats
from bench.peer.sender import SentTrackStats as SentTrackStats
from bench.peer.session import FrameListener as FrameListener
from bench.peer.session import SessionStats as SessionStats
from bench.peer.session import Tap as Tap

__all__ = [
    "LOOPBACK",
    "FrameListener",
    "IceNetwork",
    "IcePath",
    "PayloadType",
    "PeerState",
    "ReceivePlan",
    "ReceivedTrackStats",
    "RtcPeer",
    "SentLayerStats",
    "SentTrackStats",
    "SessionStats",
    "Tap",
]
