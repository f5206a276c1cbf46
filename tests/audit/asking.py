"""Questions to the broker that are never cancelled: aiokafka leaves connections behind that way."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

#: Milliseconds until a request of a client has failed: as long as a look may take, since a busy
#: machine answers late, and a broker that is away refuses at once.
REQUEST_MS_MAX = 20_000
#: Seconds that open questions may take to end when their client closes: some requests in a row.
_END_S_MAX = 20.0

T = TypeVar("T")


class Questions:
    """Who asks may be cancelled, or have run out of time; the question then ends by itself."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()

    async def ask(self, question: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(question)
        self._open.add(task)
        task.add_done_callback(self._answered)
        return await asyncio.shield(task)

    def _answered(self, task: "asyncio.Task[Any]") -> None:
        self._open.discard(task)
        if not task.cancelled():
            task.exception()  # who asked has it, or has gone: it is nobody's any more

    async def end(self) -> None:
        """Waits for those that are open; cancels what is hopeless."""
        if self._open:
            _, hopeless = await asyncio.wait(set(self._open), timeout=_END_S_MAX)
            for task in hopeless:
                task.cancel()
            await asyncio.gather(*hopeless, return_exceptions=True)
