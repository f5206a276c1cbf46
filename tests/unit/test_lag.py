"""How far durability is behind, in records and seconds."""

import asyncio
from collections.abc import Iterable, Mapping

import pytest
from aiokafka.errors import KafkaConnectionError

from tests.records import NEW_YEAR_MS, MadeRecord
from tests.unit.test_opening import FakeLog, progress
from worker.assignment import Assignment
from worker.lag import RETENTION_EVERY_S, LagMonitor, PartitionLag
from worker.record import Fingerprint
from worker.resume import LogState

NOW_S = NEW_YEAR_MS / 1000


class Broker(FakeLog):
    """A broker that answers about each partition by itself."""

    def __init__(self) -> None:
        super().__init__(None, None, None, None)
        self.logs: dict[int, LogState] = {}
        self.no_leader: set[int] = set()
        self.last = Fingerprint(NEW_YEAR_MS - 60_000, 1)
        self.peeks: list[Mapping[int, int]] = []

    async def states(self, partitions: Iterable[int]) -> dict[int, LogState]:
        wanted = list(partitions)
        if self.away or self.no_leader.intersection(wanted):
            raise KafkaConnectionError("away")
        return {p: self.logs.get(p, LogState(0, 100, 100)) for p in wanted}

    async def fingerprints(self, offsets: Mapping[int, int]) -> dict[int, Fingerprint | None]:
        self.peeks.append(offsets)
        return await super().fingerprints(offsets)


class Worker:
    """An assignment of partitions 0 to 2, of which 0 is open at offset 40."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.now_s = NOW_S
        self.retention_asked = 0
        self.monitor = LagMonitor(self.broker, retention=self.retention, clock=lambda: self.now_s)
        self.assignment = Assignment([0, 1, 2], partitions_max=2)
        self.assignment.closed.pop(1)
        self.assignment.closed[0] = "being opened"
        self.task = self.assignment.open(0, 40, progress(40))
        self.positions: dict[int, int] = {0: 40}

    async def retention(self) -> float | None:
        self.retention_asked += 1
        return 3600.0

    async def refresh(self) -> dict[int, LogState]:
        async def positions() -> Mapping[int, int]:
            return self.positions

        return await self.monitor.refresh(self.assignment, positions)

    def lag(self, partition: int = 0) -> PartitionLag:
        return self.monitor.lags(self.assignment)[partition]

    def fetch(self, *offsets: int, age_s: float = 0.0, timestamp: int | None = None) -> None:
        at = int((NOW_S - age_s) * 1000) if timestamp is None else timestamp
        records = [MadeRecord(offset=offset, timestamp=at, partition=0) for offset in offsets]
        self.assignment.add(0, records, caught_up=False)


async def test_nothing_is_known_before_the_first_refresh() -> None:
    assert Worker().monitor.lags(Assignment([0])) == {}


async def test_a_partition_that_is_read_to_its_end_has_no_lag() -> None:
    worker = Worker()
    worker.broker.logs[0] = LogState(10, 40, 40)
    assert await worker.refresh() == {0: LogState(10, 40, 40)}
    assert worker.lag() == PartitionLag(records=0, seconds=0.0, held_back=0, margin=30)


async def test_the_age_is_that_of_the_oldest_fetched_record() -> None:
    """Of the batch in work first, then of what waits behind it."""
    worker = Worker()
    await worker.refresh()
    worker.fetch(40, 41, age_s=30)
    (batch,) = worker.assignment.cut()
    worker.fetch(42, age_s=5)
    assert (worker.lag().records, worker.lag().seconds) == (60, 30)

    with batch:
        pass
    assert (worker.lag().records, worker.lag().seconds) == (58, 5)


async def test_markers_at_the_end_of_a_log_have_no_age() -> None:
    """The client's position has passed them; no record ever will."""
    worker = Worker()
    worker.broker.logs[0] = LogState(0, 42, 42)
    worker.positions = {0: 42}
    await worker.refresh()
    worker.now_s += 3600
    await worker.refresh()
    assert (worker.lag().records, worker.lag().seconds) == (2, 0)


