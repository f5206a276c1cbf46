"""Faust's thread that owns the Kafka client, and the calls to it from other threads.

It relies on undocumented parts of Faust, as `worker.kafka.consumer` says.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from worker.fetching import Fetched
from worker.kafka.group_membership import GroupMembership
from worker.kafka.group_monitor import CHECK_S, GroupCheckResult
from worker.kafka.partition_reader import PartitionReader
from worker.logging_config import SERVICES_LOGGER


class Served(Protocol):
    """What the thread needs of the consumer that it serves."""

    @property
    def client_options(self) -> Mapping[str, Any]:
        """Options of aiokafka's consumer."""

    @property
    def topic(self) -> str:
        """The one consumed topic."""

    @property
    def hands_over(self) -> bool:
        """Whether the worker ends in order, so that others may take its partitions at once."""

    def note_group(self, result: GroupCheckResult) -> None:
        """Receive the result of a check of the group; called in the consumer's own loop."""

    def note_fetched(self, size: int) -> None:
        """Receive the bytes of the responses that the client keeps; called as `note_group`."""


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer. Its public methods are called from any thread;
    `membership` and `reader`, which exist once it has started, only in its own."""

    consumer: Served
    membership: GroupMembership | None = None
    reader: PartitionReader
    logger = SERVICES_LOGGER

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

    async def on_start(self) -> None:
        await super().on_start()
        client, topic = self._ensure_consumer(), self.consumer.topic
        membership = self.membership = GroupMembership(client, topic)
        self.reader = PartitionReader(
            client, topic, take=partial(self._fetch_records, client), group_error=membership.error
        )

    async def on_thread_stop(self) -> None:
        if self.membership is not None:
            self.membership.retrieve_errors()
            # A worker that ends in order leaves, so that the others continue at once.
            if self.consumer.hands_over:
                self.membership.leave_at_stop()
        await super().on_thread_stop()

    # ---- the group

    @Service.task
    async def _watch_group(self) -> None:
        assert self.membership is not None, "tasks begin after on_start"
        while not self.should_stop:
            await self.sleep(CHECK_S)
            result = self.membership.check()
            self.parent_loop.call_soon_threadsafe(self.consumer.note_group, result)
            size = self.reader.fetched_bytes()
            self.parent_loop.call_soon_threadsafe(self.consumer.note_fetched, size)

    def retry_group(self) -> None:
        """Let a coordination that stopped at an error continue and rejoin."""
        assert self.membership is not None, "it had an error"
        self.thread_loop.call_soon_threadsafe(self.membership.retry)

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit the group's offsets, as `GroupMembership.commit`."""
        assert self.membership is not None, "there is something to commit"
        done: bool = await self.call_thread(self.membership.commit, offsets)
        return done

    # ---- records and positions: as `PartitionReader` has them

    async def fetch(
        self, partitions: set[int], *, timeout_s: float, records_max: int, lingers: bool
    ) -> dict[int, Fetched]:
        found: dict[int, Fetched] = await self.call_thread(
            self.reader.fetch, partitions,
            timeout_s=timeout_s, records_max=records_max, lingers=lingers,
        )  # fmt: skip
        return found

    async def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        found: dict[int, int] = await self.call_thread(self.reader.positions, partitions)
        return found

    async def poll(self) -> None:
        await self.call_thread(self.reader.poll)

    async def limit_fetches(self, partition_bytes: int) -> None:
        await self.call_thread(self.reader.limit_fetches, partition_bytes)

    async def hold(self, partitions: Iterable[int]) -> None:
        await self.call_thread(self.reader.hold, partitions)

    async def move(self, positions: Mapping[int, int]) -> None:
        await self.call_thread(self.reader.move, positions)
