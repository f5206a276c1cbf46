"""The consumer between Faust, the client's thread and the store, without a broker: what it holds,
commits and drains."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import mode
import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError
from faust.types import TP

from tests.records import MadeRecord
from tests.unit.test_opening import FakeLog, Store, progress
from worker.app import create_app
from worker.assignment import Assignment, BatchLimits, PartitionTask
from worker.backoff import WaitTracker
from worker.config_file import load_settings
from worker.errors import TableReplaced
from worker.fetching import Fetched
from worker.flush import Flushed
from worker.flush_waits import FlushWaits
from worker.group_errors import Member
from worker.kafka.consumer import DRAIN_CHECK_S, BatchConsumer, BatchTransport, ConsumerWiring
from worker.kafka.group_monitor import GroupCheckResult
from worker.opening import PartitionOpener
from worker.progress import Progress
from worker.resume import StartSetting


class Saved(Store):
    """Progress that is raised, in memory; `order` is shared with the group's commits."""

    def __init__(self, order: list[Any], *stored: Progress | None) -> None:
        super().__init__(*stored)
        self.order = order

    async def advance(self, partition: int, seen: Progress, new: Progress) -> Progress:
        stored = self.stored[partition]
        assert stored is not None
        self.order.append(("progress", partition, new.next))
        if stored.table_id != new.table_id:
            raise TableReplaced("the table was replaced")
        if new.next > stored.next:
            stored = self.stored[partition] = new
        return stored


class Thread(mode.Service):  # type: ignore[misc]
    """The client's thread, as the consumer calls it: two partitions, and nothing to fetch. `order`
    is shared with the progress store. commits: whether the group accepts a commit."""

    def __init__(self, order: list[Any], partitions: int) -> None:
        super().__init__()
        self.order = order
        self.partitions = partitions
        self.commits = True
        self.held: list[list[int]] = []
        self.moved: list[Mapping[int, int]] = []
        self.partition_bytes = 0
        self.on_hold: Callable[[], None] = lambda: None
        self.answer: Callable[[], dict[int, Fetched]] = dict
        self.polls = self.retries = 0
        self.read_on_at: dict[int, int] = {}

    def assignment(self) -> set[TP]:
        return {TP("undelivered", partition) for partition in range(self.partitions)}

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.order += [("group", tp.partition, offset) for tp, offset in offsets.items()]
        return self.commits

    async def hold(self, partitions: Iterable[int]) -> None:
        self.held.append(list(partitions))
        self.on_hold()

    async def limit_fetches(self, partition_bytes: int) -> None:
        self.partition_bytes = partition_bytes

    async def move(self, positions: Mapping[int, int]) -> None:
        self.moved.append(positions)

    async def fetch(self, partitions: set[int], **limits: Any) -> dict[int, Fetched]:
        await asyncio.sleep(0)
        return self.answer()

    async def poll(self) -> None:
        self.polls += 1

    async def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return {partition: self.read_on_at[partition] for partition in partitions}

    def retry_group(self) -> None:
        self.retries += 1


class Stage:
    """A consumer that is never started, its progress store, and the order of what it writes."""

    def __init__(self, *stored: Progress, **wiring: Any) -> None:
        self.app = app = create_app(load_settings(None, {"POSTE_HTTP__PORT": "0"}))
        self.order: list[Any] = []
        self.store = Saved(self.order, *stored)
        self.log = FakeLog(*([None] * len(stored)))
        self.thread = Thread(self.order, len(stored))
        opener: Any = PartitionOpener(
            topic="undelivered", start=StartSetting(), progress=self.store, log=self.log
        )
        wanted: dict[str, Any] = {
            "member": Member("undelivered", "group"), "topic": "undelivered",
            "consumer_options": {}, "progress": self.store, "log": self.log, "opener": opener,
            "drain_s": 0.05, "limits": BatchLimits(linger_s=0.0),
        }  # fmt: skip
        app.transport = BatchTransport(
            app.conf.broker_consumer, app, wiring=ConsumerWiring(**wanted | wiring),
            status=app.resources.status, thread=self._made,
        )  # fmt: skip
        self.consumer: BatchConsumer = app.consumer

    def _made(self, consumer: BatchConsumer, **_: Any) -> Any:
        return self.thread

    def assign(self, *positions: int) -> list[PartitionTask]:
        assignment = self.consumer.current = Assignment(range(len(positions)))
        return [
            assignment.open(partition, position, self.store.stored[partition])  # type: ignore[arg-type]
            for partition, position in enumerate(positions)
        ]


@pytest.fixture
async def stage() -> Stage:
    return Stage(progress(40), progress(50))


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)


def flushed(task: PartitionTask, *offsets: int) -> None:
    """Records of a life, made durable."""
    task.assignment.add(
        task.partition, [MadeRecord(offset=offset) for offset in offsets], caught_up=True
    )
    for batch in task.assignment.cut():
        with batch:
            pass


# ---- an assignment begins


