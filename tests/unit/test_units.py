"""What the benchmark of units rests on: its cuts are the worker's, its sums are those counted."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from benchmarks.deletion import Cost, Day, at_once, play
from benchmarks.units import day as days
from benchmarks.units.borders import Cut, Partition, cuts, offsets, ticks_per_s
from benchmarks.units.day import History, history, item_per_message
from benchmarks.units.limits import drained
from benchmarks.units.measuring import Size, lean_bytes, seeds
from benchmarks.units.page import TABLES
from benchmarks.units.policies import bundled
from benchmarks.units.table import CountedTable
from benchmarks.workloads import one_hot_user
from poste_restante.item import item_bytes
from tests.records import MadeRecord
from worker.bundles import BundleLimits
from worker.lives import Assignment, BatchLimits
from worker.progress import Progress

STORED = Progress(table_id="t", epoch=1, next=0, origin=0, written_at_ms=0)


def assigned_cuts(arrivals: Sequence[float], partition: Partition, until_s: float) -> list[Cut]:
    """The cuts that the worker's own Assignment makes of a log that has every record."""
    others = [(n + 1) / partition.per_s for n in range(int(until_s * partition.per_s))]
    times = sorted([(at, -1) for at in others] + [(at, n) for n, at in enumerate(arrivals)])
    log = [(at, MadeRecord(offset=offset, partition=0), which)
           for offset, (at, which) in enumerate(times)]  # fmt: skip
    ours = {offset: which for offset, (_, _, which) in enumerate(log) if which >= 0}
    limits = BatchLimits(records_max=partition.records_max, linger_s=partition.linger_s)
    assignment = Assignment([0], limits=limits)
    life = assignment.open(0, 0, STORED)
    found, now_s, durable_s = [], 0.0, 0.0
    while now_s < until_s:
        there = sum(at <= now_s + 1e-9 for at, _, _ in log)
        if 0 in assignment.hungry(now_s) and life.fetched < there:
            end = min(there, life.fetched + limits.records_max - len(life.waiting))
            records = [record for _, record, _ in log[life.fetched : end]]
            assignment.add(0, records, caught_up=end == there)
        for batch in assignment.cut(now_s):
            indexes = [ours[r.offset] for r in batch.records if r.offset in ours]
            if indexes:
                found.append(Cut(now_s, indexes[0], indexes[-1] + 1))
            batch.__enter__()
            durable_s = now_s + partition.flush_s
        later = [at for at, _, _ in log if at > now_s + 1e-9]
        waits = [later[0] if later else until_s]
        if life.in_work is not None:
            waits.append(durable_s)
        if life.fetch_at_s > now_s:
            waits.append(life.fetch_at_s)
        now_s = min(waits)
        if life.in_work is not None and now_s >= durable_s - 1e-9:
            life.in_work.__exit__(None, None, None)
    return found


