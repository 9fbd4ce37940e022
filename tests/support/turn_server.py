"""A TURN server without I/O that is as strict as the RFCs allow, for tests in simulated time.

It enforces nonces, realms, integrity by SHA-1 or SHA-256, password algorithms, USERHASH, lifetimes, permissions, channels and their
resting numbers, and mobility. Datagrams go in with the address that they came from; `take` returns what leaves, for clients and for
peers. Its knobs are attributes that a test sets at any moment.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from turn_client.attributes import (
    TCP_TRANSPORT,
    UDP_TRANSPORT,
    Family,
    Icmp,
    encode_address,
    encode_family,
    encode_icmp,
    lifetime_of,
    xor_addresses,
)
from turn_client.stun import (
    Attribute,
    MessageClass,
    Method,
    StunError,
    StunMessage,
    build_message,
    encode_error_code,
    encode_xor_address,
    parse_message,
)

Address = tuple[str, int]
ALGORITHMS = {"md5": struct.pack("!HH", 1, 0), "sha256": struct.pack("!HH", 2, 0)}
PERMISSION_S, CHANNEL_S, CHANNEL_REST_S = 300.0, 600.0, 300.0


@dataclass
class Relay:
    """One allocation on the server."""

    client: Address
    username: str
    relayed: tuple[Address, ...]
    expires_at: float
    tcp: bool
    ticket: bytes | None = None
    permissions: dict[str, float] = field(default_factory=dict)
    channels: dict[int, tuple[Address, float]] = field(default_factory=dict)
    numbers: dict[Address, int] = field(default_factory=dict)
    former: dict[int, tuple[Address, float]] = field(default_factory=dict)
    """Numbers whose binding ended, with the peer that may have them again and until when nobody else may."""

    def families(self) -> set[int]:
        return {Family.IPV6 if ":" in host else Family.IPV4 for host, _ in self.relayed}


class Refusal(Exception):
    """The request is answered with this code."""

    def __init__(self, code: int, *extra: tuple[int, bytes]) -> None:
        super().__init__(code)
        self.code = code
        self.extra = extra


class StrictTurnServer:
    """See the module. ``violations`` collects what a correct client never does; tests expect it to stay empty."""

    def __init__(self, random: Callable[[int], bytes], *, users: dict[str, str] | None = None, realm: str = "salam.test") -> None:
        self._random = random
        self.users = {"alice": "secret"} if users is None else users
        self.realm = realm
        self.nonce_lifetime_s = 3600.0
        self.algorithms: tuple[str, ...] | None = None
        self.anonymous = False
        self.hide_algorithms = False
        self.max_lifetime_s = 3600
        self.mobility = False
        self.supports_dont_fragment = True
        self.supports_ipv6 = True
        self.channel_refusals: set[Address] = set()
        self.refused_hosts: dict[str, int] = {}
        self.allocate_error: tuple[int, Address | None] | None = None
        self.silent = False
        self.violations: list[str] = []
        self.requests: Counter[str] = Counter()
        self.errors: Counter[int] = Counter()
        self.relays: dict[Address, Relay] = {}
        self.reserved: dict[bytes, int] = {}
        self._nonces: dict[bytes, float] = {}
        self._answers: dict[tuple[Address, bytes], bytes] = {}
        self._to_clients: list[tuple[Address, bytes]] = []
        self._to_peers: list[tuple[Address, Address, bytes]] = []
        self._next_port = 50_000
        self._connections = 0
        self._soonest = math.inf

    def take(self) -> tuple[list[tuple[Address, bytes]], list[tuple[Address, Address, bytes]]]:
        """(client, data) and (relayed address, peer, data) that leave now."""
        taken = self._to_clients, self._to_peers
        self._to_clients, self._to_peers = [], []
        return taken

    def expire_nonces(self) -> None:
        self._nonces.clear()

    def forget_allocations(self) -> None:
        self.relays.clear()
        self._answers.clear()

    def receive(self, data: bytes, client: Address, now: float) -> None:
        if self.silent:
            return
        self._expire(now)
        if data[0] & 0xC0 == 0x40:
            self._channel_data(data, client, now)
            return
        try:
            message = parse_message(data)
        except StunError as error:
            self.violations.append(f"not STUN: {error}")
            return
        if message.unknown_required():
            self.violations.append(f"unknown attributes {message.unknown_required()}")
        if message.message_class is MessageClass.INDICATION:
            self._indication(message, client)
        elif message.message_class is MessageClass.REQUEST:
            self._request(message, client, now)

    def peer_data(self, peer: Address, relayed: Address, data: bytes, now: float) -> None:
        """A datagram from a peer arrives at a relayed address."""
        self._expire(now)
        relay = next((relay for relay in self.relays.values() if relayed in relay.relayed), None)
        if relay is None or relay.permissions.get(peer[0], 0.0) <= now:
            return
        number = relay.numbers.get(peer)
        if number is not None:
            self._to_clients.append((relay.client, struct.pack("!HH", number, len(data)) + data))
        else:
            self._indicate(relay.client, peer, (Attribute.DATA, data))

    def icmp(self, client: Address, peer: Address, icmp: Icmp) -> None:
        self._indicate(client, peer, (Attribute.ICMP, encode_icmp(icmp)))

    def attempt(self, client: Address, peer: Address, now: float) -> None:
        """A peer connects to the relayed address of a TCP allocation."""
        relay = self.relays[client]
        if relay.permissions.get(peer[0], 0.0) > now:
            self._connections += 1
            transaction_id = self._random(12)
            attributes = [
                (Attribute.XOR_PEER_ADDRESS, encode_xor_address(*peer, transaction_id)),
                (Attribute.CONNECTION_ID, self._connections.to_bytes(4, "big")),
            ]
            built = build_message(Method.CONNECTION_ATTEMPT, MessageClass.INDICATION, transaction_id, attributes)
            self._to_clients.append((client, built))

    def _indicate(self, client: Address, peer: Address, what: tuple[int, bytes]) -> None:
        transaction_id = self._random(12)
        attributes = [(Attribute.XOR_PEER_ADDRESS, encode_xor_address(*peer, transaction_id)), what]
        self._to_clients.append((client, build_message(Method.DATA, MessageClass.INDICATION, transaction_id, attributes)))

    def _expire(self, now: float) -> None:
        if now < self._soonest:
            return
        for client, relay in list(self.relays.items()):
            if relay.expires_at <= now:
                del self.relays[client]
            for number, (peer, until) in list(relay.channels.items()):
                if until <= now:
                    del relay.channels[number]
                    del relay.numbers[peer]
                    relay.former[number] = (peer, until + CHANNEL_REST_S)
        ends = [until for relay in self.relays.values() for _, until in relay.channels.values()]
        self._soonest = min([*ends, *(relay.expires_at for relay in self.relays.values())], default=math.inf)

    def _lives_until(self, until: float) -> float:
        self._soonest = min(self._soonest, until)
        return until

    def _channel_data(self, data: bytes, client: Address, now: float) -> None:
        relay = self.relays.get(client)
        number, length = struct.unpack_from("!HH", data)
        if relay is None or number not in relay.channels:
            return
        if length > len(data) - 4:
            self.violations.append("ChannelData is shorter than it says")
            return
        peer = relay.channels[number][0]
        if relay.permissions.get(peer[0], 0.0) > now:
            self._relay(relay, peer, data[4 : 4 + length])

    def _relay(self, relay: Relay, peer: Address, data: bytes) -> None:
        family = ":" in peer[0]
        source = next(address for address in relay.relayed if (":" in address[0]) == family)
        self._to_peers.append((source, peer, data))

    def _indication(self, message: StunMessage, client: Address) -> None:
        if message.method == Method.BINDING:
            self.requests["binding_indication"] += 1
            return
        relay = self.relays.get(client)
        peers = xor_addresses(message, Attribute.XOR_PEER_ADDRESS)
        data = message.get(Attribute.DATA)
        if message.method != Method.SEND or len(peers) != 1 or data is None:
            self.violations.append("a malformed indication")
        elif relay is not None and peers[0][0] in relay.permissions:
            self.requests["dont_fragment"] += message.get(Attribute.DONT_FRAGMENT) is not None
            self._relay(relay, peers[0], data)

    def _request(self, message: StunMessage, client: Address, now: float) -> None:
        self.requests[Method(message.method).name] += 1
        done = self._answers.get((client, message.transaction_id))
        if done is not None:
            # A retransmission gets the same answer (RFC 8489 section 6.3.1).
            self._to_clients.append((client, done))
            return
        key: bytes | None = None
        sha256 = self.algorithms is not None
        try:
            username, key = self._authenticate(message, now)
            attributes = self._carry_out(message, client, username, now)
            message_class = MessageClass.SUCCESS
        except Refusal as refusal:
            self.errors[refusal.code] += 1
            message_class = MessageClass.ERROR
            attributes = [(Attribute.ERROR_CODE, encode_error_code(refusal.code, "refused")), *refusal.extra]
        answer = build_message(
            message.method,
            message_class,
            message.transaction_id,
            attributes,
            integrity_key=None if sha256 else key,
            integrity_sha256_key=key if sha256 else None,
            fingerprint=True,
        )
        self._answers[(client, message.transaction_id)] = answer
        self._to_clients.append((client, answer))

    def _challenge(self, code: int, now: float) -> Refusal:
        features = (1 if self.algorithms is not None else 0) | (2 if self.anonymous else 0)
        cookie = b"obMatJos2" + base64.b64encode(bytes((0, 0, features))) if features else b""
        nonce = cookie + self._random(8).hex().encode()
        self._nonces[nonce] = now + self.nonce_lifetime_s
        extra = [(Attribute.REALM, self.realm.encode()), (Attribute.NONCE, nonce)]
        if self.algorithms is not None and not self.hide_algorithms:
            extra.append((Attribute.PASSWORD_ALGORITHMS, b"".join(ALGORITHMS[name] for name in self.algorithms)))
        return Refusal(code, *extra)

    def _authenticate(self, message: StunMessage, now: float) -> tuple[str, bytes]:
        nonce = message.get(Attribute.NONCE)
        if message.integrity_offset is None and message.integrity_sha256_offset is None:
            raise self._challenge(401, now)
        if nonce is None or message.get(Attribute.REALM) is None:
            raise Refusal(400)
        username = self._username(message)
        if message.get(Attribute.REALM) != self.realm.encode() or username is None:
            raise self._challenge(401, now)
        algorithm = self._algorithm(message)
        text = f"{username}:{self.realm}:{self.users[username]}".encode()
        key = hashlib.sha256(text).digest() if algorithm == "sha256" else hashlib.md5(text).digest()
        right = message.check_integrity_sha256(key) if self.algorithms is not None else message.check_integrity(key)
        if not right:
            raise self._challenge(401, now)
        if self._nonces.get(nonce, 0.0) <= now:
            raise self._challenge(438, now)
        return username, key

    def _username(self, message: StunMessage) -> str | None:
        if not self.anonymous:
            return message.username if message.username in self.users else None
        if message.username is not None:
            self.violations.append("a username in the clear")
        value = message.get(Attribute.USERHASH)
        return next((name for name in self.users if hashlib.sha256(f"{name}:{self.realm}".encode()).digest() == value), None)

    def _algorithm(self, message: StunMessage) -> str:
        if self.algorithms is None:
            return "md5"
        offered = b"".join(ALGORITHMS[name] for name in self.algorithms)
        chosen = message.get(Attribute.PASSWORD_ALGORITHM)
        if message.get(Attribute.PASSWORD_ALGORITHMS) != offered:
            self.violations.append("password algorithms are not echoed")
            raise Refusal(400)
        for name in self.algorithms:
            if ALGORITHMS[name] == chosen:
                return name
        raise Refusal(400)

    def _carry_out(self, message: StunMessage, client: Address, username: str, now: float) -> list[tuple[int, bytes]]:
        if message.method == Method.ALLOCATE:
            return self._allocate(message, client, username, now)
        if message.method == Method.REFRESH and message.get(Attribute.MOBILITY_TICKET) is not None:
            self._move(message, client)
        relay = self.relays.get(client)
        if relay is None:
            raise Refusal(437)
        if relay.username != username:
            raise Refusal(441)
        if message.method == Method.REFRESH:
            return self._refresh(relay, message, now)
        peers = xor_addresses(message, Attribute.XOR_PEER_ADDRESS)
        if not peers:
            raise Refusal(400)
        for peer in peers:
            if (Family.IPV6 if ":" in peer[0] else Family.IPV4) not in relay.families():
                raise Refusal(443)
            if peer[0] in self.refused_hosts:
                raise Refusal(self.refused_hosts[peer[0]])
        if message.method == Method.CHANNEL_BIND:
            self._bind(relay, message, peers[0], now)
        elif message.method == Method.CONNECT:
            self._connections += 1
            return [(Attribute.CONNECTION_ID, self._connections.to_bytes(4, "big"))]
        for peer in peers:
            relay.permissions[peer[0]] = now + PERMISSION_S
        return []

    def _allocate(self, message: StunMessage, client: Address, username: str, now: float) -> list[tuple[int, bytes]]:
        if client in self.relays:
            raise Refusal(437)
        if self.allocate_error is not None:
            code, to = self.allocate_error
            raise Refusal(code, *([(Attribute.ALTERNATE_SERVER, encode_address(to))] if to is not None else []))
        if message.get(Attribute.DONT_FRAGMENT) is not None and not self.supports_dont_fragment:
            raise Refusal(420, (Attribute.UNKNOWN_ATTRIBUTES, struct.pack("!H", Attribute.DONT_FRAGMENT)))
        transport = message.get(Attribute.REQUESTED_TRANSPORT)
        if transport not in (UDP_TRANSPORT, TCP_TRANSPORT):
            raise Refusal(442)
        ticket = message.get(Attribute.MOBILITY_TICKET)
        if ticket is not None and not self.mobility:
            raise Refusal(405)
        until = self._lives_until(now + self._lifetime(message))
        relay = Relay(client, username, self._addresses(message), until, transport == TCP_TRANSPORT)
        self.relays[client] = relay
        attributes: list[tuple[int, bytes]] = [(Attribute.LIFETIME, self._lifetime(message).to_bytes(4, "big"))]
        transaction_id = message.transaction_id
        attributes += [(Attribute.XOR_RELAYED_ADDRESS, encode_xor_address(*address, transaction_id)) for address in relay.relayed]
        attributes.append((Attribute.XOR_MAPPED_ADDRESS, encode_xor_address(*client, message.transaction_id)))
        if message.get(Attribute.EVEN_PORT) == b"\x80":
            token = self._random(8)
            self.reserved[token] = relay.relayed[0][1] + 1
            attributes.append((Attribute.RESERVATION_TOKEN, token))
        if ticket is not None:
            relay.ticket = self._random(16)
            attributes.append((Attribute.MOBILITY_TICKET, relay.ticket))
        return attributes

    def _addresses(self, message: StunMessage) -> tuple[Address, ...]:
        token = message.get(Attribute.RESERVATION_TOKEN)
        if token is not None:
            if token not in self.reserved:
                raise Refusal(508)
            return (("198.51.100.1", self.reserved.pop(token)),)
        self._next_port += 2
        family, additional = message.get(Attribute.REQUESTED_ADDRESS_FAMILY), message.get(Attribute.ADDITIONAL_ADDRESS_FAMILY)
        if family == encode_family(Family.IPV6):
            if not self.supports_ipv6:
                raise Refusal(440)
            return (("2001:db8::1", self._next_port),)
        first = ("198.51.100.1", self._next_port)
        return (first, ("2001:db8::1", self._next_port)) if additional is not None and self.supports_ipv6 else (first,)

    def _lifetime(self, message: StunMessage) -> int:
        return min(lifetime_of(message) or 600, self.max_lifetime_s)

    def _refresh(self, relay: Relay, message: StunMessage, now: float) -> list[tuple[int, bytes]]:
        if lifetime_of(message) == 0:
            del self.relays[relay.client]
            return [(Attribute.LIFETIME, bytes(4))]
        relay.expires_at = self._lives_until(now + self._lifetime(message))
        attributes: list[tuple[int, bytes]] = [(Attribute.LIFETIME, self._lifetime(message).to_bytes(4, "big"))]
        if message.get(Attribute.MOBILITY_TICKET) is not None:
            relay.ticket = self._random(16)
            attributes.append((Attribute.MOBILITY_TICKET, relay.ticket))
        return attributes

    def _move(self, message: StunMessage, client: Address) -> None:
        ticket = message.get(Attribute.MOBILITY_TICKET)
        relay = next((relay for relay in self.relays.values() if relay.ticket == ticket), None)
        if relay is None or not self.mobility:
            raise Refusal(437)
        del self.relays[relay.client]
        relay.client = client
        self.relays[client] = relay

    def _bind(self, relay: Relay, message: StunMessage, peer: Address, now: float) -> None:
        value = message.get(Attribute.CHANNEL_NUMBER)
        number = int.from_bytes((value or b"\0\0")[:2], "big")
        if not 0x4000 <= number <= 0x4FFF:
            self.violations.append(f"channel number {number:#x}")
            raise Refusal(400)
        if peer in self.channel_refusals:
            raise Refusal(400)
        bound = relay.channels.get(number)
        if (bound is not None and bound[0] != peer) or relay.numbers.get(peer, number) != number:
            self.violations.append("a channel is bound to another peer")
            raise Refusal(400)
        former = relay.former.get(number)
        if former is not None and former[0] != peer and now < former[1]:
            self.violations.append("a channel number is used again too early")
        relay.channels[number] = (peer, self._lives_until(now + CHANNEL_S))
        relay.numbers[peer] = number
