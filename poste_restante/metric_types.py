"""How a metric is described, for the closed lists of the worker and of the read module. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Type of a metric, by the names of the exposition format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Label(NamedTuple):
    """A label. values: all that it can have; empty: the partition numbers of the worker, or what
    `meaning` says."""

    name: str
    values: tuple[str, ...] = ()
    meaning: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric, equal to itself alone: to hash all of it would cost more than to count.

    name: without `_total`, which counters get, and `_info`.

    unit: base unit; empty: a plain count. help: one sentence. buckets: upper bounds of a histogram,
    in its unit.
    """

    kind: Kind
    name: str
    help: str
    unit: str = ""
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> str:
        """The name of its samples; of a histogram, without `_bucket`, `_sum` and `_count`."""
        return self.name + {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")


def label_combinations(labels: Sequence[Label]) -> list[tuple[str, ...]]:
    """Return every combination of the labels' values."""
    combinations: list[tuple[str, ...]] = [()]
    for label in labels:
        combinations = [(*before, value) for before in combinations for value in label.values]
    return combinations
