"""Relay candidates for aioice, and so for aiortc: ICE stays theirs, the way through the TURN server is ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from aioice import Candidate, Connection, TransportPolicy
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol

from salam.errors import ConfigError, SalamError
from salam.tasks import TaskOwner
from turn_client.client import TurnClient
from turn_client.dial import ClientConfig
from turn_client.errors import Address
from turn_client.keeper import Credentials
from turn_client.relay_events import RelayChanged, RelayEvent, RelayLost

__all__ = ["RelaySource", "RelayTransport", "RelayedConnection", "use_relays"]

_log = logging.getLogger("salam.turn_client")

# RFC 9429 section 3.5.3 and RFC 8839 section 5.1: what stands for an address that must not be shown.
_HIDDEN = {4: ("0.0.0.0", 9), 6: ("::", 9)}


@dataclass(frozen=True, slots=True)
class RelaySource:
    """Where relay candidates come from: the arguments of a `TurnClient`, of which each ICE component gets one."""

    servers: Sequence[str]
    credentials: Credentials
    family: Literal["ipv4", "ipv6", "both"] = "ipv4"
    config: ClientConfig | None = None

    def client(self, on_data: Callable[[bytes, Address], None], on_event: Callable[[RelayEvent], None]) -> TurnClient:
        """Return a client that is not open yet."""
        return TurnClient(
            self.servers, self.credentials, family=self.family, config=self.config, on_data=on_data, on_event=on_event
        )


class RelayTransport(asyncio.DatagramTransport):
    """One relayed address as asyncio's datagram transport, for any protocol that expects one.

    ``get_extra_info`` knows ``sockname`` (the relayed address), ``related_address`` (our own as the server sees it) and ``server``
    (the `ServerEndpoint` that relays).
    """

    def __init__(
        self, client: TurnClient, relayed: Address, protocol: asyncio.DatagramProtocol, on_close: Callable[[], None]
    ) -> None:
        super().__init__({"sockname": relayed, "related_address": client.mapped_address, "server": client.server})
        self._client = client
        self._protocol = protocol
        self._on_close = on_close
        self._closing = False

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send to the peer ``addr``; what cannot be sent is reported to ``error_received``."""
        if self._closing:
            return
        try:
            self._client.send_to(bytes(data), (addr[0], addr[1]))
        except SalamError as error:
            self._protocol.error_received(error)

    def is_closing(self) -> bool:
        """Whether `close` was called, or the relay is gone."""
        return self._closing

    def close(self) -> None:
        """Give the relay up, once all transports of its client are closed."""
        self.lose(None)

    def abort(self) -> None:
        """The same as `close`: nothing waits to be sent."""
        self.close()

    def lose(self, error: Exception | None) -> None:
        """Tell the protocol that the relayed address is no more."""
        if not self._closing:
            self._closing = True
            self._protocol.connection_lost(error)
            self._on_close()


class _Relay:
    """One client and the transports of its addresses."""

    def __init__(self, source: RelaySource, tasks: TaskOwner) -> None:
        self.client = source.client(self._data_received, self._event)
        self._tasks = tasks
        self._protocols: dict[bool, StunProtocol] = {}
        self._transports: list[RelayTransport] = []

    async def open(self, make_protocol: Callable[[], StunProtocol]) -> list[StunProtocol]:
        await self.client.open()
        for relayed in self.client.relayed_addresses:
            protocol = make_protocol()
            transport = RelayTransport(self.client, relayed, protocol, self._transport_closed)
            self._transports.append(transport)
            self._protocols[":" in relayed[0]] = protocol
            protocol.connection_made(transport)
        return list(self._protocols.values())

    def _data_received(self, data: bytes, peer: Address) -> None:
        protocol = self._protocols.get(":" in peer[0])
        if protocol is not None:
            protocol.datagram_received(data, peer)

    def _event(self, event: RelayEvent) -> None:
        # A candidate is an address. With another one ICE has to start again, and the nominated pair has to know that it is dead.
        if isinstance(event, RelayChanged | RelayLost):
            for transport in self._transports:
                transport.lose(event.error)

    def _transport_closed(self) -> None:
        if all(transport.is_closing() for transport in self._transports):
            self._tasks.spawn(self.client.close(), name="close")


