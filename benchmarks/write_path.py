"""What a message costs on its way from a fetched record to a durable item, in processor time.

    python -m benchmarks.write_path [--records N] [--rounds N] [--json]

Processor time of this whole process, user and system, per record; the endpoint that answers is
another process. Fetching is not in it: everybody pays it, to the same library. Contenders take
turns, and the least of the rounds counts: what disturbs a round on a shared machine only adds.

    worker  decode, pack, encode and write, by the worker's own pieces
    plain   what one writes by hand: an item per message, BatchWriteItem of 25, leftovers resent
    floor   the worker's calls alone: its bodies made beforehand, signed and sent
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import aioboto3
import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.instant import Counted, Counting, counted, instant_endpoint, listen
from benchmarks.made import markdown, number
from benchmarks.picture import Bars, bars
from benchmarks.plain import CALLS_IN_FLIGHT_MAX, TABLE, Plain
from benchmarks.report import Found
from benchmarks.workloads import TOPIC, Batch, each_to_another, skewed
from worker.bundles import BundleLimits
from worker.decode import CloudEventsDecoder
from worker.dynamodb import open_store
from worker.flush import Flusher
from worker.writer import DynamoDBWriter

_KEY, _SECRET, _REGION = "local", "local", "us-east-1"

WORKLOADS = {"each to another user": each_to_another, "skewed backlog": skewed}
Contender = Callable[[Sequence[Batch]], Awaitable[None]]


class NoDeadLetters:
    """There are none in these workloads."""

    async def send(self, letters: Sequence[Any]) -> None:
        raise RuntimeError(f"{len(letters)} dead letters")


def flusher(writer: DynamoDBWriter) -> Flusher:
    """The worker's flush with its default settings."""
    return Flusher(
        topic=TOPIC, decoder=CloudEventsDecoder(timedelta(days=30)), limits=BundleLimits(),
        mailboxes=writer, dead_letters=NoDeadLetters(), dead_letters_consecutive_max=1_000,
    )  # fmt: skip


async def flush_all(flush: Flusher, batches: Sequence[Batch]) -> None:
    """Partitions side by side, one batch at a time of each, as the worker does."""

    async def one_after_the_other(partition: int) -> None:
        for batch in batches:
            if batch[0].partition == partition:
                await flush.flush(batch, epoch=1, dead_in_a_row=0)

    await asyncio.gather(*map(one_after_the_other, {batch[0].partition for batch in batches}))


class Floor:
    """Signed calls with bodies made beforehand, by aiohttp and botocore's signature alone."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address
        self._signature = SigV4Auth(Credentials(_KEY, _SECRET), "dynamodb", _REGION)
        self._in_flight = asyncio.Semaphore(CALLS_IN_FLIGHT_MAX)
        self.bodies: Sequence[bytes] = ()

    async def __call__(self, _: Sequence[Batch]) -> None:
        waves = range(0, len(self.bodies), 200)  # as many tasks as a flush has
        for n in waves:
            await asyncio.gather(*map(self._call, self.bodies[n : n + 200]))

    async def _call(self, body: bytes) -> None:
        headers = {
            "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
            "Content-Type": "application/x-amz-json-1.0",
        }
        request = AWSRequest("POST", self._address + "/", headers, body)
        self._signature.add_auth(request)
        async with (
            self._in_flight,
            self._session.post(request.url, data=body, headers=dict(request.headers)) as answer,
        ):
            json.loads(await answer.read())


# ---- measuring


async def worker_writer(stack: AsyncExitStack, address: str) -> DynamoDBWriter:
    """The worker's writer, whose store is the endpoint at this address.

    Calls of several partitions are not gathered, so that what is counted is the same every time.
    """
    with patch.dict(os.environ, AWS_ENDPOINT_URL_DYNAMODB=address):
        store = await stack.enter_async_context(open_store(gather_s=0))
    return DynamoDBWriter(store, TABLE)


async def bodies_of(batches: Sequence[Batch]) -> list[bytes]:
    """The bodies of the worker's calls for these batches."""
    found: list[bytes] = []

    class Keeping(Counting):
        def add(self, operation: str, body: bytes) -> None:
            assert operation == "BatchWriteItem"
            found.append(body)

    server, address = await listen(Keeping())
    async with server, AsyncExitStack() as stack:
        await flush_all(flusher(await worker_writer(stack, address)), batches)
    return found


