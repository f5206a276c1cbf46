"""The worker's claims of freshness: what is claimed when, and that nothing waits for them (G11)."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

import pytest
from aiokafka.errors import KafkaError

from poste_restante.claims import WorkerClaims
from tests.records import MadeRecord
from tests.unit.test_opening import progress
from worker.assignment import Assignment, PartitionTask
from worker.freshness import ENDS_WAITING_MAX, ConsumerView, FreshnessClaims, FreshnessTracker


def assigned(*positions: int) -> Assignment:
    """An assignment whose partitions are read from these offsets."""
    assignment = Assignment(range(len(positions)))
    for partition, position in enumerate(positions):
        assignment.open(partition, position, progress(position))
    return assignment


def fetch(assignment: Assignment, partition: int, *offsets: int) -> None:
    records = [MadeRecord(offset=offset, partition=partition) for offset in offsets]
    assignment.add(partition, records, caught_up=True)


async def flush(assignment: Assignment) -> None:
    """Make everything durable that waits."""
    while batches := assignment.cut():
        for batch in batches:
            with batch:
                pass


async def test_an_instant_is_claimed_when_everything_below_the_end_is_durable() -> None:
    assignment, tracker = assigned(40), FreshnessTracker()
    tracker.add_ends(assignment, {0: 42}, 1000)
    assert tracker.claim_reached(assignment) == {0}
    fetch(assignment, 0, 40, 41)
    assert tracker.claim_reached(assignment) == {0}
    assert tracker.claims(assignment) == {}
    await flush(assignment)
    assert tracker.claim_reached(assignment) == set()
    assert tracker.claims(assignment) == {0: (1000, 42)}


async def test_records_above_the_end_are_not_waited_for() -> None:
    """Under load something is always in flight; the end is below it."""
    assignment, tracker = assigned(40), FreshnessTracker()
    fetch(assignment, 0, 40)
    await flush(assignment)
    tracker.add_ends(assignment, {0: 41}, 1000)
    fetch(assignment, 0, 41, 42)
    assert tracker.claim_reached(assignment) == set()
    assert tracker.claims(assignment) == {0: (1000, 41)}


async def test_the_clients_position_passes_markers_while_nothing_waits() -> None:
    """A log may end with a transaction's marker, which is no record."""
    assignment, tracker = assigned(40), FreshnessTracker()
    fetch(assignment, 0, 40)
    await flush(assignment)
    tracker.add_ends(assignment, {0: 43}, 1000)
    assert tracker.claim_reached(assignment) == {0}
    assert tracker.claim_reached(assignment, {0: 43}) == set()
    assert tracker.claims(assignment) == {0: (1000, 43)}


async def test_a_position_above_records_that_are_not_durable_claims_nothing() -> None:
    assignment, tracker = assigned(40), FreshnessTracker()
    fetch(assignment, 0, 40, 41)
    tracker.add_ends(assignment, {0: 43}, 1000)
    assert tracker.claim_reached(assignment, {0: 43}) == {0}
    assert tracker.claims(assignment) == {}


async def test_a_worker_that_is_behind_claims_the_oldest_instant_first() -> None:
    """It keeps a bounded number of ends, the oldest: newer ones would never be reached."""
    assignment, tracker = assigned(0), FreshnessTracker()
    for second in range(3 * ENDS_WAITING_MAX):
        tracker.add_ends(assignment, {0: second + 1}, second)
    fetch(assignment, 0, *range(10))
    await flush(assignment)
    tracker.claim_reached(assignment)
    assert tracker.claims(assignment) == {0: (9, 10)}
    fetch(assignment, 0, *range(10, 3 * ENDS_WAITING_MAX))
    await flush(assignment)
    assert tracker.claim_reached(assignment) == set()
    assert tracker.claims(assignment)[0].as_of_ms == ENDS_WAITING_MAX - 1


async def test_nothing_is_claimed_for_an_assignment_that_is_over() -> None:
    """Its flushes may have been cut off, and the next one has its own ends."""
    assignment, tracker = assigned(40, 50), FreshnessTracker()
    tracker.add_ends(assignment, {0: 40, 1: 50}, 1000)
    following = assigned(40)
    assert tracker.claim_reached(following) == set()
    assert tracker.claims(following) == {}
    assignment.end()
    assert tracker.claim_reached(assignment) == set()
    assert tracker.claims(assignment) == {}
    tracker.add_ends(following, {0: 40}, 2000)
    tracker.claim_reached(following)
    assert tracker.claims(following) == {0: (2000, 40)}


