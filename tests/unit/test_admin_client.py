"""The operator's deliberate moves: what is planned, what is written, and in which order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from poste_restante.table import TableRecord
from tests.fake_table import InMemoryTable
from tests.records import stable_log
from tests.store_client import store_on
from worker.cli.admin_client import AdminClient, MovePlan, require_lag
from worker.dynamodb.claim_store import DynamoDBClaims
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.errors import OperatorError
from worker.kafka.groups import has_members
from worker.progress import Progress
from worker.record import Fingerprint
from worker.resume import Closed, LogState, ResumePlan, plan_resume
from worker.settings import Settings

TOPIC = Settings().kafka.topic
TABLE = TableRecord(table_id="t1", topic=TOPIC, partitions=2, epoch=1)
NOW = 90_000_000
#: Each partition's log, 1 offset a second, up to NOW.
LOG = {0: stable_log(0, 45_000), 1: stable_log(15_000, 45_000)}


class Died(Exception):  # noqa: N818 - said as a state
    """The command was killed."""


@dataclass
class Broker:
    """The group and the log, of which one record was written every second until NOW.

    running: members of the group, of which `commit` is told alone. dies: commits that are made,
    until the command is killed where it would make one; None: it is not.
    """

    running: int = 0
    seen: bool = True
    offsets: dict[int, int] = field(default_factory=dict)
    log: dict[int, LogState] = field(default_factory=lambda: dict(LOG))
    dies: int | None = None
    commits: list[dict[int, int]] = field(default_factory=list)

    async def require_no_members(self, group: str) -> None:
        if self.running and self.seen:
            raise OperatorError(f"{self.running} workers of the group {group!r}")

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        assert (group, topic) == ("poste-restante", TOPIC)
        if self.running:
            raise has_members(group)
        if self.dies == len(self.commits):
            raise Died
        self.commits.append(dict(offsets))
        self.offsets |= offsets

    async def states(self, partitions: Iterable[int]) -> dict[int, LogState]:
        return {p: self.log[p] for p in partitions}

    async def group_offsets(self, partitions: Iterable[int]) -> dict[int, int | None]:
        return {p: self.offsets.get(p) for p in partitions}

    async def offsets_at(self, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
        found = {}
        for p in partitions:
            offset = self.log[p].end - (NOW - time_ms) // 1000
            found[p] = min(max(offset, self.log[p].start), self.log[p].end)
        return found

    async def fingerprints(self, offsets: Mapping[int, int]) -> dict[int, Fingerprint | None]:
        raise AssertionError("no move looks at a record")


@dataclass
class World:
    """A table and a broker, and the admin client that sees them now."""

    table: InMemoryTable = field(default_factory=lambda: InMemoryTable("mailboxes"))
    broker: Broker = field(default_factory=Broker)

    @property
    def progress(self) -> DynamoDBProgress:
        return DynamoDBProgress(store_on(self.table), "mailboxes", TOPIC)

    async def admin(self) -> AdminClient:
        return AdminClient(
            settings=Settings(), groups=self.broker, log=self.broker, progress=self.progress,
            claims=DynamoDBClaims(store_on(self.table), "mailboxes"),
            table=await self.progress.table(), partitions=(0, 1),
        )  # fmt: skip

    async def stored(self) -> list[Progress | None]:
        return [await self.progress.read(partition) for partition in (0, 1)]


def at(next_: int, **more: int | None) -> Progress:
    made = Progress(
        table_id="t1", epoch=1, next=next_, origin=0, last=Fingerprint(1, 2), group=next_,
        consecutive_dead_letters=3, written_at_ms=NOW,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


async def world(*stored: Progress | None) -> World:
    made = World()
    await made.table.put_item(TableName="mailboxes", Item=TABLE.encode())
    for partition, progress in enumerate(stored):
        if progress is not None:
            await made.progress.create(partition, progress)
            made.broker.offsets[partition] = progress.next
    return made


async def test_a_standing_is_what_progress_log_and_group_say() -> None:
    """Lag is counted from progress, and from the log's start where there is none (G1)."""
    admin = await (await world(at(40_000), None)).admin()

    first, second = await admin.partition_statuses()
    assert (first.lag, first.group, first.log) == (5_000, 40_000, LOG[0])
    assert (second.lag, second.group, second.progress) == (30_000, None, None)


