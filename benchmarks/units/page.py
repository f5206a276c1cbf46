"""The part's tables and pictures, from its figures. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.made import markdown, number, seconds, size
from benchmarks.picture import Bars, Series, bars, linear_axis, plot
from benchmarks.report import Found
from benchmarks.units.day import RETENTION_DAYS
from benchmarks.units.rivals import Rival
from benchmarks.users import Way

#: The median body of the realistic day, as `benchmarks.users.Day` has it.
BODY = 300


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"{value:.3f}"


def rival_row(found: Found, body: int = BODY, retention: float = RETENTION_DAYS) -> Any:
    """What an item per message costs there, by the name of the `Rival`."""
    (row,) = (r for r in found["rivals"] if (r["body"], r["retention_days"]) == (body, retention))
    return row


def day_rows(
    found: Found, body: int = BODY, retention: float = RETENTION_DAYS
) -> list[dict[str, Any]]:
    """The day with each linger."""
    return [r for r in found["day"] if (r["body"], r["retention_days"]) == (body, retention)]


def ratio(found: Found, row: Mapping[str, Any], name: str) -> float:
    """Dollars of a way, or of a rival, against an item per message that is deleted."""
    usual = rival_row(found, row["body"], row["retention_days"])[Rival.DELETE.name]["all"]
    return float(row[name]["all"] / usual)


def linger(found: Found) -> str:
    """The day with each linger: what is paid, and when a message is there."""
    lines = []
    for row in day_rows(found):
        one = row[Way.ACKNOWLEDGE.name]
        lines.append([
            f"{row['linger_s']:g}", f"{1000 / one['bundles']:.2f}", _whole(one["write_units"]),
            _whole(one["read_units"]), *_parts(one),
            *(f"**{_ratio(ratio(found, row, way.name))}**" for way in Way),
            seconds(row["wait_s_p50"]), seconds(row["wait_s_p99"]),
        ])  # fmt: skip
    usual = rival_row(found)
    for rival in Rival:
        one = usual[rival.name]
        lines.append([
            str(rival), "", _whole(one["write_units"]), _whole(one["read_units"]), *_parts(one),
            f"**{_ratio(ratio(found, usual, rival.name))}**", "", "", "", "",
        ])  # fmt: skip
    header = ["linger, s", "messages in a bundle", "write units", "read units", "$: writing",
              "reading", "storing", "all", "ratio", "clients keep their receipt",
              "`delete_acknowledged`", "wait p50", "wait p99"]  # fmt: skip
    return markdown(header, lines)


def _parts(one: Mapping[str, float]) -> list[str]:
    return [_dollars(one[part]) for part in ("write", "read", "store", "all")]


def _compared(found: Found, cases: Sequence[tuple[str, int, float]]) -> str:
    """Ratios of each case: each way with each linger that all cases have, and the rivals."""
    common = set.intersection(*(
        {row["linger_s"] for row in day_rows(found, body, days)} for _, body, days in cases
    ))  # fmt: skip
    lines = []
    for name, body, days in cases:
        rows = [r for r in day_rows(found, body, days) if r["linger_s"] in common]
        usual = rival_row(found, body, days)
        lines.append([
            name, *(_ratio(ratio(found, row, way.name)) for way in Way for row in rows),
            *(_ratio(ratio(found, usual, r.name)) for r in (Rival.CURSOR, Rival.CLIENT_CURSOR)),
            _dollars(usual[Rival.DELETE.name]["all"]),
        ])  # fmt: skip
    said = {Way.ACKNOWLEDGE: "", Way.KEEP_RECEIPT: "receipt kept, ", Way.DELETE: "deleted, "}
    header = ["", *(f"{said[way]}linger {at:g} s" for way in Way for at in sorted(common)),
              "item per message to TTL, cursor", "its client keeps the cursor",
              "item per message, deleted: $"]  # fmt: skip
    return markdown(header, lines)


def bodies(found: Found) -> str:
    """The ratio by body."""
    sizes = sorted({row["body"] for row in found["day"]})
    return _compared(found, [(f"bodies of {size(n)}", n, RETENTION_DAYS) for n in sizes])


def retention(found: Found) -> str:
    """The ratio by retention."""
    days = sorted({row["retention_days"] for row in found["day"] if row["body"] == BODY})
    return _compared(found, [(f"{n:g} days", BODY, n) for n in days])


def backlog(found: Found) -> str:
    """Of the skewed backlog."""
    rows = [
        [size(one["body"]), f"{1000 / one['bundles']:.1f}", _whole(one["write_units"]),
         _whole(one["rival_write_units"]), _ratio(one["ratio"])]
        for one in found["backlog"]
    ]  # fmt: skip
    header = ["body", "messages in a bundle", "write units", "an item per message, deleted",
              "ratio"]  # fmt: skip
    return markdown(header, rows)


def seeds(found: Found) -> str:
    """The ratio of other users who behave alike."""
    lingers = sorted(
        float(name.rpartition("_")[2]) for name in found["seeds"][0] if name.startswith("ACK")
    )
    names = [f"{way.name}_{at:g}" for way in (Way.ACKNOWLEDGE, Way.KEEP_RECEIPT) for at in lingers]
    rows = [
        [f"{one['seed']}", f"{found['users']}", f"{one['messages']:,}",
         *(_ratio(one[name]) for name in names), _ratio(one["CURSOR"])]
        for one in found["seeds"]
    ]  # fmt: skip
    header = ["seed", "users", "messages", *(f"linger {at:g} s" for at in lingers),
              *(f"receipt kept, linger {at:g} s" for at in lingers),
              "item per message to TTL, cursor"]  # fmt: skip
    return markdown(header, rows)


def scale(found: Found) -> str:
    """The ratio by how busy a partition is."""
    rows = []
    for per_s in sorted({one["per_s"] for one in found["scale"]}):
        prompt, lingering = (one for one in found["scale"] if one["per_s"] == per_s)
        rows.append([
            f"{per_s:,g}", number(prompt["progress_units"]), _ratio(prompt["ratio"]),
            seconds(5000 / per_s), f"{1000 / lingering['bundles']:.2f}",
            _ratio(lingering["ratio"]),
        ])  # fmt: skip
    header = ["records a second", "linger 0: progress, write units", "ratio",
              "5,000 records come in", "linger 30 s: messages in a bundle", "ratio"]  # fmt: skip
    return markdown(header, rows)


def first_items(found: Found) -> str:
    """What each number of first items costs, on three loads."""
    rows = [
        [f"{one['items']}", *_reads(one["day"]), *_reads(one["deleting"])[:3],
         *_reads(one["large"]),
         f"{one['full']['queries']:g}", _whole(one["full"]["read_units"]),
         size(one["full"]["again_bytes"])]
        for one in found["first_items"]
    ]  # fmt: skip
    header = ["items", "day: ratio", "read units", "Queries a return", "read again a return",
              "`delete_acknowledged`: ratio", "read units", "Queries a return",
              "bodies of 10 KB: ratio", "read units", "Queries a return", "read again a return",
              "full bundles: Queries", "read units", "read again"]  # fmt: skip
    return markdown(header, rows)


def leftover_items(found: Found) -> str:
    """What each number of items costs where a second log may begin with leftovers."""
    rows = [
        [f"{one['items']}", *_reads(one["last"]), *_reads(one["first"])]
        for one in found["leftover_items"]
    ]  # fmt: skip
    header = ["items", "new partition sorts last: ratio", "read units", "Queries a return",
              "read again a return", "it sorts first: ratio", "read units", "Queries a return",
              "read again a return"]  # fmt: skip
    return markdown(header, rows)


def _reads(one: Mapping[str, float]) -> list[str]:
    return [f"{one['ratio']:.3f}", _whole(one["read_units"]), f"{one['queries_per_return']:.2f}",
            size(one["again_bytes_per_return"])]  # fmt: skip


def catch_up(found: Found) -> str:
    load = found["catch_up"]["load"]
    rows = []
    for run, budget in (("without", "none"), ("with", f"{load['budget_units_per_s']:g}")):
        one = found["catch_up"][run]
        rows.append([
            budget, _whole(one["acks"]), _whole(one["refused_acks"]), _whole(one["failed"]),
            _whole(one["refused_bundles"]), seconds(one["seconds"]),
        ])  # fmt: skip
    header = ["budget, units a second", "acknowledgements asked", "cursors refused",
              "acknowledgements failed", "bundles refused", "caught up after"]  # fmt: skip
    return markdown(header, rows)


def linger_picture(found: Found) -> str:
    """Cost against freshness, a line per way, and what needs no linger."""
    rows, usual = day_rows(found), rival_row(found)
    series = [
        Series(str(way), [(row["wait_s_p99"], ratio(found, row, way.name)) for row in rows])
        for way in Way
    ]
    ends = rows[0]["wait_s_p99"], rows[-1]["wait_s_p99"]
    behind = ratio(found, usual, Rival.CURSOR.name)
    series.append(Series("item per message to TTL", [(at, behind) for at in ends]))
    return plot(
        "What a linger saves", "p99 of a message's wait, seconds",
        "dollars of the table, against an item per message and its delete", series,
        x_axis=linear_axis, y_axis=linear_axis,
    )  # fmt: skip


def cost_picture(found: Found) -> str:
    """Where the dollars of the day go."""
    groups = [(f"{row['linger_s']:g} s", row[Way.ACKNOWLEDGE.name]) for row in day_rows(found)]
    usual = rival_row(found)
    groups += [("deleted", usual[Rival.DELETE.name]), ("to TTL", usual[Rival.CURSOR.name])]
    parts = [("writing", "write"), ("reading", "read"), ("storing", "store")]
    series = [Bars(name, [one[key] for _, one in groups]) for name, key in parts]
    return bars("Dollars of the realistic day, by linger, and of an item per message",
                "per million messages", [name for name, _ in groups], series)  # fmt: skip


TABLES: Mapping[str, Callable[[Found], str]] = {
    "units_linger": linger,
    "units_bodies": bodies,
    "units_retention": retention,
    "units_backlog": backlog,
    "units_seeds": seeds,
    "units_scale": scale,
    "units_first_items": first_items,
    "units_leftover_items": leftover_items,
    "units_catch_up": catch_up,
}
PICTURES: Mapping[str, Callable[[Found], str]] = {
    "units_linger.svg": linger_picture,
    "units_day.svg": cost_picture,
}
