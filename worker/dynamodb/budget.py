"""A write budget: a limit of write units a second. Pure but for its waits.

After an outage a worker catches up as fast as DynamoDB lets it. A table that throttles refuses the
acknowledgements of gateways as well. The budget leaves them room.

A call reserves its estimated units and settles the consumed ones. A call begins while anything is
left, whatever it costs, and the next one waits until the overdraft is earned back. So even a call
above the budget of a second is made, and over time the rate is exact.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from worker.backoff import WaitTracker
from worker.logging_config import event

logger = logging.getLogger(__name__)

#: Seconds of budget that an idle worker saves up, so that its next call does not wait. No second
#: spends more than a tenth above the budget, and one call.
SAVED_S_MAX = 0.1
#: A shorter delay, in seconds, is not worth a wait: a timer is not that exact.
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
        """Return the seconds until the balance is positive; 0 where it is."""
        self._earn(now_s)
        delay_s = -self._units / self._units_per_s
        return delay_s if delay_s > _MOMENT_S else 0.0

    def spend(self, units: float) -> None:
        """Spend units; negative ones are given back. The balance may go below 0."""
        self._units = min(self._units - units, self._units_max)

    def _earn(self, now_s: float) -> None:
        earned = max(0.0, now_s - self._at_s) * self._units_per_s
        self._units = min(self._units + earned, self._units_max)
        self._at_s = now_s


class WriteBudget:
    """Lets calls begin in their order of arrival.

    wait_tracker: counts the waiting calls, so that the watchdog does not take them for a stall.
    clock, sleep: as `time.monotonic` and `asyncio.sleep`.
    """

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
        self._first_come = asyncio.Lock()
        self._queued = 0.0  # units of the waiting calls
        self._logged_at_s: float | None = None

    async def reserve(self, units: float) -> None:
        """Return when a call that is estimated at so many units may begin."""
        now_s = self._clock()
        until_s = now_s + self._bucket.delay_s(now_s) + self._queued / self._units_per_s
        self._queued += units
        try:
            with self._wait_tracker.count_wait(until_s):
                async with self._first_come:
                    while (delay_s := self._bucket.delay_s(self._clock())) > 0:
                        self._log_wait()
                        await self._sleep(delay_s)
                    self._bucket.spend(units)
        finally:
            self._queued -= units

    def settle(self, reserved: float, consumed: float) -> None:
        """Correct a reserved call to the units that it consumed."""
        self._bucket.spend(consumed - reserved)

    def _log_wait(self) -> None:
        now_s = self._clock()
        if self._logged_at_s is None or now_s - self._logged_at_s >= _LOG_EVERY_S:
            self._logged_at_s = now_s
            logger.info(
                "dynamodb.write_units_per_s_max = %g limits the writes", self._units_per_s,
                extra=event("write_budget_waiting", units_per_s_max=self._units_per_s),
            )  # fmt: skip