async def test_nothing_is_claimed_after_a_flush_that_failed() -> None:
    assignment, tracker = assigned(40), FreshnessTracker()
    tracker.add_ends(assignment, {0: 41}, 1000)
    fetch(assignment, 0, 40)
    (batch,) = assignment.cut()
    with pytest.raises(OSError, match="refused"), batch:
        raise OSError("refused")
    tracker.claim_reached(assignment, {0: 41})
    assert tracker.claims(assignment) == {}


class Worker:
    """A consumer and a store, with a clock that only sleeping moves."""

    def __init__(self, *positions: int) -> None:
        self.assignment = assigned(*positions)
        self.now_s = 0.0
        self.ends_of: dict[int, int] = dict(enumerate(positions))
        self.away: set[int] = set()
        self.asked: list[list[int]] = []
        self.position_of: Mapping[int, int] = {}
        self.positions_asked = 0
        self.stored: list[WorkerClaims] = []
        self.failure = ""
        self.slept: list[float] = []
        self.written: list[bool] = []
        self.claims = FreshnessClaims(
            self, ConsumerView(lambda: self.assignment, self.positions, lambda: 4), self.put,
            every_s=1.0, on_written=self.written.append,
            now_ms=lambda: 1_000_000 + int(self.now_s * 1000),
            clock=lambda: self.now_s, sleep=self.sleep,
        )  # fmt: skip

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        wanted = list(partitions)
        self.asked.append(wanted)
        if self.away.intersection(wanted):
            raise KafkaError("no leader")
        return {partition: self.ends_of[partition] for partition in wanted}

    async def positions(self) -> Mapping[int, int]:
        self.positions_asked += 1
        return self.position_of

    async def put(self, claims: WorkerClaims) -> str:
        self.stored.append(claims)
        return self.failure

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    @property
    def task(self) -> PartitionTask:
        return self.assignment.tasks[0]


async def test_a_round_stores_all_claims_in_one_item() -> None:
    worker = Worker(40, 50)
    await worker.claims.round()
    (stored,) = worker.stored
    assert dict(stored.claims) == {0: (1_000_000, 40), 1: (1_000_000, 50)}
    assert (stored.table_id, stored.epoch, stored.partitions) == (
        worker.task.stored.table_id, worker.task.epoch, 4,
    )  # fmt: skip
    assert worker.positions_asked == 0
    assert worker.written == [True]
    assert worker.claims.ages_s() == {0: 0.0, 1: 0.0}


async def test_a_round_waits_for_a_flush_and_for_the_position() -> None:
    worker = Worker(40)
    worker.ends_of[0] = 42
    fetch(worker.assignment, 0, 40)
    rounding = asyncio.create_task(worker.claims.round())
    for _ in range(9):
        await asyncio.sleep(0)
    assert not worker.stored
    assert worker.positions_asked == 0  # while records wait it says nothing
    await flush(worker.assignment)
    worker.position_of = {0: 42}
    await rounding
    assert dict(worker.stored[0].claims) == {0: (1_000_000, 42)}


async def test_a_round_ends_after_its_time_and_the_next_one_claims_what_is_late() -> None:
    worker = Worker(40, 50)
    worker.ends_of[0] = 41
    fetch(worker.assignment, 0, 40)
    await worker.claims.round()
    assert dict(worker.stored[0].claims) == {1: (1_000_000, 50)}
    await flush(worker.assignment)
    await worker.claims.round()
    assert worker.stored[1].claims[0].as_of_ms == 1_001_000


async def test_a_partition_without_a_leader_holds_up_no_others_claim() -> None:
    worker = Worker(40, 50)
    worker.away = {0}
    await worker.claims.round()
    assert worker.asked == [[0, 1], [0], [1]]
    assert dict(worker.stored[0].claims) == {1: (1_000_000, 50)}


async def test_a_store_that_refuses_is_logged_and_harmless(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At most twice a minute; the same claims are stored when it takes them."""
    worker = Worker(40)
    worker.failure = "throttled"
    for _ in range(3):
        await worker.claims.round()
        worker.now_s += 1
    assert len(worker.stored) == 3
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(lines) == 1
    assert lines[0].startswith("the claims of freshness cannot be stored: throttled")
    assert worker.written == [False] * 3


async def test_claims_that_have_not_changed_are_not_written_again() -> None:
    worker = Worker(40)
    await worker.claims.round()
    worker.away = {0}
    await worker.claims.round()
    assert len(worker.stored) == 1


async def test_a_worker_without_partitions_asks_nothing() -> None:
    worker = Worker()
    await worker.claims.round()
    assert not worker.asked
    assert not worker.stored


async def test_rounds_follow_each_other_at_the_interval() -> None:
    worker = Worker(40)
    keeping = asyncio.create_task(worker.claims.run())
    for _ in range(50):
        await asyncio.sleep(0)
    keeping.cancel()
    assert len(worker.asked) > 3
    assert worker.slept[:3] == [1.0, 1.0, 1.0]
