"""How long to wait before asking again, and who waits. Pure: the randomness is an argument."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.flush_waits import current_flush

#: Seconds: the first wait is at most this. A throttled partition of DynamoDB recovers in tens of
#: milliseconds (AWS SDKs begin their retries at 50 ms).
BACKOFF_FIRST_S = 0.05
#: Seconds: no wait is longer, so that a store that is back is noticed soon.
BACKOFF_S_MAX = 5.0


def backoff_delays(
    random: Callable[[], float], *, first_s: float = BACKOFF_FIRST_S, s_max: float = BACKOFF_S_MAX
) -> Iterator[float]:
    """Seconds to wait before each further attempt, without end: full jitter.

    Each is evenly distributed between 0 and a ceiling that doubles from `first_s` to `s_max`,
    so that many waiting callers do not come back together (AWS Architecture Blog, "Exponential
    Backoff And Jitter"). random: evenly distributed in [0, 1), as `random.random`.
    """
    ceiling_s = first_s
    while True:
        yield random() * ceiling_s
        ceiling_s = min(2 * ceiling_s, s_max)


class WaitTracker:
    """Who waits for something outside, the store or a broker: what stands still meanwhile is
    not dead."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def any(self) -> bool:
        return self._count > 0

    @contextmanager
    def one_more(self, until_s: float | None = None) -> Iterator[None]:
        """For as long as the caller waits. until_s: as of `FlushWaits.one_more`."""
        self._count += 1
        try:
            with current_flush().one_more(until_s):
                yield
        finally:
            self._count -= 1
