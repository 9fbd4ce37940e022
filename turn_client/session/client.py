"""One allocation on one socket: moves frames between the two, keeps their timers, and replaces the socket when the client moves."""

from __future__ import annotations

import asyncio
import math
import os
import ssl
from typing import Protocol

from turn_client.allocation import Allocation
from turn_client.config import AllocationConfig
from turn_client.credentials import LongTermCredentials
from turn_client.errors import Address, TransportFailed, TurnError, is_hard_network_error
from turn_client.events import Allocated, AllocationState, AllocationStats, Closed, Event, Failed, Moved, Redirected
from turn_client.link import Link, open_link
from turn_client.liveness import Liveness, LivenessConfig
from turn_client.redirects import RedirectGuard
from turn_client.resolution import ServerEndpoint
from turn_client.transactions import RtoCache

__all__ = ["Session", "SessionOwner"]

# How long the last Refresh may take before the socket is closed all the same: a server that does not answer forgets us by itself.
_CLOSE_S = 1.0
# The first probe of a silence asks for the allocation, because a server that was started anew answers every other one. That takes a
# Refresh, which costs the server more: whoever only sends, and is never answered by peers, asks no more often than this.
_VERIFY_S = 10.0
# How long a server may take to know us again after a move: the first three sendings of the request, at 0, 0.5 and 1.5 s, and some.
_MOVE_S = 3.0


class SessionOwner(Protocol):
    """Who a session reports to; called from the event loop, and must not block."""

    def data_received(self, data: bytes, peer: Address) -> None:
        """Take a datagram from a peer."""

    def session_event(self, session: Session, event: Event) -> None:
        """Take an event of the allocation, after it was opened."""

    def session_link_lost(self, session: Session, error: Exception) -> bool:
        """Learn that the socket is gone; return True to move to another one, False to let the allocation fail."""

    def session_suspected(self, session: Session) -> None:
        """Learn that the server is silent, see `Liveness`."""


