"""The peers of an allocation: permissions per address, channels per peer, and what waits for them.

Permissions are held by IP address, channels by address and port (RFC 8656 sections 9 and 12). Every request concerns one address or
one peer alone, so that one which the server refuses does no harm to others, and at most one is on its way for each.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from turn_client.attributes import canonical_peer
from turn_client.channels import ChannelNumbers
from turn_client.config import AllocationConfig
from turn_client.errors import Address, PeerRefused, ServerRefused, TooManyPeers, TransactionTimeout, TurnError
from turn_client.events import Event, PeerFailed, PeerReady
from turn_client.requester import Outcome, Requester
from turn_client.stun import Attribute, MessageClass, Method, build_message, encode_xor_address
from turn_client.timers import Timers
from turn_client.transactions import RELIABLE_TIMEOUT_S

__all__ = ["Peer", "PeerTable"]

# The share of a lifetime after which it is renewed: 240 s of the 300 s of a permission leave time for one whole transaction.
_RENEW_SHARE = 0.8
# How often, as a share of the lifetime, it is looked whether an idle peer has come back to life.
_CHECK_SHARE = 0.05
# How long nothing is asked again for an address that the server refused. An ICE agent gives up sooner.
_HOLD_OFF_S = 30.0
# Errors about the peer itself: a permission will not fare better than a channel (RFC 8656 sections 9.2 and 12.2).
_ABOUT_THE_PEER = frozenset({403, 443})
# How long a peer stays without a channel after the server refused one.
_CHANNEL_HOLD_OFF_S = 60.0


class _State(enum.Enum):
    NONE = "none"
    PENDING = "pending"
    READY = "ready"
    """Also while a refresh is on its way."""
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class _Permission:
    host: str
    family: int
    state: _State = _State.NONE
    in_flight: bool = False
    expires_at: float = -math.inf
    retry_at: float = -math.inf
    peers: dict[Address, Peer] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Peer:
    """One peer; ``number`` and ``active`` are what the path of every packet touches."""

    address: Address
    permission: _Permission
    number: int | None = None
    """Its channel number, also while that is being bound."""
    bound: bool = False
    """Whether we may send by the channel."""
    active: bool = True
    """Set by traffic, cleared by the check for idle peers."""
    active_at: float = 0.0
    pinned: bool = False
    channel_in_flight: bool = False
    channel_expires_at: float = -math.inf
    """Until when the channel is good for sending."""
    held_until: float = -math.inf
    """Until when the server may hold the number for this peer, whatever became of its answers."""
    channel_retry_at: float = -math.inf
    packets: int = 0
    """Datagrams sent before the channel was bound."""
    queue: deque[tuple[bytes, bool]] = field(default_factory=deque)


class PeerTable:
    """All peers of one allocation. ``bound`` and ``by_number`` are for the path of every packet; only this class changes them.

    ``lost`` is called when the server does not know the allocation any more; ``refused`` when it rejects the credentials, and
    returns whether others are tried, so that the request may be repeated.
    """

    def __init__(
        self,
        config: AllocationConfig,
        requester: Requester,
        *,
        random: Callable[[int], bytes],
        emit: Callable[[bytes], None],
        notify: Callable[[Event], None],
        lost: Callable[[TurnError, float], None],
        refused: Callable[[TurnError, float], bool],
    ) -> None:
        self._config = config
        self._requester = requester
        self._random = random
        self._emit = emit
        self._notify = notify
        self._lost = lost
        self._refused = refused
        self._numbers = ChannelNumbers()
        self._peers: dict[Address, Peer] = {}
        self._permissions: dict[str, _Permission] = {}
        self._timers: Timers[str | Address] = Timers()
        self._families: frozenset[int] = frozenset()
        self._running = False
        self._queued_bytes = 0
        self.bound: dict[Address, Peer] = {}
        self.by_number: dict[int, Peer] = {}
        self.dropped: Counter[str] = Counter()
        self.indications_sent = 0
        self.indication_bytes_sent = 0
        self.permission_refreshes = 0
        self.channel_refreshes = 0

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def deadline(self) -> float:
        """When `tick` is needed next, infinity for never."""
        return self._timers.next_s if self._running else math.inf

    @property
    def queued(self) -> int:
        """Datagrams that wait for a permission."""
        return sum(len(peer.queue) for peer in self._peers.values())

    def permits(self, host: str) -> bool:
        """Whether datagrams from this address are expected."""
        permission = self._permissions.get(host)
        return permission is not None and permission.state is not _State.REFUSED

    def touch(self, peer: Address) -> None:
        """Note traffic from a peer that came without a channel."""
        known = self._peers.get(peer)
        if known is not None:
            known.active = True

    def start(self, families: frozenset[int], now: float) -> None:
        """Begin to ask the server, which relays for these address families; also after `pause`."""
        self._families = families
        self._running = True
        for permission in list(self._permissions.values()):
            if permission.state is _State.READY and permission.host not in self._timers:
                self._timers.set(permission.host, now)
        for peer in list(self._peers.values()):
            if peer.permission.state is _State.READY:
                self._flush(peer)
            if peer.bound and peer.address not in self._timers:
                self._timers.set(peer.address, now)
            self._advance(peer, now)

    def pause(self, *, forget: bool) -> None:
        """Ask nothing until `start`; the requests on their way are forgotten by the caller.

        ``forget`` is for an allocation that is gone: its permissions and channels are, too, and are made anew after `start`.
        """
        self._running = False
        for permission in self._permissions.values():
            permission.in_flight = False
            if forget or permission.state is _State.PENDING:
                permission.state = _State.NONE
        for peer in self._peers.values():
            peer.channel_in_flight = False
        if not forget:
            return
        for peer in self._peers.values():
            # The number stays the peer's: a late request for the old allocation may still bind it in the new one.
            peer.bound, peer.channel_retry_at = False, -math.inf
        self.bound.clear()
        self.by_number.clear()
        self._timers = Timers()

    def clear(self) -> None:
        """Forget all peers: the allocation is over."""
        self.pause(forget=True)
        for peer in self._peers.values():
            self._unbind(peer)
        self._peers.clear()
        self._permissions.clear()
        self._queued_bytes = 0

    def send(self, address: Address, data: bytes, now: float, *, dont_fragment: bool) -> None:
        """Send to a peer without a channel, or by an indication because DF is asked for; queue while it has no permission."""
        peer = self._find(address, now)
        peer.active = True
        peer.packets += 1
        if peer.permission.state is _State.READY and self._running:
            self._indicate(peer, data, dont_fragment=dont_fragment)
            self._advance(peer, now)
            return
        if peer.permission.state is _State.REFUSED and now < peer.permission.retry_at:
            self.dropped["peer_refused"] += 1
            return
        self._enqueue(peer, data, dont_fragment=dont_fragment)
        self._advance(peer, now)

    def bind(self, address: Address, now: float) -> None:
        """Make and keep a permission and a channel for the peer, before any traffic."""
        peer = self._find(address, now)
        peer.pinned = True
        self._advance(peer, now)

    def tick(self, now: float) -> None:
        """Renew what is due and forget who is idle."""
        if not self._running:
            return
        for key in self._timers.due(now):
            if isinstance(key, str):
                permission = self._permissions.get(key)
                if permission is not None:
                    self._permission_due(permission, now)
            else:
                peer = self._peers.get(key)
                if peer is not None and peer.bound:
                    self._channel_due(peer, now)

    def _find(self, address: Address, now: float) -> Peer:
        peer = self._peers.get(address)
        if peer is not None:
            return peer
        canonical, family = canonical_peer(address)
        peer = self._peers.get(canonical)
        if peer is not None:
            return peer
        if len(self._peers) >= self._config.max_peers:
            raise TooManyPeers(f"the allocation serves {self._config.max_peers} peers, which is its max_peers")
        host = canonical[0]
        permission = self._permissions.get(host)
        if permission is None:
            permission = self._permissions[host] = _Permission(host, family)
        peer = self._peers[canonical] = permission.peers[canonical] = Peer(canonical, permission, active_at=now)
        if permission.state is _State.READY:
            self._notify(PeerReady(canonical, None))
        return peer

    def _enqueue(self, peer: Peer, data: bytes, *, dont_fragment: bool) -> None:
        queue, limit = peer.queue, self._config.max_queued_bytes - len(data)
        while queue and (len(queue) >= self._config.max_queued_packets or self._queued_bytes > limit):
            self._queued_bytes -= len(queue.popleft()[0])
            self.dropped["queue_full"] += 1
        if self._queued_bytes > limit:
            self.dropped["queue_full"] += 1
            return
        queue.append((data, dont_fragment))
        self._queued_bytes += len(data)

    def _flush(self, peer: Peer) -> None:
        while peer.queue:
            data, dont_fragment = peer.queue.popleft()
            self._queued_bytes -= len(data)
            self._indicate(peer, data, dont_fragment=dont_fragment)

    def _drop_queue(self, peer: Peer, reason: str) -> None:
        self.dropped[reason] += len(peer.queue)
        self._queued_bytes -= sum(len(data) for data, _ in peer.queue)
        peer.queue.clear()

    def _indicate(self, peer: Peer, data: bytes, *, dont_fragment: bool) -> None:
        transaction_id = self._random(12)
        attributes = [(Attribute.XOR_PEER_ADDRESS, encode_xor_address(*peer.address, transaction_id)), (Attribute.DATA, data)]
        if dont_fragment:
            attributes.append((Attribute.DONT_FRAGMENT, b""))
        self._emit(build_message(Method.SEND, MessageClass.INDICATION, transaction_id, attributes))
        self.indications_sent += 1
        self.indication_bytes_sent += len(data)

    def _advance(self, peer: Peer, now: float) -> None:
        """Ask for what the peer lacks next, unless that is on its way."""
        if not self._running:
            return
        permission = peer.permission
        if permission.state is _State.REFUSED:
            if now < permission.retry_at:
                return
            permission.state = _State.NONE
        if permission.family not in self._families:
            self._refuse(permission, ServerRefused(443, "no relayed address of this family", method="a peer"), now)
        elif permission.state is _State.NONE:
            permission.state = _State.PENDING
            # A ChannelBind makes the permission, too: one round trip for a peer that was announced.
            if not (peer.pinned and self._bind_channel(peer, now)):
                self._request_permission(permission, now)
        elif permission.state is _State.READY:
            self._bind_channel(peer, now)

    def _request_permission(self, permission: _Permission, now: float) -> None:
        def make(transaction_id: bytes) -> list[tuple[int, bytes]]:
            # The port is ignored by the server (RFC 8656 section 10.1).
            return [(Attribute.XOR_PEER_ADDRESS, encode_xor_address(permission.host, 0, transaction_id))]

        permission.in_flight = True
        self._requester.request(Method.CREATE_PERMISSION, make, partial(self._permission_done, permission), now)

    def _permission_done(self, permission: _Permission, outcome: Outcome, now: float) -> None:
        permission.in_flight = False
        error = outcome.error
        if error is None:
            self._renewed(permission, outcome.sent_at, now)
        elif self._is_lost(error):
            self._lost(error, now)
        elif self._refused(error, now) or (isinstance(error, TransactionTimeout) and now < permission.expires_at):
            self._request_permission(permission, now)
        elif isinstance(error, ServerRefused) or now >= permission.expires_at:
            self._refuse(permission, error, now)
        else:
            # An answer without sense, which the next request would get at once as well.
            self._timers.set(permission.host, now + _CHECK_SHARE * self._config.permission_lifetime_s)

    @staticmethod
    def _is_lost(error: TurnError) -> bool:
        return isinstance(error, ServerRefused) and error.error_code == 437

    def _renewed(self, permission: _Permission, sent_at: float, now: float) -> None:
        lifetime_s = self._config.permission_lifetime_s
        permission.expires_at = sent_at + lifetime_s
        # An answer that took long must not make the next request due at once, again and again.
        self._timers.set(permission.host, max(sent_at + _RENEW_SHARE * lifetime_s, now + _CHECK_SHARE * lifetime_s))
        if permission.state is _State.READY:
            return
        permission.state = _State.READY
        for peer in list(permission.peers.values()):
            self._notify(PeerReady(peer.address, None))
            self._flush(peer)
            self._advance(peer, now)

    def _refuse(self, permission: _Permission, error: TurnError, now: float) -> None:
        """Give up on an address for a while; what its peers had on the server is left to expire there."""
        permission.state = _State.REFUSED
        wait_s = error.retry_after_s if isinstance(error, ServerRefused) else 0.0
        permission.retry_at = now + max(_HOLD_OFF_S, wait_s)
        self._timers.set(permission.host, permission.retry_at)
        for peer in list(permission.peers.values()):
            self._drop_queue(peer, "peer_refused")
            if peer.number is not None and not peer.channel_in_flight:
                self._unbind(peer)
            shown = error
            if isinstance(error, ServerRefused):
                shown = PeerRefused(peer.address, error.error_code, error.reason)
            self._notify(PeerFailed(peer.address, shown))

    def _permission_due(self, permission: _Permission, now: float) -> None:
        peers = list(permission.peers.values())
        check_at = now + _CHECK_SHARE * self._config.permission_lifetime_s
        if permission.in_flight or any(peer.channel_in_flight for peer in peers):
            # A ChannelBind that is on its way renews the permission as well.
            self._timers.set(permission.host, check_at)
        elif permission.state is not _State.READY:
            self._forget(permission)
        elif all([self._is_idle(peer, now) for peer in peers]):
            if now < permission.expires_at:
                self._timers.set(permission.host, min(check_at, permission.expires_at))
            else:
                self._forget(permission)
        elif now < permission.expires_at:
            self.permission_refreshes += 1
            self._request_permission(permission, now)
        else:
            # The machine slept over it: what is sent from now on waits until there is a permission again.
            permission.state = _State.NONE
            for peer in peers:
                self._advance(peer, now)

    def _is_idle(self, peer: Peer, now: float) -> bool:
        if peer.active:
            peer.active, peer.active_at = False, now
        return not peer.pinned and now - peer.active_at >= self._config.idle_peer_s

    def _forget(self, permission: _Permission) -> None:
        for peer in permission.peers.values():
            if peer.number is not None:
                self._unbind(peer)
            del self._peers[peer.address]
        del self._permissions[permission.host]
        self._timers.cancel(permission.host)

    def _bind_channel(self, peer: Peer, now: float) -> bool:
        """Ask for a channel when the peer should have one; return whether a ChannelBind is on its way now."""
        after = self._config.channel_after_packets
        wanted = peer.pinned or 0 < after <= peer.packets
        if not wanted or self._config.tcp_relay or peer.bound or peer.channel_in_flight or now < peer.channel_retry_at:
            return peer.channel_in_flight
        if peer.number is None:
            peer.number = self._numbers.take(peer.address, now)
            if peer.number is None:
                peer.channel_retry_at = now + _CHANNEL_HOLD_OFF_S
                return False
        self._request_channel(peer, peer.number, now)
        return True

    def _request_channel(self, peer: Peer, number: int, now: float) -> None:
        def make(transaction_id: bytes) -> list[tuple[int, bytes]]:
            return [
                (Attribute.CHANNEL_NUMBER, number.to_bytes(2, "big") + b"\0\0"),
                (Attribute.XOR_PEER_ADDRESS, encode_xor_address(*peer.address, transaction_id)),
            ]

        peer.channel_in_flight = True
        peer.held_until = now + RELIABLE_TIMEOUT_S + self._config.channel_lifetime_s
        # ChannelData may come before the answer to the request (RFC 8656 section 12.1), or without it when that gets lost.
        self.by_number[number] = peer
        self._requester.request(Method.CHANNEL_BIND, make, partial(self._channel_done, peer, number), now)

    def _channel_done(self, peer: Peer, number: int, outcome: Outcome, now: float) -> None:
        peer.channel_in_flight = False
        error = outcome.error
        if error is None:
            self._channel_bound(peer, number, outcome.sent_at, now)
        elif self._is_lost(error):
            self._lost(error, now)
        elif self._refused(error, now) or (isinstance(error, TransactionTimeout) and now < peer.channel_expires_at):
            self._request_channel(peer, number, now)
        else:
            self._channel_failed(peer, error, now)

    def _channel_bound(self, peer: Peer, number: int, sent_at: float, now: float) -> None:
        lifetime_s = self._config.channel_lifetime_s
        peer.channel_expires_at = sent_at + lifetime_s
        renew_s = _RENEW_SHARE * min(lifetime_s, self._config.permission_lifetime_s)
        # Set before the timer of the permission: at the same instant the channel is renewed and takes the permission along.
        self._timers.set(peer.address, max(sent_at + renew_s, now + renew_s * _CHECK_SHARE))
        peer.held_until = now + lifetime_s
        fresh = not peer.bound
        peer.bound = True
        self.bound[peer.address] = peer
        self._renewed(peer.permission, sent_at, now)
        if fresh:
            self._notify(PeerReady(peer.address, number))

    def _channel_failed(self, peer: Peer, error: TurnError, now: float) -> None:
        """Go on without a channel. Whether the peer is refused altogether is decided by its permission."""
        code = error.error_code if isinstance(error, ServerRefused) else 0
        wait_s = error.retry_after_s if isinstance(error, ServerRefused) else 0.0
        peer.channel_retry_at = now + max(_CHANNEL_HOLD_OFF_S, wait_s)
        if peer.bound and now < peer.channel_expires_at:
            # The server uses it until then, and so do we.
            self._timers.set(peer.address, peer.channel_expires_at)
        elif peer.bound or code:
            self._unbind(peer, refused_at=now if code else None)
        # Otherwise no answer came: the number stays this peer's, and is asked for again.
        permission = peer.permission
        if code in _ABOUT_THE_PEER:
            self._refuse(permission, error, now)
        elif permission.state is _State.PENDING and not permission.in_flight:
            self._request_permission(permission, now)
        elif permission.state is _State.READY and not permission.in_flight:
            self._timers.set(permission.host, now)

    def _channel_due(self, peer: Peer, now: float) -> None:
        if peer.channel_in_flight:
            return
        if now >= peer.channel_expires_at:
            self._unbind(peer)
            self._advance(peer, now)
        elif self._is_idle(peer, now):
            # The server goes on to use the channel: what comes by it counts as traffic and keeps it.
            check_s = _CHECK_SHARE * self._config.permission_lifetime_s
            self._timers.set(peer.address, min(now + check_s, peer.channel_expires_at))
        elif peer.number is not None:
            self.channel_refreshes += 1
            self._request_channel(peer, peer.number, now)

    def _unbind(self, peer: Peer, *, refused_at: float | None = None) -> None:
        """Give the number back; ``refused_at`` when the server said that it is not bound."""
        if peer.number is not None:
            if refused_at is None:
                self._numbers.release(peer.number, peer.held_until, peer.address)
            else:
                self._numbers.release(peer.number, refused_at, None)
            self.by_number.pop(peer.number, None)
        self.bound.pop(peer.address, None)
        self._timers.cancel(peer.address)
        peer.number, peer.bound = None, False
