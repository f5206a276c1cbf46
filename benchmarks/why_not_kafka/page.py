"""docs/why-not-kafka.md and its picture, from the experiment's JSON."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.capacity_inputs import Machine
from benchmarks.made import made, markdown, number, seconds, size
from benchmarks.picture import Series, plot
from benchmarks.why_not_kafka.partitions import Slope, slopes
from benchmarks.why_not_kafka.rebuilt import VALUE_BYTES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "why_not_kafka.json"
PAGE = ROOT / "docs" / "why-not-kafka.md"
PICTURE = ROOT / "docs" / "why-not-kafka.svg"
#: The service that the extrapolation is about.
USERS = 500e6
#: Partitions that one broker bears: an input of docs/capacity.md, which has its source.
BROKER_PARTITIONS = Machine(worker_cpu_us=0, scan_cpu_us=0).broker_partitions
#: A line is no straight one where its steepest part is steeper than this times its flattest.
BENT = 1.5
#: Parts that ask Kafka.
OF_KAFKA = ("partitions", "scan", "table")


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text())
    return found


def written(text: str, found: dict[str, Any]) -> str:
    """The page with its tables made again. Raises KeyError for a part that was not run."""
    tables = {
        "machine": _machine, "partitions": _partitions, "extrapolated": _extrapolated,
        "scan": _scan, "restored": _restored, "floor": _floor, "routed": _routed,
        "rebalanced": _rebalanced, "mailbox": _mailbox,
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
    brokers = found.get("kafka", {})
    said = [
        f"Measured on {found['machine']}.",
        *(f"{each}." for each in sorted({*brokers.values()})),
    ]
    if "commit" in found:
        said.append(f"Commit {found['commit']}, {found['date']}.")
    if small:
        said.insert(0, f"**Provisional**, at small sizes ({', '.join(small)}).")
    if older := [part for part in OF_KAFKA if part in found and part not in brokers]:
        said.append(f"Still of an earlier run, with a smaller broker: {', '.join(older)}.")
    return " ".join(said) + "\n"


def _partitions(found: dict[str, Any]) -> str:
    empty = found["partitions"]["empty"]
    first = ["0", "", "", number(empty["heap_mb"]), number(empty["resident_mb"]),
             number(empty["open_files"]), number(empty["maps"]), "", ""]  # fmt: skip
    rows = [
        [
            f"{p['partitions']:,}", number(p["create_s_per_thousand"]),
            number(p["create_cpu_s_per_thousand"]), number(p["heap_mb"]),
            number(p["resident_mb"]), number(p["open_files"]), number(p["maps"]),
            number(p["start_s"]), number(p["start_cpu_s"]),
        ]
        for p in found["partitions"]["points"]
    ]  # fmt: skip
    header = ["partitions", "create a thousand, s", "of it broker CPU, s", "heap in use, MB",
              "resident, MB", "open files", "memory maps", "start, s",
              "of it broker CPU, s"]  # fmt: skip
    limits = found["partitions"]
    return (
        markdown(header, [first, *rows])
        + f"\nIt ended because {limits['stopped']}. This process may open"
        f" {limits['files_max']:,} files and have {limits['maps_max']:,} memory maps.\n"
    )


#: By quantity: what it is, a thousand partitions' unit, and how the whole is written.
_QUANTITIES: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "heap_mb": ("heap in use", "MB", lambda mb: size(mb * 2**20)),
    "resident_mb": ("resident memory", "MB", lambda mb: size(mb * 2**20)),
    "open_files": ("open files", "", number),
    "maps": ("memory maps", "", number),
    "create_s": ("creating them, one request after the other", "s", seconds),
    "start_cpu_s": ("broker CPU of a start", "s", seconds),
}


def _extrapolated(found: dict[str, Any]) -> str:
    every = slopes(found["partitions"]["points"])
    rows, bent = [], []
    for name, (title, unit, written_whole) in _QUANTITIES.items():
        if name not in every:
            continue
        each, least, most, rising = every[name]
        rows.append([
            title, _amount(each, unit), f"{number(least)} to {_amount(most, unit)}",
            written_whole(max(each, 0.0) * USERS / 1000),
        ])  # fmt: skip
        if is_bent(every[name]):
            bent.append(f"{title} ({'steeper' if rising else 'flatter'} at the end)")
    rows.append(
        [f"brokers, at {BROKER_PARTITIONS:,} each", "", "", number(USERS / BROKER_PARTITIONS)]
    )
    header = ["one copy of each", "a thousand more", "between neighbouring sizes",
              f"{USERS:,.0f} partitions, extrapolated"]  # fmt: skip
    said = (
        f"No straight line within these sizes, one part being more than {BENT:g} times as steep as"
        f" another: {', '.join(bent)}. What is extrapolated from such a line is rougher still."
        if bent else
        f"All are nearly straight lines within these sizes: no part is more than {BENT:g} times as"
        " steep as another."
    )  # fmt: skip
    return markdown(header, rows) + f"\n{said}\n"


def is_bent(slope: Slope) -> bool:
    return slope.most > BENT * slope.least


def _amount(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".strip()


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
    header = ["users", "state", "not whole for", "CPU", "resident", "then a look-up in the process"]
    return markdown(header, rows)


def _floor(found: dict[str, Any]) -> str:
    rows = [
        [f"{p['users']:,}", size(p["state_mb"] * 1e6), seconds(p["seconds"]), seconds(p["cpu_s"])]
        for p in found["table"]["floor"]
    ]
    return markdown(["users", "state", "read in", "CPU"], rows)


def _routed(found: dict[str, Any]) -> str:
    rows = [
        [
            {"local": "the worker that has it", "forwarded": "the other one, which forwards"}[
                p["way"]
            ],
            f"{p['lookups']:,}", seconds(p["p50_s"]), seconds(p["p99_s"]), seconds(p["cpu_s"]),
        ]
        for p in found["table"]["routed"]
    ]  # fmt: skip
    header = ["asked is", "look-ups", "p50", "p99", "CPU of both workers, each look-up"]
    return markdown(header, rows)


def _rebalanced(found: dict[str, Any]) -> str:
    rows = [
        [
            str(p["standbys"]), f"{p['users']:,}", size(p["users"] * VALUE_BYTES),
            seconds(p["joining_s"]), seconds(p["kept_s"]), seconds(p["killed_s"]),
            f"{number(p['resident_mb_both'])} MB",
        ]
        for p in found["table"]["rebalanced"]
    ]  # fmt: skip
    header = ["standby copies", "users", "state", "a worker joins: what moves", "what stays",
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
