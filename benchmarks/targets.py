"""What was aimed at, and what came of it: the table at the head of the page, from the JSON. Pure.

Targets are of dollars, processor time and write units in proportion to what one writes by hand,
and of a wait. A figure is compared as it was found, and shown with as many digits as say how it
compares.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.contenders.page import FACTORS, varied
from benchmarks.made import markdown, size
from benchmarks.report import Found
from benchmarks.units import page as units_page
from benchmarks.users import Way

_DIGITS_MAX = 6


class Figure(NamedTuple):
    """Where, what was found there, and what else is to be said of it."""

    where: str
    value: float
    more: str = ""


class Target(NamedTuple):
    """what: is at most `limit`, which is said as `said`. figures: of everything it is set for."""

    what: str
    limit: float
    said: str
    figures: Callable[[Mapping[str, Found]], Iterable[Figure]]


def figure_of(value: float, limit: float) -> str:
    """Two digits behind the point, of a large figure one; more where they would lie about it."""
    for digits in range(1 if limit >= 10 else 2, _DIGITS_MAX):
        text = f"{value:.{digits}f}"
        if (float(text) <= limit) == (value <= limit):
            return text
    return repr(value)


def day_cost(way: Way, linger_s: float) -> Callable[[Mapping[str, Found]], Iterable[Figure]]:
    """Of bodies of 300 bytes, with one linger."""

    def figures(found: Mapping[str, Found]) -> Iterable[Figure]:
        units = found["units"]
        for row in units_page.day_rows(units):
            if row["linger_s"] == linger_s:
                yield Figure(f"linger {linger_s:g} s", units_page.ratio(units, row, way.name))

    return figures


def backlog_units(found: Mapping[str, Found]) -> Iterable[Figure]:
    for row in found["units"]["backlog"]:
        yield Figure(f"bodies of {size(row['body'])}", row["ratio"])


#: How a row differs from the base, by the factor.
_NAMES: Mapping[str, Callable[[Any], str]] = {
    "load": str,
    "records": lambda n: f"{n:,} records",
    "body_bytes": lambda n: f"bodies of {size(n)}",
    "partitions": lambda n: f"{n} partition{'s' * (n > 1)}",
    "processes": lambda n: f"{n} processes",
    "local": lambda _: "DynamoDB Local",
}  # fmt: skip


def _cpu(rows: Sequence[Mapping[str, Any]], base: Mapping[str, Any]) -> Iterable[Figure]:
    for row in rows:
        if row["contender"] != "worker":
            continue
        (plain,) = (
            other for other in rows
            if other["contender"] == "plain" and all(other[f] == row[f] for f in FACTORS)
        )  # fmt: skip
        differs = [factor for factor in FACTORS if row[factor] != base[factor]]
        name = "local" if row["local"] else (differs or [""])[0]
        yield Figure(
            _NAMES[name](row[name]) if name else "the base",
            row["cpu_us_per_message"] / plain["cpu_us_per_message"],
        )


def _write_path(found: Mapping[str, Found], workload: str) -> Figure:
    """The figure of one load, where fetching is left out."""
    cpu = {
        row["contender"]: row["cpu_us_per_record"]
        for row in found["write_path"]["rows"] if row["workload"] == workload
    }  # fmt: skip
    return Figure("the write path", cpu["worker"] / cpu["plain"], "300 bytes, no fetching")


def each_cpu(found: Mapping[str, Found]) -> Iterable[Figure]:
    """Every scenario whose messages go each to another."""
    contenders = found["contenders"]
    others = [factor for factor in FACTORS if factor != "load"]
    yield from _cpu(varied(contenders, *others), contenders["base"])
    yield _write_path(found, "each to another user")


def skewed_cpu(found: Mapping[str, Found]) -> Iterable[Figure]:
    contenders = found["contenders"]
    rows = [
        row for row in varied(contenders, "load") if row["load"] in {"Zipf", "one hot user"}
    ]  # fmt: skip
    yield from _cpu(rows, contenders["base"])
    yield _write_path(found, "skewed backlog")


def waits(found: Mapping[str, Found]) -> Iterable[Figure]:
    """Of each store whose messages were enough for a p99."""
    for row in found["latency"]["rates"]:
        if row["per_s"] == 1_000 and row["p99_ms"] is not None:
            store = "the endpoint" if row["store"] == "instant" else row["store"]
            yield Figure(f"{store}, chatty" if row["chatty"] else store, row["p99_ms"])


def live_cpu(found: Mapping[str, Found]) -> Iterable[Figure]:
    """Of each rate: the worker's at the default settings, in proportion to the plain script's."""
    for plain, worker in _live(found):
        yield Figure(f"{worker['per_s']:,} a second", worker["cpu_us"] / plain["cpu_us"])


def live_waits(found: Mapping[str, Found]) -> Iterable[Figure]:
    for _, worker in _live(found):
        yield Figure(f"{worker['per_s']:,} a second", worker["p99_ms"])


def _live(found: Mapping[str, Found]) -> Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Of each rate the plain script and the worker at its defaults."""
    rows = {(row["per_s"], row["linger_s"]): row for row in found["live"]["rows"]}
    for per_s in sorted({per_s for per_s, _ in rows}):
        yield rows[per_s, None], rows[per_s, found["live"]["default_linger_s"]]


TARGETS = (
    Target("[dollars of the table](#units), of an item per message and its delete, realistic day",
           0.78, "0.78", day_cost(Way.ACKNOWLEDGE, 0.0)),
    Target("the same", 0.64, "0.64", day_cost(Way.ACKNOWLEDGE, 15.0)),
    Target("the same", 0.60, "0.60", day_cost(Way.ACKNOWLEDGE, 30.0)),
    Target("the same, clients keep their receipt", 0.70, "0.70", day_cost(Way.KEEP_RECEIPT, 0.0)),
    Target("the same, clients keep their receipt", 0.52, "0.52", day_cost(Way.KEEP_RECEIPT, 30.0)),
    Target("write units of the same, skewed backlog", 0.3, "0.3", backlog_units),
    Target("[processor time](#contenders) of the plain script's, each message to another user",
           1 / 2, "1/2", each_cpu),
    Target("the same, skewed backlog", 1 / 6, "1/6 (0.167)", skewed_cpu),
    Target("[p99 until readable](#from-produce-to-readable) at 1,000 a second and linger 0, ms",
           50.0, "50", waits),
    Target("[processor time](#live-load) of the plain script's, live load", 1 / 2, "1/2", live_cpu),
    Target("[p99 until readable](#live-load), live load, ms", 250.0, "250", live_waits),
)  # fmt: skip


def table(found: Mapping[str, Found], targets: Iterable[Target] = TARGETS) -> str:
    rows = []
    for target in targets:
        figures = list(target.figures(found))
        met = [one for one in figures if one.value <= target.limit]
        missed = [one for one in figures if one.value > target.limit]
        rows.append([target.what, target.said, _said(met, target), _said(missed, target)])
    return markdown(["target", "at most", "met", "missed"], rows)


def _said(figures: Iterable[Figure], target: Target) -> str:
    return ", ".join(
        f"{one.where} **{figure_of(one.value, target.limit)}**"
        + (f" ({one.more})" if one.more else "")
        for one in figures
    )  # fmt: skip
