"""Who speaks, from the audio levels that publishers put into each packet (RFC 6464)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sfu.plane.interface import AudioSummary

__all__ = ["SpeakerDetector"]

# Speech at a laptop's microphone is between -20 and -45 dBov; typing and fans stay below. Staying needs less than entering.
_ENTER_DBOV = -45
_STAY_DBOV = -55
# A word takes this long; a cough or a door does not. Gaps between syllables and words do not end it.
_ENTER_AFTER_S = 0.25
_GAP_S = 0.6
# Pauses between sentences are shorter.
_LEAVE_AFTER_S = 1.2
# The order of two speakers changes only when one is clearly louder: 6 dB is twice the amplitude.
_ORDER_MARGIN_DB = 6
# Weight of a new level in the smoothed one: about 300 ms of memory at ten summaries a second.
_SMOOTHING = 0.3
_SILENCE_DBOV = -127


@dataclass(slots=True)
class _Voice:
    level_dbov: float
    loud_since_s: float = 0.0
    heard_s: float = -math.inf
    speaking: bool = False


class SpeakerDetector:
    """Detects the speakers of one room; keys are whatever names a participant.

    Everybody who publishes audio is one entry; `remove` those who leave.
    """

    def __init__(self) -> None:
        self._voices: dict[str, _Voice] = {}
        self._order: list[str] = []

    @property
    def speakers(self) -> list[tuple[str, int]]:
        """Who speaks now with their level in dBov, loudest first."""
        return [(key, round(self._voices[key].level_dbov)) for key in self._order]

    def update(self, key: str, summary: AudioSummary, now: float) -> None:
        """Take what one audio track did in the last moments."""
        level = max(summary.level_dbov, _SILENCE_DBOV) if summary.packets else _SILENCE_DBOV
        voice = self._voices.setdefault(key, _Voice(level))
        voice.level_dbov += _SMOOTHING * (level - voice.level_dbov)
        if level >= _ENTER_DBOV or (voice.speaking and level >= _STAY_DBOV):
            if not voice.speaking and now - voice.heard_s > _GAP_S:
                voice.loud_since_s = now
            voice.heard_s = now
            voice.speaking = voice.speaking or now - voice.loud_since_s >= _ENTER_AFTER_S

    def remove(self, key: str) -> None:
        """Forget a participant."""
        self._voices.pop(key, None)

    def poll(self, now: float) -> list[tuple[str, int]] | None:
        """Return the speakers when who they are, or their order, changed since the last call; else None."""
        for voice in self._voices.values():
            if voice.speaking and now - voice.heard_s >= _LEAVE_AFTER_S:
                voice.speaking = False
        order = self._rank({key for key, voice in self._voices.items() if voice.speaking})
        if order == self._order:
            return None
        self._order = order
        return self.speakers

    def _rank(self, speaking: set[str]) -> list[str]:
        kept = [key for key in self._order if key in speaking]
        fresh = sorted(speaking - set(kept), key=lambda key: -self._voices[key].level_dbov)
        order = kept + fresh
        # One pass of a bubble sort with a margin: neighbours swap when the lower one is clearly louder, so the order settles.
        for index in range(len(order) - 1, 0, -1):
            above, below = self._voices[order[index - 1]], self._voices[order[index]]
            if below.level_dbov - above.level_dbov >= _ORDER_MARGIN_DB:
                order[index - 1], order[index] = order[index], order[index - 1]
        return order
