"""confluent-kafka's consume, boto3's batch_writer, then commit. A child process.

python -m benchmarks.contenders.confluent BOOTSTRAP TOPIC GROUP TABLE
"""

import sys
from typing import Any

import boto3
from confluent_kafka import Consumer, KafkaException

from benchmarks.plain import RETENTION_S, position

#: Records of one take, as the worker takes them.
BATCH_RECORDS = 5_000


def item_of(message: Any) -> dict[str, Any]:
    """What the plain script writes, in the types of boto3's Table."""
    time = message.timestamp()[1]
    return {
        "user_id": message.key().decode(),
        "position": position(message.partition(), message.offset()),
        "body": message.value(),
        "time": time,
        "expires_at": time // 1000 + RETENTION_S,
    }


def main(bootstrap: str, topic: str, group: str, name: str) -> None:
    """Until it is killed."""
    table = boto3.resource("dynamodb").Table(name)
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": group,
        "enable.auto.commit": False, "auto.offset.reset": "earliest",
    })  # fmt: skip
    consumer.subscribe([topic])
    while True:
        messages = consumer.consume(BATCH_RECORDS, timeout=1.0)
        if not messages:
            continue
        with table.batch_writer() as batch:
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                batch.put_item(Item=item_of(message))
        consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
