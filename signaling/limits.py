"""The bounds and times of the signaling server, each with its reason, and the token bucket that enforces rates."""

from __future__ import annotations

from dataclasses import dataclass

from salam.errors import ConfigError, LimitError

__all__ = ["Limits", "Rate", "TokenBucket", "too_fast"]


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` at once, then ``per_s`` per second."""

    per_s: float
    burst: int


def too_fast(what: str, rate: Rate) -> LimitError:
    """Return the refusal of one more of ``what``."""
    return LimitError(f"too many {what}; allowed: {rate.burst} at once, then {rate.per_s:g} a second", code="rate_limited")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one signaling server accepts. Raises ConfigError for a value that is not positive."""

    connections: int = 10_000
    """Open WebSockets: at some 15 kB each they stay below 150 MB, and one process sends to them all within a second."""
    rooms: int = 1_000
    participants_per_room: int = 200
    """Everybody is told of everybody, so the work of a full room's entry grows with the square."""
    streams: int = 1_000
    """Livestreams that are watched or on air at a time."""
    watchers_per_stream: int = 10_000
    streams_per_session: int = 16
    """More than one wall of previews shows."""
    chat_history: int = 100
    """Lines that a newcomer is shown; at most 2,000 characters each."""
    chat_ids_remembered: int = 1_000
    """How far back a repeated line is recognised: longer ago than any client retries, at the allowed chat rate."""
    removals_remembered: int = 1_000
    """Removed people who may not come back yet; the oldest are forgiven first. No moderators work faster than that."""
    removal_s: float = 300.0
    """How long somebody whom a moderator removed stays out: long enough for pages to stop trying and tempers to cool."""
    one_time_prekeys: int = 100
    """One-time prekeys of a device on offer: as many people may begin to write to it before it is asked for more."""
    kem_one_time_prekeys: int = 20
    """The same of the 1.2 kB that a one-time KEM prekey has; after those the one of last resort is handed out."""
    one_time_prekeys_low: int = 25
    """Below this a device is told to publish more: a quarter is left for those who come meanwhile."""
    kem_one_time_prekeys_low: int = 5
    bundle_interval_s: float = 3_600.0
    """How long somebody who was given one-time prekeys of a device gets bundles without: one session needs one bundle."""
    bundle_requesters: int = 1_000
    """Who is remembered for that, of each device: several full rooms. Beyond it nobody is given one-time prekeys."""
    secure_waiting: int = 4_000
    """Encrypted messages that wait for one device: ten seconds of a full room in which everybody writes."""
    secure_waiting_bytes: int = 2 * 1024 * 1024
    """Their bytes: as many as may wait for a slow consumer."""
    secure_window: int = 256
    """Encrypted messages on their way to one device; more follow when those are acknowledged."""
    secure_window_bytes: int = 512 * 1024
    """Their bytes: a quarter of what may wait for a slow consumer, so that they never make one."""
    outgoing_frames: int = 1_024
    """Frames that may wait for a slow consumer. The state of a full room fits several times over."""
    outgoing_bytes: int = 2 * 1024 * 1024
    """Bytes that may wait for a slow consumer: several of the largest offers. Centrifugo's default is 1 MiB."""
    media_calls_waiting: int = 32
    """Negotiations of one participant that may wait for the media server; a client needs one or two at a time."""
    malformed_messages: int = 10
    """Unreadable messages, without an accepted one between, after which a connection is closed: a client with a bug is told a few
    times, a fuzzer is shown out."""
    refused_messages: int = 200
    """Messages over the rate, without an accepted one between, after which a connection is closed."""
    messages: Rate = Rate(50.0, 200)
    """All messages of one session; entering a room of 200 asks for 200 layers at once."""
    negotiations: Rate = Rate(5.0, 30)
    """Offers, ICE restarts and answers that nobody asked for, of one session: each may hold 256 KiB of SDP to be parsed, and
    switching devices or networks takes one or two. Answers to the server's own offers are not counted: it sets their pace."""
    chat: Rate = Rate(2.0, 10)
    """Lines of chat of one session: nobody types faster."""
    secure: Rate = Rate(400.0, 2_000)
    """Encrypted messages of one session, counted by receiving device: the rate of chat lines in a room of 200 devices."""
    reactions: Rate = Rate(5.0, 10)
    """Reactions of one session: a finger that taps."""
    hello_timeout_s: float = 10.0
    """How long a connection may stay without `Hello`."""
    heartbeat_s: float = 30.0
    """Proxies commonly drop connections that are silent for 60 s."""
    silence_timeout_s: float = 60.0
    """Two heartbeats: with the resume grace a silent peer is gone after 90 s."""
    resume_grace_s: float = 30.0
    """How long a lost session waits to be taken over: a change of network takes some seconds, a reload less."""
    reload_grace_s: float = 12.0
    """The same for a page that said it goes away (close code 1001), which a reload and a closed tab both do: others see a closed
    tab as reconnecting for this long, and a slow phone has loaded the page again by then."""
    viewers_interval_s: float = 1.0
    """Viewer counts are told at most this often: with 10,000 viewers coming, each one's coming would be told to all."""
    media_timeout_s: float = 15.0
    """How long the media server may take for one call; web clients wait as long for a reply."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            numbers = (value.per_s, value.burst) if isinstance(value, Rate) else (value,)
            if any(number <= 0 for number in numbers):
                raise ConfigError(f"{name} is {value}; allowed: more than 0")


class TokenBucket:
    """Allows ``rate.burst`` actions at once and ``rate.per_s`` per second in the long run."""

    __slots__ = ("_at_s", "_level", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = float(rate.burst)
        self._at_s = now

    def take(self, now: float, count: int = 1) -> bool:
        """Return whether ``count`` more actions are allowed at ``now`` (monotonic seconds), and count them if so."""
        elapsed_s = max(now - self._at_s, 0.0)
        self._at_s = now
        self._level = min(self._level + elapsed_s * self._rate.per_s, float(self._rate.burst))
        if self._level < count:
            return False
        self._level -= count
        return True
