"""Whether a server still answers, known within seconds: the schedule of probes on an allocation that should not be silent.

The transactions of RFC 8489 give a server up after 39.5 s, and an idle client has none under way for minutes. So while data is sent
and nothing at all comes back, the server is asked for a Binding: every STUN server answers that, and it costs little. Answers,
refusals and media all count as signs of life. Suspicion has no consequence by itself: whoever is suspected and then heard was never
gone. An idle client probes too, rarely, which also keeps the mappings of NATs on the way alive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from turn_client.stun import MessageClass, Method, build_message

__all__ = ["Liveness", "LivenessConfig"]


@dataclass(frozen=True, slots=True)
class LivenessConfig:
    """How soon silence is noticed."""

    interval_s: float = 0.5
    """Silence is looked at this often; three of it are more than the round trip over a satellite."""
    probes: int = 3
    """Unanswered probes, one for each interval, after which the server is suspected."""
    idle_interval_s: float = 10.0
    """Probes of a client that sends nothing: well under the 30 s after which the strictest NATs forget a UDP mapping."""


class Liveness:
    """Decides when to probe and when to suspect.

    ``heard`` and ``sent`` are set by whoever moves packets, which is all that it costs them.
    """

    def __init__(self, config: LivenessConfig, random: Callable[[int], bytes], now: float) -> None:
        self.heard = False
        self.sent = False
        self._config = config
        self._random = random
        self._unanswered = 0
        self._last_heard_s = now
        self._awake = False
        self.deadline = now + config.interval_s

    @property
    def suspected(self) -> bool:
        """Whether enough probes stayed without an answer, and nothing was heard since."""
        return self._unanswered >= self._config.probes and not self.heard

    def tick(self, now: float) -> bytes | None:
        """Look at what happened since the last time, and return a probe to send, or None."""
        if now < self.deadline:
            return None
        self.deadline = now + self._config.interval_s
        if self.heard:
            self.heard = False
            self._unanswered = 0
            self._last_heard_s = now
            # What was sent until now has its answer; only what is sent from here on makes silence strange.
            self._awake = False
            self.sent = False
            return None
        self._awake = self._awake or self.sent
        self.sent = False
        if not self._awake and not self._unanswered and now - self._last_heard_s < self._config.idle_interval_s:
            return None
        self._unanswered += 1
        return build_message(Method.BINDING, MessageClass.REQUEST, self._random(12), fingerprint=True)