async def test_an_assignment_is_held_first_and_opened_in_the_background(stage: Stage) -> None:
    """No position is inherited: each partition stands still until its own is known (G1)."""
    await stage.consumer.perform_seek()
    assignment = stage.consumer.current
    assert stage.thread.held == [[0, 1]]
    assert stage.thread.moved == []
    assert sorted(assignment.closed) == [0, 1]
    assert stage.thread.partition_bytes == stage.consumer.wiring.memory.partition_fetch_bytes(2)

    await until(lambda: not assignment.closed)
    assert stage.thread.moved == [{0: 40}, {1: 50}]
    assert [task.fetched for task in assignment.tasks.values()] == [40, 50]


async def test_an_assignment_that_is_revoked_while_it_is_held_does_not_begin(stage: Stage) -> None:
    """The next one has begun, and is not replaced (G1)."""
    following = Assignment()

    def revoked() -> None:
        stage.consumer.current = following

    stage.thread.on_hold = revoked
    await stage.consumer.perform_seek()

    assert stage.consumer.current is following


# ---- the fetch loop


async def test_records_are_fetched_while_the_flow_is_active_and_polled_for_otherwise(
    stage: Stage,
) -> None:
    """A member that does not poll cannot rejoin; what waits is counted by no watchdog as reading
    (G8)."""
    stage.assign(40, 50)
    stage.thread.answer = lambda: {0: Fetched([], caught_up=True)}
    fetcher = stage.app.transport.Fetcher(stage.app, loop=stage.app.loop, beacon=stage.app.beacon)
    await fetcher.start()
    await until(lambda: stage.consumer.iterations > 2)
    assert stage.thread.polls == 0

    stage.consumer.stop_flow()
    await until(lambda: stage.thread.polls > 0)
    iterations = stage.consumer.iterations
    await until(lambda: stage.thread.polls > 1)
    assert stage.consumer.iterations == iterations

    stage.consumer.resume_flow()
    await until(lambda: stage.consumer.iterations > iterations)
    await fetcher.stop()


async def test_what_is_fetched_is_delivered_to_the_assignment_of_the_fetch(stage: Stage) -> None:
    """And what a rebalance has made old is undone, at the new positions (G1)."""
    (task, _) = stage.assign(40, 50)
    stage.thread.answer = lambda: {0: Fetched([MadeRecord(offset=task.fetched)], caught_up=True)}
    fetcher = stage.app.transport.Fetcher(stage.app, loop=stage.app.loop, beacon=stage.app.beacon)
    await fetcher.start()
    await until(lambda: task.fetched > 41)

    def straddling() -> dict[int, Fetched]:
        stage.assign(45, 50)
        stage.thread.answer = dict
        return {0: Fetched([MadeRecord(offset=45)], caught_up=True)}

    stage.thread.answer = straddling
    await until(lambda: stage.thread.moved != [])
    await fetcher.stop()

    assert stage.thread.moved == [{0: 45}]
    assert not stage.consumer.current.tasks[0].waiting


async def test_positions_are_those_of_the_open_partitions(stage: Stage) -> None:
    """For the watchdog and the lag: beyond markers (G8)."""
    stage.assign(40, 50)
    stage.thread.read_on_at = {0: 43, 1: 50, 2: 60}

    assert await stage.consumer.positions() == {0: 43, 1: 50}


async def test_a_group_error_that_passes_is_tried_again(stage: Stage) -> None:
    """The client has stopped at it (G8)."""
    stage.consumer.note_group(GroupCheckResult(error=GroupCoordinatorNotAvailableError()))

    assert stage.thread.retries == 1


# ---- an assignment ends


async def test_a_revoke_waits_for_flushes_commits_and_ends(stage: Stage) -> None:
    """What is in work becomes durable within the limit and is committed (G1)."""
    (task, _) = stage.assign(40, 50)
    assignment = task.assignment
    assignment.add(0, [MadeRecord(offset=40)], caught_up=True)
    (batch,) = assignment.cut()

    async def flush() -> None:
        with batch:
            await asyncio.sleep(0)

    flushing = asyncio.create_task(flush())
    await asyncio.sleep(0)
    await stage.consumer.wait_empty()

    assert flushing.done()
    assert stage.order == [("progress", 0, 41), ("group", 0, 41)]
    assert assignment.ended


async def test_a_flush_past_the_drain_limit_is_cancelled_and_not_committed(stage: Stage) -> None:
    """A hung store holds up neither a rebalance nor the shutdown (G1, G8)."""
    (task, _) = stage.assign(40, 50)
    assignment = task.assignment
    assignment.add(0, [MadeRecord(offset=40)], caught_up=True)
    (batch,) = assignment.cut()

    async def flush() -> None:
        with batch:
            await asyncio.Event().wait()

    flushing = asyncio.create_task(flush())
    await asyncio.sleep(0)
    await stage.consumer.wait_empty()
    await asyncio.wait([flushing], timeout=5)

    assert flushing.cancelled()
    assert stage.order == []
    assert assignment.broken is None


