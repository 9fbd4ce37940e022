"""The way to a relay: looks servers up, races their addresses and transports, follows redirections, and remembers who was good."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import ssl
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from salam.errors import ConfigError
from salam.tasks import TaskOwner
from turn_client.config import AllocationConfig
from turn_client.dns import DnsResolver, resolve
from turn_client.errors import Address, TransactionTimeout, TurnError
from turn_client.events import Event, Redirected
from turn_client.liveness import LivenessConfig
from turn_client.race import STAGGER_S, Race, RaceCandidate, RaceState, ServerHealth, race_order
from turn_client.redirects import RedirectGuard
from turn_client.resolution import ResolutionFailed, Resolver, ServerEndpoint, ServerTransport
from turn_client.session import Session
from turn_client.transactions import RtoCache
from turn_client.uri import ServerUri, parse_server_uri

__all__ = ["ClientConfig", "Dialer"]

# Once one name leads to an address, the others are waited for only this long: they may come into the next race.
_NAMES_GRACE_S = 0.25
# Configured servers; each is looked up, and a race has room for about as many addresses.
_MAX_SERVERS = 16


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What a `TurnClient` needs to know beside the relay itself; every value has a default that suits a call."""

    tls: ssl.SSLContext | None = None
    """The trust for TLS; the system's own by default."""
    transports: tuple[ServerTransport, ...] = (ServerTransport.UDP, ServerTransport.TCP, ServerTransport.TLS)
    """Those that may be used, the preferred first."""
    local_host: str | None = None
    """The address of ours to send from; the system chooses by default."""
    liveness: LivenessConfig = LivenessConfig()
    """How soon a silent server is noticed."""
    retry_for_s: float = 60.0
    """For how long a lost relay is sought again. People hang up before that, and machines ask anew."""
    dial_timeout_s: float = 40.0
    """For how long one race may last: as long as one request with all its retransmissions, 39.5 s."""
    stagger_s: float = STAGGER_S
    """The head start of each way to a server before the next one is tried beside it."""
    max_unread: int = 1024
    """Datagrams that wait for `TurnClient.receive`, the oldest being dropped: about a second of video at 8 Mbit/s."""
    resolver: Resolver = field(default_factory=DnsResolver)
    """Looks names up."""
    health: ServerHealth = field(default_factory=ServerHealth)
    """What is remembered of servers; share one config among clients, and they learn from one another."""
    rto: RtoCache = field(default_factory=RtoCache)
    """Round-trip times of servers; shared likewise."""


class _Nobody:
    """Owns a session that no client has taken yet, or that a client has left: there is nothing to tell anybody."""

    def data_received(self, data: bytes, peer: Address) -> None:
        pass

    def session_event(self, session: Session, event: Event) -> None:
        pass

    def session_link_lost(self, session: Session, error: Exception) -> bool:
        return False

    def session_suspected(self, session: Session) -> None:
        pass


_NOBODY = _Nobody()


