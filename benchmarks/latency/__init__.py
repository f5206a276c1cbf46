"""From produce to readable: percentiles by rate and store, around silences, and after a burst.

One worker with `batch.linger_s` of 0, a Kafka, a producer in a process of its own, all on this
machine. *Readable* against an endpoint that answers at once: the write was answered; every message
counts, and what is waited for is Kafka's and the worker's share. Against DynamoDB Local: a
strongly consistent Query of a reader returns it; a sample of the messages counts.
A message is due when the schedule says, and waits from then on, whoever is late.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.latency.load import Phase, around, settled_after_s, summary
from benchmarks.latency.noting import noting_endpoint
from benchmarks.latency.watching import Watched, by_endpoint, by_readers
from benchmarks.made import markdown, number
from benchmarks.one_worker import Place, new_place, reading_worker
from benchmarks.picture import Series, plot
from benchmarks.process import cpu_s
from tests.services import start_services

PARTITIONS = 8
#: Messages a second: one at which hardly anything is done, and those that load the machine.
QUIET_PER_S, LOADED_PER_S = 10, (1_000, 3_000)
#: Seconds of a rate: until the smallest percentile that is said has ten messages above it. The
#: quiet one, and against the endpoint the others too: p99.9 of all messages. Against DynamoDB
#: Local: p99 of a sample.
_QUIET_S, _INSTANT_S, _LOCAL_S = 1_000.0, 20.0, 50.0
#: What is aimed at, at 1,000 a second.
TARGET_P99_MS = 50.0
#: Messages that are the first after a silence, and the last before one.
EDGE = 100
#: Milliseconds around a commit that are looked at alone, to both sides.
NEAR_MS = 100
#: The burst, and the rate that goes on after it.
BURST, BURST_PER_S = 5_000, 1_000
#: A backlog grew where the last quarter of a load waited this many times longer than the second.
_GREW = 3.0

Found = dict[str, Any]


def measure(*, small: bool) -> Found:
    """Rates by store, silences, commits and the burst. Raises RuntimeError."""
    with start_services() as services, ExitStack() as workers:
        os.environ.update(services.environment)  # of our own readers
        place, local = (_prompt(new_place(services, PARTITIONS)) for _ in range(2))
        endpoint = workers.enter_context(noting_endpoint(place.topic, PARTITIONS))
        worker = workers.enter_context(reading_worker(services, place, endpoint))
        workers.enter_context(reading_worker(services, local))

        def instant(phases: Sequence[Phase]) -> Watched:
            return by_endpoint(place, endpoint, phases)

        def read(phases: Sequence[Phase]) -> Watched:
            return asyncio.run(by_readers(local, phases))

        if not small:
            instant(_WARM)
            read(_WARM)
        quiet_instant, quiet_local = _quiet(instant, read, worker.pid, small=small)
        loaded_instant, commits = _instant(instant, worker.pid, small=small)
        found = {
            "commits": commits,
            "silences": _silences(instant, small=small),
            "burst": _burst(instant, small=small),
        }
        loaded_local = _local(read, small=small)
    rates = [quiet_instant, *loaded_instant, quiet_local, *loaded_local]
    return {"target_p99_ms": TARGET_P99_MS, "rates": rates, **found}


def _prompt(place: Place) -> Place:
    return replace(place, environment={**place.environment, "POSTE_BATCH__LINGER_S": "0"})


#: Both JVMs compile what they do often, and are slow until then.
_WARM = [Phase(15.0, 1_000)]

_Watch = Callable[[Sequence[Phase]], Watched]


def _quiet(instant: _Watch, read: _Watch, pid: int, *, small: bool) -> tuple[Found, Found]:
    """The quiet rate against both stores, side by side: it takes long, and loads nothing."""
    phase = Phase(2.0 if small else _QUIET_S, QUIET_PER_S)
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(read, [phase])
        begin_s = cpu_s(pid)
        seen = instant([phase])
        row = _with_cpu(_rate("instant", phase, seen), phase, cpu_s(pid) - begin_s)
        return row, _rate("DynamoDB Local", phase, reading.result())


def _instant(instant: _Watch, pid: int, *, small: bool) -> tuple[list[Found], Found]:
    """The loaded rates and the chatty one, against the endpoint; and what a commit does."""
    rates, commits = [], {}
    loads = [*((per_s, False) for per_s in _loaded(small=small)), (1_000, True)]
    for per_s, chatty in loads:
        phase = Phase(1.0 if small else _INSTANT_S, per_s, chatty=chatty)
        begin_s = cpu_s(pid)
        seen = instant([phase])
        rates.append(_with_cpu(_rate("instant", phase, seen), phase, cpu_s(pid) - begin_s))
        if per_s == 1_000 and not chatty:
            commits = _commits(seen)
    return rates, commits


def _local(read: _Watch, *, small: bool) -> list[Found]:
    phases = [Phase(1.0 if small else _LOCAL_S, per_s) for per_s in _loaded(small=small)]
    return [_rate("DynamoDB Local", phase, read([phase])) for phase in phases]


def _loaded(*, small: bool) -> Sequence[int]:
    return LOADED_PER_S[:1] if small else LOADED_PER_S


def _with_cpu(row: Found, phase: Phase, used_s: float) -> Found:
    return {**row, "cpu_us": round(used_s * 1e6 / (phase.per_s * phase.seconds))}


def _rate(store: str, phase: Phase, seen: Watched) -> Found:
    """One row. grew_s: how much longer the last messages waited than the first ones, where the
    store did not keep up and percentiles say how long the load was, and nothing else."""
    quarter = max(1, len(seen.waits_s) // 4)
    second, last = (
        sorted(waits)[len(waits) // 2]
        for waits in (seen.waits_s[quarter : 2 * quarter], seen.waits_s[-quarter:])
    )
    behind = last - second > 1.0 and last > _GREW * second
    return {
        "store": store,
        "per_s": phase.per_s,
        "chatty": phase.chatty,
        "seconds": phase.seconds,
        **summary(seen.waits_s),
        "unread": seen.unread,
        "grew_s": round(last - second, 2) if behind or seen.unread else None,
        "acknowledged_p99_ms": seen.producer["acknowledged"]["p99_ms"],
        "behind_p99_ms": seen.producer["behind"]["p99_ms"],
    }


def _commits(seen: Watched) -> Found:
    near, far = around(
        [due.at_s for due in seen.due], seen.waits_s, seen.committed_s, near_s=NEAR_MS / 1000
    )
    return {"near": summary(near) if near else None, "far": summary(far), "near_ms": NEAR_MS}


def _silences(watched: _Watch, *, small: bool) -> Found:
    """Load between silences that are longer than a commit interval."""
    silence, load = Phase(1.0 if small else 15.0), Phase(1.0 if small else 5.0, 1_000)
    times = 1 if small else 3
    seen = watched([silence, load] * times)
    first: list[float] = []
    last: list[float] = []
    between: list[float] = []
    for phase in range(1, 2 * times, 2):
        _, waits_s = seen.of(phase)
        first += waits_s[:EDGE]
        between += waits_s[EDGE:-EDGE]
        last += waits_s[-EDGE:]
    return {
        "silence_s": silence.seconds, "load_s": load.seconds, "per_s": load.per_s,
        "times": times, "edge": EDGE, "first": summary(first), "between": summary(between),
        "last": summary(last),
    }  # fmt: skip


def _burst(watched: _Watch, *, small: bool) -> Found:
    """How long a burst is felt by those that come after it."""
    seconds = 2.0 if small else 15.0
    seen = watched([Phase(seconds, BURST_PER_S, at_once=BURST)])
    burst, after = seen.waits_s[:BURST], seen.waits_s[BURST:]
    settled_s = settled_after_s(
        [due.at_s for due in seen.due[BURST:]], after, from_s=0.0, limit_s=TARGET_P99_MS / 1000
    )
    half = len(after) // 2
    return {
        "messages": BURST, "per_s": BURST_PER_S, "readable_s": round(max(burst), 2),
        "felt_s": round(settled_s, 2), "after": summary(after[half:]),
    }  # fmt: skip


def _ms(value: float | None) -> str:
    return "" if value is None else number(value)


def _columns(of: Found) -> list[str]:
    return [f"{of['messages']:,}", *(_ms(of[n]) for n in ("p50_ms", "p99_ms", "p999_ms", "max_ms"))]


def _rates_table(found: Found) -> str:
    header = ["store", "messages a second", "counted", "p50 ms", "p99 ms", "p99.9 ms", "longest ms",
              "CPU µs a message", "broker's answer, p99 ms", "producer late, p99 ms"]  # fmt: skip
    rows = []
    for row in found["rates"]:
        rate = f"{row['per_s']:,.0f}{', chatty' if row['chatty'] else ''}"
        counted = _columns(row)
        if row["grew_s"] is not None:
            said = f"does not keep up: waits grew by {row['grew_s']:g} s in {row['seconds']:g} s"
            counted = [counted[0], said, "", "", ""]
        cpu = "" if "cpu_us" not in row else f"{row['cpu_us']:,}"
        rest = [_ms(row["acknowledged_p99_ms"]), _ms(row["behind_p99_ms"])]
        rows.append([row["store"], rate, *counted, cpu, *rest])
    return markdown(header, rows)


def _phases_table(found: Found) -> str:
    header = ["messages due", "counted", "p50 ms", "p99 ms", "p99.9 ms", "longest ms"]
    silences, commits, burst = found["silences"], found["commits"], found["burst"]
    silence = f"a silence of {silences['silence_s']:g} s"
    rows = [
        [f"first {silences['edge']} after {silence}", *_columns(silences["first"])],
        ["between these and the next", *_columns(silences["between"])],
        [f"last {silences['edge']} before {silence}", *_columns(silences["last"])],
    ]
    if commits["near"] is not None:
        rows.append([f"within {commits['near_ms']} ms of a commit", *_columns(commits["near"])])
    rows.append(["all other of that load", *_columns(commits["far"])])
    rows.append([f"second half of the load after {burst['messages']:,} at once",
                 *_columns(burst["after"])])  # fmt: skip
    return markdown(header, rows) + (
        f"\nThe {burst['messages']:,} at once were all readable after {burst['readable_s']:g} s; of"
        f" the {burst['per_s']:,} a second that went on, the last to wait for more than"
        f" {found['target_p99_ms']:g} ms was due {burst['felt_s']:g} s after the burst.\n"
    )


def _picture(found: Found) -> str:
    """Waits against an endpoint that answers at once, by rate."""
    rows = [r for r in found["rates"] if r["store"] == "instant" and not r["chatty"]]
    series = []
    for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms")):
        points = [(r["per_s"], r[key]) for r in rows if r[key] is not None and r["grew_s"] is None]
        if points:
            series.append(Series(name, points))
    return plot("From produce to readable, one worker", "messages a second", "milliseconds", series)


TABLES: Mapping[str, Callable[[Found], str]] = {
    "latency": _rates_table,
    "latency_phases": _phases_table,
}
PICTURES: Mapping[str, Callable[[Found], str]] = {"latency.svg": _picture}
