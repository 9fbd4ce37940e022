"""What waits to be sent on one connection, bounded in frames and bytes."""

from __future__ import annotations

from collections import deque

__all__ = ["Outbox"]


class Outbox:
    """Frames in order. Once it overflowed it takes nothing more: a consumer never sees a stream with a hole in it."""

    __slots__ = ("_bytes", "_frames", "_max_bytes", "_max_frames", "overflowed")

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self.overflowed = False
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait."""
        return self._bytes

    def put(self, frame: bytes) -> bool:
        """Add ``frame``; False when there is no room for it, now or before."""
        if self.overflowed or len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            self.overflowed = True
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        return True

    def take(self) -> bytes | None:
        """Return and forget the oldest frame; None when nothing waits."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        return frame

    def clear(self) -> None:
        """Forget everything that waits."""
        self._frames.clear()
        self._bytes = 0
