"""The thread that owns the Kafka client, and the calls to it from other threads.

It relies on undocumented parts of its libraries, as `worker.kafka.consumer` says. Two facts about
aiokafka's group coordination determine how it handles the group:

* The coordination keeps an error that it cannot handle for the next call that asks for one, and
  stops until then. Faust's calls bypass those that ask, so a task of this thread checks.
* Heartbeats and commits carry no instance id. A static member whose place was taken therefore
  receives UNKNOWN_MEMBER_ID, rejoins, and takes the place back: two such members would displace
  each other for ever. So the thread asks with the id before it rejoins.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import aiokafka
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from worker.group_errors import Code
from worker.kafka.group_monitor import LOOK_S, Look, TopicSeen
from worker.kafka.other_brokers import answered, take_from_others
from worker.logging_config import SERVICES_LOGGER
from worker.record import Record

#: A fetch for this returns nothing but counts as a poll, so a worker that waits (or has no
#: partitions) stays in its group. An empty set would fetch from every partition.
NOTHING = {TopicPartition("", -1)}


#: Seconds that the broker gets for one commit, which is repeated at the next interval. Without a
#: limit, a commit for a deleted topic would block the thread's queue of calls for ever.
COMMIT_ANSWER_S_MAX = 5.0


class FencedError(Exception):
    """Another process has taken this static member's place.

    It is no KafkaError, because aiokafka must not treat it as passing and rejoin.
    """

    errno = Code.FENCED_INSTANCE_ID


class Fetched(NamedTuple):
    """Result of one fetch for a partition.

    caught_up: it reached the stable end, and nothing more can be read now. held_back: a transaction
    was open behind it then, so it did not reach the log's end. lingers: it is paused until it is
    requested again. A lingering partition may have no records if others had some.
    """

    records: Sequence[Record]
    caught_up: bool
    held_back: bool = False
    lingers: bool = False


class Fetching(Protocol):
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

    def note_group(self, look: Look) -> None:
        """Receive the result of a check of the group; called in the consumer's own loop."""

    def note_fetched(self, size: int) -> None:
        """Receive the bytes of the responses that the client keeps; called as `note_group`."""


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer; its private methods run there."""

    consumer: Fetching
    logger = SERVICES_LOGGER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Partitions with a position of their own since they were held, and those of them that are
        #: paused because no fetch requests them now.
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

    # ---- the group

    async def on_start(self) -> None:
        self._answered = Code.NONE.value
        self._refused_commit: BaseException | None = None
        await super().on_start()
        self._note_answers(self._ensure_consumer()._coordinator)

    async def on_thread_stop(self) -> None:
        # aiokafka never removes a static member from its group. A worker that ends in order leaves,
        # so that the others continue at once and do not wait for its restart or its session
        # time-out.
        if self._consumer is not None and self.consumer.hands_over:
            self._consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()

    @Service.task
    async def _watch_group(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_S)
            if self._consumer is not None:
                look = self._look(self._consumer)
                self.parent_loop.call_soon_threadsafe(self.consumer.note_group, look)
                size = self._fetched_bytes(self._consumer)
                self.parent_loop.call_soon_threadsafe(self.consumer.note_fetched, size)

    def _fetched_bytes(self, consumer: aiokafka.AIOKafkaConsumer) -> int:
        """Return the bytes of the responses that aiokafka keeps, whole until the last record of
        their partition is taken."""
        fetched = consumer._fetcher._records.values()
        kept = [each._partition_records for each in fetched if isinstance(each, FetchResult)]
        return sum(each._records.size_in_bytes() for each in kept if each is not None)

    def _look(self, consumer: aiokafka.AIOKafkaConsumer) -> Look:
        coordinator, cluster, topic = (
            consumer._coordinator, consumer._client.cluster, self.consumer.topic
        )  # fmt: skip
        seen = TopicSeen.THERE
        if topic in cluster.unauthorized_topics:
            seen = TopicSeen.DENIED
        elif consumer.partitions_for_topic(topic) is None:
            seen = TopicSeen.MISSING
        return Look(
            error=self._refused_commit or self._group_error(coordinator),
            died=coordinator._coordination_task.done(),
            code=self._answered,
            coordinator=coordinator.coordinator_id is not None,
            topic=seen,
        )

    def _group_error(self, coordinator: Any) -> BaseException | None:
        """Return the error at which the coordination ended or stopped, without clearing it."""
        task = coordinator._coordination_task
        if task.done() and not task.cancelled() and task.exception() is not None:
            return task.exception()  # type: ignore[no-any-return]
        error: BaseException | None = coordinator._pending_exception
        return error

    def retry_group(self) -> None:
        """Let a coordination that stopped at an error continue and rejoin; from any thread."""
        self.thread_loop.call_soon_threadsafe(self._retry_group)

    def _retry_group(self) -> None:
        self._refused_commit = None
        coordinator = self._ensure_consumer()._coordinator
        if coordinator._pending_exception is not None:
            with suppress(KafkaError):
                coordinator.check_errors()
            # Only a join restarts a failed heartbeat.
            coordinator.request_rejoin()

    def _note_answers(self, coordinator: Any) -> None:
        send = coordinator._send_req

        async def noting(request: Any) -> Any:
            member = coordinator.generation, coordinator.member_id
            response = await send(request)
            codes = set()
            if isinstance(request, JoinGroupRequest | SyncGroupRequest | HeartbeatRequest):
                self._answered = response.error_code
                codes = {response.error_code}
            elif isinstance(request, OffsetCommitRequest):
                codes = {code for _, partitions in response.topics for _, code in partitions}
            if Code.UNKNOWN_MEMBER_ID in codes and coordinator._group_instance_id is not None:
                await self._raise_if_fenced(send, coordinator, *member)
            return response

        coordinator._send_req = noting

    async def _raise_if_fenced(
        self, send: Any, coordinator: Any, generation: int, member_id: str
    ) -> None:
        if not member_id:
            return
        group, instance = coordinator.group_id, coordinator._group_instance_id
        asked = SyncGroupRequest(group, generation, member_id, instance, [])
        fenced = (await send(asked)).error_code == Code.FENCED_INSTANCE_ID
        if fenced and coordinator.member_id == member_id:  # else this worker itself rejoined
            raise FencedError("another process has our group instance id")

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets. Faust's own commit logs a traceback, and waits for ever for a deleted
        topic.

        False: not committed. The group has moved on, the broker does not answer, or it refuses; the
        next check of the group handles a refusal.
        """
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        wanted = {TopicPartition._make(tp): offset for tp, offset in offsets.items()}
        if not wanted.keys() <= assigned:
            return False
        try:
            async with asyncio.timeout(COMMIT_ANSWER_S_MAX):
                await consumer.commit({tp: OffsetAndMetadata(o, "") for tp, o in wanted.items()})
        except (CommitFailedError, IllegalStateError, TimeoutError):
            return False
        except (KafkaError, FencedError) as error:
            self._refused_commit = error
            return False
        return True

    # ---- records and positions

    async def fetch(
        self, partitions: set[TP], *, timeout_s: float, records_max: int, lingers: bool
    ) -> dict[TP, Fetched]:
        """Fetch once; from any thread.

        timeout_s: seconds to wait for the first record. records_max: of all partitions together.
        lingers: pause partitions that were read to their end until they are requested again.
        """
        found: dict[TP, Fetched] = await self.call_thread(
            self._fetch, partitions, timeout_s, records_max, lingers
        )
        return found

    async def _fetch(
        self, partitions: set[TP], timeout_s: float, records_max: int, lingers: bool
    ) -> dict[TP, Fetched]:
        consumer = self._ensure_consumer()
        self._prefetch_only(consumer, partitions)
        begin_ms = int(time.time() * 1000)  # aiokafka's clock for the time of a response

        async def take(tps: set[TP], seconds: float) -> dict[TP, Sequence[Record]]:
            return await self._take(tps, seconds, records_max)

        fetched = await take(partitions, timeout_s)
        if not fetched or not lingers:
            return {tp: await self._found(consumer, tp, got) for tp, got in fetched.items()}
        if all([await self._caught_up(consumer, tp) for tp in fetched]):  # a backlog does not wait
            await take_from_others(consumer, take, partitions, fetched, begin_ms)
        found = {tp: await self._found(consumer, tp, got) for tp, got in fetched.items()}
        # A partition without an answer since may have more, so it is requested again at once.
        for tp in answered(consumer, partitions, begin_ms):
            each = found.get(tp) or await self._found(consumer, tp, ())
            if each.caught_up and self._pause(consumer, TopicPartition._make(tp)):
                found[tp] = each._replace(lingers=True)
        return found

    async def _take(
        self, partitions: set[TP], timeout_s: float, records_max: int
    ) -> dict[TP, Sequence[Record]]:
        consumer = self._ensure_consumer()
        try:
            fetched: dict[TP, Sequence[Record]] = await self._fetch_records(
                consumer, partitions, timeout=timeout_s, max_records=records_max
            )
        except (KafkaError, FencedError):
            # The next fetch raises the group's error; `group_monitor` judges it.
            if self._group_error(consumer._coordinator) is None:
                raise
            await asyncio.sleep(min(timeout_s, LOOK_S))
            return {}
        return fetched

    async def _found(
        self, consumer: aiokafka.AIOKafkaConsumer, tp: TP, records: Sequence[Record]
    ) -> Fetched:
        return Fetched(records, await self._caught_up(consumer, tp), self._held_back(consumer, tp))

    def _pause(self, consumer: aiokafka.AIOKafkaConsumer, tp: TopicPartition) -> bool:
        """Pause an open partition until it is requested: aiokafka prefetches one record as soon as
        one is taken, so that a fetch after a linger would find that one and not those behind it.
        False: the partition is not open."""
        if tp not in self._opened or tp not in consumer.assignment():
            return False
        consumer.pause(tp)
        self._paused.add(tp)
        return True

    def _prefetch_only(
        self, consumer: aiokafka.AIOKafkaConsumer, partitions: Iterable[tuple[str, int]]
    ) -> None:
        """Pause the open partitions that this fetch does not request: aiokafka prefetches at least
        one producer batch of every other partition, whatever the size of a fetch.

        A paused partition keeps what was prefetched. A held partition is not affected: it must not
        be resumed without a position.
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
        # From the position, not from the last record: a transactional topic ends with a marker that
        # no record ever reaches.
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
        """Return where the client library reads on: beyond markers and records it has skipped."""
        found: dict[TP, int] = await self.call_thread(self._positions, tps)
        return found

    async def _positions(self, tps: Iterable[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        with suppress(IllegalStateError):  # revoked meanwhile
            return {tp: await consumer.position(TopicPartition._make(tp)) for tp in tps}
        return {}

    async def poll(self) -> None:
        """Count as a poll without a fetch, which would wait for the end of a rebalance.

        aiokafka does not rejoin after `max_poll_interval_ms` without a poll. The member would stay
        outside for ever, for example after a broker outage of that length during a rebalance.
        """
        await self.call_thread(self._poll)

    async def _poll(self) -> None:
        with self._ensure_consumer()._fetcher._subscriptions.fetch_context():
            pass

    async def limit_fetches(self, partition_bytes: int) -> None:
        """Set the bytes that a response takes of each partition, from the next request on."""
        await self.call_thread(self._limit_fetches, partition_bytes)

    async def _limit_fetches(self, partition_bytes: int) -> None:
        self._ensure_consumer()._fetcher._max_partition_fetch_bytes = partition_bytes

    async def hold(self, tps: set[TP]) -> None:
        """Pause partitions with nothing prefetched, at a meaningless position."""
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