async def test_what_is_not_fetched_ages_from_the_refresh_that_found_it() -> None:
    worker = Worker()
    await worker.refresh()
    worker.now_s += 25
    await worker.refresh()
    assert worker.lag().seconds == 25

    worker.fetch(*range(40, 60), age_s=0)
    (batch,) = worker.assignment.cut()
    with batch:
        pass
    assert (worker.lag().records, worker.lag().seconds) == (40, 0)  # durable since the refresh
    await worker.refresh()
    worker.now_s += 5
    assert worker.lag().seconds == 5


async def test_an_open_transaction_ages() -> None:
    worker = Worker()
    worker.broker.logs[0] = LogState(0, 55, 40)
    await worker.refresh()
    worker.now_s += 90
    await worker.refresh()
    assert worker.lag() == PartitionLag(records=15, seconds=90, held_back=15, margin=40)
    assert worker.broker.peeks == []  # the broker would not answer


@pytest.mark.parametrize("timestamp", [-1, 1_000])
async def test_a_record_without_a_usable_timestamp_ages_from_the_refresh(timestamp: int) -> None:
    worker = Worker()
    worker.fetch(40, timestamp=timestamp)
    await worker.refresh()
    worker.now_s += 7
    assert worker.lag().seconds == 7


async def test_a_partition_that_is_not_read_has_the_age_of_its_record() -> None:
    """Durable counts as the group's offset says; the record is asked for once."""
    worker = Worker()
    worker.broker.groups = {2: 70}
    for _ in range(3):
        await worker.refresh()
    assert worker.broker.peeks == [{2: 70}]
    assert worker.lag(2) == PartitionLag(records=30, seconds=60, held_back=0, margin=70)


async def test_a_stuck_partition_has_the_age_of_its_record() -> None:
    worker = Worker()
    worker.assignment.stop_reading(0, "unreadable")
    await worker.refresh()
    assert worker.broker.peeks == [{0: 40}]
    assert worker.lag().seconds == 60


async def test_a_partition_without_a_leader_costs_the_others_nothing() -> None:
    """Their states are returned, and what was found of it before stays."""
    worker = Worker()
    worker.broker.groups = {2: 70}
    await worker.refresh()
    worker.broker.no_leader = {2}
    assert await worker.refresh() == {0: LogState(0, 100, 100)}
    assert worker.lag(2).records == 30


async def test_a_broker_that_is_away_is_an_error() -> None:
    worker = Worker()
    worker.broker.away = True
    with pytest.raises(KafkaConnectionError):
        await worker.refresh()


async def test_a_broker_that_answers_about_the_others_too_late_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker()
    worker.broker.groups = {2: 70}
    monkeypatch.setattr("worker.lag.UNREAD_S_MAX", 0.01)

    async def hangs(_: object) -> dict[int, Fingerprint | None]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(worker.broker, "fingerprints", hangs)
    assert 0 in await worker.refresh()
    monkeypatch.undo()
    worker.now_s += 9
    await worker.refresh()
    assert worker.lag(2) == PartitionLag(records=30, seconds=9, held_back=0, margin=70)
    assert worker.broker.peeks == []  # asked for once, and not again


async def test_the_retention_time_is_asked_for_now_and_then() -> None:
    worker = Worker()
    for _ in range(3):
        await worker.refresh()
    assert (worker.monitor.retention_s, worker.retention_asked) == (3600, 1)
    worker.now_s += RETENTION_EVERY_S
    await worker.refresh()
    assert worker.retention_asked == 2


async def test_a_partition_that_moved_away_is_forgotten() -> None:
    worker = Worker()
    worker.broker.groups = {2: 70}
    await worker.refresh()
    worker.assignment = Assignment()
    await worker.refresh()
    assert worker.monitor.lags(worker.assignment) == {}
