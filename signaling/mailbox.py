"""The encrypted messages that one participant's device has not acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from signaling.limits import Limits
from signaling.secure_messages import Purpose, SecureMessage

__all__ = ["Mailbox"]


class Mailbox:
    """Messages in the order of their numbers, within bounds in number and bytes.

    Only so many are on their way at a time; each acknowledgement lets more follow. Therefore what waited for a participant who was
    away does not make them too slow when they are back.
    """

    __slots__ = ("_bytes", "_last", "_limits", "_sent", "_waiting")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[SecureMessage] = deque()
        self._last = 0
        self._sent = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, participant_id: str, user_id: str, device_id: int, purpose: Purpose, message: bytes) -> bool:
        """Keep a message from a sender; False when there is no room."""
        limits = self._limits
        if len(self._waiting) >= limits.secure_waiting or self._bytes + len(message) > limits.secure_waiting_bytes:
            return False
        self._last += 1
        self._bytes += len(message)
        self._waiting.append(
            SecureMessage(
                number=self._last,
                participant_id=participant_id,
                user_id=user_id,
                device_id=device_id,
                purpose=purpose,
                message=message,
            )
        )
        return True

    def take(self, number: int) -> None:
        """Forget every message up to ``number``."""
        while self._waiting and self._waiting[0].number <= number:
            self._bytes -= len(self._waiting.popleft().message)

    def rewind(self) -> None:
        """Nothing is on its way any more: all that waits is to be sent again."""
        self._sent = 0

    def clear(self) -> None:
        """Forget everything that waits; numbers go on."""
        self._waiting.clear()
        self._bytes = 0

    def to_send(self) -> Iterator[SecureMessage]:
        """Yield what may be sent now, and count it as on its way."""
        size = 0
        for index, message in enumerate(self._waiting):
            size += len(message.message)
            # One message alone always goes, however large the window.
            if index >= self._limits.secure_window or (index and size > self._limits.secure_window_bytes):
                return
            if message.number > self._sent:
                self._sent = message.number
                yield message
