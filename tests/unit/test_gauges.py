"""The gauges of a worker, as a scrape reads them."""

from collections.abc import Mapping

from poste_restante.metric_types import Kind
from tests.pages import page
from tests.records import NEW_YEAR_MS, MadeRecord
from tests.unit.test_lag import Broker
from tests.unit.test_metrics import values
from tests.unit.test_opening import progress
from worker.assignment import Assignment
from worker.backoff import WaitTracker
from worker.gauges import Gauges
from worker.health import Health
from worker.lag import LagMonitor
from worker.memory_limits import MemoryLimits
from worker.metrics import METRICS, WorkerMetrics
from worker.outcomes import Service
from worker.readiness import PartitionState
from worker.status import Phase, WorkerStatus


class Worker:
    """A joined worker with four partitions, one in each state but `opening`."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.status = WorkerStatus()
        self.status.enter(Phase.JOINED)
        self.assignment = Assignment([0, 1, 2, 3], partitions_max=3, clock=lambda: self.now_s)
        self.assignment.open(0, 40, progress(40))
        self.assignment.open(1, 40, progress(40))
        self.assignment.stop_reading(1, "a header name")
        self.assignment.stay_closed(2, "in doubt")
        self.waits = {service: WaitTracker(lambda: self.now_s) for service in Service}
        self.lag = LagMonitor(Broker(), retention=self.retention, clock=lambda: NEW_YEAR_MS / 1000)
        self.retention_s: float | None = 604_800.0
        health = Health(self.status)
        health.include(assignment=lambda: self.assignment, checks=(), notes=tuple)
        self.gauges = Gauges(
            health=health, lag=self.lag, held_back_s=lambda: {0: 75.0},
            freshness_s=lambda: {0: 0.4}, waits=self.waits, memory=MemoryLimits.default(),
            clock=lambda: self.now_s,
        )  # fmt: skip
        self.metrics = WorkerMetrics()
        self.metrics.read_gauges(self.gauges.read)

    async def retention(self) -> float | None:
        return self.retention_s

    async def refresh(self) -> None:
        async def positions() -> Mapping[int, int]:
            return {0: 40}

        await self.lag.refresh(self.assignment, positions)

    def read(self, name: str) -> dict[str, float]:
        """The samples of one gauge by their labels' values."""
        return {
            key.removeprefix(name).strip("{}"): value
            for key, value in values(self.metrics).items()
            if key.partition("{")[0] == name
        }


async def test_every_gauge_of_the_list_is_read() -> None:
    worker = Worker()
    await worker.refresh()
    names = {name.partition("{")[0] for name in values(worker.metrics)}
    assert {metric.name for metric in METRICS if metric.kind is Kind.GAUGE} <= names


async def test_the_page_says_how_many_series_there_are() -> None:
    """Without those of the process: they are the library's."""
    worker = Worker()
    await worker.refresh()
    series = [name for name in values(worker.metrics) if name.startswith("poste_")]
    of_partitions = [name for name in series if 'partition="' in name]
    of_a_partition = [name for name in of_partitions if 'partition="0"' in name]
    created = [name for name in series if "_created" in name]
    fixed = len(series) - len(of_partitions)

    assert f"some {round(fixed, -1)} series, {len(created)} of them `_created`" in page("metrics")
    assert f"at most {len(of_a_partition)} for each partition" in page("metrics")


def test_the_states_of_the_partitions_are_counted_and_named() -> None:
    worker = Worker()
    assert worker.read("poste_partitions") == {
        'state="assigned"': 4, 'state="reading"': 1, 'state="opening"': 0, 'state="closed"': 1,
        'state="stuck"': 1, 'state="surplus"': 1,
    }  # fmt: skip
    assert worker.read("poste_partition_state") == {
        f'partition="{partition}",state="{state}"': 1
        for partition, state in enumerate(
            [PartitionState.READING, PartitionState.STUCK, PartitionState.CLOSED,
             PartitionState.SURPLUS]
        )
    }  # fmt: skip


def test_ready_and_joined_follow_the_worker() -> None:
    worker = Worker()
    assert (worker.read("poste_ready"), worker.read("poste_joined")) == ({"": 0}, {"": 1})
    worker.assignment = Assignment()
    assert worker.read("poste_ready") == {"": 1}
    worker.status.enter(Phase.JOINING)
    assert (worker.read("poste_ready"), worker.read("poste_joined")) == ({"": 0}, {"": 0})
    assert worker.read("poste_phase")['phase="joining"'] == 1
    assert sum(worker.read("poste_phase").values()) == 1


async def test_lags_are_by_partition() -> None:
    worker = Worker()
    await worker.refresh()
    assert worker.read("poste_partition_lag_records")['partition="0"'] == 60
    assert worker.read("poste_partition_retention_margin_records")['partition="0"'] == 40
    assert worker.read("poste_partition_held_back_records")['partition="0"'] == 0
    assert worker.read("poste_partition_held_back_seconds")['partition="0"'] == 75
    worker.assignment.add(
        0, [MadeRecord(offset=40, partition=0, timestamp=NEW_YEAR_MS - 9_000)], caught_up=False
    )
    assert worker.read("poste_partition_lag_seconds")['partition="0"'] == 9


async def test_a_retention_time_that_may_not_be_read_is_left_out() -> None:
    worker = Worker()
    await worker.refresh()
    assert worker.read("poste_topic_retention_seconds") == {"": 604_800}
    forbidden = Worker()
    forbidden.retention_s = None
    await forbidden.refresh()
    assert forbidden.read("poste_topic_retention_seconds") == {}


def test_a_wait_is_counted_for_its_service_from_its_beginning() -> None:
    worker = Worker()
    with worker.waits[Service.DYNAMODB].count_wait():
        worker.now_s += 30
        with worker.waits[Service.DYNAMODB].count_wait():
            worker.now_s += 12
            assert worker.read("poste_waiting_callers") == {
                'service="dynamodb"': 2, 'service="kafka"': 0, 'service="write_budget"': 0,
            }  # fmt: skip
            assert worker.read("poste_waiting_seconds")['service="dynamodb"'] == 42
    assert worker.read("poste_waiting_seconds")['service="dynamodb"'] == 0


def test_memory_is_accounted_by_stage() -> None:
    worker, limits = Worker(), MemoryLimits.default()
    worker.gauges.note_fetched(7_000)
    records = [MadeRecord(offset=40 + n, partition=0) for n in range(3)]
    worker.assignment.add(0, records[:2], caught_up=False)
    (batch,) = worker.assignment.cut()
    worker.assignment.add(0, records[2:], caught_up=False)
    held = worker.read("poste_memory_bytes")
    assert held['stage="fetched"'] == 7_000
    assert held['stage="in_work"'] == batch.memory > 0
    assert 0 < held['stage="waiting"'] < held['stage="in_work"']
    assert worker.read("poste_memory_limit_bytes") == {
        'stage="fetched"': limits.fetched, 'stage="waiting"': limits.waiting,
        'stage="in_work"': limits.in_work,
    }  # fmt: skip


async def test_what_waits_for_a_commit_ages() -> None:
    worker = Worker()
    worker.assignment.add(0, [MadeRecord(offset=40, partition=0)], caught_up=False)
    (batch,) = worker.assignment.cut()
    with batch:
        pass
    worker.now_s += 17
    assert worker.read("poste_commit_pending_seconds") == {"": 17}
