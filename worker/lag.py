"""How far durability is behind the log, in records and in seconds, for each assigned partition.

`LagMonitor.refresh` asks the broker every few seconds; `lags` answers a scrape from memory. The age
of what is not durable comes from the first of these that applies:

    a fetched record     its timestamp
    read to the stable end, nothing held back      0: only markers of transactions are left
    not read (closed, stuck, surplus)      the timestamp of the record, asked for once per offset
    otherwise            seconds since a refresh first found it: an open transaction hides it, or it
                         has no usable timestamp
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from worker.assignment import Assignment, PartitionTask
from worker.opening import Log
from worker.record import TIMESTAMP_MS_MIN
from worker.resume import LogState

#: Seconds that a refresh may spend on partitions that are not read, and on the retention time.
UNREAD_S_MAX = 2.0
#: Seconds between two questions about the topic's retention time.
RETENTION_EVERY_S = 600.0
#: Seconds that the client's thread gets to tell its positions; it is behind a fetch of at most 1 s.
POSITIONS_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far durability is behind in one partition.

    records: from the first offset that is not durable to the log's end. seconds: age of the oldest
    record that is not durable. held_back: offsets behind an open transaction. margin: offsets from
    the log's start to the first that is not durable.
    """

    records: int
    seconds: float
    held_back: int
    margin: int


@dataclass(slots=True)
class _Found:
    """What the last refresh found of a partition. next: its first offset that is not durable.
    since_s: when it was first found behind there; None: it was not behind. sent_s: timestamp of the
    record at `next`, if known. times: seconds of the clock."""

    log: LogState
    next: int
    since_s: float | None = None
    sent_s: float | None = None
    #: The record at `next` has been asked for.
    asked: bool = False


class LagMonitor:
    """Follows the assigned partitions of one topic.

    retention: asks for the topic's retention time, in seconds; None: the worker may not know it.
    clock: epoch seconds, as producers' clocks.
    """

    def __init__(
        self,
        log: Log,
        *,
        retention: Callable[[], Awaitable[float | None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._ask_retention = retention
        self._clock = clock
        #: Seconds that the topic keeps its records, as last asked for; None: not known.
        self.retention_s: float | None = None
        self._retention_asked_s = -RETENTION_EVERY_S
        self._found: dict[int, _Found] = {}

    async def refresh(
        self,
        assignment: Assignment,
        positions: Callable[[], Awaitable[Mapping[int, int]]],
    ) -> dict[int, LogState]:
        """Ask the broker once; return the states of the partitions with a task.

        positions: where the client reads on. Raises KafkaError or TimeoutError if the broker does
        not answer about these partitions; the others are left as they were found.
        """
        tasks = dict(assignment.tasks)
        # Ask about some partition even without an assignment: does the broker answer?
        states = await self._log.states(sorted(tasks) or [0])
        states = {partition: states[partition] for partition in tasks}
        at: Mapping[int, int] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(POSITIONS_S_MAX):
                at = await positions()
        for partition, state in states.items():
            task = tasks[partition]
            self._follow(partition, state, task.durable, behind=self._is_behind(task, state, at))
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(UNREAD_S_MAX):
                await self._refresh_unread(assignment)
                await self._refresh_retention()
        for partition in self._found.keys() - assignment.tasks.keys():
            if partition not in assignment.closed and partition not in assignment.surplus:
                del self._found[partition]
        return states

    def _is_behind(self, task: PartitionTask, state: LogState, at: Mapping[int, int]) -> bool:
        """Return whether something of a partition that is read is not durable: markers do not
        count, which the client's position has passed."""
        fetched = task.fetched > task.durable
        return fetched or state.held_back > 0 or at.get(task.partition, 0) < state.stable_end

    async def _refresh_unread(self, assignment: Assignment) -> None:
        """Refresh the partitions that are not read. Durable counts as the group's offset says."""
        others = sorted(assignment.closed.keys() | assignment.surplus)
        groups = await self._log.group_offsets(others) if others else {}
        offsets = {p: offset for p, offset in groups.items() if offset is not None}
        offsets |= {p: assignment.tasks[p].durable for p in assignment.stuck}
        states = await self._log.states(sorted(offsets)) if offsets else {}
        for partition, state in states.items():
            offset = offsets[partition]
            found = self._follow(partition, state, offset, behind=offset < state.end)
            if not found.asked and state.start <= offset < state.stable_end:
                found.asked = True  # once: the answer may take its time, as for a marker
                found.sent_s = await self._sent_s(partition, offset)

    async def _refresh_retention(self) -> None:
        now_s = self._clock()
        if now_s - self._retention_asked_s >= RETENTION_EVERY_S:
            self._retention_asked_s = now_s
            self.retention_s = await self._ask_retention()

    async def _sent_s(self, partition: int, offset: int) -> float | None:
        """Return the timestamp of a record, in epoch seconds; None: it has none."""
        found = (await self._log.fingerprints({partition: offset})).get(partition)
        return None if found is None else _seconds(found.timestamp_ms)

    def _follow(self, partition: int, log: LogState, offset: int, *, behind: bool) -> _Found:
        """Note what is found of a partition, with what is known of the same offset already."""
        found = self._found.get(partition)
        if found is None or found.next != offset:
            found = self._found[partition] = _Found(log, offset)
        found.log = log
        if not behind:
            found.since_s = None
        elif found.since_s is None:
            found.since_s = self._clock()
        return found

    def lags(self, assignment: Assignment) -> dict[int, PartitionLag]:
        """Return the lag of each assigned partition that a refresh has found, as of now."""
        now_s = self._clock()
        return {
            partition: self._lag(found, assignment.tasks.get(partition), now_s)
            for partition, found in sorted(self._found.items())
        }

    def _lag(self, found: _Found, task: PartitionTask | None, now_s: float) -> PartitionLag:
        durable = found.next if task is None else task.durable
        end = max(found.log.end, 0 if task is None else task.fetched)
        since_s = _oldest_s(task)
        if since_s is None and durable == found.next:  # else something became durable meanwhile
            since_s = found.since_s if found.sent_s is None else found.sent_s
        return PartitionLag(
            records=max(0, end - durable),
            seconds=0.0 if since_s is None else max(0.0, now_s - since_s),
            held_back=found.log.held_back,
            margin=max(0, durable - found.log.start),
        )


def _oldest_s(task: PartitionTask | None) -> float | None:
    """Return the timestamp of the oldest fetched record that is not durable, in epoch seconds."""
    record = None if task is None else task.oldest
    return None if record is None else _seconds(record.timestamp)


def _seconds(timestamp_ms: int | None) -> float | None:
    """Return epoch seconds; None for a missing or impossible timestamp."""
    if timestamp_ms is None or timestamp_ms < TIMESTAMP_MS_MIN:
        return None
    return timestamp_ms / 1000
