"""One allocation on a TURN server, without I/O: made, kept alive, moved, used and closed (RFC 8656, RFC 8016, RFC 6062)."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable

from turn_client.attributes import Icmp, decode_icmp, xor_addresses
from turn_client.config import AllocationConfig
from turn_client.credentials import Authenticator, LongTermCredentials
from turn_client.errors import Address, AllocationLost, NotAllocated, TransportFailed, TurnError
from turn_client.events import (
    AllocationState,
    AllocationStats,
    Event,
    IcmpReceived,
    Received,
)
from turn_client.lifecycle import Lifecycle
from turn_client.peers import PeerTable
from turn_client.redirects import RedirectGuard
from turn_client.requester import Requester
from turn_client.stun import Attribute, MessageClass, Method, StunError, StunMessage, build_message, parse_message
from turn_client.tcp_relay import ConnectionBinder, TcpRelay
from turn_client.transactions import RtoCache

__all__ = ["Allocation"]

_CHANNEL_HEADER = struct.Struct("!HH")
"""Number and length (RFC 8656 section 12.4)."""
_pack_header = _CHANNEL_HEADER.pack
_unpack_header = _CHANNEL_HEADER.unpack_from
# A datagram of 64 KiB less the headers of IP, UDP and a Send indication with an IPv6 peer.
_MAX_DATA_BYTES = 65_400
# What completes a frame on a stream to a multiple of four bytes, by the two low bits of the length (RFC 8656 section 12.5).
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_LIVE = frozenset({AllocationState.ALLOCATING, AllocationState.ALLOCATED})


class Allocation:
    """The client side of one allocation.

    Bytes, calls and ``now`` (monotonic seconds) go in; `take_outgoing`, `take_events` and `deadline` say what is to be done next
    and are to be asked after every call, which is what bounds them. Whatever comes from the network is counted when it is bad and
    never raises. ``server`` is the address that the shell sends to, ``random`` returns that many unpredictable bytes; ``rto`` and
    ``redirects`` are shared by allocations that are made one after the other.
    """

    def __init__(
        self,
        config: AllocationConfig,
        server: Address,
        *,
        random: Callable[[int], bytes],
        rto: RtoCache | None = None,
        redirects: RedirectGuard | None = None,
    ) -> None:
        self.config = config
        self.server = server
        self.on_data: Callable[[bytes, Address], None] | None = None
        """When set, called with each datagram and its peer, in place of a `Received` event: the path without queue and object."""
        self._random = random
        self._rto = RtoCache() if rto is None else rto
        self._reliable = config.reliable
        self._outgoing: list[bytes] = []
        self._events: list[Event] = []
        self._dropped: Counter[str] = Counter()
        self._packets_sent = 0
        self._bytes_sent = 0
        self._packets_received = 0
        self._bytes_received = 0
        self._channel_packets_received = 0
        self._icmp_errors = 0
        self._emitted = 0
        self._requester = Requester(
            server,
            Authenticator(config.credentials),
            reliable=config.reliable,
            software=config.software,
            random=random,
            rto=self._rto,
            emit=self._emit,
        )
        self._life = Lifecycle(
            config,
            server,
            self._requester,
            RedirectGuard() if redirects is None else redirects,
            notify=self._notify,
            changed=self._changed,
        )
        self._peers = PeerTable(
            config,
            self._requester,
            random=random,
            emit=self._emit,
            notify=self._notify,
            lost=self._life.lost,
            refused=self._life.credentials_refused,
        )
        self._bound = self._peers.bound
        self._by_number = self._peers.by_number
        self._tcp = TcpRelay(config, self._requester, notify=self._notify, lost=self._life.lost)
        self._keepalive_at = math.inf
        self._emitted_before = 0

    @property
    def state(self) -> AllocationState:
        """Where the allocation is in its life."""
        return self._life.state

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """Where peers reach us; empty unless allocated."""
        return self._life.relayed

    @property
    def mapped_address(self) -> Address | None:
        """Our address as the server sees it, None before the first success."""
        return self._life.mapped

    @property
    def lifetime(self) -> float:
        """What the server granted last, in seconds; 0 before."""
        return self._life.lifetime_s

    @property
    def dont_fragment(self) -> bool:
        """Whether the server agreed to set DF where `send` asks for it."""
        return self._life.dont_fragment

    @property
    def mobility(self) -> bool:
        """Whether the allocation can be moved to another address of ours."""
        return self._life.ticket is not None

    @property
    def deadline(self) -> float:
        """When `tick` is needed next (monotonic seconds), infinity for never."""
        return min(self._requester.deadline, self._life.deadline, self._peers.deadline, self._keepalive_at)

    def start(self, now: float) -> None:
        """Ask for the allocation. After a failure it may be called again; a server at its limits is asked when its minute is over.

        Raises NotAllocated when the allocation lives or was closed.
        """
        self._life.start(now)

    def send(self, peer: Address, data: bytes, now: float, *, dont_fragment: bool = False) -> None:
        """Send a datagram: by the peer's channel, by an indication while it has none, and from a bounded queue before that.

        ``dont_fragment`` asks for DF, which only an indication can carry. Raises BadPeer and TooManyPeers for a peer that cannot
        be served, NotAllocated when the allocation is over, and TurnError for data that fits no datagram.
        """
        link = self._bound.get(peer)
        if link is None or dont_fragment:
            self._send_slowly(peer, data, now, dont_fragment=dont_fragment)
            return
        length = len(data)
        if length > _MAX_DATA_BYTES:
            raise _too_long()
        link.active = True
        self._packets_sent += 1
        self._bytes_sent += length
        frame = _pack_header(link.number, length) + data
        self._outgoing.append(frame + _PADDING[length & 3] if self._reliable else frame)

    def frame(self, peer: Address, data: bytes) -> bytes | None:
        """Return what carries ``data`` to a peer with a channel, for a shell that writes it at once; None: use `send`.

        Counts like `send`.
        """
        link = self._bound.get(peer)
        length = len(data)
        if link is None or length > _MAX_DATA_BYTES:
            return None
        link.active = True
        self._packets_sent += 1
        self._bytes_sent += length
        if self._reliable:
            return _pack_header(link.number, length) + data + _PADDING[length & 3]
        return _pack_header(link.number, length) + data

    def bind(self, peer: Address, now: float) -> None:
        """Make a permission and a channel (a permission alone for TCP) before any traffic, and keep them until `close`.

        Raises like `send`.
        """
        self._check_live()
        self._peers.bind(peer, now)

    def connect(self, peer: Address, now: float) -> None:
        """Let the server connect to the peer over TCP (RFC 6062 section 4.3): ConnectionReady or ConnectionFailed will come.

        Raises NotAllocated unless the allocation is live and was made with ``tcp_relay``; BadPeer, TooManyPeers.
        """
        if self.state is not AllocationState.ALLOCATED or not self.config.tcp_relay:
            raise NotAllocated("connect needs a live allocation that relays TCP")
        self._tcp.connect(peer, now)

    def connection_binder(self, connection_id: int) -> ConnectionBinder:
        """Return the machine that makes a fresh connection to the server the data connection ``connection_id``."""
        return ConnectionBinder(
            connection_id,
            self.server,
            self._requester.authenticator.copy(),
            random=self._random,
            rto=self._rto,
            software=self.config.software,
        )

    def receive(self, data: bytes, now: float) -> None:
        """Take one datagram, or one frame of a stream, from the server."""
        try:
            number, length = _unpack_header(data)
        except struct.error:
            self._dropped["too_short"] += 1
            return
        link = self._by_number.get(number)
        if link is None:
            # The first two bytes of a STUN message are never a channel number.
            self._receive_other(data, number, now)
            return
        spare = len(data) - 4 - length
        if spare < 0 or spare > 3:
            self._dropped["bad_channel_data"] += 1
            return
        link.active = True
        self._channel_packets_received += 1
        self._bytes_received += length
        if self.on_data is not None:
            self.on_data(data[4 : 4 + length], link.address)
        else:
            self._deliver(link.address, data[4 : 4 + length], channel=True)

    def tick(self, now: float) -> None:
        """Do what is due at ``now``."""
        self._requester.tick(now)
        self._life.tick(now)
        self._peers.tick(now)
        if now >= self._keepalive_at:
            self._keep_mapping(now)

    def transport_failed(self, reason: str, now: float) -> None:
        """The socket says that the server cannot be reached (see `is_hard_network_error`), or the connection is gone."""
        if self.state in _LIVE:
            self._life.fail(TransportFailed(f"the way to the server is broken: {reason}"), now)
        elif self.state is AllocationState.CLOSING:
            self._life.closed("transport failed")

    def moved(self, now: float) -> None:
        """Our address changed, the shell sends from another one now. Keeps the allocation if `mobility`, else makes it anew.

        A move announces itself by a Refresh with the ticket (RFC 8016 section 3.2); when the server does not take it, or there is
        none, `Lost` and later `Allocated` tell of the new allocation, or `Failed` when the configuration forbids one.
        """
        if self.state is AllocationState.ALLOCATED and self._life.ticket is not None:
            self._requester.reset()
            self._peers.pause(forget=False)
            self._tcp.reset(TransportFailed("the connection to the server changed"))
            self._life.move(now)
        elif self.state in _LIVE:
            self._life.lost(AllocationLost("our address changed, and the allocation cannot move"), now)

    def verify(self, now: float) -> None:
        """Ask now whether the server still knows the allocation, by a Refresh; nothing happens while one is on its way.

        For a shell that sends and hears nothing: a server that was started anew answers a Binding as before, and drops all data.
        """
        self._life.verify(now)

    def renew_credentials(self, credentials: LongTermCredentials, now: float) -> None:
        """Use these from now on.

        With the same username at once. With another one a live allocation keeps what it was made with for as long as the server
        takes that (RFC 8656 section 5 binds it to its username), and tries the new ones then.
        """
        self._life.renew(credentials, now)

    def close(self, now: float) -> None:
        """End the allocation on the server; `Closed` comes when it confirmed, or did not answer. Safe to call twice."""
        self._life.close(now)

    def take_outgoing(self) -> list[bytes]:
        """Return what is to be sent to the server, in this order."""
        taken = self._outgoing
        if taken:
            self._outgoing = []
        return taken

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, in this order."""
        taken = self._events
        if taken:
            self._events = []
        return taken

    def stats(self, now: float) -> AllocationStats:
        """Return counters and gauges."""
        peers, requester = self._peers, self._requester
        return AllocationStats(
            packets_sent=self._packets_sent + peers.indications_sent,
            bytes_sent=self._bytes_sent + peers.indication_bytes_sent,
            packets_received=self._packets_received + self._channel_packets_received,
            bytes_received=self._bytes_received,
            channel_packets_sent=self._packets_sent,
            channel_packets_received=self._channel_packets_received,
            requests=requester.sent,
            retransmissions=requester.retransmissions,
            timeouts=requester.timeouts,
            stale_nonces=requester.stale_nonces,
            allocation_refreshes=self._life.refreshes,
            permission_refreshes=peers.permission_refreshes,
            channel_refreshes=peers.channel_refreshes,
            reallocations=self._life.reallocations,
            icmp_errors=self._icmp_errors,
            peers=len(peers),
            channels=len(self._bound),
            queued_packets=peers.queued,
            rtt_s=self._rto.rtt_s(self.server, now),
            dropped=dict(self._dropped + peers.dropped),
        )

    def _check_live(self) -> None:
        if self.state not in _LIVE and self.state is not AllocationState.IDLE:
            raise NotAllocated(f"the allocation is {self.state.value}")

    def _send_slowly(self, peer: Address, data: bytes, now: float, *, dont_fragment: bool) -> None:
        self._check_live()
        if len(data) > _MAX_DATA_BYTES:
            raise _too_long()
        if self.config.tcp_relay:
            raise NotAllocated("an allocation for TCP relays no datagrams; see connect")
        self._peers.send(peer, data, now, dont_fragment=dont_fragment and self.dont_fragment)

    def _emit(self, data: bytes) -> None:
        self._emitted += 1
        self._outgoing.append(data)

    def _notify(self, event: Event) -> None:
        # What is not a datagram is bounded by the peers, each of which says something once per request.
        self._events.append(event)

    def _deliver(self, peer: Address, data: bytes, *, channel: bool) -> None:
        if self.on_data is not None:
            self.on_data(data, peer)
        elif len(self._events) < self.config.max_events:
            self._events.append(Received(peer, data, channel))
        else:
            self._dropped["events_full"] += 1

    def _changed(self, state: AllocationState, now: float) -> None:
        """The life took a turn: start, hold or forget the peers."""
        if state is AllocationState.ALLOCATED:
            if not self.config.reliable and self.config.keepalive_s > 0:
                self._keepalive_at = now + self.config.keepalive_s
            self._peers.start(self._life.families, now)
            return
        self._keepalive_at = math.inf
        self._tcp.reset(AllocationLost("the allocation is gone"))
        if state is AllocationState.ALLOCATING:
            self._peers.pause(forget=True)
        else:
            self._peers.clear()

    def _keep_mapping(self, now: float) -> None:
        """Keep the NAT's mapping towards the server when nothing else was sent (RFC 8656 section 3.8, RFC 8445 section 11)."""
        sent = self._emitted + self._packets_sent
        if sent == self._emitted_before:
            self._emit(build_message(Method.BINDING, MessageClass.INDICATION, self._random(12)))
            sent += 1
        self._emitted_before = sent
        self._keepalive_at = now + self.config.keepalive_s

    def _receive_other(self, data: bytes, number: int, now: float) -> None:
        if number & 0xC000 == 0x4000:
            self._dropped["unknown_channel"] += 1
            return
        try:
            message = parse_message(data)
        except StunError:
            self._dropped["bad_stun"] += 1
            return
        if message.message_class in (MessageClass.SUCCESS, MessageClass.ERROR):
            reason = self._requester.receive(message, now)
            if reason is not None:
                self._dropped[reason] += 1
        elif message.message_class is MessageClass.REQUEST or message.unknown_required():
            self._dropped["unexpected_message"] += 1
        elif message.method == Method.DATA:
            self._receive_indication(message)
        elif message.method == Method.CONNECTION_ATTEMPT and self.config.tcp_relay:
            self._receive_attempt(message)
        else:
            self._dropped["unexpected_message"] += 1

    def _receive_indication(self, message: StunMessage) -> None:
        data, icmp = message.get(Attribute.DATA), message.get(Attribute.ICMP)
        peer = self._peer_of(message)
        if peer is None:
            return
        self._peers.touch(peer)
        if icmp is not None:
            self._receive_icmp(peer, decode_icmp(icmp))
        elif data is not None:
            self._packets_received += 1
            self._bytes_received += len(data)
            self._deliver(peer, data, channel=False)
        else:
            self._dropped["bad_indication"] += 1

    def _receive_icmp(self, peer: Address, icmp: Icmp) -> None:
        self._icmp_errors += 1
        # One may come for every datagram that was sent.
        if len(self._events) < self.config.max_events:
            self._notify(IcmpReceived(peer, icmp.type, icmp.code, icmp.data))
        else:
            self._dropped["events_full"] += 1

    def _receive_attempt(self, message: StunMessage) -> None:
        peer = self._peer_of(message)
        connection_id = message.get(Attribute.CONNECTION_ID)
        if peer is None or connection_id is None:
            self._dropped["bad_indication"] += 1
        else:
            self._tcp.attempted(peer, int.from_bytes(connection_id, "big"))

    def _peer_of(self, message: StunMessage) -> Address | None:
        """The peer of an indication; None, and counted, without one or when it has no permission (RFC 8656 section 11.4)."""
        if self.state is not AllocationState.ALLOCATED:
            self._dropped["not_allocated"] += 1
            return None
        addresses = xor_addresses(message, Attribute.XOR_PEER_ADDRESS)
        if len(addresses) != 1:
            self._dropped["bad_indication"] += 1
            return None
        if not self._peers.permits(addresses[0][0]):
            self._dropped["no_permission"] += 1
            return None
        return addresses[0]


def _too_long() -> TurnError:
    return TurnError(f"a datagram carries at most {_MAX_DATA_BYTES} bytes", code="turn_data_too_long")
