"""Claims how far each open partition is durable, so that a reader can prove a mailbox complete.

A *round* runs every `freshness_s`. It notes the instant, gets the log ends of the open partitions
from their leaders, and claims that instant for each partition once everything below its end is
durable (`FreshnessTracker`, pure). It then stores all claims in one item (`FreshnessClaims`).
poste_restante/claims.py describes the item and its readers.

The ends are those for readers of uncommitted records. An open transaction therefore delays its
partition's claims: its records are appended, but not readable. A follower's end may be below its
leader's, so the end in a fetch's answer is not used.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol

from aiokafka.errors import KafkaError

from poste_restante.claims import Claim, WorkerClaims
from worker.assignment import Assignment, PartitionTask
from worker.logging_config import LogLimiter, event

logger = logging.getLogger(__name__)

#: Unreached ends of one partition. Further ones are dropped, so that a worker that is behind still
#: claims the oldest when it has reached it.
ENDS_WAITING_MAX = 64
#: Seconds between two checks for reached ends, during a flush.
POLL_S = 0.05
#: Seconds for an answer of the leaders.
ANSWER_S_MAX = 5.0


class _LogEnd(NamedTuple):
    as_of_ms: int
    offset: int


class FreshnessTracker:
    """Tracks the reached ends of the partitions, and their claims. Pure."""

    def __init__(self) -> None:
        self._assignment: Assignment | None = None
        self._pending_ends: dict[int, deque[_LogEnd]] = {}
        self._claims: dict[int, Claim] = {}

    def add_ends(self, assignment: Assignment, ends: Mapping[int, int], as_of_ms: int) -> None:
        """Add ends from the leaders. as_of_ms: an instant before the request."""
        if assignment is not self._assignment:
            self._assignment, self._pending_ends, self._claims = assignment, {}, {}
        for partition, offset in ends.items():
            waiting = self._pending_ends.setdefault(partition, deque())
            if len(waiting) < ENDS_WAITING_MAX:
                waiting.append(_LogEnd(as_of_ms, offset))

    def claim_reached(
        self, assignment: Assignment, positions: Mapping[int, int] | None = None
    ) -> set[int]:
        """Claim the reached ends; return the partitions with an unreached one.

        positions: the client's next offsets, at an instant at which every returned record was in
        its partition task (`FetchLoop.positions`).
        """
        if assignment is not self._assignment or assignment.ended or assignment.broken is not None:
            return set()
        behind = set()
        for partition, waiting in self._pending_ends.items():
            task = assignment.tasks.get(partition)
            if task is None:
                continue
            reached = task.durable_below((positions or {}).get(partition, 0))
            while waiting and waiting[0].offset <= reached:
                self._claims[partition] = Claim(waiting.popleft().as_of_ms, reached)
            if waiting:
                behind.add(partition)
        return behind

    def claims(self, assignment: Assignment) -> dict[int, Claim]:
        """Return the claims of the assignment's open partitions."""
        if assignment is not self._assignment or assignment.ended:
            return {}
        return {p: claim for p, claim in self._claims.items() if p in assignment.tasks}


