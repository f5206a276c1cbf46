"""When a worker is stalled, and when it only waits."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.records import MadeRecord
from tests.unit.test_consumer import flushed as durable
from tests.unit.test_opening import FakeLog, progress
from worker.assignment import BEING_OPENED, Assignment, PartitionTask
from worker.backoff import WaitTracker
from worker.errors import OperatorError, StalledError
from worker.resume import LogState
from worker.watchdog import FETCH_LOOP, UNCHANGED_CHECKS_MAX, LoopGuard, StallDetector, Watchdog


class Consumer:
    """A consumer that is where it is told to be. loops: whether its fetch loop goes on."""

    def __init__(self, assignment: Assignment) -> None:
        self.current = assignment
        self.at: dict[int, int] = {}
        self.loops = True
        self._iterations = 0

    @property
    def iterations(self) -> int:
        self._iterations += self.loops
        return self._iterations

    async def positions(self) -> dict[int, int]:
        return self.at


class Deployment:
    """One open partition, read to offset 40, where the log ends too."""

    def __init__(self) -> None:
        self.assignment = Assignment([0])
        self.task = self.assignment.open(0, 40, progress(40))
        self.consumer = Consumer(self.assignment)
        self.broker = FakeLog(None, None)
        self.broker.end = 40
        self.wait_tracker = WaitTracker()
        self.answers_anew = False
        self.dog = Watchdog(
            log=self.broker, waits=[WaitTracker(), self.wait_tracker], stalled_s=8, rebalance_s=4,
            ask_anew=self.ask_anew,
        )  # fmt: skip

    async def ask_anew(self) -> None:
        if not self.answers_anew:
            raise OperatorError("no Kafka broker answers")

    async def checks(self, number: int) -> None:
        for _ in range(number):
            await self.dog.check(self.consumer)

    async def stalls(self, what: str) -> None:
        """It is stalled after one check more than UNCHANGED_CHECKS_MAX, not before, and says what
        is."""
        await self.checks(UNCHANGED_CHECKS_MAX)
        with pytest.raises(StalledError, match=what):
            await self.checks(1)


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


async def test_a_broker_that_answers_new_clients_alone_makes_a_stall(
    deployment: Deployment,
) -> None:
    """A client of aiokafka can lose all brokers for good; one that is away is waited for (G8)."""
    deployment.broker.away = True
    await deployment.checks(2 * UNCHANGED_CHECKS_MAX)

    deployment.broker.away = False
    await deployment.checks(1)
    deployment.broker.away = deployment.answers_anew = True
    await deployment.checks(UNCHANGED_CHECKS_MAX - 1)
    with pytest.raises(StalledError, match="answers a new connection"):
        await deployment.checks(1)


def fetched(task: PartitionTask, *offsets: int) -> None:
    made = [MadeRecord(offset=offset) for offset in offsets]
    task.add(made, caught_up=True, held_back=False)


async def test_a_worker_that_has_nothing_to_do_is_not_stalled(deployment: Deployment) -> None:
    """An idle worker is not stalled, with partitions or, as a spare one, without (G8)."""
    await deployment.checks(5 * UNCHANGED_CHECKS_MAX)
    deployment.consumer.current = Assignment()
    await deployment.checks(5 * UNCHANGED_CHECKS_MAX)


async def test_records_that_are_never_read_are_a_stall(deployment: Deployment) -> None:
    """Records between the position and the log's end that nobody fetches (G1)."""
    deployment.broker.end = 41
    await deployment.stalls(r"the reading of partition 0 \(at 40\)")


async def test_lag_is_measured_from_the_consumers_position(deployment: Deployment) -> None:
    """Markers and compacted records lie behind the position: they are nothing to read (G8)."""
    deployment.broker.end = 45
    deployment.consumer.at = {0: 45}
    await deployment.checks(5 * UNCHANGED_CHECKS_MAX)


async def test_records_that_a_transaction_holds_back_are_no_stall(deployment: Deployment) -> None:
    """It cannot be read; what is below it can, and is judged (G8)."""
    deployment.broker.end, deployment.broker.held_back = 90, 50
    await deployment.checks(5 * UNCHANGED_CHECKS_MAX)
    deployment.broker.held_back = 49
    await deployment.stalls(r"the reading of partition 0 \(at 40\)")


