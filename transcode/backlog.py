"""What waits between the event loop and the thread that decodes: bounded, and dropping from keyframe to keyframe."""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum

from ingest.access_unit import TIMESCALE_HZ, AccessUnit, StreamInfo

__all__ = ["Backlog", "Mark"]


class Mark(Enum):
    """Items of the backlog that carry no data."""

    GAP = "gap"
    """Units were dropped here."""
    END = "end"


class Backlog:
    """A queue with one producer, which never waits, and one consumer, which does.

    When it holds ``max_units`` items or ``max_bytes`` bytes, everything is dropped until it is half empty and a keyframe comes; of
    the descriptions that come meanwhile, the last one counts.
    """

    def __init__(self, max_units: int, max_bytes: int) -> None:
        self._max_units = max_units
        self._max_bytes = max_bytes
        self._items: deque[AccessUnit | StreamInfo | Mark] = deque()
        self._bytes = 0
        self._newest = 0
        self._taken = 0
        self._has_video = False
        self._latest_info: StreamInfo | None = None
        self._dropping = False
        self._changed = threading.Condition()

    @property
    def lag_s(self) -> float:
        """Media time between the newest unit and the one that was taken last."""
        return max(self._newest - self._taken, 0) / TIMESCALE_HZ if self._items else 0.0

    def put(self, item: AccessUnit | StreamInfo | Mark) -> bool:
        """Add ``item``; return False when it was dropped. The end never is, and of infos the newest is kept."""
        with self._changed:
            if isinstance(item, AccessUnit):
                if not self._admit(item):
                    return False
                self._newest = max(self._newest, item.dts)
            elif isinstance(item, StreamInfo):
                self._has_video = item.video is not None
                # A flood of changes must not fill the memory either.
                self._dropping = self._dropping or self._is_full(item)
                if self._dropping:
                    self._latest_info = item
                    return True
            self._append(item)
            self._changed.notify()
            return True

    def end_now(self) -> None:
        """Forget what waits and end."""
        with self._changed:
            self._items.clear()
            self._bytes = 0
            self._items.append(Mark.END)
            self._changed.notify()

    def take(self) -> AccessUnit | StreamInfo | Mark:
        """Return the next item, waiting for it."""
        with self._changed:
            while not self._items:
                self._changed.wait()
            item = self._items.popleft()
            self._bytes -= _size(item)
            if isinstance(item, AccessUnit):
                self._taken = max(self._taken, item.dts)
            return item

    def _admit(self, unit: AccessUnit) -> bool:
        if self._dropping:
            half_empty = len(self._items) * 2 <= self._max_units and self._bytes * 2 <= self._max_bytes
            joinable = unit.keyframe and unit.kind == "video" if self._has_video else True
            if not (half_empty and joinable):
                return False
            self._dropping = False
            self._append(Mark.GAP)
            if self._latest_info is not None:
                self._append(self._latest_info)
                self._latest_info = None
        if self._is_full(unit):
            self._dropping = True
            return False
        return True

    def _is_full(self, item: AccessUnit | StreamInfo) -> bool:
        return len(self._items) >= self._max_units or self._bytes + _size(item) > self._max_bytes

    def _append(self, item: AccessUnit | StreamInfo | Mark) -> None:
        self._items.append(item)
        self._bytes += _size(item)


def _size(item: AccessUnit | StreamInfo | Mark) -> int:
    if isinstance(item, AccessUnit):
        return len(item.data)
    if isinstance(item, StreamInfo):
        return sum(len(track.config) for track in (item.video, item.audio) if track is not None)
    return 0
