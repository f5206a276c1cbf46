"""Processor time of a fetch, beside what one writes by hand.

    fetch        `Mailboxes.fetch` with the client of `open_mailboxes`
    query        aioboto3's `query` of the same items, and boto3's TypeDeserializer
    per message  the same of a mailbox that has an item per message: what others read

Against an endpoint in a process of its own, whose mailboxes the worker's writer and the plain
script have filled. They take turns, and the least of the rounds counts. Python's collector does not
walk over what was there before.
"""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import aioboto3
from boto3.dynamodb.types import TypeDeserializer

from benchmarks.endpoint import recording_endpoint
from benchmarks.loads import batches
from benchmarks.md_tables import number
from benchmarks.plain import Plain
from benchmarks.report import Found, Table
from benchmarks.write_path import flush_all, flusher, worker_writer
from local import DYNAMODB_ADDRESS
from local.choose import LOCAL_AWS
from poste_restante import open_mailboxes

SOFTWARE = ("aiobotocore", "boto3")
#: Messages of a mailbox, and of a round in all.
SIZES, ROUND_MESSAGES = (0, 1, 10, 100, 1_000), 10_000
#: Fetches of a round: empty ones are many, large ones are few.
FETCHES_MIN, FETCHES_MAX = 5, 200
#: So that nothing has expired, whenever this is run: the records' time stands still.
RETENTION = timedelta(days=36_500)

Work = Callable[[str], Awaitable[Any]]


def measure(*, small: bool) -> Found:
    """See `report.Part`."""
    with patch.dict(os.environ, LOCAL_AWS), recording_endpoint(keeps=True) as address:
        os.environ[DYNAMODB_ADDRESS] = address
        return asyncio.run(_measure(address, *((1_000, 2) if small else (ROUND_MESSAGES, 5))))


def _user(kind: int, size: int) -> str:
    """A user of the loads' names: 1 for bundles, 2 for items."""
    return f"user-{kind:05}{size:05}"


async def _measure(address: str, messages: int, rounds: int) -> Found:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aioboto3.Session().client("dynamodb"))
        flush = flusher(await worker_writer(stack, address), RETENTION)
        # Offsets of a partition are used once: all users are filled as one load.
        await flush_all(flush, batches([_user(1, n).encode() for n in SIZES for _ in range(n)]))
        await Plain(client)(batches([_user(2, n).encode() for n in SIZES for _ in range(n)]))
        mailboxes = await stack.enter_async_context(open_mailboxes())
        query = _query(client)
        rows: list[list[str]] = []
        figures: dict[str, float] = {}
        for size in SIZES:
            if size and len((await mailboxes.fetch(_user(1, size))).messages) != size:
                raise RuntimeError(f"the mailbox of {size} messages has not as many")
            works: dict[str, tuple[str, Work]] = {
                "fetch": (_user(1, size), mailboxes.fetch), "query": (_user(1, size), query),
                "per message": (_user(2, size), query),
            }  # fmt: skip
            times = max(FETCHES_MIN, min(FETCHES_MAX, messages // max(1, size)))
            least = await _least_us(works, times, rounds)
            rows.append([f"{size:,}", *(_cell(spent, size) for spent in least.values())])
            figures[f"fetch us/{size:,}"] = round(least["fetch"])
    header = ("messages fetched", "`fetch`, µs", "aioboto3, the same items, µs",
              "aioboto3, an item per message, µs")  # fmt: skip
    return Found({"fetch_processor": Table(header, rows)}, figures)


def _cell(spent_us: float, size: int) -> str:
    return number(spent_us) + (f" ({number(spent_us / size)})" if size >= 10 else "")


def _query(client: Any) -> Work:
    """What one writes by hand."""
    deserialize = TypeDeserializer().deserialize

    async def query(user: str) -> list[dict[str, Any]]:
        answer = await client.query(
            TableName="mailboxes", ConsistentRead=True,
            KeyConditionExpression="user_id = :user",
            ExpressionAttributeValues={":user": {"S": user}},
        )  # fmt: skip
        return [
            {name: deserialize(value) for name, value in item.items()} for item in answer["Items"]
        ]

    return query


async def _least_us(
    works: dict[str, tuple[str, Work]], times: int, rounds: int
) -> dict[str, float]:
    """Microseconds of processor time of each work, done so often in a round."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for user, work in works.values():  # connections, caches
        await work(user)
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, (user, work) in works.items():
            begin = time.process_time()
            for _ in range(times):
                await work(user)
            spent[name].append((time.process_time() - begin) / times * 1e6)
    gc.unfreeze()
    return {name: min(own) for name, own in spent.items()}