async def test_reading_on_is_progress(deployment: Deployment) -> None:
    """A worker that is behind and moves, however slowly, lives (G8)."""
    deployment.broker.end = 1_000
    for offset in range(5):
        await deployment.checks(UNCHANGED_CHECKS_MAX)
        durable(deployment.task, 40 + offset)
        deployment.task.confirm(41 + offset)


async def test_a_flush_that_never_ends_is_a_stall(deployment: Deployment) -> None:
    """Fetched, and never made durable (G1)."""
    fetched(deployment.task, 40)
    await deployment.stalls(r"the flush of partition 0 \(at 40\)")


async def test_a_flush_of_many_waves_is_no_stall_while_they_become_durable(
    deployment: Deployment,
) -> None:
    """One message an item, and a backlog of one user: thousands of waves, one after the other.
    Too many checks without another wave are a stall (G8)."""
    fetched(deployment.task, 40, 41)
    deployment.broker.end = 42
    (batch,) = deployment.assignment.cut()
    for _ in range(5):
        await deployment.checks(UNCHANGED_CHECKS_MAX)
        batch.count_wave()
    await deployment.stalls(r"the flush of partition 0 \(at 45\)")


async def test_a_commit_that_never_comes_is_a_stall(deployment: Deployment) -> None:
    """Durable, and never committed, while all else moves: a crash would replay all of it (G8)."""
    durable(deployment.task, 40)
    for offset in range(UNCHANGED_CHECKS_MAX):
        await deployment.checks(1)
        durable(deployment.task, 41 + offset)
    with pytest.raises(StalledError, match=r"the commit of partition 0 \(at 40\)"):
        await deployment.checks(1)


async def test_an_opening_that_never_ends_is_a_stall(deployment: Deployment) -> None:
    """Assigned, and never asked about; one that is closed for a reason is not stalled (G1)."""
    deployment.consumer.current = Assignment([1])
    await deployment.stalls("the opening of partition 1")
    deployment.consumer.current.stay_closed(1, "the log is not the one it was")
    await deployment.checks(5 * UNCHANGED_CHECKS_MAX)


async def test_a_loop_that_makes_no_iteration_is_a_stall(deployment: Deployment) -> None:
    """Without any partition too; a rebalance is given its own time besides (G8)."""
    deployment.consumer.current = Assignment()
    deployment.consumer.loops = False
    await deployment.checks(UNCHANGED_CHECKS_MAX + 2)  # rebalance_s is two checks
    with pytest.raises(StalledError, match=FETCH_LOOP):
        await deployment.checks(1)


async def test_nobody_is_stalled_while_the_broker_does_not_answer(deployment: Deployment) -> None:
    """A broker that is away is waited for, without end; the checks begin anew after it (G1)."""
    deployment.broker.end = 41
    await deployment.checks(UNCHANGED_CHECKS_MAX)
    deployment.broker.away = True
    await deployment.checks(5 * UNCHANGED_CHECKS_MAX)
    deployment.broker.away = False
    await deployment.stalls("the reading of partition 0")


async def test_flushes_are_not_judged_while_the_store_is_waited_for(deployment: Deployment) -> None:
    """A store that is away or throttles is waited for, without end; reading goes on, and is
    judged (G1, G9)."""
    fetched(deployment.task, 40)
    durable(deployment.task, 41)
    with deployment.wait_tracker.count_wait():
        await deployment.checks(5 * UNCHANGED_CHECKS_MAX)
        other = deployment.assignment
        other.closed[1] = BEING_OPENED
        other.opening.add(1)
        await deployment.checks(5 * UNCHANGED_CHECKS_MAX)
        other.open(1, 3, progress(3))
        deployment.broker.end = 50
        await deployment.stalls(r"the reading of partition 1 \(at 3\)")


async def test_a_partition_that_is_read_no_further_says_so_elsewhere(
    deployment: Deployment,
) -> None:
    """A record that the client cannot read makes the worker unready: a restart cannot help
    (G9)."""
    deployment.broker.end = 41
    deployment.assignment.stop_reading(0, "a header name that is not UTF-8")
    await deployment.checks(5 * UNCHANGED_CHECKS_MAX)