async def test_a_lag_counts_what_a_transaction_holds_back() -> None:
    """It waits for its users as well (G1)."""
    made = await world(at(40_000), None)
    made.broker.log[0] = LogState(start=0, end=45_000, stable_end=40_000)
    first, _ = await (await made.admin()).partition_statuses()
    assert (first.lag, first.log.held_back) == (5_000, 5_000)


async def test_a_skip_to_the_end_keeps_what_a_transaction_holds_back() -> None:
    """It was not there to be left out, and comes when it is committed (G1, G10)."""
    made = await world(at(40_000), None)
    made.broker.log[0] = LogState(start=0, end=45_000, stable_end=41_000)
    (move,) = (await (await made.admin()).skip(0, "end", NOW)).moves
    assert move.new.next == 41_000


@pytest.mark.parametrize(
    ("to", "wanted"), [("42000", 42_000), ("end", 45_000), ("1970-01-02T00:59:30Z", 44_970)]
)
async def test_a_skip_moves_progress_origin_and_group(to: str, wanted: int) -> None:
    """To an offset, the end, or a time; what is skipped is below the origin for good (G2)."""
    made = await world(at(40_000), at(20_000))
    admin = await made.admin()
    plan = await admin.skip(0, to, NOW + 5)
    assert await made.stored() == [at(40_000), at(20_000)]
    await admin.apply(plan)

    first, second = await made.stored()
    assert first == at(
        wanted,
        origin=wanted,
        last=None,
        consecutive_dead_letters=0,
        written_at_ms=NOW + 5,
        group=40_000,
    )
    assert second == at(20_000)
    assert made.broker.offsets == {0: wanted, 1: 20_000}
    (line,) = plan.lines()
    assert line.startswith(f"partition 0: progress 40000 -> {wanted}, and the group's offset; ")
    assert line.endswith(f"{wanted - 40_000} offsets are left out for good")


async def test_a_rewind_goes_to_a_window_border_and_forgets_the_groups_offset() -> None:
    """A life begins at a border, else bundles would begin in the middle of older ones (G2)."""
    made = await world(at(40_000), at(22_000, origin=12_000))
    admin = await made.admin()
    plan = await admin.rewind_to(None, "17777", NOW)
    await admin.apply(plan)

    first, second = await made.stored()
    assert first == at(10_000, last=None, group=None, consecutive_dead_letters=0)
    assert second is not None
    assert second.next == 20_000, "retention has eaten the border below, and the origin"
    assert made.broker.offsets == {0: 10_000, 1: 20_000}
    assert "30000 offsets are materialized again" in plan.lines()[0]


async def test_a_rewind_by_minutes_counts_from_each_progress() -> None:
    """A table restored to a point in time holds progress of that time, not of now (G1)."""
    earlier = NOW - 10_000_000
    made = await world(at(40_000, written_at_ms=earlier, caught_up_at_ms=earlier), at(44_000))
    admin = await made.admin()
    plan = await admin.rewind_minutes([0], 5, NOW)

    # written when the log stood at 35,000; five minutes before that at 34,700
    (move,) = plan.moves
    assert move.new.next == 30_000


@pytest.mark.parametrize(
    ("caught_up_at_ms", "wanted"),
    [
        (NOW - 30_000_000, 10_000),  # the log stood at 15,000 then
        (None, 0),
    ],
)
async def test_a_rewind_by_minutes_of_a_worker_that_was_behind_goes_further(
    caught_up_at_ms: int | None, wanted: int
) -> None:
    """What it wrote in those minutes had been published long before: counting by the log's times
    alone would replay nothing (G1)."""
    made = await world(at(25_000, caught_up_at_ms=caught_up_at_ms), None)
    admin = await made.admin()
    plan = await admin.rewind_minutes(None, 5, NOW)

    (move,) = plan.moves
    assert move.new.next == wanted


