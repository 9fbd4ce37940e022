"""Owned tasks: every task has one owner that knows it, awaits it and reports its failure.

asyncio keeps only weak references to tasks and reports an unseen failure when the garbage collector finds it, if at all. A
`TaskOwner` holds its tasks, reports each failure at once, and `close()` leaves none behind.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from salam.errors import ClosedError

__all__ = ["TaskOwner", "live_owners"]

_log = logging.getLogger("salam.tasks")

# Tests ask this set which owners still hold tasks; it keeps nothing alive.
_owners: weakref.WeakSet[TaskOwner] = weakref.WeakSet()

# How long `close` waits between cancelling tasks and naming those that ignore it. Longer than any cleanup that only touches memory
# or a local socket, shorter than the 5 s in which a whole process must drain.
_STUBBORN_AFTER_S = 2.0

FailureHandler = Callable[[str, BaseException], None]


class TaskOwner:
    """Spawns tasks, keeps them, and reports the failure of any of them.

    ``name`` appears in logs and task names. ``on_failure`` is called with the task's name and its exception; without one the
    failure is logged with its traceback. Failures are counted in `failures` either way and never end the owner.
    """

    def __init__(self, name: str, *, on_failure: FailureHandler | None = None) -> None:
        self.name = name
        self.failures = 0
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        _owners.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<TaskOwner {self.name} {state} tasks={len(self._tasks)} failures={self.failures}>"

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """The tasks that are still running."""
        return frozenset(self._tasks)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Start ``coro`` as a task of this owner and return it.

        Raises ClosedError, and closes ``coro``, when the owner is closed.
        """
        if self._closed:
            coro.close()
            raise ClosedError(f"{self.name} is closed and starts no more tasks", reason="owner_closed")
        task = asyncio.get_running_loop().create_task(coro, name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def close(self) -> None:
        """Cancel every task and wait until all have ended; safe to call twice, and from one of the owner's own tasks."""
        self._closed = True
        current = asyncio.current_task()
        pending = {task for task in self._tasks if task is not current}
        for task in pending:
            task.cancel()
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_STUBBORN_AFTER_S)
            for task in pending:
                _log.warning("task %s ignores its cancellation; cancelling again", task.get_name())
                task.cancel()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        failure = task.exception()
        if failure is None:
            return
        self.failures += 1
        if self._on_failure is not None:
            self._on_failure(task.get_name(), failure)
        else:
            _log.error("task %s failed", task.get_name(), exc_info=failure)


def live_owners() -> list[TaskOwner]:
    """Return every owner in this process that still has a running task; a test that ends with one has leaked it."""
    return [owner for owner in _owners if owner.tasks]
