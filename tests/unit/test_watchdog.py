"""When a worker is dead, and when it only waits."""

import asyncio
import threading
from collections.abc import Iterable

import pytest

from tests.records import MadeRecord
from tests.unit.test_consumer import flushed as durable
from tests.unit.test_opening import FakeLog, progress
from worker.backoff import Waiters
from worker.errors import Standstill
from worker.lives import BEING_OPENED, Assignment, Life
from worker.resume import LogState
from worker.watchdog import LOOKS_MAX, TURNS, LoopGuard, Standing, Watchdog


class Consumer:
    """A consumer that stands where it is told to. turning: whether its loop goes on."""

    def __init__(self, assignment: Assignment) -> None:
        self.current = assignment
        self.at: dict[int, int] = {}
        self.turning = True
        self._turns = 0

    @property
    def turns(self) -> int:
        self._turns += self.turning
        return self._turns

    async def positions(self) -> dict[int, int]:
        return self.at


class Scene:
    """One open partition, read to offset 40, where the log ends too."""

    def __init__(self) -> None:
        self.assignment = Assignment([0])
        self.life = self.assignment.open(0, 40, progress(40))
        self.consumer = Consumer(self.assignment)
        self.broker = FakeLog(None, None)
        self.broker.end = 40
        self.waiters = Waiters()
        self.dog = Watchdog(
            log=self.broker, waiters=self.waiters, stalled_s=8, rebalance_s=4
        )  # fmt: skip

    async def looks(self, number: int) -> None:
        for _ in range(number):
            await self.dog.look(self.consumer)

    async def stands(self, what: str) -> None:
        """It is dead after one look more than LOOKS_MAX, not before, and says what stands."""
        await self.looks(LOOKS_MAX)
        with pytest.raises(Standstill, match=what):
            await self.looks(1)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def fetched(life: Life, *offsets: int) -> None:
    life.add([MadeRecord(offset=offset) for offset in offsets], caught_up=True)


async def test_a_worker_that_has_nothing_to_do_lives(scene: Scene) -> None:
    """An idle worker is not dead, with partitions or, as a spare one, without (G8)."""
    await scene.looks(5 * LOOKS_MAX)
    scene.consumer.current = Assignment()
    await scene.looks(5 * LOOKS_MAX)


async def test_what_is_never_read_is_a_standstill(scene: Scene) -> None:
    """Records between the position and the log's end that nobody fetches (G1)."""
    scene.broker.end = 41
    await scene.stands(r"the reading of partition 0 \(at 40\)")


async def test_lag_is_measured_from_the_consumers_position(scene: Scene) -> None:
    """Markers and compacted records lie behind the position: they are nothing to read (G8)."""
    scene.broker.end = 45
    scene.consumer.at = {0: 45}
    await scene.looks(5 * LOOKS_MAX)


async def test_what_a_transaction_holds_back_is_no_standstill(scene: Scene) -> None:
    """It cannot be read; what is below it can, and is judged (G8)."""
    scene.broker.end, scene.broker.held_back = 90, 50
    await scene.looks(5 * LOOKS_MAX)
    scene.broker.held_back = 49
    await scene.stands(r"the reading of partition 0 \(at 40\)")


async def test_reading_on_is_progress(scene: Scene) -> None:
    """A worker that is behind and moves, however slowly, lives (G8)."""
    scene.broker.end = 1_000
    for offset in range(5):
        await scene.looks(LOOKS_MAX)
        durable(scene.life, 40 + offset)
        scene.life.confirm(41 + offset)


async def test_a_flush_that_never_ends_is_a_standstill(scene: Scene) -> None:
    """Fetched, and never made durable (G1)."""
    fetched(scene.life, 40)
    await scene.stands(r"the flush of partition 0 \(at 40\)")


async def test_a_flush_of_many_waves_lives_while_they_become_durable(scene: Scene) -> None:
    """One message an item, and a backlog of one user: thousands of waves, one after the other.
    The last look of them without another wave is a standstill (G8)."""
    fetched(scene.life, 40, 41)
    scene.broker.end = 42
    (batch,) = scene.assignment.cut()
    for _ in range(5):
        await scene.looks(LOOKS_MAX)
        batch.count_wave()
    await scene.stands(r"the flush of partition 0 \(at 45\)")


async def test_a_commit_that_never_comes_is_a_standstill(scene: Scene) -> None:
    """Durable, and never committed, while all else moves: a crash would replay all of it (G8)."""
    durable(scene.life, 40)
    for offset in range(LOOKS_MAX):
        await scene.looks(1)
        durable(scene.life, 41 + offset)
    with pytest.raises(Standstill, match=r"the commit of partition 0 \(at 40\)"):
        await scene.looks(1)


