"""STUN and TURN: the strict codec of RFC 8489 with the ICE attributes, and a client that relays datagrams through TURN servers."""

from turn_client.client import TurnClient as TurnClient
from turn_client.client import connect as connect
from turn_client.config import AllocationConfig as AllocationConfig
from turn_client.credentials import LongTermCredentials as LongTermCredentials
from turn_client.dial import ClientConfig as ClientConfig
from turn_client.errors import Address as Address
from turn_client.errors import AllocationLost as AllocationLost
from turn_client.errors import BadCredentials as BadCredentials
from turn_client.errors import InsufficientCapacity as InsufficientCapacity
from turn_client.errors import PeerRefused as PeerRefused
from turn_client.errors import PeerUnreachable as PeerUnreachable
from turn_client.errors import QuotaReached as QuotaReached
from turn_client.errors import RedirectLoop as RedirectLoop
from turn_client.errors import ServerRefused as ServerRefused
from turn_client.errors import TransactionTimeout as TransactionTimeout
from turn_client.errors import TransportFailed as TransportFailed
from turn_client.errors import TurnError as TurnError
from turn_client.events import AllocationStats as AllocationStats
from turn_client.events import IcmpReceived as IcmpReceived
from turn_client.events import PeerFailed as PeerFailed
from turn_client.events import PeerReady as PeerReady
from turn_client.keeper import Credentials as Credentials
from turn_client.liveness import LivenessConfig as LivenessConfig
from turn_client.relay_events import ClientStats as ClientStats
from turn_client.relay_events import RelayChanged as RelayChanged
from turn_client.relay_events import RelayEvent as RelayEvent
from turn_client.relay_events import RelayLost as RelayLost
from turn_client.relay_events import RelayMoved as RelayMoved
from turn_client.resolution import ServerEndpoint as ServerEndpoint
from turn_client.resolution import ServerTransport as ServerTransport
from turn_client.rest import RestCredentials as RestCredentials
from turn_client.rest import make_rest_credentials as make_rest_credentials
from turn_client.stun import MAGIC_COOKIE as MAGIC_COOKIE
from turn_client.stun import Attribute as Attribute
from turn_client.stun import MessageClass as MessageClass
from turn_client.stun import Method as Method
from turn_client.stun import StunError as StunError
from turn_client.stun import StunMessage as StunMessage
from turn_client.stun import build_message as build_message
from turn_client.stun import decode_xor_address as decode_xor_address
from turn_client.stun import encode_error_code as encode_error_code
from turn_client.stun import encode_xor_address as encode_xor_address
from turn_client.stun import parse_message as parse_message
from turn_client.uri import ServerUri as ServerUri
from turn_client.uri import parse_server_uri as parse_server_uri

__all__ = [
    "Address",
    "AllocationConfig",
    "AllocationLost",
    "AllocationStats",
    "Attribute",
    "BadCredentials",
    "ClientConfig",
    "ClientStats",
    "Credentials",
    "IcmpReceived",
    "InsufficientCapacity",
    "LivenessConfig",
    "LongTermCredentials",
    "MAGIC_COOKIE",
    "MessageClass",
    "Method",
    "PeerFailed",
    "PeerReady",
    "PeerRefused",
    "PeerUnreachable",
    "QuotaReached",
    "RedirectLoop",
    "RelayChanged",
    "RelayEvent",
    "RelayLost",
    "RelayMoved",
    "RestCredentials",
    "ServerEndpoint",
    "ServerRefused",
    "ServerTransport",
    "ServerUri",
    "StunError",
    "StunMessage",
    "TransactionTimeout",
    "TransportFailed",
    "TurnClient",
    "TurnError",
    "build_message",
    "connect",
    "decode_xor_address",
    "encode_error_code",
    "encode_xor_address",
    "make_rest_credentials",
    "parse_message",
    "parse_server_uri",
]
