"""Opens the partitions of an assignment: asks the store and the broker, and applies the answers.

`resume` decides, without input or output. This module asks, and stores what must be stored before
the first record. `PartitionOpener.open` is one round. The consumer calls it again for partitions
that stay closed, so every step may be repeated, and cancelled.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiokafka.errors import KafkaError

from poste_restante.table import TableRecord
from worker.errors import OperatorError, ProgressChanged, TableReplaced
from worker.group_errors import DENIED, Member, code_of, refusal
from worker.logging_config import event
from worker.progress import Progress, ProgressStore
from worker.record import Fingerprint
from worker.resume import (
    Closed,
    LogState,
    OpeningNoteKind,
    ResumePlan,
    StartSetting,
    first_progress,
    plan_resume,
)

logger = logging.getLogger(__name__)


#: Seconds of the first round for all partitions together, and then for each alone.
OPENING_FIRST_ROUND_S = 5.0


class Log(Protocol):
    """What the broker knows of the topic's partitions.

    Every method answers for all partitions at once, or raises KafkaError or TimeoutError: the
    broker is unavailable, or a partition has no leader now.
    """

    async def states(self, partitions: Iterable[int]) -> dict[int, LogState]:
        """Return log start, end and stable end of each, the stable end not above the end."""
        ...

    async def group_offsets(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """Return the group's committed offset of each, None if it has none."""
        ...

    async def offsets_at(self, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
        """Return the first offset at or after a time (epoch milliseconds) that readers of committed
        records see; the stable end if there is none."""
        ...

    async def fingerprints(self, offsets: Mapping[int, int]) -> dict[int, Fingerprint | None]:
        """Return the fingerprint of the record at an offset within the log; None if the record is
        gone, and one that equals no other if it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedPartition:
    """A partition may be read from `position`. `progress` is stored as given here.

    committed: where the partition task's `committed` starts, as `PartitionTask` has it. The group's
    offset can be below `position`: a worker crashed between saving progress and committing, or the
    offset expired. Everything between the two is durable, so `committed` is that lower offset and a
    commit is due at once. Otherwise Kafka's own lag would be wrong until the next record.
    """

    position: int
    progress: Progress
    committed: int


class PartitionOpener:
    """Determines where the partition tasks of one topic begin.

    topic: whose partitions. start: where a partition without progress begins. now_ms: the clock,
    epoch milliseconds, for the time of writing. on_gap: called once for each retention gap, with
    the number of its offsets.
    """

    def __init__(
        self,
        *,
        topic: str,
        start: StartSetting,
        progress: ProgressStore,
        log: Log,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        group: str = "",
        on_gap: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_gap = on_gap
        self.topic = topic
        self._member = Member(topic, group)
        self.start = start
        self.progress = progress
        self.log = log
        self.now_ms = now_ms
        self._table_id: str | None = None

    async def open(
        self, partitions: Iterable[int], *, limit_s: float = OPENING_FIRST_ROUND_S
    ) -> dict[int, OpenedPartition | Closed]:
        """Run one round: all partitions together, which takes a few requests for any number of
        them. If that fails or exceeds `limit_s` seconds, ask for each alone, so that one without a
        leader, or with throttled progress, delays no other.

        Raises OperatorError if no partition of this table can be opened.
        """
        wanted = list(partitions)
        table = await self._table()
        try:
            async with asyncio.timeout(limit_s):
                return await self._open(table, wanted)
        except (KafkaError, TimeoutError) as error:
            self._raise_denied(error)
            if len(wanted) == 1:
                return {wanted[0]: Closed(_no_answer(error, limit_s))}
        alone = [asyncio.ensure_future(self._alone(table, p, limit_s)) for p in wanted]
        try:
            return dict(zip(wanted, await asyncio.gather(*alone), strict=True))
        finally:
            for task in alone:  # the first OperatorError is raised; the others are abandoned
                task.cancel()

    async def _alone(
        self, table: TableRecord, partition: int, limit_s: float
    ) -> OpenedPartition | Closed:
        try:
            async with asyncio.timeout(limit_s):
                return (await self._open(table, [partition]))[partition]
        except (KafkaError, TimeoutError) as error:
            self._raise_denied(error)
            return Closed(_no_answer(error, limit_s))

    def _raise_denied(self, error: Exception) -> None:
        """Raise for a missing permission: it concerns all partitions, and no retry restores it."""
        if (code := code_of(error)) in DENIED:
            raise OperatorError(refusal(code, self._member)) from error

    async def _open(
        self, table: TableRecord, wanted: list[int]
    ) -> dict[int, OpenedPartition | Closed]:
        """Open all of these. Raises KafkaError or TimeoutError if one of them gets no answer."""
        stored = dict(
            zip(
                wanted,
                await asyncio.gather(*(self.progress.read(p) for p in wanted)),
                strict=True,
            )
        )
        states, groups = await asyncio.gather(
            self.log.states(wanted), self.log.group_offsets(wanted)
        )
        for partition in [p for p, progress in stored.items() if progress is None]:
            stored[partition] = await self._begin(partition, table, states, groups)
        prints = await self.log.fingerprints(
            {
                p: progress.next - 1
                for p, progress in stored.items()
                if progress is not None
                and progress.last is not None
                and states[p].start < progress.next <= states[p].stable_end
            }
        )
        return {
            partition: await self._resume(
                partition, table, progress, groups[partition], states[partition],
                prints.get(partition),
            )
            for partition, progress in stored.items()
            if progress is not None
        }  # fmt: skip

    async def _table(self) -> TableRecord:
        table = await self.progress.table()
        if table.topic != self.topic:
            raise OperatorError(
                f"the table serves the topic {table.topic!r}, not {self.topic!r}: set"
                " dynamodb.table to another name, one table per topic, and run `poste init`"
            )
        if self._table_id is None:
            self._table_id = table.table_id
        if table.table_id != self._table_id:
            raise TableReplaced("the table was replaced while this worker ran")
        return table

    async def _begin(
        self,
        partition: int,
        table: TableRecord,
        states: Mapping[int, LogState],
        groups: Mapping[int, int | None],
    ) -> Progress:
        """Store the first progress of a partition on condition of absence; return what is stored
        then."""
        at_time = None
        if self.start.time_ms is not None:
            at_time = (await self.log.offsets_at([partition], self.start.time_ms))[partition]
        begin = first_progress(
            table=table,
            partition=partition,
            start=self.start,
            log=states[partition],
            group=groups[partition],
            at_time=at_time,
            now_ms=self.now_ms(),
        )
        logger.info(
            "partition %d: no progress yet, begins at offset %d (kafka.start: %s)",
            partition, begin.next, self.start,
            extra=event(
                "partition_begun", partition=partition, offset=begin.next, start=str(self.start)
            ),
        )  # fmt: skip
        return await self.progress.create(partition, begin)

    async def _resume(
        self,
        partition: int,
        table: TableRecord,
        progress: Progress,
        group: int | None,
        state: LogState,
        last_record: Fingerprint | None,
    ) -> OpenedPartition | Closed:
        plan = plan_resume(
            table=table,
            topic=self.topic,
            partition=partition,
            progress=progress,
            group=group,
            log=state,
            last_record=last_record,
        )
        if isinstance(plan, Closed):
            return plan
        return await self._store(partition, progress, plan, group or 0)

    async def _store(
        self, partition: int, progress: Progress, plan: ResumePlan, group: int
    ) -> OpenedPartition | Closed:
        for note in plan.notes:  # first, because a round may be cut off here and repeated
            logger.log(
                note.level, "%s", note.text,
                extra=event(
                    note.kind, partition=partition, offset=progress.next, count=note.records
                ),
            )  # fmt: skip
        if plan.progress != progress:
            try:
                await self.progress.move(partition, progress, plan.progress)
            except ProgressChanged:
                # The previous owner, which has not noticed yet that it lost the partition, has just
                # made something durable. What it wrote holds; the next round reads it.
                return Closed(
                    f"{self.topic}-{partition}: its progress was written by another worker just"
                    " now; it is asked again"
                )
            for note in plan.notes:
                if note.kind is OpeningNoteKind.GAP:
                    self._on_gap(note.records)
        # A lower start is a replay: the group's offset stays with it until it has passed.
        replays = plan.position < plan.progress.next
        committed = plan.position if replays else min(group, plan.position)
        return OpenedPartition(plan.position, plan.progress, committed)


def _no_answer(error: Exception, limit_s: float) -> str:
    if isinstance(error, KafkaError):
        if error.retriable:
            return f"the broker does not answer: {error!r}"
        return f"the broker refuses: {error!r}"
    return f"the store or the broker gives no answer within {limit_s:g} s"
