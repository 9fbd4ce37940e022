"""Requests with authentication: signing, 401 and 438, integrity of the answers, and a window of open transactions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from turn_client.credentials import Authenticator, SecurityFeature, Signature, nonce_features
from turn_client.errors import (
    Address,
    BadCredentials,
    IntegrityViolated,
    ServerRefused,
    TransactionTimeout,
    TurnError,
    refusal,
)
from turn_client.stun import Attribute, MessageClass, Method, StunMessage
from turn_client.transactions import RtoCache, Transaction, TransactionTable

__all__ = ["AttributeMaker", "Outcome", "Requester"]

# RFC 8489 section 6.2.1: a client "SHOULD limit itself to ten outstanding transactions to the same server".
_MAX_OPEN = 10
# Nonces that may turn stale under one request. A server whose nonces live shorter than four round trips cannot be used.
_MAX_STALE = 4
# A 401 is answered when it changes what the request is signed with; a server that changes its realm every time ends here.
_MAX_CHALLENGES = 3
# RFC 8656 section 7.4 and its errata leave open whether 441 can be signed; coturn refuses before it looks at the integrity.
_UNSIGNED_ERRORS = frozenset({401, 438, 441})

AttributeMaker = Callable[[bytes], list[tuple[int, bytes]]]
"""Makes the attributes of a request for a transaction id, with which peer addresses are masked."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: with a success response, or with an error and maybe the response that says so."""

    message: StunMessage | None
    error: TurnError | None
    sent_at: float
    """When the answered request was sent first: what the server granted counts from then at the earliest."""


class _Request:
    __slots__ = ("challenges", "done", "make", "method", "signature", "stale", "violated")

    def __init__(self, method: Method, make: AttributeMaker, done: Callable[[Outcome, float], None]) -> None:
        self.method = method
        self.make = make
        self.done = done
        self.signature: Signature | None = None
        self.stale = 0
        self.challenges = 0
        self.violated = False


