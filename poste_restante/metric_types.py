"""Descriptions of metrics, for the lists of the worker and the read module. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Type of a metric, as the exposition format names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Label(NamedTuple):
    """A label. values: all possible ones. Empty: the worker's partition numbers, or as `meaning`
    says."""

    name: str
    values: tuple[str, ...] = ()
    meaning: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric, equal to itself alone, because hashing all fields costs more than counting.

    name: without the suffixes `_total` of counters and `_info`. unit: base unit; empty: a plain
    count. help: one sentence. buckets: upper bounds of a histogram, in its unit.
    """

    kind: Kind
    name: str
    help: str
    unit: str = ""
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> str:
        """Return the name of its samples; for a histogram, without `_bucket`, `_sum` and
        `_count`."""
        return self.name + {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")


def label_combinations(labels: Sequence[Label]) -> list[tuple[str, ...]]:
    """Return every combination of the labels' values."""
    combinations: list[tuple[str, ...]] = [()]
    for label in labels:
        combinations = [(*before, value) for before in combinations for value in label.values]
    return combinations
