"""Only fetching, and committing what was fetched. A child process.

python -m benchmarks.contenders.floors aiokafka|confluent BOOTSTRAP TOPIC GROUP
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer

#: Records of a fetch, as the worker takes them.
BATCH_RECORDS = 5_000


async def by_aiokafka(bootstrap: str, topic: str, group: str) -> None:
    """Until it is killed."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group,
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    async with consumer:
        while True:
            if await consumer.getmany(timeout_ms=1_000, max_records=BATCH_RECORDS):
                await consumer.commit()


def by_confluent(bootstrap: str, topic: str, group: str) -> None:
    """Until it is killed."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": group,
        "enable.auto.commit": False, "auto.offset.reset": "earliest",
    })  # fmt: skip
    consumer.subscribe([topic])
    while True:
        if consumer.consume(BATCH_RECORDS, timeout=1.0):
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    if sys.argv[1] == "aiokafka":
        asyncio.run(by_aiokafka(*sys.argv[2:]))
    else:
        by_confluent(*sys.argv[2:])
