"""What the benchmark of units rests on: its cuts are the worker's, its sums are those counted."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from benchmarks.loads import batches, one_hot_user
from benchmarks.units import costs, drained, lean_bytes
from benchmarks.units.day import History, Played, history, play, written
from benchmarks.units.flush_boundaries import Cut, Partition, cuts, ticks_per_s
from benchmarks.units.rivals import Rival, lean_item, play_rival
from benchmarks.units.table import TTL_LAG_S, Counted, CountedTable
from benchmarks.users import DAY_S, Day, Way
from poste_restante.item import Item, item_bytes
from tests.fake_table import InMemoryTable
from tests.records import MadeRecord
from worker.assignment import Assignment, BatchLimits
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
    task = assignment.open(0, 0, STORED)
    found, now_s, durable_s, due_s = [], 0.0, 0.0, 0.0
    while now_s < until_s:
        there = sum(at <= now_s + 1e-9 for at, _, _ in log)
        if 0 in assignment.partitions_to_fetch(now_s) and task.fetched < there:
            end = min(there, task.fetched + limits.records_max - len(task.waiting))
            records = [record for _, record, _ in log[task.fetched : end]]
            assignment.add(0, records, caught_up=end == there)
            if end == there and limits.linger_s:
                assignment.linger({0}, now_s)
                due_s = now_s + limits.linger_s
        for batch in assignment.cut():
            indexes = [ours[r.offset] for r in batch.records if r.offset in ours]
            if indexes:
                found.append(Cut(now_s, indexes[0], indexes[-1] + 1))
            batch.__enter__()
            durable_s = now_s + partition.flush_s
        later = [at for at, _, _ in log if at > now_s + 1e-9]
        waits = [later[0] if later else until_s]
        if task.in_work is not None:
            waits.append(durable_s)
        if due_s > now_s:
            waits.append(due_s)
        now_s = min(waits)
        if task.in_work is not None and now_s >= durable_s - 1e-9:
            task.in_work.__exit__(None, None, None)
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


@pytest.fixture(scope="module")
def prompt(past: History) -> dict[Way, Played]:
    """Without a linger, read in each way."""
    flushed = asyncio.run(written(past, Partition(per_s=100.0)))
    return {way: asyncio.run(play(past, flushed, way)) for way in Way}


def test_each_way_pays_for_what_it_does_and_for_nothing_else(prompt: dict[Way, Played]) -> None:
    """Bundles alike; an acknowledgement of one unit; deletes of what was written (G7)."""
    acks, keeps, deletes = (prompt[way].counted for way in Way)

    assert acks.bundle_units == keeps.bundle_units == deletes.bundle_units > 50
    assert keeps.ack_units == 0 < acks.ack_units == deletes.ack_units
    assert acks.delete_units == keeps.delete_units == 0
    assert deletes.delete_units == pytest.approx(deletes.bundle_units, rel=0.35)
    # Two Queries a reconnect while leftovers stand in front; deleted ones do not.
    for way in (Way.ACKNOWLEDGE, Way.KEEP_RECEIPT):
        assert 1.8 < prompt[way].counted.queries / prompt[way].returns < 2.1
    assert acks.stored_byte_s == keeps.stored_byte_s > 3 * deletes.stored_byte_s


def test_what_is_left_to_ttl_is_stored_until_then(past: History, prompt: dict[Way, Played]) -> None:
    """Each bundle of the counted days, with its index: retention, and TTL's lag (G8)."""
    counted = [one for one in past.sent if past.counts(one.at_s)]
    size = sum(one.body_bytes for one in counted) / len(counted) + 143 + 100

    stored = prompt[Way.ACKNOWLEDGE].counted.stored_byte_s / len(counted)
    assert stored == pytest.approx(size * (30 * DAY_S + TTL_LAG_S), rel=0.02)


async def test_a_linger_saves_and_freshness_pays(past: History, prompt: dict[Way, Played]) -> None:
    """It lowers what is written and stored, and never holds a message longer (G8)."""
    at_once = await written(past, Partition(per_s=100.0))
    lingering = await written(past, Partition(per_s=100.0, linger_s=60.0))
    together = await play(past, lingering)

    before, after = (costs(one) for one in (prompt[Way.ACKNOWLEDGE], together))
    assert after["write"] < 0.8 * before["write"]
    assert after["store"] < before["store"]
    assert after["all"] == pytest.approx(after["write"] + after["read"] + after["store"])
    assert at_once.wait_s(99) < 0.05
    assert 30 < max(lingering.waits_s) <= 60.1


