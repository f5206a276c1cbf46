"""One fetch from several brokers, for partitions that linger together.

Each broker answers for its own partitions, and a fetch returns with the first answer. Of the other
brokers aiokafka then holds, since before the linger, only the first record, not what has gathered
behind it.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import aiokafka
from aiokafka.errors import IllegalStateError

from worker.record import Record

#: Seconds that a fetch after a linger waits for the other brokers, whose answers are under way:
#: short beside a linger, long beside a request.
OTHER_BROKERS_S = 0.01

#: Topic and partition, in aiokafka's or Faust's type.
TP = TypeVar("TP", bound=tuple[str, int])


async def take_from_others(
    consumer: aiokafka.AIOKafkaConsumer,
    take: Callable[[set[TP], float], Awaitable[dict[TP, Sequence[Record]]]],
    partitions: set[TP],
    fetched: dict[TP, Sequence[Record]],
    begin_ms: int,
) -> None:
    """Add to `fetched` the answers of brokers that have not answered since the fetch began.

    take: fetches partitions, within seconds. begin_ms: epoch milliseconds.
    """
    until_s = time.monotonic() + OTHER_BROKERS_S
    while (left_s := until_s - time.monotonic()) > 0:
        late = partitions - answered(consumer, partitions, begin_ms)
        if not late:
            return
        for tp, records in (await take(late, left_s)).items():
            fetched[tp] = [*fetched.get(tp, ()), *records]


def answered(consumer: aiokafka.AIOKafkaConsumer, tps: set[TP], since_ms: int) -> set[TP]:
    """Return the partitions about which a broker has answered since then, even with nothing."""
    try:
        return {tp for tp in tps if (consumer.last_poll_timestamp(tp) or 0) >= since_ms}
    except (AssertionError, IllegalStateError):  # revoked meanwhile
        return set()
