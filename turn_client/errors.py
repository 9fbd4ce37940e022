"""What can go wrong between a TURN client, its server and its peers.

::

    SalamError
    └── TurnError
        ├── TransactionTimeout      the server did not answer
        ├── TransportFailed         the socket or the network said that the server cannot be reached
        ├── IntegrityViolated       only answers with a wrong or missing integrity came
        ├── BidDown                 the answer hides a protection that its own nonce announces
        ├── RedirectLoop            a 300 leads to a server that was asked a moment ago
        ├── AllocationLost          the server no longer knows the allocation
        ├── PeerUnreachable         the network told the server that a peer cannot be reached
        ├── BadPeer                 an address that no datagram can be relayed to (misuse)
        ├── TooManyPeers            the bound on peers of one allocation was reached
        ├── NotAllocated            the operation needs a live allocation of that kind (misuse)
        └── ServerRefused           the server answered with an error code
            ├── BadCredentials      401 to a request that was signed
            ├── QuotaReached        486
            ├── InsufficientCapacity 508
            └── PeerRefused         an error that concerns one peer only

Codes are stable; messages name neither secrets nor addresses (addresses are attributes of the errors).
"""

from __future__ import annotations

import errno

from salam.errors import SalamError

__all__ = [
    "Address",
    "AllocationLost",
    "BadCredentials",
    "BadPeer",
    "BidDown",
    "InsufficientCapacity",
    "IntegrityViolated",
    "NotAllocated",
    "PeerRefused",
    "PeerUnreachable",
    "QuotaReached",
    "RedirectLoop",
    "ServerRefused",
    "TooManyPeers",
    "TransactionTimeout",
    "TransportFailed",
    "TurnError",
    "is_hard_network_error",
    "refusal",
]

Address = tuple[str, int]
"""An IP address in its canonical text form, and a port."""

# RFC 8489 section 6.2.1: a hard ICMP error ends the transaction. These are what the socket layer makes of such errors; anything
# else (a full buffer, a packet too big for the path) says nothing about the server.
_HARD = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)


class TurnError(SalamError):
    """Base of all errors of this package; ``retryable`` says whether the same may succeed later."""

    default_code = "turn_error"


class TransactionTimeout(TurnError):
    """All retransmissions of a request stayed without an answer (RFC 8489 section 6.2)."""

    default_code = "turn_timeout"
    default_retryable = True


class TransportFailed(TurnError):
    """The way to the server is broken: an ICMP error, a closed connection, a failed handshake."""

    default_code = "turn_transport_failed"
    default_retryable = True


class IntegrityViolated(TurnError):
    """Answers came, but none with the right message integrity (RFC 8489 section 9.2.5)."""

    default_code = "turn_integrity_violated"


class BidDown(TurnError):
    """The nonce announces a security feature that the rest of the answer lacks: somebody removed it on the way (RFC 8489 9.2.5)."""

    default_code = "turn_bid_down"


class RedirectLoop(TurnError):
    """The server redirects to one that was already asked within five minutes, or too often (RFC 8489 section 10)."""

    default_code = "turn_redirect_loop"
    default_retryable = True


class AllocationLost(TurnError):
    """The server ended the allocation, or let it expire because its refreshes did not arrive."""

    default_code = "turn_allocation_lost"
    default_retryable = True


class BadPeer(TurnError):
    """The address cannot be a peer: not an IP address, multicast, unspecified, port zero, or of a family without a relay."""

    default_code = "turn_bad_peer"


class TooManyPeers(TurnError):
    """The allocation serves as many peers as its configuration allows."""

    default_code = "turn_too_many_peers"
    default_retryable = True


class NotAllocated(TurnError):
    """The operation does not fit the state or the kind of the allocation."""

    default_code = "turn_not_allocated"


class PeerUnreachable(TurnError):
    """An ICMP message about a datagram that was relayed to ``peer`` (RFC 8656 section 11.6)."""

    default_code = "turn_peer_unreachable"
    default_retryable = True

    def __init__(self, peer: Address, icmp_type: int, icmp_code: int) -> None:
        super().__init__(f"the network cannot deliver to the peer: ICMP type {icmp_type}, code {icmp_code}")
        self.peer = peer
        self.icmp_type = icmp_type
        self.icmp_code = icmp_code


class ServerRefused(TurnError):
    """The server answered with ``error_code`` (RFC 8489 section 14.8, RFC 8656 section 19).

    ``reason`` is the server's own text, cut short; it is hostile input and shown as it is only with ``repr``.
    ``retry_after_s`` is how long the same request must not be repeated, 0 when nothing says so.
    """

    default_code = "turn_refused"

    def __init__(self, error_code: int, reason: str, *, method: str = "request", retry_after_s: float = 0.0) -> None:
        self.error_code = error_code
        # The text goes into logs: more than this is not a reason phrase.
        self.reason = reason[:128]
        self.retry_after_s = retry_after_s
        again = self.default_retryable or 500 <= error_code < 600
        super().__init__(f"the server refused {method} with {error_code} {self.reason!r}", retryable=again)


class BadCredentials(ServerRefused):
    """The server does not accept the username and password: a signed request was answered with 401."""

    default_code = "turn_bad_credentials"


class QuotaReached(ServerRefused):
    """486: the user has as many allocations as allowed. Not to be repeated for a minute (RFC 8656 section 7.4)."""

    default_code = "turn_quota_reached"
    default_retryable = True


class InsufficientCapacity(ServerRefused):
    """508: the server cannot take more. Not to be repeated for a minute (RFC 8656 section 7.4)."""

    default_code = "turn_insufficient_capacity"
    default_retryable = True


class PeerRefused(ServerRefused):
    """The server relays nothing to ``peer``; other peers of the allocation are not concerned."""

    default_code = "turn_peer_refused"

    def __init__(self, peer: Address, error_code: int, reason: str, *, method: str = "a permission") -> None:
        super().__init__(error_code, reason, method=method)
        self.peer = peer


# RFC 8656 section 7.4: "the client SHOULD wait at least one minute before trying to create any more allocations with this server".
_CAPACITY_WAIT_S = 60.0


def refusal(error_code: int, reason: str, *, method: str) -> ServerRefused:
    """Return the error that stands for this error code."""
    if error_code == 486:
        return QuotaReached(error_code, reason, method=method, retry_after_s=_CAPACITY_WAIT_S)
    if error_code == 508:
        return InsufficientCapacity(error_code, reason, method=method, retry_after_s=_CAPACITY_WAIT_S)
    if error_code == 401:
        return BadCredentials(error_code, reason, method=method)
    return ServerRefused(error_code, reason, method=method)


def is_hard_network_error(error: OSError) -> bool:
    """Whether a socket error means that the server cannot be reached, so that its transactions end (RFC 8489 section 6.2.1)."""
    return error.errno in _HARD
