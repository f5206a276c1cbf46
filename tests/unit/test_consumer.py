"""The consumer's own decisions, without a broker: what it commits, follows, drains and undoes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition

from tests.records import MadeRecord
from tests.unit.test_opening import FakeLog, Store, progress
from worker.app import create_app
from worker.assignment import Assignment, BatchLimits, PartitionTask
from worker.backoff import WaitTracker
from worker.config_file import load_settings
from worker.continuity import follows
from worker.errors import OperatorError, TableReplaced
from worker.flush import Flushed
from worker.flush_waits import FlushWaits
from worker.group_errors import Member
from worker.kafka.client_thread import NOTHING, Fetched
from worker.kafka.consumer import DRAIN_LOOK_S, FETCH_PAUSE_S, BatchConsumer, Rules
from worker.opening import Opener
from worker.progress import Progress


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


class Stage:
    """A consumer that is never started, its progress store, and the order of what it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *stored: Progress) -> None:
        self.app = app = create_app(load_settings(None, {"POSTE_HTTP__PORT": "0"}))
        self.order: list[Any] = []
        self.store = Saved(self.order, *stored)
        self.log = FakeLog(*([None] * len(stored)))
        app.transport.rules = Rules(
            member=Member("undelivered", "group"),
            topic="undelivered", consumer_options={}, progress=self.store, log=self.log,
            drain_s=0.05,
            limits=BatchLimits(linger_s=0.0),
            opener=Opener(topic="undelivered", start=None, progress=self.store, log=self.log),  # type: ignore[arg-type]
        )  # fmt: skip
        self.consumer: BatchConsumer = app.consumer
        self.commits = True
        self.moved: list[Mapping[Any, int]] = []
        monkeypatch.setattr(self.consumer, "_commit", self._commit)
        monkeypatch.setattr(self.consumer._thread, "move", self._move)

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        self.order += [("group", tp.partition, offset) for tp, offset in offsets.items()]
        return self.commits

    async def _move(self, positions: Mapping[Any, int]) -> None:
        self.moved.append(positions)

    def assign(self, *positions: int) -> list[PartitionTask]:
        assignment = self.consumer.current = Assignment(range(len(positions)))
        return [
            assignment.open(partition, position, self.store.stored[partition])  # type: ignore[arg-type]
            for partition, position in enumerate(positions)
        ]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    made = Stage(monkeypatch, progress(40), progress(50))
    yield made
    made.consumer._thread.thread_loop.close()


def flushed(task: PartitionTask, *offsets: int) -> None:
    """Records of a life, made durable."""
    task.assignment.add(
        task.partition, [MadeRecord(offset=offset) for offset in offsets], caught_up=True
    )
    for batch in task.assignment.cut():
        with batch:
            pass


async def test_a_fetch_of_an_older_assignment_is_undone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are not taken, and the positions that it moved are set back (G1)."""
    stage.assign(40, 50)

    async def straddling(tps: Any, **limits: Any) -> Any:
        stage.assign(45, 50)
        return {stage.consumer._tp(0): Fetched([MadeRecord(offset=45)], caught_up=True)}

    monkeypatch.setattr(stage.consumer._thread, "fetch", straddling)
    await stage.consumer._fetch_next()

    assert stage.moved == [{stage.consumer._tp(0): 45}]
    assert not stage.consumer.current.tasks[0].waiting


async def test_only_a_fetch_that_read_to_the_end_is_followed_by_a_pause(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trickles in is fetched and written together; a backlog, and the first record after a
    silence, wait for nothing (G8)."""
    stage.assign(40, 50)
    first, second = stage.consumer._tp(0), stage.consumer._tp(1)
    fetches = [
        {first: Fetched([MadeRecord(offset=40)], caught_up=True)},
        {},
        {first: Fetched([MadeRecord(offset=41)], caught_up=False)},
        {
            first: Fetched([MadeRecord(offset=42)], caught_up=True),
            second: Fetched([MadeRecord(offset=50)], caught_up=False),
        },
    ]
    order: list[Any] = []

    async def fetch(tps: set[Any], **limits: Any) -> dict[Any, Fetched]:
        fetched = fetches.pop(0)
        order.append([records[0].offset for records, *_ in fetched.values()])
        return fetched

    async def sleep(seconds: float) -> None:
        order.append(seconds)

    monkeypatch.setattr(stage.consumer._thread, "fetch", fetch)
    monkeypatch.setattr("worker.kafka.consumer.asyncio.sleep", sleep)
    while fetches:
        await stage.consumer._fetch_next()

    assert order == [[40], FETCH_PAUSE_S, [], [41], [42, 50]]


