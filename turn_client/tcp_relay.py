"""TCP connections through the relay (RFC 6062): the control side, and the first bytes of each data connection."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from functools import partial

from turn_client.attributes import canonical_peer
from turn_client.config import AllocationConfig
from turn_client.credentials import Authenticator
from turn_client.errors import Address, PeerRefused, ServerRefused, TooManyPeers, TransportFailed, TurnError
from turn_client.events import ConnectionAttempt, ConnectionFailed, ConnectionReady, Event
from turn_client.requester import Outcome, Requester
from turn_client.stun import MAGIC_COOKIE, Attribute, Method, StunError, encode_xor_address, parse_message
from turn_client.transactions import RtoCache

__all__ = ["BinderState", "ConnectionBinder", "TcpRelay"]

_HEADER_BYTES = 20
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")


class TcpRelay:
    """Asks the server to connect to peers, and hears of peers that connected; connections are the shell's from there on."""

    def __init__(
        self,
        config: AllocationConfig,
        requester: Requester,
        *,
        notify: Callable[[Event], None],
        lost: Callable[[TurnError, float], None],
    ) -> None:
        self._config = config
        self._requester = requester
        self._notify = notify
        self._lost = lost
        # One connection per peer at a time (RFC 6062 section 5.2 answers 446 to a second); bounded by max_peers.
        self._connecting: set[Address] = set()

    def connect(self, address: Address, now: float) -> None:
        """Ask for a connection; nothing happens when the same is being asked for already."""
        peer, _ = canonical_peer(address)
        if peer in self._connecting:
            return
        if len(self._connecting) >= self._config.max_peers:
            raise TooManyPeers(f"{self._config.max_peers} connections are being made, which is max_peers")
        self._connecting.add(peer)

        def make(transaction_id: bytes) -> list[tuple[int, bytes]]:
            return [(Attribute.XOR_PEER_ADDRESS, encode_xor_address(*peer, transaction_id))]

        self._requester.request(Method.CONNECT, make, partial(self._connected, peer), now)

    def attempted(self, peer: Address, connection_id: int) -> None:
        """A peer connected to the relayed address."""
        self._notify(ConnectionAttempt(peer, connection_id))

    def reset(self, error: TurnError) -> None:
        """Connections that were being made will not come: their requests are forgotten."""
        for peer in sorted(self._connecting):
            self._notify(ConnectionFailed(peer, error))
        self._connecting.clear()

    def _connected(self, peer: Address, outcome: Outcome, now: float) -> None:
        self._connecting.discard(peer)
        error = outcome.error
        connection_id = None if outcome.message is None else outcome.message.get(Attribute.CONNECTION_ID)
        if error is None and connection_id is not None:
            self._notify(ConnectionReady(peer, int.from_bytes(connection_id, "big")))
            return
        if error is None:
            error = TurnError("the server connected without naming the connection", code="turn_bad_answer")
        elif isinstance(error, ServerRefused):
            shown = PeerRefused(peer, error.error_code, error.reason, method="a connection")
            self._notify(ConnectionFailed(peer, shown))
            if error.error_code == 437:
                self._lost(error, now)
            return
        self._notify(ConnectionFailed(peer, error))


class BinderState(enum.Enum):
    """The life of a data connection until it is the peer's."""

    IDLE = "idle"
    BINDING = "binding"
    BOUND = "bound"
    FAILED = "failed"


class ConnectionBinder:
    """Turns a fresh TCP (or TLS) connection to the server into the data connection ``connection_id`` (RFC 6062 section 4.3).

    Bytes of the stream go into `receive`; once `state` is BOUND everything is the peer's and `receive` returns it. The shell then
    needs this object no more. FAILED has its reason in `error`.
    """

    def __init__(
        self,
        connection_id: int,
        server: Address,
        authenticator: Authenticator,
        *,
        random: Callable[[int], bytes],
        rto: RtoCache,
        software: str = "",
    ) -> None:
        self.connection_id = connection_id
        self.state = BinderState.IDLE
        self.error: TurnError | None = None
        self._outgoing: list[bytes] = []
        self._buffer = bytearray()
        self._requester = Requester(
            server, authenticator, reliable=True, software=software, random=random, rto=rto, emit=self._outgoing.append
        )

    @property
    def deadline(self) -> float:
        """When `tick` is needed next, infinity for never."""
        return self._requester.deadline if self.state is BinderState.BINDING else math.inf

    def start(self, now: float) -> None:
        """Ask for the connection."""
        self.state = BinderState.BINDING

        def make(_transaction_id: bytes) -> list[tuple[int, bytes]]:
            return [(Attribute.CONNECTION_ID, self.connection_id.to_bytes(4, "big"))]

        self._requester.request(Method.CONNECTION_BIND, make, self._done, now)

    def receive(self, data: bytes, now: float) -> bytes:
        """Take bytes of the stream; return those that come from the peer."""
        if self.state is BinderState.BOUND:
            return data
        # Bounded by one STUN message and what came in the same read.
        self._buffer += data
        self._read_answers(now)
        return self._rest()

    def _read_answers(self, now: float) -> None:
        while self.state is BinderState.BINDING and len(self._buffer) >= _HEADER_BYTES:
            if self._buffer[4:8] != _COOKIE:
                self._fail(TransportFailed("the server sent something else than STUN"))
                return
            length = _HEADER_BYTES + int.from_bytes(self._buffer[2:4], "big")
            if len(self._buffer) < length:
                return
            frame = bytes(self._buffer[:length])
            del self._buffer[:length]
            try:
                self._requester.receive(parse_message(frame), now)
            except StunError as error:
                self._fail(TransportFailed(f"the server sent malformed STUN: {error.message}"))

    def _rest(self) -> bytes:
        if self.state is not BinderState.BOUND:
            return b""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def tick(self, now: float) -> None:
        """Give up when the server does not answer."""
        self._requester.tick(now)

    def take_outgoing(self) -> list[bytes]:
        """Return what is to be written to the connection."""
        taken = list(self._outgoing)
        self._outgoing.clear()
        return taken

    def _done(self, outcome: Outcome, _now: float) -> None:
        if outcome.error is None:
            self.state = BinderState.BOUND
        else:
            self._fail(outcome.error)

    def _fail(self, error: TurnError) -> None:
        self.state = BinderState.FAILED
        self.error = error
        self._buffer.clear()
        self._requester.reset()