async def test_a_drain_ends_when_all_that_is_left_waits_for_the_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One throttled user must not hold up a rebalance of the whole group: what is done is
    committed, what waits is cancelled, and what may end is waited for (G1, G8)."""
    stage = Stage(progress(40), progress(50), drain_s=60.0)
    assignment = stage.assign(40, 50)[0].assignment
    assignment.add(0, [MadeRecord(offset=40)], caught_up=True)
    assignment.add(1, [MadeRecord(offset=50)], caught_up=True)
    hot, slow = assignment.cut()
    hot.waits = FlushWaits(lambda: 0.0)  # refused since long ago
    answered = asyncio.Event()

    async def refused() -> None:
        with hot, hot.waits.attribute_waits(), WaitTracker().count_wait():
            await asyncio.Event().wait()

    async def flushed_slowly() -> None:
        with slow, slow.waits.attribute_waits():
            await answered.wait()

    tasks = [asyncio.create_task(refused()), asyncio.create_task(flushed_slowly())]
    await asyncio.sleep(0)
    drain = asyncio.create_task(stage.consumer.wait_empty())
    await asyncio.wait([drain], timeout=3 * DRAIN_CHECK_S)
    assert not drain.done()
    answered.set()
    await asyncio.wait([drain], timeout=30)
    await asyncio.wait(tasks, timeout=5)

    assert drain.done()
    assert [task.cancelled() for task in tasks] == [True, False]
    assert stage.order == [("progress", 1, 51), ("group", 1, 51)]
    assert "drain ended: the flushes of partitions [0] wait" in caplog.text
    assert assignment.broken is None


async def test_a_commit_that_hangs_holds_up_no_revoke(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store went away within a commit: the drain's own commit gives up at its limit, though it
    waits for that one (G8)."""
    monkeypatch.setattr("worker.kafka.consumer.COMMIT_S_MAX", 0.05)
    (task, _) = stage.assign(40, 50)
    flushed(task, 40)

    async def away(partition: int, seen: Progress, new: Progress) -> Progress:
        return await asyncio.Future()

    monkeypatch.setattr(stage.store, "advance", away)
    hanging = asyncio.create_task(stage.consumer.commit())
    await asyncio.sleep(0)
    drained = asyncio.create_task(stage.consumer.wait_empty())
    await asyncio.wait([drained], timeout=10)

    assert drained.done()
    assert task.assignment.ended
    hanging.cancel()


async def test_a_revoke_commits_what_became_durable_during_a_commit(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit is under way, of what was durable when it began: the drain's own one follows (G1).

    Else it is replayed: nothing is lost, and much is written twice."""
    (task, _) = stage.assign(40, 50)
    flushed(task, 40)
    answer, advance = asyncio.Event(), stage.store.advance

    async def slow(partition: int, seen: Progress, new: Progress) -> Progress:
        await answer.wait()
        return await advance(partition, seen, new)

    monkeypatch.setattr(stage.store, "advance", slow)
    first = asyncio.create_task(stage.consumer.commit())
    await asyncio.sleep(0)
    flushed(task, 41, 42)
    drained = asyncio.create_task(stage.consumer.wait_empty())
    for _ in range(20):  # long enough for it to begin one of its own beside the first
        await asyncio.sleep(0)
    answer.set()
    await asyncio.gather(first, drained)

    assert stage.order[-1] == ("group", 0, 43)
    assert [kind for kind, *_ in stage.order] == ["progress", "group"] * 2


async def test_a_flush_says_to_its_batch_how_far_it_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog must see a long flush move (G8)."""

    class Waves:
        async def flush(self, records: Any, *, on_wave: Callable[[], None], **_: Any) -> Flushed:
            on_wave()
            on_wave()
            return Flushed(messages=1, dead_letters=0, consecutive_dead_letters=7)

    monkeypatch.setattr(stage.app.resources, "flusher", Waves())
    (task, _) = stage.assign(40, 50)
    task.assignment.add(0, [MadeRecord(offset=40)], caught_up=True)
    (batch,) = task.assignment.cut()
    await stage.app.resources.flush(batch)

    assert (batch.waves, task.consecutive_dead_letters, task.durable) == (2, 7, 41)


async def test_a_cancelled_flush_ends_the_process(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside a rebalance or a stop nobody cancels a flush; whoever does must not go unnoticed. An
    error of its own ends the process through the agent (G1)."""
    crashed: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashed.append(reason)

    monkeypatch.setattr(stage.consumer, "crash", crash)
    for error in (ValueError(), asyncio.CancelledError()):
        await stage.consumer.perform_seek()
        assignment = stage.consumer.current
        await until(lambda assignment=assignment: not assignment.closed)  # type: ignore[misc]
        assignment.add(0, [MadeRecord(offset=40)], caught_up=True)
        (batch,) = assignment.cut()
        with pytest.raises(type(error)), batch:
            raise error
    await until(lambda: crashed != [])

    assert len(crashed) == 1
    assert "cancelled outside a rebalance" in str(crashed[0])
