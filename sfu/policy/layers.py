"""Which spatial layer of a video a subscriber receives."""

from __future__ import annotations

from dataclasses import dataclass

from sfu.plane.interface import LayerSummary

__all__ = ["LayerChooser", "Wish"]

# A layer that comes back must hold for as long before anybody is moved up to it: encoders that struggle switch layers on and off.
_STEADY_AFTER_S = 2.0
# Until the first keyframe tells the height, 720 lines for the top layer and half as many for each one below: what browsers send.
_ASSUMED_TOP_HEIGHT = 720
# A picture may be shown up to this much larger than it is before a sharper one is worth its bits.
_UPSCALE_LIMIT = 1.15


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber asked for: a height in pixels (0 stops the video), or one layer by its index."""

    height: int = 0
    spatial: int | None = None

    @property
    def nothing(self) -> bool:
        """Whether the video shall stop."""
        return self.spatial is None and self.height <= 0


class LayerChooser:
    """Chooses among the layers of one producer; keeps what it knows about each layer's health.

    ``layer_count`` is the number of simulcast layers, lowest first, 1 without simulcast.
    """

    def __init__(self, layer_count: int) -> None:
        self._count = layer_count
        self._heights = [_ASSUMED_TOP_HEIGHT >> (layer_count - 1 - index) for index in range(layer_count)]
        self._active_since_s: dict[int, float] = {}
        self._stalled: set[int] = set()

    @property
    def heights(self) -> tuple[int, ...]:
        """Height of each layer in pixels, assumed until known."""
        return tuple(self._heights)

    def update(self, summary: LayerSummary, now: float) -> None:
        """Take what one layer did lately."""
        if not 0 <= summary.spatial < self._count:
            return
        if summary.height > 0:
            self._heights[summary.spatial] = summary.height
        if summary.active:
            if summary.spatial not in self._active_since_s:
                # The first time needs no proof: the subscriber waits for its first picture.
                self._active_since_s[summary.spatial] = now
        else:
            self._active_since_s.pop(summary.spatial, None)
            self._stalled.add(summary.spatial)

    def usable(self, now: float) -> tuple[int, ...]:
        """The layers that flow, lowest first, without those that came back only just now."""
        return tuple(
            spatial
            for spatial, since_s in sorted(self._active_since_s.items())
            if spatial not in self._stalled or now - since_s >= _STEADY_AFTER_S
        )

    def choose(self, wish: Wish, now: float, *, cap: int | None = None) -> int | None:
        """The layer for ``wish``, at most ``cap``; None for none.

        The smallest layer that is tall enough; when it does not flow the next lower one that does, else the lowest that does. While
        nothing flows yet, the layer that would be right.
        """
        if wish.nothing:
            return None
        wanted = self._wanted(wish)
        if cap is not None:
            wanted = min(wanted, max(cap, 0))
        usable = self.usable(now)
        if not usable or wanted in usable:
            return wanted
        lower = [spatial for spatial in usable if spatial < wanted]
        return lower[-1] if lower else usable[0]

    def _wanted(self, wish: Wish) -> int:
        if wish.spatial is not None:
            return min(max(wish.spatial, 0), self._count - 1)
        for spatial, height in enumerate(self._heights):
            if height * _UPSCALE_LIMIT >= wish.height:
                return spatial
        return self._count - 1
