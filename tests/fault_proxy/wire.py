"""HTTP/1.1 as far as DynamoDB and its clients speak it: whole requests, whole answers."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from zlib import crc32

#: Bytes of a head: a signed request has under 2 KB.
HEAD_BYTES_MAX = 64 * 1024
#: Bytes of a body: what DynamoDB takes and gives is 16 MB at most (API reference).
BODY_BYTES_MAX = 32 * 1024 * 1024
#: Seconds that a connection to DynamoDB is kept idle: less than Jetty's own 30 s, so that it is
#: never closed under a call.
IDLE_S_MAX = 10.0

JSON = "application/x-amz-json-1.0"
#: Headers that are about one connection, or that we write ourselves.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


class NoAnswer(Exception):  # noqa: N818 - said as a state
    """The other side ended the connection, or said what is not HTTP."""


@dataclass(frozen=True)
class Request:
    """One request as it came. target: of the header X-Amz-Target. path: of the request line."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        return self.headers.get("x-amz-target", "").rpartition(".")[2]

    def with_body(self, body: bytes) -> "Request":
        return Request(self.path, self.headers, body)

    def encode(self) -> bytes:
        return _encoded(f"POST {self.path} HTTP/1.1", self.headers, self.body)


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, status: int, body: bytes, content_type: str = JSON) -> Self:
        """With the headers that DynamoDB sends."""
        headers = {"content-type": content_type, "x-amzn-requestid": str(uuid.uuid4())}
        return cls(status, headers, b"").with_body(body)

    def with_body(self, body: bytes) -> Self:
        """The same, saying something else, with the checksum of that."""
        return type(self)(self.status, {**self.headers, "x-amz-crc32": str(crc32(body))}, body)

    def encode(self) -> bytes:
        return _encoded(f"HTTP/1.1 {self.status} -", self.headers, self.body)


def _encoded(first: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items() if name not in _HOP)]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """None: the client ended the connection between two requests. Raises NoAnswer."""
    read = await _read(reader)
    if read is None:
        return None
    first, headers, body = read
    return Request(first.split(" ")[1], headers, body)


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        return first, headers, await _body(reader, headers)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise NoAnswer("cut off") from error
    except (OSError, ValueError, asyncio.LimitOverrunError) as error:
        raise NoAnswer(str(error)) from error


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(_bounded(int(headers.get("content-length", "0"))))
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        chunks.append(await reader.readexactly(_bounded(size)))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


def _bounded(size: int) -> int:
    if not 0 <= size <= BODY_BYTES_MAX:
        raise ValueError(f"a body of {size} bytes")
    return size


class Upstream:
    """The real DynamoDB. One connection serves one call at a time; idle ones are kept."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, request: Request) -> Answer:
        """Makes the call. Raises NoAnswer: it may have been made or not."""
        try:
            reader, writer = await self._connection()
        except OSError as error:
            raise NoAnswer(str(error)) from error
        kept = False
        try:
            writer.write(request.encode())
            with suppress(ConnectionError):  # what it says before it closes is read below
                await writer.drain()
            read = await _read(reader)
            if read is None:
                raise NoAnswer("closed")
            first, headers, body = read
            kept = headers.get("connection", "").lower() != "close"
            headers = {name: value for name, value in headers.items() if name not in _HOP}
            return Answer(int(first.split(" ")[1]), headers, body)
        finally:
            if kept:
                self._idle.append((asyncio.get_running_loop().time(), reader, writer))
            else:
                writer.transport.abort()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            since_s, reader, writer = self._idle.pop()
            if asyncio.get_running_loop().time() - since_s < IDLE_S_MAX and not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return await asyncio.open_connection(self._host, self._port, limit=HEAD_BYTES_MAX)

    async def close(self) -> None:
        for _, _, writer in self._idle:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
        self._idle.clear()
