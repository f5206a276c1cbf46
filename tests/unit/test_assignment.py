"""What an assignment fetches, flushes and may commit."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.records import MadeRecord
from worker.assignment import (
    POLL_BUSY_S,
    POLL_IDLE_S,
    POLL_OPENING_S,
    Assignment,
    BatchLimits,
    RecordBatch,
)
from worker.memory_limits import MEMORY_MB_MIN, MIB, MemoryLimits, in_work_bytes, waiting_bytes
from worker.progress import Progress
from worker.record import Fingerprint, fingerprint, record_bytes

STORED = Progress(
    table_id="t", epoch=1, next=10, origin=0, last=Fingerprint(5, 6), group=7,
    consecutive_dead_letters=3,
    written_at_ms=1, caught_up_at_ms=None,
)  # fmt: skip


def records(*offsets: int, body: bytes = b"hello") -> list[MadeRecord]:
    return [MadeRecord(offset=offset, partition=0, value=body) for offset in offsets]


def opened(
    *partitions: int, position: int = 10, limits: BatchLimits | None = None, **more: object
) -> Assignment:
    assignment = Assignment(partitions, limits=limits, **more)  # type: ignore[arg-type]
    for partition in partitions:
        assignment.open(partition, position, STORED)
    return assignment


def one(batches: Sequence[RecordBatch]) -> RecordBatch:
    (batch,) = batches
    return batch


def test_a_task_at_progress_carries_on_what_progress_knows() -> None:
    """Fingerprint, run of dead letters and confirmed offset hold only where they were taken
    (G1)."""
    at_progress = opened(0).tasks[0]
    below = opened(0, position=4).tasks[0]

    assert (at_progress.last, at_progress.consecutive_dead_letters) == (STORED.last, 3)
    assert (below.last, below.consecutive_dead_letters) == (None, 0)


async def test_one_batch_of_a_partition_is_in_work_and_the_next_gathers() -> None:
    """Nothing is handed out before the batch in work is durable; what is fetched meanwhile is the
    next batch (G2)."""
    assignment = opened(0)
    assignment.add(0, records(10, 11), caught_up=True)
    first = one(assignment.cut())
    assignment.add(0, records(12), caught_up=True)
    assignment.add(0, records(15, 16), caught_up=True)

    assert assignment.cut() == []
    with first:
        pass
    assert [r.offset for r in one(assignment.cut()).records] == [12, 15, 16]


async def test_the_oldest_record_that_is_not_durable_bounds_what_is() -> None:
    """In work, waiting or neither; above it the client's position counts (G11)."""
    assignment = opened(0)
    task = assignment.tasks[0]
    assert task.oldest is None
    assert (task.durable_below(0), task.durable_below(13)) == (10, 13)
    assignment.add(0, records(11, 12, 14), caught_up=True)
    assert task.durable_below(20) == 11
    first = one(assignment.cut())
    assignment.add(0, records(15, 16), caught_up=True)
    assert task.durable_below(20) == 11
    with first:
        pass
    assert task.durable_below(20) == 15
    with one(assignment.cut()):
        pass
    assert task.oldest is None
    assert (task.durable_below(0), task.durable_below(20)) == (17, 20)


async def test_records_wait_for_a_commit_from_their_flush_on() -> None:
    """The wait is never negative, also if the clock is set back."""
    assignment = opened(0, clock=lambda: 100.0)
    assert assignment.commit_pending_s(105.0) == 0.0
    assignment.add(0, records(10), caught_up=True)
    with one(assignment.cut()):
        pass

    assert assignment.commit_pending_s(105.0) == 5.0
    assert assignment.commit_pending_s(99.5) == 0.0


@pytest.mark.parametrize(("linger_s", "lingers"), [(0.0, False), (0.2, True)])
def test_an_assignment_lingers_if_linger_s_is_above_0(linger_s: float, lingers: bool) -> None:
    assert opened(0, limits=BatchLimits(linger_s=linger_s)).lingers is lingers


