"""What one fetch brings of several brokers, where partitions linger together.

Each broker answers for its own partitions by a response of its own, and a fetch returns with the
first. What aiokafka has held of the others since before the linger is the first record that came,
and not what has gathered behind it.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import aiokafka
from aiokafka.errors import IllegalStateError

from worker.record import Record

#: Seconds that a fetch after a linger waits for the other brokers, whose answers are on their way:
#: short beside a linger, long beside a request.
OTHER_BROKERS_S = 0.01

#: Topic and partition, as aiokafka or as Faust names them.
TP = TypeVar("TP", bound=tuple[str, int])


async def take_from_others(
    consumer: aiokafka.AIOKafkaConsumer,
    take: Callable[[set[TP], float], Awaitable[dict[TP, Sequence[Record]]]],
    partitions: set[TP],
    fetched: dict[TP, Sequence[Record]],
    begin_ms: int,
) -> None:
    """Add to `fetched` what brokers answer that have not answered since the fetch began.

    take: fetches partitions, within seconds. begin_ms: of the epoch.
    """
    until_s = time.monotonic() + OTHER_BROKERS_S
    while (left_s := until_s - time.monotonic()) > 0:
        late = partitions - answered(consumer, partitions, begin_ms)
        if not late:
            return
        for tp, records in (await take(late, left_s)).items():
            fetched[tp] = [*fetched.get(tp, ()), *records]


def answered(consumer: aiokafka.AIOKafkaConsumer, tps: set[TP], since_ms: int) -> set[TP]:
    """Those of which a broker has said since then what there is, if only nothing."""
    try:
        return {tp for tp in tps if (consumer.last_poll_timestamp(tp) or 0) >= since_ms}
    except (AssertionError, IllegalStateError):  # revoked meanwhile
        return set()
