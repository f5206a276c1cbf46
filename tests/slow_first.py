"""The order of the tests of a run with several processes: the slow ones first, everywhere."""

from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from typing import Protocol, TypeVar


class Test(Protocol):
    """A test, as much of pytest's item as its order needs."""

    @property
    def path(self) -> Hashable: ...


T = TypeVar("T", bound=Test)


def slow_first(slow: Iterable[T], quick: Sequence[T], processes: int) -> list[T]:
    """Return the tests so that each process begins with its share of the slow files.

    xdist's `worksteal` gives each process a run of the same length, and one that has ended takes
    from the end of another's. With quick tests there no process waits long for the last one. Files
    stay together, since their tests share fixtures.
    """
    runs: list[list[T]] = [[] for _ in range(processes)]
    for number, (_, file) in enumerate(groupby(slow, key=lambda test: test.path)):
        runs[number % processes].extend(file)
    total = sum(map(len, runs)) + len(quick)
    taken = 0
    for number, run in enumerate(runs):
        begin = sum(map(len, runs[:number]))
        end = total * (number + 1) // processes
        more = max(0, end - begin - len(run))
        run.extend(quick[taken : taken + more])
        taken += more
    return [test for run in runs for test in run] + list(quick[taken:])
