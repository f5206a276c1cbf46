"""The thread that owns the Kafka client: what is asked of it, across threads.

It leans on undocumented parts of its libraries, as `worker.transport` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import aiokafka
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from worker.lives import Assignment
from worker.logs import SERVICES_LOGGER
from worker.record import Record

#: A fetch for this returns nothing but counts as a poll, so a worker that waits (or owns
#: nothing) stays in its group. An empty set would fetch from every partition.
NOTHING = {TopicPartition("", -1)}


class Fetched(NamedTuple):
    """What one fetch brought of a partition.

    caught_up: it reached the stable end, there is nothing more to read now. held_back: a
    transaction was open behind it then, so it did not reach the log's end.
    """

    records: Sequence[Record]
    caught_up: bool
    held_back: bool = False


class Fetching(Protocol):
    """What the thread asks of the consumer it serves."""

    @property
    def client_options(self) -> Mapping[str, Any]:
        """Of aiokafka's consumer."""

    @property
    def current(self) -> Assignment:
        """It knows how many records are wanted."""


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer; its methods run there."""

    consumer: Fetching
    logger = SERVICES_LOGGER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Partitions with a position of their own since they were held, and those of them that are
        #: paused because nothing is wanted of them now.
        self._opened: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        # Faust asks for read_committed only inside transactions, so we create the consumer.
        self._assignor = RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            **self.consumer.client_options,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
        )

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, Fetched]:
        result: dict[TP, Fetched] = await self.call_thread(self._fetch, active_partitions, timeout)
        return result

    async def _fetch(self, partitions: set[TP], timeout: float) -> dict[TP, Fetched]:
        consumer = self._ensure_consumer()
        self._prefetch_only(consumer, partitions)
        fetched = await self._fetch_records(
            consumer,
            partitions,
            timeout=timeout,
            max_records=self.consumer.current.records_wanted(),
        )
        return {
            tp: Fetched(records, await self._caught_up(consumer, tp), self._held_back(consumer, tp))
            for tp, records in fetched.items()
        }

    def _prefetch_only(
        self, consumer: aiokafka.AIOKafkaConsumer, partitions: Iterable[tuple[str, int]]
    ) -> None:
        """Pause the open partitions of which nothing is wanted: aiokafka fetches ahead of every
        other one, a batch of its producer at least, whatever the size of a fetch.

        What it has of a paused one it keeps. A partition that is held is none of these: it must
        not be resumed without a position.
        """
        wanted = set(map(TopicPartition._make, partitions))
        if self._opened - wanted == self._paused:
            return
        self._opened &= consumer.assignment()
        self._paused &= self._opened
        consumer.resume(*(self._paused & wanted))
        consumer.pause(*(self._opened - wanted - self._paused))
        self._paused = self._opened - wanted

    async def _caught_up(self, consumer: aiokafka.AIOKafkaConsumer, tp: TP) -> bool:
        # From the position, not from the last record: the end of a transactional topic is a
        # marker that no record ever reaches.
        try:
            end = consumer.last_stable_offset(tp)
            return end is not None and await consumer.position(tp) >= end
        except IllegalStateError:  # revoked meanwhile
            return False

    def _held_back(self, consumer: aiokafka.AIOKafkaConsumer, tp: TP) -> bool:
        try:
            stable_end, end = consumer.last_stable_offset(tp), consumer.highwater(tp)
        except IllegalStateError:  # revoked meanwhile
            return False
        return stable_end is not None and end is not None and stable_end < end

    async def positions(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Where the client library reads on: behind markers and what it has left out."""
        found: dict[TP, int] = await self.call_thread(self._positions, tps)
        return found

    async def _positions(self, tps: Iterable[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        with suppress(IllegalStateError):  # revoked meanwhile
            return {tp: await consumer.position(TopicPartition._make(tp)) for tp in tps}
        return {}

    async def poll(self) -> None:
        """Count as a poll, without a fetch: one would wait for the end of a rebalance.

        aiokafka refuses to join again whoever has not polled for `max_poll_interval_ms`: it would
        stay outside for ever, as after a broker that was away for that long in a rebalance.
        """
        await self.call_thread(self._poll)

    async def _poll(self) -> None:
        with self._ensure_consumer()._fetcher._subscriptions.fetch_context():
            pass

    async def limit_fetches(self, partition_bytes: int) -> None:
        """Bytes that a response takes of each partition, from the next request on."""
        await self.call_thread(self._limit_fetches, partition_bytes)

    async def _limit_fetches(self, partition_bytes: int) -> None:
        self._ensure_consumer()._fetcher._max_partition_fetch_bytes = partition_bytes

    async def hold(self, tps: set[TP]) -> None:
        """Leave partitions unread, with nothing prefetched, at a position of no meaning."""
        await self.call_thread(self._hold, tps)

    async def _hold(self, tps: set[TP]) -> None:
        consumer = self._ensure_consumer()
        for tp in map(TopicPartition._make, tps):
            self._opened.discard(tp)
            self._paused.discard(tp)
            if tp in consumer.assignment():
                consumer.pause(tp)
                consumer.seek(tp, 0)

    async def move(self, positions: Mapping[TP, int]) -> None:
        """Read partitions from these positions on. Raises IllegalStateError if revoked."""
        await self.call_thread(self._move, positions)

    async def _move(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in ((TopicPartition._make(tp), at) for tp, at in positions.items()):
            consumer.seek(tp, offset)
            consumer.resume(tp)
            self._opened.add(tp)
            self._paused.discard(tp)
