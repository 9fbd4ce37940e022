"""Asking a publisher for keyframes, often enough to start and seldom enough not to ruin the picture for everybody."""

from __future__ import annotations

import math

__all__ = ["KeyframeRequests"]

# A keyframe of one layer usually comes with keyframes of all, and takes a frame interval or two to arrive: requests within this
# time of another one of the same track are answered by the same keyframes.
_COALESCE_S = 0.2
# One subscriber on a bad path asks for a keyframe every few hundred milliseconds; everybody in the room pays with quality. At most
# one request per half second is passed on (LiveKit's figure for a low layer).
_COMPLAINT_SPACING_S = 0.5
_MIN_REPEAT_S, _MAX_REPEAT_S = 0.2, 1.0
# After two seconds of silence at the fastest pace the layer is most likely not being sent at all.
_FAST_TRIES = 10


class KeyframeRequests:
    """Decides when one track's publisher is asked, for which of its layers.

    A *need* comes from a subscriber that waits to start on a layer: it is repeated until a keyframe of that layer arrives. A
    *complaint* is a subscriber's own request while it is being sent a layer: it is passed on once or dropped, for it will come
    again if it matters.
    """

    def __init__(self) -> None:
        self._needed: set[int] = set()
        self._last_s = -math.inf
        self._tries = 0
        self.deadline = math.inf
        """When `due` may have something to ask for (monotonic seconds)."""

    def need(self, spatial: int, now: float) -> None:
        """Ask for a keyframe of layer ``spatial`` until one arrives."""
        if spatial in self._needed:
            return
        self._needed.add(spatial)
        self._tries = 0
        self.deadline = min(self.deadline, max(now, self._last_s + _COALESCE_S))

    def complain(self, spatial: int, now: float) -> bool:
        """Pass on a subscriber's request for layer ``spatial``; False when it is dropped."""
        if spatial in self._needed:
            return True
        if now - self._last_s < _COMPLAINT_SPACING_S:
            return False
        self.need(spatial, now)
        return True

    def on_keyframe(self, spatial: int) -> None:
        """A keyframe of layer ``spatial`` has begun to arrive: it is no longer needed."""
        self._needed.discard(spatial)
        if not self._needed:
            self.deadline = math.inf

    def cancel(self, spatial: int) -> None:
        """Nobody waits for layer ``spatial`` any more."""
        self.on_keyframe(spatial)

    def due(self, now: float, rtt_s: float) -> list[int]:
        """Return the layers to ask for now, and set the time of the repetition.

        The first time only the highest one: a keyframe of one layer brings those of the others with most encoders. Then all that
        are still without, for not every encoder does.
        """
        if now < self.deadline or not self._needed:
            return []
        self._last_s = now
        self._tries += 1
        self.deadline = now + (min(max(2 * rtt_s, _MIN_REPEAT_S), _MAX_REPEAT_S) if self._tries < _FAST_TRIES else _MAX_REPEAT_S)
        return sorted(self._needed) if self._tries > 1 else [max(self._needed)]
