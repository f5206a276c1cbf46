"""When the records of a few users are flushed, among a partition's many. Pure.

A bundle holds what one flush has of a mailbox, so what counts is where a partition's log is cut
into batches. A batch is what has gathered while the one before was in flight, or for `linger_s`
once the partition was read to its end; at most `records_max`. So the load of a partition matters
by three numbers alone: whether anything gathers during a flush, how soon a batch is full, and how
soon a window of offsets is over.

The users looked at are too few to fill a log. The others' records come at even distances and
are counted, not made: `tests/unit/test_units.py` compares the cuts with those of the worker's own
`Assignment` on a log that has them all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import NamedTuple

#: Cycles without a record of ours after which the next is met at a random moment of one.
_CYCLES_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """per_s: the others' records, a second. flush_s: one batch's. records_max: of one batch."""

    per_s: float
    linger_s: float = 0.0
    flush_s: float = 0.02
    records_max: int = 5_000

    @property
    def cycle_s(self) -> float:
        """Seconds from a batch to the next, about."""
        alone = 1 / self.per_s if self.per_s else 0.0
        return max(self.linger_s, self.flush_s, alone)


class Cut(NamedTuple):
    """One batch. records: of ours in it, from and up to (not with) an index. at_s: when it is cut;
    durable `flush_s` later."""

    at_s: float
    first: int
    end: int


def offsets(arrivals: Sequence[float], partition: Partition) -> list[int]:
    """The offsets of our records, by their times in seconds, from 0, ascending."""
    return [int(partition.per_s * at) + n for n, at in enumerate(arrivals)]


def cuts(arrivals: Sequence[float], partition: Partition, chance: Random) -> Iterator[Cut]:
    """The batches that hold records of ours."""
    far = _CYCLES_MAX * partition.cycle_s
    at, position, first = -inf, 0, 0
    log = _Log(arrivals, partition.per_s)
    while first < len(arrivals):
        if arrivals[first] - at > far:
            at = arrivals[first] - chance.uniform(1, 2) * partition.cycle_s
            position = log.end(at)
        at = max(at, log.time_of(position, first))
        end = min(log.end(at), position + partition.records_max)
        until = log.ours_below(end, first)
        if until > first:
            yield Cut(at, first, until)
        caught_up = end == log.end(at)
        at += max(partition.flush_s, partition.linger_s) if caught_up else partition.flush_s
        position, first = end, until


def ticks_per_s(partition: Partition, interval_s: float, seconds: float = 600.0) -> float:
    """How often a second progress is written: once for each commit interval in which a batch of
    the others' was made durable."""
    if not partition.per_s:
        raise ValueError("a partition without other records has no rate of its own")
    log, at, position, ticks = _Log((), partition.per_s), 0.0, 0, set()
    while at < seconds:
        at = max(at, log.time_of(position, 0))
        ticks.add(int((at + partition.flush_s) / interval_s))
        end = min(log.end(at), position + partition.records_max)
        caught_up = end == log.end(at)
        at += max(partition.flush_s, partition.linger_s) if caught_up else partition.flush_s
        position = end
    return len(ticks) / seconds


class _Log:
    """A partition's log: our records at their times, the others' at even distances."""

    def __init__(self, arrivals: Sequence[float], per_s: float) -> None:
        self._arrivals = arrivals
        self._offsets = [int(per_s * at) + n for n, at in enumerate(arrivals)]
        self._per_s = per_s
        self._passed = 0  # arrivals at or before the last time asked about, which ascends

    def end(self, at: float) -> int:
        """The next offset at a time; times ascend."""
        while self._passed < len(self._arrivals) and self._arrivals[self._passed] <= at:
            self._passed += 1
        return max(0, int(self._per_s * at + 1e-9)) + self._passed

    def time_of(self, offset: int, ours: int) -> float:
        """When the record at an offset comes. ours: how many of ours are below it."""
        mine = self._arrivals[ours] if ours < len(self._arrivals) else inf
        theirs = (offset - ours + 1) / self._per_s if self._per_s else inf
        return min(mine, theirs)

    def ours_below(self, offset: int, first: int) -> int:
        """The first of ours, from `first` on, that is at or above an offset."""
        while first < len(self._offsets) and self._offsets[first] < offset:
            first += 1
        return first
