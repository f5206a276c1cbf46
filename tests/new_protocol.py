"""A member of the new group protocol (KIP-848), which aiokafka does not speak: librdkafka's."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer

from tests.deployment import DEADLINE_S, Deployment


@contextmanager
def new_protocol_member(deployment: Deployment) -> Iterator[None]:
    """In the deployment's group, with its topic; it has joined when the block begins, and reads
    on."""
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
            "group.id": deployment.group,
            "group.protocol": "consumer",
            "enable.auto.commit": False,
        }
    )
    joined, ended = threading.Event(), threading.Event()
    consumer.subscribe([deployment.topic], on_assign=lambda *_: joined.set())

    def read() -> None:
        while not ended.is_set():
            consumer.poll(0.1)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not joined.wait(0.1):
            assert time.monotonic() < deadline, "it does not join"
        yield
    finally:
        ended.set()
        thread.join()
        consumer.close()
