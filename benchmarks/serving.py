"""HTTP for the benchmarks' endpoints: requests in, answers out, by the least that will do.

What an endpoint costs is nobody's that is measured, but it shares the machine.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, cast

#: Seconds that an endpoint's process may take to begin.
_BEGIN_S_MAX = 30.0
#: Connections that wait to be accepted: a storm opens hundreds at once.
_BACKLOG = 1_024


class Serving(asyncio.Protocol):
    """One connection. Those who answer say what in `answer`."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: asyncio.Transport

    def answer(self, head: str, body: bytes) -> None:
        """Called with each request, in order; says something once. head: as it came, see
        `header`."""
        raise NotImplementedError

    def say(self, body: bytes, status: int = 200) -> None:
        """Sends an answer."""
        self._transport.write(
            b"HTTP/1.1 %d -\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d"
            b"\r\n\r\n%s" % (status, len(body), body)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while (end := received.find(b"\r\n\r\n") + 4) >= 4:
            head = bytes(received[:end]).decode("latin-1")
            total = end + int(header(head, "content-length") or "0")
            if len(received) < total:
                return
            body = bytes(received[end:total])
            del received[:total]
            self.answer(head, body)


def header(head: str, name: str) -> str:
    """A header's value, in lower case; empty where there is none. name: in lower case."""
    return head.lower().partition(f"\r\n{name}:")[2].partition("\r\n")[0].strip()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where it listens, and its process."""

    address: str
    pid: int


async def listening(serving: Callable[[], Serving], port: int = 0) -> tuple[asyncio.Server, str]:
    """The server, and its address. port: 0 for a free one."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(serving, "127.0.0.1", port, backlog=_BACKLOG)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def in_a_process(
    make: Callable[..., Awaitable[Callable[[], Serving]]], *given: Any
) -> Iterator[Endpoint]:
    """An endpoint in a process of its own, so that its processor time is nobody else's; it ends
    with the block. make: of a module, called there with what is given; returns what serves a
    connection. Raises RuntimeError where it does not begin."""
    ours, its = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_child, args=(its, make, given), daemon=True)
    process.start()
    try:
        if not ours.poll(_BEGIN_S_MAX):
            raise RuntimeError("the endpoint did not begin")
        yield Endpoint(ours.recv(), process.pid or 0)
    finally:
        process.kill()
        process.join()


def _child(
    connection: Connection,
    make: Callable[..., Awaitable[Callable[[], Serving]]],
    given: tuple[Any, ...],
) -> None:
    async def serve() -> None:
        server, address = await listening(await make(*given))
        connection.send(address)
        await server.serve_forever()

    asyncio.run(serve())
