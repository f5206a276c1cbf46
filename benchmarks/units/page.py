"""The part's tables and pictures, from its figures. Pure."""

from collections.abc import Callable, Mapping

from benchmarks.made import markdown, number, seconds, size
from benchmarks.picture import Bars, Series, bars, linear_axis, plot
from benchmarks.report import Found

#: The median body of the realistic day, as `benchmarks.deletion.Day` has it.
BODY = 300
#: Seconds of wait up to which the picture goes: beyond, the curve is flat.
_DRAWN_S_MAX = 65.0


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def linger(found: Found) -> str:
    """The day with each linger: what is paid, and when a message is there."""
    rows = [one for one in found["linger"] if one["body"] == BODY]
    lines = [
        [
            f"{one['linger_s']:g}", f"{1000 / one['bundles']:.2f}", _whole(one["bundle_units"]),
            _whole(one["ack_units"]), _whole(one["delete_units"]), number(one["progress_units"]),
            f"**{_whole(one['write_units'])}**", _whole(one["read_units"]),
            f"**{_ratio(one['ratio'])}**", seconds(one["wait_s_p50"]), seconds(one["wait_s_p99"]),
        ]
        for one in rows
    ]  # fmt: skip
    rival = ["an item per message", "1", "", "", "", "", _whole(rows[0]["rival_write_units"]),
             _whole(rows[0]["rival_read_units"]), "1", "", ""]  # fmt: skip
    header = ["linger, s", "messages in a bundle", "write units: bundles", "acknowledgements",
              "deletes", "progress", "all", "read units", "ratio", "wait p50",
              "wait p99"]  # fmt: skip
    return markdown(header, [*lines, rival])


def bodies(found: Found) -> str:
    """The ratio by body and linger, and of the backlog."""
    lingers = sorted({one["linger_s"] for one in found["linger"]})
    ratios = {(one["body"], one["linger_s"]): one["ratio"] for one in found["linger"]}
    rows = [
        [size(one["body"]), *(_ratio(ratios[one["body"], at]) for at in lingers),
         _ratio(one["ratio"]), _whole(one["write_units"]), f"{1000 / one['bundles']:.1f}"]
        for one in found["backlog"]
    ]  # fmt: skip
    # Files of before have no progress of the backlog.
    progress = all("progress_units" in one for one in found["backlog"])
    units = "its write units" if progress else "its write units, without progress"
    header = ["body", *(f"day, linger {at:g} s" for at in lingers), "skewed backlog", units,
              "its messages in a bundle"]  # fmt: skip
    return markdown(header, rows)


def seeds(found: Found) -> str:
    """The ratio of other users who behave alike."""
    if "seeds" not in found:
        return "Not measured yet.\n"
    rows = found["seeds"]
    lingers = sorted({one["linger_s"] for one in rows})
    lines = []
    for seed in sorted({one["seed"] for one in rows}):
        own = {one["linger_s"]: one for one in rows if one["seed"] == seed}
        lines.append([
            f"{seed}", f"{found['users']}", f"{own[lingers[0]]['messages']:,}",
            *(_ratio(own[at]["ratio"]) for at in lingers),
            *(f"{1000 / own[at]['bundles']:.2f}" for at in lingers),
        ])  # fmt: skip
    header = ["seed", "users", "messages", *(f"ratio, linger {at:g} s" for at in lingers),
              *(f"messages in a bundle, linger {at:g} s" for at in lingers)]  # fmt: skip
    return markdown(header, lines)


def scale(found: Found) -> str:
    """The ratio by how busy a partition is."""
    rows = []
    for per_s in sorted({one["per_s"] for one in found["scale"]}):
        prompt, lingering, larger = (one for one in found["scale"] if one["per_s"] == per_s)
        rows.append([
            f"{per_s:,g}", number(prompt["progress_units"]), _ratio(prompt["ratio"]),
            seconds(5000 / per_s), f"{1000 / lingering['bundles']:.2f}",
            number(lingering["progress_units"]),
            _ratio(lingering["ratio"]), _ratio(larger["ratio"]),
        ])  # fmt: skip
    header = ["records a second", "linger 0: progress", "ratio", "5,000 records come in",
              "linger 30 s: messages in a bundle", "progress", "ratio",
              "ratio with batches of 10,000"]  # fmt: skip
    return markdown(header, rows)


