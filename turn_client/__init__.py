"""STUN for whoever speaks to or through NATs: the codec of RFC 8489 with the ICE attributes, without I/O."""

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

__all__ = [
    "Attribute",
    "MAGIC_COOKIE",
    "MessageClass",
    "Method",
    "StunError",
    "StunMessage",
    "build_message",
    "decode_xor_address",
    "encode_error_code",
    "encode_xor_address",
    "parse_message",
]
