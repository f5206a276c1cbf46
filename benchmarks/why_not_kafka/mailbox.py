"""Beside them, a mailbox here: what one fetch takes, whatever the table holds.

The same messages as in the scan, in bundles, beside Bob's: the table grows, Bob's mailbox does not.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from typing import Any

import aioboto3

from benchmarks.reading.mail import Metered, gateway_client
from benchmarks.why_not_kafka.scan import BODY_BYTES, MISSED
from poste_restante import Mailboxes, open_mailboxes
from poste_restante.item import Item, encode_bundle
from poste_restante.message import Message
from poste_restante.position import Position
from poste_restante.table import TABLE_SCHEMA, TableRecord

TABLE, TOPIC, USER = "mailboxes", "undelivered-messages", "bob"
#: Messages in a bundle of the others: fewer items fill the table, and none of them is Bob's.
PER_BUNDLE = 10
#: BatchWriteItem accepts at most 25 items (API reference).
_CALL_ITEMS = 25
#: Calls in flight; DynamoDB Local is one process.
_IN_FLIGHT = 8
#: Fetches of each size, of which the median is reported; as many before, that are not counted.
FETCHES = 50
#: Fetches whose calls and bytes are counted, by themselves: each of them is the same.
COUNTED = 5


async def measure(sizes: list[int], table: str = TABLE) -> list[dict[str, float]]:
    """A point per number of messages in the table. Where DynamoDB is, the environment says."""
    points, written = [], 0
    async with aioboto3.Session().client("dynamodb") as client:
        await client.create_table(TableName=table, **TABLE_SCHEMA)
        record = TableRecord(table_id="experiment", topic=TOPIC, partitions=1, epoch=1)
        await client.put_item(TableName=table, Item=record.encode())
        await _write(client, table, [_bundle(USER, 2 * n, 1) for n in range(MISSED)])
        for size in sizes:
            others = range(written, size, PER_BUNDLE)
            bundles = (_bundle(f"user-{n}", 1_000_000 + n, PER_BUNDLE) for n in others)
            await _write(client, table, bundles)
            written = size
            points.append({"messages": size, **await _timed(table), **await _counted(table)})
    return points


def _bundle(user: str, first: int, count: int) -> Item:
    # An offset is used once per partition, and a window border is a multiple of ten.
    body = os.urandom(BODY_BYTES)
    return encode_bundle(
        [
            Message(user_id=user, id=(p := Position(1, 0, first + n)).id(TOPIC), body=body,
                    position=p)
            for n in range(count)
        ],
        TOPIC,
    )  # fmt: skip


async def _write(client: Any, table: str, items: Iterable[Item]) -> None:
    """All of them. DynamoDB Local leaves nothing over; if it did, Bob's page would say so."""
    waiting: set[asyncio.Task[Any]] = set()
    for call in _calls(iter(items)):
        if len(waiting) >= _IN_FLIGHT:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        puts = [{"PutRequest": {"Item": item}} for item in call]
        writing = client.batch_write_item(RequestItems={table: puts})
        waiting.add(asyncio.ensure_future(writing))
    await asyncio.gather(*waiting)


def _calls(items: Iterator[Item]) -> Iterator[list[Item]]:
    call: list[Item] = []
    for item in items:
        call.append(item)
        if len(call) == _CALL_ITEMS:
            yield call
            call = []
    if call:
        yield call


async def _timed(table: str) -> dict[str, float]:
    """The median of one fetch, as a gateway makes it."""
    async with open_mailboxes(table=table) as mailboxes:
        for _ in range(FETCHES):
            await mailboxes.fetch(USER)
        took: list[float] = []
        used = time.process_time()
        for _ in range(FETCHES):
            begin = time.perf_counter()
            page = await mailboxes.fetch(USER)
            took.append(time.perf_counter() - begin)
            if len(page.messages) != MISSED or page.more:
                raise RuntimeError(f"Bob's page has {len(page.messages)} messages")
        cpu_s = time.process_time() - used
    return {"seconds": round(statistics.median(took), 5), "cpu_s": round(cpu_s / FETCHES, 5)}


async def _counted(table: str) -> dict[str, float]:
    """What one fetch reads, of a client that asks each call."""
    async with gateway_client() as client:
        metered = Metered(client)
        mailboxes = Mailboxes(metered, table=table)
        await mailboxes.fetch(USER)  # reads the table record, too
        metered.reset()
        for _ in range(COUNTED):
            await mailboxes.fetch(USER)
    return {
        "queries": metered.queries / COUNTED, "read_units": metered.read_units / COUNTED,
        "bytes": metered.bytes / COUNTED,
    }  # fmt: skip
