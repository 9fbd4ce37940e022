"""The media plane: what happens to each packet; see `sfu.plane.interface`."""

from sfu.plane.errors import MediaError as MediaError
from sfu.plane.interface import AudioSummary as AudioSummary
from sfu.plane.interface import Codec as Codec
from sfu.plane.interface import ConsumerConfig as ConsumerConfig
from sfu.plane.interface import ConsumerLayer as ConsumerLayer
from sfu.plane.interface import ConsumerStats as ConsumerStats
from sfu.plane.interface import EstimatedBitrate as EstimatedBitrate
from sfu.plane.interface import ExtensionIds as ExtensionIds
from sfu.plane.interface import Kind as Kind
from sfu.plane.interface import LayerStats as LayerStats
from sfu.plane.interface import LayerSummary as LayerSummary
from sfu.plane.interface import MediaPlane as MediaPlane
from sfu.plane.interface import PacketArrival as PacketArrival
from sfu.plane.interface import Path as Path
from sfu.plane.interface import PlaneEvent as PlaneEvent
from sfu.plane.interface import PlaneStats as PlaneStats
from sfu.plane.interface import ProducerConfig as ProducerConfig
from sfu.plane.interface import ProducerStats as ProducerStats
from sfu.plane.interface import PublisherRtt as PublisherRtt
from sfu.plane.interface import ReceiverSummary as ReceiverSummary
from sfu.plane.interface import SrtpKeys as SrtpKeys
from sfu.plane.interface import SrtpProfile as SrtpProfile
from sfu.plane.interface import Timer as Timer
from sfu.plane.interface import TransportFeedback as TransportFeedback
from sfu.plane.plane import DROP_REASONS as DROP_REASONS
from sfu.plane.plane import PurePlane as PurePlane
from sfu.plane.rtcp import parse_rtcp as parse_rtcp
from sfu.plane.rtp import RtpPacket as RtpPacket
from sfu.plane.rtp import build_rtp as build_rtp
from sfu.plane.rtp import parse_rtp as parse_rtp
from sfu.plane.srtp import SrtpContext as SrtpContext

__all__ = [
    "DROP_REASONS",
    "AudioSummary",
    "Codec",
    "ConsumerConfig",
    "ConsumerLayer",
    "ConsumerStats",
    "EstimatedBitrate",
    "ExtensionIds",
    "Kind",
    "LayerStats",
    "LayerSummary",
    "MediaError",
    "MediaPlane",
    "PacketArrival",
    "Path",
    "PlaneEvent",
    "PlaneStats",
    "ProducerConfig",
    "ProducerStats",
    "PublisherRtt",
    "PurePlane",
    "ReceiverSummary",
    "RtpPacket",
    "SrtpContext",
    "SrtpKeys",
    "SrtpProfile",
    "Timer",
    "TransportFeedback",
    "build_rtp",
    "parse_rtcp",
    "parse_rtp",
]
