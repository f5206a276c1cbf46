"""What one assignment has fetched, is flushing, and has made durable.

It also decides which partitions the next fetch is for, how long that fetch may wait, how many
records it may bring, and which records go into the next batches. It calls no service.

A *partition task* is what one assignment flushes of one partition. It begins where `opening` says:
at progress, or at a window border below it. It ends with the assignment, or with the first flush
that fails: nothing later of that partition is written until it is resumed.

    fetched records -> PartitionTask.waiting -> one RecordBatch at a time -> durable -> committed
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from worker.flush_waits import FlushWaits
from worker.memory_limits import MemoryLimits, in_work_bytes, waiting_bytes
from worker.progress import Progress
from worker.record import Fingerprint, Record, fingerprint, record_bytes

#: Assumed bytes of a record before the first fetch, so that this fetch is small.
RECORD_BYTES_FIRST = 64.0 * 1024

#: Seconds that one fetch waits for records: with every partition in it; without the partitions that
#: are full; while partitions are being opened (five polls a second cost nothing).
POLL_IDLE_S, POLL_BUSY_S, POLL_OPENING_S = 1.0, 0.05, 0.2

#: Reason of a closed partition about which no answer has come yet.
BEING_OPENED = "being opened"


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits of one flush. A single larger record stands alone.

    linger_s: minimum seconds between two fetches of partitions that were read to their end. Kafka
    buffers meanwhile.
    """

    records_max: int = 5_000
    bytes_max: int = 4 * 1024 * 1024
    linger_s: float = 0.0


class RecordBatch:
    """Consecutive records of one partition task, in work until its `with` block ends.

    The batch is durable if the block ends without an exception. A batch that outlives its
    assignment reports to a partition task that is no longer committed.
    """

    def __init__(self, task: "PartitionTask", records: list[Record], size: int) -> None:
        self.task = task
        self.records = records
        #: Bytes of the records.
        self.size = size
        #: Set by the flush: consecutive dead letters at the end of the batch.
        self.consecutive_dead_letters = task.consecutive_dead_letters
        #: Durable waves: they show that a long flush makes progress.
        self.waves = 0
        self.waits = FlushWaits()

    @property
    def memory(self) -> int:
        """Bytes of memory that the batch takes until it is durable."""
        return in_work_bytes(len(self.records), self.size)

    def count_wave(self) -> None:
        self.waves += 1

    def __enter__(self) -> Self:
        self.task.assignment.flush_started(self, asyncio.current_task())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.task.assignment.flush_finished(self, exc)


