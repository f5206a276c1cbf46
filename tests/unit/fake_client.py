"""aiokafka's consumer and its coordinator, as far as the worker uses them."""

import asyncio
import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import SyncGroupRequest

from tests.records import MadeRecord

TOPIC = "undelivered"


def tp(partition: int) -> TopicPartition:
    return TopicPartition(TOPIC, partition)


class Coordinator:
    """answers: error codes by the kind of request. joined_as: its member id from the next
    synchronization on."""

    group_id, generation, coordinator_id = "group", 3, 1

    def __init__(self, instance_id: str | None = None) -> None:
        self.member_id = "one-1"
        self._group_instance_id = instance_id
        self._coordination_task: Any = asyncio.get_running_loop().create_future()
        self._heartbeat_task: asyncio.Task[None] | None = None
        self._commit_refresh_task: asyncio.Task[None] | None = None
        self._pending_exception: Exception | None = None
        self.answers: dict[type, int] = {}
        self.joined_as: str | None = None
        self.sent: list[Any] = []
        self.rejoins = 0

    def stop_at(self, error: Exception) -> None:
        """It stops, and keeps the error for the next call that asks."""
        self._pending_exception = error

    def forget_heartbeat(self) -> None:
        """Drop the heartbeat's task, as aiokafka's stop does if it has ended."""
        self._heartbeat_task = None

    async def fail_heartbeat(self, error: Exception) -> None:
        """Let the heartbeat's task end with an error."""

        async def fail() -> None:
            raise error

        self._heartbeat_task = asyncio.create_task(fail())
        await asyncio.wait([self._heartbeat_task])

    def die_of(self, error: Exception) -> None:
        self._coordination_task.set_exception(error)

    @property
    def stopped_at(self) -> Exception | None:
        return self._pending_exception

    @property
    def instance_id(self) -> str | None:
        return self._group_instance_id

    async def ask(self, request: Any) -> Any:
        """As the coordination itself sends a request."""
        return await self._send_req(request)

    async def _send_req(self, request: Any) -> Any:
        self.sent.append(request)
        code = self.answers.get(type(request), 0)
        if isinstance(request, SyncGroupRequest) and self.joined_as is not None:
            self.member_id = self.joined_as
        if isinstance(request, OffsetCommitRequest):
            return SimpleNamespace(topics=[(TOPIC, [(0, code)])])
        return SimpleNamespace(error_code=code)

    def check_errors(self) -> None:
        error, self._pending_exception = self._pending_exception, None
        if error is not None:
            raise error

    def request_rejoin(self) -> None:
        self.rejoins += 1


class Client:
    """It has been assigned the partitions of `positions`, which are read to their end there.

    answers: taken one by one, each of some brokers' partitions: how many records by partition; all
    of an answer's partitions have answered. asked: by fetch, the partitions, and those paused.
    """

    def __init__(
        self, positions: Mapping[int, int], *answers: Mapping[int, int],
        coordinator: Coordinator | None = None,
    ) -> None:  # fmt: skip
        self.answers = list(answers)
        self.ends: dict[Any, int] = {tp(partition): at for partition, at in positions.items()}
        self.highwaters: dict[Any, int] = {}
        self.positions: dict[Any, int] = dict(self.ends)
        self.all: set[TopicPartition] = set(self.ends)
        self.answered_ms: dict[Any, int] = {}
        self.paused: set[Any] = set()
        self.asked: list[tuple[set[int], set[int]]] = []
        self.held = False
        self.failure: Exception | None = None
        self.hangs = False
        self.committed: dict[Any, int] = {}
        self.threads: set[str] = set()
        self._coordinator = coordinator or Coordinator()
        self._fetcher = self.fetcher = Fetcher(self)
        self._closed = False
        self.cluster: Any = SimpleNamespace(unauthorized_topics=set())
        self._client = SimpleNamespace(cluster=self.cluster)
        self.partitions: set[int] | None = {0}

    @property
    def coordinator(self) -> Coordinator:
        return self._coordinator

    def revoke(self, *partitions: int) -> None:
        self.all -= {tp(partition) for partition in partitions}

    def ends_at(self, partition: int, end: int) -> None:
        self.ends[tp(partition)] = end

    def paused_partitions(self) -> set[int]:
        return {each.partition for each in self.paused}

    # ---- aiokafka's own

    async def start(self) -> None:
        self.threads.add(threading.current_thread().name)

    async def stop(self) -> None:
        self.threads.add(threading.current_thread().name)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return self.partitions

    def assignment(self) -> set[TopicPartition]:
        return set(self.all)

    def pause(self, *tps: TopicPartition) -> None:
        self._check(*tps)
        self.paused.update(tps)

    def resume(self, *tps: TopicPartition) -> None:
        self._check(*tps)
        self.paused.difference_update(tps)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._check(partition)
        self.positions[partition] = offset

    def last_poll_timestamp(self, partition: TopicPartition) -> int | None:
        return self.answered_ms.get(partition)

    def last_stable_offset(self, partition: TopicPartition) -> int:
        self._check(partition)
        return self.ends[partition]

    def highwater(self, partition: TopicPartition) -> int:
        self._check(partition)
        return self.highwaters.get(partition, self.ends[partition])

    async def position(self, partition: TopicPartition) -> int:
        self._check(partition)
        return self.positions[partition]

    async def commit(self, offsets: Mapping[TopicPartition, Any]) -> None:
        self.threads.add(threading.current_thread().name)
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        self.committed |= {partition: each.offset for partition, each in offsets.items()}

    def _check(self, *tps: TopicPartition) -> None:
        if not self.all.issuperset(tps):
            raise IllegalStateError("revoked")

    async def take(
        self, tps: set[TopicPartition], *, timeout: float, max_records: int
    ) -> dict[TopicPartition, list[MadeRecord]]:
        """As Faust's `_fetch_records` takes from it."""
        self.threads.add(threading.current_thread().name)
        self.asked.append(({each.partition for each in tps}, self.paused_partitions()))
        if self.failure is not None:
            raise self.failure
        taken = {}
        for partition, count in (self.answers.pop(0) if self.answers else {}).items():
            begin = self.positions[tp(partition)]
            self.positions[tp(partition)] = begin + count
            if not self.held:
                self.answered_ms[tp(partition)] = int(time.time() * 1000) + 1
            if count:
                taken[tp(partition)] = [MadeRecord(offset=begin + n) for n in range(count)]
        return taken


class Fetcher:
    """aiokafka's, as far as it counts polls and bounds responses."""

    def __init__(self, client: Client) -> None:
        self.fetched_records = client.take
        self._closed = False
        self.polls = 0
        self._subscriptions = self
        self._max_partition_fetch_bytes = 0
        self._records: dict[Any, Any] = {}

    @property
    def partition_bytes(self) -> int:
        return self._max_partition_fetch_bytes

    def fetch_context(self) -> Any:
        self.polls += 1
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
