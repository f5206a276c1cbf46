"""Faust's consumer, adapted to deliver whole batches and to commit only what is durable.

Only this file and `worker.kafka.client_thread` rely on undocumented parts of faust-streaming 0.15.3
and mode-streaming 0.7.1; tests/unit/test_faust_names.py holds the names and signatures. These rules
keep it correct:

* The topic has `acks=False`: Faust's own offset tracking (`_acked`, `_gap`) stays empty, and only
  `Assignment` decides what is committed.
* Each assignment has its own `Assignment`. A batch that outlives it reports to one that is no
  longer committed.
* At assignment every partition is held (paused, at a position of the worker's own), and opened in
  the background, all together, or each alone if that fails or is late. A position is never
  inherited, and a slow lookup delays the others for a moment at most.
* aiokafka hangs for ever when it is stopped while the broker is away: a timer ends the process.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import faust
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service

from worker.assignment import POLL_IDLE_S, Assignment, BatchLimits, RecordBatch
from worker.committer import Committer
from worker.errors import OperatorError
from worker.fetching import FetchLoop
from worker.group_errors import Member
from worker.kafka.client_thread import BatchConsumerThread
from worker.kafka.group_monitor import GroupCheckResult, GroupWatch
from worker.logging_config import SERVICES_LOGGER, event
from worker.memory_limits import MemoryLimits
from worker.opening import OPENING_FIRST_ROUND_S, Log, OpenedPartition, PartitionOpener
from worker.outcomes import CommitOutcome
from worker.progress import ProgressStore
from worker.resume import Closed
from worker.status import Phase, WorkerStatus

logger = logging.getLogger(__name__)

#: Seconds that the commit after a drain may take, within the broker's rebalance time-out.
COMMIT_S_MAX = 5.0

#: Seconds between two checks of a drain: what do the running flushes wait for?
DRAIN_CHECK_S = 0.05

#: Seconds between two rounds of opening closed partitions, at first and at most; and the most that
#: a round waits. An operator, or a store that recovers, removes the reason; the error is repeated
#: each time.
OPENING_S_MIN, OPENING_S_MAX = 0.2, 30.0


@dataclass(frozen=True, kw_only=True)
class ConsumerWiring:
    """What the wiring tells the consumer.

    member: what errors of the group name. on_commit: called for each commit. on_fetched: called
    about every second with the bytes of the responses that the client keeps.
    """

    topic: str
    member: Member
    consumer_options: Mapping[str, Any]
    opener: PartitionOpener
    log: Log
    progress: ProgressStore
    memory: MemoryLimits = field(default_factory=MemoryLimits.default)
    limits: BatchLimits = field(default_factory=BatchLimits)
    partitions_max: int = 256
    drain_s: float = 20.0
    leave_s: float = 15.0
    on_commit: Callable[[CommitOutcome], None] = lambda _: None
    on_fetched: Callable[[int], None] = lambda _: None


class BatchConsumer(driver.Consumer):
    """Delivers `RecordBatch` events, one at a time per partition; commits what is durable."""

    _thread: BatchConsumerThread
    logger = SERVICES_LOGGER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.current = Assignment()
        #: Number of the topic's partitions, at most METADATA_S old; 0: not known yet.
        self.topic_partitions = 0
        self._problem: str | None = None
        self._group: GroupWatch | None = None
        self._committer = Committer(
            self.wiring.progress, self.commit_offsets, on_commit=self.wiring.on_commit
        )
        self._fetch_loop = FetchLoop(
            self._thread, self.wiring.log, self.wiring.member, lambda: self.current
        )
        self._last_resort: threading.Timer | None = None

    @property
    def iterations(self) -> int:
        """Iterations of the fetch loop. A loop that makes none is stalled."""
        return self._fetch_loop.iterations

    @property
    def wiring(self) -> ConsumerWiring:
        """Return what the wiring gave."""
        wiring: ConsumerWiring = self.transport.wiring
        return wiring

    @property
    def client_options(self) -> Mapping[str, Any]:
        return self.wiring.consumer_options

    @property
    def topic(self) -> str:
        return self.wiring.topic

    @property
    def status(self) -> WorkerStatus:
        """Return the worker's status; the consumer enters JOINING and JOINED."""
        status: WorkerStatus = self.transport.status
        return status

    def _new_consumer_thread(self) -> BatchConsumerThread:
        thread: BatchConsumerThread = self.transport.thread(
            self, loop=self.loop, beacon=self.beacon
        )
        return thread

    # ---- the group

    def note_group(self, result: GroupCheckResult) -> None:
        """Handle a check of the group; the client's thread delivers one about every second."""
        self.topic_partitions = result.partitions or self.topic_partitions
        if self._group is None:
            self._group = GroupWatch(self.wiring.member)
        if self.should_stop or self._crashed.is_set():
            return
        verdict = self._group.judge(result, joined=self.status.phase is Phase.JOINED)
        if verdict.end is not None:
            self.add_future(_end_with(verdict.end))
            return
        if verdict.retry:
            self._thread.retry_group()
        self._problem = verdict.problem or None
        if self.status.phase is Phase.JOINING:
            self.status.enter(Phase.JOINING, verdict.problem or verdict.waiting)
        if verdict.say is not None:
            logger.warning(
                "%s", verdict.say,
                extra=event("group_waits", reason=verdict.problem or verdict.waiting),
            )  # fmt: skip

    def note_fetched(self, size: int) -> None:
        self.wiring.on_fetched(size)

    @property
    def hands_over(self) -> bool:
        return not self._crashed.is_set()

    def problem(self) -> str | None:
        """Return what makes a joined worker unready, in one line."""
        return self._problem

    # ---- an assignment begins and ends

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await super().on_partitions_assigned(assigned, generation_id)
        if not assigned:  # `perform_seek` is not called
            self._joined([])

    def _joined(self, partitions: Sequence[int]) -> None:
        logger.info(
            "assigned: partitions %s", partitions,
            extra=event("partitions_assigned", partitions=partitions, count=len(partitions)),
        )  # fmt: skip
        self.status.enter(Phase.JOINED)

    async def perform_seek(self) -> None:
        """Hold all partitions. Faust calls this after every assignment, before the flow resumes.

        It must be quick, because Faust resumes the flow without it after `broker_request_timeout`.
        So it only holds the partitions; they are opened in the background.
        """
        before, partitions = self.current, sorted(tp.partition for tp in self.assignment())
        await self._thread.hold(partitions)
        await self._thread.limit_fetches(self.wiring.memory.partition_fetch_bytes(len(partitions)))
        if self.current is not before:  # revoked meanwhile
            return
        before.end()  # wakes the tasks that wait for it
        self.current = Assignment(
            partitions,
            partitions_max=self.wiring.partitions_max,
            limits=self.wiring.limits,
            memory=self.wiring.memory,
            on_broken=self._on_broken,
        )
        if self.current.surplus:
            logger.error(
                "%d partitions are more than partitions_max = %d; left unread: %s."
                " Start more workers, or raise kafka.partitions_max",
                len(partitions), self.wiring.partitions_max, sorted(self.current.surplus),
                extra=event(
                    "partitions_surplus", partitions=sorted(self.current.surplus),
                    count=len(partitions), partitions_max=self.wiring.partitions_max,
                ),
            )  # fmt: skip
        self._joined(partitions)
        self.add_future(self._open(self.current))

    async def _open(self, assignment: Assignment) -> None:
        """Ask for the resume positions until no partition is closed."""
        delay_s, limit_s = OPENING_S_MIN, OPENING_FIRST_ROUND_S
        while assignment.closed and not assignment.ended:
            answers = await self.wiring.opener.open(sorted(assignment.closed), limit_s=limit_s)
            for partition, answer in answers.items():
                await self._take_answer(assignment, partition, answer)
            if assignment.closed:
                await self.sleep(delay_s)
                delay_s = min(2 * delay_s, OPENING_S_MAX)
                limit_s = min(2 * limit_s, OPENING_S_MAX)

    async def _take_answer(
        self, assignment: Assignment, partition: int, answer: OpenedPartition | Closed
    ) -> None:
        if assignment.ended:
            return  # a rebalance has begun; the next assignment asks again
        if isinstance(answer, Closed):
            logger.error(
                "partition %d stays closed: %s", partition, answer.reason,
                extra=event("partition_closed", partition=partition, reason=answer.reason),
            )  # fmt: skip
            assignment.stay_closed(partition, answer.reason)
            return
        with suppress(IllegalStateError):  # revoked just now, as above
            await self._thread.move({partition: answer.position})
            assignment.open(partition, answer.position, answer.progress, committed=answer.committed)
            logger.info(
                "partition %d: reading from offset %d", partition, answer.position,
                extra=event("partition_opened", partition=partition, offset=answer.position),
            )  # fmt: skip

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)  # stops the flow, calls wait_empty()
        if revoked:
            partitions = sorted(tp.partition for tp in revoked)
            logger.info(
                "revoked: partitions %s", partitions,
                extra=event("partitions_revoked", partitions=partitions, count=len(partitions)),
            )  # fmt: skip
        self.current.end()
        self.current = Assignment()
        self.status.enter(Phase.JOINING, "a rebalance is under way")

    async def wait_empty(self) -> None:
        """On a revoke and on SIGTERM: let started flushes finish, then commit what is durable.

        Faust has dropped the queued batches; they are read again. A flush that does not end within
        the drain limit, or cannot because it waits for the store, is cancelled, and the next
        partition task writes it again: a group waits for its slowest member.
        """
        assignment = self.current
        if self.app.should_stop:
            self._arm_last_resort()
        if assignment.broken is None and not assignment.ended:
            await self._limited("drain", self._drain(assignment), self.wiring.drain_s)
            # Not `commit()`: it would wait for a running commit, without the limit, and then not
            # commit what has become durable since.
            await self._limited("commit", self.force_commit(), COMMIT_S_MAX)
        assignment.end()

    async def _drain(self, assignment: Assignment) -> None:
        """Return when no flush is running, or none that can end within the limit."""
        deadline_s = time.monotonic() + self.wiring.drain_s
        while not assignment.idle.is_set():
            if not assignment.can_drain(time.monotonic(), deadline_s):
                partitions = assignment.in_work()
                logger.warning(
                    "drain ended: the flushes of partitions %s wait for the store or the broker;"
                    " they will be read again", partitions,
                    extra=event("drain_ended", partitions=partitions),
                )  # fmt: skip
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(assignment.idle.wait(), DRAIN_CHECK_S)

    async def _limited(self, what: str, step: Any, seconds: float) -> None:
        try:
            await asyncio.wait_for(step, seconds)
        except TimeoutError:
            logger.warning(
                "%s not finished after %.0f s; the next owner reads the rest again", what, seconds,
                extra=event("handover_timed_out", step=what, seconds=seconds),
            )  # fmt: skip

    def _on_broken(self, cause: BaseException) -> None:
        # An exception ends the process through the agent. A flush cancelled outside a revoke or a
        # stop would end nothing: its task group ignores that.
        if isinstance(cause, asyncio.CancelledError) and not self.app.should_stop:
            error = RuntimeError("a flush was cancelled outside a rebalance or a stop")
            self.add_future(self.crash(error))

    async def on_stop(self) -> None:
        if not self.started:
            return  # the resources could not be opened: nothing can hang
        self._arm_last_resort()
        await super().on_stop()

    def _arm_last_resort(self) -> None:
        """Start the timer that ends the process. By then what is durable is committed; a daemon
        thread survives any hanging loop."""
        if self._last_resort is None:
            limit_s = self.wiring.drain_s + self.wiring.leave_s
            self._last_resort = threading.Timer(limit_s, os._exit, [1])
            self._last_resort.daemon = True
            self._last_resort.start()

    # ---- fetching

    async def _drain_messages(self, fetcher: Service) -> None:
        """Faust's fetcher task: runs until the consumer or the fetcher stops."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if self.flow_active:
                    await self._fetch_loop.fetch_next()
                else:
                    await self._wait_for_flow()
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.app.should_stop:
                raise

    async def _wait_for_flow(self) -> None:
        """Poll during a rebalance: a member that does not poll cannot rejoin."""
        while not (self.flow_active or self.should_stop):
            await self._thread.poll()
            await self.wait(self.can_resume_flow, timeout=POLL_IDLE_S)

    # ---- delivering

    @Service.task
    async def _deliver_ready(self) -> None:
        """Deliver batches to the agent: a partition's next one when its last is durable."""
        while not self.should_stop:
            if not self.flow_active:
                await self.wait(self.can_resume_flow)
                continue
            assignment = self.current
            if assignment.ended:  # between a revoke and the next assignment
                await self.sleep(0.05)
                continue
            await self.wait(assignment.ready, timeout=1.0)
            for batch in assignment.cut() if self.flow_active else ():
                await self._deliver(batch)

    async def _deliver(self, batch: RecordBatch) -> None:
        last, tp = batch.records[-1], self._tp(batch.task.partition)
        message = ConsumerMessage(
            *tp, last.offset, (last.timestamp or 0) / 1000, 0, [], None, batch, None,
            tp=tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        # Dropped when the flow is suspended: the assignment has ended, and the batch is read again.
        await self.wait_first(self.callback(message), self.suspend_flow.wait())

    # ---- committing

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Faust's commit, at every interval and at a drain: the Committer commits what is
        durable."""
        return await self._committer.commit(lambda: self.current)

    async def commit_offsets(self, offsets: Mapping[int, int]) -> bool:
        """Commit the group's offsets by partition. False: the group has moved on, or refuses."""
        done: bool = await self._commit({self._tp(p): offset for p, offset in offsets.items()})
        return done

    async def positions(self) -> dict[int, int]:
        """Return where each open partition is read on, if known. A fetch that has just ended may
        not be in its partition task yet."""
        return await self._thread.positions(list(self.current.tasks))

    async def settled_positions(self) -> Mapping[int, int]:
        """Return the same between two fetches, as `FetchLoop.positions`."""
        return await self._fetch_loop.positions()

    def _tp(self, partition: int) -> TP:
        return TP(self.wiring.topic, partition)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Disable Faust's livelock detector, which logs about its own unused tracking."""


class BatchTransport(driver.Transport):
    """Faust's transport, with this consumer; `app.transport = BatchTransport(...)`.

    thread: makes the thread that owns the Kafka client; arguments as its class has them.
    """

    Consumer = BatchConsumer

    def __init__(
        self,
        *args: Any,
        wiring: ConsumerWiring,
        status: WorkerStatus,
        thread: Callable[..., BatchConsumerThread] = BatchConsumerThread,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.wiring = wiring
        self.status = status
        self.thread = thread


class WholeBatches(faust.Schema):
    """The event's value is the RecordBatch itself; Faust decodes nothing."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> None:
        return None

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> RecordBatch:
        batch: RecordBatch = message.value
        return batch


async def _end_with(error: OperatorError) -> None:
    """End the process in one line, as a task of a service."""
    raise error
