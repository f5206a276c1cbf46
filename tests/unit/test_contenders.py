"""The contenders' loads, the judging of what they wrote, and the tables made of their figures."""

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any
from urllib.request import Request, urlopen

import pytest

from benchmarks.contenders.arrived import MESSAGES, Arrivals, CountingArrivals, places
from benchmarks.contenders.loads import LOADS, Sent, folded
from benchmarks.contenders.page import PICTURES, TABLES
from benchmarks.contenders.part import RESIDENT_MB_MAX, insist_on_bounded, least, one_in_each
from benchmarks.contenders.running import Run, judge, row
from benchmarks.contenders.scenarios import BASE, FETCHERS, START, WRITERS, full, small
from benchmarks.contenders.stores import Written
from benchmarks.instant import Counting, listen
from benchmarks.plain import position
from benchmarks.users import DAY_S, Day
from poste_restante.item import encode_bundle
from tests.records import message

#: Seconds without a message of a user after which the next begins a burst: ten mean gaps.
APART_S = 100.0


@pytest.mark.parametrize("load", LOADS)
def test_a_load_is_the_same_every_time(load: str) -> None:
    """From its seed, so that contenders and runs are compared on one topic."""
    first, second = (list(LOADS[load](3_000, 1_000)) for _ in range(2))

    assert len(first) == 3_000
    assert first == second


@pytest.mark.parametrize("partitions", [1, 4, 32])
def test_a_user_is_always_in_one_partition(partitions: int) -> None:
    """Else no mailbox would be read in order (G3)."""
    of_user: dict[bytes, set[int]] = defaultdict(set)
    for sent in LOADS["a day of few"](10_000, 0):
        of_user[sent.user].add(sent.partition(partitions))

    assert {len(found) for found in of_user.values()} == {1}
    assert set.union(*of_user.values()) == set(range(partitions))


