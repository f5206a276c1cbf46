"""Show the partitions, and plan and apply moves of positions: skip, rewind, epoch.

A move is planned from the present state and applied on request. Every write is conditional on an
unchanged state. Workers are stopped for a move.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from poste_restante.claims import Freshness
from poste_restante.table import TableRecord
from worker.cli.deadline_store import open_deadline_store
from worker.dynamodb.claim_store import DynamoDBClaims
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.dynamodb.retrying_store import RetryingStore
from worker.errors import OperatorError
from worker.kafka.admin import Kafka, missing_topic, open_kafka_admin
from worker.kafka.log_client import KafkaLogClient
from worker.kafka.options import client_options
from worker.opening import Log
from worker.progress import Progress
from worker.resume import LogState, plan_epoch, plan_rewind, plan_skip
from worker.settings import Settings, parse_time_ms

_MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """The state of one partition. progress, group: None if there is none yet."""

    partition: int
    log: LogState
    progress: Progress | None
    group: int | None

    @property
    def lag(self) -> int:
        """Return the number of offsets from progress to the log's true end.

        Offsets that a transaction holds back count. Without progress it begins at the log's start.
        """
        return self.log.end - (self.log.start if self.progress is None else self.progress.next)


@dataclass(frozen=True, slots=True)
class PartitionMove:
    """The move of one partition. old: None if it had no progress."""

    partition: int
    old: Progress | None
    new: Progress

    def __str__(self) -> str:
        if self.old is None:
            return f"partition {self.partition}: begins at {self.new.next}"
        move = f"progress {self.old.next} -> {self.new.next}, and the group's offset"
        if self.old.epoch != self.new.epoch:
            return f"partition {self.partition}: epoch {self.old.epoch} -> {self.new.epoch}, {move}"
        count = abs(self.new.next - self.old.next)
        what = "materialized again" if self.new.next < self.old.next else "left out for good"
        return f"partition {self.partition}: {move}; {count} offsets are {what}"


@dataclass(frozen=True, slots=True)
class MovePlan:
    """The moves of one command.

    epoch: the table record's new epoch, which is written last. None: unchanged.
    """

    moves: tuple[PartitionMove, ...]
    epoch: int | None = None

    def lines(self) -> list[str]:
        """Return one line for each move."""
        lines = [str(move) for move in self.moves]
        return lines if self.epoch is None else [*lines, f"the table to epoch {self.epoch}"]


class Groups(Protocol):
    """The calls of a move to the group coordinator.

    Both may be repeated. They raise KafkaError for a refusal of the broker.
    """

    async def require_no_members(self, group: str) -> None:
        """Raise OperatorError while the group has members, of either group protocol."""
        ...

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets, up or down. Raises OperatorError, and commits none, if it has members."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminClient:
    """The client for reading and moving positions. `open_admin_client` opens it."""

    settings: Settings
    groups: Groups
    log: Log
    progress: DynamoDBProgress
    claims: DynamoDBClaims
    table: TableRecord
    partitions: tuple[int, ...]

    async def partition_statuses(self, only: Iterable[int] | None = None) -> list[PartitionStatus]:
        """Return the state of these or all partitions. Raises OperatorError."""
        wanted = self.partitions if only is None else tuple(only)
        for partition in wanted:
            if partition not in self.partitions:
                raise OperatorError(
                    f"the topic {self.table.topic!r} has no partition {partition}: it has 0 to"
                    f" {self.partitions[-1]}"
                )
        states, groups, stored = await asyncio.gather(
            self.log.states(wanted),
            self.log.group_offsets(wanted),
            asyncio.gather(*(self.progress.read(p) for p in wanted)),
        )
        return [
            PartitionStatus(p, states[p], progress, groups[p])
            for p, progress in zip(wanted, stored, strict=True)
        ]

    async def freshness(self) -> Freshness:
        """Return the freshness that the workers' claims prove. Raises OperatorError."""
        return await self.claims.read(self.table)

    async def skip(self, partition: int, to: str, now_ms: int) -> MovePlan:
        """Plan to skip in one partition, to an offset, a time, or the log's end.

        The end is the stable one, which limits a time too. An open transaction's records are
        therefore delivered when it commits. An offset above it skips them too.
        """
        (partition_status,) = await self.partition_statuses([partition])
        old = _require_progress(partition_status)
        target = await self._target_offset(partition_status, to)
        new = plan_skip(
            topic=self.table.topic, partition=partition, progress=old,
            to=target, log=partition_status.log, now_ms=now_ms,
        )  # fmt: skip
        return MovePlan((PartitionMove(partition, old, new),) if new != old else ())

    async def skip_each(self, partitions: Iterable[int], to: str, now_ms: int) -> MovePlan:
        """Plan to skip in these partitions, each as `skip` does."""
        plans = [await self.skip(partition, to, now_ms) for partition in sorted(set(partitions))]
        return MovePlan(tuple(move for plan in plans for move in plan.moves))

    async def skip_all(self, to: str, now_ms: int) -> MovePlan:
        """Plan to skip in all partitions that are below their target."""
        behind = [
            status.partition
            for status in await self.partition_statuses()
            if await self._target_offset(status, to) > _require_progress(status).next
        ]
        return await self.skip_each(behind, to, now_ms)

    async def rewind_to(self, partitions: Iterable[int] | None, to: str, now_ms: int) -> MovePlan:
        """Plan to rewind to an offset or a time."""
        partition_statuses = await self.partition_statuses(partitions)
        targets = [
            (s, await self._target_offset(s, to))
            for s in partition_statuses
            if s.progress is not None
        ]
        return self._rewind(targets, now_ms)

    async def rewind_minutes(
        self, partitions: Iterable[int] | None, minutes: float, now_ms: int
    ) -> MovePlan:
        """Plan to rewind by minutes before each progress was written.

        A table restored to a point in time has progress of about that time, but items are not
        consistent: bundles of the minutes before may be missing. If the worker was behind, their
        records were published earlier. The replay therefore begins no later than the log's end when
        the partition was last caught up, or at the origin if it never was.
        """
        targets = []
        for partition_status in await self.partition_statuses(partitions):
            if partition_status.progress is not None:
                offset = await self._offset_before(
                    partition_status.partition, partition_status.progress, minutes
                )
                targets.append((partition_status, offset))
        return self._rewind(targets, now_ms)

    async def _offset_before(self, partition: int, progress: Progress, minutes: float) -> int:
        if progress.caught_up_at_ms is None:
            return progress.origin
        time_ms = progress.written_at_ms - int(minutes * _MS_PER_MINUTE)
        time_ms = min(time_ms, progress.caught_up_at_ms)
        found = await self.log.offsets_at([partition], time_ms)
        return min(found[partition], progress.next)

    def _rewind(self, targets: Iterable[tuple[PartitionStatus, int]], now_ms: int) -> MovePlan:
        moves = []
        for partition_status, to in targets:
            old = _require_progress(partition_status)
            new = plan_rewind(
                topic=self.table.topic, partition=partition_status.partition, progress=old,
                to=to, log=partition_status.log, now_ms=now_ms,
            )  # fmt: skip
            if new != old:
                moves.append(PartitionMove(partition_status.partition, old, new))
        return MovePlan(tuple(moves))

    async def epoch(self, now_ms: int, to: str | None = None) -> MovePlan:
        """Plan to open the next epoch, or to complete an interrupted opening.

        to: where each partition begins; None: at its log's start. A mirrored topic has other
        offsets than its original. The mirror translates the group's offset, and the group has read
        what is below it.
        """
        moves = []
        for status in await self.partition_statuses():
            begin = status.log.start
            if to is not None:
                begin = max(begin, await self._target_offset(status, to))
            if begin > status.log.end:
                raise OperatorError(
                    f"{self.table.topic}-{status.partition}: cannot skip to {begin}: the log ends"
                    f" at {status.log.end}"
                )
            new = plan_epoch(table=self.table, begin=begin, now_ms=now_ms)
            if status.progress is None or status.progress.epoch != new.epoch:
                moves.append(PartitionMove(status.partition, status.progress, new))
        return MovePlan(tuple(moves), epoch=self.table.epoch + 1)

    async def _target_offset(self, partition_status: PartitionStatus, to: str) -> int:
        if to == "end":
            return partition_status.log.stable_end
        if to == "group":
            if partition_status.group is None:
                raise OperatorError(
                    f"the group {self.settings.kafka.group!r} has no offset in partition"
                    f" {partition_status.partition}: give an offset or a time"
                )
            return partition_status.group
        if re.fullmatch(r"\d{1,19}", to, re.ASCII):
            return int(to)
        try:
            time_ms = parse_time_ms(to)
        except ValueError:
            raise OperatorError(
                f"{to!r} is neither an offset, nor `end` or `group`, nor a time such as"
                " 2026-01-31T00:00:00Z"
            ) from None
        return (await self.log.offsets_at([partition_status.partition], time_ms))[
            partition_status.partition
        ]

    async def require_empty_group(self) -> None:
        """Raise OperatorError while the group has members."""
        await self.groups.require_no_members(self.settings.kafka.group)

    async def apply(self, plan: MovePlan) -> None:
        """Apply the moves. A refused step changes nothing that a worker uses. After an interruption
        between two steps, the same command continues.

        A skip and a rewind commit the group's offsets first, because the broker refuses that while
        the group has members, of any protocol, and if our user may not. They write progress second.
        A worker that starts between the two does not follow a group ahead of progress, and replays
        from a group behind it. So a skip is undone and a rewind is made.

        An epoch cannot begin with the group: a worker that started after that would read the new
        log from its start as the old epoch, under keys of the old log. So it first tries to commit
        the present offsets. Then it writes progress, which closes each partition until the last
        step. Then it writes the group's offsets and the table record.
        """
        if plan.epoch is None:
            await self._commit({move.partition: move.new.next for move in plan.moves})
            await self._move_progress(plan)
            return
        await self._try_commit(plan)
        await self._move_progress(plan)
        # Of all partitions, including those that an interrupted opening has moved.
        await self._commit(
            {s.partition: s.progress.next for s in await self.partition_statuses() if s.progress}
        )
        await self.progress.open_epoch(self.table, partitions=len(self.partitions))

    async def _move_progress(self, plan: MovePlan) -> None:
        for move in plan.moves:
            if move.old is None:
                await self.progress.create(move.partition, move.new)
            else:
                await self.progress.move(move.partition, move.old, move.new)

    async def _commit(self, offsets: Mapping[int, int]) -> None:
        if offsets:
            await self.groups.commit(self.settings.kafka.group, self.table.topic, offsets)

    async def _try_commit(self, plan: MovePlan) -> None:
        """Commit offsets that change nothing: the group's; else progress, at which a worker begins
        anyway; else the planned start."""
        planned = {move.partition: move.new.next for move in plan.moves}
        offsets = {}
        for partition_status in await self.partition_statuses():
            there = partition_status.group
            if there is None and partition_status.progress is not None:
                there = partition_status.progress.next
            offsets[partition_status.partition] = (
                planned[partition_status.partition] if there is None else there
            )
        await self._commit(offsets)