async def test_a_rewind_by_minutes_never_goes_forward() -> None:
    """A progress that stands below the log of that time stays (G1)."""
    made = await world(at(20_000, caught_up_at_ms=NOW), None)
    admin = await made.admin()
    plan = await admin.rewind_minutes(None, 5, NOW)

    assert plan.moves == ()


async def test_only_the_named_partitions_move_and_those_that_have_begun() -> None:
    """A partition without progress has nothing to replay."""
    admin = await (await world(at(40_000), None)).admin()

    assert [m.partition for m in (await admin.rewind_to(None, "5", NOW)).moves] == [0]
    with pytest.raises(OperatorError, match="has no partition 7"):
        await admin.rewind_to([7], "5", NOW)


async def test_a_move_to_where_it_stands_is_none() -> None:
    """Running a command again is safe."""
    made = await world(at(40_000), None)
    admin = await made.admin()
    plan = await admin.skip(0, "40000", NOW)

    assert plan == MovePlan(())
    assert plan.lines() == []


async def test_a_move_is_refused_when_progress_changed_meanwhile() -> None:
    """A worker that nobody saw wins; its progress is not overwritten (G1)."""
    made = await world(at(40_000), None)
    admin = await made.admin()
    plan = await admin.skip(0, "end", NOW)
    await made.progress.advance(0, at(40_000), at(41_000))
    with pytest.raises(OperatorError, match="progress changed meanwhile, it is 41000"):
        await admin.apply(plan)

    assert (await made.stored())[0] == at(41_000)


async def test_moves_are_refused_while_workers_run() -> None:
    """The line says how many, and of which group (G1)."""
    made = await world(at(40_000), None)
    admin = await made.admin()
    await admin.require_empty_group()
    made.broker.running = 2
    with pytest.raises(OperatorError, match="2 workers of the group 'poste-restante'"):
        await admin.require_empty_group()


@pytest.mark.parametrize("to", ["-1", "9" * 20, "soon", "٣", "2026-01-31T00:00:00", ""])
async def test_a_target_that_is_none_is_refused(to: str) -> None:
    """Nothing is guessed."""
    admin = await (await world(at(40_000), None)).admin()
    with pytest.raises(OperatorError, match="is neither an offset"):
        await admin.skip(0, to, NOW)


async def test_an_epoch_begins_every_partition_at_its_logs_start() -> None:
    """Those without progress too; then, last, the table record is of that epoch (G4, G10)."""
    made = await world(at(40_000), None)
    made.broker.log[0] = stable_log(7, 9)
    admin = await made.admin()
    plan = await admin.epoch(NOW)
    await admin.apply(plan)

    first, second = await made.stored()
    assert first is not None
    assert second is not None
    assert [(p.epoch, p.next, p.origin) for p in (first, second)] == [
        (2, 7, 7), (2, 15_000, 15_000),
    ]  # fmt: skip
    assert made.broker.offsets == {0: 7, 1: 15_000}
    assert await made.progress.table() == replace(TABLE, epoch=2)
    assert plan.lines()[-1] == "the table to epoch 2"


async def planned(admin: AdminClient, name: str) -> MovePlan:
    if name == "skip":
        return await admin.skip(0, "42000", NOW)
    if name == "rewind":
        return await admin.rewind_to(None, "17777", NOW)
    return await admin.epoch(NOW)


MOVES = ["skip", "rewind", "epoch"]


