"""Calls that land late: after the retry of the same call was answered."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.fault_proxy.plans import Call
from tests.fault_proxy.wire import NoAnswer, Request

#: Seconds after which a held call lands, whether or not its retry has come: a client that has
#: given up sends none, and a batch may be sent again in another form.
LATE_S_MAX = 5.0
#: Further calls that a held call may let pass after its retry: what comes next is what it could
#: harm (the next flush, an acknowledgement, progress).
LATE_CALLS_MAX = 8


class Landing(StrEnum):
    """When a held call was made."""

    RETRIED = "after its retry"
    LIMIT = "at the limit"
    END = "at the end"
    AWAY = "never: DynamoDB was away"


@dataclass(eq=False)
class _Held:
    call: Call
    request: Request
    calls_left: int
    retried: bool = False
    limit: asyncio.TimerHandle | None = None


class LateCalls:
    """Those of one endpoint. landed: how many were made, and when."""

    def __init__(self, make: Callable[[Call, Request], Awaitable[object]]) -> None:
        self.landed: Counter[Landing] = Counter()
        self._make = make
        self._held: set[_Held] = set()
        self._landing: set[asyncio.Task[None]] = set()

    def hold(self, call: Call, request: Request, random: Random) -> None:
        """Takes a call. Half of them land as soon as their retry was answered."""
        calls = 0 if random.random() < 0.5 else random.randint(1, LATE_CALLS_MAX)
        held = _Held(call, request, calls)
        held.limit = asyncio.get_running_loop().call_later(LATE_S_MAX, self._at_limit, held)
        self._held.add(held)

    def answered(self, call: Call) -> None:
        """A call was made, and its answer, if it has one, is sent."""
        for held in sorted(self._held, key=lambda held: held.call.number):
            if not held.retried:
                same = held.call.operation == call.operation and held.call.raw == call.raw
                held.retried = same and held.call.number < call.number
            else:
                held.calls_left -= 1
            if held.retried and held.calls_left <= 0:
                self._land(held, Landing.RETRIED)

    def _at_limit(self, held: _Held) -> None:
        self._land(held, Landing.RETRIED if held.retried else Landing.LIMIT)

    def _land(self, held: _Held, when: Landing) -> None:
        self._held.discard(held)
        if held.limit is not None:
            held.limit.cancel()
        task = asyncio.ensure_future(self._make_now(held, when))
        self._landing.add(task)
        task.add_done_callback(self._landing.discard)

    async def _make_now(self, held: _Held, when: Landing) -> None:
        try:
            await self._make(held.call, held.request)
        except NoAnswer:
            when = Landing.AWAY
        self.landed[when] += 1

    async def flush(self) -> None:
        """All that is held is made now: a call that was taken is never dropped."""
        for held in sorted(self._held, key=lambda held: held.call.number):
            self._land(held, Landing.RETRIED if held.retried else Landing.END)
        await asyncio.gather(*self._landing)