class Session:
    """One allocation, from the first request to the last.

    ``owner`` may be exchanged at any time. Data goes to ``owner.data_received``; `send_to` is the way out.
    """

    def __init__(
        self,
        endpoint: ServerEndpoint,
        config: AllocationConfig,
        owner: SessionOwner,
        *,
        rto: RtoCache,
        redirects: RedirectGuard,
        liveness: LivenessConfig,
        tls: ssl.SSLContext | None = None,
        local_host: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._tls = tls
        self._local_host = local_host
        self._link: Link | None = None
        # Links that were left, until their sockets are gone.
        self._old_links: set[Link] = set()
        self._opened: asyncio.Future[Allocated | Redirected] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._liveness = Liveness(liveness, os.urandom, self._time())
        self._was_suspected = False
        self._verify_at = -math.inf
        # What a move waits for.
        self._moved: asyncio.Future[None] | None = None
        self.allocation = Allocation(config, endpoint.address, random=os.urandom, rto=rto, redirects=redirects)
        # The path of every packet; looking these up each time would be a tenth of its cost.
        self._receive = self.allocation.receive
        self._frame = self.allocation.frame
        self._owner = owner
        self.owner = owner

    @property
    def owner(self) -> SessionOwner:
        """Who data and events go to."""
        return self._owner

    @owner.setter
    def owner(self, owner: SessionOwner) -> None:
        self._owner = owner
        # Straight from the allocation: a call less for every datagram.
        self.allocation.on_data = owner.data_received

    @property
    def link(self) -> Link:
        """The socket of now. Raises RuntimeError before there was one."""
        if self._link is None:
            raise RuntimeError("the session has no socket yet")
        return self._link

    @property
    def closed(self) -> bool:
        """Whether this is over."""
        return self._closed.done()

    @property
    def gone(self) -> bool:
        """Whether this is over, and every socket closed."""
        return self._closed.done() and all(link.gone for link in self._old_links)

    @property
    def suspected(self) -> bool:
        """Whether the server has been silent for too long."""
        return self._liveness.suspected

    async def open(self) -> Allocated | Redirected:
        """Connect, allocate, and return what the server said.

        Raises TurnError when there is no allocation; the session is over then, as it is after a redirection.
        """
        try:
            self._link = await self._open_link()
            self.allocation.start(self._time())
            self.flush()
            # Shielded: whoever gives up waiting still has an allocation to give back, see `close`.
            opened = await asyncio.shield(self._opened)
        except OSError as error:
            self.abort()
            raise TransportFailed(f"cannot connect to the server: {_reason(error)}") from error
        except TurnError:
            self.abort()
            raise
        if isinstance(opened, Redirected):
            self.abort()
        return opened

    async def move(self) -> None:
        """Open a new socket to the same server and bring the allocation over (RFC 8016).

        Returns once the server knows us there; data may flow before. Without mobility another allocation is made from there.
        Raises TransportFailed when the server cannot be reached any more, or does not answer; the session is of no use then.
        """
        try:
            link = await self._open_link()
        except OSError as error:
            raise TransportFailed(f"cannot connect to the server: {_reason(error)}") from error
        if self._closed.done():
            self._leave(link)
            raise TransportFailed("the session ended while it was to move")
        old, self._link = self._link, link
        if old is not None:
            self._leave(old)
        self._liveness.heard = True
        moved = self._moved = self._loop.create_future()
        self.allocation.moved(self._time())
        self.flush()
        try:
            async with asyncio.timeout(_MOVE_S):
                await moved
        except TimeoutError:
            raise TransportFailed("the server did not answer to the move") from None
        finally:
            self._moved = None

    def send_to(self, data: bytes, peer: Address) -> None:
        """Send a datagram to ``peer``. Raises TurnError for an address that cannot be one, and when there are too many peers."""
        self._liveness.sent = True
        frame = self._frame(peer, data)
        if frame is not None:
            self._link.send(frame)  # type: ignore[union-attr]
            return
        self.allocation.send(peer, data, self._time())
        self.flush()

    def bind(self, peer: Address) -> None:
        """Make the permission and the channel for ``peer`` ahead of traffic. Raises TurnError like `send_to`."""
        self.allocation.bind(peer, self._time())
        self.flush()

    def connect(self, peer: Address) -> None:
        """Ask the server to connect to ``peer`` over TCP. Raises TurnError unless the allocation relays TCP."""
        self.allocation.connect(peer, self._time())
        self.flush()

    async def tls_context(self) -> ssl.SSLContext:
        """Return the trust for further connections to this server."""
        return await self._loop.run_in_executor(None, ssl.create_default_context) if self._tls is None else self._tls

    def renew_credentials(self, credentials: LongTermCredentials) -> None:
        """Use these from now on."""
        self.allocation.renew_credentials(credentials, self._time())
        self.flush()

    def stats(self) -> AllocationStats:
        """Return the counters of the allocation."""
        return self.allocation.stats(self._time())

    def frame_received(self, frame: bytes) -> None:
        """Take a frame from the link."""
        self._liveness.heard = True
        if frame[:1] >= b"\x40":
            # ChannelData is handed on and changes nothing else; neither does garbage.
            self._receive(frame, 0.0)
            return
        self._receive(frame, self._time())
        self.flush()

    def flush(self) -> None:
        """Carry out what the allocation has decided: send, report, and set the timer."""
        allocation, link = self.allocation, self._link
        for frame in allocation.take_outgoing():
            if link is None:
                break
            if is_media(frame):
                link.send(frame)
            else:
                link.send_control(frame)
        for event in allocation.take_events():
            self._handle(event)
        self._set_timer(min(allocation.deadline, self._liveness.deadline))

    def link_failed(self, error: Exception) -> None:
        """Take the end of the link."""
        if self._moved is not None:
            # Whoever moves us decides what comes next.
            self._settle_move(TransportFailed(f"the way to the server is broken: {_reason(error)}"))
            return
        if self._opened.done() and not self._closed.done() and self.owner.session_link_lost(self, error):
            return
        self.fail(error)

    def link_troubled(self, error: OSError) -> None:
        """Take an error of the way to the server, which ends an attempt and may pass for an allocation."""
        if not self._opened.done() and is_hard_network_error(error):
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the allocation because the way to the server is gone."""
        self.allocation.transport_failed(_reason(error), self._time())
        self.flush()

    def close(self) -> None:
        """Give the allocation back and close the socket once the server knows, or after a moment; see `wait_closed`."""
        if self._closed.done():
            return
        if self._link is None:
            self.abort()
            return
        self._loop.call_later(_CLOSE_S, self.abort)
        self.allocation.close(self._time())
        self.flush()
        if self.allocation.state not in (AllocationState.CLOSING, AllocationState.CLOSED):
            self.abort()

    def abort(self) -> None:
        """Close the socket at once; safe to call twice."""
        if self._closed.done():
            return
        self._closed.set_result(None)
        if not self._opened.done():
            self._opened.cancel()
        self._settle_move(TransportFailed("the session ended while it was to move"))
        self._set_timer(math.inf)
        if self._link is not None:
            self._leave(self._link)

    async def wait_closed(self) -> None:
        """Wait until every socket is closed, after `close`."""
        await asyncio.shield(self._closed)
        for link in self._old_links:
            await link.wait_closed()

    def _leave(self, link: Link) -> None:
        self._old_links = {old for old in self._old_links if not old.gone}
        self._old_links.add(link)
        link.close()

    async def _open_link(self) -> Link:
        endpoint = self.endpoint
        return await open_link(
            endpoint.transport,
            endpoint.address,
            self,
            tls=self._tls,
            server_name=endpoint.server_name,
            local_host=self._local_host,
        )

    def _handle(self, event: Event) -> None:
        if isinstance(event, Closed):
            self.abort()
        elif self._opened.done():
            if isinstance(event, Failed | Redirected):
                self.abort()
            elif isinstance(event, Moved | Allocated):
                self._settle_move(None)
            self.owner.session_event(self, event)
        elif isinstance(event, Allocated | Redirected):
            self._opened.set_result(event)
        elif isinstance(event, Failed):
            self._opened.set_exception(event.error)

    def _settle_move(self, error: TurnError | None) -> None:
        if self._moved is None or self._moved.done():
            return
        if error is None:
            self._moved.set_result(None)
        else:
            self._moved.set_exception(error)

    def _set_timer(self, at: float) -> None:
        if self._closed.done():
            at = math.inf
        # A timer that is early only looks and is set again: cheaper than moving it for every packet.
        if self._timer is not None and self._timer_at <= at < math.inf:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at < math.inf:
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = self._time()
        self.allocation.tick(now)
        self._look_for_life(now)
        self.flush()

    def _look_for_life(self, now: float) -> None:
        probe = self._liveness.tick(now)
        if not self._opened.done() or self._link is None:
            return
        if probe is not None and now >= self._verify_at:
            self._verify_at = now + _VERIFY_S
            self.allocation.verify(now)
        elif probe is not None:
            self._link.send_control(probe)
        suspected = self._liveness.suspected
        if suspected and not self._was_suspected:
            self.owner.session_suspected(self)
        self._was_suspected = suspected


def _reason(error: Exception) -> str:
    """What an error of the network says, without the addresses that asyncio puts into some."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def is_media(frame: bytes) -> bool:
    """Whether a frame for the server carries a datagram for a peer: ChannelData, or a Send indication."""
    return frame[0] & 0xC0 == 0x40 or frame[:2] == b"\x00\x16"