def require_lag(statuses: Iterable[PartitionStatus], most: int) -> None:
    """Raise OperatorError where a partition lags by more than `most` offsets."""
    lagging = [status for status in statuses if status.lag > most]
    if lagging:
        worst = max(lagging, key=lambda status: status.lag)
        raise OperatorError(
            f"{len(lagging)} partitions lag by more than {most} offsets, partition"
            f" {worst.partition} by {worst.lag}"
        )


def _require_progress(partition_status: PartitionStatus) -> Progress:
    if partition_status.progress is None:
        raise OperatorError(
            f"partition {partition_status.partition} has no progress yet: start a worker once, with"
            " kafka.start saying where it begins"
        )
    return partition_status.progress


@asynccontextmanager
async def open_admin_client(settings: Settings) -> AsyncIterator[AdminClient]:
    """Connect to both services. Raises OperatorError, in one line, if something is missing."""
    async with (
        open_kafka_admin(settings.kafka) as kafka,
        open_deadline_store(settings.dynamodb) as store,
        admin_client_of(settings, kafka, store) as admin,
    ):
        yield admin


@asynccontextmanager
async def admin_client_of(
    settings: Settings, kafka: Kafka, store: RetryingStore
) -> AsyncIterator[AdminClient]:
    """Open the client over the caller's connections."""
    kafka_settings = settings.kafka
    progress = DynamoDBProgress(store, settings.dynamodb.table, kafka_settings.topic)
    table = await progress.table()
    topic = await kafka.topic(kafka_settings.topic)
    if topic is None:
        raise missing_topic(kafka_settings.topic)
    log = KafkaLogClient(
        topic=kafka_settings.topic,
        group=kafka_settings.group,
        client_options=client_options(kafka_settings),
    )
    await log.start()
    try:
        yield AdminClient(
            settings=settings, groups=kafka, log=log, progress=progress,
            claims=DynamoDBClaims(store, settings.dynamodb.table), table=table,
            partitions=tuple(range(topic.partitions)),
        )  # fmt: skip
    finally:
        await log.stop()
