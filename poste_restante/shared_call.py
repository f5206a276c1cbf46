"""A call whose concurrent callers share one result."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from poste_restante.lifetime import ENDING_S_MAX

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Concurrent callers share one call, which `call` makes. Cancelling the last caller cancels
    it."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._task: asyncio.Task[T] | None = None
        self._callers = 0
        #: Cancelled calls, until they have released their connections.
        self._cancelled_tasks: set[asyncio.Task[T]] = set()

    @property
    def is_under_way(self) -> bool:
        """Return whether a caller waits for the call."""
        return self._task is not None

    async def result(self) -> T:
        """Return the result of the call under way, or of a new one. Raises what the call raises."""
        if self._task is None:
            self._task = asyncio.create_task(self._call())
            self._task.add_done_callback(self._end)
        task = self._task
        self._callers += 1
        try:
            await asyncio.wait({task})
        finally:
            self._callers -= 1
            if self._callers == 0:
                self._task = None
                task.cancel()
                if not task.done():
                    self._cancelled_tasks.add(task)
        return task.result()

    def _end(self, task: asyncio.Task[T]) -> None:
        self._cancelled_tasks.discard(task)
        if self._task is task:
            self._task = None
        if not task.cancelled():
            task.exception()  # the callers raise it

    async def close(self) -> None:
        """Wait for a cancelled call to end, at most ENDING_S_MAX."""
        if self._cancelled_tasks:
            await asyncio.wait(self._cancelled_tasks, timeout=ENDING_S_MAX)
