"""Processor time of a record on its way from fetched to durable, without Kafka.

    worker  decode, pack, encode and write, by the worker's own pieces
    plain   what one writes by hand: an item per message, BatchWriteItem of 25, leftovers resent

Processor time of this whole process, user and system; the endpoint is another process. Contenders
take turns, and the least of the rounds counts: a disturbance only adds.
"""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import aioboto3

from benchmarks.endpoint import recorded, recording_endpoint
from benchmarks.loads import TOPIC, Batch, batches, each_to_another, skewed
from benchmarks.md_tables import number
from benchmarks.plain import TABLE, Plain
from benchmarks.report import Found, Table
from local import DYNAMODB_ADDRESS
from local.choose import LOCAL_AWS
from worker.bundles import BundleLimits
from worker.decode import CloudEventsDecoder
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.retrying_store import open_store
from worker.flush import Flusher

SOFTWARE = ("aiobotocore",)
LOADS = {"each to another": each_to_another, "skewed": skewed}
Contender = Callable[[Sequence[Batch]], Awaitable[None]]


class NoDeadLetters:
    """There are none in these loads."""

    async def send(self, letters: Sequence[Any]) -> None:
        raise RuntimeError(f"{len(letters)} dead letters")


def flusher(writer: DynamoDBWriter, retention: timedelta = timedelta(days=30)) -> Flusher:
    """The worker's flush with its default settings."""
    return Flusher(
        topic=TOPIC, decoder=CloudEventsDecoder(retention), limits=BundleLimits(),
        mailboxes=writer, dead_letters=NoDeadLetters(), dead_letters_consecutive_max=1_000,
    )  # fmt: skip


async def flush_all(flush: Flusher, load: Sequence[Batch]) -> None:
    """Partitions side by side, one batch at a time of each, as the worker does."""

    async def one_partition(partition: int) -> None:
        for batch in load:
            if batch[0].partition == partition:
                await flush.flush(batch, epoch=1, consecutive_dead_letters=0)

    await asyncio.gather(*map(one_partition, {batch[0].partition for batch in load}))


async def worker_writer(stack: AsyncExitStack, address: str) -> DynamoDBWriter:
    """The worker's writer, whose store is the endpoint at this address. Calls of several
    partitions are not merged, so that counts are the same every time."""
    with patch.dict(os.environ, {DYNAMODB_ADDRESS: address}):
        store = await stack.enter_async_context(open_store(coalesce_s=0))
    return DynamoDBWriter(store, TABLE)


def measure(*, small: bool) -> Found:
    """See `report.Part`."""
    records, rounds = (4_000, 2) if small else (20_000, 5)
    with patch.dict(os.environ, LOCAL_AWS), recording_endpoint() as address:
        return asyncio.run(_measure(address, records, rounds))


async def _measure(address: str, records: int, rounds: int) -> Found:
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        flush = flusher(await worker_writer(stack, address))
        session = aioboto3.Session().client("dynamodb", endpoint_url=address)
        contenders: dict[str, Contender] = {
            "worker": lambda load: flush_all(flush, load),
            "plain": Plain(await stack.enter_async_context(session)),
        }
        for name, users in LOADS.items():
            load = batches(users(records))
            for contender in contenders.values():  # connections, caches, lazy imports
                await contender(load[:1])
            spent: dict[str, list[float]] = {contender: [] for contender in contenders}
            counted = {}
            for _ in range(rounds):
                for label, contender in contenders.items():
                    recorded(address)
                    spent[label].append(await _cpu_us(contender, load) / records)
                    counted[label] = recorded(address).calls["BatchWriteItem"]
            plain = min(spent["plain"])
            figures[f"{name}/the write path"] = min(spent["worker"]) / plain
            rows += [
                [
                    name, label, number(min(own)), f"{min(own) / plain:.2f}",
                    number(1000 * counted[label].calls / records),
                    number(1000 * counted[label].write_units / records),
                    number(counted[label].bytes / records),
                ]
                for label, own in spent.items()
            ]  # fmt: skip
    header = ("load", "contender", "CPU, µs a record", "of plain", "calls per 1,000",
              "write units", "bytes a record")  # fmt: skip
    return Found({"write_path": Table(header, rows)}, figures)


async def _cpu_us(contender: Contender, load: Sequence[Batch]) -> float:
    gc.collect()
    gc.freeze()  # the harness's own records are not the contender's cost
    begin = time.process_time()
    await contender(load)
    return (time.process_time() - begin) * 1e6
