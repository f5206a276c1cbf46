"""Fetches records into the partition tasks of an assignment: what next, and what if it fails.

A fetch that straddles a rebalance is undone: it waits out the reassignment inside the client,
returns records of the new assignment and has moved its positions.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from aiokafka.errors import IllegalStateError, KafkaError

from worker.assignment import Assignment
from worker.continuity import follows
from worker.errors import OperatorError
from worker.group_errors import Member, unreadable
from worker.logging_config import event
from worker.opening import Log
from worker.record import Record

logger = logging.getLogger(__name__)

#: Seconds between a fetch that read to the log's end and the next one, without a linger: what
#: arrives meanwhile is fetched together. A fetch, and a write, costs as much for one record as for
#: ten. A backlog, and the first record after a silence, wait for nothing.
FETCH_PAUSE_S = 0.005

#: Seconds that the broker gets to resend what a failed fetch discarded, before it is fetched one
#: partition, or one record, at a time.
REFETCH_S = 1.0

#: Seconds until a request is repeated that the broker did not answer.
ASK_AGAIN_S = 0.2


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


class RecordSource(Protocol):
    """The client that reads the topic's partitions, as the fetching uses it."""

    async def fetch(
        self, partitions: set[int], *, timeout_s: float, records_max: int, lingers: bool
    ) -> dict[int, Fetched]:
        """Fetch once, and count as a poll; without partitions, only that.

        timeout_s: seconds to wait for the first record. records_max: of all partitions together.
        lingers: pause partitions that were read to their end until they are requested again. Raises
        KafkaError, and UnicodeDecodeError for a record that the client cannot read.
        """

    async def move(self, positions: Mapping[int, int]) -> None:
        """Read partitions from these offsets on. Raises IllegalStateError if revoked."""

    async def hold(self, partitions: Iterable[int]) -> None:
        """Stop reading partitions until they are moved."""

    async def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return where partitions are read on: beyond the last record that was returned, and beyond
        markers and records that were skipped. Nothing if one of them is revoked."""


class FetchLoop:
    """Fetches for the current assignment, one fetch at a time.

    source: the client. log: of the topic. member: what errors name. current: returns the current
    assignment, which a rebalance replaces while a fetch is under way. sleep, clock: monotonic
    seconds.
    """

    def __init__(
        self,
        source: RecordSource,
        log: Log,
        member: Member,
        current: Callable[[], Assignment],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._log = log
        self._member = member
        self._current = current
        self._sleep = sleep
        self._clock = clock
        #: Iterations so far. A loop that makes none is stalled.
        self.iterations = 0
        self._positions: asyncio.Future[Mapping[int, int]] | None = None

    async def positions(self) -> Mapping[int, int]:
        """Return where the partitions of the current assignment are read on, of an instant between
        two fetches: every record below is in its partition task. Waits for the present fetch."""
        if self._positions is None:
            self._positions = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._positions)

    async def _answer_positions(self) -> None:
        asked, self._positions = self._positions, None
        if asked is None or asked.done():
            return
        assignment = self._current()
        found = await self._source.positions(sorted(assignment.tasks))
        if not asked.done():
            asked.set_result(found if assignment is self._current() else {})

    async def fetch_next(self) -> None:
        """Fetch once what the current assignment wants next, and take it.

        Raises OperatorError for records that the broker does not give or that are missing, and
        RuntimeError for offsets that go back.
        """
        self.iterations += 1
        await self._answer_positions()
        assignment = self._current()
        now_s = self._clock()
        partitions_to_fetch = assignment.partitions_to_fetch(now_s)
        try:
            read_to_end = await self._fetch_into(
                assignment,
                partitions_to_fetch,
                assignment.fetch_timeout_s(partitions_to_fetch, now_s),
            )
            if read_to_end and not assignment.lingers:
                await self._sleep(FETCH_PAUSE_S)
        except UnicodeDecodeError:
            if assignment is self._current():
                await self._fetch_doubtful(assignment, partitions_to_fetch)
            else:
                await self.undo(partitions_to_fetch)

    async def _fetch_into(
        self,
        assignment: Assignment,
        partitions: set[int],
        timeout_s: float,
        records_max: int | None = None,
    ) -> bool:
        """Fetch once, into the partition tasks of the assignment in which the fetch began.

        True: it brought records, and read every partition that had some to the log's end.
        """
        try:
            fetched = await self._source.fetch(
                partitions,
                timeout_s=timeout_s,
                records_max=records_max or assignment.fetch_records_max(),
                lingers=assignment.lingers,
            )
        except KafkaError as error:
            # A revoked assignment's error concerns positions that aiokafka chose itself, before
            # they were held, so it is ignored.
            if assignment is self._current():
                raise OperatorError(unreadable(error, self._member)) from error
            fetched = dict.fromkeys(partitions, Fetched((), caught_up=False))
        if assignment is not self._current():
            await self.undo(fetched)
            return False
        lingering = {partition for partition, found in fetched.items() if found.lingers}
        if lingering:
            assignment.linger(lingering, self._clock())
        for partition, (records, caught_up, held_back, _) in fetched.items():
            if not records:
                continue
            if await follows(assignment.tasks[partition], records, self._log):
                assignment.add(partition, records, caught_up=caught_up, held_back=held_back)
            else:
                await self._sleep(ASK_AGAIN_S)
                await self._back(assignment, {partition})
        return bool(fetched) and all(found.caught_up for found in fetched.values())

    async def _fetch_doubtful(self, assignment: Assignment, partitions: set[int]) -> None:
        """Fetch partitions one by one, after aiokafka failed on a record of one of them.

        aiokafka decodes header names, fails on one that is not UTF-8, and forgets what it had
        unpacked before it, of all partitions of that fetch. So the positions are reset, and after a
        moment each partition is fetched alone. If that fails, its records are fetched one by one:
        those before the bad one are delivered, and the partition stops there.
        """
        await self._back(assignment, partitions)
        await self._sleep(REFETCH_S)
        for partition in sorted(partitions):
            self.iterations += 1
            if assignment is not self._current():
                return
            try:
                await self._fetch_into(assignment, {partition}, 0.0)
            except UnicodeDecodeError:
                await self._fetch_one_by_one(assignment, partition)

    async def _fetch_one_by_one(self, assignment: Assignment, partition: int) -> None:
        """Fetch a partition's records singly until one cannot be read, and stop it there."""
        await self._back(assignment, {partition})
        task, before = assignment.tasks[partition], -1
        try:
            while assignment is self._current() and task.fetched > before:
                before = task.fetched
                await self._fetch_into(assignment, {partition}, REFETCH_S, records_max=1)
        except UnicodeDecodeError:
            await self._stop_reading(assignment, partition)

    async def _stop_reading(self, assignment: Assignment, partition: int) -> None:
        if assignment is not self._current():
            return
        offset = assignment.tasks[partition].fetched
        reason = (
            f"the record at offset {offset}, or the next one, has a header name that is not UTF-8,"
            " which the Kafka client cannot read: stop the workers and run"
            f" `poste skip --partition {partition} --to {offset + 1}`"
        )
        logger.error(
            "partition %d is stuck: %s", partition, reason,
            extra=event("partition_stuck", partition=partition, offset=offset, reason=reason),
        )  # fmt: skip
        assignment.stop_reading(partition, reason)
        await self._source.hold({partition})

    async def _back(self, assignment: Assignment, partitions: set[int]) -> None:
        """Reset positions to what was taken, unless the assignment has ended."""
        if assignment is self._current():
            tasks = assignment.tasks
            await self._move({partition: tasks[partition].fetched for partition in partitions})

    async def undo(self, fetched: Iterable[int]) -> None:
        """Reset the positions of the new assignment that a fetch across a rebalance has moved."""
        tasks = self._current().tasks
        back = {partition: tasks[partition].fetched for partition in fetched if partition in tasks}
        if back:
            await self._move(back)

    async def _move(self, positions: Mapping[int, int]) -> None:
        with suppress(IllegalStateError):  # revoked just now: the next assignment sets its own
            await self._source.move(positions)