def test_an_item_per_message_pays_for_what_it_does(past: History) -> None:
    """Nothing is added to what it pays: no progress; a cursor only where it has one (G8)."""
    found = {rival: play_rival(past, rival) for rival in Rival}
    deleted, cursor, client = (found[rival].counted for rival in Rival)

    assert deleted.bundles == cursor.bundles == client.bundles == past.messages
    assert deleted.ack_units == client.ack_units == 0 < cursor.ack_units
    assert 0.5 * deleted.bundle_units < deleted.delete_units < 1.5 * deleted.bundle_units
    assert cursor.delete_units == client.delete_units == 0
    returns = found[Rival.CURSOR].returns
    assert (deleted.queries, cursor.queries, client.queries) == (returns, 2 * returns, returns)
    assert client.stored_byte_s == cursor.stored_byte_s > 3 * deleted.stored_byte_s
    item = lean_item(past.sent[0]) | {"user_id": {"S": "u" * 15}}
    assert item_bytes(item) == lean_bytes(past.sent[0].body_bytes)


def test_dollars_are_units_by_their_prices() -> None:
    """Of a million messages: a million of each unit, and a GB that is stored for a month."""
    month_s = 30 * DAY_S
    counted = Counted(bundle_units=1_000, read_units=1_000, queries=3, stored_byte_s=1e6 * month_s)
    found = costs(Played(counted, messages=1_000, returns=2))

    assert (found["write"], found["read"]) == (0.625, 0.125)
    assert found["store"] == pytest.approx(0.25)  # 1,000 bytes of each message


async def test_backlog_is_drained_and_counted() -> None:
    """Each page is acknowledged once (G6, G7)."""
    counted = await drained(batches(one_hot_user(250)), 100)

    assert counted.bundles == counted.ack_units == 3
    assert counted.progress_units == 1  # of its one partition


@pytest.mark.parametrize("limit", [None, 1, 3])
async def test_a_query_is_that_of_the_table_in_memory(limit: int | None) -> None:
    """Though it is handed only the items that it can reach (G7)."""
    counted, whole = CountedTable(), InMemoryTable("mailboxes")
    for n in range(40):
        item: Item = {"user_id": {"S": "bob"}, "position": {"S": f"{n:02}"},
                "body": {"B": b"x" * Random(n).randrange(150_000)},
                "expires_at": {"N": "1000"}}  # fmt: skip
        counted.put(item)
        whole.items["bob", f"{n:02}"] = item
    for low in ("", "07", "20"):
        arguments: dict[str, Any] = {
            "TableName": "mailboxes",
            "KeyConditionExpression": "user_id = :user AND #position > :key",
            "ExpressionAttributeNames": {"#position": "position"},
            "ExpressionAttributeValues": {":user": {"S": "bob"}, ":key": {"S": low}},
            **({} if limit is None else {"Limit": limit}),
        }
        while True:
            found, wanted = await counted.query(**arguments), await whole.query(**arguments)
            assert found == wanted
            if "LastEvaluatedKey" not in found:
                break
            arguments["ExclusiveStartKey"] = found["LastEvaluatedKey"]


async def test_a_delete_gives_back_what_storage_would_have_cost() -> None:
    """From then on; it costs what the write cost (G8)."""
    table = CountedTable()
    key = {"user_id": {"S": "bob"}, "position": {"S": "1"}}
    table.put({**key, "expires_at": {"N": "1000"}})
    stored = table.counted.stored_byte_s
    table.now_s = (1_000 + TTL_LAG_S) / 4
    await table.batch_write_item(RequestItems={"mailboxes": [{"DeleteRequest": {"Key": key}}]})

    assert table.counted.stored_byte_s == pytest.approx(stored / 4)
    assert table.counted.delete_units == table.counted.bundle_units == 1


async def test_ttl_removes_an_item_a_day_after_its_expiry_for_nothing() -> None:
    table = CountedTable()
    key = {"user_id": {"S": "bob"}, "position": {"S": "1"}}
    table.put({**key, "expires_at": {"N": "1000"}})
    stored = table.counted.stored_byte_s
    table.now_s = 1_000.0 + TTL_LAG_S - 1
    assert "Item" in await table.get_item(TableName="mailboxes", Key=key)
    table.now_s += 1
    assert "Item" not in await table.get_item(TableName="mailboxes", Key=key)
    assert (table.counted.delete_units, table.counted.stored_byte_s) == (0, stored)


def test_what_is_played_is_its_seeds(past: History) -> None:
    """The figures can be had again (G8)."""
    again = history(Day(), 6, before_days=2, days=1.5)
    first, second = (
        asyncio.run(play(each, asyncio.run(written(each, Partition(per_s=100.0, linger_s=5.0)))))
        for each in (past, again)
    )

    assert first == second
