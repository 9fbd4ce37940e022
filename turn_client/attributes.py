"""Values of the attributes that TURN and NAT discovery add to STUN: how they are written and read.

Readers are given values that `parse_message` accepted, so their lengths are right.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from turn_client.errors import Address, BadPeer
from turn_client.stun import Attribute, StunMessage, decode_xor_address

__all__ = [
    "Family",
    "Icmp",
    "alternate_server",
    "canonical_peer",
    "decode_address",
    "decode_icmp",
    "encode_address",
    "encode_family",
    "encode_icmp",
    "lifetime_of",
    "unknown_attributes",
    "xor_addresses",
]

UDP_TRANSPORT = b"\x11\x00\x00\x00"
"""REQUESTED-TRANSPORT for UDP: the protocol number, then reserved bytes (RFC 8656 section 18.8)."""
TCP_TRANSPORT = b"\x06\x00\x00\x00"
"""REQUESTED-TRANSPORT for TCP (RFC 6062 section 4.1)."""


class Family:
    """Address families as REQUESTED-ADDRESS-FAMILY and its kin name them (RFC 8656 section 18.6)."""

    IPV4 = 1
    IPV6 = 2


@dataclass(frozen=True, slots=True)
class Icmp:
    """The ICMP attribute (RFC 8656 section 18.13); ``data`` is the MTU when the message is about a packet too big."""

    type: int
    code: int
    data: int


def encode_family(family: int) -> bytes:
    """Value of REQUESTED-ADDRESS-FAMILY and ADDITIONAL-ADDRESS-FAMILY."""
    return bytes((family, 0, 0, 0))


def encode_icmp(icmp: Icmp) -> bytes:
    """Value of ICMP: 7 bits of type and 9 of code, as figure 14 of RFC 8656 draws them."""
    return struct.pack("!HHI", 0, icmp.type << 9 | icmp.code, icmp.data)


def decode_icmp(value: bytes) -> Icmp:
    """Read the value of ICMP."""
    _, both, data = struct.unpack("!HHI", value)
    return Icmp(both >> 9, both & 0x1FF, data)


def encode_address(address: Address) -> bytes:
    """Value of MAPPED-ADDRESS, ALTERNATE-SERVER and their kin. Raises ValueError for what is not an IP address."""
    parsed = ipaddress.ip_address(address[0])
    return struct.pack("!BBH", 0, Family.IPV4 if parsed.version == 4 else Family.IPV6, address[1]) + parsed.packed


def decode_address(value: bytes) -> Address:
    """Read the value of an address attribute that is not XORed."""
    return str(ipaddress.ip_address(value[4:])), int.from_bytes(value[2:4], "big")


def xor_addresses(message: StunMessage, kind: Attribute) -> tuple[Address, ...]:
    """All values of an XORed address attribute, in their order."""
    return tuple(decode_xor_address(value, message.transaction_id) for found, value in message.attributes if found == kind)


def lifetime_of(message: StunMessage) -> int | None:
    """LIFETIME in seconds, None without one."""
    value = message.get(Attribute.LIFETIME)
    return None if value is None else int.from_bytes(value, "big")


def unknown_attributes(message: StunMessage) -> tuple[int, ...]:
    """The types that a 420 names; empty without the attribute."""
    value = message.get(Attribute.UNKNOWN_ATTRIBUTES) or b""
    return struct.unpack(f"!{len(value) // 2}H", value)


def alternate_server(message: StunMessage, family_of: str) -> Address | None:
    """The first ALTERNATE-SERVER in the family of the address ``family_of`` (RFC 8489 section 10); None without one."""
    version = ipaddress.ip_address(family_of).version
    for kind, value in message.attributes:
        if kind == Attribute.ALTERNATE_SERVER:
            address = decode_address(value)
            if ipaddress.ip_address(address[0]).version == version and address[1]:
                return address
    return None


def canonical_peer(peer: Address) -> tuple[Address, int]:
    """Return the peer with its address in canonical form, and its family.

    IPv4-mapped addresses become IPv4; a scope is dropped, since it means nothing to the server.
    Raises BadPeer for what cannot be a peer: no IP address, port 0, multicast, the unspecified address, the IPv4 broadcast.
    """
    host, port = peer[0], peer[1]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except (ValueError, AttributeError):
        raise BadPeer("the address of a peer is an IP address in text form") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not 0 < port < 65536:
        raise BadPeer("the port of a peer is 1 to 65535")
    if address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255":
        raise BadPeer("nothing is relayed to multicast, broadcast and unspecified addresses")
    return (str(address), port), Family.IPV4 if address.version == 4 else Family.IPV6