class LeaderEndOffsets(Protocol):
    """Gets log ends from the leaders of partitions."""

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the end of each partition's log, including uncommitted records. Raises KafkaError
        or TimeoutError if a leader does not answer."""


@dataclass(frozen=True, slots=True)
class ConsumerView:
    """The consumer's state that claims need.

    assignment: the current one. positions: as `FetchLoop.positions`. partitions: the topic's number
    of partitions; 0: not known.
    """

    assignment: Callable[[], Assignment]
    positions: Callable[[], Awaitable[Mapping[int, int]]]
    partitions: Callable[[], int]


class FreshnessClaims:
    """Makes and stores this worker's claims, round by round. It only observes flushes, and delays
    none of them.

    put: stores the claims, in one attempt; returns the reason of a failure, or "". every_s: seconds
    between two rounds. on_written: called with the success of each attempt. now_ms: the wall clock,
    which readers compare with theirs. clock, sleep: monotonic seconds.
    """

    def __init__(
        self,
        ends: LeaderEndOffsets,
        consumer: ConsumerView,
        put: Callable[[WorkerClaims], Awaitable[str]],
        *,
        every_s: float,
        on_written: Callable[[bool], None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._ends = ends
        self._consumer = consumer
        self._put = put
        self._every_s = every_s
        self._on_written = on_written
        self._now_ms = now_ms
        self._clock = clock
        self._sleep = sleep
        self._tracker = FreshnessTracker()
        self._stored: Mapping[int, Claim] = {}
        self._log_limiter = LogLimiter(clock)

    async def run(self) -> NoReturn:
        """Run a round every `every_s`, until the worker ends."""
        while True:
            begin_s = self._clock()
            await self.round()
            await self._sleep(max(0.0, begin_s + self._every_s - self._clock()))

    async def round(self) -> None:
        """Get the ends, wait at most `every_s` until they are reached, and store the new claims. A
        later round claims the rest."""
        begin_s = self._clock()
        assignment = self._consumer.assignment()
        if not assignment.tasks:
            return
        as_of_ms = self._now_ms()
        self._tracker.add_ends(
            assignment, await self._read_ends(sorted(assignment.tasks)), as_of_ms
        )
        await self._wait_until_reached(assignment, begin_s + self._every_s)
        await self._store(assignment)

    def ages_s(self) -> dict[int, float]:
        """Return the seconds since the claimed instant of each open partition."""
        now_ms = self._now_ms()
        claims = self._tracker.claims(self._consumer.assignment())
        return {p: max(0.0, (now_ms - c.as_of_ms) / 1000) for p, c in sorted(claims.items())}

    async def _read_ends(self, partitions: list[int]) -> dict[int, int]:
        """Return the ends of the partitions whose leaders answer."""
        try:
            return await self._read_ends_once(partitions)
        except (KafkaError, TimeoutError):
            if len(partitions) == 1:
                return {}
        alone = (self._read_ends_once([partition]) for partition in partitions)
        answers = await asyncio.gather(*alone, return_exceptions=True)
        found: dict[int, int] = {}
        for answer in answers:
            if isinstance(answer, dict):
                found |= answer
            elif not isinstance(answer, KafkaError | TimeoutError):
                raise answer
        return found

    async def _read_ends_once(self, partitions: list[int]) -> dict[int, int]:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await self._ends.ends(partitions)

    async def _wait_until_reached(self, assignment: Assignment, deadline_s: float) -> None:
        while behind := self._tracker.claim_reached(assignment):
            left_s = deadline_s - self._clock()
            if left_s <= 0:
                return
            if all(_is_idle(assignment.tasks.get(partition)) for partition in behind):
                # Every fetched record is durable. What is left are markers of transactions, which
                # only the client's position shows, or records that are not fetched yet.
                try:
                    async with asyncio.timeout(left_s):
                        positions = await self._consumer.positions()
                except TimeoutError:
                    return
                if not self._tracker.claim_reached(assignment, positions):
                    return
            await self._sleep(min(POLL_S, left_s))

    async def _store(self, assignment: Assignment) -> None:
        claims = self._tracker.claims(assignment)
        if not claims or claims == self._stored:
            return
        stored = assignment.tasks[min(claims)].stored
        partitions = max(self._consumer.partitions(), max(claims) + 1)
        failure = await self._put(
            WorkerClaims(
                table_id=stored.table_id, epoch=stored.epoch, partitions=partitions, claims=claims
            )
        )
        self._on_written(not failure)
        if not failure:
            self._stored = claims
        elif self._log_limiter.is_due():
            logger.warning(
                "the claims of freshness cannot be stored: %s; readers get no proof meanwhile, and"
                " nothing else is affected", failure,
                extra=event("claims_not_stored", reason=failure),
            )  # fmt: skip


def _is_idle(task: PartitionTask | None) -> bool:
    return task is None or task.oldest is None
