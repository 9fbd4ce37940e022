"""Plays a loop in time: which frames of which layers are to be sent now."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.media.loops import EncodedFrame, Loop

__all__ = ["DueFrame", "LoopPlayer"]

# Encoders of browsers answer a flood of keyframe requests with about three keyframes a second.
_KEYFRAME_SPACING_S = 0.3
# A player that is further behind than this has been suspended: it goes on from now instead of sending everything it missed.
_MAX_BEHIND_S = 1.0


@dataclass(frozen=True, slots=True)
class DueFrame:
    """A frame to send now."""

    layer: int
    frame: EncodedFrame
    ticks: int
    """Media time since the player began, in ticks of the loop's clock, not wrapped."""


class LoopPlayer:
    """Hands out the frames of all active layers of ``loop``, one after the other, from ``start_s`` on.

    Sound begins where the loop would be had it been played since the clock's zero, a picture at the beginning of its loop.
    A keyframe request goes back to the loop's beginning with the next frame: all layers get a keyframe, as with real encoders.
    """

    def __init__(self, loop: Loop, start_s: float) -> None:
        self.loop = loop
        self._start_s = start_s
        self._count = 0
        self._length = min(len(layer.frames) for layer in loop.layers)
        # Sound is played by the clock, which all robots of a machine share: those that have their turns to speak keep to them.
        # A picture can begin at the loop's keyframe only.
        self._phase = round(start_s / loop.frame_s) if loop.kind == "audio" else 0
        self._position = self._phase % self._length
        self._active = [True] * len(loop.layers)
        self._last_keyframe_s = -math.inf
        self._keyframe_wanted = False

    def request_keyframe(self) -> None:
        """Make one of the next frames a keyframe; requests in a burst share one."""
        self._keyframe_wanted = self.loop.kind == "video"

    def set_active(self, layer: int, *, active: bool) -> None:
        """Stop or resume a layer, as a browser does when bandwidth is short; a resumed layer begins with a keyframe."""
        if active and not self._active[layer]:
            self.request_keyframe()
        self._active[layer] = active

    def due(self, now: float) -> list[DueFrame]:
        """Return the frames whose time has come."""
        if now - self.next_deadline() > _MAX_BEHIND_S:
            self._count = math.ceil((now - self._start_s) / self.loop.frame_s)
            self._position = (self._phase + self._count) % self._length if self.loop.kind == "audio" else 0
        frames: list[DueFrame] = []
        while self.next_deadline() <= now:
            if self._keyframe_wanted and now - self._last_keyframe_s >= _KEYFRAME_SPACING_S:
                self._position = 0
            if self._position == 0:
                self._keyframe_wanted = False
                self._last_keyframe_s = now
            ticks = self._count * self.loop.frame_ticks
            frames.extend(
                DueFrame(index, layer.frames[self._position], ticks)
                for index, layer in enumerate(self.loop.layers)
                if self._active[index]
            )
            self._position = (self._position + 1) % self._length
            self._count += 1
        return frames

    def next_deadline(self) -> float:
        """Return when the next frame is due."""
        return self._start_s + self._count * self.loop.frame_s
