"""A port that is kept whether or not anybody listens on it, and the connections to it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.fault_proxy.wire import HEAD_BYTES_MAX

#: Connections that wait to be taken: more than all clients of a test open at once.
BACKLOG = 1024

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass(eq=False)
class Connection:
    """One client's. writer: None before it has begun. ended: it is to be no more."""

    raw: socket.socket
    writer: Writer | None = None
    ended: bool = False

    def reset(self) -> None:
        """End it by a reset, at once; what was written and not yet sent is dropped."""
        self.ended = True
        if self.raw.fileno() >= 0:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.writer is not None:
            self.writer.transport.abort()


Serve = Callable[[Reader, Writer, Connection], Awaitable[None]]


class Listening:
    """On a free port of 127.0.0.1, its own from the start. serve: one connection, to its end.

    Sockets are taken by hand: asyncio's own server forgets, unclosed, what it is just taking when
    it is closed.
    """

    def __init__(self, serve: Serve) -> None:
        # Bound and never listening, it is what keeps the port: who connects is refused.
        self._kept = _bound(0)
        self.port: int = self._kept.getsockname()[1]
        self._serve = serve
        self._listener: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}

    async def start(self) -> None:
        """Somebody listens."""
        self._start()

    def _start(self) -> None:
        self._forget_again()
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.setblocking(False)
            self._listener.listen(BACKLOG)
            asyncio.get_running_loop().add_reader(self._listener, self._take, self._listener)

    async def stop(self, *, until_s: float | None) -> None:
        """Nobody listens, and every connection is reset.

        until_s: seconds until somebody listens again; None: not before `start`.
        """
        if self._listener is None and self._again is None:
            return  # stopped until somebody says otherwise
        self._forget_again()
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for connection in self._connections.values():
            connection.reset()
        if until_s is not None:
            self._again = loop.call_later(until_s, self._start)

    def _forget_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    async def close(self) -> None:
        """For good. What is under way is broken off."""
        await self.stop(until_s=None)
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the round after
        self._kept.close()

    def _take(self, listener: socket.socket) -> None:
        with suppress(OSError):  # gone again
            raw, _ = listener.accept()
            raw.setblocking(False)
            connection = Connection(raw)
            task = asyncio.ensure_future(self._connected(connection))
            self._connections[task] = connection
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task).raw.close()

    async def _connected(self, connection: Connection) -> None:
        reader, writer = await asyncio.open_connection(sock=connection.raw, limit=HEAD_BYTES_MAX)
        connection.writer = writer
        try:
            if not connection.ended:
                await self._serve(reader, writer, connection)
            if not connection.ended:
                writer.close()  # after what was written
                with suppress(OSError):
                    await writer.wait_closed()
        finally:
            writer.transport.abort()


def _bound(port: int) -> socket.socket:
    """REUSEPORT: the one that keeps the port and the one that listens are bound together."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made
