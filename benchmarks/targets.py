"""The targets and which figures meet them: the table at the head of the page. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.md_tables import markdown
from benchmarks.report import Results, figures

_DIGITS_MAX = 6


class Target(NamedTuple):
    """what: is at most `limit`, which the table shows as `said`. groups: of the figures that it
    holds for, each a part and a group."""

    what: str
    limit: float
    said: str
    groups: Sequence[tuple[str, str]]


def figure_of(value: float, limit: float) -> str:
    """Two decimals, one of a large figure; more where rounding would cross the limit."""
    for digits in range(1 if limit >= 10 else 2, _DIGITS_MAX):
        text = f"{value:.{digits}f}"
        if (float(text) <= limit) == (value <= limit):
            return text
    return repr(value)


TARGETS = (
    Target("[dollars of the table](#units), of an item per message and its delete, linger 0",
           0.78, "0.78", [("units", "day, linger 0")]),
    Target("the same, linger 15 s", 0.64, "0.64", [("units", "day, linger 15")]),
    Target("the same, linger 30 s", 0.60, "0.60", [("units", "day, linger 30")]),
    Target("the same, linger 0, clients keep their receipt",
           0.70, "0.70", [("units", "day, receipt kept, linger 0")]),
    Target("the same, linger 30 s, clients keep their receipt",
           0.52, "0.52", [("units", "day, receipt kept, linger 30")]),
    Target("write units of the same, skewed backlog", 0.3, "0.3", [("units", "backlog")]),
    Target("[processor time](#contenders) of the plain script's, each message to another user",
           1 / 2, "1/2", [("contenders", "each to another"), ("write_path", "each to another")]),
    Target("the same, skewed backlog", 1 / 6, "1/6 (0.167)",
           [("contenders", "skewed"), ("write_path", "skewed")]),
    Target("[p99 until readable](#from-produce-to-readable) at 1,000 a second and linger 0, ms",
           50.0, "50", [("latency", "p99 ms")]),
    Target("[processor time](#live-load) of the plain script's, live load",
           1 / 2, "1/2", [("live", "of plain")]),
    Target("[p99 until readable](#live-load), live load, ms", 250.0, "250", [("live", "p99 ms")]),
)  # fmt: skip


def table(results: Mapping[str, Results], targets: Iterable[Target] = TARGETS) -> str:
    """Each target with the figures that meet it and those that miss it."""
    rows = []
    for target in targets:
        found = {
            where: value
            for part, group in target.groups
            for where, value in figures(results[part], group).items()
        }
        said = {where: f"{where} **{figure_of(value, target.limit)}**"
                for where, value in found.items()}  # fmt: skip
        met = [said[where] for where, value in found.items() if value <= target.limit]
        missed = [said[where] for where, value in found.items() if value > target.limit]
        rows.append([target.what, target.said, ", ".join(met), ", ".join(missed)])
    return markdown(["target", "at most", "met", "missed"], rows)
