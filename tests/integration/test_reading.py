"""A fetch reads the same whatever its table holds: counted on DynamoDB Local, and never timed."""

from datetime import timedelta
from typing import Any

import aioboto3
import pytest

from benchmarks.loads import batches
from benchmarks.write_path import flush_all, flusher
from poste_restante import Mailboxes
from poste_restante.item import item_bytes
from poste_restante.table import TABLE_SCHEMA, TableRecord
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.retrying_store import open_store

#: Messages of the mailboxes that are read, and of others in the table, of ten messages each.
MAILBOXES, DEEP, TABLES = (0, 1, 10, 1_000), 2_500, (100, 2_000)
#: The records' time stands still, and nothing may have expired.
RETENTION = timedelta(days=36_500)


class Metered:
    """A client that sums what its Queries consume and bring."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.reset()

    def reset(self) -> None:
        self.queries, self.read_units, self.bytes = 0, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def query(self, **arguments: Any) -> Any:
        answer = await self._client.query(**arguments, ReturnConsumedCapacity="TOTAL")
        self.queries += 1
        self.read_units += answer["ConsumedCapacity"]["CapacityUnits"]
        self.bytes += sum(map(item_bytes, answer["Items"]))
        return answer


async def read(client: Any, table: str, user: str, limit: int | None) -> tuple[int, float, int]:
    """Queries, read units and bytes of a whole mailbox, by a process that has read the table
    record."""
    metered = Metered(client)
    mailboxes = Mailboxes(metered, table=table)
    await mailboxes.fetch("nobody")
    metered.reset()
    found = [page async for page in mailboxes.pages(user, limit=limit)]
    assert sum(len(page.messages) for page in found) == int(user[-10:])
    return metered.queries, metered.read_units, metered.bytes


@pytest.mark.usefixtures("dynamodb")
async def test_fetch_of_a_growing_table_reads_no_more(table_name: str) -> None:
    """A Query or two of the mailbox's own bytes, and pages of a deep one read it once (G7)."""
    found: dict[int, list[tuple[int, float, int]]] = {}
    record = TableRecord(table_id="t", topic="undelivered-messages", partitions=4, epoch=1)
    async with aioboto3.Session().client("dynamodb") as client, open_store() as store:
        await client.create_table(TableName=table_name, **TABLE_SCHEMA)
        await client.put_item(TableName=table_name, Item=record.encode())
        flush = flusher(DynamoDBWriter(store, table_name), RETENTION)
        for messages in (*MAILBOXES[1:], DEEP):
            await flush_all(flush, batches([b"user-%010d" % messages] * messages))
        for size in TABLES:
            await flush_all(
                flush, batches([b"user-%010d" % (5_000 + n // 10) for n in range(size)])
            )
            for messages in (*MAILBOXES, DEEP):
                limit = 1_000 if messages == DEEP else None
                one = await read(client, table_name, f"user-{messages:010}", limit)
                found.setdefault(messages, []).append(one)

    assert all(small == large for small, large in found.values())
    assert [found[messages][0][0] for messages in MAILBOXES] == [1, 1, 1, 2]
    assert found[1_000][0][2] < 1_000 * 420  # of bodies of 300 bytes
    assert found[DEEP][0][2] < 2 * DEEP * 420
