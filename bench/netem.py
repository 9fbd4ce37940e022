"""A seeded network emulator without I/O: latency, jitter, loss, duplication, reordering, and a rate limit with a tail-drop queue.

A `Link` is one direction of a path. Packets go in with `Link.push`, come out of `Link.poll`, and `Link.next_deadline` says when to
poll next. With the same seed and the same pushes it does the same every time, however often it is polled, so that a failure seen
once can be seen again.

The order of things is that of a real path: the bottleneck's queue and rate first, then loss on the wire (a lost packet has used its
share of the rate), then duplication and delay.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from salam import ConfigError

__all__ = ["CELLULAR", "CONGESTED", "PERFECT", "PRESETS", "WIFI", "WIFI_LOSSY", "BurstLoss", "Link", "LinkConfig", "LinkStats"]

# IPv4 and UDP headers: they take their share of a bottleneck's rate although nobody hands them to the emulator.
_HEADER_BYTES = 28
# Packets that may wait inside one link. 100 Mbit/s of full-size packets over a second of delay is 8,700; four times that is surely
# a sender that nobody stops.
_MAX_WAITING_PACKETS = 32_768
# A packet counts as reordered when it is held back by this much: later than the next packets of the same video frame.
_DEFAULT_REORDER_DELAY_S = 0.02


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is {value}; allowed: a probability, 0 to 1")


@dataclass(frozen=True, slots=True)
class BurstLoss:
    """Losses that come in bursts: the Gilbert-Elliott model with one step per packet.

    ``to_bad`` and ``to_good`` are the probabilities to change the state before a packet; ``loss_good`` and ``loss_bad`` the loss
    probabilities within each state. Raises ConfigError when one is no probability.
    """

    to_bad: float
    to_good: float
    loss_good: float = 0.0
    loss_bad: float = 1.0

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_probability(f"burst_loss.{item.name}", getattr(self, item.name))

    @classmethod
    def of(cls, mean_loss: float, burst_packets: float) -> BurstLoss:
        """Return the model that loses ``mean_loss`` of all packets, ``burst_packets`` in a row on average.

        Raises ConfigError when no such model exists: bursts shorter than a packet, or so much loss that the good state cannot last.
        """
        _check_probability("mean_loss", mean_loss)
        if burst_packets < 1 or mean_loss >= 1:
            raise ConfigError(f"burst_packets is {burst_packets} at mean_loss {mean_loss}; allowed: at least 1, and loss below 1")
        to_good = 1 / burst_packets
        return cls(to_bad=to_good * mean_loss / (1 - mean_loss), to_good=to_good)

    @property
    def mean_loss(self) -> float:
        """The fraction of packets that is lost in the long run."""
        changes = self.to_bad + self.to_good
        if not changes:
            return self.loss_good
        bad = self.to_bad / changes
        return bad * self.loss_bad + (1 - bad) * self.loss_good


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """What one direction of a path does to packets.

    ``latency_s`` is the one-way delay and ``jitter_s`` the largest deviation from it, drawn evenly on both sides. Jitter alone
    never changes the order, as on a real queue; ``reorder`` is the probability that a packet is held back by ``reorder_delay_s``
    while later ones pass. ``loss`` is independent loss and ``burst_loss`` comes on top. ``rate_bps`` counts UDP and IP headers;
    ``queue_bytes`` is what may wait before it, and a packet that does not fit is dropped. Raises ConfigError for a value that is
    out of range.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    burst_loss: BurstLoss | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_delay_s: float = _DEFAULT_REORDER_DELAY_S
    rate_bps: float | None = None
    queue_bytes: int = 64_000

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder"):
            _check_probability(name, getattr(self, name))
        for name in ("latency_s", "jitter_s", "reorder_delay_s", "queue_bytes"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}; allowed: zero or more")
        if self.rate_bps is not None and not 0 < self.rate_bps < math.inf:
            raise ConfigError(f"rate_bps is {self.rate_bps}; allowed: more than zero, or None for no limit")


PERFECT = LinkConfig()
"""No delay, no loss, no limit."""

WIFI = LinkConfig(latency_s=0.005, jitter_s=0.003, loss=0.001)
"""A good wireless network at home: 5 ms, 3 ms of jitter, one packet in a thousand lost."""

WIFI_LOSSY = LinkConfig(latency_s=0.01, jitter_s=0.008, burst_loss=BurstLoss.of(0.03, 4), duplicate=0.001, reorder=0.002)
"""A wireless network two walls away: 10 ms, 8 ms of jitter, 3 % lost in bursts of 4, now and then a duplicate or a late packet."""

CELLULAR = LinkConfig(latency_s=0.05, jitter_s=0.015, burst_loss=BurstLoss.of(0.005, 3), rate_bps=8_000_000, queue_bytes=300_000)
"""A phone on a 4G cell: 50 ms, 15 ms of jitter, 0.5 % lost in bursts of 3, 8 Mbit/s with 300 ms of queue."""

CONGESTED = LinkConfig(latency_s=0.05, jitter_s=0.005, loss=0.002, rate_bps=1_000_000, queue_bytes=37_500)
"""A full upstream: 1 Mbit/s with 300 ms of queue and 50 ms of delay, the reference path of RFC 8867 section 4 with some loss."""