@pytest.mark.parametrize("name", MOVES)
async def test_a_move_that_the_group_refuses_changes_nothing(name: str) -> None:
    """A member that joined a moment ago, or that no description shows: the commit is refused, and
    it is made, or tried, before anything is written (G1)."""
    made = await world(at(40_000), at(30_000, group=None))
    del made.broker.offsets[1]
    admin = await made.admin()
    plan = await planned(admin, name)
    before = (await made.stored(), dict(made.broker.offsets), await made.progress.table())
    made.broker.running, made.broker.seen = 1, False
    with pytest.raises(OperatorError, match="consumers of the group 'poste-restante' are running"):
        await admin.apply(plan)

    assert (await made.stored(), made.broker.offsets, await made.progress.table()) == before


async def test_what_is_committed_to_try_changes_no_start() -> None:
    """The group's own offset; progress where it has none; the start that is planned where there is
    neither (G1)."""
    made = await world(at(40_000), None)
    made.broker.offsets = {0: 33_333}
    admin = await made.admin()
    await admin.apply(await admin.epoch(NOW))
    assert made.broker.commits[0] == {0: 33_333, 1: 15_000}

    made = await world(at(40_000), at(20_000))
    made.broker.offsets = {}
    admin = await made.admin()
    await admin.apply(await admin.epoch(NOW))
    assert made.broker.commits[0] == {0: 40_000, 1: 20_000}
    assert made.broker.commits[1] == {0: 0, 1: 15_000}


@pytest.mark.parametrize("name", ["skip", "rewind"])
@pytest.mark.parametrize("writes", [0, 1])
async def test_an_interrupted_skip_or_rewind_is_safe_and_gone_on_with(
    name: str, writes: int
) -> None:
    """Killed between the group and the table, or between two partitions: a worker that starts then
    passes over nothing (G1), and the same command goes on."""
    made = await world(at(40_000), at(30_000))
    admin = await made.admin()
    plan = await planned(admin, name)
    left = [writes]

    def dies(operation: str, _: str) -> None:
        if operation == "PutItem":
            if left[0] == 0:
                raise Died
            left[0] -= 1

    made.table.before = dies
    if writes < len(plan.moves):
        with pytest.raises(Died):
            await admin.apply(plan)
    made.table.before = lambda _operation, _key: None
    table = await made.progress.table()
    for partition, progress in enumerate(await made.stored()):
        assert progress is not None
        opening = plan_resume(
            table=table, topic=TOPIC, partition=partition, progress=progress,
            group=made.broker.offsets[partition], log=LOG[partition], last_record=None,
        )  # fmt: skip
        assert isinstance(opening, ResumePlan)
        assert opening.position <= progress.next

    again = await made.admin()
    await again.apply(await planned(again, name))
    wanted = {"skip": [42_000, 30_000], "rewind": [10_000, 20_000]}[name]
    assert [progress and progress.next for progress in await made.stored()] == wanted
    assert [made.broker.offsets[partition] for partition in (0, 1)] == wanted


@pytest.mark.parametrize("writes", range(4))
async def test_an_interrupted_opening_of_an_epoch_is_gone_on_with(writes: int) -> None:
    """Killed after any of its writes: no partition that was moved can be read before the command
    is run again, and then it opens the same epoch, not the one after (G4, G10)."""
    made = await world(at(40_000), at(20_000))
    admin = await made.admin()
    plan = await admin.epoch(NOW)
    left = [writes]

    def dies(operation: str, _: str) -> None:
        if operation == "PutItem":
            if left[0] == 0:
                raise Died
            left[0] -= 1

    made.table.before = dies
    if writes == 2:  # after both partitions, before the table record
        made.broker.dies = 1  # the first commit is the trial
    with pytest.raises(Died):
        await admin.apply(plan) if writes < 3 else await _made_then_died(admin, plan)
    made.table.before, made.broker.dies = (lambda _operation, _key: None), None
    table = await made.progress.table()
    for partition, progress in enumerate(await made.stored()):
        assert progress is not None
        opening = plan_resume(
            table=table, topic=TOPIC, partition=partition, progress=progress, group=None,
            log=LOG[partition], last_record=None,
        )  # fmt: skip
        assert isinstance(opening, Closed) == (progress.epoch != table.epoch)
    if table.epoch == 1:
        again = await made.admin()
        rest = await again.epoch(NOW + 1)
        assert len(rest.moves) == max(0, 2 - writes)
        await again.apply(rest)

    assert (await made.progress.table()).epoch == 2
    assert [p and (p.epoch, p.next) for p in await made.stored()] == [(2, 0), (2, 15_000)]
    assert made.broker.offsets == {0: 0, 1: 15_000}


