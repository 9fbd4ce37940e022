"""Robots for test rigs, network emulation, and what load is made of."""

from bench.broadcaster import Broadcaster as Broadcaster
from bench.call import CallSignal as CallSignal
from bench.call import DirectCall as DirectCall
from bench.media import FileMedia as FileMedia
from bench.media import GeneratedMedia as GeneratedMedia
from bench.media import LoopLibrary as LoopLibrary
from bench.media import Media as Media
from bench.netem import PERFECT as PERFECT
from bench.netem import PRESETS as PRESETS
from bench.netem import BurstLoss as BurstLoss
from bench.netem import Link as Link
from bench.netem import LinkConfig as LinkConfig
from bench.netem import LinkStats as LinkStats
from bench.netem_proxy import ProxyStats as ProxyStats
from bench.netem_proxy import UdpProxy as UdpProxy
from bench.peer import IceNetwork as IceNetwork
from bench.peer import IcePath as IcePath
from bench.peer import RtcPeer as RtcPeer
from bench.robot import ReceivedTrack as ReceivedTrack
from bench.robot import Robot as Robot
from bench.robot import RobotStats as RobotStats
from bench.robot import SentTrack as SentTrack
from bench.strict_receiver import StrictConfig as StrictConfig
from bench.strict_receiver import StrictReceiver as StrictReceiver

__all__ = [
    "Broadcaster",
    "BurstLoss",
    "CallSignal",
    "DirectCall",
    "FileMedia",
    "GeneratedMedia",
    "IceNetwork",
    "IcePath",
    "Link",
    "LinkConfig",
    "LinkStats",
    "LoopLibrary",
    "Media",
    "PERFECT",
    "PRESETS",
    "ProxyStats",
    "ReceivedTrack",
    "Robot",
    "RobotStats",
    "RtcPeer",
    "SentTrack",
    "StrictConfig",
    "StrictReceiver",
    "UdpProxy",
]
