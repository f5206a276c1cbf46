"""A script on aiokafka and aioboto3, as its users write it: the honest rival. A child process.

    python -m benchmarks.plain BOOTSTRAP TOPIC GROUP TABLE

An item per message, BatchWriteItem of 25, bounded concurrency, leftovers resent with backoff, then
commit. It imports nothing of ours, so that what it costs and holds is its own.
"""

import asyncio
import random
import sys
from collections.abc import Sequence
from typing import Any

import aioboto3
from aiokafka import AIOKafkaConsumer

TABLE = "mailboxes"
#: Records of a fetch, as the worker takes them.
BATCH_RECORDS = 5_000
#: BatchWriteItem accepts at most 25 items (API reference).
CALL_ITEMS_MAX = 25
#: As many as the worker has in flight by default, so that neither waits more than the other.
CALLS_IN_FLIGHT_MAX = 16
#: Seconds, of the backoff on unprocessed items; doubling, with full jitter.
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 5.0
#: Seconds until a message has expired: 30 days, the worker's default.
RETENTION_S = 30 * 86_400


class Plain:
    """The writing loop. client: aioboto3's, with its default settings."""

    def __init__(self, client: Any, table: str = TABLE) -> None:
        self._client = client
        self._table = table
        self._in_flight = asyncio.Semaphore(CALLS_IN_FLIGHT_MAX)

    async def __call__(self, batches: Sequence[Sequence[Any]]) -> None:
        """Writes the records of all batches."""
        for batch in batches:
            requests = [{"PutRequest": {"Item": self._item(record)}} for record in batch]
            cuts = range(0, len(requests), CALL_ITEMS_MAX)
            await asyncio.gather(*(self._write(requests[n : n + CALL_ITEMS_MAX]) for n in cuts))

    def _item(self, record: Any) -> dict[str, Any]:
        return {
            "user_id": {"S": record.key.decode()},
            "position": {"S": f"{record.partition:05}.{record.offset:019}"},
            "body": {"B": record.value},
            "time": {"N": str(record.timestamp)},
            "expires_at": {"N": str(record.timestamp // 1000 + RETENTION_S)},
        }

    async def _write(self, requests: list[dict[str, Any]]) -> None:
        delay_s = BACKOFF_S_MIN
        left: dict[str, Any] = {self._table: requests}
        async with self._in_flight:
            while left:
                answer = await self._client.batch_write_item(RequestItems=left)
                left = answer["UnprocessedItems"]
                if left:
                    await asyncio.sleep(random.uniform(0, delay_s))
                    delay_s = min(BACKOFF_S_MAX, 2 * delay_s)


async def main(bootstrap: str, topic: str, group: str, table: str) -> None:
    """Reads and writes until it is killed."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group,
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    async with consumer, aioboto3.Session().client("dynamodb") as client:
        write = Plain(client, table)
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=BATCH_RECORDS)
            if fetched:
                await write(list(fetched.values()))
                await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
