"""Test vectors of the format: made by the module `poste_restante`, and run by any reader.

python -m tests.vector_play writes `tests/vectors/*.json` again; a test holds them to the code.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from poste_restante.errors import UnreadableItem
from poste_restante.item import EPOCH, MICROSECOND, Item
from poste_restante.mailboxes import Mailboxes
from poste_restante.message import Message
from poste_restante.page import Page
from poste_restante.position import TABLE_RECORD_KEY
from tests.vector_cases import CASES, NOW, RECORD, Case, Step

VECTORS = Path(__file__).parent / "vectors"
#: The table that the calls of the vectors name.
TABLE = "mailboxes"

Answer = dict[str, Any]


class Reader(Protocol):
    """A reader of the table that the items of a case stand in. calls: made since the last look."""

    async def do(self, step: Step) -> Answer: ...
    def calls(self) -> list[Answer]: ...


class OurReader:
    """The module `poste_restante`. client: of the table, as aiobotocore has it."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = Recording(client, table)
        self._mailboxes = Mailboxes(self._client, table=table, clock=NOW.timestamp)
        self._receipts: list[str | None] = []

    async def do(self, step: Step) -> Answer:
        user: str = step["user"]
        device: Any = step.get("device")
        match step["do"]:
            case "fetch":
                return await self._fetch(user, device, step)
            case "ack":
                await self._mailboxes.ack(user, self._receipts[step["receipt"]], device=device)
                return {}
            case "add_device":
                made = await self._mailboxes.add_device(user, device, step["start"])
                return {"made": made}
            case "remove_device":
                await self._mailboxes.remove_device(user, device)
                return {}
            case "devices":
                return {"devices": [d.name for d in await self._mailboxes.devices(user)]}
            case other:
                raise ValueError(f"no such step: {other}")

    async def _fetch(self, user: str, device: str | None, step: Step) -> Answer:
        after = None if step.get("receipt") is None else self._receipts[step["receipt"]]
        try:
            page: Page = await self._mailboxes.fetch(
                user, device=device, limit=step.get("limit"), after=after
            )
        except UnreadableItem:
            self._receipts.append(None)
            return {"error": True}
        self._receipts.append(page.receipt)
        return {"messages": list(map(shown, page.messages)), "more": page.more}

    def calls(self) -> list[Answer]:
        return self._client.taken()


class Recording:
    """A client that keeps the calls about mailboxes, as JSON has them."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table
        self._calls: list[Answer] = []

    async def query(self, **arguments: Any) -> Any:
        self._calls.append(normal("Query", arguments, self._table))
        return await self._client.query(**arguments)

    async def update_item(self, **arguments: Any) -> Any:
        self._calls.append(normal("UpdateItem", arguments, self._table))
        return await self._client.update_item(**arguments)

    async def batch_write_item(self, **arguments: Any) -> Any:
        return await self._client.batch_write_item(**arguments)

    def taken(self) -> list[Answer]:
        found = [call for call in self._calls if not is_of_table_record(call)]
        self._calls = []
        return found


def normal(operation: str, arguments: Mapping[str, Any], table: str) -> Answer:
    """A call as a vector has it: the table's name is that of the vectors; how many items a Query
    asks for is the reader's choice."""
    assert arguments["TableName"] == table
    kept = {name: value for name, value in arguments.items() if name != "Limit"}
    return {operation: {**kept, "TableName": TABLE}}


def is_of_table_record(call: Answer) -> bool:
    """Whether it is the look at the table record, which comes now and then."""
    values = next(iter(call.values())).get("ExpressionAttributeValues", {})
    return bool(values.get(":user") == {"S": TABLE_RECORD_KEY})


def shown(message: Message) -> Answer:
    """A message as a vector has it: bytes are base64, times microseconds since 1970."""
    time = message.time
    return {
        "epoch": message.position.epoch,
        "partition": message.position.partition,
        "offset": message.position.offset,
        "id": message.id,
        "source": message.source,
        "type": message.type,
        "content_type": message.content_type,
        "body": base64(message.body),
        "time_us": None if time is None else (time - EPOCH) // MICROSECOND,
        "headers": [[name, None if value is None else base64(value)]
                    for name, value in message.headers],
    }  # fmt: skip


def base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")


async def play(reader: Reader, put: Any, steps: Sequence[Step]) -> list[Answer]:
    """The answer to each step, with its calls. put: stores items as a worker does."""
    answers: list[Answer] = []
    for step in steps:
        if step["do"] == "put":
            await put(step["items"])
            answers.append({})
            continue
        answer = await reader.do(step)
        calls = reader.calls()
        # Which Queries a limit makes, and how devices are managed, is the reader's choice.
        exact = step["do"] == "ack" or (step["do"] == "fetch" and step.get("limit") is None)
        answers.append({**answer, "calls": calls} if exact else answer)
    return answers


def items_of(case: Case) -> list[Item]:
    return [RECORD.encode(), *case.items]


async def vector(case: Case) -> Answer:
    """A vector, made by the module over a table in memory."""
    from tests.fake_table import InMemoryTable

    client = InMemoryTable(TABLE)

    async def put(items: Sequence[Item]) -> None:
        for item in items:
            await client.put_item(TableName=TABLE, Item=item)

    await put(items_of(case))
    answers = await play(OurReader(client, TABLE), put, case.steps)
    for step, answer in zip(case.steps, answers, strict=True):
        if step["do"] == "fetch" and not case.queries:
            answer.pop("calls", None)
    steps = [
        {**step, "expect": answer} if step["do"] != "put" else step
        for step, answer in zip(case.steps, answers, strict=True)
    ]
    found = {
        "name": case.name, "about": case.about, "now_ms": int(NOW.timestamp() * 1000),
        "items": items_of(case), "steps": steps,
    }  # fmt: skip
    return json.loads(text(found))  # type: ignore[no-any-return]


def text(vector: Answer) -> str:
    """A vector's file."""
    return json.dumps(vector, indent=1, ensure_ascii=False, default=base64) + "\n"


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    for case in CASES:
        (VECTORS / f"{case.name}.json").write_text(text(asyncio.run(vector(case))))


if __name__ == "__main__":
    main()
