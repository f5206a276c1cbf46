"""docs/why-not-kafka.md and its picture, from the experiment's JSON."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.made import made, markdown, number, seconds, size
from benchmarks.picture import Series, plot
from benchmarks.why_not_kafka.partitions import extrapolated

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "why_not_kafka.json"
PAGE = ROOT / "docs" / "why-not-kafka.md"
PICTURE = ROOT / "docs" / "why-not-kafka.svg"
#: The service that the extrapolation is about.
USERS = 500e6


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text())
    return found


def written(text: str, found: dict[str, Any]) -> str:
    """The page with its tables made again. Raises KeyError for a part that was not run."""
    tables = {
        "machine": _machine, "partitions": _partitions, "extrapolated": _extrapolated,
        "scan": _scan, "restored": _restored, "floor": _floor, "rebalanced": _rebalanced,
        "mailbox": _mailbox,
    }  # fmt: skip
    return made(text, {name: partial(make, found) for name, make in tables.items()})


def picture(found: dict[str, Any]) -> str:
    """Seconds until a user who comes back is answered; of a table, while it is rebuilt."""
    table = found["table"]
    return plot(
        "Until a user who reconnects is answered",
        "messages missed (scan), messages stored (mailbox), users (table)",
        "seconds",
        [
            Series(
                "a table, while rebuilt", [(p["users"], p["seconds"]) for p in table["restored"]]
            ),
            Series("its changelog, read", [(p["users"], p["seconds"]) for p in table["floor"]]),
            Series("scan and filter", [(p["records"], p["seconds"]) for p in found["scan"]]),
            Series("a mailbox here", [(p["messages"], p["seconds"]) for p in found["mailbox"]]),
        ],
    )


def _machine(found: dict[str, Any]) -> str:
    small = [part for part, sizes in found["sizes"].items() if sizes == "small"]
    said = f"Measured on {found['machine']}.\n"
    if small:
        return f"**Provisional**, at small sizes ({', '.join(small)}). {said}"
    return said


def _partitions(found: dict[str, Any]) -> str:
    empty = found["partitions"]["empty"]
    first = ["0", "", "", number(empty["resident_mb"]), number(empty["open_files"]),
             number(empty["maps"]), "", ""]  # fmt: skip
    rows = [
        [
            f"{p['partitions']:,}", number(p["create_s_per_thousand"]),
            number(p["create_cpu_s_per_thousand"]), number(p["resident_mb"]),
            number(p["open_files"]), number(p["maps"]), number(p["start_s"]),
            number(p["start_cpu_s"]),
        ]
        for p in found["partitions"]["points"]
    ]  # fmt: skip
    header = ["partitions", "create a thousand, s", "of it broker CPU, s", "resident, MB",
              "open files", "memory maps", "start, s", "of it broker CPU, s"]  # fmt: skip
    limits = found["partitions"]
    return (
        markdown(header, [first, *rows])
        + f"\nIt ended because {limits['stopped']}. This process may open"
        f" {limits['files_max']:,} files and have {limits['maps_max']:,} memory maps.\n"
    )


def _extrapolated(found: dict[str, Any]) -> str:
    more = extrapolated(found["partitions"], USERS)
    rows = [
        ["resident memory", size(more["resident_gb"] * 2**30)],
        ["open files", number(more["open_files"])],
        ["creating them, one request after the other", seconds(more["create_days"] * 86_400)],
        ["broker CPU of a start of all of them", seconds(more["start_cpu_h"] * 3_600)],
        ["brokers as full as the last one, for one copy", number(more["brokers"])],
    ]
    return markdown([f"{USERS:,.0f} partitions, extrapolated", ""], rows)


def _scan(found: dict[str, Any]) -> str:
    rows = [
        [
            f"{p['records']:,.0f}", seconds(p["seconds"]), size(p["bytes"]),
            seconds(p["cpu_s"]), seconds(p["broker_cpu_s"]),
            number(p["cpu_s"] * 1e6 / p["records"]),
        ]
        for p in found["scan"]
    ]  # fmt: skip
    header = ["messages since the user left", "reconnect", "read", "gateway CPU", "broker CPU",
              "gateway CPU, µs a message"]  # fmt: skip
    return markdown(header, rows)


def _restored(found: dict[str, Any]) -> str:
    rows = [
        [
            f"{p['users']:,}", size(p["state_mb"] * 1e6), seconds(p["seconds"]),
            seconds(p["cpu_s"]), f"{number(p['resident_mb'])} MB", f"{number(p['lookup_us'])} µs",
        ]
        for p in found["table"]["restored"]
    ]  # fmt: skip
    header = ["users", "state", "no answer for", "CPU", "resident", "then a look-up"]
    return markdown(header, rows)


def _floor(found: dict[str, Any]) -> str:
    rows = [
        [f"{p['users']:,}", size(p["state_mb"] * 1e6), seconds(p["seconds"]), seconds(p["cpu_s"])]
        for p in found["table"]["floor"]
    ]
    return markdown(["users", "state", "no answer for", "CPU"], rows)


def _rebalanced(found: dict[str, Any]) -> str:
    rows = [
        [
            str(p["standbys"]), f"{p['users']:,}", seconds(p["joining_s"]), seconds(p["kept_s"]),
            seconds(p["killed_s"]), f"{number(p['resident_mb_both'])} MB",
        ]
        for p in found["table"]["rebalanced"]
    ]  # fmt: skip
    header = ["standby copies", "users", "a worker joins: what moves", "what stays",
              "a worker is killed", "resident, both workers"]  # fmt: skip
    return markdown(header, rows)


def _mailbox(found: dict[str, Any]) -> str:
    rows = [
        [
            f"{p['messages']:,}", seconds(p["seconds"]), size(p["bytes"]), seconds(p["cpu_s"]),
            number(p["queries"]), number(p["read_units"]),
        ]
        for p in found["mailbox"]
    ]  # fmt: skip
    header = ["messages in the table", "reconnect", "read", "gateway CPU", "Queries",
              "read units"]  # fmt: skip
    return markdown(header, rows)
