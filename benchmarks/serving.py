"""HTTP for the benchmarks' endpoints: requests in, answers out, by the least that will do.

What an endpoint costs is nobody's that is measured, but it shares the machine.
"""

import asyncio


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
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

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
