"""An endpoint that answers at once, and notes when it did and which messages that made readable.

What a worker needs to start and to commit it keeps in memory: the table record and progress.
Mailboxes it does not keep. In a process of its own; `GET /` answers with what was noted since the
last `DELETE /`, which is looked into only then.
"""

import asyncio
import json
import re
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from botocore.exceptions import ClientError

from benchmarks.instant import ANSWERS
from benchmarks.latency.load import NUMBER_DIGITS
from benchmarks.serving import Serving, header, in_a_process
from poste_restante.memory import InMemoryTable
from poste_restante.table import TableRecord

#: Seconds that the process may take to answer a question.
_ANSWER_S_MAX = 30.0
#: The begin of a body, in base64 as a call carries it (ours, or the plain script's): three bytes
#: are four characters.
_BODY = re.compile(rb'"b(?:ody)?": ?\{"B": ?"([A-Za-z0-9+/]{%d})' % (NUMBER_DIGITS // 3 * 4))

_METHODS = {"getitem": "get_item", "putitem": "put_item", "updateitem": "update_item"}


@dataclass(frozen=True, slots=True)
class Noted:
    """readable_ns: of the monotonic clock, by the message's number; the first time counts.
    committed_ns: when progress was written. calls: by operation. bodies: how many messages were
    written, each as often as it was."""

    readable_ns: dict[int, int]
    committed_ns: list[int]
    calls: dict[str, int]
    bodies: int


class _Notes:
    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self.committed_ns: list[int] = []
        self.calls: Counter[str] = Counter()

    def encode(self) -> bytes:
        readable: dict[int, int] = {}
        bodies = 0
        for at_ns, call in self.writes:
            for begin in _BODY.findall(call):
                readable.setdefault(int(b64decode(begin)), at_ns)
                bodies += 1
        return json.dumps([list(readable.items()), self.committed_ns, self.calls, bodies]).encode()


class _Noting(Serving):
    """One connection."""

    def __init__(self, notes: _Notes, table: InMemoryTable) -> None:
        super().__init__()
        self._notes = notes
        self._table = table
        self._asked: set[asyncio.Task[None]] = set()

    def answer(self, head: str, body: bytes) -> None:
        if head.startswith("POST"):
            operation = header(head, "x-amz-target").rpartition(".")[2]
            self._notes.calls[operation] += 1
            if operation == "batchwriteitem":
                self._notes.writes.append((time.monotonic_ns(), body))
                self.say(ANSWERS["BatchWriteItem"])
                return
            # A connection has one call in flight, so the order of answers is kept.
            task = asyncio.get_running_loop().create_task(self._ask(operation, json.loads(body)))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
            return
        self.say(self._notes.encode())
        if head.startswith("DELETE"):
            self._notes.forget()

    async def _ask(self, operation: str, call: dict[str, Any]) -> None:
        try:
            found = await getattr(self._table, _METHODS[operation])(**call)
        except ClientError as error:
            code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
            self.say(json.dumps({"__type": f"#{code}", "message": text}).encode(), status=400)
            return
        if operation == "updateitem":
            self._notes.committed_ns.append(time.monotonic_ns())
        self.say(json.dumps(found).encode())


async def _noting(topic: str, partitions: int) -> Callable[[], Serving]:
    table = InMemoryTable()
    record = TableRecord(table_id="latency", topic=topic, partitions=partitions, epoch=1)
    await table.put_item(TableName=table.name, Item=record.encode())
    notes = _Notes()
    return lambda: _Noting(notes, table)


@contextmanager
def noting_endpoint(topic: str, partitions: int) -> Iterator[str]:
    """The address of one in a process of its own, which ends with the block."""
    with in_a_process(_noting, topic, partitions) as endpoint:
        yield endpoint.address


def noted(address: str) -> Noted:
    """What happened since this was last called."""
    with urlopen(Request(address, method="DELETE"), timeout=_ANSWER_S_MAX) as answer:
        readable, committed_ns, calls, bodies = json.load(answer)
    return Noted(dict(readable), committed_ns, calls, bodies)