async def test_an_assignment_that_ends_during_a_check_is_not_judged(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What belonged to it may have moved on elsewhere (G8)."""
    deployment.broker.end = 41
    states = deployment.broker.states

    async def revoked(partitions: Iterable[int]) -> dict[int, LogState]:
        deployment.consumer.current = Assignment()
        return await states(partitions)

    await deployment.checks(UNCHANGED_CHECKS_MAX)
    monkeypatch.setattr(deployment.broker, "states", revoked)
    await deployment.checks(1)


async def test_a_thread_that_hangs_hides_no_stall(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions that do not come within their limit leave the loop's iterations to judge by
    (G8)."""

    async def hangs() -> dict[int, int]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("worker.watchdog.POSITIONS_S_MAX", 0.001)
    monkeypatch.setattr(deployment.consumer, "positions", hangs)
    deployment.consumer.loops = False
    await deployment.checks(UNCHANGED_CHECKS_MAX + 2)
    with pytest.raises(StalledError, match=FETCH_LOOP):
        await deployment.checks(1)


async def test_checks_come_at_even_times_and_end_with_a_stall(deployment: Deployment) -> None:
    """The setting is divided into checks: time passes while a process is stopped, checks do not
    (G8)."""
    deployment.broker.end = 41
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.raises(StalledError, match="no progress for 8 s"):
        await deployment.dog.watch(deployment.consumer, sleep)
    assert slept == [2.0] * (UNCHANGED_CHECKS_MAX + 1)


def test_what_moved_or_was_away_begins_anew() -> None:
    """Only checks in a row at the same place count (G8)."""
    detector = StallDetector()
    for _ in range(3):
        assert not any(detector.check({"a": 1}) for _ in range(UNCHANGED_CHECKS_MAX))
        assert detector.check({"a": 2}) == {}
    detector.check({})
    assert not any(detector.check({"a": 2}) for _ in range(UNCHANGED_CHECKS_MAX))
    assert detector.check({"a": 2, "b": 1}) == {"a": 2}


def test_a_blocked_loop_ends_the_process() -> None:
    """Its own thread notices, when nothing else can run any more (G8)."""
    left = threading.Event()
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        left.set()

    async def block() -> bool:
        LoopGuard(asyncio.get_running_loop(), 0.01, leave).start()
        return left.wait(30)  # blocks, on purpose

    assert asyncio.run(block())
    assert statuses == [1]


class Intervals:
    """The guard's clock, and a loop that answers the first `answered` callbacks, then blocks."""

    def __init__(self, answered: int) -> None:
        self.count = 0
        self._answered = answered

    def wait(self, timeout: float) -> bool:
        self.count += 1
        return self.count > 50

    def set(self) -> None:
        raise AssertionError("nobody stops the guard")

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        if self.count <= self._answered:
            callback()


@pytest.mark.parametrize("answered", [0, 3])
async def test_a_blocked_loop_is_ended_after_the_intervals_of_a_stall(answered: int) -> None:
    """At the end of `UNCHANGED_CHECKS_MAX` whole intervals, and of the one in which it blocked: the
    chart's liveness probe acts later."""
    loop: Any = Intervals(answered)
    statuses: list[int] = []
    LoopGuard(loop, 1.0, statuses.append, loop).start()

    assert await none_is_left()
    assert statuses == [1]
    assert loop.count == (
        UNCHANGED_CHECKS_MAX if answered == 0 else answered + 1 + UNCHANGED_CHECKS_MAX
    )


class EveryTurn(threading.Event):
    """The guard's clock: each of its turns is one of the loop's too; after 50 it is stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.turns = 0

    def wait(self, timeout: float | None = None) -> bool:
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        self.turns += 1
        if not turned.wait(30) or self.turns > 50:
            self.set()
        return self.is_set()


def guards() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "loop-guard"]


async def none_is_left() -> bool:
    """Whether the guards' threads end."""
    for thread in guards():
        await asyncio.to_thread(thread.join, 30)
    return guards() == []


async def test_a_loop_that_runs_is_left_alone() -> None:
    """However many turns it takes; and after a stop nobody is watched any more (G8)."""
    statuses: list[int] = []
    loop = asyncio.get_running_loop()
    clock = EveryTurn(loop)
    LoopGuard(loop, 1.0, statuses.append, clock).start()
    assert len(guards()) == 1
    assert await none_is_left()
    assert clock.turns == 51
    assert statuses == []

    stopped = LoopGuard(loop, 60.0, statuses.append)
    stopped.start()
    stopped.stop()
    assert await none_is_left()
