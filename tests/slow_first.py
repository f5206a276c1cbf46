"""The order of the tests of a run with several processes."""

from collections.abc import Hashable, Iterable
from itertools import groupby
from typing import Protocol, TypeVar


class Test(Protocol):
    """A test, as much of pytest's item as its order needs."""

    @property
    def path(self) -> Hashable: ...


T = TypeVar("T", bound=Test)


def slow_first(slow: Iterable[T], quick: Iterable[T], processes: int) -> list[T]:
    """Return the tests so that slow files alternate with quick ones, in each process.

    Slow tests wait, quick ones compute: side by side they use the processor evenly. xdist's
    `worksteal` gives each process a run of about the same length, and one that has ended takes from
    the end of another's: with quick tests there no process waits long for the last one. Files stay
    together, since their tests share fixtures.
    """
    slots = _files(slow)
    if not slots:
        return list(quick)
    counts = [0] * len(slots)
    for file in _files(quick):
        least = counts.index(min(counts))
        counts[least] += len(file)
        slots[least].extend(file)
    return [test for n in range(processes) for slot in slots[n::processes] for test in slot]


def _files(tests: Iterable[T]) -> list[list[T]]:
    return [list(file) for _, file in groupby(tests, key=lambda test: test.path)]
