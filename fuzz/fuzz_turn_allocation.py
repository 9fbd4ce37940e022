"""Fuzz target: an allocation, and the binder of a data connection, count whatever a server sends and raise nothing.

An input is a byte that chooses the situation, then frames with their lengths before them. The transaction id ``TTTTTTTTTTTT``
stands for the one of the last request, so that mutated answers are taken for answers.
"""

import struct

from turn_client.allocation import Allocation
from turn_client.attributes import encode_address, encode_family
from turn_client.config import AllocationConfig
from turn_client.credentials import LongTermCredentials
from turn_client.stun import Attribute, MessageClass, Method, build_message, encode_error_code, encode_xor_address
from turn_client.tcp_relay import ConnectionBinder

_PLACEHOLDER = b"T" * 12
_SERVER, _PEER = ("192.0.2.1", 3478), ("198.51.100.7", 9)
_CREDENTIALS = LongTermCredentials("alice", "secret")
_DATAGRAMS = AllocationConfig(_CREDENTIALS, mobility=True, dont_fragment=True)
_CONNECTIONS = AllocationConfig(_CREDENTIALS, reliable=True, tcp_relay=True)


def _message(method: Method, message_class: MessageClass, *attributes: tuple[int, bytes]) -> bytes:
    return build_message(method, message_class, _PLACEHOLDER, attributes)


def _xor(address: tuple[str, int]) -> bytes:
    return encode_xor_address(*address, _PLACEHOLDER)


_ALLOCATED = _message(
    Method.ALLOCATE,
    MessageClass.SUCCESS,
    (Attribute.XOR_RELAYED_ADDRESS, _xor(("192.0.2.1", 50_000))),
    (Attribute.XOR_MAPPED_ADDRESS, _xor(("203.0.113.5", 40_000))),
    (Attribute.LIFETIME, (600).to_bytes(4, "big")),
    (Attribute.MOBILITY_TICKET, b"ticket"),
    (Attribute.RESERVATION_TOKEN, bytes(8)),
)


def _error(code: int, *attributes: tuple[int, bytes], method: Method = Method.ALLOCATE) -> bytes:
    return _message(method, MessageClass.ERROR, (Attribute.ERROR_CODE, encode_error_code(code, "no")), *attributes)


_CHALLENGE = (
    (Attribute.REALM, b"salam.test"),
    (Attribute.NONCE, b"obMatJos2AAADnonce"),
    (Attribute.PASSWORD_ALGORITHMS, b"\0\2\0\0\0\1\0\0"),
)
_ANSWERS = [
    _error(401, *_CHALLENGE),
    _error(438, *_CHALLENGE),
    _error(300, (Attribute.ALTERNATE_SERVER, encode_address(("192.0.2.2", 3478))), (Attribute.ALTERNATE_DOMAIN, b"example.org")),
    _error(420, (Attribute.UNKNOWN_ATTRIBUTES, b"\0\x1a\x80\x30")),
    _error(405),
    _error(437),
    _error(486),
    _message(Method.DATA, MessageClass.INDICATION, (Attribute.XOR_PEER_ADDRESS, _xor(_PEER)), (Attribute.DATA, b"data")),
    _message(Method.DATA, MessageClass.INDICATION, (Attribute.XOR_PEER_ADDRESS, _xor(_PEER)), (Attribute.ICMP, bytes(8))),
    _message(
        Method.CONNECTION_ATTEMPT,
        MessageClass.INDICATION,
        (Attribute.XOR_PEER_ADDRESS, _xor(_PEER)),
        (Attribute.CONNECTION_ID, bytes(4)),
    ),
    _message(Method.CHANNEL_BIND, MessageClass.SUCCESS),
    _error(403, method=Method.CHANNEL_BIND),
    _error(437, method=Method.CHANNEL_BIND),
    _message(Method.CREATE_PERMISSION, MessageClass.SUCCESS),
    _message(Method.REFRESH, MessageClass.SUCCESS, (Attribute.LIFETIME, bytes(4))),
    _message(Method.CONNECT, MessageClass.SUCCESS, (Attribute.CONNECTION_ID, bytes(4))),
    _message(Method.CONNECTION_BIND, MessageClass.SUCCESS),
    _message(Method.ALLOCATE, MessageClass.SUCCESS, (Attribute.ADDITIONAL_ADDRESS_FAMILY, encode_family(2))),
    b"\x40\x00\x00\x04data",
]

SEEDS: list[bytes] = [
    bytes((situation,)) + b"".join(struct.pack("!H", len(answer)) + answer for answer in (answer, _ALLOCATED, answer))
    for situation in range(4)
    for answer in _ANSWERS
]


class _Randomness:
    """Counts, and remembers the last transaction id that it gave."""

    def __init__(self) -> None:
        self.last = bytes(12)
        self._count = 0

    def __call__(self, length: int) -> bytes:
        self._count += 1
        self.last = self._count.to_bytes(length, "big")
        return self.last


def _frames(data: bytes) -> list[bytes]:
    frames, at = [], 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        frames.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return frames


def one_input(data: bytes) -> None:
    """Play the frames of ``data`` to an allocation in one of four situations."""
    situation = data[0] % 4 if data else 0
    random = _Randomness()
    config = _CONNECTIONS if situation == 3 else _DATAGRAMS
    allocation = Allocation(config, _SERVER, random=random)
    allocation.start(0.0)
    if situation:
        allocation.receive(_ALLOCATED.replace(_PLACEHOLDER, random.last), 0.1)
        allocation.bind(_PEER, 0.2)
    if situation == 2:
        allocation.receive(_message(Method.CHANNEL_BIND, MessageClass.SUCCESS).replace(_PLACEHOLDER, random.last), 0.3)
        allocation.moved(0.4)
    if situation == 3:
        allocation.connect(_PEER, 0.3)
    _bind(allocation.connection_binder(1), data, random)
    now = 1.0
    for frame in _frames(data[1:]):
        allocation.receive(frame.replace(_PLACEHOLDER, random.last), now)
        allocation.take_outgoing()
        allocation.take_events()
        now += 1.0
        if allocation.deadline <= now:
            allocation.tick(now)
    allocation.close(now)
    allocation.stats(now)


def _bind(binder: ConnectionBinder, data: bytes, random: _Randomness) -> None:
    binder.start(0.5)
    for frame in _frames(data[1:]):
        binder.receive(frame.replace(_PLACEHOLDER, random.last), 0.6)