@dataclass(slots=True, eq=False)
class PartitionTask:
    """One partition of one assignment, from its opening on.

    fetched: next offset to fetch.
    durable: every offset below it, from the task's start, is in a mailbox or a dead letter.
    committed: a commit is due while `durable` is above this offset. It starts at the group's
    offset, or at the task's start where that is lower or the task replays. Each commit sets it.
    confirmed: the group's offset that the broker last confirmed, which is stored with progress.
    None: not confirmed, or the task began at a lower start and has not committed yet.
    stored: progress as this task last saw it in the table.
    caught_up: the last fetch reached the stable end. held_back: a transaction was open behind it.
    """

    assignment: "Assignment"
    partition: int
    fetched: int
    stored: Progress
    durable: int = field(init=False)
    committed: int = field(init=False)
    confirmed: int | None = field(init=False)
    caught_up: bool = False
    held_back: bool = False
    last: Fingerprint | None = None
    consecutive_dead_letters: int = 0
    in_work: RecordBatch | None = None
    waiting: deque[Record] = field(default_factory=deque)
    waiting_bytes: int = 0
    #: Sequence number of its last batch in the assignment.
    last_batch_number: int = 0
    #: When the first durable record without a commit became durable, by the assignment's clock.
    uncommitted_since_s: float | None = None

    def __post_init__(self) -> None:
        self.durable = self.committed = self.fetched
        self.confirmed = self.stored.group
        if self.fetched == self.stored.next:
            self.last = self.stored.last
            self.consecutive_dead_letters = self.stored.consecutive_dead_letters

    @property
    def epoch(self) -> int:
        return self.stored.epoch

    def add(self, records: Sequence[Record], *, caught_up: bool, held_back: bool) -> None:
        """Queue fetched records, in log order, none below `fetched`."""
        assert records[0].offset >= self.fetched
        self.caught_up, self.held_back = caught_up, held_back
        self.waiting.extend(records)
        self.waiting_bytes += sum(map(record_bytes, records))
        self.fetched = records[-1].offset + 1

    @property
    def oldest(self) -> Record | None:
        """Return the first fetched record that is not durable; None: all of them are."""
        if self.in_work is not None:
            return self.in_work.records[0]
        return self.waiting[0] if self.waiting else None

    def durable_below(self, position: int) -> int:
        """Return the offset below which every record is durable.

        position: where the client reads on, while every record below it is in this task. It passes
        markers of transactions, which no record's offset does.
        """
        oldest = self.oldest
        return max(self.fetched, position) if oldest is None else oldest.offset

    @property
    def is_ready(self) -> bool:
        """Return whether records wait and none are in work."""
        return self.in_work is None and bool(self.waiting)

    def cut(self, limits: BatchLimits, memory_max: int) -> RecordBatch:
        """Take the next batch of a ready task. memory_max: bytes, as `RecordBatch.memory`; a single
        record that takes more goes alone."""
        count, size = len(self.waiting), self.waiting_bytes
        if (
            count <= limits.records_max
            and size <= limits.bytes_max
            and in_work_bytes(count, size) <= memory_max
        ):
            records = list(self.waiting)
            self.waiting.clear()
        else:
            records, size = self._run(limits, memory_max)
        self.waiting_bytes -= size
        self.in_work = RecordBatch(self, records, size)
        return self.in_work

    def _run(self, limits: BatchLimits, memory_max: int) -> tuple[list[Record], int]:
        """Take as many waiting records as fit; return them and their bytes."""
        records: list[Record] = []
        size = 0
        while self.waiting and len(records) < limits.records_max:
            more = size + record_bytes(self.waiting[0])
            if records and (
                more > limits.bytes_max or in_work_bytes(len(records) + 1, more) > memory_max
            ):
                break
            records.append(self.waiting.popleft())
            size = more
        return records, size

    def finish_flush(self, batch: RecordBatch) -> None:
        """Record that everything below the end of the batch is durable."""
        assert batch is self.in_work
        last = batch.records[-1]
        self.in_work = None
        self.durable = last.offset + 1
        self.last = fingerprint(last)
        self.consecutive_dead_letters = batch.consecutive_dead_letters
        if self.uncommitted_since_s is None and self.durable > self.committed:
            self.uncommitted_since_s = self.assignment.clock()

    def confirm(self, offset: int) -> None:
        """Record that the group's offset was committed."""
        self.committed = self.confirmed = offset
        behind = self.durable > offset  # what became durable during the commit
        self.uncommitted_since_s = self.assignment.clock() if behind else None

    def progress(self, now_ms: int) -> Progress:
        """Return progress of everything durable in this task, to be stored.

        It counts as caught up only at the log's true end. `poste rewind --minutes` depends on that:
        records appended after that instant are not durable before it, but records that a
        transaction held back are older than the instant at which they became readable.
        """
        caught_up = self.caught_up and not self.held_back and self.durable == self.fetched
        return replace(
            self.stored,
            next=self.durable,
            last=self.last,
            group=self.confirmed,
            consecutive_dead_letters=self.consecutive_dead_letters,
            written_at_ms=now_ms,
            caught_up_at_ms=now_ms if caught_up else self.stored.caught_up_at_ms,
        )


