"""Reads partitions with aiokafka's consumer: what is fetched, what is paused, and at which offset.

Nothing here knows Faust. It relies on undocumented parts of aiokafka, which
tests/unit/test_faust_names.py holds. A fetch is never cancelled while it may hold records: a
cancelled fetch has moved the position and lost its records. Hence the short time-outs.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import aiokafka
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import IllegalStateError, KafkaError

from worker.fetching import Fetched
from worker.kafka.group_membership import FencedError
from worker.kafka.group_monitor import CHECK_S
from worker.kafka.other_brokers import answered, take_from_others
from worker.record import Record

#: A fetch for this returns nothing but counts as a poll, so a worker that waits (or has no
#: partitions) stays in its group. An empty set would fetch from every partition.
NOTHING = {TopicPartition("", -1)}


class Take(Protocol):
    """Takes records that the client has fetched, as aiokafka's `fetched_records` does."""

    async def __call__(
        self, partitions: set[TopicPartition], *, timeout: float, max_records: int
    ) -> dict[TopicPartition, Sequence[Record]]: ...


class PartitionReader:
    """Reads the partitions of one topic; all of it in the client's own event loop.

    client: aiokafka's consumer, started. take: takes fetched records, none while the flow is
    suspended. group_error: returns the error of the group membership, or None. aiokafka raises that
    error from each fetch too. While there is one, `fetch` returns nothing instead of raising, and
    `group_monitor` decides whether the worker waits or ends.
    """

    def __init__(
        self,
        client: aiokafka.AIOKafkaConsumer,
        topic: str,
        *,
        take: Take,
        group_error: Callable[[], BaseException | None],
    ) -> None:
        self.client = client
        self._topic = topic
        self._take_fetched = take
        self._group_error = group_error
        #: Partitions with a position of their own since they were held, and those of them that are
        #: paused because no fetch requests them now.
        self._opened: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()

    def tp(self, partition: int) -> TopicPartition:
        """Return the client's name of a partition."""
        return TopicPartition(self._topic, partition)

    async def fetch(
        self, partitions: Iterable[int], *, timeout_s: float, records_max: int, lingers: bool
    ) -> dict[int, Fetched]:
        """Fetch once, as `RecordSource.fetch`."""
        tps = {self.tp(partition) for partition in partitions} or NOTHING
        self._prefetch_only(tps)
        begin_ms = int(time.time() * 1000)  # aiokafka's clock for the time of a response

        async def take(
            tps: set[TopicPartition], seconds: float
        ) -> dict[TopicPartition, Sequence[Record]]:
            return await self._take(tps, seconds, records_max)

        fetched = await take(tps, timeout_s)
        if not fetched or not lingers:
            return {tp.partition: await self._found(tp, got) for tp, got in fetched.items()}
        if all([await self._caught_up(tp) for tp in fetched]):  # a backlog does not wait
            await take_from_others(self.client, take, tps, fetched, begin_ms)
        found = {tp.partition: await self._found(tp, got) for tp, got in fetched.items()}
        # A partition without an answer since may have more, so it is requested again at once.
        for tp in answered(self.client, tps, begin_ms):
            each = found.get(tp.partition) or await self._found(tp, ())
            if each.caught_up and self._pause(tp):
                found[tp.partition] = each._replace(lingers=True)
        return found

    async def _take(
        self, tps: set[TopicPartition], timeout_s: float, records_max: int
    ) -> dict[TopicPartition, Sequence[Record]]:
        try:
            return await self._take_fetched(tps, timeout=timeout_s, max_records=records_max)
        except (KafkaError, FencedError):
            # This is the group's error, and each fetch raises it; `group_monitor` judges it.
            if self._group_error() is None:
                raise
            await asyncio.sleep(min(timeout_s, CHECK_S))
            return {}

    async def _found(self, tp: TopicPartition, records: Sequence[Record]) -> Fetched:
        return Fetched(records, await self._caught_up(tp), self._held_back(tp))

    def _pause(self, tp: TopicPartition) -> bool:
        """Pause an open partition until it is requested: aiokafka prefetches one record as soon as
        one is taken, so that a fetch after a linger would find that one and not those behind it.
        False: the partition is not open."""
        if tp not in self._opened or tp not in self.client.assignment():
            return False
        self.client.pause(tp)
        self._paused.add(tp)
        return True

    def _prefetch_only(self, wanted: set[TopicPartition]) -> None:
        """Pause the open partitions that this fetch does not request: aiokafka prefetches at least
        one producer batch of every other partition, whatever the size of a fetch.

        A paused partition keeps what was prefetched. A held partition is not affected: it must not
        be resumed without a position.
        """
        if self._opened - wanted == self._paused:
            return
        self._opened &= self.client.assignment()
        self._paused &= self._opened
        self.client.resume(*(self._paused & wanted))
        self.client.pause(*(self._opened - wanted - self._paused))
        self._paused = self._opened - wanted

    async def _caught_up(self, tp: TopicPartition) -> bool:
        # From the position, not from the last record: a transactional topic ends with a marker that
        # no record ever reaches.
        try:
            end = self.client.last_stable_offset(tp)
            return end is not None and await self.client.position(tp) >= end
        except IllegalStateError:  # revoked meanwhile
            return False

    def _held_back(self, tp: TopicPartition) -> bool:
        try:
            stable_end, end = self.client.last_stable_offset(tp), self.client.highwater(tp)
        except IllegalStateError:  # revoked meanwhile
            return False
        return stable_end is not None and end is not None and stable_end < end

    async def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return where the client library reads on: beyond markers and records it has skipped."""
        with suppress(IllegalStateError):  # revoked meanwhile
            return {
                partition: await self.client.position(self.tp(partition))
                for partition in partitions
            }
        return {}

    async def poll(self) -> None:
        """Count as a poll without a fetch, which would wait for the end of a rebalance.

        aiokafka does not rejoin after `max_poll_interval_ms` without a poll. The member would stay
        outside for ever, for example after a broker outage of that length during a rebalance.
        """
        with self.client._fetcher._subscriptions.fetch_context():
            pass

    async def limit_fetches(self, partition_bytes: int) -> None:
        """Set the bytes that a response takes of each partition, from the next request on."""
        self.client._fetcher._max_partition_fetch_bytes = partition_bytes

    def fetched_bytes(self) -> int:
        """Return the bytes of the responses that aiokafka keeps, whole until the last record of
        their partition is taken."""
        fetched = self.client._fetcher._records.values()
        kept = [each._partition_records for each in fetched if isinstance(each, FetchResult)]
        return sum(each._records.size_in_bytes() for each in kept if each is not None)

    async def hold(self, partitions: Iterable[int]) -> None:
        """Pause partitions with nothing prefetched, at a meaningless position."""
        for tp in map(self.tp, partitions):
            self._opened.discard(tp)
            self._paused.discard(tp)
            if tp in self.client.assignment():
                self.client.pause(tp)
                self.client.seek(tp, 0)

    async def move(self, positions: Mapping[int, int]) -> None:
        """Read partitions from these positions on. Raises IllegalStateError if revoked."""
        for partition, offset in positions.items():
            tp = self.tp(partition)
            self.client.seek(tp, offset)
            self.client.resume(tp)
            self._opened.add(tp)
            self._paused.discard(tp)
