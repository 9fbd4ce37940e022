"""Rooms, calls and livestream chat over WebSocket: tokens, sessions with resume, the server and its asyncio client."""

from signaling.client import ConnectionLost as ConnectionLost
from signaling.client import Reconnected as Reconnected
from signaling.client import SignalingClient as SignalingClient
from signaling.codec import Codec as Codec
from signaling.codec import Encoding as Encoding
from signaling.codec import MessageError as MessageError
from signaling.effects import CloseCode as CloseCode
from signaling.hub import Hub as Hub
from signaling.ice_servers import IceGrant as IceGrant
from signaling.ice_servers import IceServerSource as IceServerSource
from signaling.limits import Limits as Limits
from signaling.limits import Rate as Rate
from signaling.media import CallMedia as CallMedia
from signaling.media import MediaListener as MediaListener
from signaling.media import NoMedia as NoMedia
from signaling.room import RoomSummary as RoomSummary
from signaling.schema import protocol_schema as protocol_schema
from signaling.server import SignalingServer as SignalingServer
from signaling.server import SignalingStats as SignalingStats
from signaling.tokens import Grants as Grants
from signaling.tokens import TokenIssuer as TokenIssuer

__all__ = [
    "CallMedia",
    "CloseCode",
    "Codec",
    "ConnectionLost",
    "Encoding",
    "Grants",
    "Hub",
    "IceGrant",
    "IceServerSource",
    "Limits",
    "MediaListener",
    "MessageError",
    "NoMedia",
    "Rate",
    "Reconnected",
    "RoomSummary",
    "SignalingClient",
    "SignalingServer",
    "SignalingStats",
    "TokenIssuer",
    "protocol_schema",
]