class Requester:
    """Sends requests to one server and matches their answers; without I/O.

    ``emit`` takes datagrams (or frames) for the server, ``random`` gives that many unpredictable bytes.
    """

    def __init__(
        self,
        server: Address,
        authenticator: Authenticator,
        *,
        reliable: bool,
        software: str,
        random: Callable[[int], bytes],
        rto: RtoCache,
        emit: Callable[[bytes], None],
    ) -> None:
        self._server = server
        self._reliable = reliable
        self._software = software.encode()
        self._random = random
        self._rto = rto
        self.authenticator = authenticator
        self._table = TransactionTable(emit)
        self._requests: dict[bytes, _Request] = {}
        # Bounded by whoever asks: an allocation has at most two requests per peer and a few of its own.
        self._waiting: deque[_Request] = deque()
        self.sent = 0
        self.timeouts = 0
        self.stale_nonces = 0

    @property
    def deadline(self) -> float:
        """When `tick` is needed next, infinity for never."""
        return self._table.deadline

    @property
    def retransmissions(self) -> int:
        """How many datagrams were sent again."""
        return self._table.retransmissions

    def request(
        self, method: Method, make: AttributeMaker, done: Callable[[Outcome, float], None], now: float, *, urgent: bool = False
    ) -> None:
        """Send a request, or keep it until fewer are open; ``urgent`` ones never wait. ``done`` is called once, unless `reset`."""
        request = _Request(method, make, done)
        if urgent or len(self._requests) < _MAX_OPEN:
            self._open(request, now)
        else:
            self._waiting.append(request)

    def reset(self) -> None:
        """Forget every request without telling who asked."""
        for transaction_id in self._requests:
            self._table.close(transaction_id)
        self._requests.clear()
        self._waiting.clear()

    def receive(self, message: StunMessage, now: float) -> str | None:
        """Take a response; return the reason when it was dropped."""
        request = self._requests.get(message.transaction_id)
        if request is None or request.method != message.method:
            return "unknown_transaction"
        reason = self._why_ignored(request, message)
        # Over a reliable transport no other answer will come: a bad one ends the request (RFC 8489 section 9.2.5).
        violated = reason == "bad_integrity" and self._reliable
        if reason is not None and not violated:
            return reason
        transaction = self._close(message.transaction_id)
        if transaction is None:
            return "unknown_transaction"
        rtt_s = transaction.rtt_s(now)
        if rtt_s is not None:
            self._rto.sample(self._server, rtt_s, now)
        if violated:
            error = IntegrityViolated(f"the answer to {request.method.name} has not the right message integrity")
            request.done(Outcome(None, error, transaction.started_at), now)
        else:
            self._answered(request, transaction, message, now)
        self._fill(now)
        return None

    def tick(self, now: float) -> None:
        """Retransmit and time out what is due."""
        for transaction in self._table.tick(now):
            request = self._requests.pop(transaction.transaction_id, None)
            if request is None:
                # One that timed out a moment ago ended everything.
                continue
            self.timeouts += 1
            error: TurnError = TransactionTimeout(f"the server did not answer {request.method.name}")
            if request.violated:
                error = IntegrityViolated(f"no answer to {request.method.name} had the right message integrity")
            request.done(Outcome(None, error, transaction.started_at), now)
        self._fill(now)

    def _fill(self, now: float) -> None:
        while self._waiting and len(self._requests) < _MAX_OPEN:
            self._open(self._waiting.popleft(), now)

    def _open(self, request: _Request, now: float) -> None:
        transaction_id = self._random(12)
        attributes = request.make(transaction_id)
        if self._software:
            attributes.append((Attribute.SOFTWARE, self._software))
        data, request.signature = self.authenticator.build(request.method, transaction_id, attributes)
        request.violated = False
        self._requests[transaction_id] = request
        self.sent += 1
        rto_s = self._rto.rto_s(self._server, now)
        self._table.open(Transaction(transaction_id, data, now, rto_s=rto_s, reliable=self._reliable))

    def _close(self, transaction_id: bytes) -> Transaction | None:
        self._requests.pop(transaction_id, None)
        return self._table.close(transaction_id)

    def _why_ignored(self, request: _Request, message: StunMessage) -> str | None:
        """Judge the protection of a response (RFC 8489 section 9.2.5); None when it may be believed."""
        code = message.error[0] if message.error is not None else 0
        if message.message_class is MessageClass.ERROR and code in _UNSIGNED_ERRORS:
            return None
        nonce = message.get(Attribute.NONCE)
        if (
            nonce is not None
            and SecurityFeature.PASSWORD_ALGORITHMS in nonce_features(nonce)
            and message.get(Attribute.PASSWORD_ALGORITHMS) is None
        ):
            return "bid_down"
        if request.signature is None or request.signature.verifies(message):
            return None
        request.violated = True
        return "bad_integrity"

    def _answered(self, request: _Request, transaction: Transaction, message: StunMessage, now: float) -> None:
        error = self._flaw(message)
        if error is None and message.message_class is MessageClass.ERROR:
            error = self._retry(request, message, now)
            if error is None:
                return
        request.done(Outcome(message, error, transaction.started_at), now)

    @staticmethod
    def _flaw(message: StunMessage) -> TurnError | None:
        if message.unknown_required():
            return TurnError("the answer has attributes that must be understood and are not known", code="turn_unknown_attribute")
        if message.message_class is MessageClass.ERROR and message.error is None:
            return TurnError("the error response has no error code", code="turn_bad_answer")
        return None

    def _retry(self, request: _Request, message: StunMessage, now: float) -> TurnError | None:
        """Send the request again when the error asks for that; otherwise return the error."""
        code, reason = message.error or (500, "")
        if code not in (401, 438):
            return refusal(code, reason, method=request.method.name)
        used = request.signature
        try:
            self.authenticator.learn(message)
            if code == 438:
                self.stale_nonces += 1
                request.stale += 1
                if request.stale > _MAX_STALE:
                    return ServerRefused(code, reason, method=request.method.name)
            else:
                request.challenges += 1
                if request.challenges > _MAX_CHALLENGES or (used is not None and self.authenticator.key() == used.key):
                    return BadCredentials(code, reason, method=request.method.name)
        except TurnError as error:
            return error
        self._open(request, now)
        return None
