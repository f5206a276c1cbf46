"""The write budget: what may begin when, and what it is for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from poste_restante.item import write_units
from tests.bundles import bundle_of
from tests.fake_table import InMemoryTable
from tests.faults import refusal
from tests.records import message
from tests.store_client import store_on
from worker.app import budget_of
from worker.backoff import WaitTracker
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.budget import SAVED_S_MAX, Bucket, WriteBudget
from worker.dynamodb.puts import consumed_units
from worker.settings import DynamoDBSettings, Settings

UNITS_PER_S = 100.0


class Time:
    """A clock that moves where somebody sleeps. passing: what happens every tenth of a second."""

    def __init__(self, passing: Callable[[], Awaitable[object]] | None = None) -> None:
        self.now_s = 1_000.0
        self.slept_s: list[float] = []
        self._passing = passing
        self._next = 10_001

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)
        self.slept_s.append(delay_s)
        self.now_s += delay_s
        while self._passing is not None and self._next / 10 <= self.now_s:
            self._next += 1
            await self._passing()


def budget(time: Time, **more: Any) -> WriteBudget:
    return WriteBudget(UNITS_PER_S, clock=time.clock, sleep=time.sleep, **more)


async def test_what_is_within_the_budget_does_not_wait() -> None:
    """Nor does a call that overdraws it: it may cost more than a second's units (G8)."""
    time = Time()
    units = budget(time)
    await units.reserve(5)
    await units.reserve(1_000)

    assert time.slept_s == []


async def test_what_is_overdrawn_is_earned_before_the_next_call() -> None:
    """To the unit, over time (G8)."""
    time = Time()
    units = budget(time)
    for _ in range(100):
        await units.reserve(25)

    assert time.now_s - 1_000 == pytest.approx(99 * 0.25 - SAVED_S_MAX)


async def test_what_was_consumed_counts_and_not_what_was_reserved() -> None:
    """An estimate is above; a call that was refused as a whole costs nothing (G8)."""
    time = Time()
    units = budget(time)
    for consumed in (30, 0, 60):
        await units.reserve(50)
        units.settle(50, consumed)
    await units.reserve(1)

    assert time.slept_s == pytest.approx([0.20, 0.60])


async def test_no_more_than_a_moment_is_saved_up() -> None:
    """An idle night is no licence for a burst (G8)."""
    time = Time()
    units = budget(time)
    await time.sleep(10_000)
    await units.reserve(UNITS_PER_S * SAVED_S_MAX + 1)
    await units.reserve(1)

    assert time.slept_s[1:] == pytest.approx([1 / UNITS_PER_S])


async def test_calls_begin_in_the_order_they_came_and_count_as_waiting() -> None:
    """What waits for the budget is no stall; one who is cancelled spends nothing (G8)."""
    begun: list[int] = []
    waiting, opened = asyncio.Event(), asyncio.Event()
    wait_tracker = WaitTracker()
    now_s = 0.0

    async def sleep(delay_s: float) -> None:
        nonlocal now_s
        waiting.set()
        await opened.wait()
        now_s += delay_s

    units = WriteBudget(UNITS_PER_S, wait_tracker=wait_tracker, clock=lambda: now_s, sleep=sleep)

    async def call(number: int) -> None:
        await units.reserve(200)
        begun.append(number)

    calls = [asyncio.create_task(call(number)) for number in range(4)]
    async with asyncio.timeout(30):
        await waiting.wait()
    assert wait_tracker.count
    calls[1].cancel()
    opened.set()
    await asyncio.wait(calls)

    assert begun == [0, 2, 3]
    assert sum(each.cancelled() for each in calls) == 1
    assert now_s == pytest.approx(2 * 200 / UNITS_PER_S - SAVED_S_MAX)


async def test_progress_is_not_held_up() -> None:
    """What waits for the budget holds no call's place, and progress costs none of it (G1, G8)."""
    waiting, opened = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await opened.wait()

    table = InMemoryTable()
    store = store_on(table, calls_in_flight_max=1)
    units = WriteBudget(1, wait_tracker=store.wait_tracker, clock=lambda: 0.0, sleep=sleep)
    backlog = [bundle_of(message(n, f"user-{n}")) for n in range(50)]
    flush = asyncio.create_task(DynamoDBWriter(store, "mailboxes", units).write(backlog))
    async with asyncio.timeout(30):
        await waiting.wait()
        progress = {"user_id": {"S": "!progress/t/0"}, "position": {"S": "!"}}
        await store.put_item(TableName="mailboxes", Item=progress)

    assert len(table.items) == 25 + 1
    assert store.wait_tracker.count
    flush.cancel()
    await asyncio.wait({flush})
    assert store.wait_tracker.count == 0