def bursts(found: Found) -> str:
    rows = [
        [f"{one['burst_messages']:g}", f"{one['burst_gap_s']:g}", f"{1000 / one['bundles']:.2f}",
         _whole(one["write_units"]), _whole(one["rival_write_units"]), _ratio(one["ratio"])]
        for one in found["bursts"]
    ]  # fmt: skip
    header = ["messages of a burst", "seconds between them", "messages in a bundle", "write units",
              "an item per message", "ratio"]  # fmt: skip
    return markdown(header, rows)


def limits(found: Found) -> str:
    """What each pair of limits costs."""
    rows = []
    for one in found["limits"]:
        skewed, hot = one["skewed"], one["hot"]
        rows.append([
            f"{one['messages_max']:,} / {one['kib_max']} KiB",
            _whole(one["day_write_units"]), _whole(skewed["write_units"]),
            _whole(hot["write_units"]), _whole(hot["small_page_read_units"]),
            _whole(hot["read_units"]), _whole(hot["apart_read_units"]),
            _whole(skewed["apart_read_units"]), size(hot["first_page_bytes"]),
            size(skewed["wave_bytes"]),
        ])  # fmt: skip
    header = ["messages / bytes", "day: write units", "skewed: write", "hot user: write",
              "hot user: read units, pages of 20", "of 100", "of 100, each by another process",
              "skewed: the same", "first page of 20 reads", "largest wave"]  # fmt: skip
    return markdown(header, rows)


def policies(found: Found) -> str:
    """Of both days: what each policy costs, in write units by list price."""
    days = found["policies"]
    realistic, light = days["realistic day"], days["light day"]
    once, once_light = (day["delete at once"]["all"] for day in (realistic, light))
    rows = [
        [name, _whole(one["written"]), _whole(one["ack"]), _whole(one["delete"]),
         _whole(one["read"]), _whole(one["stored"]), _whole(one["all"]),
         f"{one['all'] / once - 1:+.1%}", f"{light[name]['all'] / once_light - 1:+.1%}",
         number(one["again_kb"])]
        for name, one in realistic.items()
    ]  # fmt: skip
    header = ["policy", "write", "acknowledge", "delete", "read", "store", "all",
              "against at once", "light day", "KB a fetch reads again"]  # fmt: skip
    return markdown(header, rows)


def catch_up(found: Found) -> str:
    load = found["catch_up"]["load"]
    rows = []
    for run, budget in (("without", "none"), ("with", f"{load['budget_units_per_s']:g}")):
        one = found["catch_up"][run]
        rows.append([
            budget, _whole(one["acks"]), _whole(one["refused_acks"]),
            _whole(one["refused_deletes"]), _whole(one["failed"]), _whole(one["refused_bundles"]),
            seconds(one["seconds"]),
        ])  # fmt: skip
    header = ["budget, units a second", "acknowledgements asked", "cursors refused",
              "deletes refused", "acknowledgements failed", "bundles refused",
              "caught up after"]  # fmt: skip
    return markdown(header, rows)


def linger_picture(found: Found) -> str:
    """Units against freshness, a line per body."""
    series = []
    for body in sorted({one["body"] for one in found["linger"]}):
        points = [(one["wait_s_p99"], one["ratio"]) for one in found["linger"]
                  if one["body"] == body and one["wait_s_p99"] <= _DRAWN_S_MAX]  # fmt: skip
        series.append(Series(f"bodies of {size(body)}", points))
    return plot(
        "A linger saves write units, for freshness", "p99 of a message's wait, seconds",
        "write units, against an item per message", series,
        x_axis=linear_axis, y_axis=linear_axis,
    )  # fmt: skip


def units_picture(found: Found) -> str:
    """Where the units of the day go."""
    rows = [one for one in found["linger"] if one["body"] == BODY]
    groups = [f"{one['linger_s']:g} s" for one in rows]
    parts = [("bundles", "bundle_units"), ("deletes", "delete_units"),
             ("acknowledgements", "ack_units"), ("progress", "progress_units")]  # fmt: skip
    series = [Bars(name, [one[key] for one in rows]) for name, key in parts]
    return bars("Write units of the realistic day, by linger", "per 1,000 messages", groups, series)


TABLES: Mapping[str, Callable[[Found], str]] = {
    "units_linger": linger,
    "units_bodies": bodies,
    "units_seeds": seeds,
    "units_scale": scale,
    "units_bursts": bursts,
    "units_limits": limits,
    "units_policies": policies,
    "units_catch_up": catch_up,
}
PICTURES: Mapping[str, Callable[[Found], str]] = {
    "units_linger.svg": linger_picture,
    "units_day.svg": units_picture,
}
