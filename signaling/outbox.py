"""What waits to be sent on one connection, bounded in frames and bytes."""

from __future__ import annotations

from collections import OrderedDict

from signaling.messages import LayerChanged, Quality, Reaction, ServerMessage, Speakers, StreamChanged

__all__ = ["Outbox", "topic"]

# A connection is behind once a quarter of either bound waits: long before that a consumer is late by more than its network.
_BEHIND = 4


def topic(message: ServerMessage) -> str:
    """Return what ``message`` is the latest word on; empty when every message counts.

    Of two messages of one topic the newer says all that is still worth knowing.
    """
    match message:
        case Speakers():
            return "speakers"
        case Quality(reports=reports):
            return "quality " + " ".join(sorted(report.participant_id for report in reports))
        case LayerChanged(track_id=track_id):
            return f"layer {track_id}"
        case StreamChanged(stream=stream):
            return f"stream {stream}"
        case Reaction(stream=stream):
            return f"reaction {stream}"
        case _:
            return ""


class Outbox:
    """Frames in order. Once it overflowed it takes nothing more: a consumer never misses what it could not make up for.

    While the consumer is behind, a frame takes the place of the waiting one of the same topic (see `topic`).
    """

    __slots__ = ("_bytes", "_frames", "_last", "_latest", "_max_bytes", "_max_frames", "overflowed")

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self.overflowed = False
        self._frames: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        # The newest waiting frame of each topic; never more than there are frames.
        self._latest: dict[str, int] = {}
        self._last = 0
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait."""
        return self._bytes

    def put(self, frame: bytes, about: str = "") -> bool:
        """Add ``frame`` of the topic ``about``; False when there is no room for it, now or before."""
        if about and (len(self._frames) * _BEHIND >= self._max_frames or self._bytes * _BEHIND >= self._max_bytes):
            superseded = self._latest.pop(about, None)
            if superseded is not None:
                self._bytes -= len(self._frames.pop(superseded)[0])
        if self.overflowed or len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            self.overflowed = True
            return False
        self._last += 1
        self._frames[self._last] = (frame, about)
        if about:
            self._latest[about] = self._last
        self._bytes += len(frame)
        return True

    def take(self) -> bytes | None:
        """Return and forget the oldest frame; None when nothing waits."""
        if not self._frames:
            return None
        number, (frame, about) = self._frames.popitem(last=False)
        if about and self._latest.get(about) == number:
            del self._latest[about]
        self._bytes -= len(frame)
        return frame

    def clear(self) -> None:
        """Forget everything that waits."""
        self._frames.clear()
        self._latest.clear()
        self._bytes = 0