class Dialer:
    """Gets sessions from the best of several servers.

    Raises ConfigError for a URI that is none, or that names no TURN server, and when there is no server at all.
    """

    def __init__(self, servers: Sequence[str | ServerUri], config: ClientConfig) -> None:
        self._uris = [parse_server_uri(server) if isinstance(server, str) else server for server in servers]
        if not 0 < len(self._uris) <= _MAX_SERVERS:
            raise ConfigError(f"{len(self._uris)} TURN servers are given; allowed: 1 to {_MAX_SERVERS}")
        for uri in self._uris:
            if not uri.is_turn:
                raise ConfigError(f"{uri} is the URI of a STUN server; allowed here are turn: and turns:", code="bad_server_uri")
        self._config = config
        self._retired: set[Session] = set()

    async def dial(self, allocation: AllocationConfig) -> Session:
        """Return a session with an allocation, from whoever gave one first.

        Raises TurnError, that of the most preferred way, when none did. Allocations that came too late are given back.
        """
        loop = asyncio.get_running_loop()
        tasks = TaskOwner("turn_client.dial")
        found: asyncio.Queue[tuple[RaceCandidate, Session | TurnError]] = asyncio.Queue()
        error: TurnError | None = None
        won: Session | None = None
        try:
            async with asyncio.timeout(self._config.dial_timeout_s), contextlib.aclosing(self._candidates(tasks)) as known:
                async for candidates in known:
                    order = race_order(candidates, self._transports(allocation), self._config.health, loop.time())
                    if not order:
                        continue
                    race = Race(order, self._config.health, loop.time(), stagger_s=self._config.stagger_s)
                    won = await self._run(race, allocation, tasks, found)
                    if won is not None:
                        break
                    error = error or _turn_error(race.error)
        except TimeoutError:
            error = error or TransactionTimeout("no TURN server answered in time")
        finally:
            await self._clear_up(tasks, found, won)
        if won is not None:
            return won
        raise error or ResolutionFailed("no way to any of the TURN servers is allowed by the configuration", retryable=False)

    async def _clear_up(
        self, tasks: TaskOwner, found: asyncio.Queue[tuple[RaceCandidate, Session | TurnError]], won: Session | None
    ) -> None:
        """End what still runs, and give back what came too late; whoever gives up waiting for this gives up the winner, too."""
        try:
            await tasks.close()
        except BaseException:
            if won is not None:
                self.retire(won)
            raise
        finally:
            while not found.empty():
                _, late = found.get_nowait()
                if isinstance(late, Session):
                    self.retire(late)

    def failed(self, endpoint: ServerEndpoint) -> None:
        """Take note that a relay in use failed, or fell silent: others are tried before it, for a while."""
        self._config.health.failed(endpoint, asyncio.get_running_loop().time())

    def retire(self, session: Session, *, abort: bool = False) -> None:
        """Give an allocation back that is not needed, without waiting for it; with ``abort`` there is nobody to give it to."""
        session.owner = _NOBODY
        self._retired = {old for old in self._retired if not old.gone}
        self._retired.add(session)
        if abort:
            session.abort()
        else:
            session.close()

    async def close(self) -> None:
        """Wait until everything that was retired is closed."""
        for session in self._retired:
            await session.wait_closed()
        self._retired.clear()

    def _transports(self, allocation: AllocationConfig) -> tuple[ServerTransport, ...]:
        # RFC 6062 section 4.1: TCP allocations are made over a connection.
        return tuple(
            transport for transport in self._config.transports if not allocation.tcp_relay or transport is not ServerTransport.UDP
        )

    async def _candidates(self, tasks: TaskOwner) -> AsyncGenerator[list[RaceCandidate], None]:
        """Look all servers up; yield what is known soon, and then what took longer."""
        answers: asyncio.Queue[list[RaceCandidate] | TurnError] = asyncio.Queue()
        for rank, uri in enumerate(self._uris):
            tasks.spawn(self._look_up(rank, uri, answers), name="look up")
        waiting = len(self._uris)
        error: TurnError | None = None
        yielded = False
        while waiting:
            candidates: list[RaceCandidate] = []
            try:
                # Until the first name is known there is nothing to do.
                async with asyncio.timeout(None) as limit:
                    while waiting:
                        answer = await answers.get()
                        waiting -= 1
                        if isinstance(answer, TurnError):
                            error = error or answer
                        elif not candidates:
                            candidates = answer
                            limit.reschedule(asyncio.get_running_loop().time() + _NAMES_GRACE_S)
                        else:
                            candidates += answer
            except TimeoutError:
                pass
            if candidates:
                yielded = True
                yield candidates
        if not yielded and error is not None:
            raise error

    async def _look_up(self, rank: int, uri: ServerUri, answers: asyncio.Queue[list[RaceCandidate] | TurnError]) -> None:
        try:
            endpoints = await resolve(uri, self._config.resolver, random=random.random, transports=self._config.transports)
        except TurnError as error:
            answers.put_nowait(error)
        else:
            answers.put_nowait([RaceCandidate(endpoint, rank) for endpoint in endpoints])

    async def _run(
        self,
        race: Race,
        allocation: AllocationConfig,
        tasks: TaskOwner,
        found: asyncio.Queue[tuple[RaceCandidate, Session | TurnError]],
    ) -> Session | None:
        time = asyncio.get_running_loop().time
        while race.state is RaceState.RUNNING:
            for candidate in race.take_starts():
                tasks.spawn(self._attempt(candidate, allocation, found), name=candidate.endpoint.transport.value)
            try:
                async with asyncio.timeout_at(race.deadline if race.deadline < float("inf") else None):
                    candidate, result = await found.get()
            except TimeoutError:
                race.tick(time())
                continue
            if isinstance(result, TurnError):
                race.failed(candidate, result, time())
            elif race.succeeded(candidate, time(), rtt_s=self._config.rto.rtt_s(result.endpoint.address, time())):
                return result
            else:
                self.retire(result)
        return None

    async def _attempt(
        self,
        candidate: RaceCandidate,
        allocation: AllocationConfig,
        found: asyncio.Queue[tuple[RaceCandidate, Session | TurnError]],
    ) -> None:
        try:
            session = await self._follow(candidate.endpoint, allocation)
        except TurnError as error:
            found.put_nowait((candidate, error))
        else:
            found.put_nowait((candidate, session))

    async def _follow(self, endpoint: ServerEndpoint, allocation: AllocationConfig) -> Session:
        """Allocate at ``endpoint``, or wherever it sends us."""
        redirects = RedirectGuard()
        while True:
            session = Session(
                endpoint,
                # The probes of the session keep mappings alive, and see the answers.
                dataclasses.replace(allocation, reliable=endpoint.transport is not ServerTransport.UDP, keepalive_s=0.0),
                _NOBODY,
                rto=self._config.rto,
                redirects=redirects,
                liveness=self._config.liveness,
                tls=self._config.tls,
                local_host=self._config.local_host,
            )
            try:
                opened = await session.open()
            except BaseException:
                # When it was given up, the request may have been granted; the answer decides what there is to give back.
                self.retire(session)
                raise
            if not isinstance(opened, Redirected):
                return session
            self.retire(session)
            endpoint = ServerEndpoint(opened.to, endpoint.transport, opened.domain or endpoint.server_name)


def _turn_error(error: Exception | None) -> TurnError | None:
    return error if isinstance(error, TurnError) or error is None else TurnError(str(error))
