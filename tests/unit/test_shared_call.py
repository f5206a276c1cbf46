"""One call that many share."""

import asyncio

import pytest

from poste_restante.shared_call import SharedCall


class Calls:
    """A call that waits until it is let go. ended: it has let go of its connection."""

    def __init__(self) -> None:
        self.made = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.ended = 0

    async def call(self) -> int:
        self.made += 1
        try:
            await self.go.wait()
            if self.error is not None:
                raise self.error
            return self.made
        finally:
            await asyncio.sleep(0)
            self.ended += 1


@pytest.fixture
async def calls() -> Calls:
    return Calls()


async def waiting(shared: SharedCall[int], count: int) -> list["asyncio.Task[int]"]:
    tasks = [asyncio.create_task(shared.result()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_all_who_ask_share_one_call(calls: Calls) -> None:
    shared = SharedCall(calls.call)
    tasks = await waiting(shared, 3)
    under_way = [shared.is_under_way]
    calls.go.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert [*under_way, shared.is_under_way] == [True, False]
    assert await shared.result() == 2


async def test_all_who_ask_get_its_error(calls: Calls) -> None:
    shared = SharedCall(calls.call)
    tasks = await waiting(shared, 2)
    calls.error = OSError("away")
    calls.go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found == [calls.error, calls.error]


async def test_one_who_is_cancelled_leaves_the_call_to_the_others(calls: Calls) -> None:
    shared = SharedCall(calls.call)
    first, second = await waiting(shared, 2)
    first.cancel()
    await asyncio.sleep(0)
    calls.go.set()
    assert await second == 1


async def test_a_call_that_nobody_waits_for_is_ended_and_closing_waits_for_that(
    calls: Calls,
) -> None:
    shared = SharedCall(calls.call)
    (only,) = await waiting(shared, 1)
    await asyncio.sleep(0)  # the call has begun
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    assert calls.ended == 0
    await shared.close()
    assert (calls.made, calls.ended) == (1, 1)
    calls.go.set()
    assert await shared.result() == 2
