"""Allocations, the strict server and a network between them, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.turn_server import StrictTurnServer
from turn_client.allocation import Allocation
from turn_client.config import AllocationConfig
from turn_client.credentials import LongTermCredentials
from turn_client.events import Event, Received

Address = tuple[str, int]
SERVER: Address = ("192.0.2.1", 3478)
CLIENT: Address = ("203.0.113.5", 40_000)
PEER: Address = ("198.51.100.77", 5000)
MAX_IDLE_TICKS = 20
CREDENTIALS = LongTermCredentials("alice", "secret")


@dataclass
class Weather:
    """What the network does to each datagram between client and server."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_s: float = 0.02
    jitter_s: float = 0.0


class TurnWorld:
    """One allocation and one server. `run` moves the clock; ``events`` and ``at_peer`` collect what came out."""

    def __init__(
        self,
        config: AllocationConfig | None = None,
        *,
        seed: int = 1,
        weather: Weather | None = None,
        setup: Callable[[StrictTurnServer], None] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self.weather = Weather() if weather is None else weather
        self.server = StrictTurnServer(self.random.randbytes)
        if setup is not None:
            setup(self.server)
        self.client = CLIENT
        self.config = AllocationConfig(CREDENTIALS) if config is None else config
        self.allocation = Allocation(self.config, SERVER, random=self.random.randbytes)
        self.events: list[Event] = []
        self.at_peer: list[tuple[Address, Address, bytes]] = []
        self.sent: list[bytes] = []
        self.heard: list[bytes] = []
        self._wire: list[tuple[float, int, bool, Address, bytes]] = []
        self._order = itertools.count()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def received(self) -> list[tuple[Address, bytes]]:
        return [(event.peer, event.data) for event in self.events if isinstance(event, Received)]

    def start(self) -> TurnWorld:
        self.allocation.start(self.now)
        self.run(1.0)
        return self

    def send(self, data: bytes, peer: Address = PEER) -> None:
        self.allocation.send(peer, data, self.now)
        self._collect()

    def from_peer(self, data: bytes, peer: Address = PEER) -> None:
        for relayed in self.allocation.relayed_addresses:
            if (":" in relayed[0]) == (":" in peer[0]):
                self.server.peer_data(peer, relayed, data, self.now)
        self._collect()

    def run(self, duration_s: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let everything that is due within ``duration_s`` happen, in its order."""
        end = self.now + duration_s
        self._collect()
        idle_ticks = 0
        while not until():
            wire_at = self._wire[0][0] if self._wire else math.inf
            at = min(wire_at, max(self.allocation.deadline, self.now))
            if at > end:
                break
            self.now = max(at, self.now)
            if wire_at <= self.now:
                _, _, to_server, client, data = heapq.heappop(self._wire)
                if to_server:
                    self.server.receive(data, client, self.now)
                elif client == self.client:
                    self.heard.append(data)
                    self.allocation.receive(data, self.now)
            else:
                before = self.now, len(self.sent)
                self.allocation.tick(self.now)
                # A deadline that a tick neither serves nor moves would keep a real loop busy for ever.
                served = self.allocation.deadline > self.now or (self.now, len(self.sent)) != before
                idle_ticks = 0 if served else idle_ticks + 1
                assert idle_ticks < MAX_IDLE_TICKS, f"a deadline of {self.allocation.deadline} is not served at {self.now}"
            self._collect()
        else:
            return
        self.now = end

    def move(self, client: Address) -> None:
        self.client = client
        self.allocation.moved(self.now)
        self._collect()

    def _collect(self) -> None:
        for data in self.allocation.take_outgoing():
            self.sent.append(data)
            self._put(to_server=True, client=self.client, data=data)
        self.events += self.allocation.take_events()
        to_clients, to_peers = self.server.take()
        self.at_peer += to_peers
        for client, data in to_clients:
            self._put(to_server=False, client=client, data=data)

    def _put(self, *, to_server: bool, client: Address, data: bytes) -> None:
        weather = self.weather
        copies = 1 + (self.random.random() < weather.duplicate)
        for _ in range(copies):
            if self.random.random() < weather.loss:
                continue
            at = self.now + weather.delay_s + self.random.random() * weather.jitter_s
            heapq.heappush(self._wire, (at, next(self._order), to_server, client, data))
