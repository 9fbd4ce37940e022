"""What a transaction calls around its commit, the same for every back end."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CommitCallbacks"]


class CommitCallbacks:
    """The half of a `Transaction` that no storage is needed for; the store calls `finish` and `committed`.

    Not bounded: the work of one transaction adds them, one for each workspace that it opens.
    """

    def __init__(self) -> None:
        self._before_commit: list[Callable[[], None]] = []
        self._after_commit: list[Callable[[], None]] = []

    def before_commit(self, callback: Callable[[], None]) -> None:
        self._before_commit.append(callback)

    def after_commit(self, callback: Callable[[], None]) -> None:
        self._after_commit.append(callback)

    def finish(self) -> None:
        """Run what was asked for before the commit."""
        for callback in self._before_commit:
            callback()

    def committed(self) -> None:
        """Run what was asked for after the commit."""
        for callback in self._after_commit:
            callback()
