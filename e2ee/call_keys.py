"""Media keys of a call: each participant's own key as people come and go, and everybody else's as they arrive.

Whose frame it is, is whose key opened it; SSRCs and what the forwarding unit says about them count for nothing. The keys travel in
pairwise messages (content kinds 3 and 5), which the caller sends and hands in. `now` is in seconds of a clock that never goes back.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from e2ee.errors import CounterExhausted, FrameReplay, LimitReached, MalformedMessage, UnknownFrameKey
from e2ee.frames import Codec, metadata
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.primitives import KEY_BYTES, Random, system_random
from e2ee.sframe import FrameKey, Header, ratchet

__all__ = ["MAX_GENERATION", "RATCHETED_KEY_BYTES", "STEPS", "KeyFrameNeeded", "KeyRing", "MediaKey", "SendKey", "SenderKeys"]

# KID = generation << 4 | step: sixteen steps of one generation, and generations of 32 bits.
_STEP_BITS: Final = 4
STEPS: Final = 1 << _STEP_BITS
MAX_GENERATION: Final = 2**32 - 1
# What every language's plain number counts exactly (2^53); at a thousand frames a second it lasts for ever.
_MAX_SENT: Final = 2**53
RATCHETED_KEY_BYTES: Final = 64
# Each member who leaves makes every sender announce another generation, and all but the last go unused: eight are kept of a
# sender, for as many leave within the two seconds before a new key is used at most in a large call that breaks up.
_MAX_GENERATIONS: Final = 8

Peer = TypeVar("Peer", bound=Hashable)


@dataclass(frozen=True, slots=True)
class MediaKey:
    """One sender's base key from ``step`` of ``generation`` on: 32 bytes at step 0, else 64."""

    generation: int
    step: int
    base_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not (0 <= self.generation <= MAX_GENERATION and 0 <= self.step < STEPS):
            raise MalformedMessage("a media key's generation or step is out of range")
        if len(self.base_key) != (RATCHETED_KEY_BYTES if self.step else KEY_BYTES):
            raise MalformedMessage("a media key does not have the length of its step")

    @property
    def kid(self) -> int:
        return self.generation << _STEP_BITS | self.step

    def next(self) -> MediaKey:
        """The key one step on; only below step 15."""
        return MediaKey(self.generation, self.step + 1, ratchet(self.base_key))


@dataclass(frozen=True, slots=True)
class SendKey(Generic[Peer]):
    """Send ``key`` to ``peer`` in a pairwise message."""

    peer: Peer
    key: MediaKey


@dataclass(frozen=True, slots=True)
class KeyFrameNeeded:
    """Another key is in use: every video encoder must make a key frame, so that nobody waits who missed the frames before it."""


Event = SendKey[Peer] | KeyFrameNeeded


