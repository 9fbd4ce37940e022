"""Objects that end once, with a reason, and take with them what lives on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from salam.errors import ClosedError

__all__ = ["Closable"]


class Closable(ABC):
    """Base of routers, transports, producers and consumers."""

    def __init__(self) -> None:
        self._close_reason: str | None = None
        self._close_callbacks: list[Callable[[str], object]] = []

    @property
    def closed(self) -> bool:
        """Whether `close` was called, on this object or on one that it lives on."""
        return self._close_reason is not None

    @property
    def close_reason(self) -> str | None:
        """Why it ended: ``closed`` for a call on the object itself, else what it lived on; None while it lives."""
        return self._close_reason

    def on_close(self, callback: Callable[[str], object]) -> None:
        """Call ``callback`` with the reason when the object ends; at once when it has."""
        if self._close_reason is not None:
            callback(self._close_reason)
        else:
            self._close_callbacks.append(callback)

    def close(self, reason: str = "closed") -> None:
        """End the object and everything that lives on it; the second call does nothing."""
        if self._close_reason is not None:
            return
        self._close_reason = reason
        callbacks, self._close_callbacks = self._close_callbacks, []
        self._release()
        for callback in callbacks:
            callback(reason)

    @abstractmethod
    def _release(self) -> None:
        """Close what lives on the object and give back what it holds; called once."""

    def _check_open(self) -> None:
        if self._close_reason is not None:
            raise ClosedError(f"the {type(self).__name__.lower()} is closed", reason=self._close_reason)
