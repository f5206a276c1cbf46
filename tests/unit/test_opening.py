"""Opening partitions: what is asked, what is stored before the first record, what stays closed."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
)

from poste_restante.table import TableRecord
from worker.errors import OperatorError, ProgressChanged, TableReplaced
from worker.opening import OpenedPartition, PartitionOpener
from worker.progress import Progress
from worker.record import Fingerprint
from worker.resume import Closed, LogState, StartSetting

TABLE = TableRecord(table_id="t1", topic="undelivered", partitions=2, epoch=1)
PRINT = Fingerprint(1, 2)


def progress(next_: int, **more: object) -> Progress:
    made = Progress(table_id="t1", epoch=1, next=next_, origin=0, last=PRINT, written_at_ms=1)
    return replace(made, **more)  # type: ignore[arg-type]


class Store:
    """Progress in memory, with a record of what was written."""

    def __init__(self, *stored: Progress | None) -> None:
        self.record = TABLE
        self.stored: dict[int, Progress | None] = dict(enumerate(stored))
        self.written: list[tuple[str, int, Progress]] = []

    async def table(self) -> TableRecord:
        return self.record

    async def read(self, partition: int) -> Progress | None:
        return self.stored[partition]

    async def create(self, partition: int, progress: Progress) -> Progress:
        self.written.append(("create", partition, progress))
        found = self.stored[partition] = self.stored[partition] or progress
        return found

    async def advance(self, partition: int, seen: Progress, new: Progress) -> Progress:
        raise AssertionError("an opening advances nothing")

    async def move(self, partition: int, old: Progress, new: Progress) -> None:
        assert self.stored[partition] == old
        self.written.append(("move", partition, new))
        self.stored[partition] = new


class FakeLog:
    """A log of 100 offsets from 0, in two partitions; the group's offsets are given."""

    def __init__(self, *groups: int | None, start: int = 0, last: Fingerprint = PRINT) -> None:
        self.groups = dict(enumerate(groups))
        self.start, self.end, self.held_back = start, 100, 0
        self.last = last
        self.asked: dict[int, int] = {}
        self.away = False

    async def states(self, partitions: Iterable[int]) -> dict[int, LogState]:
        if self.away:
            raise KafkaConnectionError("away")
        return {p: LogState(self.start, self.end, self.end - self.held_back) for p in partitions}

    async def group_offsets(self, partitions: Iterable[int]) -> dict[int, int | None]:
        return {p: self.groups[p] for p in partitions}

    async def offsets_at(self, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
        return dict.fromkeys(partitions, time_ms // 10)

    async def fingerprints(self, offsets: Mapping[int, int]) -> dict[int, Fingerprint | None]:
        self.asked |= offsets
        return dict.fromkeys(offsets, self.last)


def opener(store: Store, log: FakeLog, start: StartSetting | None = None) -> PartitionOpener:
    return PartitionOpener(
        topic="undelivered",
        start=start or StartSetting(),
        progress=store,
        log=log,
        now_ms=lambda: 77,
    )


async def test_partitions_are_resumed_at_progress() -> None:
    """Progress is where a life begins, whatever the group says above it (G1)."""
    store, log = Store(progress(40), progress(50)), FakeLog(40, 90)
    answers = await opener(store, log).open([0, 1])

    assert answers == {
        0: OpenedPartition(40, progress(40), 40),
        1: OpenedPartition(50, progress(50), 50),
    }
    assert log.asked == {0: 39, 1: 49}
    assert store.written == []


async def test_a_record_above_the_stable_end_is_not_asked_for() -> None:
    """The broker would not answer until the transaction ends; the partition is in doubt without it
    (G4)."""
    store, log = Store(progress(40), progress(50)), FakeLog(40, 50)
    log.held_back = 55
    answers = await opener(store, log).open([0, 1])
    assert log.asked == {0: 39}
    assert isinstance(answers[0], OpenedPartition)
    assert isinstance(answers[1], Closed)


@pytest.mark.parametrize("group", [None, 35])
async def test_a_group_behind_at_progress_is_due_a_commit(group: int | None) -> None:
    """Its offset expired, or a crash came between progress and commit: what it lacks is durable.
    A replay is due none: its offset goes with what it writes again (G1)."""
    store = Store(progress(40, group=35), progress(40, group=30))
    answers = await opener(store, FakeLog(group, 35)).open([0, 1])

    assert answers[0] == OpenedPartition(40, progress(40, group=35), group or 0)
    assert answers[1] == OpenedPartition(0, progress(40, group=None), 0)


async def test_a_partition_without_a_leader_holds_up_no_other() -> None:
    """The broker has no answer for one of them: that one stays closed (G1)."""
    store, log = Store(progress(40), progress(50)), FakeLog(40, 50)
    states = log.states

    async def leaderless(partitions: Iterable[int]) -> dict[int, LogState]:
        wanted = list(partitions)
        if 0 in wanted:
            raise KafkaConnectionError("no leader")
        return await states(wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "states", leaderless)
        answers = await opener(store, log).open([0, 1])

    assert isinstance(answers[0], Closed)
    assert "the broker does not answer" in answers[0].reason
    assert answers[1] == OpenedPartition(50, progress(50), 50)


async def test_a_partition_whose_progress_is_throttled_holds_up_no_other() -> None:
    """The store serves all but one: past its moment that one stays closed, and is asked again
    (G1, G9)."""
    store, log = Store(progress(40), progress(50)), FakeLog(40, 50)
    read = store.read

    async def throttled(partition: int) -> Progress | None:
        if partition == 0:
            await asyncio.Event().wait()
        return await read(partition)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read", throttled)
        answers = await opener(store, log).open([0, 1], limit_s=0.05)
    again = await opener(store, log).open([0])

    assert isinstance(answers[0], Closed)
    assert "no answer within 0.05 s" in answers[0].reason
    assert answers[1] == OpenedPartition(50, progress(50), 50)
    assert again == {0: OpenedPartition(40, progress(40), 40)}


async def test_an_operators_error_of_one_is_said_whatever_the_others_wait_for() -> None:
    """A copied table ends the worker; a partition that gets no answer does not hide that (G1)."""
    store, log = Store(progress(40), progress(50, table_id="another")), FakeLog(40, 50)

    async def throttled(partition: int) -> Progress | None:
        if partition == 0:
            await asyncio.Event().wait()
        return store.stored[partition]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read", throttled)
        with pytest.raises(OperatorError):
            await opener(store, log).open([0, 1], limit_s=0.05)


async def test_a_lower_start_is_stored_before_the_first_record() -> None:
    """A rewind forgets the confirmed offset in the table, or a crash would undo it (G1)."""
    store = Store(progress(40, group=35))
    answers = await opener(store, FakeLog(12)).open([0])
    forgotten = progress(40, group=None)

    assert answers == {0: OpenedPartition(0, forgotten, 0)}
    assert store.written == [("move", 0, forgotten)]


async def test_a_gap_is_stored_before_the_first_record(caplog: pytest.LogCaptureFixture) -> None:
    """What retention removed unread is logged as an error with its range, once (G1)."""
    store = Store(progress(40))
    gaps: list[int] = []
    gapped = PartitionOpener(
        topic="undelivered", start=StartSetting(), progress=store, log=FakeLog(40, start=60),
        on_gap=gaps.append,
    )  # fmt: skip
    (answer,) = (await gapped.open([0])).values()
    await gapped.open([0])
    assert gaps == [20]

    assert isinstance(answer, OpenedPartition)
    assert (answer.position, answer.progress.origin, answer.progress.next) == (60, 60, 60)
    assert store.stored[0] == answer.progress
    assert "offsets 40 to 59 were removed" in caplog.text


async def test_progress_that_a_zombie_writes_meanwhile_is_read_again() -> None:
    """A worker that has lost the partition and has not noticed writes its progress while the new
    owner opens it at a lower start: that is no operator's error, and no end (G1)."""
    store, log = Store(progress(50, group=50)), FakeLog(20)
    unlucky = opener(store, log)

    async def zombie(partition: int, old: Progress, new: Progress) -> None:
        store.stored[partition] = progress(70, group=50)
        raise ProgressChanged("progress changed meanwhile")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "move", zombie)
        first = await unlucky.open([0])
    second = await unlucky.open([0])

    assert isinstance(first[0], Closed)
    assert second == {0: OpenedPartition(0, progress(70, group=None), 0)}


async def test_another_log_closes_its_partition_alone() -> None:
    """A record that differs at progress - 1 closes the partition; the others go on (G4)."""
    store = Store(progress(40, last=Fingerprint(9, 9)), progress(50))
    answers = await opener(store, FakeLog(40, 50)).open([0, 1])

    assert isinstance(answers[0], Closed)
    assert "poste epoch" in answers[0].reason
    assert answers[1] == OpenedPartition(50, progress(50), 50)


async def test_a_broker_that_is_away_closes_all_for_now() -> None:
    """A doubt is asked again; nothing is guessed and nothing written (G1)."""
    store, log = Store(progress(40), None), FakeLog(40, None)
    log.away = True
    answers = await opener(store, log).open([0, 1])

    assert all(isinstance(answer, Closed) for answer in answers.values())
    assert store.written == []


@pytest.mark.parametrize(
    ("start", "position"),
    [(StartSetting(), 0), (StartSetting.at(550), 55)],
    ids=["earliest", "time"],
)
async def test_a_first_start_is_written_down(start: StartSetting, position: int) -> None:
    """What `kafka.start` resolves to becomes progress and origin before the first record (G1)."""
    store = Store(None)
    answers = await opener(store, FakeLog(None), start).open([0])
    (written,) = store.written

    assert written[0] == "create"
    assert (written[2].next, written[2].origin, written[2].written_at_ms) == (
        position,
        position,
        77,
    )
    assert answers == {0: OpenedPartition(position, written[2], 0)}


async def test_a_first_start_that_another_worker_made_is_followed() -> None:
    """What is stored after the attempt counts, not what we wanted to store (G1)."""

    class Raced(Store):
        async def create(self, partition: int, progress: Progress) -> Progress:
            self.stored[partition] = theirs
            return theirs

    theirs = progress(30, last=None)
    store = Raced(None)
    answers = await opener(store, FakeLog(None)).open([0])

    assert answers == {0: OpenedPartition(30, theirs, 0)}


async def test_a_table_of_another_topic_is_refused() -> None:
    """One topic per table: positions of two topics would hide each other (G4)."""
    store = Store(progress(40))
    store.record = replace(TABLE, topic="another")

    with pytest.raises(OperatorError, match="another"):
        await opener(store, FakeLog(40)).open([0])


async def test_a_table_replaced_between_two_assignments_ends_the_process() -> None:
    """The table id is read at every assignment (G1)."""
    store = Store(progress(40))
    asked = opener(store, FakeLog(40))
    await asked.open([0])
    store.record = replace(TABLE, table_id="t2")

    with pytest.raises(TableReplaced):
        await asked.open([0])


@pytest.mark.parametrize("partitions", [1, 2])
async def test_a_topic_that_may_not_be_read_ends_the_process(partitions: int) -> None:
    """Refused is not unanswered: no question brings a permission back."""

    class Denied(FakeLog):
        async def fingerprints(self, offsets: object) -> dict[int, Fingerprint | None]:
            raise TopicAuthorizationFailedError("undelivered")

    store = Store(*[progress(40)] * partitions)

    with pytest.raises(OperatorError, match="denies Read on the topic"):
        await opener(store, Denied(*[40] * partitions)).open(range(partitions))


async def test_a_broker_that_refuses_is_not_said_to_be_silent() -> None:
    """What is not a missing permission keeps the partition closed, and says what it is."""

    class Refusing(FakeLog):
        async def fingerprints(self, offsets: object) -> dict[int, Fingerprint | None]:
            raise UnsupportedVersionError

    answers = await opener(Store(progress(40)), Refusing(40)).open([0])

    assert isinstance(answers[0], Closed)
    assert answers[0].reason.startswith("the broker refuses: UnsupportedVersionError")
