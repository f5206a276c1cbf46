"""What a flush waits for: the store, a broker, the write budget. Pure: times are arguments.

A drain asks whether the flush can still end in time. A caller waits on behalf of a flush in its
task, or in a task started by it, so the context (`contextvars`) identifies the flush and the ports
need no argument for it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

#: Seconds of refusals, with nothing becoming durable, after which a drain abandons a flush. A table
#: that throttles for a moment recovers in tens of milliseconds; within a second a call has been
#: refused about six times. A flush of which the table accepts a part continues.
REFUSED_S_MAX = 1.0


class FlushWaits:
    """The waits of one flush. clock: as `time.monotonic`, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused = 0
        self._since_s = 0.0
        self._known: Counter[float] = Counter()

    @contextmanager
    def count_wait(self, until_s: float | None = None) -> Iterator[None]:
        """Count one waiting caller of the flush while the block runs. until_s: end of the wait, if
        known; such a wait is not a refusal."""
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

    def note_durable(self) -> None:
        """Note that something of the flush has become durable."""
        self._since_s = self._clock()

    def can_end(self, now_s: float, deadline_s: float) -> bool:
        """Return whether the flush may still end by a time, judged by its waits."""
        if self._refused and now_s - self._since_s >= REFUSED_S_MAX:
            return False
        return all(until_s <= deadline_s for until_s in self._known)

    @contextmanager
    def attribute_waits(self) -> Iterator[Self]:
        """Attribute the waits in this block, and in tasks started in it, to this flush."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)


_current: ContextVar[FlushWaits | None] = ContextVar("flush_waits", default=None)


def current_flush() -> FlushWaits:
    """Return the waits of the current flush; outside a flush, an object that is discarded."""
    return _current.get() or FlushWaits()