PRESETS: Mapping[str, LinkConfig] = MappingProxyType(
    {"perfect": PERFECT, "wifi": WIFI, "wifi_lossy": WIFI_LOSSY, "cellular": CELLULAR, "congested": CONGESTED}
)


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Totals of one link since it was made; everything offered is delivered, dropped or still waiting."""

    offered: int = 0
    offered_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0
    """Dropped by the loss models."""
    queue_dropped: int = 0
    """Did not fit into the queue before the rate limit."""
    duplicated: int = 0
    """Extra copies, which count as delivered too."""
    held_back: int = 0
    """Delayed so that later packets could pass."""

    def __add__(self, other: LinkStats) -> LinkStats:
        return LinkStats(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


class Link:
    """One direction of an emulated path.

    ``seed`` decides every random choice. ``now`` must not go backwards between calls; a smaller one is taken as the latest seen.
    """

    def __init__(self, config: LinkConfig, seed: int) -> None:
        self.config = config
        self._random = random.Random(seed)
        self._now = -math.inf
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._head_leaves_at = math.inf
        self._flying: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()
        self._last_arrival = -math.inf
        self._burst = False
        self._counts = dict.fromkeys((item.name for item in fields(LinkStats)), 0)

    def push(self, packet: bytes, now: float) -> None:
        """Send ``packet`` into the link; it comes out of `poll` later, twice, or never."""
        self._advance(now)
        self._count("offered", packet)
        if len(self._queue) + len(self._flying) >= _MAX_WAITING_PACKETS:
            self._counts["queue_dropped"] += 1
            return
        if self.config.rate_bps is None:
            self._propagate(packet, self._now)
            return
        size = len(packet) + _HEADER_BYTES
        # The packet that is being sent has left the queue's room, so a link always takes at least one packet.
        if self._queue and self._queued_bytes + size > self.config.queue_bytes:
            self._counts["queue_dropped"] += 1
            return
        if self._queue:
            self._queued_bytes += size
        else:
            self._head_leaves_at = self._now + self._sending_s(packet)
        self._queue.append(packet)

    def poll(self, now: float) -> list[bytes]:
        """Return the packets that have arrived by ``now``, in the order of their arrival."""
        self._advance(now)
        arrived = []
        while self._flying and self._flying[0][0] <= self._now:
            packet = heapq.heappop(self._flying)[2]
            self._count("delivered", packet)
            arrived.append(packet)
        return arrived

    def next_deadline(self) -> float:
        """Return when `poll` has something to do, ``math.inf`` when nothing is under way."""
        arrival = self._flying[0][0] if self._flying else math.inf
        return min(arrival, self._head_leaves_at)

    def configure(self, config: LinkConfig, now: float) -> None:
        """Change the link at ``now``. Packets in the queue meet the new rate; those on the wire arrive as they would have."""
        self._advance(now)
        if self._queue:
            old_rate = self.config.rate_bps or math.inf
            left_bits = max(self._head_leaves_at - self._now, 0.0) * old_rate
            self._head_leaves_at = self._now + (left_bits / config.rate_bps if config.rate_bps else 0.0)
        self.config = config
        self._advance(now)

    def stats(self) -> LinkStats:
        """Return the totals so far."""
        return LinkStats(**self._counts)

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)
        while self._queue and self._head_leaves_at <= self._now:
            left_at = self._head_leaves_at
            self._propagate(self._queue.popleft(), left_at)
            if not self._queue:
                self._head_leaves_at = math.inf
                break
            head = self._queue[0]
            self._queued_bytes -= len(head) + _HEADER_BYTES
            self._head_leaves_at = left_at + self._sending_s(head)

    def _sending_s(self, packet: bytes) -> float:
        rate = self.config.rate_bps
        return (len(packet) + _HEADER_BYTES) * 8 / rate if rate else 0.0

    def _propagate(self, packet: bytes, left_at: float) -> None:
        config = self.config
        if self._is_lost():
            self._counts["lost"] += 1
            return
        copies = 1
        if config.duplicate and self._random.random() < config.duplicate:
            copies = 2
            self._counts["duplicated"] += 1
        arrival = left_at + max(config.latency_s + self._random.uniform(-config.jitter_s, config.jitter_s), 0.0)
        # An arrival after the ones before it, whatever the jitter: a path is a queue, and a queue keeps the order.
        arrival = max(arrival, self._last_arrival)
        if config.reorder and self._random.random() < config.reorder:
            self._counts["held_back"] += 1
            arrival += config.reorder_delay_s
        else:
            self._last_arrival = arrival
        for _ in range(copies):
            heapq.heappush(self._flying, (arrival, next(self._order), packet))

    def _is_lost(self) -> bool:
        config = self.config
        if config.loss and self._random.random() < config.loss:
            return True
        burst = config.burst_loss
        if burst is None:
            return False
        change = burst.to_good if self._burst else burst.to_bad
        if self._random.random() < change:
            self._burst = not self._burst
        return self._random.random() < (burst.loss_bad if self._burst else burst.loss_good)

    def _count(self, name: str, packet: bytes) -> None:
        self._counts[name] += 1
        self._counts[f"{name}_bytes"] += len(packet)
