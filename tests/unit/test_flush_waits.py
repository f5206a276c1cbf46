"""What a flush waits for, and whether it can still end."""

import asyncio

import pytest

from tests.bundles import bundle_of
from tests.records import message
from tests.store_client import store_on
from worker.backoff import BACKOFF_FIRST_S, WaitTracker
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.budget import WriteBudget
from worker.flush_waits import REFUSED_S_MAX, FlushWaits


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def test_a_short_wait_does_not_count_a_flush_out() -> None:
    """A throttle that passes at once must not cost the flush that it held up (G8)."""
    clock = Clock()
    waits = FlushWaits(clock)
    with waits.count_wait():
        clock.now_s += BACKOFF_FIRST_S
        assert waits.can_end(clock.now_s, clock.now_s + 20)
        clock.now_s += REFUSED_S_MAX
        assert not waits.can_end(clock.now_s, clock.now_s + 20)
    assert waits.can_end(clock.now_s, clock.now_s + 20)


def test_a_flush_of_which_something_is_taken_goes_on() -> None:
    """A table that takes a part of what is asked lets a flush end (G8)."""
    clock = Clock()
    waits = FlushWaits(clock)
    with waits.count_wait(), waits.count_wait():
        for _ in range(10):
            clock.now_s += 0.9 * REFUSED_S_MAX
            waits.note_durable()
        assert waits.can_end(clock.now_s, clock.now_s + 20)


def test_a_wait_whose_end_is_known_counts_only_beyond_the_deadline() -> None:
    """A flush within the write budget ends by itself, if it fits (G8)."""
    clock = Clock()
    waits = FlushWaits(clock)
    with waits.count_wait(until_s=60.0), waits.count_wait(until_s=60.0):
        clock.now_s += 5
        assert waits.can_end(clock.now_s, 61.0)
        assert not waits.can_end(clock.now_s, 59.0)
    assert waits.can_end(clock.now_s, 0.0)


async def test_each_flush_has_its_own_waits() -> None:
    """In its task and in those that it starts; whoever waits for no flush counts for none (G8)."""
    clock, wait_tracker, opened = Clock(), WaitTracker(), asyncio.Event()
    throttled, other = FlushWaits(clock), FlushWaits(clock)

    async def wait() -> None:
        with wait_tracker.count_wait():
            await opened.wait()

    async def flush(waits: FlushWaits, *, waiting: bool) -> None:
        with waits.attribute_waits():
            if waiting:
                await asyncio.gather(wait(), wait())
            await opened.wait()

    tasks = [
        asyncio.create_task(flush(throttled, waiting=True)),
        asyncio.create_task(flush(other, waiting=False)),
        asyncio.create_task(wait()),
    ]
    await asyncio.sleep(0.01)
    clock.now_s += REFUSED_S_MAX

    assert not throttled.can_end(clock.now_s, clock.now_s + 20)
    assert other.can_end(clock.now_s, clock.now_s + 20)
    opened.set()
    await asyncio.gather(*tasks)
    assert throttled.can_end(clock.now_s, clock.now_s + 20)
    assert wait_tracker.count == 0


@pytest.mark.parametrize("takes", [True, False])
async def test_a_refused_mailbox_counts_its_flush_out_and_a_slow_table_does_not(
    *, takes: bool
) -> None:
    """By the writer and the store as they are: what a call takes is progress of its flush (G8)."""
    clock = Clock()
    waits = FlushWaits(clock)
    could_end: list[bool] = []

    class Client:
        async def batch_write_item(self, *, RequestItems: dict[str, list[object]]) -> object:  # noqa: N803
            clock.now_s += 0.4 * REFUSED_S_MAX
            could_end.append(waits.can_end(clock.now_s, clock.now_s + 20))
            requests = RequestItems["mailboxes"]
            left = requests[1:] if takes else requests
            return {"UnprocessedItems": {"mailboxes": left} if len(could_end) < 10 else {}}

    async def sleep(_: float) -> None:
        """No time passes but the client's."""

    writer = DynamoDBWriter(store_on(Client(), sleep=sleep, clock=clock), "mailboxes")
    with waits.attribute_waits():
        await writer.write([bundle_of(message(n, f"user-{n}")) for n in range(20)])

    assert all(could_end) is takes
    assert could_end[-1] is takes


async def test_the_budget_tells_when_a_call_may_begin() -> None:
    """What is queued before it and what is overdrawn have to be earned first (G8)."""
    clock = Clock()
    opened = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        await opened.wait()
        clock.now_s += delay_s

    budget = WriteBudget(100, clock=clock, sleep=sleep)
    waits = FlushWaits(clock)
    await budget.reserve(10 + 500)  # what is saved up, and five seconds' more
    with waits.attribute_waits():
        calls = [asyncio.create_task(budget.reserve(200)) for _ in range(3)]
        await asyncio.sleep(0.01)

    assert waits.can_end(clock.now_s, 50.0 + 5 + 2 + 2)
    assert not waits.can_end(clock.now_s, 50.0 + 5 + 2 + 1.9)
    opened.set()
    await asyncio.gather(*calls)
    assert waits.can_end(clock.now_s, 0.0)
