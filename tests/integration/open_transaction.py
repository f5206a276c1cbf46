"""A transactional producer that sends one record and waits in its transaction until it is killed.

python open_transaction.py BOOTSTRAP TOPIC PARTITION
"""

import sys
import time

from confluent_kafka import Producer

#: Milliseconds until the coordinator aborts the transaction of a producer that has died: the
#: broker's own limit, longer than any test.
_TIMEOUT_MS = 900_000


def main(bootstrap: str, topic: str, partition: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"{topic}-held-back",
            "transaction.timeout.ms": _TIMEOUT_MS,
        }
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, key=b"bob", value=b"never committed", partition=partition)
    producer.flush()
    print("the transaction is open", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