async def test_a_worker_that_is_held_to_its_budget_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once a minute, or an operator would look for the fault elsewhere (G8)."""
    time = Time()
    units = budget(time)
    with caplog.at_level(logging.INFO):
        for _ in range(70):
            await units.reserve(100)

    assert [each.getMessage() for each in caplog.records] == [
        "dynamodb.write_units_per_s_max = 100 limits the writes"
    ] * 2


@pytest.mark.parametrize(
    ("answer", "units"),
    [
        ({"ConsumedCapacity": [{"TableName": "t", "CapacityUnits": 7.0}]}, 7.0),
        ({"ConsumedCapacity": []}, None),
        ({"ConsumedCapacity": [{"TableName": "t"}]}, None),
        ({"ConsumedCapacity": None}, None),
        ({}, None),
    ],
)
def test_the_consumed_units_are_those_that_the_answer_states(
    answer: Any, units: float | None
) -> None:
    """None is said of an answer that does not count (G8)."""
    assert consumed_units(answer) == units


async def test_a_call_whose_answer_does_not_count_costs_its_estimate() -> None:
    """A store that does not count is no reason to write without limit (G8)."""

    class Uncounted(InMemoryTable):
        async def batch_write_item(self, **arguments: Any) -> Any:
            answer = await super().batch_write_item(**arguments)
            return {"UnprocessedItems": answer["UnprocessedItems"]}

    time = Time()
    units = WriteBudget(UNITS_PER_S, clock=time.clock, sleep=time.sleep)
    writer = DynamoDBWriter(store_on(Uncounted()), "mailboxes", units)
    burst = [bundle_of(message(n, f"user-{n}")) for n in range(25)]
    for _ in range(5):
        await writer.write(burst)

    assert time.now_s - 1_000 == pytest.approx(4 * 25 / UNITS_PER_S - SAVED_S_MAX, abs=0.02)


def test_an_item_costs_a_unit_per_kb() -> None:
    """Rounded up (G8)."""
    assert [write_units(size) for size in (0, 1, 1024, 1025, 400_000)] == [1, 1, 1, 2, 391]


class LimitedTable(InMemoryTable):
    """A table of so many write units a second, whoever asks: what is above is refused."""

    def __init__(self, units_per_s: int) -> None:
        super().__init__()
        self.units_per_s = units_per_s
        self.time = Time(self.acknowledge)
        self.units: dict[int, float] = {}
        self.asked: list[str] = []
        self.refused = 0

    def spend(self, units: float) -> None:
        second = int(self.time.now_s)
        if self.units.get(second, 0.0) + units > self.units_per_s:
            raise refusal("ProvisionedThroughputExceededException", "the rate")
        self.units[second] = self.units.get(second, 0.0) + units

    async def batch_write_item(self, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments.get("ReturnConsumedCapacity", ""))
        self.spend(sum(map(len, arguments["RequestItems"].values())))
        return await super().batch_write_item(**arguments)

    async def acknowledge(self) -> None:
        """Ten gateways' acknowledgements, a unit each."""
        for _ in range(10):
            try:
                self.spend(1)
            except Exception:
                self.refused += 1


async def catch_up(units_per_s_max: float | None) -> LimitedTable:
    """An outage's backlog of 5,000 mailboxes, onto a table of 1,000 units a second."""
    table = LimitedTable(1_000)
    time = table.time
    store = store_on(table, sleep=time.sleep, random=lambda: 0.5, clock=time.clock)
    limit = None
    if units_per_s_max is not None:
        limit = WriteBudget(units_per_s_max, clock=time.clock, sleep=time.sleep)
    backlog = [bundle_of(message(n, f"user-{n}")) for n in range(5_000)]
    assert await DynamoDBWriter(store, "mailboxes", limit).write(backlog) == []
    assert len(table.items) == len(backlog)
    return table


async def test_a_catch_up_within_its_budget_leaves_acknowledgements_their_room() -> None:
    """None of a hundred a second is refused; without a budget many are, and with one the backlog
    takes as long as it must (G7, G8)."""
    held = await catch_up(700)
    free = await catch_up(None)

    assert held.refused == 0
    assert free.refused > 20
    assert held.time.now_s - 1_000 == pytest.approx(5_000 / 700, abs=0.2)
    assert set(held.asked) == {"TOTAL"}
    assert set(free.asked) == {""}


async def test_without_the_setting_there_is_no_budget() -> None:
    """And no answer is asked for its capacity (G8)."""
    held = Settings(dynamodb=DynamoDBSettings(write_units_per_s_max=5))

    assert budget_of(Settings(), WaitTracker()) is None
    assert isinstance(budget_of(held, WaitTracker()), WriteBudget)


def test_what_is_given_back_is_saved_no_further_than_what_is_earned() -> None:
    """Calls that were refused, or cost less than estimated, are no credit for a burst (G8)."""
    bucket = Bucket(UNITS_PER_S, 0.0)
    bucket.spend(-1_000)
    bucket.spend(SAVED_S_MAX * UNITS_PER_S + 50)

    assert bucket.delay_s(0.0) == pytest.approx(0.5)
