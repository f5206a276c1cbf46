"""A DynamoDB endpoint that answers at once, keeps nothing, and counts what it was asked.

    python -m benchmarks.instant [PORT]        prints its address, then serves until it is ended

It takes every call whole and checks nothing: what is left of a client's cost is the client's own.
Kept apart in a process of its own, its processor time is nobody else's. With another endpoint
behind it, all but BatchWriteItem is answered there: a worker finds its table and its progress.
`GET /` answers with what was counted since the last `DELETE /`, as JSON: per operation calls,
items, bytes of bodies, and write units; they are counted after the answer.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmarks.serving import Serving, header, in_a_process, listening
from poste_restante.item import write_units

#: Seconds that the process may take to answer a question.
_ANSWER_S_MAX = 30.0

#: An answer to each operation, of the shape that says "all is done, there is nothing".
ANSWERS = {
    "BatchWriteItem": b'{"UnprocessedItems":{}}',
    "GetItem": b'{"ConsumedCapacity":{"CapacityUnits":1.0,"TableName":"mailboxes"}}',
    "PutItem": b"{}",
    "Query": b'{"Count":0,"Items":[],"ScannedCount":0}',
    "UpdateItem": b"{}",
}


@dataclass
class Counted:
    """What one operation came to. items: put; an update is none. bytes: of the calls' bodies."""

    calls: int = 0
    items: int = 0
    bytes: int = 0
    write_units: int = 0


def wire_item_bytes(item: Mapping[str, Any]) -> int:
    """The size of an item as a call carries it (binary in base64), as DynamoDB counts it.

    Developer guide, "Item sizes and formats"; `poste_restante.memory.item_bytes` is the same for
    an item that is decoded.
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "B":
        encoded: str = content
        return len(encoded) // 4 * 3 - encoded[-2:].count("=")
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content.strip("-0.")) // 2 + 2
    if kind == "L":
        return 3 + sum(1 + _value_bytes(element) for element in content)
    if kind == "M":
        return 3 + sum(1 + len(n.encode()) + _value_bytes(v) for n, v in content.items())
    return 1  # NULL, BOOL


def written(operation: str, call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The items that a call puts."""
    if operation == "BatchWriteItem":
        for requests in call["RequestItems"].values():
            for request in requests:
                if "PutRequest" in request:
                    yield request["PutRequest"]["Item"]
    elif operation == "PutItem":
        yield call["Item"]


class Counting:
    """What an endpoint was asked, by operation."""

    def __init__(self) -> None:
        self.by_operation: dict[str, Counted] = {}

    def add(self, operation: str, body: bytes) -> None:
        counted = self.by_operation.setdefault(operation, Counted())
        counted.calls += 1
        counted.bytes += len(body)
        for item in written(operation, json.loads(body)):
            counted.items += 1
            counted.write_units += write_units(wire_item_bytes(item))
        if operation == "UpdateItem":
            counted.write_units += 1  # what it updates is not kept; ours are all below 1 KB

    def clear(self) -> None:
        self.by_operation.clear()

    def encode(self) -> bytes:
        return json.dumps({name: asdict(c) for name, c in self.by_operation.items()}).encode()


class Stall:
    """No write is answered for some seconds, from the first one on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until_s: float | None = None

    def left_s(self) -> float:
        """Seconds until a write of now is answered."""
        now_s = time.monotonic()
        if self._until_s is None:
            self._until_s = now_s + self._seconds
        return self._until_s - now_s


class _Counted(Serving):
    """behind: the address of an endpoint that answers everything but BatchWriteItem."""

    def __init__(self, counting: Counting, behind: str | None, stall: Stall) -> None:
        super().__init__()
        self._counting = counting
        self._behind = behind
        self._stall = stall
        self._passing: set[asyncio.Task[None]] = set()  # a task is kept alive by who knows it

    def answer(self, head: str, body: bytes) -> None:
        if head.startswith("POST"):
            name = header(head, "x-amz-target").rpartition(".")[2]
            if self._behind is not None and name != "batchwriteitem":
                task = asyncio.create_task(self._pass_on(self._behind, head, body))
                self._passing.add(task)
                task.add_done_callback(self._passing.discard)
                self._counting.add(_OPERATIONS.get(name, name), body)
                return
            operation = _OPERATIONS[name]
            if (left_s := self._stall.left_s()) > 0:
                asyncio.get_running_loop().call_later(left_s, self.say, ANSWERS[operation])
            else:
                self.say(ANSWERS[operation])
            self._counting.add(operation, body)
            return
        self.say(self._counting.encode())
        if head.startswith("DELETE"):
            self._counting.clear()

    async def _pass_on(self, behind: str, head: str, body: bytes) -> None:
        status, answer = await asyncio.to_thread(_asked, behind, head, body)
        self.say(answer, status)


def _asked(behind: str, head: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of what another endpoint answers to this request."""
    lines = (line.partition(": ") for line in head.split("\r\n")[1:] if line)
    headers = {name: value for name, _, value in lines if name.lower() not in _OURS}
    try:
        with urlopen(Request(behind, body, headers), timeout=_ANSWER_S_MAX) as answer:
            return answer.status, answer.read()
    except HTTPError as refused:
        return refused.code, refused.read()


#: Headers that are of the connection, or that the client makes again.
_OURS = frozenset({"host", "connection", "content-length", "accept-encoding"})


_OPERATIONS = {name.lower(): name for name in ANSWERS}


async def listen(
    counting: Counting, port: int = 0, behind: str | None = None
) -> tuple[asyncio.Server, str]:
    """The server, and its address. port: 0 for a free one. behind: another endpoint's address."""
    stall = Stall(0.0)
    return await listening(lambda: _Counted(counting, behind, stall), port)


async def _counting(
    counting: type[Counting], behind: str | None, stall_s: float
) -> Callable[[], Serving]:
    counts, stall = counting(), Stall(stall_s)
    return lambda: _Counted(counts, behind, stall)


@contextmanager
def instant_endpoint(
    counting: type[Counting] = Counting, behind: str | None = None, stall_s: float = 0.0
) -> Iterator[str]:
    """The address of one in a process of its own, which ends with the block. stall_s: seconds from
    the first write on in which no write is answered."""
    with in_a_process(_counting, counting, behind, stall_s) as endpoint:
        yield endpoint.address


def counted(address: str) -> dict[str, Counted]:
    """What the endpoint was asked since this was last called."""
    with urlopen(Request(address, method="DELETE"), timeout=_ANSWER_S_MAX) as answer:
        found = json.load(answer)
    return {name: Counted(**each) for name, each in found.items()}


async def _serve(port: int) -> None:
    server, address = await listen(Counting(), port)
    print(address, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
