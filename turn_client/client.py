"""The TURN client: a datagram endpoint whose address is on a server, and which outlives that server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal

from salam.errors import ClosedError
from salam.tasks import TaskOwner
from turn_client.config import AllocationConfig
from turn_client.dial import ClientConfig, Dialer
from turn_client.errors import Address, AllocationLost, TurnError
from turn_client.events import (
    Allocated,
    ConnectionAttempt,
    ConnectionFailed,
    ConnectionReady,
    CredentialsRejected,
    Event,
    Failed,
    IcmpReceived,
    PeerFailed,
    PeerReady,
    Redirected,
)
from turn_client.keeper import CredentialKeeper, Credentials, FixedCredentials
from turn_client.relay_events import ClientStats, RelayChanged, RelayEvent, RelayLost, RelayMoved
from turn_client.resolution import ServerEndpoint
from turn_client.session import Session
from turn_client.streams import PeerStreams
from turn_client.uri import ServerUri

__all__ = ["TurnClient", "connect"]

_log = logging.getLogger("salam.turn_client")

# Between two tries to get a relay, doubled each time and spread by chance: the clients of a server that restarts must not come
# back in one moment. A call waits meanwhile, so the pauses stay short.
_RETRY_FIRST_S = 0.25
_RETRY_MAX_S = 2.0
# A silent server is not replaced more often than this when no other one can be had.
_SUSPICION_PAUSE_S = 1.0


class TurnClient:
    """Relays datagrams through a TURN server.

    ::

        async with TurnClient(["turn:turn.example.org"], ("alice", "secret")) as relay:
            relay.send_to(b"hello", ("192.0.2.7", 4000))
            data, peer = await relay.receive()

    ``servers`` are URIs (RFC 7065), the preferred first; UDP, TCP and TLS and all of their addresses race with a head start for the
    preferred ones. ``credentials`` are a username and password, `RestCredentials`, or a function that fetches them, which is called
    again before they expire. ``family`` is that of the relayed address. ``mobility`` lets the relay survive a change of our own
    address where the server can do that (RFC 8016). ``tcp_relay`` relays TCP connections in place of datagrams (RFC 6062), see
    `connect_to` and `accept`. ``allocation`` and ``config`` hold everything rarer.

    With ``on_data`` datagrams are handed to that function as they come, and `receive` is of no use; ``on_event`` gets a
    `RelayEvent`. Both are called from the event loop and must not block.
    """

    def __init__(
        self,
        servers: Sequence[str | ServerUri],
        credentials: Credentials,
        *,
        family: Literal["ipv4", "ipv6", "both"] | None = None,
        mobility: bool = False,
        tcp_relay: bool = False,
        allocation: AllocationConfig | None = None,
        config: ClientConfig | None = None,
        on_data: Callable[[bytes, Address], None] | None = None,
        on_event: Callable[[RelayEvent], None] | None = None,
    ) -> None:
        self._config = config or ClientConfig()
        self._keeper = CredentialKeeper(credentials)
        self._dialer = Dialer(servers, self._config)
        self._template = allocation
        self._family: Literal["ipv4", "ipv6", "both"] | None = family
        self._mobility = mobility
        self._tcp_relay = tcp_relay
        self._on_event = on_event
        self._inbox: deque[tuple[bytes, Address]] = deque(maxlen=self._config.max_unread)
        self._arrival: asyncio.Future[None] | None = None
        # Straight to the owner: a call less for every datagram.
        self.data_received = on_data or self._store
        self._tasks = TaskOwner("turn_client")
        self._session: Session | None = None
        self._relayed: tuple[Address, ...] = ()
        self._mapped: Address | None = None
        self._lost: TurnError | None = None
        self._must_move = False
        self._moving = asyncio.Lock()
        self._final: Exception | None = None
        self._wake = asyncio.Event()
        # Asked for by `bind`, to be bound again on the next relay; as many as an allocation can have peers.
        self._bound: OrderedDict[Address, None] = OrderedDict()
        self._binding: dict[Address, asyncio.Future[None]] = {}
        self._streams = PeerStreams()
        self._stats = ClientStats()

    async def __aenter__(self) -> TurnClient:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def open(self) -> None:
        """Get a relay from the first server that gives one.

        Raises TurnError, that of the most preferred server, when none does, and ClosedError after `close`.
        """
        if self._final is not None:
            raise ClosedError("the TURN client is closed")
        if self._session is not None:
            return
        try:
            self._adopt(await self._dial())
        except BaseException:
            await self._tasks.close()
            await self._dialer.close()
            raise
        self._tasks.spawn(self._supervise(), name="supervise")
        if self._keeper.renews:
            self._tasks.spawn(self._renew(), name="renew")

    async def close(self) -> None:
        """Give the relay back and close everything; safe to call twice."""
        if not isinstance(self._final, ClosedError):
            self._end(ClosedError("the TURN client is closed"))
        await self._tasks.close()
        session, self._session = self._session, None
        if session is not None:
            session.close()
            await session.wait_closed()
        await self._dialer.close()

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """Where peers reach us: one address, or the IPv4 and the IPv6 one; empty before `open`."""
        return self._relayed

    @property
    def mapped_address(self) -> Address | None:
        """Our own address as the server sees it."""
        return self._mapped

    @property
    def server(self) -> ServerEndpoint | None:
        """The server that relays now; None while there is none."""
        return None if self._session is None else self._session.endpoint

    def send_to(self, data: bytes, address: Address) -> None:
        """Send one datagram to the peer at ``address``, an IP address in its canonical form.

        Never waits: while the permission is on its way, the socket is full, or the relay is being replaced, old datagrams make room
        for new ones, see `stats`. Raises ClosedError when the client is closed or has given up, and TurnError for an address that
        cannot be a peer.
        """
        session = self._session
        if session is not None:
            session.send_to(data, address)
        elif self._final is not None:
            raise self._final
        else:
            self._count(dropped_unrelayed=1)

    async def receive(self) -> tuple[bytes, Address]:
        """Return the next datagram and the peer that it came from. Raises ClosedError, or what made the client give up."""
        while not self._inbox:
            if self._final is not None:
                raise self._final
            if self._arrival is None or self._arrival.done():
                self._arrival = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._arrival)
        return self._inbox.popleft()

    async def drain(self) -> None:
        """Wait until the socket to the server is no longer full: for senders that would rather wait than lose."""
        if self._session is not None:
            await self._session.link.drain()

    async def bind(self, address: Address) -> None:
        """Make the permission and the channel for a peer ahead of the first datagram, and let its datagrams in.

        Returns when the peer's datagrams get through. The peer is kept bound until `close`, on every later relay too.
        Raises PeerRefused or another TurnError when the server does not want that peer.
        """
        session = self._require()
        self._bound[address] = None
        while len(self._bound) > session.allocation.config.max_peers:
            self._bound.popitem(last=False)
        waiting = self._binding.get(address)
        if waiting is None:
            waiting = self._binding[address] = asyncio.get_running_loop().create_future()
            try:
                session.bind(address)
            except TurnError:
                del self._binding[address]
                del self._bound[address]
                raise
        await asyncio.shield(waiting)

    async def move(self) -> None:
        """Go on from a new socket, for example after the network changed; the relayed addresses stay where the server can do that.

        Without mobility this makes a new relay. Raises TurnError when there is no way to the server.
        """
        await self._move(self._require())

    async def connect_to(self, address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a peer over TCP, from the relayed address (RFC 6062); needs ``tcp_relay``.

        Raises TurnError when the server or the peer refuses.
        """
        return await self._streams.connect_to(self._require(), address)

    async def accept(self) -> tuple[Address, asyncio.StreamReader, asyncio.StreamWriter]:
        """Wait for a peer that connects to the relayed address, which `bind` must have let in; needs ``tcp_relay``."""
        return await self._streams.accept(self._require())

    def renew_credentials(self, credentials: FixedCredentials) -> None:
        """Use other credentials from now on."""
        self._keeper.replace(credentials)
        if self._session is not None:
            self._session.renew_credentials(self._keeper.current)

    def stats(self) -> ClientStats:
        """Return the counters of now."""
        session = self._session
        if session is None:
            return self._stats
        return dataclasses.replace(
            self._stats,
            server=session.endpoint,
            queued_frames=session.link.stats.queued_frames,
            dropped_frames=session.link.stats.dropped_frames,
            allocation=session.stats(),
        )

    # What a session reports.

    def session_event(self, session: Session, event: Event) -> None:
        """Take an event of the allocation."""
        if session is not self._session:
            return
        if isinstance(event, PeerReady | PeerFailed):
            self._peer_settled(event)
        elif isinstance(event, IcmpReceived):
            self._tell(event)
        elif isinstance(event, Failed | Redirected):
            self._lost = event.error if isinstance(event, Failed) else AllocationLost("the server sends us to another one")
            # At once: what is sent until there is another relay is dropped, and no error.
            self._forget(self._lost)
            self._wake.set()
        elif isinstance(event, Allocated):
            self._readdress(event.relayed, event.mapped, session, None)
        elif isinstance(event, CredentialsRejected):
            self._keeper.rejected()
        elif isinstance(event, ConnectionReady | ConnectionAttempt | ConnectionFailed):
            self._streams.connection_event(event)

    def session_link_lost(self, session: Session, error: Exception) -> bool:
        """Say whether the allocation is to be brought over to another socket."""
        if session is not self._session or not session.allocation.mobility or isinstance(error, ConnectionRefusedError):
            return False
        self._must_move = True
        self._wake.set()
        return True

    def session_suspected(self, session: Session) -> None:
        """Take note of a silent server."""
        self._wake.set()

    # The relay and its replacement.

    def _require(self) -> Session:
        if self._session is not None:
            return self._session
        raise self._final or TurnError("there is no relay now", code="turn_no_relay", retryable=True)

    async def _dial(self) -> Session:
        credentials = await self._keeper.get()
        template = self._template or AllocationConfig(credentials=credentials)
        allocation = dataclasses.replace(
            template,
            credentials=credentials,
            family=self._family or template.family,
            mobility=self._mobility or template.mobility,
            tcp_relay=self._tcp_relay or template.tcp_relay,
            reliable=self._tcp_relay or template.reliable,
        )
        return await self._dialer.dial(allocation)

    def _adopt(self, session: Session) -> None:
        error, self._lost = self._lost, None
        session.owner = self
        self._session = session
        self._must_move = False
        allocation = session.allocation
        if session.closed or allocation.mapped_address is None:
            # It ended between its success and now.
            self._lost = TurnError("the relay was lost at once", code="turn_no_relay", retryable=True)
            self._forget(self._lost)
            self._wake.set()
            return
        self._readdress(allocation.relayed_addresses, allocation.mapped_address, session, error)
        for address in self._bound:
            session.bind(address)

    def _readdress(self, relayed: tuple[Address, ...], mapped: Address, session: Session, error: TurnError | None) -> None:
        former, self._relayed, self._mapped = self._relayed, relayed, mapped
        if former and former != relayed:
            self._count(failovers=1)
            _log.info("the relay is on another address now")
            self._tell(RelayChanged(relayed, former, session.endpoint, error))

    async def _supervise(self) -> None:
        while self._final is None:
            await self._wake.wait()
            self._wake.clear()
            session = self._session
            if self._lost is not None or session is None:
                await self._replace()
            elif self._must_move:
                # A failure ends the session, which is replaced then.
                with contextlib.suppress(TurnError):
                    await self._move(session)
            elif session.suspected:
                await self._replace_unless_heard(session)

    async def _replace(self) -> None:
        """Get another relay, trying again for as long as the configuration says."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._config.retry_for_s
        pause_s = _RETRY_FIRST_S
        while True:
            try:
                self._adopt(await self._dial())
            except TurnError as failure:
                if not failure.retryable or loop.time() + pause_s > give_up_at:
                    self._end(failure)
                    self._tell(RelayLost(failure))
                    return
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
            else:
                return

    async def _replace_unless_heard(self, session: Session) -> None:
        """Get another relay beside the silent one, and change over only if that is still silent then."""
        self._dialer.failed(session.endpoint)
        try:
            successor = await self._dial()
        except TurnError:
            await asyncio.sleep(_SUSPICION_PAUSE_S)
        else:
            if session is self._session and self._lost is None and not session.suspected:
                self._dialer.retire(successor)
                return
            self._dialer.retire(session, abort=True)
            self._adopt(successor)
        # Whatever happened meanwhile is looked at again.
        self._wake.set()

    async def _move(self, session: Session) -> None:
        async with self._moving:
            self._must_move = False
            before = session.allocation.relayed_addresses
            try:
                await session.move()
            except TurnError as error:
                session.fail(error)
                raise
            if session.allocation.relayed_addresses == before:
                self._count(moves=1)
                self._tell(RelayMoved(session.link.local_address))

    async def _renew(self) -> None:
        while True:
            await self._keeper.renewed()
            self._count(renewals=1)
            if self._session is not None:
                self._session.renew_credentials(self._keeper.current)

    # Small things.

    def _forget(self, error: TurnError) -> None:
        """Give up the session that failed, and tell those who wait for its peers."""
        session, self._session = self._session, None
        if session is not None:
            self._dialer.failed(session.endpoint)
            self._dialer.retire(session, abort=True)
        self._fail_waiting(error, final=False)

    def _fail_waiting(self, error: Exception, *, final: bool) -> None:
        for waiting in self._binding.values():
            if not waiting.done():
                waiting.set_exception(error)
                # Whoever waited may be gone; the failure is then nobody's.
                waiting.exception()
        self._binding.clear()
        self._streams.fail(error, final=final)

    def _end(self, error: Exception) -> None:
        self._final = error
        self._fail_waiting(error, final=True)
        self._wake.set()
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _peer_settled(self, event: PeerReady | PeerFailed) -> None:
        waiting = self._binding.pop(event.peer, None)
        if waiting is not None and not waiting.done():
            if isinstance(event, PeerFailed):
                waiting.set_exception(event.error)
                waiting.exception()
            else:
                waiting.set_result(None)
        self._tell(event)

    def _tell(self, event: RelayEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def _count(self, **more: int) -> None:
        self._stats = dataclasses.replace(self._stats, **{name: getattr(self._stats, name) + n for name, n in more.items()})

    def _store(self, data: bytes, peer: Address) -> None:
        if len(self._inbox) == self._inbox.maxlen:
            self._count(dropped_unread=1)
        self._inbox.append((data, peer))
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


async def connect(servers: Sequence[str | ServerUri], credentials: Credentials, **options: object) -> TurnClient:
    """Return an open `TurnClient`; the same arguments, the same errors, and `TurnClient.close` is the caller's."""
    client = TurnClient(servers, credentials, **options)  # type: ignore[arg-type]
    await client.open()
    return client
