"""A plain script: aiokafka's getmany, aioboto3's BatchWriteItem, then commit. A child process.

python -m benchmarks.contenders.plain BOOTSTRAP TOPIC GROUP TABLE
"""

import asyncio
import sys

import aioboto3
from aiokafka import AIOKafkaConsumer

from benchmarks.plain import Plain

#: Records of a fetch, as the worker takes them.
BATCH_RECORDS = 5_000


async def main(bootstrap: str, topic: str, group: str, table: str) -> None:
    """Until it is killed."""
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
