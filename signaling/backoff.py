"""How long to wait before the next attempt to connect."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Waits that double up to a cap, each drawn anew below its bound, so that clients that were lost together come back apart.

    ``jitter`` returns a number from 0 to 1 (`random.random`).
    """

    def __init__(self, *, jitter: Callable[[], float], first_s: float = 0.5, cap_s: float = 15.0) -> None:
        self._jitter = jitter
        self._first_s = first_s
        self._cap_s = cap_s
        self._attempts = 0

    def next_s(self) -> float:
        """Return the wait in seconds before the next attempt."""
        # Ten doublings are far above any cap, and keep the power from growing without bound.
        bound_s = min(self._first_s * 2.0 ** min(self._attempts, 10), self._cap_s)
        self._attempts += 1
        return bound_s * self._jitter()

    def reset(self) -> None:
        """Begin with the shortest wait again, after a success."""
        self._attempts = 0
