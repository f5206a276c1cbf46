"""Topics that are filled once and read by many groups, and how far a group has committed."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.contenders.loads import Sent

#: Seconds that the broker may take to make a topic, to answer, and to take what was sent.
ANSWER_S_MAX, FILL_S_MAX = 30.0, 300.0
#: Messages that wait in the producer.
_WAITING_MAX = 100_000
#: What a broker says of a group while it makes its first one; who looks has a deadline.
_SOON = {
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}  # fmt: skip
#: Seconds between two looks at a group.
_POLL_S = 0.1


@contextmanager
def filled(
    bootstrap: str, topic: str, partitions: int, sent: Iterable[Sent], compression: str = "none"
) -> Iterator[dict[int, int]]:
    """A topic with these messages: their number by partition. Removed with the block."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 4})  # syslog's: warnings
    made = admin.create_topics([NewTopic(topic, partitions, 1)])
    made[topic].result(ANSWER_S_MAX)
    try:
        yield _fill(bootstrap, topic, partitions, sent, compression)
    finally:
        admin.delete_topics([topic])[topic].result(ANSWER_S_MAX)


def _fill(
    bootstrap: str, topic: str, partitions: int, sent: Iterable[Sent], compression: str
) -> dict[int, int]:
    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 50, "acks": "all",
        "compression.type": compression,
        "queue.buffering.max.messages": _WAITING_MAX,
    })  # fmt: skip
    ends = dict.fromkeys(range(partitions), 0)

    def arrived(error: KafkaError | None, message: Message) -> None:
        if error is None:
            partition = message.partition()
            assert partition is not None
            ends[partition] += 1

    count = 0
    for count, each in enumerate(sent, 1):
        while len(producer) >= _WAITING_MAX - 1:
            producer.poll(_POLL_S)
        producer.produce(
            topic, each.body(count), each.user,
            partition=each.partition(partitions), on_delivery=arrived,
        )  # fmt: skip
        producer.poll(0)
    producer.flush(FILL_S_MAX)
    if sum(ends.values()) != count:
        raise RuntimeError(f"the broker took {sum(ends.values())} of {count} messages")
    return ends


class Group:
    """A consumer group, looked at from outside: it is not joined."""

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        self._topic = topic
        self._asking = Consumer({"bootstrap.servers": bootstrap, "group.id": group})

    def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """The next offset of each partition; 0 where there is none yet."""
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        try:
            found = self._asking.committed(asked, timeout=ANSWER_S_MAX)
        except KafkaException as error:
            if error.args[0].code() not in _SOON:
                raise
            return dict.fromkeys(partitions, 0)
        return {each.partition: max(0, each.offset) for each in found}

    def close(self) -> None:
        self._asking.close()


def reached(group: Group, ends: dict[int, int]) -> bool:
    """Everything is committed; after a short wait where it is not."""
    if all(offset >= ends[partition] for partition, offset in group.committed(ends).items()):
        return True
    time.sleep(_POLL_S)
    return False
