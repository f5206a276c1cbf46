"""What a flush waits for outside: the store, a broker, the write budget. Pure: times are arguments.

A drain asks it whether the flush can still end in time. Whoever waits on behalf of a flush does so
in that flush's task or in one that the task has started, so the flush is found by the context
(`contextvars`) and the ports need no argument for it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

#: Seconds without anything becoming durable until a flush that is being refused counts as one that
#: will not end. A table that throttles for a moment recovers in tens of milliseconds; within a
#: second a call has been refused about six times. A flush of which something is taken goes on.
REFUSED_S_MAX = 1.0


class FlushWaits:
    """The waits of one flush. clock: as `time.monotonic`, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused = 0
        self._since_s = 0.0
        self._known: Counter[float] = Counter()

    @contextmanager
    def one_more(self, until_s: float | None = None) -> Iterator[None]:
        """For as long as a caller of the flush waits. until_s: when the wait ends, where that is
        known; it is then no refusal."""
        if until_s is not None:
            self._known[until_s] += 1
        else:
            self._refused += 1
            if self._refused == 1:
                self._since_s = self._clock()
        try:
            yield
        finally:
            if until_s is None:
                self._refused -= 1
            elif self._known[until_s] > 1:
                self._known[until_s] -= 1
            else:
                del self._known[until_s]

    def moved(self) -> None:
        """Something of the flush has become durable."""
        self._since_s = self._clock()

    def can_end(self, now_s: float, deadline_s: float) -> bool:
        """Whether the flush may still end by a time, as far as its waits tell."""
        if self._refused and now_s - self._since_s >= REFUSED_S_MAX:
            return False
        return all(until_s <= deadline_s for until_s in self._known)

    @contextmanager
    def counting(self) -> Iterator[Self]:
        """Whoever waits within the block, or in a task that it starts, waits for this flush."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)


_current: ContextVar[FlushWaits | None] = ContextVar("flush_waits", default=None)


def current_flush() -> FlushWaits:
    """The waits of the flush on whose behalf this runs; of nobody's where there is none."""
    return _current.get() or FlushWaits()