async def test_an_opening_that_never_ends_is_a_standstill(scene: Scene) -> None:
    """Assigned, and never asked about; one that is closed for a reason is no standstill (G1)."""
    scene.consumer.current = Assignment([1])
    await scene.stands("the opening of partition 1")
    scene.consumer.current.stay_closed(1, "the log is not the one it was")
    await scene.looks(5 * LOOKS_MAX)


async def test_a_loop_that_takes_no_turn_is_a_standstill(scene: Scene) -> None:
    """Without any partition too; a rebalance is given its own time besides (G8)."""
    scene.consumer.current = Assignment()
    scene.consumer.turning = False
    await scene.looks(LOOKS_MAX + 2)  # rebalance_s is two looks
    with pytest.raises(Standstill, match=TURNS):
        await scene.looks(1)


async def test_nobody_is_dead_while_the_broker_does_not_answer(scene: Scene) -> None:
    """A broker that is away is waited for, without end; the looks begin anew after it (G1)."""
    scene.broker.end = 41
    await scene.looks(LOOKS_MAX)
    scene.broker.away = True
    await scene.looks(5 * LOOKS_MAX)
    scene.broker.away = False
    await scene.stands("the reading of partition 0")


async def test_flushes_are_not_judged_while_the_store_is_waited_for(scene: Scene) -> None:
    """A store that is away or throttles is waited for, without end; reading goes on, and is
    judged (G1, G9)."""
    fetched(scene.life, 40)
    durable(scene.life, 41)
    with scene.waiters.one_more():
        await scene.looks(5 * LOOKS_MAX)
        other = scene.assignment
        other.closed[1] = BEING_OPENED
        other.opening.add(1)
        await scene.looks(5 * LOOKS_MAX)
        other.open(1, 3, progress(3))
        scene.broker.end = 50
        await scene.stands(r"the reading of partition 1 \(at 3\)")


async def test_a_partition_that_is_read_no_further_says_so_elsewhere(scene: Scene) -> None:
    """A record that the client cannot read makes the worker unready: a restart cannot help
    (G9)."""
    scene.broker.end = 41
    scene.assignment.stop_reading(0, "a header name that is not UTF-8")
    await scene.looks(5 * LOOKS_MAX)


async def test_an_assignment_that_ends_during_a_look_is_not_judged(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What belonged to it may have moved on elsewhere (G8)."""
    scene.broker.end = 41
    states = scene.broker.states

    async def revoked(partitions: Iterable[int]) -> dict[int, LogState]:
        scene.consumer.current = Assignment()
        return await states(partitions)

    await scene.looks(LOOKS_MAX)
    monkeypatch.setattr(scene.broker, "states", revoked)
    await scene.looks(1)


async def test_a_thread_that_hangs_hides_no_standstill(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions that do not come within their limit leave the loop's turns to judge by (G8)."""

    async def hangs() -> dict[int, int]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("worker.watchdog.POSITIONS_S_MAX", 0.001)
    monkeypatch.setattr(scene.consumer, "positions", hangs)
    scene.consumer.turning = False
    await scene.looks(LOOKS_MAX + 2)
    with pytest.raises(Standstill, match=TURNS):
        await scene.looks(1)


async def test_looks_come_at_even_times_and_end_with_a_standstill(scene: Scene) -> None:
    """The setting is divided into looks: time passes while a process is stopped, looks do not
    (G8)."""
    scene.broker.end = 41
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.raises(Standstill, match="no progress for 8 s"):
        await scene.dog.watch(scene.consumer, sleep)
    assert slept == [2.0] * (LOOKS_MAX + 1)


def test_what_moved_or_was_away_begins_anew() -> None:
    """Only looks in a row at the same place count (G8)."""
    standing = Standing()
    for _ in range(3):
        assert [standing.look({"a": 1}) for _ in range(LOOKS_MAX)] == [{}] * LOOKS_MAX
        assert standing.look({"a": 2}) == {}
    standing.look({})
    assert [standing.look({"a": 2}) for _ in range(LOOKS_MAX)] == [{}] * LOOKS_MAX
    assert standing.look({"a": 2, "b": 1}) == {"a": 2}


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


class EveryTurn:
    """In place of the guard's clock: each of its turns is one of the loop's too; 50 in all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.turns = 0

    def wait(self, seconds: float) -> bool:
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        self.turns += 1
        return not turned.wait(30) or self.turns > 50


async def test_a_loop_that_runs_is_left_alone() -> None:
    """However many turns it takes; and after a stop nobody is watched any more (G8)."""
    statuses: list[int] = []
    loop = asyncio.get_running_loop()
    guard = LoopGuard(loop, 1.0, statuses.append)
    clock = EveryTurn(loop)
    guard._stopped = clock  # type: ignore[assignment]
    await asyncio.to_thread(guard._run)
    assert clock.turns == 51
    assert statuses == []

    stopped = LoopGuard(loop, 60.0, statuses.append)
    stopped.start()
    stopped.stop()
    await asyncio.to_thread(stopped._thread.join, 30)
    assert not stopped._thread.is_alive()
