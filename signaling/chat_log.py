"""The latest lines of one text chat, and which lines were seen already."""

from __future__ import annotations

from collections import OrderedDict, deque

from signaling.messages import ChatLine

__all__ = ["ChatLog"]


class ChatLog:
    """Keeps the latest ``history`` lines and recognises a repeated line among the last ``remembered``."""

    def __init__(self, *, history: int, remembered: int) -> None:
        self._lines: deque[ChatLine] = deque(maxlen=history)
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._remembered = remembered

    def add(self, author: str, line: ChatLine) -> bool:
        """Add ``line`` and return True; False when ``author`` (an identity) sent a line with that ``chat_id`` before."""
        # The id counts per author: nobody can take the ids of somebody else.
        key = (author, line.chat_id)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        self._lines.append(line)
        return True

    def lines(self) -> list[ChatLine]:
        """Return the kept lines, oldest first."""
        return list(self._lines)