async def test_partitions_are_cut_side_by_side() -> None:
    """A partition in work holds up no other (G8)."""
    assignment = opened(0, 1)
    assignment.add(0, records(10), caught_up=True)
    one(assignment.cut())
    assignment.add(1, records(10), caught_up=True)

    assert one(assignment.cut()).task.partition == 1


def test_batches_are_bounded_in_records_and_bytes() -> None:
    """A batch holds at most what the limits say; one larger record goes alone (G8)."""
    assignment = opened(0, limits=BatchLimits(records_max=3, bytes_max=100))
    assignment.add(0, records(10, 11, 12, 13, body=b"x" * 10), caught_up=True)
    task = assignment.tasks[0]

    assert len(one(assignment.cut()).records) == 3

    task.in_work = None
    assignment.add(0, records(14, body=b"x" * 80), caught_up=True)
    assignment.add(0, records(15, body=b"x" * 500), caught_up=True)
    assert [r.offset for r in one(assignment.cut()).records] == [13, 14]
    task.in_work = None
    assert [r.offset for r in one(assignment.cut()).records] == [15]
    assert task.waiting_bytes == 0


async def test_all_that_is_in_work_is_bounded_and_shared() -> None:
    """However many partitions have a backlog; one alone has the whole of what is shared (G8)."""
    memory = MemoryLimits(fetched=1 << 20, waiting=1 << 30, in_work=in_work_bytes(400, 400 * 80))
    partitions = range(40)
    assignment = opened(*partitions, memory=memory)
    of = in_work_bytes(1, record_bytes(records(10, body=b"x" * 80)[0]))
    small = max(1, memory.small_batch(40) // of)
    for partition in partitions[:4]:
        assignment.add(partition, records(*range(10, 310), body=b"x" * 80), caught_up=False)
    shares = [len(batch.records) for batch in assignment.cut()]
    assert shares == [(memory.in_work - 40 * memory.small_batch(40)) // 4 // of] * 4
    assert shares[0] > small

    for partition in partitions[4:]:  # nothing of the four is durable: the others go on
        assignment.add(partition, records(*range(10, 310), body=b"x" * 80), caught_up=False)
    batches = assignment.cut()
    assert [len(batch.records) for batch in batches] == [small] * 36
    in_work = [task.in_work for task in assignment.tasks.values() if task.in_work]
    assert sum(batch.memory for batch in in_work) <= memory.in_work

    alone = opened(0, memory=memory)
    alone.add(0, records(*range(10, 610), body=b"x" * 80), caught_up=False)
    assert len(one(alone.cut()).records) == (memory.in_work - memory.small_batch(1)) // of


async def test_records_larger_than_a_share_take_turns() -> None:
    """They go alone, as many at a time as there is memory for, and none is left out (G8)."""
    memory = MemoryLimits(fetched=1 << 20, waiting=1 << 30, in_work=in_work_bytes(3, 3 * 100_000))
    partitions = range(8)
    assignment = opened(*partitions, memory=memory)
    for partition in partitions:
        assignment.add(partition, records(10, 11, body=b"x" * 100_000), caught_up=False)
    flushed: list[int] = []
    while batches := assignment.cut():
        assert len(batches) <= 3
        for batch in batches:
            assert len(batch.records) == 1
            flushed.append(batch.task.partition)
            with batch:
                pass

    assert sorted(flushed[:8]) == sorted(flushed[8:]) == list(partitions)


@given(
    memory_mb=st.integers(MEMORY_MB_MIN, 4096),
    partitions=st.integers(1, 256),
    body=st.sampled_from([0, 300, 10_000, 300_000]),
)
@example(memory_mb=256, partitions=16, body=300)
@settings(max_examples=15)
def test_a_backlog_never_takes_more_than_was_promised(
    memory_mb: int, partitions: int, body: int
) -> None:
    """While the store takes nothing, whatever the partitions and the records: what waits and what
    is in work stay within their limits, up to one record of each partition that is larger than
    its share, and something is in work (G8)."""
    memory = MemoryLimits.of(memory_mb * MIB)
    assignment = opened(*range(partitions), memory=memory)
    value = bytes(body)
    for _ in range(20 * partitions):
        partitions_to_fetch = assignment.partitions_to_fetch(0.0)
        if not partitions_to_fetch:
            break
        task = assignment.tasks[
            min(partitions_to_fetch)
        ]  # aiokafka fills a fetch from one partition
        offsets = range(task.fetched, task.fetched + assignment.fetch_records_max())
        assignment.add(task.partition, records(*offsets, body=value), caught_up=False)
        assignment.cut()

    tasks = assignment.tasks.values()
    waits = waiting_bytes(
        sum(len(task.waiting) for task in tasks), sum(task.waiting_bytes for task in tasks)
    )
    in_work = sum(task.in_work.memory for task in tasks if task.in_work)
    assert waits <= memory.waiting + waiting_bytes(1, body)
    assert in_work <= memory.in_work + in_work_bytes(1, body)
    assert in_work > 0
    if body <= 300:
        assert all(task.in_work for task in tasks)


def test_large_records_make_the_next_fetch_a_small_one() -> None:
    """The fetch size counts compressed bytes, so the number of records is what bounds memory
    (G8)."""
    assignment = opened(0, limits=BatchLimits(records_max=5_000, bytes_max=1_000_000))
    assignment.add(0, records(10, body=b"x" * 100), caught_up=True)
    for offset in range(11, 100):
        assignment.add(0, records(offset, body=b"x" * 100), caught_up=True)
    before = assignment.fetch_records_max()
    assignment.add(0, records(100, 101, body=b"x" * 500_000), caught_up=True)

    assert before > 500
    assert assignment.fetch_records_max() == 1

    for offset in range(120, 220):
        assignment.add(0, records(offset, body=b""), caught_up=True)
    assert assignment.fetch_records_max() > 10


def test_a_partition_with_a_full_batch_waiting_is_not_fetched() -> None:
    """Back-pressure reaches Kafka partition by partition (G8)."""
    assignment = opened(0, 1, limits=BatchLimits(records_max=2))
    assert assignment.partitions_to_fetch(0.0) == {0, 1}
    assignment.add(0, records(10, 11), caught_up=False)
    assignment.cut()
    assert assignment.partitions_to_fetch(0.0) == {0, 1}
    assignment.add(0, records(12, 13), caught_up=False)

    assert assignment.partitions_to_fetch(0.0) == {1}
    assert assignment.fetch_timeout_s({1}, 0.0) == POLL_BUSY_S
    assert assignment.fetch_timeout_s({0, 1}, 0.0) == POLL_IDLE_S


def test_linger_delays_the_fetch_of_a_partition_read_to_its_end() -> None:
    """Kafka is the buffer while a batch gathers; a backlog is not lingered over."""
    assignment = opened(0, 1, limits=BatchLimits(linger_s=5.0))
    assignment.linger({0}, 100.0)

    assert assignment.partitions_to_fetch(104.9) == {1}
    assert assignment.fetch_timeout_s({1}, 104.5) == pytest.approx(0.5)
    assert assignment.partitions_to_fetch(105.0) == {0, 1}
    assert assignment.fetch_timeout_s({0, 1}, 105.0) == POLL_IDLE_S


def test_all_partitions_that_linger_are_due_at_the_same_instant() -> None:
    """One fetch brings what has gathered in any of them."""
    assignment = opened(0, 1, 2, limits=BatchLimits(linger_s=5.0))
    assignment.linger({0}, 100.0)
    assignment.linger({1}, 103.0)

    assert assignment.partitions_to_fetch(104.9) == {2}
    assert assignment.partitions_to_fetch(105.0) == {0, 1, 2}
    assignment.linger({0, 1}, 105.1)
    assert assignment.partitions_to_fetch(110.0) == {2}


def test_a_flush_in_work_does_not_shorten_the_polls_of_a_linger() -> None:
    """Nothing is fetched before the linger is over, whatever becomes durable meanwhile."""
    assignment = opened(0, limits=BatchLimits(linger_s=5.0))
    assignment.linger({0}, 100.0)
    assignment.add(0, records(10), caught_up=True)

    assert assignment.fetch_timeout_s(
        assignment.partitions_to_fetch(104.5), 104.5
    ) == pytest.approx(0.5)


def test_a_closed_partition_is_neither_fetched_nor_slow_to_be() -> None:
    """While partitions are being opened the polls are short; the surplus is never read (G8)."""
    assignment = Assignment(range(4), partitions_max=3)
    assignment.open(1, 10, STORED)

    assert assignment.partitions_to_fetch(0.0) == {1}
    assert assignment.fetch_timeout_s({1}, 0.0) == POLL_OPENING_S
    assert set(assignment.closed) == {0, 2}
    assert assignment.surplus == {3}


async def test_only_what_is_durable_is_committed() -> None:
    """The group's offset goes exactly up to what this life made durable (G1)."""
    assignment = opened(0)
    assert assignment.to_commit() == []
    assignment.add(0, records(10, 14), caught_up=True)
    batch = one(assignment.cut())
    assert assignment.to_commit() == []
    with batch:
        batch.consecutive_dead_letters = 1
        assert assignment.to_commit() == []
    (task,) = assignment.to_commit()
    saved = task.progress(99)

    assert task.durable == 15
    assert saved == replace(
        STORED, next=15, last=fingerprint(batch.records[-1]), consecutive_dead_letters=1,
        written_at_ms=99, caught_up_at_ms=99,
    )  # fmt: skip
    task.confirm(15)
    assert assignment.to_commit() == []
    assert task.progress(100).group == 15


async def test_caught_up_is_not_claimed_while_a_transaction_holds_records_back() -> None:
    """They are older than the instant in which they can be read; a rewind by minutes would begin
    behind them (G1)."""
    assignment = opened(0)
    assignment.add(0, records(10), caught_up=True, held_back=True)
    with one(assignment.cut()):
        pass

    assert assignment.tasks[0].progress(99).caught_up_at_ms is None


async def test_caught_up_is_not_claimed_while_records_wait() -> None:
    """A partition is caught up when what was fetched to the log's end is durable."""
    assignment = opened(0, limits=BatchLimits(records_max=1))
    assignment.add(0, records(10, 11), caught_up=True)
    with one(assignment.cut()):
        pass

    assert assignment.tasks[0].progress(99).caught_up_at_ms is None


async def test_a_flush_that_fails_is_the_last_of_its_assignment() -> None:
    """After a failure nothing is handed out, and nothing more is committed (G1, G2)."""
    causes: list[BaseException] = []
    assignment = opened(0, 1, on_broken=causes.append)
    assignment.add(0, records(10), caught_up=True)
    assignment.add(1, records(10), caught_up=True)
    good, bad = assignment.cut()
    with good:
        pass
    with pytest.raises(ValueError, match="broken"), bad:
        raise ValueError("broken")
    assignment.add(0, records(11), caught_up=True)

    assert len(causes) == 1
    assert assignment.cut() == []
    assert assignment.to_commit() == []


async def test_a_cancelled_flush_is_reported_unless_the_assignment_is_over() -> None:
    """A task group does not notice a child that was merely cancelled; a revoke cancels on
    purpose (G1)."""
    causes: list[BaseException] = []
    assignment = opened(0, on_broken=causes.append)

    async def flush(batch: RecordBatch) -> None:
        with batch:
            await asyncio.Event().wait()

    assignment.add(0, records(10), caught_up=True)
    task = asyncio.create_task(flush(one(assignment.cut())))
    await asyncio.sleep(0)
    assert not assignment.idle.is_set()
    task.cancel()
    await asyncio.wait([task])
    assert isinstance(causes[0], asyncio.CancelledError)

    causes.clear()
    over = opened(0, on_broken=causes.append)
    over.add(0, records(10), caught_up=True)
    task = asyncio.create_task(flush(one(over.cut())))
    await asyncio.sleep(0)
    over.end()
    await asyncio.wait([task])
    assert task.cancelled()
    assert causes == []
    assert over.idle.is_set()
    assert over.to_commit() == []


async def test_a_batch_taken_after_the_end_is_not_flushed() -> None:
    """A batch that Faust hands out too late belongs to nobody (G2)."""
    assignment = opened(0)
    assignment.add(0, records(10), caught_up=True)
    batch = one(assignment.cut())
    assignment.end()
    begun = False

    with pytest.raises(asyncio.CancelledError), batch:
        begun = True
    assert not begun


def hundred_bytes(*offsets: int) -> list[MadeRecord]:
    """Records of 100 bytes each, key and body."""
    return records(*offsets, body=b"x" * 97)


def of_memory(*, waiting: int = 1 << 60, in_work: int = 1 << 60) -> MemoryLimits:
    return MemoryLimits(fetched=1 << 60, waiting=waiting, in_work=in_work)


def test_what_a_worker_takes_at_a_time_unless_set() -> None:
    """What the settings name as defaults, and 256 partitions (G8)."""
    assert BatchLimits() == BatchLimits(records_max=5_000, bytes_max=4_194_304, linger_s=0.0)
    assert (POLL_IDLE_S, POLL_BUSY_S, POLL_OPENING_S) == (1.0, 0.05, 0.2)
    assert Assignment(range(257)).surplus == {256}


@pytest.mark.parametrize(
    ("bytes_max", "memory_max", "count"),
    [
        (200, 1 << 60, 2), (199, 1 << 60, 1), (300, 1 << 60, 3), (99, 1 << 60, 1),
        (1 << 60, in_work_bytes(2, 200), 2), (1 << 60, in_work_bytes(2, 200) - 1, 1),
    ],
)  # fmt: skip
def test_a_batch_is_filled_to_the_exact_byte_of_its_limits(
    bytes_max: int, memory_max: int, count: int
) -> None:
    """Those of the setting and those of the memory in work (G8)."""
    task = opened(0).tasks[0]
    task.add(hundred_bytes(10, 11, 12), caught_up=True, held_back=False)
    batch = task.cut(BatchLimits(bytes_max=bytes_max), memory_max)

    assert (len(batch.records), batch.size) == (count, 100 * count)
    assert (len(task.waiting), task.waiting_bytes) == (3 - count, 300 - 100 * count)


@pytest.mark.parametrize(
    ("waiting", "partitions_to_fetch"),
    [
        (2 * waiting_bytes(1, 100) + 1, {0, 1}), (2 * waiting_bytes(1, 100), {1}),
        (waiting_bytes(1, 100) + 1, {1}), (waiting_bytes(1, 100), set()),
    ],
)  # fmt: skip
def test_what_waits_is_bounded_to_the_byte(waiting: int, partitions_to_fetch: set[int]) -> None:
    """From half of it on only partitions with nothing waiting are fetched, at all of it none
    (G8)."""
    assignment = opened(0, 1, memory=of_memory(waiting=waiting))
    assignment.add(0, hundred_bytes(10), caught_up=False)

    assert assignment.partitions_to_fetch(0.0) == partitions_to_fetch


@pytest.mark.parametrize(("bytes_max", "partitions_to_fetch"), [(101, {0, 1}), (100, {1})])
def test_a_partition_with_a_batch_of_bytes_waiting_is_not_fetched(
    bytes_max: int, partitions_to_fetch: set[int]
) -> None:
    """Neither is one with a batch of records (G8)."""
    assignment = opened(0, 1, limits=BatchLimits(bytes_max=bytes_max))
    assignment.add(0, hundred_bytes(10), caught_up=False)

    assert assignment.partitions_to_fetch(0.0) == partitions_to_fetch


def test_the_first_fetch_reckons_with_records_of_64_kb() -> None:
    """So it is a small one, whatever it brings (G8)."""
    limits = BatchLimits(records_max=1 << 30, bytes_max=1 << 36)
    memory = of_memory(waiting=4 * 10 * waiting_bytes(1, 65_536))

    assert opened(0, limits=limits, memory=of_memory()).fetch_records_max() == 1 << 20
    assert opened(0, 1, limits=limits, memory=memory).fetch_records_max() == 10
    assert opened(0, limits=BatchLimits(records_max=7), memory=of_memory()).fetch_records_max() == 7


def test_a_fetch_reckons_with_larger_records_at_once_and_with_smaller_ones_slowly() -> None:
    """A tenth of the way (G8)."""
    assignment = opened(0, limits=BatchLimits(bytes_max=10_000), memory=of_memory())
    wanted = []
    for first, size in ((10, 100), (20, 50), (30, 200)):
        made = records(first, first + 1, body=b"x" * (size - 3))
        assignment.add(0, made, caught_up=True)
        wanted.append(assignment.fetch_records_max())

    assert wanted == [10_000 // 100, 10_000 // 95, 10_000 // 200]


def test_a_record_of_no_bytes_counts_as_one_byte() -> None:
    """A tombstone without a key (G9)."""
    assignment = opened(0, limits=BatchLimits(bytes_max=10), memory=of_memory())
    assignment.add(0, [MadeRecord(key=None, value=None, offset=10)], caught_up=True)

    assert assignment.fetch_records_max() == 10


def test_a_fetch_takes_a_partitions_share_where_there_is_no_room() -> None:
    """Of a quarter of what may wait (G8)."""
    assignment = opened(0, 1, memory=of_memory(waiting=8 * waiting_bytes(1, 100)))
    assignment.add(0, hundred_bytes(10, 11, 12), caught_up=False)
    assignment.partitions_to_fetch(0.0)
    assert assignment.fetch_records_max() == 2
    assignment.add(0, hundred_bytes(13), caught_up=False)
    assignment.partitions_to_fetch(0.0)
    assert assignment.fetch_records_max() == 1


def test_what_is_in_work_already_is_not_shared_again() -> None:
    """Nor are the small batches of all partitions (G8)."""
    of = in_work_bytes(1, 100)
    assignment = opened(0, 1, 2, memory=of_memory(in_work=120 * of))
    assignment.add(0, hundred_bytes(*range(10, 20)), caught_up=False)
    assert one(assignment.cut()).memory == 10 * of
    for partition in (1, 2):
        assignment.add(partition, hundred_bytes(*range(10, 100)), caught_up=False)

    assert [batch.memory for batch in assignment.cut()] == [(120 - 3 * 20 - 10) // 2 * of] * 2


def test_where_all_memory_is_in_work_no_batch_is_cut() -> None:
    """To the byte; the partitions left out are the next ones (G8)."""
    memory = of_memory(in_work=in_work_bytes(1, 100) + in_work_bytes(1, 300))
    assignment = opened(0, 1, 2, memory=memory)
    for partition, size in ((0, 100), (1, 300), (2, 100)):
        made = records(10, 11, body=b"x" * (size - 3))
        assignment.add(partition, made, caught_up=False)
    batches = assignment.cut()
    assert [batch.task.partition for batch in batches] == [0, 1]

    assignment.tasks[0].finish_flush(batches[0])
    assert one(assignment.cut()).task.partition == 2


async def test_the_partition_that_was_cut_last_comes_last() -> None:
    """Also behind one that was never cut (G8)."""
    assignment = opened(0, 1)
    assignment.add(0, records(10), caught_up=True)
    with one(assignment.cut()):
        pass
    assignment.add(0, records(11), caught_up=True)
    assignment.add(1, records(10), caught_up=True)

    assert [batch.task.partition for batch in assignment.cut()] == [1, 0]


def test_a_lower_group_offset_is_due_from_the_begin() -> None:
    """The life's start may be above what the group has (G1)."""
    assignment = Assignment([0])
    task = assignment.open(0, 10, STORED, committed=9)

    assert assignment.to_commit() == [task]


def test_a_task_that_fetched_nothing_is_not_caught_up() -> None:
    """Nobody has seen the log's end (G1)."""
    assert opened(0).tasks[0].progress(99).caught_up_at_ms is None


async def test_what_is_left_of_an_assignment_that_is_over_is_neither_cut_nor_committed() -> None:
    """It belongs to the next owner (G2)."""
    assignment = opened(0)
    assignment.add(0, records(10), caught_up=True)
    with one(assignment.cut()):
        pass
    assignment.add(0, records(11), caught_up=True)
    assignment.end()

    assert assignment.cut() == []
    assert assignment.to_commit() == []


async def test_the_first_failure_of_an_assignment_is_the_one_that_is_reported() -> None:
    """Those that follow come of it (G2)."""
    causes: list[BaseException] = []
    assignment = opened(0, 1, on_broken=causes.append)
    for partition in (0, 1):
        assignment.add(partition, records(10), caught_up=True)
    one_batch, other = assignment.cut()
    for batch, text in ((one_batch, "first"), (other, "second")):
        with pytest.raises(ValueError, match=text), batch:
            raise ValueError(text)

    assert [str(cause) for cause in causes] == ["first"]


def test_a_linger_that_is_over_does_not_wait() -> None:
    """Nor does it wait for less than nothing."""
    assignment = opened(0, limits=BatchLimits(linger_s=5.0))
    assignment.linger({0}, 100.0)

    assert assignment.fetch_timeout_s(set(), 105.5) == 0.0


def test_a_batch_counts_its_durable_waves() -> None:
    """So that a long flush is not taken for one that stands still (G8)."""
    assignment = opened(0)
    assignment.add(0, records(10), caught_up=True)
    batch = one(assignment.cut())
    assert batch.waves == 0
    batch.count_wave()
    batch.count_wave()
    assert batch.waves == 2


def test_partitions_that_are_being_opened_count_as_read() -> None:
    """Their share of the memory is kept for them (G8)."""
    assignment = Assignment(range(4), partitions_max=3)
    assignment.open(1, 10, STORED)

    assert assignment.read_partition_count == 3


def test_a_record_below_what_was_fetched_is_not_added() -> None:
    """It would be delivered twice, and progress would go back (G2, G4)."""
    with pytest.raises(AssertionError):
        opened(0).add(0, records(9, 10), caught_up=True)


async def test_what_waits_for_a_commit_has_waited_since_the_first_of_it_became_durable() -> None:
    """A commit that another flush overtakes leaves the rest waiting."""
    now = [100.0]
    assignment = opened(0, 1, clock=lambda: now[0])
    flush(assignment, 0, 10)
    assert assignment.commit_pending_s(now[0]) == 0
    now[0] += 5
    flush(assignment, 0, 11)
    flush(assignment, 1, 10)
    assert assignment.commit_pending_s(107.0) == 7

    assignment.tasks[0].confirm(11)
    assert assignment.commit_pending_s(107.0) == 2
    assignment.tasks[1].confirm(11)
    assert assignment.commit_pending_s(107.0) == 2  # 11 of partition 0, durable during the commit
    assignment.tasks[0].confirm(12)
    assert assignment.commit_pending_s(107.0) == 0


def flush(assignment: Assignment, partition: int, offset: int) -> None:
    """Make one record durable."""
    record = MadeRecord(offset=offset, partition=partition)
    assignment.add(partition, [record], caught_up=True)
    with one(assignment.cut()):
        pass
