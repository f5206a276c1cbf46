"""A DynamoDB endpoint in a process of its own that answers at once and records what it was asked.

It checks nothing, so what is left of a client's cost is the client's own, and its processor time is
not the client's. BatchWriteItem is recorded and, unless the endpoint keeps items, forgotten. All
other calls are answered from a table in memory: a worker finds the table record and its progress.
"""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from urllib.request import Request, urlopen

from aiohttp import web
from botocore import xform_name
from botocore.exceptions import ClientError

from poste_restante.item import Attribute, item_bytes, write_units
from poste_restante.table import TableRecord
from tests.fake_table import InMemoryTable

#: A body begins with its message's number, in so many digits.
NUMBER_DIGITS = 12
#: Seconds that an endpoint may take to begin, and to answer a question.
_BEGIN_S_MAX, _ANSWER_S_MAX = 30.0, 60.0
#: Bytes of a call, at most: more than DynamoDB takes.
_CALL_BYTES_MAX = 32 * 1024**2
_DIGITS_BASE64 = NUMBER_DIGITS // 3 * 4


@dataclass
class Counted:
    """What one operation came to. items: put. bytes: of the calls' bodies."""

    calls: int = 0
    items: int = 0
    bytes: int = 0
    write_units: int = 0


def wire_item_bytes(item: Mapping[str, Any]) -> int:
    """The size of an item as a call carries it, with binary values in base64."""
    return item_bytes({name: _decoded(value) for name, value in item.items()})


def _decoded(value: Attribute) -> Attribute:
    ((kind, content),) = value.items()
    if kind == "B":
        return {kind: b64decode(content)}
    if kind == "L":
        return {kind: [_decoded(element) for element in content]}
    if kind == "M":
        return {kind: {name: _decoded(element) for name, element in content.items()}}
    return value


def _bodies(item: Mapping[str, Any]) -> Iterator[str]:
    """The bodies of an item, in base64: of a bundle's messages, or of one message."""
    if "messages" in item:
        for message in item["messages"]["L"]:
            if "b" in message["M"]:
                yield message["M"]["b"]["B"]
    elif "body" in item:
        yield item["body"]["B"]


@dataclass
class Recorder:
    """What an endpoint was asked since it was cleared.

    calls: by operation. readable_ns: when each message was first written, by its number, on the
    monotonic clock.
    """

    calls: dict[str, Counted] = field(default_factory=dict)
    readable_ns: dict[int, int] = field(default_factory=dict)

    def clear(self) -> None:
        """Forgets everything."""
        self.calls, self.readable_ns = {}, {}

    def add(self, operation: str, body: bytes, at_ns: int = 0) -> None:
        """Records a call whose answer was sent."""
        counted = self.calls.setdefault(operation, Counted())
        counted.calls += 1
        counted.bytes += len(body)
        if operation == "UpdateItem":
            counted.write_units += 1  # the worker's progress is below 1 KB
        elif operation == "BatchWriteItem":
            for requests in json.loads(body)["RequestItems"].values():
                for request in requests:
                    if "PutRequest" in request:
                        self._add_item(counted, request["PutRequest"]["Item"], at_ns)

    def _add_item(self, counted: Counted, item: Mapping[str, Any], at_ns: int) -> None:
        counted.items += 1
        counted.write_units += write_units(wire_item_bytes(item))
        for body in _bodies(item):
            digits = b64decode(body[:_DIGITS_BASE64])
            if digits.isdigit():
                self.readable_ns.setdefault(int(digits), at_ns)

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> "Recorder":
        """From `encode`."""
        found = json.loads(text)
        calls = {name: Counted(**one) for name, one in found["calls"].items()}
        return cls(calls, {int(number): at_ns for number, at_ns in found["readable_ns"].items()})


class _Endpoint:
    """keeps: BatchWriteItem is stored. stall_s: seconds from the first write on in which writes
    are not answered."""

    def __init__(
        self, recorder: Recorder, table: InMemoryTable, *, keeps: bool, stall_s: float
    ) -> None:
        self._recorder, self._table, self._keeps = recorder, table, keeps
        self._stall_s, self._stalled_until_s = stall_s, 0.0

    async def call(self, request: web.Request) -> web.StreamResponse:
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        body = await request.read()
        if operation == "BatchWriteItem" and self._stall_s:
            await self._stall()
        at_ns = time.monotonic_ns()
        status, answer = 200, b'{"UnprocessedItems":{}}'
        if operation != "BatchWriteItem" or self._keeps:
            status, answer = await self._ask(operation, json.loads(body))
        response = web.Response(
            body=answer, status=status, content_type="application/x-amz-json-1.0"
        )
        await response.prepare(request)
        await response.write_eof()
        self._recorder.add(operation, body, at_ns)
        return response

    async def _stall(self) -> None:
        now_s = time.monotonic()
        self._stalled_until_s = self._stalled_until_s or now_s + self._stall_s
        await asyncio.sleep(max(0.0, self._stalled_until_s - now_s))

    async def _ask(self, operation: str, call: dict[str, Any]) -> tuple[int, bytes]:
        try:
            found = await getattr(self._table, xform_name(operation))(**call)
        except ClientError as error:
            code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
            return 400, json.dumps({"__type": f"#{code}", "message": text}).encode()
        return 200, json.dumps(found).encode()

    async def recorded(self, _request: web.Request) -> web.Response:
        """What was recorded, which is forgotten."""
        answer = self._recorder.encode()
        self._recorder.clear()
        return web.Response(body=answer)


@asynccontextmanager
async def serving(
    recorder: Recorder,
    *,
    topic: str = "undelivered-messages",
    partitions: int = 4,
    keeps: bool = False,
    stall_s: float = 0.0,
) -> AsyncIterator[str]:
    """The address of an endpoint in this event loop. topic, partitions: of its table record."""
    table = InMemoryTable()
    record = TableRecord(table_id="measured", topic=topic, partitions=partitions, epoch=1)
    await table.put_item(TableName=table.name, Item=record.encode())
    endpoint = _Endpoint(recorder, table, keeps=keeps, stall_s=stall_s)
    app = web.Application(client_max_size=_CALL_BYTES_MAX)
    app.router.add_post("/", endpoint.call)
    app.router.add_delete("/", endpoint.recorded)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextmanager
def recording_endpoint(
    topic: str = "undelivered-messages", partitions: int = 4, **options: Any
) -> Iterator[str]:
    """The address of an endpoint in a process of its own, which ends with the block. options: of
    `serving`. Raises RuntimeError where it does not begin."""
    spawning = get_context("spawn")
    ours, its = spawning.Pipe()
    options |= {"topic": topic, "partitions": partitions}
    process = spawning.Process(target=_child, args=(its, options), daemon=True)
    process.start()
    try:
        if not ours.poll(_BEGIN_S_MAX):
            raise RuntimeError("the endpoint did not begin")
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _child(connection: Connection, options: dict[str, Any]) -> None:
    async def serve() -> None:
        async with serving(Recorder(), **options) as address:
            connection.send(address)
            await asyncio.Event().wait()

    asyncio.run(serve())


def recorded(address: str) -> Recorder:
    """What the endpoint recorded since this was last called."""
    with urlopen(Request(address, method="DELETE"), timeout=_ANSWER_S_MAX) as answer:
        return Recorder.decode(answer.read())