def test_the_day_has_the_bursts_that_are_said() -> None:
    """Messages of a burst, seconds between two, and bodies: those of `Day`, the one truth."""
    day = Day()
    times: dict[bytes, list[float]] = defaultdict(list)
    sizes = []
    for at_s, sent in folded(40_000, DAY_S):
        times[sent.user].append(at_s)
        sizes.append(sent.body_bytes)
    bursts, gaps = 0, []
    for own in times.values():
        after = [b - a for a, b in pairwise(own)]
        bursts += 1 + sum(gap > APART_S for gap in after)
        gaps += [gap for gap in after if gap <= APART_S]

    assert len(sizes) / bursts == pytest.approx(day.burst_messages, rel=0.1)
    assert fmean(gaps) == pytest.approx(day.burst_gap_s, rel=0.2)
    assert sorted(sizes)[len(sizes) // 2] == pytest.approx(day.body_bytes, rel=0.05)


def test_a_folded_load_is_in_the_order_of_sending() -> None:
    """All spans lie over each other, within one; and many are at work at once."""
    found = folded(20_000, 10.0)

    assert [at for at, _ in found] == sorted(at for at, _ in found)
    assert found[-1][0] < 10.0
    per_user = Counter(sent.user for _, sent in found)
    assert fmean(per_user.values()) < Day().burst_messages


def test_the_shorter_the_span_the_more_users() -> None:
    """The same messages of a day and of seconds: a batch of the latter meets a user once."""
    few = len({sent.user for sent in LOADS["a day of few"](20_000, 0)})
    many = len({sent.user for sent in LOADS["seconds of many"](20_000, 0)})

    assert many > 5 * few


def test_the_start_is_measured_with_a_message_in_each_partition() -> None:
    """So that its end is the same for all: everything is committed."""
    found = one_in_each(START.partitions, START.body_bytes)

    assert [sent.partition(4) for sent in sorted(found, key=lambda s: s.partition(4))] == [
        0, 1, 2, 3,
    ]  # fmt: skip
    assert START.records == len(found)


def single(partition: int, offset: int) -> dict[str, Any]:
    return {
        "user_id": {"S": "bob"}, "position": {"S": position(partition, offset)},
        "body": {"B": "eA=="},
    }  # fmt: skip


def bundle(*offsets: int) -> dict[str, Any]:
    """As a call carries it: what is not its messages' offsets does not matter here."""
    item = encode_bundle([message(offset) for offset in offsets], "undelivered-messages")
    found: dict[str, Any] = json.loads(json.dumps(item, default=lambda _: "eA=="))
    return found


def test_messages_are_found_in_items_and_in_bundles() -> None:
    """Whoever wrote them, by partition and offset."""
    partition = message(7).position.partition

    assert list(places(single(3, 42))) == [(3, 42)]
    assert list(places(bundle(7, 9, 12))) == [(partition, 7), (partition, 9), (partition, 12)]


def test_a_message_that_comes_twice_counts_once() -> None:
    """A replay is not work that was done for another message."""
    arrivals = Arrivals()
    arrivals.add([single(0, 1), single(0, 1), single(1, 1), bundle(5_000, 5_001)])

    assert (arrivals.messages, arrivals.again) == (4, 1)


def test_the_endpoint_tells_of_messages_and_forgets_them_when_asked() -> None:
    """A contender is not counted for what the one before it wrote."""
    counting = CountingArrivals()
    call = {"RequestItems": {"t": [{"PutRequest": {"Item": single(0, n)}} for n in range(3)]}}

    counting.add("BatchWriteItem", json.dumps(call).encode())
    counting.add("UpdateItem", b"{}")
    found = json.loads(counting.encode())
    assert found[MESSAGES]["messages"] == found["BatchWriteItem"]["items"] == 3
    assert found["BatchWriteItem"]["write_units"] == 3
    assert found["UpdateItem"]["write_units"] == 1

    counting.clear()
    found = json.loads(counting.encode())
    assert found == {MESSAGES: {"messages": 0, "again": 0, "seconds": 0.0}}


async def test_all_but_the_writes_is_answered_behind_the_instant_endpoint() -> None:
    """So a worker finds its table and its progress; and what it asks there is counted too."""
    behind, front = Counting(), CountingArrivals()
    there, address_there = await listen(behind)
    here, address = await listen(front, behind=address_there)

    def ask(operation: str) -> Any:
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        with urlopen(Request(address, b'{"RequestItems":{}}', headers), timeout=5) as answer:
            return json.load(answer)

    async with there, here:
        assert (await asyncio.to_thread(ask, "Query"))["Count"] == 0
        assert await asyncio.to_thread(ask, "BatchWriteItem") == {"UnprocessedItems": {}}
        await asyncio.to_thread(ask, "Query")

    assert {name: each.calls for name, each in behind.by_operation.items()} == {"Query": 2}
    assert {name: each.calls for name, each in front.by_operation.items()} == {
        "Query": 2, "BatchWriteItem": 1,
    }  # fmt: skip


@pytest.mark.parametrize("written", [999, 1_001])
def test_who_commits_what_was_not_written_is_not_counted(written: int) -> None:
    """Nor who writes what was not sent."""
    judge("plain", Written(messages=1_000, again=50), 1_000)
    with pytest.raises(RuntimeError, match=f"plain committed 1000 messages and wrote {written}"):
        judge("plain", Written(messages=written, again=50), 1_000)


def test_the_start_of_each_process_is_taken_off() -> None:
    """Since it is constant, it would flatter whoever has more to do."""
    start = Run(cpu_s=1.0, resident_mb=80.0, written=Written(messages=4))
    found = Run(
        cpu_s=3.0, resident_mb=90.0,
        written=Written(messages=1_000, seconds=0.5, calls=40, write_units=2_000),
    )  # fmt: skip

    other = replace(found, cpu_s=4.0)
    assert row(found, start, 2, 1_000, [other, found]) == {
        "cpu_us_per_message": 1000.0, "cpu_us_per_message_rounds": [2000.0, 1000.0], "cpu_s": 3.0,
        "write_units_per_1000": 2000.0, "calls_per_1000": 40.0, "again": 0, "messages_per_s": 2000,
        "resident_mb": 90.0,
    }  # fmt: skip


def test_what_nobody_counts_is_no_figure() -> None:
    """On DynamoDB Local: a zero would be one."""
    found = Run(cpu_s=3.0, resident_mb=90.0, written=Written(messages=1_000, counted=False))
    figures = row(found, None, 1, 1_000, [found])

    assert figures["write_units_per_1000"] is figures["calls_per_1000"] is None


def run_of(resident_mb: float) -> Run:
    return Run(cpu_s=1.0, resident_mb=resident_mb, written=Written(messages=1))


def test_memory_that_grows_with_the_backlog_fails_the_run() -> None:
    """Bounded memory is promised (G8), whoever looks at the figures."""
    insist_on_bounded(run_of(RESIDENT_MB_MAX), run_of(RESIDENT_MB_MAX))
    with pytest.raises(RuntimeError, match="301 MB: the limit is 300"):
        insist_on_bounded(run_of(RESIDENT_MB_MAX + 1), run_of(RESIDENT_MB_MAX))
    insist_on_bounded(run_of(114), run_of(100))
    with pytest.raises(RuntimeError, match="116 MB: the limit is 115"):
        insist_on_bounded(run_of(116), run_of(100))


def test_of_some_rounds_the_one_of_least_processor_time_counts() -> None:
    """What disturbs a round only adds."""
    runs = [replace(run_of(100), cpu_s=cpu_s) for cpu_s in (3.0, 2.0, 4.0)]

    assert least(runs) is runs[1]


def test_a_scenario_differs_from_the_base_in_one_thing() -> None:
    """Else its figures could not be laid to it. DynamoDB Local bears fewer records, too."""
    for scenario in full():
        differs = {
            name for name in ("load", "records", "body_bytes", "partitions", "processes", "local")
            if getattr(scenario, name) != getattr(BASE, name)
        }  # fmt: skip
        assert len(differs) <= 1 or differs == {"records", "local"} or scenario == START
    assert START.load not in LOADS
    assert len(list(small())) == 2


def figures(cpu: float, **more: Any) -> dict[str, Any]:
    base = {
        "load": BASE.load, "records": BASE.records, "body_bytes": BASE.body_bytes,
        "partitions": BASE.partitions, "processes": 1, "local": False, "rounds": 1,
        "cpu_us_per_message": cpu, "cpu_s": 2.0, "write_units_per_1000": 20 * cpu,
        "calls_per_1000": 40.0, "again": 0, "messages_per_s": None, "resident_mb": cpu,
    }  # fmt: skip
    return {**base, **more}


def found() -> dict[str, Any]:
    """A worker at half of the plain script, and another load and size."""
    rows = [figures(9.0, load=START.load, contender="worker", cpu_s=1.25)]
    rows += [figures(10.0, contender=name) for name in FETCHERS]
    for more in ({}, {"load": "Zipf"}, {"records": 1_000_000}, {"records": 20_000, "local": True}):
        cpu = 70.0 if "load" in more else 50.0
        rows += [figures(cpu * n, contender=name, **more) for n, name in enumerate(WRITERS, 1)]
    return {"base": {k: v for k, v in figures(0.0).items() if k != "rounds"}, "rows": rows}


def test_a_table_compares_with_the_plain_script_of_the_same_scenario() -> None:
    """The ratio is what two runs have in common."""
    table = TABLES["contenders_base"](found()).splitlines()

    assert "| worker | 1,000 | 0.50 | 40 | 50 | 0.50 | - | 50 | 1 | 0.50 | 1.25 |" in table
    assert "| plain | 2,000 | 1.00 | 40 | 100 | 1.00 | - | 100 | 1 | 1.00 | in its CPU |" in table
    assert len(table) == 2 + len(WRITERS) + len(FETCHERS)


def test_a_table_varies_its_own_factor_alone() -> None:
    """And the base is in each of them."""
    loads = TABLES["contenders_loads"](found()).splitlines()[2:]
    assert "| Zipf | worker | 1,400 | 0.50 | 40 | 70 | 0.50 | - | 70 | 1 |" in loads
    assert [line.split(" | ")[0] for line in loads] == ["| each to another"] * 4 + ["| Zipf"] * 4
    assert len(TABLES["contenders_bodies"](found()).splitlines()) == 2 + 4
    assert len(TABLES["contenders_local"](found()).splitlines()) == 2 + 4
    growth = TABLES["contenders_growth"](found()).splitlines()
    assert "| worker | 1,000,000 | 50 | 1.00 | 50 | 1.00 | 1,000 | 40 | - | 1 |" in growth


def test_a_table_says_how_many_rounds_there_were_and_how_they_differ() -> None:
    """As far as it is known: files of before have the least alone."""
    given = found()
    for each in given["rows"]:
        if each["load"] == "Zipf":
            each |= {"rounds": 2}
        if each["records"] == 20_000:
            each |= {"rounds": 3, "cpu_us_per_message_rounds": [52.0, 50.0, 61.0]}
            each |= {"write_units_per_1000": None, "messages_per_s": 1_000 * each["resident_mb"]}

    loads = TABLES["contenders_loads"](given).splitlines()
    assert "| Zipf | worker | 1,400 | 0.50 | 40 | 70 | 0.50 | - | 70 | 2 |" in loads
    local = TABLES["contenders_local"](given).splitlines()
    assert local[0].startswith("| contender | CPU, µs a message | of plain | messages/s | of plain")
    assert "| worker | 50 | 0.50 | 50,000 | 0.50 | 50 | 3: 50 to 61 |" in local


def test_what_was_not_counted_is_a_dash() -> None:
    """And no ratio is made of it."""
    given = found()
    for each in given["rows"]:
        if each["contender"] == "worker":
            each |= {"write_units_per_1000": None, "calls_per_1000": None}

    table = TABLES["contenders_base"](given).splitlines()
    assert "| worker | - | - | - | 50 | 0.50 | - | 50 | 1 | 0.50 | 1.25 |" in table


@pytest.mark.parametrize("file", PICTURES)
def test_a_picture_has_every_writer(file: str) -> None:
    """By name, whoever looks at it."""
    drawn = PICTURES[file](found())

    assert all(f"{name}</text>" in drawn for name in WRITERS)


def test_a_body_has_its_size() -> None:
    """What is varied is what is sent; and two bodies are not the same."""
    sent = Sent(b"bob", 1_000)

    assert len(sent.body(7)) == 1_000
    assert sent.body(7) != sent.body(8)
