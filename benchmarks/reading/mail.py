"""Mailboxes as the worker writes them, and a gateway's client that says what its calls cost."""

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import aioboto3

from poste_restante.credentials import Credentials
from poste_restante.direct import DirectClient
from poste_restante.item import item_bytes
from poste_restante.message import Message
from poste_restante.position import Position
from poste_restante.table import TABLE_SCHEMA, TableRecord
from worker.bundles import Bundle, BundleLimits, pack
from worker.dynamodb import open_store
from worker.entry import entry_of
from worker.writer import DynamoDBWriter

TOPIC, BODY_BYTES = "undelivered-messages", 300
RECORD = TableRecord(table_id="measured", topic=TOPIC, partitions=12, epoch=1)
#: Partition of the mailboxes that are read, and of the others: offsets are used once in a log.
READ, OTHERS = 0, 1
#: Messages of a bundle of the others. A divisor of the window, so that none is cut.
OTHERS_PER_BUNDLE = 10
#: Bundles that are handed to the writer at a time: some 10 MB.
_WRITTEN_AT_A_TIME = 2_000
_TIME = datetime(2026, 1, 1, tzinfo=UTC)
#: Far enough, whenever this is run: what has expired is not shown.
_EXPIRES_AT = datetime(2099, 1, 1, tzinfo=UTC)


def messages(user: str, first: int, count: int, partition: int = READ) -> list[Message]:
    """Of one mailbox, at consecutive offsets."""
    return [
        Message(
            user_id=user, id=(position := Position(1, partition, first + n)).id(TOPIC),
            time=_TIME, body=os.urandom(BODY_BYTES), expires_at=_EXPIRES_AT, position=position,
        )
        for n in range(count)
    ]  # fmt: skip


def bundles(mail: Sequence[Message], limits: BundleLimits | None = None) -> list[Bundle]:
    """As the worker packs them, all waves in one: nobody reads meanwhile."""
    if not mail:
        return []
    entries = (entry_of(message, TOPIC) for message in mail)
    waves = pack(entries, mail[0].position.log, limits or BundleLimits())
    return [bundle for wave in waves for bundle in wave]


def others(first: int, end: int) -> Iterator[Bundle]:
    """Mailboxes that nobody reads: they fill the table."""
    for n in range(first, end, OTHERS_PER_BUNDLE):
        yield from bundles(messages(f"other-{n}", n, OTHERS_PER_BUNDLE, OTHERS))


async def write(table: str, given: Iterable[Bundle]) -> None:
    """By the worker's writer. Raises RuntimeError where it did not take all."""
    stream = iter(given)
    async with open_store() as store:
        writer = DynamoDBWriter(store, table)
        while some := list(islice(stream, _WRITTEN_AT_A_TIME)):
            if await writer.write(some):
                raise RuntimeError("DynamoDB Local rejects what the worker writes")


class Metered:
    """A gateway's client that asks every call what it cost."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.reset()

    def reset(self) -> None:
        self.queries, self.read_units, self.bytes = 0, 0.0, 0
        self.writes, self.write_units = 0, 0.0

    async def query(self, **arguments: Any) -> Any:
        answer = await self._client.query(**arguments, ReturnConsumedCapacity="TOTAL")
        self.queries += 1
        self.read_units += answer["ConsumedCapacity"]["CapacityUnits"]
        self.bytes += sum(map(item_bytes, answer["Items"]))
        return answer

    async def update_item(self, **arguments: Any) -> Any:
        answer = await self._client.update_item(**arguments, ReturnConsumedCapacity="TOTAL")
        self.writes += 1
        self.write_units += answer["ConsumedCapacity"]["CapacityUnits"]
        return answer

    async def batch_write_item(self, **arguments: Any) -> Any:
        answer = await self._client.batch_write_item(**arguments, ReturnConsumedCapacity="TOTAL")
        self.writes += 1
        self.write_units += sum(each["CapacityUnits"] for each in answer["ConsumedCapacity"])
        return answer


@asynccontextmanager
async def gateway_client() -> AsyncIterator[DirectClient]:
    """The client that `open_mailboxes` makes."""
    session = aioboto3.Session()
    async with session.client("dynamodb") as client:
        yield DirectClient(client, Credentials(session))


async def create(table: str) -> None:
    async with aioboto3.Session().client("dynamodb") as client:
        await client.create_table(TableName=table, **TABLE_SCHEMA)
        await client.put_item(TableName=table, Item=RECORD.encode())


def percentile(took: Sequence[float], part: float) -> float:
    """In seconds: the smallest that so large a part of them does not exceed."""
    return round(sorted(took)[min(len(took) - 1, int(len(took) * part))], 6)
