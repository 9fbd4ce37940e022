"""An ICE agent that says which way it got through, and notices at once when that way is cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aioice
from aioice.ice import CandidatePair, StunProtocol, TransportPolicy
from aioice.stun import Message, TransactionError

from turn_client import Address
from turn_client.ice import RelayedConnection, RelaySource

__all__ = ["LOOPBACK", "IceAgent", "IceNetwork", "IcePath", "make_agent"]

# RFC 7675 5.1: consent expires after 30 s without a valid answer.
_CONSENT_EXPIRES_S = 30.0
# With these a check is repeated after 0.5, 1.5, 3.5, 7.5 and 15.5 s, and an answer to any of them counts until after 31.5 s.
_CONSENT_RETRANSMISSIONS = 5
# Sound comes fifty times a second, so a second without anything is no jitter.
_SILENT_AFTER_S = 1.0
# The check that is made then is sent again after half a second. With neither answered the path is taken for dead, and most of the
# five seconds within which a call has to go on are left to find another one.
_PROBE_S = 1.0
# How long a STUN server is waited for, which is asked at 0 and at 0.5 s. aioice would wait for 5 s, as it does for a relay; where
# UDP is blocked that is all the time that a call has, and its relay over TCP is there long before.
_STUN_WITHIN_S = 1.5


@dataclass(frozen=True, slots=True)
class IceNetwork:
    """From where a peer connects, and with whose help."""

    addresses: tuple[str, ...] = ()
    """The local addresses to use; none: all but the loopback."""
    stun_server: Address | None = None
    relays: RelaySource | None = None
    relay_only: bool = False
    """Connect through relays or not at all."""


LOOPBACK = IceNetwork(addresses=("127.0.0.1",))
"""Nothing but this machine."""


@dataclass(frozen=True, slots=True)
class IcePath:
    """The way between two peers, seen from one of them."""

    local: str
    """``host``, ``srflx`` or ``prflx`` (through a NAT, at an address that STUN servers see or only the peer), or ``relay``."""
    remote: str
    """The same for the other side, as far as it is known here."""
    relay_transport: str = ""
    """``udp``, ``tcp`` or ``tls``: how the own relay is reached."""

    @property
    def label(self) -> str:
        """The own part in one word: ``host``, ``srflx``, ``prflx``, ``relay-udp``, ``relay-tcp`` or ``relay-tls``."""
        return f"{self.local}-{self.relay_transport}" if self.local == "relay" else self.local

    @property
    def relayed(self) -> bool:
        """Whether a relay of either side carries it."""
        return "relay" in (self.local, self.remote)


class IceAgent(aioice.Connection):
    """An ICE agent that gathers where it is told, and is patient; made by `make_agent`.

    aioice leaves the loopback out; it takes an answer that comes after half a second for none, and gives a connection up after six
    such: that is a busy machine and not the end of a path.
    """

    def __init__(
        self, ice_controlling: bool, *, addresses: tuple[str, ...], on_silent: Callable[[], None] | None, **options: Any
    ) -> None:
        super().__init__(ice_controlling, use_ipv6=False, **options)
        self._bound_addresses = addresses
        self._on_silent = on_silent
        self._mapped: Address | None = None
        self._heard_s = 0.0
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        # The last request of each pair that is being checked; aioice bounds their number.
        self._requests: dict[CandidatePair, Message] = {}

    @property
    def path(self) -> IcePath | None:
        """The way in use; None before one is found, and before the peer has said where it sees us."""
        pair = self._nominated.get(1)
        if pair is None:
            return None
        local, remote = pair.local_candidate, pair.remote_candidate.type
        if local.type == "relay":
            server = pair.protocol.transport.get_extra_info("server")
            return IcePath("relay", remote, server.transport.value)
        if self._mapped is None:
            return None
        # The socket is that of the host candidate, whichever of its addresses the peer answers to.
        known = {(candidate.host, candidate.port): candidate.type for candidate in self._local_candidates}
        return IcePath(known.get(self._mapped, "prflx"), remote)

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[aioice.Candidate]:
        if self._transport_policy is not TransportPolicy.RELAY:
            addresses = list(self._bound_addresses) or addresses
        # aioice hands the time on to `asyncio.wait`, which takes fractions of a second.
        return await super().get_component_candidates(component, addresses, min(timeout, _STUN_WITHIN_S))  # type: ignore[arg-type]

    def build_request(self, pair: CandidatePair, nominate: bool) -> Message:
        request = super().build_request(pair, nominate)
        if pair.state is CandidatePair.State.IN_PROGRESS:
            self._requests[pair] = request
        return request

    def check_incoming(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        super().check_incoming(message, addr, protocol)
        # RFC 8445 7.3.1.4: a check from the peer says that the way is open now, so the own one does not wait for its timer. aioice
        # lets it wait, and a relay, which needs no luck, is through before the direct way.
        for pair, request in self._requests.items():
            if pair.state is CandidatePair.State.IN_PROGRESS and pair.protocol is protocol and pair.remote_addr == addr:
                protocol.send_stun(request, addr)

    def data_received(self, data: bytes, component: int) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        super().data_received(data, component)

    async def query_consent(self) -> None:
        loop = asyncio.get_running_loop()
        self._requests.clear()
        self._heard_s = consented_s = loop.time()
        if self._on_silent is not None:
            self._listen()
        # The first check is made at once: its answer says where the peer sees us.
        pause_s = 0.0
        while loop.time() - consented_s < _CONSENT_EXPIRES_S:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            if await self._check():
                consented_s = loop.time()
            # Spread as RFC 7675 5.1 wants it, so that many peers do not check at the same time.
            pause_s = aioice.ice.CONSENT_INTERVAL * random.uniform(0.8, 1.2)
        # Closing ends the task of these checks, which is this one.
        self._query_consent_task = None
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._on_silent = None
        await super().close()

    def _listen(self) -> None:
        """Look again and again whether anything is heard: ask when it is not, and say so when nobody answers."""
        if self._on_silent is None:
            return
        loop = asyncio.get_running_loop()
        silent_s = loop.time() - self._heard_s
        if silent_s < _SILENT_AFTER_S:
            again_s = _SILENT_AFTER_S - silent_s
        else:
            again_s = _PROBE_S
            self._wake.set()
            if silent_s >= _SILENT_AFTER_S + _PROBE_S:
                self._on_silent()
        self._alarm = loop.call_later(again_s, self._listen)

    async def _check(self) -> bool:
        """Ask the peer over the way in use whether it still hears us."""
        assert self.remote_password is not None
        key = self.remote_password.encode()
        answered = False
        for pair in list(self._nominated.values()):
            check = self.build_request(pair, nominate=False)
            try:
                answer, _ = await pair.protocol.request(
                    check, pair.remote_addr, integrity_key=key, retransmissions=_CONSENT_RETRANSMISSIONS
                )
            except TransactionError:
                continue
            answered = True
            self._mapped = answer.attributes.get("XOR-MAPPED-ADDRESS")
            self._heard_s = asyncio.get_running_loop().time()
        return answered


class _RelayedIceAgent(RelayedConnection, IceAgent):
    """The same with relays, which are waited for beside the STUN server, and longer."""


def make_agent(
    network: IceNetwork, *, controlling: bool, ufrag: str, password: str, on_silent: Callable[[], None] | None = None
) -> IceAgent:
    """Return an agent that has not gathered yet.

    ``on_silent`` is called, again and again, while nothing is heard over the way in use and a check of it goes unanswered.
    """
    options: dict[str, Any] = {
        "addresses": network.addresses,
        "on_silent": on_silent,
        "local_username": ufrag,
        "local_password": password,
        "stun_server": network.stun_server,
        "transport_policy": TransportPolicy.RELAY if network.relay_only else TransportPolicy.ALL,
    }
    if network.relays is None:
        return IceAgent(controlling, **options)
    return _RelayedIceAgent(controlling, relays=network.relays, **options)
