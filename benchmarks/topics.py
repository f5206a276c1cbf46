"""Topics filled for a benchmark, and how far a consumer group has committed them."""

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

#: Seconds that the broker may take to answer, and to take what was sent.
_ANSWER_S_MAX, _FILL_S_MAX = 30.0, 300.0
#: Messages that wait in the producer.
_WAITING_MAX = 100_000
#: A broker's answers while it creates its first group.
_SOON = {
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}  # fmt: skip
_POLL_S = 0.1


def fill(
    bootstrap: str,
    topic: str,
    messages: Iterable[tuple[bytes, bytes]],
    compression: str = "none",
) -> dict[int, int]:
    """Sends keys and bodies; a key is always in the same partition. Returns how many messages each
    partition got. compression: as librdkafka names it."""
    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 50, "acks": "all",
        "compression.type": compression, "queue.buffering.max.messages": _WAITING_MAX,
    })  # fmt: skip
    ends: dict[int, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        partition = message.partition()
        if error is None and partition is not None:
            ends[partition] = ends.get(partition, 0) + 1

    sent = 0
    for key, body in messages:
        sent += 1
        while len(producer) >= _WAITING_MAX - 1:
            producer.poll(_POLL_S)
        producer.produce(topic, body, key, on_delivery=delivered)
        producer.poll(0)
    producer.flush(_FILL_S_MAX)
    if sum(ends.values()) != sent:
        raise RuntimeError(f"the broker took {sum(ends.values())} of {sent} messages")
    return ends


class Group:
    """A consumer group, looked at from outside: it is not joined."""

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        self._topic = topic
        self._asking = Consumer({"bootstrap.servers": bootstrap, "group.id": group})

    def reached(self, ends: Mapping[int, int]) -> bool:
        """Whether everything is committed; waits a moment where it is not."""
        asked = [TopicPartition(self._topic, partition) for partition in ends]
        try:
            found = self._asking.committed(asked, timeout=_ANSWER_S_MAX)
        except KafkaException as error:
            if error.args[0].code() not in _SOON:
                raise
            found = []
        if found and all(one.offset >= ends[one.partition] for one in found):
            return True
        time.sleep(_POLL_S)
        return False

    def close(self) -> None:
        self._asking.close()
