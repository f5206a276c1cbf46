"""Live load: processor time per message and the wait until readable, the worker beside plain.

Kafka, a producer with a schedule of its own, an endpoint that answers at once and notes when
(`benchmarks.latency`), and one contender at a time under load, in turns; the others idle. Processor
time is that of the contender's process during the load: its start is not in it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.latency.load import Phase, summary
from benchmarks.latency.noting import noting_endpoint
from benchmarks.latency.watching import by_endpoint
from benchmarks.made import markdown, number
from benchmarks.one_worker import Place, new_place, reading_worker
from benchmarks.process import cpu_s
from tests.services import DYNAMODB_ADDRESS, Services, start_services
from tests.services.child import Child
from worker.settings import BatchSettings

PARTITIONS = 4
RATES_PER_S = (600, 1_000)
#: `batch.linger_s`: off, the default, and one that is longer than the target allows.
LINGERS_S = (0.0, BatchSettings().linger_s, 0.5)
#: Rounds in turns, of which the least processor time counts, and its waits; seconds of each load.
ROUNDS, SECONDS = 2, 10.0
#: Before the first round: the group is joined, and both JVMs have compiled what they do often.
_WARM = Phase(8.0, 600)

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Contender:
    """linger_s: the worker's; None: the plain script."""

    linger_s: float | None
    place: Place
    endpoint: str
    pid: int


def measure(*, small: bool) -> Found:
    """One row per rate and contender. Raises RuntimeError."""
    rates, rounds = (RATES_PER_S[:1], 1) if small else (RATES_PER_S, ROUNDS)
    phases = [Phase(2.0 if small else SECONDS, per_s) for per_s in rates]
    rows: dict[tuple[float, float | None], Found] = {}
    with start_services() as services, ExitStack() as stack:
        lingers: tuple[float | None, ...] = (None, *LINGERS_S)
        contenders = [_started(stack, services, linger_s) for linger_s in lingers]
        for each in contenders:
            by_endpoint(each.place, each.endpoint, [_WARM])
        for phase in phases * rounds:
            for each in contenders:
                row = _row(each, phase)
                print(f"  {row}", file=sys.stderr, flush=True)
                key = phase.per_s, each.linger_s
                rows[key] = min(rows.get(key, row), row, key=lambda one: one["cpu_us"])
    return {
        "rounds": rounds,
        "default_linger_s": LINGERS_S[1],
        "rows": [rows[key] for key in sorted(rows, key=_order)],
    }


def _order(key: tuple[float, float | None]) -> tuple[float, float]:
    per_s, linger_s = key
    return per_s, -1.0 if linger_s is None else linger_s


def _started(stack: ExitStack, services: Services, linger_s: float | None) -> _Contender:
    place = new_place(services, PARTITIONS)
    endpoint = stack.enter_context(noting_endpoint(place.topic, PARTITIONS))
    if linger_s is None:
        child = _plain(services, place, endpoint)
        child.start()
        stack.callback(child.kill)
    else:
        environment = {**place.environment, "POSTE_BATCH__LINGER_S": str(linger_s)}
        place = replace(place, environment=environment)
        child = stack.enter_context(reading_worker(services, place, endpoint))
    return _Contender(linger_s, place, endpoint, child.pid)


def _plain(services: Services, place: Place, endpoint: str) -> Child:
    return Child(
        [sys.executable, "-m", "benchmarks.contenders.plain", services.bootstrap, place.topic,
         f"plain-{place.topic}", "mailboxes"],
        log=services.directory / f"plain-{place.topic}.log",
        env={**os.environ, **services.environment, DYNAMODB_ADDRESS: endpoint},
    )  # fmt: skip


def _row(contender: _Contender, phase: Phase) -> Found:
    begin_s = cpu_s(contender.pid)
    seen = by_endpoint(contender.place, contender.endpoint, [phase])
    if seen.unread:
        raise RuntimeError(f"{seen.unread} messages were never readable")
    used_s = cpu_s(contender.pid) - begin_s
    return {
        "per_s": phase.per_s,
        "linger_s": contender.linger_s,
        "cpu_us": round(used_s * 1e6 / (phase.per_s * phase.seconds), 1),
        **summary(seen.waits_s),
    }


def _table(found: Found) -> str:
    header = ["messages a second", "contender", "CPU µs a message", "of plain", "p50 ms", "p99 ms",
              "longest ms"]  # fmt: skip
    plain = {row["per_s"]: row["cpu_us"] for row in found["rows"] if row["linger_s"] is None}
    return markdown(header, (
        [
            f"{row['per_s']:,}",
            "plain" if row["linger_s"] is None else f"worker, linger {row['linger_s']:g} s",
            number(row["cpu_us"]), f"{row['cpu_us'] / plain[row['per_s']]:.2f}",
            *("" if row[n] is None else number(row[n]) for n in ("p50_ms", "p99_ms", "max_ms")),
        ]
        for row in found["rows"]
    ))  # fmt: skip


TABLES: Mapping[str, Callable[[Found], str]] = {"live": _table}
PICTURES: Mapping[str, Callable[[Found], str]] = {}
