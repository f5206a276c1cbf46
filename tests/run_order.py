"""The order in which several processes run the tests."""

from collections.abc import Hashable, Iterable
from itertools import groupby
from typing import Protocol, TypeVar


class HasPath(Protocol):
    """The part of pytest's item that the order depends on."""

    @property
    def path(self) -> Hashable: ...


T = TypeVar("T", bound=HasPath)


def alternate(slow: Iterable[T], quick: Iterable[T], processes: int) -> list[T]:
    """Return the tests in an order in which slow files alternate with quick ones, in each process.

    Slow tests wait and quick ones compute, so together they use the processor evenly. xdist's
    `worksteal` gives each process a part of about the same length. A process that has finished its
    part takes tests from the end of another's part, where quick tests leave little to wait for.
    Files are not divided, because their tests share fixtures.
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