async def test_partitions_read_to_their_end_linger_together(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a linger it takes the place of the pause; those that had nothing linger as well, so
    that one request brings all. A backlog goes on (G8)."""
    stage.store.stored = {**stage.store.stored, 2: progress(60)}
    limits = BatchLimits(linger_s=0.2)
    stage.app.transport.rules = replace(stage.consumer.rules, limits=limits)
    stage.assign(40, 50, 60)
    assignment = stage.consumer.current
    assignment.limits = limits
    first, second, third = (stage.consumer._tp(partition) for partition in range(3))
    asked: list[float] = []

    async def fetch(tps: set[Any], *, timeout_s: float, **limits: Any) -> dict[Any, Fetched]:
        asked.append(timeout_s)
        return {
            first: Fetched([MadeRecord(offset=40)], caught_up=True, lingers=True),
            second: Fetched((), caught_up=True, lingers=True),
            third: Fetched([MadeRecord(offset=60)], caught_up=False),
        }

    monkeypatch.setattr(stage.consumer._thread, "fetch", fetch)
    monkeypatch.setattr("worker.kafka.consumer.time.monotonic", lambda: 100.0)
    monkeypatch.setattr("worker.kafka.consumer.FETCH_PAUSE_S", 1e6)
    await stage.consumer._fetch_next()

    assert assignment.partitions_to_fetch(100.19) == {2}
    assert assignment.partitions_to_fetch(100.2) == {0, 1, 2}
    assert [len(task.waiting) for task in assignment.tasks.values()] == [1, 0, 1]


@pytest.mark.parametrize(
    ("begin", "log_start", "error"),
    [
        (40, 0, None),
        (43, 0, None),  # transaction markers, or compaction
        (43, 40, None),
        (43, 41, OperatorError),  # retention
        (39, 0, RuntimeError),
    ],
)
async def test_a_batch_must_follow_the_one_before(
    stage: Stage, begin: int, log_start: int, error: type[Exception] | None
) -> None:
    """Going back, or over a gap that retention made, ends the process: it resumes by the rules
    (G1, G2)."""
    (task, _) = stage.assign(40, 50)
    stage.log.start = log_start
    records = [MadeRecord(offset=begin)]

    if error is None:
        assert await follows(task, records, stage.log)
    else:
        with pytest.raises(error):
            await follows(task, records, stage.log)


async def test_a_jump_is_fetched_again_while_the_broker_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether retention made it cannot be told then. The records are not taken, and the position
    is set back: no worker ends for a broker that is away (G1, G8)."""
    (task, _) = stage.assign(40, 50)
    first = stage.consumer._tp(0)

    async def jumping(tps: Any, **limits: Any) -> Any:
        return {first: Fetched([MadeRecord(offset=43)], caught_up=True)}

    monkeypatch.setattr(stage.consumer._thread, "fetch", jumping)
    stage.log.away = True
    await stage.consumer._fetch_next()
    assert (task.fetched, stage.moved) == (40, [{first: 40}])

    stage.log.away = False
    await stage.consumer._fetch_next()
    assert (task.fetched, len(stage.moved)) == (44, 1)


async def test_one_unreadable_record_costs_its_neighbours_one_look(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 partitions in a fetch one cannot be unpacked: all are set back at once, each is asked
    once for what is there, without waiting, and the bad one alone record by record (G8, G9)."""
    stage.store.stored = {partition: progress(40) for partition in range(64)}
    tasks = stage.assign(*[40] * 64)
    bad, idle = 63, 7
    asked: list[tuple[list[int], float, int]] = []
    held: list[Any] = []

    async def fetch(
        tps: set[Any], *, timeout_s: float, records_max: int, lingers: bool
    ) -> dict[Any, Fetched]:
        partitions = sorted(tp.partition for tp in tps)
        asked.append((partitions, timeout_s, records_max))
        if bad in partitions and (records_max > 1 or tasks[bad].fetched == 41):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a header name")
        return {
            tp: Fetched([MadeRecord(offset=40)], caught_up=False)
            for tp in tps
            if tp.partition != idle
        }

    async def hold(tps: Any) -> None:
        held.append(tps)

    monkeypatch.setattr(stage.consumer._thread, "fetch", fetch)
    monkeypatch.setattr(stage.consumer._thread, "hold", hold)
    monkeypatch.setattr("worker.kafka.consumer.REFETCH_S", 0.01)
    await stage.consumer._fetch_next()

    alone = [([partition], 0.0, asked[n][2]) for n, partition in enumerate(range(64), 1)]
    assert all(records_max > 1 for _, _, records_max in asked[:65])
    assert asked[1:] == [*alone, ([bad], 0.01, 1), ([bad], 0.01, 1)]
    assert stage.moved == [
        {stage.consumer._tp(p): 40 for p in range(64)},
        {stage.consumer._tp(bad): 40},
    ]
    assert [task.fetched for task in tasks] == [40 if p == idle else 41 for p in range(64)]
    assert held == [{stage.consumer._tp(bad)}]
    assert "--partition 63 --to 42" in stage.consumer.current.stuck[bad]
    assert stage.consumer.turns == 64


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
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """One throttled user must not hold up a rebalance of the whole group: what is done is
    committed, what waits is cancelled, and what may end is waited for (G1, G8)."""
    object.__setattr__(stage.consumer.rules, "drain_s", 60.0)
    assignment = stage.assign(40, 50)[0].assignment
    assignment.add(0, [MadeRecord(offset=40)], caught_up=True)
    assignment.add(1, [MadeRecord(offset=50)], caught_up=True)
    hot, slow = assignment.cut()
    hot.waits = FlushWaits(lambda: 0.0)  # refused since long ago
    answered = asyncio.Event()

    async def refused() -> None:
        with hot, hot.waits.counting(), WaitTracker().one_more():
            await asyncio.Event().wait()

    async def flushed_slowly() -> None:
        with slow, slow.waits.counting():
            await answered.wait()

    tasks = [asyncio.create_task(refused()), asyncio.create_task(flushed_slowly())]
    await asyncio.sleep(0)
    drain = asyncio.create_task(stage.consumer.wait_empty())
    await asyncio.wait([drain], timeout=3 * DRAIN_LOOK_S)
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
    """Outside a rebalance or a stop nobody cancels a flush; whoever does must not go unnoticed
    (G1)."""
    crashed: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashed.append(reason)

    monkeypatch.setattr(stage.consumer, "crash", crash)
    stage.consumer._on_broken(asyncio.CancelledError())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert "cancelled outside a rebalance" in str(crashed[0])


class Client:
    """aiokafka's consumer, as far as what it fetches goes."""

    def __init__(self, partitions: int) -> None:
        self.all = {TopicPartition("undelivered", n) for n in range(partitions)}
        self.held = set(self.all)
        self.fetched: list[set[int]] = []

    def assignment(self) -> set[TopicPartition]:
        return self.all

    def pause(self, *tps: TopicPartition) -> None:
        assert self.all.issuperset(tps)
        self.held |= set(tps)

    def resume(self, *tps: TopicPartition) -> None:
        assert self.all.issuperset(tps)
        self.held -= set(tps)

    def seek(self, tp: TopicPartition, _: int) -> None:
        assert tp in self.all

    async def getmany(self, *_: Any, **__: Any) -> dict[Any, Any]:
        self.fetched.append({tp.partition for tp in self.all - self.held})
        return {}


async def test_nothing_is_prefetched_of_a_partition_of_which_nothing_is_wanted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka fetches ahead of every partition that is not paused, a whole batch of its producer
    at least: of many partitions with large records that is more than all limits (G8). One that is
    held is not resumed by a fetch that was meant for an older assignment (G1)."""
    client, thread = Client(4), stage.consumer._thread
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: client)
    monkeypatch.setattr(thread, "_fetch_records", client.getmany)
    tps = [stage.consumer._tp(n) for n in range(4)]
    await thread._move(dict.fromkeys(tps[:3], 0))
    await thread._fetch(set(tps[:3]), 0.0, 5_000, lingers=False)
    await thread._fetch({tps[0]}, 0.0, 5_000, lingers=False)
    await thread._fetch(NOTHING, 0.0, 5_000, lingers=False)
    await thread._fetch({tps[1], tps[2]}, 0.0, 5_000, lingers=False)
    await thread._hold({tps[1]})
    await thread._fetch({tps[1], tps[2]}, 0.0, 5_000, lingers=False)
    client.all.discard(TopicPartition("undelivered", 2))  # revoked just now
    await thread._fetch({tps[0]}, 0.0, 5_000, lingers=False)
    await thread._move({tps[1]: 5})
    await thread._fetch({tps[1]}, 0.0, 5_000, lingers=False)

    assert client.fetched == [{0, 1, 2}, {0}, set(), {1, 2}, {2}, {0}, {1}]
