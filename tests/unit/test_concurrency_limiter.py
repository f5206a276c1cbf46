"""Turns: however many calls are made at once, few are under way, and the others wait in order."""

import asyncio
from typing import Any

import pytest

from poste_restante import store
from poste_restante.errors import StoreUnavailable
from poste_restante.mailboxes import CONNECTIONS, Mailboxes
from tests.fake_table import InMemoryTable
from tests.mailbox_table import RECORD, MailboxTable, offsets
from tests.records import message


class Crowded(InMemoryTable):
    """Counts the calls under way; each takes a few turns of the loop, or stands still."""

    in_flight = in_flight_max = made = 0
    still: asyncio.Event | None = None

    async def query(self, **arguments: Any) -> Any:
        return await self._under_way(super().query(**arguments))

    async def update_item(self, **arguments: Any) -> Any:
        return await self._under_way(super().update_item(**arguments))

    async def batch_write_item(self, **arguments: Any) -> Any:
        return await self._under_way(super().batch_write_item(**arguments))

    async def _under_way(self, call: Any) -> Any:
        self.made += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            if self.still is not None:
                await self.still.wait()
            return await call
        finally:
            call.close()
            self.in_flight -= 1


@pytest.fixture
async def crowded() -> Crowded:
    table = Crowded()
    mailbox_table = MailboxTable(table, "mailboxes")
    await mailbox_table.open(RECORD)
    await mailbox_table.deliver(message(7))
    return table


async def test_a_storm_of_reconnects_has_as_many_calls_under_way_as_connections(
    crowded: Crowded,
) -> None:
    """Each begins when it can be sent, so that no time-out runs out in a queue (G8)."""
    mailboxes = Mailboxes(crowded)

    async def reconnect(user: str) -> list[int]:
        page = await mailboxes.fetch(user)
        await mailboxes.ack(user, page.receipt)
        return offsets(page)

    found = await asyncio.gather(*(reconnect(f"user-{n}") for n in range(1_000)), reconnect("bob"))

    assert found == [[]] * 1_000 + [[7]]
    assert crowded.in_flight_max == CONNECTIONS


async def test_a_call_whose_turn_does_not_come_says_so(
    crowded: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for ever, and who has waited in vain leaves nothing behind (G8)."""
    monkeypatch.setattr(store, "SLOT_S_MAX", 0.01)
    mailboxes = Mailboxes(crowded, calls_in_flight_max=1)
    await mailboxes.fetch("bob")
    crowded.still = asyncio.Event()
    first = asyncio.create_task(mailboxes.fetch("bob"))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="no call slot"):
        await mailboxes.fetch("bob")
    crowded.still.set()

    assert offsets(await first) == offsets(await mailboxes.fetch("bob")) == [7]
    assert crowded.in_flight_max == 1


async def test_so_many_wait_and_no_more(crowded: Crowded, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused at once (G8)."""
    monkeypatch.setattr(store, "CALLS_WAITING_MAX", 3)
    mailboxes = Mailboxes(crowded, calls_in_flight_max=2)
    await mailboxes.fetch("bob")
    found = await asyncio.gather(
        *(mailboxes.fetch("bob") for _ in range(9)), return_exceptions=True
    )

    served = [offsets(page) for page in found[:5] if not isinstance(page, BaseException)]
    assert served == [[7]] * 5
    assert all(isinstance(error, StoreUnavailable) for error in found[5:])


async def test_one_who_is_cancelled_gives_up_the_turn(crowded: Crowded) -> None:
    """Whether it was waited for or had come (G8)."""
    mailboxes = Mailboxes(crowded, calls_in_flight_max=1)
    await mailboxes.fetch("bob")
    crowded.still = asyncio.Event()
    tasks = [asyncio.create_task(mailboxes.fetch("bob")) for _ in range(4)]
    for _ in range(5):
        await asyncio.sleep(0)
    for task in tasks[:3]:  # one under way, two that wait
        task.cancel()
    crowded.still.set()

    assert offsets(await tasks[3]) == [7]
    assert offsets(await mailboxes.fetch("bob")) == [7]
    assert await asyncio.gather(*tasks[:3], return_exceptions=True) != []
    assert all(task.cancelled() for task in tasks[:3])


async def test_whose_turn_came_no_longer_counts_as_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a process that had many to serve would one day serve nobody (G8)."""
    monkeypatch.setattr(store, "CALLS_WAITING_MAX", 1)
    slots = store.ConcurrencyLimiter(1)

    async def take() -> None:
        async with slots.slot():
            pass

    for _ in range(3):
        async with slots.slot():
            waiting = asyncio.create_task(take())
            await asyncio.sleep(0)
        await waiting
