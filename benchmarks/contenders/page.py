"""Tables and pictures of the contenders, from the JSON alone. Pure.

A row of the JSON is one scenario and one contender. A table has the base and the scenarios that
differ from it in one thing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.contenders.scenarios import START, WRITERS
from benchmarks.made import markdown, number
from benchmarks.picture import Bars, Series, bars, linear_axis, plot
from benchmarks.report import Found

Row = Mapping[str, Any]

#: What makes a scenario, as its rows name it.
FACTORS = ("load", "records", "body_bytes", "partitions", "processes", "local")
_HEADER = (
    "contender", "write units per 1,000", "of plain", "calls per 1,000", "CPU, µs a message",
    "of plain", "messages/s", "peak MB", "rounds",
)  # fmt: skip


def varied(found: Found, *factors: str) -> list[Row]:
    """The rows that are as the base, but for these factors."""
    return [row for row in found["rows"] if row["load"] != START.load and all(
        row[factor] == found["base"][factor] for factor in FACTORS if factor not in factors
    )]  # fmt: skip


def _of_plain(row: Row, rows: Iterable[Row], figure: str) -> str:
    """The ratio to what the plain script has in the same scenario."""
    for other in rows:
        if other["contender"] == "plain" and all(other[f] == row[f] for f in FACTORS):
            if other[figure] and row[figure] is not None:
                return f"{row[figure] / other[figure]:.2f}"
            break
    return "-"


def _said(value: float | None) -> str:
    """A dash for what was not counted."""
    return "-" if value is None else number(value)


def _rounds(row: Row) -> str:
    """How many, of which the least counts, and the least and the most processor time of them."""
    each = row.get("cpu_us_per_message_rounds", ())  # files of before have the least alone
    if len(each) < 2:
        return str(row["rounds"])
    return f"{row['rounds']}: {number(min(each))} to {number(max(each))}"


def _cells(row: Row, rows: Sequence[Row]) -> list[str]:
    return [
        row["contender"],
        _said(row["write_units_per_1000"]), _of_plain(row, rows, "write_units_per_1000"),
        _said(row["calls_per_1000"]),
        number(row["cpu_us_per_message"]), _of_plain(row, rows, "cpu_us_per_message"),
        _said(row["messages_per_s"]), number(row["resident_mb"]), _rounds(row),
    ]  # fmt: skip


def base(found: Found) -> str:
    """All of them on the base, with memory in proportion and what the start of each took."""
    rows = varied(found)
    starts = {r["contender"]: r["cpu_s"] for r in found["rows"] if r["load"] == START.load}
    return markdown(
        [*_HEADER, "MB, of plain", "start, CPU s"],
        (
            [
                *_cells(row, rows),
                _of_plain(row, rows, "resident_mb"),
                f"{starts[row['contender']]:.2f}" if row["contender"] in starts else "in its CPU",
            ]
            for row in rows
        ),
    )


def _by(factor: str, title: str, say: Callable[[Any], str] = str) -> Callable[[Found], str]:
    """A table of the scenarios that differ in one factor; those that only fetch are left out."""

    def table(found: Found) -> str:
        rows = [row for row in varied(found, factor) if row["contender"] in WRITERS]
        rows.sort(key=lambda row: row[factor] if factor != "load" else 0)  # loads: as they ran
        return markdown([title, *_HEADER], ([say(row[factor]), *_cells(row, rows)] for row in rows))

    return table


def local(found: Found) -> str:
    """On DynamoDB Local; what is counted at the instant endpoint alone is left out."""
    rows = [row for row in varied(found, "records", "local") if row["local"]]
    shown = (0, 4, 5, 6, 7, 8)
    lines = []
    for row in rows:
        cells = _cells(row, rows)
        line = [cells[n] for n in shown]
        line.insert(4, _of_plain(row, rows, "messages_per_s"))
        lines.append(line)
    header = [_HEADER[n] for n in shown]
    header.insert(4, "of plain")
    return markdown(header, lines)


def growth(found: Found) -> str:
    """From the base's number of records to ten times as many."""
    rows = [row for row in varied(found, "records") if row["contender"] in WRITERS]
    lines = []
    for contender in WRITERS:
        own = sorted((r for r in rows if r["contender"] == contender), key=lambda r: r["records"])
        lines += [
            [
                contender, f"{row['records']:,}", number(row["cpu_us_per_message"]),
                f"{row['cpu_us_per_message'] / own[0]['cpu_us_per_message']:.2f}",
                number(row["resident_mb"]), f"{row['resident_mb'] / own[0]['resident_mb']:.2f}",
                *(_cells(row, own)[n] for n in (1, 3, 6, 8)),
            ]
            for row in own
        ]  # fmt: skip
    return markdown(
        ["contender", "records", "CPU, µs", "of the first", "peak MB", "of the first",
         *(_HEADER[n] for n in (1, 3, 6, 8))],
        lines,
    )  # fmt: skip


TABLES: Mapping[str, Callable[[Found], str]] = {
    "contenders_base": base,
    "contenders_loads": _by("load", "load"),
    "contenders_bodies": _by("body_bytes", "body, bytes", lambda n: f"{n:,}"),
    "contenders_partitions": _by("partitions", "partitions"),
    "contenders_processes": _by("processes", "processes"),
    "contenders_local": local,
    "contenders_growth": growth,
}


def _bars(figure: str, title: str, y_title: str) -> Callable[[Found], str]:
    def draw(found: Found) -> str:
        rows = varied(found, "load")
        loads = list(dict.fromkeys(row["load"] for row in rows))
        figures = {(row["load"], row["contender"]): row[figure] for row in rows}
        series = [Bars(one, [figures.get((load, one)) for load in loads]) for one in WRITERS]
        return bars(title, y_title, loads, series)

    return draw


def _lines(figure: str, title: str, y_title: str) -> Callable[[Found], str]:
    def draw(found: Found) -> str:
        rows = sorted(varied(found, "records"), key=lambda row: row["records"])
        series = [
            Series(one, [(r["records"], r[figure]) for r in rows if r["contender"] == one])
            for one in WRITERS
        ]
        return plot(title, "records", y_title, series, y_axis=linear_axis)

    return draw


PICTURES: Mapping[str, Callable[[Found], str]] = {
    "contenders-cpu.svg": _bars(
        "cpu_us_per_message", "Processor time of a message", "µs, user and system"
    ),
    "contenders-units.svg": _bars(
        "write_units_per_1000", "Write units of 1,000 messages", "write units"
    ),
    "contenders-growth-memory.svg": _lines(
        "resident_mb", "Peak resident memory against the backlog", "MB"
    ),
    "contenders-growth-cpu.svg": _lines(
        "cpu_us_per_message", "Processor time of a message against the backlog", "µs"
    ),
}