@pytest.mark.parametrize("linger_s", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("records_max", [7, 1_000])
async def test_a_partition_is_cut_as_the_worker_cuts_it(linger_s: float, records_max: int) -> None:
    """Records of each batch, on a log that has the others' records too (G8)."""
    chance = Random(3)
    arrivals = sorted(chance.uniform(1, 19) for _ in range(60))
    partition = Partition(per_s=12.0, linger_s=linger_s, flush_s=0.3, records_max=records_max)
    cut = list(cuts(arrivals, partition, Random(1)))
    assigned = assigned_cuts(arrivals, partition, until_s=24.0)

    # The two begin at another moment of a cycle: what is alike is how many share a batch.
    assert [one.first for one in cut] == [0, *(one.end for one in cut[:-1])]
    assert cut[-1].end == assigned[-1].end == len(arrivals)
    assert len(cut) == pytest.approx(len(assigned), rel=0.2)
    assert _waited(arrivals, cut) == pytest.approx(_waited(arrivals, assigned), rel=0.25)


def _waited(arrivals: Sequence[float], found: Sequence[Cut]) -> float:
    waits = [one.at_s - arrivals[n] for one in found for n in range(one.first, one.end)]
    assert min(waits) >= -1e-9
    return sum(waits) / len(waits)


def test_a_load_matters_by_what_gathers_in_a_flush_and_by_full_batches() -> None:
    """A busy partition's batch is full before a linger is over (G8)."""

    def together(per_s: float, linger_s: float, flush_s: float = 0.02) -> float:
        arrivals = [100.0 + n for n in range(20)]
        partition = Partition(per_s=per_s, linger_s=linger_s, flush_s=flush_s)
        return len(arrivals) / len(list(cuts(arrivals, partition, Random(1))))

    assert together(0, 0) == 1
    assert together(5_000, 0) == 1
    assert together(500, 0, flush_s=5.0) > 3
    assert together(100, 30) > 9
    assert together(2_500, 30) <= 3  # 5,000 records: 2 s
    assert together(0, 5) == pytest.approx(together(100, 5), rel=0.3)


def test_offsets_count_the_others() -> None:
    """A window is over as soon as in the partition's own log (G2)."""
    assert offsets([0.0, 1.0, 1.001], Partition(per_s=500)) == [0, 501, 502]


def test_progress_is_written_once_an_interval_and_no_more_than_batches_are() -> None:
    """A linger above the interval saves some of it (G8)."""
    assert ticks_per_s(Partition(per_s=100), 5.0) == pytest.approx(0.2, rel=0.02)
    assert ticks_per_s(Partition(per_s=100, linger_s=30), 5.0) == pytest.approx(1 / 30, rel=0.05)
    assert ticks_per_s(Partition(per_s=0.05), 5.0) == pytest.approx(0.05, rel=0.1)
    with pytest.raises(ValueError, match="no rate"):
        ticks_per_s(Partition(per_s=0), 5.0)


@pytest.fixture(scope="module")
def past() -> History:
    return history(Day(), 6, before_days=2, days=1.5)


def simulated(past: History, partition: Partition) -> Cost:
    return play(bundled(past, partition), at_once)


@pytest.mark.parametrize("linger_s", [0.0, 30.0])
async def test_the_simulation_of_deleting_at_once_is_what_the_real_pieces_cost(
    past: History, linger_s: float
) -> None:
    """Worker's flush, gateway's fetch and ack, unit by unit, within 3 % (G7)."""
    partition = Partition(per_s=100.0, linger_s=linger_s)
    played = await days.play(past, partition)
    cost, counted = simulated(past, partition), played.counted

    assert cost.messages == played.messages > 50
    assert cost.acks == counted.ack_units
    assert cost.fetches == counted.queries
    assert cost.writes == pytest.approx(counted.bundle_units, rel=0.03)
    assert cost.deletes == pytest.approx(counted.delete_units, rel=0.03)
    assert cost.reads == pytest.approx(counted.read_units, rel=0.03)


async def test_bundles_save_and_freshness_pays(past: History) -> None:
    """A linger lowers every sum but reads' rounding, and never holds a message longer (G8)."""
    prompt = await days.play(past, Partition(per_s=100.0))
    lingering = await days.play(past, Partition(per_s=100.0, linger_s=60.0))
    one_each = await days.play(past, Partition(per_s=100.0, linger_s=60.0), BundleLimits(1))

    assert lingering.counted.write_units < 0.8 * prompt.counted.write_units
    assert prompt.wait_s(99) < 0.05
    assert 30 < max(lingering.waits_s) <= 60.1
    assert one_each.counted.bundles == prompt.messages == one_each.messages
    assert item_per_message(past).messages == prompt.messages


def test_an_item_per_message_pays_for_each_put_and_delete(past: History) -> None:
    """Without acknowledgement or progress: nothing is added to what it pays (G8)."""
    rival = item_per_message(past).counted

    assert rival.bundles == item_per_message(past).messages
    assert rival.ack_units == rival.progress_units == 0
    assert 0.5 * rival.bundle_units < rival.delete_units < 1.5 * rival.bundle_units
    item = days.lean_item(past.sent[0]) | {"user_id": {"S": "u" * 15}}
    assert item_bytes(item) == lean_bytes(past.sent[0].body_bytes)


async def test_a_backlog_is_drained_and_counted() -> None:
    """What was written is deleted for as much, and each page is acknowledged once (G6, G8)."""
    found = await drained(one_hot_user(250), BundleLimits(100, 64 * 1024), 100)

    assert found.counted.bundles == 3
    assert found.counted.bundle_units == found.counted.delete_units
    assert found.counted.ack_units == 3
    assert found.counted.progress_units == 1  # of its one partition
    apart = await drained(one_hot_user(250), BundleLimits(100, 64 * 1024), 20, apart=True)
    assert apart.counted.read_units > 3 * found.counted.read_units
    assert apart.wave_bytes == found.wave_bytes


async def test_ttl_removes_for_nothing() -> None:
    """A day after the expiry, as `deletion` has it (G8)."""
    table = CountedTable()
    item = {"user_id": {"S": "bob"}, "position": {"S": "1"}, "expires_at": {"N": "1000"}}
    await table.put_item(TableName="mailboxes", Item=item)
    table.now_s = 1_000.0 + 86_399
    assert table.mailbox("bob").items
    table.now_s += 1
    assert not table.mailbox("bob").items
    assert table.counted.delete_units == 0


def test_what_is_played_is_its_seeds(past: History) -> None:
    """The figures can be had again (G8)."""
    again = history(Day(), 6, before_days=2, days=1.5)
    first, second = (
        asyncio.run(days.play(each, Partition(per_s=100.0, linger_s=5.0))) for each in (past, again)
    )

    assert first == second


def test_another_seed_is_other_users_of_whom_the_ratio_is_said() -> None:
    """Their days differ, and each is a row (G8)."""
    size = Size(users=6, before_days=1.0, days=1.0, seeds=(1, 2), seeds_lingers_s=(0.0, 30.0))
    rows = list(seeds(size))

    assert [(one["seed"], one["linger_s"]) for one in rows] == [
        (1, 0.0), (1, 30.0), (2, 0.0), (2, 30.0),
    ]  # fmt: skip
    assert rows[0]["messages"] != rows[2]["messages"]
    lines = TABLES["units_seeds"]({"users": size.users, "seeds": rows}).splitlines()[2:]
    ratios = [f"{one['ratio']:.2f}" for one in rows]
    assert [line.split(" | ")[3:5] for line in lines] == [ratios[:2], ratios[2:]]
    assert TABLES["units_seeds"]({}) == "Not measured yet.\n"


def test_the_rows_of_the_policies_add_up() -> None:
    """Of whole units, so that each may be off by half of one (G8)."""
    one = {"written": 775.4, "ack": 87.4, "delete": 596.4, "read": 62.4, "stored": 0.4,
           "all": 1522.0, "again_kb": 0.0}  # fmt: skip
    day = {"delete at once": one}
    table = TABLES["units_policies"]({"policies": {"realistic day": day, "light day": day}})

    *parts, total = (
        int(cell.replace(",", "")) for cell in table.splitlines()[-1].split(" | ")[1:7]
    )
    assert abs(sum(parts) - total) <= len(parts) / 2
