"""Delays between retries, and a count of callers that wait. Pure: randomness and clocks are
arguments."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.flush_waits import current_flush

#: Seconds at most of the first wait. A throttled partition of DynamoDB recovers in tens of
#: milliseconds (AWS SDKs begin their retries at 50 ms).
BACKOFF_FIRST_S = 0.05
#: Seconds at most of any wait, so that a recovered store is noticed soon.
BACKOFF_S_MAX = 5.0


def backoff_delays(
    random: Callable[[], float], *, first_s: float = BACKOFF_FIRST_S, s_max: float = BACKOFF_S_MAX
) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt, without end: full jitter.

    Each is uniform between 0 and a ceiling that doubles from `first_s` to `s_max`, so that waiting
    callers do not return together (AWS Architecture Blog, "Exponential Backoff And Jitter").
    random: uniform in [0, 1), as `random.random`.
    """
    ceiling_s = first_s
    while True:
        yield random() * ceiling_s
        ceiling_s = min(2 * ceiling_s, s_max)


class WaitTracker:
    """Counts the callers that wait for one service, so that their flushes do not count as stalled.

    clock: as `time.monotonic`, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: When each present wait began, the oldest first.
        self._since_s: dict[object, float] = {}

    @property
    def count(self) -> int:
        """Callers that wait now."""
        return len(self._since_s)

    @property
    def longest_s(self) -> float:
        """Seconds so far of the longest present wait; 0 without one."""
        since_s = next(iter(self._since_s.values()), None)
        return 0.0 if since_s is None else self._clock() - since_s

    @contextmanager
    def count_wait(self, until_s: float | None = None) -> Iterator[None]:
        """Count one caller while the block runs. until_s: see `FlushWaits.count_wait`."""
        wait = object()
        self._since_s[wait] = self._clock()
        try:
            with current_flush().count_wait(until_s):
                yield
        finally:
            del self._since_s[wait]
