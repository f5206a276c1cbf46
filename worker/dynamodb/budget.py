"""A write budget: so many write units a second, and what is above waits. Pure but for its waits.

After an outage a worker catches up as fast as the store takes it, and a table that throttles does
not ask whom: gateways' acknowledgements are refused as well. A budget leaves them room.

A call's units are reserved as estimated and settled as consumed. A call may begin while anything is
left, whatever it costs, and what it overdraws is earned back before the next: so a call larger
than a second's budget is made too, and over time the rate is kept to the unit.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from worker.backoff import WaitTracker
from worker.logging_config import event

logger = logging.getLogger(__name__)

#: Seconds of budget that are saved up at most: an idle worker's next call does not wait, and in no
#: second more is spent than a tenth above the budget, and one call.
SAVED_S_MAX = 0.1
#: Seconds that are not worth a wait: below what a timer can tell.
_MOMENT_S = 0.001
#: Seconds between two log lines about waiting for the budget.
_LOG_EVERY_S = 60.0


class Bucket:
    """The balance of a budget, in write units. Pure: times are arguments, in seconds."""

    def __init__(self, units_per_s: float, now_s: float) -> None:
        self._units_per_s = units_per_s
        self._units_max = units_per_s * SAVED_S_MAX
        self._units = self._units_max
        self._at_s = now_s

    def delay_s(self, now_s: float) -> float:
        """Seconds until something is left; 0: now."""
        self._earn(now_s)
        delay_s = -self._units / self._units_per_s
        return delay_s if delay_s > _MOMENT_S else 0.0

    def spend(self, units: float) -> None:
        """Spend units, or give them back; the balance may go below 0."""
        self._units = min(self._units - units, self._units_max)

    def _earn(self, now_s: float) -> None:
        earned = max(0.0, now_s - self._at_s) * self._units_per_s
        self._units = min(self._units + earned, self._units_max)
        self._at_s = now_s


class WriteBudget:
    """Lets calls begin in the order they came. wait_tracker: counts those that wait, who are no
    stall. clock, sleep: as `time.monotonic` and `asyncio.sleep`."""

    def __init__(
        self,
        units_per_s: float,
        *,
        wait_tracker: WaitTracker | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bucket = Bucket(units_per_s, clock())
        self._units_per_s = units_per_s
        self._wait_tracker = wait_tracker or WaitTracker()
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()  # first come, first served
        self._queued = 0.0  # units of the calls that wait
        self._said_at_s: float | None = None

    async def reserve(self, units: float) -> None:
        """Returns when a call that is estimated at so many units may begin."""
        now_s = self._clock()
        until_s = now_s + self._bucket.delay_s(now_s) + self._queued / self._units_per_s
        self._queued += units
        try:
            with self._wait_tracker.one_more(until_s):
                async with self._turn:
                    while (delay_s := self._bucket.delay_s(self._clock())) > 0:
                        self._say()
                        await self._sleep(delay_s)
                    self._bucket.spend(units)
        finally:
            self._queued -= units

    def settle(self, reserved: float, consumed: float) -> None:
        """What a reserved call has cost in the end."""
        self._bucket.spend(consumed - reserved)

    def _say(self) -> None:
        now_s = self._clock()
        if self._said_at_s is None or now_s - self._said_at_s >= _LOG_EVERY_S:
            self._said_at_s = now_s
            logger.info(
                "dynamodb.write_units_per_s_max = %g limits the writes", self._units_per_s,
                extra=event("write_budget_waiting", units_per_s_max=self._units_per_s),
            )  # fmt: skip


def consumed_units(answer: Mapping[str, Any], otherwise: float) -> float:
    """What a BatchWriteItem consumed, as its answer says; `otherwise` where it does not."""
    try:
        tables = [float(table["CapacityUnits"]) for table in answer["ConsumedCapacity"]]
    except (KeyError, TypeError, ValueError):
        return otherwise
    return sum(tables) if tables else otherwise