class SenderKeys(Generic[Peer]):
    """The own media key of one call, shared by all own tracks; counters never repeat, whatever the number of tracks and layers.

    Methods that change who holds the key return what is to be done, in order. `deadline` says when `on_time` wants to be called.
    """

    def __init__(
        self, peers: Iterable[Peer] = (), *, generation: int = 0, random: Random = system_random, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """Start with a fresh key for ``peers``; `events_at_start` gives it to them.

        A device that starts anew may begin at any ``generation``, for its key is another. `LimitReached` for too many peers.
        """
        self._random = random
        self._limits = limits
        self._peers: dict[Peer, None] = {}
        for peer in peers:
            self._admit(peer)
        self._last_generation = generation
        self._present = MediaKey(generation, 0, random(KEY_BYTES))
        self._frame_key = FrameKey(self._present.kid, self._present.base_key)
        self._counter = 0
        self._next: MediaKey | None = None
        self._unacknowledged: set[Peer] = set()
        self.deadline = math.inf

    @property
    def kid(self) -> int:
        """The key id that frames are sealed under now."""
        return self._present.kid

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Who holds the key that is in use next, or now."""
        return tuple(self._peers)

    def events_at_start(self) -> list[Event[Peer]]:
        return [SendKey(peer, self._present) for peer in self._peers]

    def add(self, peer: Peer, now: float) -> list[Event[Peer]]:
        """``peer`` joined: give it a key that opens nothing from before. Nothing happens for one who is there already.

        The others derive the key alone, by its KID. `LimitReached` for too many participants, `CounterExhausted` past the last
        generation.
        """
        if peer in self._peers:
            return []
        if self._next is not None:
            # A fresh key is about to be used anyway; nobody waits for somebody who has only just come.
            self._admit(peer)
            return [SendKey(peer, self._next)]
        if self._present.step == STEPS - 1:
            key = self._fresh()
            self._admit(peer)
            return self._announce(key, now)
        self._admit(peer)
        self._use(self._present.next())
        return [SendKey(peer, self._present)]

    def again(self, peer: Peer) -> list[Event[Peer]]:
        """The key that ``peer`` should have, for its device lost it. Nothing happens for one who is not there."""
        return [SendKey(peer, self._next or self._present)] if peer in self._peers else []

    def remove(self, peer: Peer, now: float) -> list[Event[Peer]]:
        """``peer`` left: a new generation for everybody else. Nothing happens for one who is not there.

        `CounterExhausted` past the last generation.
        """
        if peer not in self._peers:
            return []
        key = self._fresh()
        del self._peers[peer]
        return self._announce(key, now)

    def renew(self, now: float) -> list[Event[Peer]]:
        """A new generation although nobody left: a peer's device changed, say. `CounterExhausted` past the last."""
        return self._announce(self._fresh(), now)

    def acknowledged(self, peer: Peer, generation: int) -> list[Event[Peer]]:
        """``peer`` has the key of ``generation``; what is not awaited from it changes nothing."""
        if self._next is None or generation != self._next.generation:
            return []
        self._unacknowledged.discard(peer)
        return [] if self._unacknowledged else self._switch(self._next)

    def on_time(self, now: float) -> list[Event[Peer]]:
        """Use the new generation if somebody's acknowledgement did not come in time."""
        return self._switch(self._next) if self._next is not None and now >= self.deadline else []

    def seal(self, codec: Codec, stream: str, frame: bytes) -> bytes:
        """Encrypt one encoded frame or data message of the track that signalling calls ``stream``.

        Raises `MalformedMessage` for what is no frame of that codec, `CounterExhausted` past the last counter. A failed frame is
        dropped, never sent as it is.
        """
        clear, secret = codec.split(frame)
        authenticated = metadata(clear, codec.kind, stream)
        if self._counter >= _MAX_SENT:
            raise CounterExhausted("the media key has sealed its last frame; renew it")
        counter = self._counter
        self._counter += 1
        return codec.join(clear, self._frame_key.seal(counter, secret, authenticated))

    def _admit(self, peer: Peer) -> None:
        if len(self._peers) >= self._limits.max_frame_senders:
            raise LimitReached(f"max_frame_senders is {self._limits.max_frame_senders}")
        self._peers[peer] = None

    def _fresh(self) -> MediaKey:
        if self._last_generation >= MAX_GENERATION:
            raise CounterExhausted("the call has used its last media key generation")
        self._last_generation += 1
        return MediaKey(self._last_generation, 0, self._random(KEY_BYTES))

    def _announce(self, key: MediaKey, now: float) -> list[Event[Peer]]:
        self._next = key
        self._unacknowledged = set(self._peers)
        # Whoever left first must not hear longer because others leave after them.
        self.deadline = min(now + self._limits.frame_key_switch_s, max(now, self.deadline))
        events: list[Event[Peer]] = [SendKey(peer, key) for peer in self._peers]
        return events if events else self._switch(key)

    def _switch(self, key: MediaKey) -> list[Event[Peer]]:
        self._use(key)
        self._next = None
        self._unacknowledged.clear()
        self.deadline = math.inf
        return [KeyFrameNeeded()]

    def _use(self, key: MediaKey) -> None:
        self._present = key
        self._frame_key = FrameKey(key.kid, key.base_key)
        self._counter = 0


class _Window:
    """Which counters of one KID were seen: the newest, and the ``size`` up to it."""

    __slots__ = ("_newest", "_seen", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._newest = -1
        # Bit n is the counter n below the newest.
        self._seen = 0

    def check(self, counter: int) -> None:
        behind = self._newest - counter
        if behind >= self._size or behind >= 0 and self._seen >> behind & 1:
            raise FrameReplay("a media frame came before, or is too old to tell")

    def add(self, counter: int) -> None:
        behind = self._newest - counter
        if behind >= 0:
            self._seen |= 1 << behind
            return
        # A jump wider than the window leaves nothing of it; the shift itself must not follow a number of 64 bits.
        self._seen = self._seen << -behind & (1 << self._size) - 1 | 1 if -behind < self._size else 1
        self._newest = counter


class _Step:
    """One KID: its frame key, what it has opened, and until when it may be used."""

    __slots__ = ("expires", "key", "window")

    def __init__(self, key: MediaKey, window_size: int) -> None:
        self.key = FrameKey(key.kid, key.base_key)
        self.window = _Window(window_size)
        self.expires = math.inf


class _Generation:
    """One key of a sender as it arrived, and what was derived from it."""

    __slots__ = ("arrival", "expires", "latest", "steps")

    def __init__(self, key: MediaKey, arrival: int, window_size: int) -> None:
        self.arrival = arrival
        self.expires = math.inf
        self.latest = key
        self.steps = {key.step: _Step(key, window_size)}

    def holds(self, key: MediaKey) -> bool:
        """Whether ``key`` is of the same chain as the one that is known, at whatever step."""
        early, late = sorted((self.latest, key), key=lambda known: known.step)
        while early.step < late.step:
            early = early.next()
        return hmac.compare_digest(early.base_key, late.base_key)


class _Sender:
    """The keys of one sender. Of two generations the newer one is that whose key arrived later, whatever its number.

    So a device that starts anew at a low generation is heard, and a key that comes late changes nothing unless it is used.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._generations: dict[int, _Generation] = {}
        self._arrivals = 0
        self._newest_used = 0

    def add(self, key: MediaKey) -> None:
        known = self._generations.pop(key.generation, None)
        if known is not None and known.holds(key):
            self._generations[key.generation] = known
            return
        if len(self._generations) >= _MAX_GENERATIONS:
            unused = [number for number, kept in self._generations.items() if kept.arrival != self._newest_used]
            del self._generations[min(unused, key=lambda number: self._generations[number].arrival)]
        self._arrivals += 1
        self._generations[key.generation] = _Generation(key, self._arrivals, self._limits.frame_replay_window)

    def open(self, codec: Codec, stream: str, frame: bytes, now: float) -> bytes:
        clear, sealed = codec.split_sealed(frame)
        authenticated = metadata(clear, codec.kind, stream)
        header, _ = Header.parse(sealed)
        self._expire(now)
        generation = self._generations.get(header.kid >> _STEP_BITS)
        if generation is None:
            raise UnknownFrameKey("a media frame is under a key that is not known")
        number = header.kid & STEPS - 1
        latest, step = generation.latest, generation.steps.get(number)
        if step is None:
            if number <= latest.step:
                raise UnknownFrameKey("a media frame is under a key that is no longer valid")
            while latest.step < number:
                latest = latest.next()
            step = _Step(latest, self._limits.frame_replay_window)
        step.window.check(header.counter)
        plain = step.key.open(sealed, authenticated)
        # The tag was right: only now may the frame change anything.
        step.window.add(header.counter)
        if number not in generation.steps:
            self._retire(generation.steps.values(), now)
            generation.latest = latest
            generation.steps[number] = step
        if generation.arrival > self._newest_used:
            self._newest_used = generation.arrival
            self._retire([old for old in self._generations.values() if old.arrival < generation.arrival], now)
        return clear + plain

    def _retire(self, old: Iterable[_Step | _Generation], now: float) -> None:
        for item in old:
            item.expires = min(item.expires, now + self._limits.frame_key_grace_s)

    def _expire(self, now: float) -> None:
        for number in [number for number, kept in self._generations.items() if now >= kept.expires]:
            del self._generations[number]
        for generation in self._generations.values():
            for step in [step for step, kept in generation.steps.items() if now >= kept.expires]:
                del generation.steps[step]


class KeyRing(Generic[Peer]):
    """Everybody else's media keys in one call. Bounded: `Limits.max_frame_senders`, 8 generations each, 16 steps of each."""

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._senders: dict[Peer, _Sender] = {}

    @property
    def senders(self) -> tuple[Peer, ...]:
        return tuple(self._senders)

    def add(self, sender: Peer, key: MediaKey) -> None:
        """Keep a key that came from the session with ``sender``, and acknowledge its generation afterwards.

        A generation that is known under another key is replaced. `LimitReached` for too many senders.
        """
        ring = self._senders.get(sender)
        if ring is None:
            if len(self._senders) >= self._limits.max_frame_senders:
                raise LimitReached(f"max_frame_senders is {self._limits.max_frame_senders}")
            ring = self._senders[sender] = _Sender(self._limits)
        ring.add(key)

    def remove(self, sender: Peer) -> None:
        """``sender`` left: nothing of it is opened any more."""
        self._senders.pop(sender, None)

    def open(self, sender: Peer, codec: Codec, stream: str, frame: bytes, now: float) -> bytes:
        """Decrypt a frame of ``sender``'s track ``stream``, ready for the decoder.

        Raises `MalformedMessage`, `UnknownFrameKey` (not yet, or no longer), `FrameReplay` or `DecryptionFailed`, and nothing has
        changed then: the frame is dropped, never passed on as it is.
        """
        ring = self._senders.get(sender)
        if ring is None:
            raise UnknownFrameKey("a media frame is of a sender without a key")
        return ring.open(codec, stream, frame, now)
