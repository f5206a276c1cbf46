"""The worker's gauges, read from its state at a scrape, without a call to a service."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from worker.assignment import Assignment
from worker.backoff import WaitTracker
from worker.health import Health
from worker.lag import LagMonitor
from worker.memory_limits import MemoryLimits, waiting_bytes
from worker.metrics import (
    COMMIT_PENDING_SECONDS,
    FRESHNESS_SECONDS,
    HELD_BACK_RECORDS,
    HELD_BACK_SECONDS,
    JOINED,
    LAG_RECORDS,
    LAG_SECONDS,
    MEMORY_BYTES,
    MEMORY_LIMIT_BYTES,
    PARTITION_STATE,
    PARTITIONS,
    PHASE,
    READY,
    RETENTION_MARGIN_RECORDS,
    RETENTION_SECONDS,
    WAITING_CALLERS,
    WAITING_SECONDS,
    Sample,
)
from worker.outcomes import Service, Stage
from worker.readiness import PartitionState
from worker.status import Phase


class Gauges:
    """Reads the gauges.

    held_back_s: seconds for which a transaction has held back each partition. freshness_s: seconds
    since the instant of each partition's last claim. clock: as `time.monotonic`, in seconds.
    """

    def __init__(
        self,
        *,
        health: Health,
        lag: LagMonitor,
        held_back_s: Callable[[], Mapping[int, float]],
        freshness_s: Callable[[], Mapping[int, float]],
        waits: Mapping[Service, WaitTracker],
        memory: MemoryLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._lag = lag
        self._held_back_s = held_back_s
        self._waits = waits
        self._limits = memory
        self._clock = clock
        self._freshness_s = freshness_s
        self._fetched_bytes = 0

    def note_fetched(self, size: int) -> None:
        """Note the bytes of responses in the Kafka client."""
        self._fetched_bytes = size

    def read(self) -> Iterator[Sample]:
        """Yield every sample, as of now."""
        assignment = self._health.assignment()
        yield from self._read_state()
        yield from self._read_lags(assignment)
        yield Sample(COMMIT_PENDING_SECONDS, assignment.commit_pending_s(self._clock()))
        for service, waits in self._waits.items():
            yield Sample(WAITING_CALLERS, waits.count, (str(service),))
            yield Sample(WAITING_SECONDS, waits.longest_s, (str(service),))
        yield from self._read_memory(assignment)

    def _read_state(self) -> Iterator[Sample]:
        found = self._health.readiness()
        yield Sample(READY, float(found.ready))
        yield Sample(JOINED, float(found.phase is Phase.JOINED))
        for phase in Phase:
            yield Sample(PHASE, float(phase is found.phase), (phase.name.lower(),))
        states = Counter(each.state for each in found.partitions.values())
        yield Sample(PARTITIONS, states.total(), ("assigned",))
        for state in PartitionState:
            yield Sample(PARTITIONS, states[state], (str(state),))
        for partition, each in found.partitions.items():
            yield Sample(PARTITION_STATE, 1, (str(partition), str(each.state)))

    def _read_lags(self, assignment: Assignment) -> Iterator[Sample]:
        held_back_s = self._held_back_s()
        for partition, lag in self._lag.lags(assignment).items():
            labels = (str(partition),)
            yield Sample(LAG_RECORDS, lag.records, labels)
            yield Sample(LAG_SECONDS, lag.seconds, labels)
            yield Sample(HELD_BACK_RECORDS, lag.held_back, labels)
            yield Sample(HELD_BACK_SECONDS, held_back_s.get(partition, 0.0), labels)
            yield Sample(RETENTION_MARGIN_RECORDS, lag.margin, labels)
        for partition, age_s in self._freshness_s().items():
            yield Sample(FRESHNESS_SECONDS, age_s, (str(partition),))
        if self._lag.retention_s is not None:
            yield Sample(RETENTION_SECONDS, self._lag.retention_s)

    def _read_memory(self, assignment: Assignment) -> Iterator[Sample]:
        tasks = assignment.tasks.values()
        held = {
            Stage.FETCHED: self._fetched_bytes,
            Stage.WAITING: waiting_bytes(
                sum(len(task.waiting) for task in tasks), sum(task.waiting_bytes for task in tasks)
            ),
            Stage.IN_WORK: sum(task.in_work.memory for task in tasks if task.in_work),
        }
        limits = {
            Stage.FETCHED: self._limits.fetched,
            Stage.WAITING: self._limits.waiting,
            Stage.IN_WORK: self._limits.in_work,
        }
        for stage in Stage:
            yield Sample(MEMORY_BYTES, held[stage], (str(stage),))
            yield Sample(MEMORY_LIMIT_BYTES, limits[stage], (str(stage),))
