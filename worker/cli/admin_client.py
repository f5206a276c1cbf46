"""Show the partitions to an operator, and make the deliberate moves: skip, rewind, epoch.

A move is planned from what is there, shown, and made only when it is wanted; every write has the
condition that nothing changed meanwhile. Workers are stopped for a move.
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
    """One partition as it stands. progress, group: None where there is none yet."""

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
class Move:
    """What a deliberate move changes of one partition. old is None where it had no progress."""

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
class Plan:
    """The moves of one command.

    epoch: the table record's new epoch, which is written last. None: it stays as it is.
    """

    moves: tuple[Move, ...]
    epoch: int | None = None

    def lines(self) -> list[str]:
        """Return what would be done, one line for each move; empty where nothing would be."""
        lines = [str(move) for move in self.moves]
        return lines if self.epoch is None else [*lines, f"the table to epoch {self.epoch}"]


class Groups(Protocol):
    """The calls of a move to the group's coordinator.

    Both may be repeated. They raise KafkaError where the broker refuses.
    """

    async def require_no_members(self, group: str) -> None:
        """Raise OperatorError while the group has members, of either protocol of groups."""
        ...

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Set offsets, up or down. Raises OperatorError, and sets none, where it has members."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminClient:
    """Everything that a move reads and writes. `open_admin_client` opens it."""

    settings: Settings
    groups: Groups
    log: Log
    progress: DynamoDBProgress
    claims: DynamoDBClaims
    table: TableRecord
    partitions: tuple[int, ...]

    async def partition_statuses(self, only: Iterable[int] | None = None) -> list[PartitionStatus]:
        """Return the present state of all partitions, or of those named. Raises OperatorError."""
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
        """What the workers' claims say. Raises OperatorError."""
        return await self.claims.read(self.table)

    async def skip(self, partition: int, to: str, now_ms: int) -> Plan:
        """Plan the move of one partition forward, to an offset, a time, or the log's end.

        The end is the stable one, and a time leads no further: what an open transaction holds back
        was not there to be left out, and is delivered when it is committed. An offset above it
        leaves that out too.
        """
        (partition_status,) = await self.partition_statuses([partition])
        old = _progress_of(partition_status)
        target = await self._target(partition_status, to)
        new = plan_skip(
            topic=self.table.topic, partition=partition, progress=old,
            to=target, log=partition_status.log, now_ms=now_ms,
        )  # fmt: skip
        return Plan((Move(partition, old, new),) if new != old else ())

    async def skip_each(self, partitions: Iterable[int], to: str, now_ms: int) -> Plan:
        """Plan the moves of these partitions forward, each as `skip` does."""
        plans = [await self.skip(partition, to, now_ms) for partition in sorted(set(partitions))]
        return Plan(tuple(move for plan in plans for move in plan.moves))

    async def skip_all(self, to: str, now_ms: int) -> Plan:
        """Plan the moves of all partitions forward that are below their target."""
        behind = [
            status.partition
            for status in await self.partition_statuses()
            if await self._target(status, to) > _progress_of(status).next
        ]
        return await self.skip_each(behind, to, now_ms)

    async def rewind_to(self, partitions: Iterable[int] | None, to: str, now_ms: int) -> Plan:
        """Plan the moves back to an offset or a time."""
        partition_statuses = await self.partition_statuses(partitions)
        targets = [
            (s, await self._target(s, to)) for s in partition_statuses if s.progress is not None
        ]
        return self._rewind(targets, now_ms)

    async def rewind_minutes(
        self, partitions: Iterable[int] | None, minutes: float, now_ms: int
    ) -> Plan:
        """Plan the moves back by minutes before each progress was written.

        A table restored to a point in time holds progress of about that time, but is not
        consistent across items: bundles of the minutes before may be missing. What was written
        in those minutes was published before them where the worker was behind: the replay
        begins no later than where the log ended when the partition was last caught up, and at
        the origin where it never was.
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

    def _rewind(self, targets: Iterable[tuple[PartitionStatus, int]], now_ms: int) -> Plan:
        moves = []
        for partition_status, to in targets:
            old = _progress_of(partition_status)
            new = plan_rewind(
                topic=self.table.topic, partition=partition_status.partition, progress=old,
                to=to, log=partition_status.log, now_ms=now_ms,
            )  # fmt: skip
            if new != old:
                moves.append(Move(partition_status.partition, old, new))
        return Plan(tuple(moves))

    async def epoch(self, now_ms: int, to: str | None = None) -> Plan:
        """Plan the opening of the next epoch, or the rest of one that was interrupted.

        to: where each partition begins; None: at its log's start. A mirrored topic has other
        offsets than its original: what the group has read there is below the group's offset, which
        the mirror translates.
        """
        moves = []
        for status in await self.partition_statuses():
            begin = status.log.start
            if to is not None:
                begin = max(begin, await self._target(status, to))
            if begin > status.log.end:
                raise OperatorError(
                    f"{self.table.topic}-{status.partition}: cannot skip to {begin}: the log ends"
                    f" at {status.log.end}"
                )
            new = plan_epoch(table=self.table, begin=begin, now_ms=now_ms)
            if status.progress is None or status.progress.epoch != new.epoch:
                moves.append(Move(status.partition, status.progress, new))
        return Plan(tuple(moves), epoch=self.table.epoch + 1)

    async def _target(self, partition_status: PartitionStatus, to: str) -> int:
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

    async def make(self, plan: Plan) -> None:
        """The moves. Where a step is refused nothing is changed that a worker goes by; after an
        interruption between two steps the same command goes on.

        A skip and a rewind commit the group's offsets first: the broker refuses that while the
        group has members, whatever their protocol, and where our user may not. Then progress. A
        worker that starts between the two does not follow a group that is ahead of progress, and
        replays from one that is behind it: it leaves a skip undone and makes a rewind.

        An epoch cannot begin with the group: a worker that starts after that would read the new
        log from its start as the old epoch, under keys that the old log has used. So the commit
        is tried with the offsets that are there. Then progress, which closes each partition until
        the last step; the group's offsets; and the table record.
        """
        if plan.epoch is None:
            await self._commit({move.partition: move.new.next for move in plan.moves})
            await self._move(plan)
            return
        await self._try_commit(plan)
        await self._move(plan)
        # Of all partitions: those that an interrupted opening has moved, too.
        await self._commit(
            {s.partition: s.progress.next for s in await self.partition_statuses() if s.progress}
        )
        await self.progress.open_epoch(self.table, partitions=len(self.partitions))

    async def _move(self, plan: Plan) -> None:
        for move in plan.moves:
            if move.old is None:
                await self.progress.create(move.partition, move.new)
            else:
                await self.progress.move(move.partition, move.old, move.new)

    async def _commit(self, offsets: Mapping[int, int]) -> None:
        if offsets:
            await self.groups.commit(self.settings.kafka.group, self.table.topic, offsets)

    async def _try_commit(self, plan: Plan) -> None:
        """Commit what changes nothing: the group's offset as it is; where it has none, progress,
        at which a worker begins without one as well; where there is neither, the planned start."""
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


def _progress_of(partition_status: PartitionStatus) -> Progress:
    if partition_status.progress is None:
        raise OperatorError(
            f"partition {partition_status.partition} has no progress yet: start a worker once, with"
            " kafka.start saying where it begins"
        )
    return partition_status.progress


@asynccontextmanager
async def open_admin_client(settings: Settings) -> AsyncIterator[AdminClient]:
    """Connect to both services. Raises OperatorError, in one line, for whatever is missing."""
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
    """Return what `open_admin_client` does, over connections that the caller has."""
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