class RelayedConnection(Connection):
    """aioice's connection with relay candidates from a `RelaySource` in place of aioice's own TURN client.

    With ``on_candidate``, `gather_candidates` does not wait for the relays: they are added as they come, before and during
    `connect`, and each is handed to that function to be signalled. It is called with None after the last one.
    """

    _source: RelaySource | None = None
    _on_candidate: Callable[[Candidate | None], None] | None = None
    _relay_tasks: TaskOwner
    _relays_pending = 0

    def __init__(
        self,
        ice_controlling: bool,
        *,
        relays: RelaySource,
        on_candidate: Callable[[Candidate | None], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ice_controlling, **options)
        self.take_relays(relays, on_candidate)

    def take_relays(self, source: RelaySource, on_candidate: Callable[[Candidate | None], None] | None = None) -> None:
        """Use ``source`` when candidates are gathered."""
        self._source = source
        self._on_candidate = on_candidate
        self._relay_tasks = TaskOwner("turn_client.ice", on_failure=_report)

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        """Called by aioice: gather the candidates of one component, for ``timeout`` seconds at most."""
        self._relays_pending += 1
        if self._on_candidate is not None:
            self._relay_tasks.spawn(self._trickle(component), name="trickle")
            return await super().get_component_candidates(component, addresses, timeout)
        own, relayed = await asyncio.gather(
            super().get_component_candidates(component, addresses, timeout), self._gather_relays(component, timeout)
        )
        return own + [protocol.local_candidate for protocol in relayed]

    async def close(self) -> None:
        """Close the connection and give its relays back."""
        self._closing = True
        if self._relays_pending:
            await self._relay_tasks.close()
        await super().close()
        pending = self._relay_tasks.tasks
        if pending:
            await asyncio.wait(pending)

    async def _gather_relays(self, component: int, timeout: float | None) -> list[StunProtocol]:
        assert self._source is not None
        relay = _Relay(self._source, self._relay_tasks)
        try:
            async with asyncio.timeout(timeout):
                protocols = await relay.open(lambda: StunProtocol(self))
        except (SalamError, TimeoutError) as error:
            await relay.client.close()
            _log.info("no relay candidate: %s", error or "the time to gather is over")
            return []
        except BaseException:
            await relay.client.close()
            raise
        finally:
            self._relays_pending -= 1
        for protocol in protocols:
            protocol.local_candidate = self._candidate(component, protocol.transport)
        self._protocols += protocols
        return protocols

    def _candidate(self, component: int, transport: asyncio.DatagramTransport) -> Candidate:
        host, port = transport.get_extra_info("sockname")
        related = transport.get_extra_info("related_address")
        if self._transport_policy == TransportPolicy.RELAY:
            related = _HIDDEN[6 if ":" in host else 4]
        return Candidate(
            foundation=candidate_foundation("relay", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "relay"),
            host=host,
            port=port,
            type="relay",
            related_address=related[0],
            related_port=related[1],
        )

    async def _trickle(self, component: int) -> None:
        protocols = await self._gather_relays(component, None)
        for protocol in protocols:
            self._local_candidates.append(protocol.local_candidate)
            for remote in self._remote_candidates:
                self._pair_remote_candidate(remote)
            self.sort_check_list()
            self._announce(protocol.local_candidate)
        if not self._relays_pending:
            self._announce(None)
            if self._early_checks_done and not self._check_list_maybe_complete():
                self._check_list_maybe_fail()

    def _announce(self, candidate: Candidate | None) -> None:
        if self._on_candidate is not None:
            self._on_candidate(candidate)

    def _remote_candidates_expected(self) -> bool:
        # aioice asks this before it gives up and before it stops pacing its checks: a relay of our own that is still on its way
        # makes new pairs just as a remote candidate does.
        return self._relays_pending > 0 or not self._remote_candidates_end or self._remote_candidates_resolving > 0


def _report(name: str, error: BaseException) -> None:
    _log.warning("task %s failed: %s", name, error)


class _PeerConnection(Protocol):
    """What is used of aiortc's RTCPeerConnection."""

    @property
    def iceGatheringState(self) -> str: ...
    @property
    def sctp(self) -> Any: ...
    def getTransceivers(self) -> Sequence[Any]: ...
    def on(self, event: str, f: Callable[[], None]) -> Any: ...


def use_relays(peer_connection: _PeerConnection, source: RelaySource) -> None:
    """Give an `RTCPeerConnection` of aiortc relay candidates from ``source``.

    Call it before `setLocalDescription`. The configuration of the peer connection should name no TURN server, or aiortc's own
    client adds its candidates too. Raises ConfigError, from `setLocalDescription`, with an aiortc whose inside is another.
    """

    def prepare() -> None:
        if peer_connection.iceGatheringState == "gathering":
            for gatherer in _gatherers(peer_connection):
                _give_relays(gatherer, source)

    # aiortc makes its transports when it needs them, and says that it gathers before any of them has begun to.
    peer_connection.on("icegatheringstatechange", prepare)


def _gatherers(peer_connection: _PeerConnection) -> list[Any]:
    ends = [transceiver.receiver for transceiver in peer_connection.getTransceivers()]
    if peer_connection.sctp is not None:
        ends.append(peer_connection.sctp)
    # Bundled media share one; each is to be prepared once.
    return list({id(end.transport): end.transport.transport.iceGatherer for end in ends}.values())


def _give_relays(gatherer: Any, source: RelaySource) -> None:
    # aiortc makes the connection itself and has no way to hand one in, so the one that it made learns about relays.
    connection = getattr(gatherer, "_connection", None)
    if isinstance(connection, RelayedConnection):
        return
    if type(connection) is not Connection:
        raise ConfigError("this version of aiortc keeps its ICE connection elsewhere; relays cannot be given to it")
    connection.__class__ = RelayedConnection
    cast(RelayedConnection, connection).take_relays(source)
