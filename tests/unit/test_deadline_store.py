"""A command's patience with a store."""

import asyncio
from typing import Any

import pytest

from tests.faults import refusal
from tests.store_client import kind_on, store_on
from worker.cli.deadline_store import DeadlineStore
from worker.errors import OperatorError

#: A table and a key.
WHERE: Any = ("mailboxes", {})


class Throttling:
    """Refuses every call but each `served`th."""

    def __init__(self, served: int) -> None:
        self.served = served
        self.calls = 0

    async def get_item(self, **_: Any) -> dict[str, Any]:
        self.calls += 1
        if self.served and self.calls % self.served == 0:
            return {"Item": {}}
        raise refusal("ThrottlingException")


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


async def test_a_command_does_not_wait_without_end() -> None:
    """Past the limit it says what it waited for, in one line (G8)."""
    store = kind_on(DeadlineStore, Throttling(served=0), sleep=_at_once)
    store.answer_s_max = 0.05
    with pytest.raises(OperatorError, match=r"does not answer \(get_item: throttled") as caught:
        await store.get_item(*WHERE)

    assert caught.value.exit_status == 1


async def test_a_store_that_hangs_is_not_waited_for_either() -> None:
    """A call that never returns is within the limit too (G8)."""

    class Silent:
        async def get_item(self, **_: Any) -> None:
            await asyncio.Event().wait()

    store = kind_on(DeadlineStore, Silent())
    store.answer_s_max = 0.05
    with pytest.raises(OperatorError, match=r"does not answer \(get_item: no answer"):
        await store.get_item(*WHERE)


async def test_every_call_has_the_limit_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long command is no impatient one: `init` waits for a table for longer than for an answer
    (G8)."""
    now_s = 0.0

    async def a_fifth_of_the_limit(_: float) -> None:
        nonlocal now_s
        now_s += store.answer_s_max / 5
        await asyncio.sleep(0)

    # A clock of its own: on a busy machine a call may really take as long as any limit.
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s)
    store = kind_on(DeadlineStore, Throttling(served=3), sleep=a_fifth_of_the_limit)
    while now_s < 2 * store.answer_s_max:
        assert await store.get_item(*WHERE) == {}


async def test_a_workers_store_waits_on() -> None:
    """Only a command is impatient: a worker's back-pressure reaches Kafka (G1)."""
    store = store_on(Throttling(served=1_000), sleep=_at_once)

    assert await store.get_item(*WHERE) == {}
