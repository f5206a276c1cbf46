"""The lifetime of an object whose calls use connections: open, bound to one event loop, closed.

Connections belong to the event loop that created them and to the client that closes them. A call
from another loop, or after closing, would fail with an error of its socket, or leave a connection
open.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from poste_restante.errors import StoreUnavailable

#: Seconds for calls to end after closing: one attempt, with a gateway's time-outs.
CLOSE_S_MAX = 5.0
#: Seconds until a cancelled call has released its connection.
ENDING_S_MAX = 1.0


class Lifetime:
    """The lifetime of one object. what: its name in errors, in the plural."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_lock = threading.Lock()  # the first calls may come from two threads
        self._calls: set[asyncio.Timeout] = set()
        self._is_closed = False
        self._last_call_ended = asyncio.Event()

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Enclose a call. The first call binds the object to its event loop.

        Raises RuntimeError, before anything is called, if the object is closed or bound to another
        event loop. Raises StoreUnavailable if the call has not ended CLOSE_S_MAX after closing.
        """
        self._require_this_loop()
        if self._is_closed:
            raise RuntimeError(
                f"these {self._what} are closed: call them within their `async with` block"
            )
        try:
            async with asyncio.timeout(None) as ending:
                self._calls.add(ending)
                try:
                    yield
                finally:
                    self._calls.discard(ending)
                    if not self._calls:
                        self._last_call_ended.set()
        except TimeoutError as error:
            if not ending.expired():
                raise
            raise StoreUnavailable(
                f"no answer from the store in {CLOSE_S_MAX:g} s after the {self._what} were closed"
            ) from error

    def _require_this_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        with self._loop_lock:
            if self._loop is None:
                self._loop = loop
        if self._loop is not loop:
            raise RuntimeError(
                f"these {self._what} are used from another event loop than before: open"
                " some in each event loop"
            )

    async def close(self) -> None:
        """Refuse further calls, wait up to CLOSE_S_MAX for those under way, and end the rest.

        A cancellation ends the rest at once. May be repeated.
        """
        self._is_closed = True
        try:
            await self._wait(CLOSE_S_MAX)
        finally:
            now = asyncio.get_running_loop().time()
            for ending in self._calls:
                if not ending.expired():
                    ending.reschedule(now)
            await self._wait(ENDING_S_MAX)

    async def _wait(self, seconds: float) -> None:
        """Wait until no call is under way, at most `seconds`."""
        if self._calls:
            self._last_call_ended.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._last_call_ended.wait()