class Assignment:
    """The partition tasks of one assignment, and its partitions that are not read.

    closed: partitions not opened, with the reason; the worker asks again in the background.
    opening: closed partitions without a first answer. stuck: opened partitions with a record that
    the client library cannot read, with the reason. surplus: partitions beyond this worker's limit,
    left unread. on_broken: called once, with the cause, when a flush ends other than durable while
    the assignment is live, because a task group ignores a child that was merely cancelled. clock:
    as `time.monotonic`, in seconds; for the age of what waits for a commit.
    """

    def __init__(
        self,
        partitions: Iterable[int] = (),
        *,
        partitions_max: int = 256,
        limits: BatchLimits | None = None,
        memory: MemoryLimits | None = None,
        on_broken: Callable[[BaseException], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        ordered = sorted(partitions)
        self.limits = limits or BatchLimits()
        self.memory = memory or MemoryLimits.default()
        self.tasks: dict[int, PartitionTask] = {}
        self.closed: dict[int, str] = dict.fromkeys(ordered[:partitions_max], BEING_OPENED)
        self.opening = set(self.closed)
        self.stuck: dict[int, str] = {}
        self.surplus = frozenset(ordered[partitions_max:])
        self.ended = False
        self.broken: BaseException | None = None
        #: Set while a partition task may have a batch to deliver.
        self.ready = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._on_broken = on_broken
        self._room = True
        self._batches_cut = 0
        self._flushes: dict[RecordBatch, asyncio.Task[object] | None] = {}
        self._record_bytes: float | None = None
        self._lingering: set[int] = set()
        self._linger_until_s = 0.0

    def open(
        self, partition: int, position: int, stored: Progress, *, committed: int | None = None
    ) -> PartitionTask:
        """Begin the partition task of a closed partition.

        committed: as `PartitionTask` has it. None: `position`, so no commit is due.
        """
        del self.closed[partition]
        self.opening.discard(partition)
        task = self.tasks[partition] = PartitionTask(self, partition, position, stored)
        if committed is not None:
            task.committed = committed
        return task

    def stay_closed(self, partition: int, reason: str) -> None:
        """Keep a partition closed, with the reason that the answer gave."""
        self.closed[partition] = reason
        self.opening.discard(partition)

    def stop_reading(self, partition: int, reason: str) -> None:
        """Stop fetching an open partition. Fetched records are still flushed and committed."""
        self.stuck[partition] = reason

    @property
    def lingers(self) -> bool:
        """Return whether partitions that were read to their end wait for `linger_s`."""
        return self.limits.linger_s > 0

    @property
    def read_partition_count(self) -> int:
        """Number of partitions that are read, or will be."""
        return len(self.tasks) + len(self.closed)

    def partitions_to_fetch(self, now_s: float) -> set[int]:
        """Return the partitions without waiting records, or with room for a larger batch.

        Below half of the memory for waiting records, any partition whose waiting records do not
        fill a batch is fetched. From half on, only partitions with nothing waiting. When it is
        full, none. One fetch takes at most a quarter (`fetch_records_max`). So a partition that
        cannot be flushed delays no other, unless single records exceed its share of a fetch.
        """
        if now_s >= self._linger_until_s:
            self._lingering.clear()
        tasks = self.tasks.values()
        waiting = waiting_bytes(
            sum(len(task.waiting) for task in tasks), sum(task.waiting_bytes for task in tasks)
        )
        room = self._room = 2 * waiting < self.memory.waiting
        if waiting >= self.memory.waiting:
            return set()
        return {
            partition
            for partition, task in self.tasks.items()
            if partition not in self.stuck
            and partition not in self._lingering
            and (not task.waiting or (room and self._has_room(task)))
        }

    def _has_room(self, task: PartitionTask) -> bool:
        return (
            len(task.waiting) < self.limits.records_max
            and task.waiting_bytes < self.limits.bytes_max
        )

    def linger(self, partitions: Iterable[int], now_s: float) -> None:
        """Delay the next fetch of these partitions by `linger_s`; records gather in Kafka
        meanwhile.

        partitions: read to their end by a fetch that brought records. All lingering partitions are
        due at the same instant, so that one fetch brings what arrived in any of them. A backlog,
        and the first record after a silence, wait for nothing.
        """
        if not self._lingering:
            self._linger_until_s = now_s + self.limits.linger_s
        self._lingering.update(partitions)

    def fetch_timeout_s(self, partitions_to_fetch: set[int], now_s: float) -> float:
        """Return the seconds that a fetch for these partitions may wait for records.

        A fetch cannot be interrupted, so it is short while it leaves out partitions that may need
        one soon.
        """
        if self.closed:
            return POLL_OPENING_S
        if self.tasks.keys() - partitions_to_fetch - self.stuck.keys() - self._lingering:
            return POLL_BUSY_S
        if self._lingering:
            return min(POLL_IDLE_S, max(0.0, self._linger_until_s - now_s))
        return POLL_IDLE_S

    def fetch_records_max(self) -> int:
        """Return the records of one fetch: about one batch in bytes, at most a quarter of what may
        wait, and a partition's share of that if the last `partitions_to_fetch` found no room.

        The fetch size of the protocol counts compressed bytes, which inflate a hundredfold.
        """
        memory = self.memory.waiting // 4
        if not self._room:
            memory //= self.read_partition_count
        average = RECORD_BYTES_FIRST if self._record_bytes is None else self._record_bytes
        fit = min(self.limits.bytes_max / average, memory / waiting_bytes(1, int(average)))
        return max(1, min(self.limits.records_max, int(fit)))

    def add(
        self,
        partition: int,
        records: Sequence[Record],
        *,
        caught_up: bool,
        held_back: bool = False,
    ) -> None:
        """Queue records fetched for a partition of this assignment."""
        task = self.tasks[partition]
        before = task.waiting_bytes
        task.add(records, caught_up=caught_up, held_back=held_back)
        average = (task.waiting_bytes - before) / len(records)
        # Rise at once, fall slowly: a fetch after large records must not be huge.
        slowly = average if self._record_bytes is None else 0.9 * self._record_bytes + 0.1 * average
        self._record_bytes = max(1.0, average, slowly)
        self.ready.set()

    def cut(self) -> list[RecordBatch]:
        """Return the batches that can be flushed now, at most one per partition.

        Partitions with a backlog share the free memory. Each may take a small batch however little
        is free, so partitions that wait for the store delay no other. Where single records exceed a
        small batch, partitions take turns.
        """
        self.ready.clear()
        if self.ended or self.broken is not None:
            return []
        ready = [task for task in self.tasks.values() if task.is_ready]
        if not ready:
            return []
        ready.sort(key=lambda task: task.last_batch_number)
        in_work = sum(task.in_work.memory for task in self.tasks.values() if task.in_work)
        small = self.memory.small_batch(self.read_partition_count)
        shared = self.memory.in_work - small * self.read_partition_count - in_work
        share = max(small, shared // len(ready))
        batches: list[RecordBatch] = []
        for task in ready:
            if in_work >= self.memory.in_work:
                break
            self._batches_cut += 1
            task.last_batch_number = self._batches_cut
            batches.append(task.cut(self.limits, share))
            in_work += batches[-1].memory
        return batches

    def flush_started(self, batch: RecordBatch, flush: "asyncio.Task[object] | None") -> None:
        """Note that the flush of a batch begins. A batch handed out too late is refused."""
        if self.ended:
            raise asyncio.CancelledError
        self._flushes[batch] = flush
        self.idle.clear()

    def flush_finished(self, batch: RecordBatch, cause: BaseException | None) -> None:
        """Note that the flush of a batch ended: durable, or with a cause."""
        del self._flushes[batch]
        if cause is None:
            batch.task.finish_flush(batch)
            self.ready.set()
        elif not self.ended and self.broken is None:
            self.broken = cause
            self._on_broken(cause)
        if not self._flushes:
            self.idle.set()

    def in_work(self) -> list[int]:
        """Return the partitions with a running flush."""
        return sorted(batch.task.partition for batch in self._flushes)

    def can_drain(self, now_s: float, deadline_s: float) -> bool:
        """Return whether some running flush may still end by a time of the monotonic clock. The
        other flushes wait for something that a drain cannot bring about."""
        return any(batch.waits.can_end(now_s, deadline_s) for batch in self._flushes)

    def end(self) -> None:
        """End the assignment: nothing of it is delivered or committed from here on.

        Running flushes are cancelled. The next partition task writes their records again; a key
        that is written again gets the same content.
        """
        self.ended = True
        self.ready.set()
        for flush in self._flushes.values():
            if flush is not None:
                flush.cancel()

    def to_commit(self) -> list[PartitionTask]:
        """Return the tasks with durable records beyond the group's committed offset."""
        if self.ended or self.broken is not None:
            return []
        return [task for task in self.tasks.values() if task.durable > task.committed]

    def commit_pending_s(self, now_s: float) -> float:
        """Return the seconds for which durable records have waited for a commit; 0: none wait."""
        since = [
            task.uncommitted_since_s
            for task in self.tasks.values()
            if task.uncommitted_since_s is not None
        ]
        return max(0.0, now_s - min(since)) if since else 0.0
