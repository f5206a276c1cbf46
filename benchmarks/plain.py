"""The writing loop of a script on aioboto3, as its users write it: the honest rival.

An item per message, BatchWriteItem of 25, bounded concurrency, leftovers resent with backoff. It
imports nothing of ours, so that what it costs and holds is its own.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

TABLE = "mailboxes"
#: BatchWriteItem accepts at most 25 items (API reference).
CALL_ITEMS_MAX = 25
#: As many as the worker has in flight by default, so that neither waits more than the other.
CALLS_IN_FLIGHT_MAX = 16
#: Seconds, of the backoff on unprocessed items; doubling, with full jitter.
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 5.0
#: Seconds until a message has expired: 30 days, the worker's default.
RETENTION_S = 30 * 86_400


def position(partition: int, offset: int) -> str:
    """The sort key of a message's item: in log order within its partition."""
    return f"{partition:05}.{offset:019}"


class Plain:
    """client: aioboto3's, of default settings."""

    def __init__(self, client: Any, table: str = TABLE) -> None:
        self._client = client
        self._table = table
        self._in_flight = asyncio.Semaphore(CALLS_IN_FLIGHT_MAX)

    async def __call__(self, batches: Sequence[Sequence[Any]]) -> None:
        """Returns when all is written. Records have Kafka's fields, as aiokafka names them."""
        for batch in batches:
            requests = [{"PutRequest": {"Item": self._item(record)}} for record in batch]
            cuts = range(0, len(requests), CALL_ITEMS_MAX)
            await asyncio.gather(*(self._write(requests[n : n + CALL_ITEMS_MAX]) for n in cuts))

    def _item(self, record: Any) -> dict[str, Any]:
        return {
            "user_id": {"S": record.key.decode()},
            "position": {"S": position(record.partition, record.offset)},
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
