"""The media server: workers, routers, transports, producers and consumers over a media plane; and the policy that steers them.

The vocabulary is mediasoup's. A `Worker` owns the sockets; everything else is sans-IO and can be driven by hand through `Engine`.
"""

from sfu.consumer import Consumer as Consumer
from sfu.dtls import DtlsIdentity as DtlsIdentity
from sfu.dtls import DtlsRole as DtlsRole
from sfu.dtls import Fingerprint as Fingerprint
from sfu.engine import Engine as Engine
from sfu.producer import Producer as Producer
from sfu.publish_answer import ProducerSpec as ProducerSpec
from sfu.publish_answer import PublishAnswer as PublishAnswer
from sfu.publish_answer import answer_publish_offer as answer_publish_offer
from sfu.router import Router as Router
from sfu.router import RouterListener as RouterListener
from sfu.sdp import MediaSection as MediaSection
from sfu.sdp import SdpError as SdpError
from sfu.sdp import SessionDescription as SessionDescription
from sfu.sdp import parse_description as parse_description
from sfu.sdp_lines import Candidate as Candidate
from sfu.sdp_lines import LocalTransport as LocalTransport
from sfu.subscribe_offer import AcceptedTrack as AcceptedTrack
from sfu.subscribe_offer import OfferedSubscription as OfferedSubscription
from sfu.subscribe_offer import SubscribeNegotiator as SubscribeNegotiator
from sfu.transport import Transport as Transport
from sfu.transport import TransportState as TransportState
from sfu.transport import TransportStats as TransportStats
from sfu.worker import Worker as Worker
from sfu.worker import WorkerStats as WorkerStats

__all__ = [
    "AcceptedTrack",
    "Candidate",
    "Consumer",
    "DtlsIdentity",
    "DtlsRole",
    "Engine",
    "Fingerprint",
    "LocalTransport",
    "MediaSection",
    "OfferedSubscription",
    "Producer",
    "ProducerSpec",
    "PublishAnswer",
    "Router",
    "RouterListener",
    "SdpError",
    "SessionDescription",
    "SubscribeNegotiator",
    "Transport",
    "TransportState",
    "TransportStats",
    "Worker",
    "WorkerStats",
    "answer_publish_offer",
    "parse_description",
]