async def _measure(address: str, records: int, rounds: int) -> list[dict[str, Any]]:
    found = []
    async with AsyncExitStack() as stack:
        flush = flusher(await worker_writer(stack, address))
        session = aioboto3.Session().client("dynamodb", endpoint_url=address)
        plain = Plain(await stack.enter_async_context(session))
        floor = Floor(await stack.enter_async_context(aiohttp.ClientSession()), address)
        contenders: dict[str, Contender] = {
            "worker": lambda batches: flush_all(flush, batches),
            "plain": plain,
            "floor": floor,
        }
        for workload, make in WORKLOADS.items():
            batches = make(records)
            floor.bodies = await bodies_of(batches)
            for contender in contenders.values():  # connections, caches, lazy imports
                await contender(batches[:1])
            spent: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(rounds):
                for name, contender in contenders.items():
                    counted(address)
                    spent[name].append(await _cpu_us(contender, batches) / records)
                    made = counted(address)["BatchWriteItem"]
                    if len(spent[name]) == rounds:
                        found.append(_row(workload, name, spent[name], made, records))
    return found


async def _cpu_us(contender: Contender, batches: Sequence[Batch]) -> float:
    gc.collect()
    gc.freeze()  # the harness's own records are nobody's cost
    begin = time.process_time()
    await contender(batches)
    return (time.process_time() - begin) * 1e6


def _row(
    workload: str, contender: str, spent: Sequence[float], made: Counted, records: int
) -> dict[str, Any]:
    return {
        "workload": workload,
        "contender": contender,
        "cpu_us_per_record": round(min(spent), 2),
        "cpu_us_per_record_median": round(statistics.median(spent), 2),
        "cpu_us_per_record_rounds": [round(each, 2) for each in spent],
        "calls_per_1000": round(1000 * made.calls / records, 2),
        "items_per_1000": round(1000 * made.items / records, 1),
        "bytes_per_record": round(made.bytes / records, 1),
        "write_units_per_1000": round(1000 * made.write_units / records, 1),
    }


def _of_plain(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float:
    (plain,) = (r for r in rows if (r["workload"], r["contender"]) == (row["workload"], "plain"))
    return float(row["cpu_us_per_record"] / plain["cpu_us_per_record"])


def _table(found: Found) -> str:
    rows = found["rows"]
    return markdown(
        ["load", "who", "CPU, µs a record", "of plain", "per 1,000: calls", "items", "write units",
         "bytes a record", "rounds, median"],
        [
            [
                row["workload"], row["contender"], number(row["cpu_us_per_record"]),
                f"{_of_plain(row, rows):.2f}", number(row["calls_per_1000"]),
                number(row["items_per_1000"]), number(row["write_units_per_1000"]),
                number(row["bytes_per_record"]),
                f"{found['rounds']}: {number(row['cpu_us_per_record_median'])}",
            ]
            for row in rows
        ],
    )  # fmt: skip


def _picture(found: Found) -> str:
    rows = found["rows"]
    names = list(dict.fromkeys(row["contender"] for row in rows))
    return bars(
        "From a fetched record to a durable item",
        "processor time, microseconds a record",
        list(dict.fromkeys(row["workload"] for row in rows)),
        [
            Bars(name, [r["cpu_us_per_record"] for r in rows if r["contender"] == name])
            for name in names
        ],
    )


TABLES: Mapping[str, Callable[[Found], str]] = {"write_path": _table}
PICTURES: Mapping[str, Callable[[Found], str]] = {"write_path.svg": _picture}


def measure(*, small: bool) -> Found:
    return measured(4_000 if small else 20_000, rounds=2 if small else 5)


def measured(records: int, rounds: int) -> Found:
    """What each contender spends on so many records of each load: the least of the rounds."""
    credentials = {"AWS_ACCESS_KEY_ID": _KEY, "AWS_SECRET_ACCESS_KEY": _SECRET,
                   "AWS_DEFAULT_REGION": _REGION}  # fmt: skip
    with patch.dict(os.environ, credentials), instant_endpoint() as address:
        rows = asyncio.run(_measure(address, records, rounds))
    return {"records": records, "rounds": rounds, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measured(given.records, given.rounds)
    print(json.dumps(found) if given.json else _table(found))


if __name__ == "__main__":
    main()
