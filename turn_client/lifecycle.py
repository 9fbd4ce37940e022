"""The life of an allocation: Allocate, Refresh before it expires, mobility, redirects, loss, and its end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from turn_client.attributes import (
    TCP_TRANSPORT,
    UDP_TRANSPORT,
    Family,
    alternate_server,
    encode_family,
    lifetime_of,
    unknown_attributes,
    xor_addresses,
)
from turn_client.config import AllocationConfig
from turn_client.credentials import LongTermCredentials
from turn_client.errors import (
    Address,
    AllocationLost,
    BadCredentials,
    BidDown,
    InsufficientCapacity,
    IntegrityViolated,
    NotAllocated,
    QuotaReached,
    RedirectLoop,
    ServerRefused,
    TransactionTimeout,
    TurnError,
)
from turn_client.events import Allocated, AllocationState, Closed, CredentialsRejected, Event, Failed, Lost, Moved, Redirected
from turn_client.redirects import RedirectGuard
from turn_client.requester import Outcome, Requester
from turn_client.stun import Attribute, Method, StunMessage

__all__ = ["Lifecycle"]

# RFC 8656 section 8: "about 1 minute before" the allocation expires; half of a lifetime that is too short for that.
_REFRESH_AHEAD_S = 60.0
# A server that grants less than this has no use; it also keeps hostile lifetimes from becoming a flood of requests.
_SHORTEST_LIFETIME_S = 2.0
# A day: longer promises are not worth believing.
_LONGEST_LIFETIME_S = 86_400.0
# How long after a failed Refresh the next one is tried, at the least.
_REFRESH_RETRY_S = 1.0
# Allocations that may be lost within a minute before we stop making new ones: the server is broken, or full of others like us.
_MAX_LOSSES, _LOSS_WINDOW_S = 3, 60.0
# How often one Allocate is repeated without what the server does not support: DONT-FRAGMENT, then mobility.
_MOBILITY_FORBIDDEN = 405
# The number that ADDITIONAL-ADDRESS-FAMILY had in drafts: coturn 4.6 knows no other. Servers ignore numbers from 0x8000 on that
# they do not know (RFC 8489 section 14), so both are sent.
_DRAFT_ADDITIONAL_ADDRESS_FAMILY = 0x8032

State = AllocationState


class Lifecycle:
    """What becomes of one allocation; ``changed`` is called at each turn that concerns the peers, ``notify`` with each event."""

    def __init__(
        self,
        config: AllocationConfig,
        server: Address,
        requester: Requester,
        redirects: RedirectGuard,
        *,
        notify: Callable[[Event], None],
        changed: Callable[[AllocationState, float], None],
    ) -> None:
        self._config = config
        self._server = server
        self._requester = requester
        self._redirects = redirects
        self._notify = notify
        self._changed = changed
        self.state = State.IDLE
        self.relayed: tuple[Address, ...] = ()
        self.mapped: Address | None = None
        self.lifetime_s = 0.0
        self.dont_fragment = config.dont_fragment
        self.ticket: bytes | None = None
        self.refreshes = 0
        self.reallocations = 0
        self._ask_mobility = config.mobility
        self._reservation_token = config.reservation_token
        self._rejected = False
        self._start_at = math.inf
        self._not_before = -math.inf
        self._refresh_at = math.inf
        self._expires_at = math.inf
        self._refreshing = False
        self._next_credentials: LongTermCredentials | None = None
        self._losses: deque[float] = deque(maxlen=_MAX_LOSSES)
        self._close_reason = "closed"

    @property
    def deadline(self) -> float:
        """When `tick` is needed next, infinity for never."""
        return min(self._start_at, self._refresh_at, self._expires_at)

    @property
    def families(self) -> frozenset[int]:
        """The address families that the server relays for us."""
        return frozenset(Family.IPV6 if ":" in host else Family.IPV4 for host, _ in self.relayed)

    def start(self, now: float) -> None:
        """Ask for the allocation, at once or when the server may be asked again."""
        if self.state not in (State.IDLE, State.FAILED):
            raise NotAllocated(f"start is for a new or failed allocation; this one is {self.state.value}")
        self.state = State.ALLOCATING
        if now < self._not_before:
            self._start_at = self._not_before
        else:
            self._allocate(now)

    def close(self, now: float) -> None:
        """End the allocation; the first reason counts."""
        if self.state is State.ALLOCATED:
            self.state = State.CLOSING
            self._requester.reset()
            self._stop_timers()
            self._changed(State.CLOSING, now)
            self._release(now)
        elif self.state is State.ALLOCATING and self._start_at == math.inf:
            # Whether the server has made it is not known: its answer decides.
            self.state = State.CLOSING
        elif self.state in (State.IDLE, State.ALLOCATING):
            self.closed("closed")

    def closed(self, reason: str) -> None:
        """The end that was asked for."""
        self._end(State.CLOSED)
        self._notify(Closed(reason))

    def fail(self, error: TurnError, now: float) -> None:
        """The end that was not asked for."""
        self._end(State.FAILED)
        self._changed(State.FAILED, now)
        self._notify(Failed(error))

    def lost(self, error: TurnError, now: float) -> None:
        """The server does not know the allocation: make another one, unless that is forbidden or happens too often."""
        if self.state is State.CLOSING:
            self.closed("closed")
            return
        if self.state not in (State.ALLOCATED, State.ALLOCATING):
            return
        lost = error if isinstance(error, AllocationLost) else AllocationLost(f"the server lost the allocation: {error.message}")
        often = len(self._losses) == _MAX_LOSSES and now - self._losses[0] < _LOSS_WINDOW_S
        self._losses.append(now)
        if often or not self._config.reallocate:
            self.fail(lost, now)
            return
        self._end(State.ALLOCATING)
        self.reallocations += 1
        self._changed(State.ALLOCATING, now)
        self._notify(Lost(lost))
        self._allocate(now)

    def move(self, now: float) -> None:
        """Present the ticket from the new address (RFC 8016 section 3.2)."""
        self._refresh(now, ticket=self.ticket)

    def verify(self, now: float) -> None:
        """Refresh now, to hear whether the server still knows the allocation."""
        if self.state is State.ALLOCATED and not self._refreshing:
            self._refresh(now)

    def renew(self, credentials: LongTermCredentials, now: float) -> None:
        """Take other credentials, at once when they are for the same user."""
        current = self._requester.authenticator.credentials
        live = self.state is State.ALLOCATED
        if live and credentials.username != current.username:
            self._next_credentials = credentials
        else:
            self._next_credentials = None
            self._requester.authenticator.renew(credentials)
            self._rejected = False
        if live and self._refresh_at == math.inf and not self._refreshing:
            # The last ones were rejected and refreshing had stopped.
            self._try_next_credentials()
            self._refresh(now)

    def credentials_refused(self, error: TurnError, now: float) -> bool:
        """Judge an error of a request; return whether other credentials are in place now, so that it may be repeated."""
        code = error.error_code if isinstance(error, ServerRefused) else 0
        if code == 401 and self._try_next_credentials():
            return True
        if code in (401, 441) and self.state is State.ALLOCATED:
            self._reject(error, now)
        return False

    def tick(self, now: float) -> None:
        """Start late, refresh, or notice the end of the lifetime."""
        if now >= self._start_at:
            self._start_at = math.inf
            self._allocate(now)
        if now >= self._expires_at:
            self.lost(AllocationLost("the allocation expired, because no refresh succeeded"), now)
        elif now >= self._refresh_at:
            self._refresh(now)

    def _reject(self, error: TurnError, now: float) -> None:
        """Say once that other credentials are needed: every request that follows is refused in the same way."""
        if not self._rejected:
            self._rejected = True
            self._notify(CredentialsRejected(error, max(self._expires_at - now, 0.0)))

    def _try_next_credentials(self) -> bool:
        if self._next_credentials is None:
            return False
        self._requester.authenticator.renew(self._next_credentials)
        self._next_credentials = None
        self._rejected = False
        return True

    def _end(self, state: AllocationState) -> None:
        self.state = state
        self.relayed = ()
        self.ticket = None
        self._rejected = False
        self._stop_timers()
        self._requester.reset()

    def _stop_timers(self) -> None:
        self._start_at = self._refresh_at = self._expires_at = math.inf
        self._refreshing = False

    def _allocate(self, now: float) -> None:
        self._redirects.asked(self._server, now)
        self._try_next_credentials()
        self._requester.request(Method.ALLOCATE, self._allocate_attributes, self._allocate_done, now, urgent=True)

    def _allocate_attributes(self, _transaction_id: bytes) -> list[tuple[int, bytes]]:
        config = self._config
        transport = TCP_TRANSPORT if config.tcp_relay else UDP_TRANSPORT
        attributes: list[tuple[int, bytes]] = [
            (Attribute.REQUESTED_TRANSPORT, transport),
            (Attribute.LIFETIME, config.lifetime_s.to_bytes(4, "big")),
        ]
        if self._reservation_token is not None:
            attributes.append((Attribute.RESERVATION_TOKEN, self._reservation_token))
        elif config.family == "ipv6":
            attributes.append((Attribute.REQUESTED_ADDRESS_FAMILY, encode_family(Family.IPV6)))
        elif config.family == "both":
            attributes.append((Attribute.ADDITIONAL_ADDRESS_FAMILY, encode_family(Family.IPV6)))
            attributes.append((_DRAFT_ADDITIONAL_ADDRESS_FAMILY, encode_family(Family.IPV6)))
        if config.even_port:
            attributes.append((Attribute.EVEN_PORT, b"\x80" if config.reserve else b"\0"))
        if self.dont_fragment:
            attributes.append((Attribute.DONT_FRAGMENT, b""))
        if self._ask_mobility:
            attributes.append((Attribute.MOBILITY_TICKET, b""))
        return attributes

    def _allocate_done(self, outcome: Outcome, now: float) -> None:
        if self.state is State.CLOSING:
            if outcome.error is None:
                self._release(now)
            else:
                self.closed("closed")
        elif outcome.error is not None:
            self._allocate_failed(outcome.error, outcome.message, now)
        elif outcome.message is not None:
            self._allocated(outcome.message, outcome.sent_at, now)

    def _allocated(self, message: StunMessage, sent_at: float, now: float) -> None:
        relayed = xor_addresses(message, Attribute.XOR_RELAYED_ADDRESS)
        mapped = message.mapped_address
        if not relayed or len(relayed) > 2 or mapped is None:
            self.fail(TurnError("the server allocated without saying which addresses", code="turn_bad_answer"), now)
            return
        self.state = State.ALLOCATED
        self.relayed = relayed
        self.mapped = mapped
        self.ticket = message.get(Attribute.MOBILITY_TICKET) if self._ask_mobility else None
        self._redirects.allocated()
        # It is used up: an allocation in place of this one takes any port.
        self._reservation_token = None
        if not self._live_until(message, sent_at, now):
            return
        self._notify(Allocated(relayed, mapped, self.lifetime_s, message.get(Attribute.RESERVATION_TOKEN)))
        self._changed(State.ALLOCATED, now)

    def _live_until(self, message: StunMessage, sent_at: float, now: float) -> bool:
        """Plan the next refresh by the granted lifetime; return whether the allocation lives at all."""
        granted = lifetime_of(message)
        lifetime_s = float(self._config.lifetime_s if granted is None else granted)
        if lifetime_s < _SHORTEST_LIFETIME_S:
            self.fail(AllocationLost(f"the server grants {lifetime_s:.0f} s, which is too short to be kept alive"), now)
            return False
        self.lifetime_s = min(lifetime_s, _LONGEST_LIFETIME_S)
        ahead_s = _REFRESH_AHEAD_S if self.lifetime_s >= 2 * _REFRESH_AHEAD_S else self.lifetime_s / 2
        self._expires_at = sent_at + self.lifetime_s
        self._refresh_at = max(self._expires_at - ahead_s, now + _REFRESH_RETRY_S)
        return True

    def _allocate_failed(self, error: TurnError, message: StunMessage | None, now: float) -> None:
        code = error.error_code if isinstance(error, ServerRefused) else 0
        if self.credentials_refused(error, now) or (message is not None and self._do_without(code, message)):
            self._allocate(now)
        elif code == 300 and message is not None:
            self._redirected(error, message, now)
        elif code == 437:
            # Somebody before us had this address of ours (RFC 8656 section 7.4): only the shell can take another one.
            lost = AllocationLost("the server holds another allocation for our address; another local port is needed")
            self.fail(lost, now)
        else:
            if isinstance(error, QuotaReached | InsufficientCapacity):
                self._not_before = now + error.retry_after_s
            self.fail(error, now)

    def _do_without(self, code: int, message: StunMessage) -> bool:
        """Give up an extension that the server refuses; return whether the request differs now."""
        unknown = unknown_attributes(message) if code == 420 else ()
        if self.dont_fragment and Attribute.DONT_FRAGMENT in unknown:
            self.dont_fragment = False
            return True
        if self._ask_mobility and (code == _MOBILITY_FORBIDDEN or Attribute.MOBILITY_TICKET in unknown):
            self._ask_mobility = False
            return True
        return False

    def _redirected(self, error: TurnError, message: StunMessage, now: float) -> None:
        to = alternate_server(message, self._server[0])
        if to is None:
            self.fail(error, now)
            return
        try:
            self._redirects.check(to, now)
        except RedirectLoop as loop:
            self.fail(loop, now)
            return
        domain = message.get(Attribute.ALTERNATE_DOMAIN)
        self._end(State.REDIRECTED)
        self._changed(State.REDIRECTED, now)
        self._notify(Redirected(to, None if domain is None else domain.decode()))

    def _refresh(self, now: float, ticket: bytes | None = None) -> None:
        if self._refreshing and ticket is None:
            self._refresh_at = math.inf
            return

        def make(_transaction_id: bytes) -> list[tuple[int, bytes]]:
            attributes: list[tuple[int, bytes]] = [(Attribute.LIFETIME, self._config.lifetime_s.to_bytes(4, "big"))]
            if ticket is not None:
                attributes.append((Attribute.MOBILITY_TICKET, ticket))
            return attributes

        self._refreshing = True
        self._refresh_at = math.inf
        self.refreshes += 1

        def done(outcome: Outcome, at: float) -> None:
            self._refresh_done(outcome, at, moving=ticket is not None)

        self._requester.request(Method.REFRESH, make, done, now, urgent=True)

    def _refresh_done(self, outcome: Outcome, now: float, *, moving: bool) -> None:
        self._refreshing = False
        error, message = outcome.error, outcome.message
        if error is None and message is not None:
            if not self._live_until(message, outcome.sent_at, now):
                return
            self.mapped = message.mapped_address or self.mapped
            if self.ticket is not None:
                self.ticket = message.get(Attribute.MOBILITY_TICKET) or self.ticket
            if moving:
                self._changed(State.ALLOCATED, now)
                if self.mapped is not None:
                    self._notify(Moved(self.mapped))
        elif error is not None:
            self._refresh_failed(error, now, moving=moving)

    def _refresh_failed(self, error: TurnError, now: float, *, moving: bool) -> None:
        code = error.error_code if isinstance(error, ServerRefused) else 0
        if self.credentials_refused(error, now):
            self._refresh(now, ticket=self.ticket if moving else None)
        elif code == 437 or (moving and (code or isinstance(error, IntegrityViolated))):
            # A server that does not know the ticket knows no user either, so its refusal of a move may be without integrity.
            self.lost(error, now)
        elif isinstance(error, BadCredentials | BidDown | IntegrityViolated) or code == 441:
            # Repeating it helps nothing; other credentials may come before the lifetime is over.
            self._reject(error, now)
        elif moving and isinstance(error, TransactionTimeout):
            # Requests for peers are held until the server knows the new address: go on asking until the lifetime is over.
            self._refresh(now, ticket=self.ticket)
        elif moving:
            self.lost(error, now)
        elif code:
            self._refresh_at = now + max((self._expires_at - now) / 2, _REFRESH_RETRY_S)
        elif now + _REFRESH_RETRY_S < self._expires_at:
            self._refresh_at = now + _REFRESH_RETRY_S
        else:
            self.fail(error, now)

    def _release(self, now: float) -> None:
        """Tell the server that the allocation is no longer needed (RFC 8656 section 8.1)."""

        def make(_transaction_id: bytes) -> list[tuple[int, bytes]]:
            return [(Attribute.LIFETIME, bytes(4))]

        self._requester.request(Method.REFRESH, make, lambda _outcome, _now: self.closed(self._close_reason), now, urgent=True)
