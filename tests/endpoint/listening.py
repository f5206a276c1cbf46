"""A port that is kept whether or not anybody listens on it, and the connections to it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from tests.endpoint.wire import HEAD_BYTES_MAX

#: Connections that wait to be taken: more than all clients of a test open at once.
BACKLOG = 1024

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Serve = Callable[[Reader, Writer], Awaitable[None]]


def reset(writer: Writer) -> None:
    """End a connection by a reset, at once."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Listening:
    """On a free port of 127.0.0.1, its own from the start. serve: one connection, to its end."""

    def __init__(self, serve: Serve) -> None:
        # Bound and never listening, it is what keeps the port: who connects is refused.
        self._kept = _bound(0)
        self.port: int = self._kept.getsockname()[1]
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._again: asyncio.TimerHandle | None = None
        self._starting: asyncio.Future[None] | None = None  # a task that nobody holds may vanish
        self._connections: dict[asyncio.Task[None], Writer] = {}

    async def start(self) -> None:
        """Somebody listens."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, sock=_bound(self.port), backlog=BACKLOG, limit=HEAD_BYTES_MAX
            )

    async def stop(self, *, until_s: float | None) -> None:
        """Nobody listens, and every connection is reset.

        until_s: seconds until somebody listens again; None: not before `start`.
        """
        if self._server is None and self._again is None:
            return  # stopped until somebody says otherwise
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._connections.values():
            reset(writer)
        if until_s is not None:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(until_s, self._start_again)

    def _start_again(self) -> None:
        self._starting = asyncio.ensure_future(self.start())

    async def close(self) -> None:
        """For good. What is under way is broken off."""
        await self.stop(until_s=None)
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the round after
        self._kept.close()

    async def _connected(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            try:
                if self._server is not None:  # else taken just before nobody listened
                    await self._serve(reader, writer)
            finally:
                writer.close()  # after what was written
                await writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            pass  # cancelled by `close` alone; streams log a task that ends cancelled
        finally:
            del self._connections[task]
            writer.transport.abort()


def _bound(port: int) -> socket.socket:
    """REUSEPORT: the one that keeps the port and the one that listens are bound together."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made