async def _made_then_died(admin: AdminClient, plan: MovePlan) -> None:
    await admin.apply(plan)
    raise Died


async def test_all_partitions_are_skipped_but_those_that_are_further() -> None:
    """To a time, the end or the group's offsets; a partition without progress is refused (G1)."""
    made = await world(at(15_000), at(40_000))
    admin = await made.admin()
    made.broker.offsets = {0: 16_000, 1: 30_000}

    assert moved(await admin.skip_all("end", NOW)) == {0: 45_000, 1: 45_000}
    assert moved(await admin.skip_all("20000", NOW)) == {0: 20_000}
    assert moved(await admin.skip_all("group", NOW)) == {0: 16_000}
    assert moved(await admin.skip_each([1, 0, 1], "end", NOW)) == {0: 45_000, 1: 45_000}
    with pytest.raises(OperatorError, match="has no progress yet"):
        await (await (await world(at(15_000))).admin()).skip_all("end", NOW)


def moved(plan: MovePlan) -> dict[int, int]:
    return {move.partition: move.new.next for move in plan.moves}


async def test_an_epoch_begins_where_the_group_stands_in_a_mirrored_topic() -> None:
    """Not below the log, and not above it; origin and progress are the same, and a repeat changes
    nothing (G4, G10)."""
    made = await world(at(40_000), at(40_000))
    admin = await made.admin()
    made.broker.offsets = {0: 123, 1: 4}
    plan = await admin.epoch(NOW, "group")

    assert moved(plan) == {0: 123, 1: 15_000}
    assert [move.new.origin for move in plan.moves] == [123, 15_000]
    await admin.apply(plan)
    assert made.broker.offsets == {0: 123, 1: 15_000}
    assert moved(await admin.epoch(NOW, "group")) == {}

    admin = await made.admin()
    made.broker.offsets = {0: 99_999, 1: 4}
    with pytest.raises(OperatorError, match="cannot skip to 99999: the log ends at 45000"):
        await admin.epoch(NOW, "group")
    made.broker.offsets = {1: 4}
    with pytest.raises(OperatorError, match="has no offset in partition 0"):
        await admin.epoch(NOW, "group")


async def test_an_epoch_that_is_killed_on_its_way_to_the_groups_offsets_goes_on() -> None:
    """The group is moved last of the partitions: the same command finds its offsets (G10)."""
    for dies in (0, 1):
        made = await world(at(40_000), at(40_000))
        made.broker.offsets = {0: 123, 1: 16_000}
        made.broker.dies = dies
        admin = await made.admin()
        with pytest.raises(Died):
            await admin.apply(await admin.epoch(NOW, "group"))
        made.broker.dies = None
        admin = await made.admin()
        await admin.apply(await admin.epoch(NOW, "group"))
        assert [p and (p.epoch, p.next) for p in await made.stored()] == [(2, 123), (2, 16_000)]


async def test_a_lag_above_the_limit_is_an_error() -> None:
    """Of any partition; the worst is named."""
    statuses = await (await (await world(at(15_000), at(44_990))).admin()).partition_statuses()

    require_lag(statuses, 30_000)
    with pytest.raises(
        OperatorError, match="1 partitions lag by more than 10 offsets, partition 0"
    ):
        require_lag(statuses, 10)
