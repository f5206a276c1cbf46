"""What is fetched next and what becomes of it, with a client made for tests."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from tests.records import MadeRecord
from tests.unit.test_opening import FakeLog, progress
from worker.assignment import Assignment, BatchLimits, PartitionTask
from worker.errors import OperatorError
from worker.fetching import ASK_AGAIN_S, FETCH_PAUSE_S, REFETCH_S, Fetched, FetchLoop
from worker.group_errors import Member

#: What a fetch brings by partition, and what makes it.
Answer = dict[int, Fetched]


class Source:
    """A client whose next fetches are answered by `answer`. asked: their partitions, limits and
    whether they linger."""

    def __init__(self) -> None:
        self.answer: Callable[[set[int], int], Answer] = lambda partitions, records_max: {}
        self.asked: list[tuple[list[int], float, int, bool]] = []
        self.moved: list[Mapping[int, int]] = []
        self.held: list[set[int]] = []
        self.revoked = False
        self.position = 0

    async def fetch(
        self, partitions: set[int], *, timeout_s: float, records_max: int, lingers: bool
    ) -> Answer:
        self.asked.append((sorted(partitions), timeout_s, records_max, lingers))
        return self.answer(partitions, records_max)

    async def move(self, positions: Mapping[int, int]) -> None:
        if self.revoked:
            raise IllegalStateError("revoked")
        self.moved.append(positions)

    async def hold(self, partitions: Iterable[int]) -> None:
        self.held.append(set(partitions))

    async def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.position)


class Fetching:
    """A loop over such a client, its assignment, and the seconds that it slept."""

    def __init__(self) -> None:
        self.source = Source()
        self.log = FakeLog()
        self.slept: list[float] = []
        self.limits = BatchLimits(linger_s=0.0)
        self.current = Assignment()
        self.loop = FetchLoop(
            self.source, self.log, Member("undelivered", "group"), lambda: self.current,
            sleep=self._sleep, clock=lambda: 100.0,
        )  # fmt: skip

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def assign(self, *positions: int) -> list[PartitionTask]:
        assignment = self.current = Assignment(range(len(positions)), limits=self.limits)
        return [
            assignment.open(partition, position, progress(position))
            for partition, position in enumerate(positions)
        ]


@pytest.fixture
async def fetching() -> Fetching:
    return Fetching()


def found(*offsets: int, **more: Any) -> Fetched:
    return Fetched([MadeRecord(offset=offset) for offset in offsets], **{"caught_up": True} | more)


async def test_a_fetch_of_an_older_assignment_is_undone(fetching: Fetching) -> None:
    """Its records are not taken, and the positions that it moved are set back (G1)."""
    fetching.assign(40, 50)

    def straddling(partitions: set[int], records_max: int) -> Answer:
        fetching.assign(45, 50)
        return {0: found(45)}

    fetching.source.answer = straddling
    await fetching.loop.fetch_next()

    assert fetching.source.moved == [{0: 45}]
    assert not fetching.current.tasks[0].waiting


async def test_a_partition_that_is_revoked_again_is_not_set_back(fetching: Fetching) -> None:
    """The next assignment sets its own positions (G1)."""
    fetching.assign(40)

    def straddling(partitions: set[int], records_max: int) -> Answer:
        fetching.assign(45)
        fetching.source.revoked = True
        return {0: found(45)}

    fetching.source.answer = straddling
    await fetching.loop.fetch_next()

    assert not fetching.current.tasks[0].waiting


@pytest.mark.parametrize("error", [NoOffsetForPartitionError, OffsetOutOfRangeError])
async def test_a_fetch_that_fails_over_a_rebalance_ends_no_worker(
    fetching: Fetching, error: type[KafkaError]
) -> None:
    """It met a position that aiokafka chose itself, before the partition was held: what it may
    have moved is set back, and that is all; of the assignment that it began in it is an error
    (G1)."""
    fetching.assign(40, 50)
    rebalance = True

    def failing(partitions: set[int], records_max: int) -> Answer:
        if rebalance:
            fetching.assign(45, 50)
        raise error

    fetching.source.answer = failing
    await fetching.loop.fetch_next()
    assert fetching.source.moved == [{0: 45, 1: 50}]

    rebalance = False
    with pytest.raises(OperatorError) as raised:
        await fetching.loop.fetch_next()
    assert isinstance(raised.value.__cause__, error)


async def test_only_a_fetch_that_read_to_the_end_is_followed_by_a_pause(fetching: Fetching) -> None:
    """What trickles in is fetched and written together; a backlog, and the first record after a
    silence, wait for nothing (G8)."""
    fetching.assign(40, 50)
    answers = [
        {0: found(40)},
        {},
        {0: found(41, caught_up=False)},
        {0: found(42), 1: found(50, caught_up=False)},
    ]
    paused = []
    for answer in answers:
        fetching.source.answer = lambda *_, answer=answer: answer
        await fetching.loop.fetch_next()
        paused.append(fetching.slept)
        fetching.slept = []

    assert paused == [[FETCH_PAUSE_S], [], [], []]
    assert [task.fetched for task in fetching.current.tasks.values()] == [43, 51]
    assert fetching.loop.iterations == 4


async def test_partitions_read_to_their_end_linger_together(fetching: Fetching) -> None:
    """With a linger it takes the place of the pause; those that had nothing linger as well, so
    that one request brings all. A backlog goes on (G8)."""
    fetching.limits = BatchLimits(linger_s=0.2)
    fetching.assign(40, 50, 60)
    fetching.source.answer = lambda *_: {
        0: found(40, lingers=True), 1: found(lingers=True), 2: found(60, caught_up=False)
    }  # fmt: skip
    await fetching.loop.fetch_next()

    assert [lingers for *_, lingers in fetching.source.asked] == [True]
    assert fetching.current.partitions_to_fetch(100.19) == {2}
    assert fetching.current.partitions_to_fetch(100.2) == {0, 1, 2}
    assert [len(task.waiting) for task in fetching.current.tasks.values()] == [1, 0, 1]
    fetching.source.answer = lambda *_: {2: found(61)}
    await fetching.loop.fetch_next()
    assert fetching.slept == []


async def test_a_lingering_partition_is_left_out_of_a_fetch(fetching: Fetching) -> None:
    """Nothing of it is asked for until its linger is over (G8)."""
    fetching.limits = BatchLimits(linger_s=0.2)
    fetching.assign(40, 50)
    fetching.source.answer = lambda *_: {0: found(40, lingers=True), 1: found(50, caught_up=False)}
    await fetching.loop.fetch_next()
    fetching.source.answer = lambda *_: {}
    await fetching.loop.fetch_next()

    assert [partitions for partitions, *_ in fetching.source.asked] == [[0, 1], [1]]


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
    fetching: Fetching, begin: int, log_start: int, error: type[Exception] | None
) -> None:
    """Going back, or over a gap that retention made, ends the process: it resumes by the rules
    (G1, G2)."""
    (task,) = fetching.assign(40)
    fetching.log.start = log_start
    fetching.source.answer = lambda *_: {0: found(begin)}

    if error is None:
        await fetching.loop.fetch_next()
        assert task.fetched == begin + 1
    else:
        with pytest.raises(error):
            await fetching.loop.fetch_next()
        assert task.fetched == 40


async def test_a_jump_is_fetched_again_while_the_broker_is_away(fetching: Fetching) -> None:
    """Whether retention made it cannot be told then. The records are not taken, and the position
    is set back: no worker ends for a broker that is away (G1, G8)."""
    (task,) = fetching.assign(40)
    fetching.source.answer = lambda *_: {0: found(43, caught_up=False)}
    fetching.log.away = True
    await fetching.loop.fetch_next()
    assert (task.fetched, fetching.source.moved) == (40, [{0: 40}])
    assert fetching.slept == [ASK_AGAIN_S]

    fetching.log.away = False
    await fetching.loop.fetch_next()
    assert (task.fetched, len(fetching.source.moved)) == (44, 1)


async def test_one_unreadable_record_costs_its_neighbours_one_look(
    fetching: Fetching, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 64 partitions in a fetch one cannot be unpacked: all are set back at once, each is asked
    once for what is there, without waiting, and the bad one alone record by record (G8, G9)."""
    tasks = fetching.assign(*[40] * 64)
    bad, idle = 63, 7

    def answer(partitions: set[int], records_max: int) -> Answer:
        if bad in partitions and (records_max > 1 or tasks[bad].fetched == 41):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a header name")
        return {partition: found(40, caught_up=False) for partition in partitions - {idle}}

    fetching.source.answer = answer
    await fetching.loop.fetch_next()

    asked = [(partitions, timeout_s) for partitions, timeout_s, *_ in fetching.source.asked]
    records_max = [records_max for _, _, records_max, _ in fetching.source.asked]
    assert asked[1:] == [*(([p], 0.0) for p in range(64)), *[([bad], REFETCH_S)] * 2]
    assert min(records_max[:65]) > 1
    assert records_max[65:] == [1, 1]
    assert fetching.slept == [REFETCH_S]
    assert fetching.source.moved == [dict.fromkeys(range(64), 40), {bad: 40}]
    assert [task.fetched for task in tasks] == [40 if p == idle else 41 for p in range(64)]
    assert fetching.source.held == [{bad}]
    assert "--partition 63 --to 42" in fetching.current.stuck[bad]
    assert "partition 63 is stuck" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR
    assert fetching.loop.iterations == 1 + 64, "a long search is no stall"


async def test_an_unreadable_record_of_a_revoked_assignment_is_undone(fetching: Fetching) -> None:
    """The next assignment meets it anew (G1, G9)."""
    fetching.assign(40, 50)

    def straddling(partitions: set[int], records_max: int) -> Answer:
        fetching.assign(45, 50)
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a header name")

    fetching.source.answer = straddling
    await fetching.loop.fetch_next()

    assert len(fetching.source.asked) == 1
    assert fetching.source.moved == [{0: 45, 1: 50}]
    assert fetching.current.stuck == {}
