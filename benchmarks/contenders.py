"""This worker beside the plain script: processor time, memory and calls of whole processes.

Real Kafka. A topic is filled once per scenario, and each contender reads it from its start in a
group of its own, in turns. It is done when its group has committed the end of every partition. If a
message that was committed has not arrived, the run fails: a contender is not credited with work
that it has not done. Writes go to an endpoint that answers at once.
"""

import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.endpoint import Recorder, recorded, recording_endpoint
from benchmarks.loads import body, each_to_another, one_hot_user, skewed
from benchmarks.md_tables import number
from benchmarks.process import cpu_s, resident_mb_peak
from benchmarks.report import Found, Table
from benchmarks.topics import Group, fill
from benchmarks.workers import Deployment, child, new_deployment
from local import Services, start_services

SOFTWARE = ("Kafka", "DynamoDB Local", "aiokafka", "aiobotocore", "faust-streaming")
CONTENDERS = ("worker", "plain")
#: Megabytes that the worker may reach with the longest backlog, and how many times what it reaches
#: on the base: memory must not grow with the backlog (G8).
RESIDENT_MB_MAX, RESIDENT_GROWTH_MAX = 300, 1.15
#: Seconds that a contender may take: a fixed part, and of a thousand messages.
_RUN_S_MAX, _RUN_S_PER_1000 = 90.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One topic. rounds: in turns, of which the one with the least processor time counts."""

    name: str
    load: Callable[[int], Sequence[bytes]] = each_to_another
    records: int = 100_000
    body_bytes: int = 1_000
    partitions: int = 4
    rounds: int = 1


#: So few messages that what is left is the start of a process, which is taken off.
START = Scenario(name="start", records=4, rounds=2)
BASE = Scenario(name="the base", rounds=3)
LONGEST = Scenario(name="1,000,000 records", records=1_000_000)
#: Each differs from the base in one thing.
SCENARIOS = (
    BASE,
    Scenario(name="Zipf", load=skewed, rounds=2),
    Scenario(name="one hot user", load=one_hot_user, rounds=2),
    Scenario(name="bodies of 100 bytes", body_bytes=100),
    Scenario(name="bodies of 10 KB", body_bytes=10_000),
    Scenario(name="1 partition", partitions=1),
    Scenario(name="32 partitions", partitions=32),
    LONGEST,
)
SMALL = (replace(BASE, records=5_000, rounds=1), replace(SCENARIOS[1], records=5_000, rounds=1))


@dataclass(frozen=True, slots=True)
class Run:
    """cpu_s: from the start of the process. resident_mb: its peak."""

    cpu_s: float
    resident_mb: float
    recorded: Recorder


def measure(*, small: bool) -> Found:
    """See `report.Part`. Raises RuntimeError also where the worker's memory grew."""
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    with start_services() as services:
        started = {name: least(runs).cpu_s for name, runs in all_rounds(START, services).items()}
        base: Run | None = None
        for scenario in SMALL if small else SCENARIOS:
            runs = all_rounds(scenario, services)
            best = {name: least(each) for name, each in runs.items()}
            base = base or best["worker"]
            if scenario is LONGEST:
                require_bounded(best["worker"], base)
            cpu_us = {
                name: [(run.cpu_s - started[name]) * 1e6 / scenario.records for run in each]
                for name, each in runs.items()
            }
            rows += [_row(scenario, name, best[name], cpu_us) for name in CONTENDERS]
            group = "each to another" if scenario.load is each_to_another else "skewed"
            figures[f"{group}/{scenario.name}"] = min(cpu_us["worker"]) / min(cpu_us["plain"])
            figures[f"worker cpu us/{scenario.name}"] = round(min(cpu_us["worker"]), 1)
    header = ("scenario", "contender", "write units per 1,000", "calls per 1,000",
              "CPU, µs a message", "of plain", "peak MB")  # fmt: skip
    return Found({"contenders": Table(header, rows)}, figures)


def _row(
    scenario: Scenario, contender: str, run: Run, cpu_us: Mapping[str, Sequence[float]]
) -> list[str]:
    counted = run.recorded.calls["BatchWriteItem"]
    own = cpu_us[contender]
    return [
        scenario.name, contender,
        number(1000 * counted.write_units / scenario.records),
        number(1000 * counted.calls / scenario.records),
        number(min(own)), f"{min(own) / min(cpu_us['plain']):.2f}",
        number(run.resident_mb),
    ]  # fmt: skip


def all_rounds(scenario: Scenario, services: Services) -> dict[str, list[Run]]:
    """The runs of each contender, in turns, on one topic."""
    found: dict[str, list[Run]] = {contender: [] for contender in CONTENDERS}
    deployment = new_deployment(services, scenario.partitions)
    users = scenario.load(scenario.records)
    messages = ((user, body(n, scenario.body_bytes)) for n, user in enumerate(users))
    ends = fill(services.bootstrap, deployment.topic, messages)
    for contender in CONTENDERS * scenario.rounds:
        one = run(contender, deployment, ends)
        found[contender].append(one)
        print(f"  {scenario.name}, {contender}: {one.cpu_s:.2f} s, {one.resident_mb:.0f} MB",
              file=sys.stderr, flush=True)  # fmt: skip
    return found


def run(contender: str, deployment: Deployment, ends: Mapping[int, int]) -> Run:
    """Raises RuntimeError where it ends, takes too long, or has not written what it committed."""
    group = f"{contender}-{uuid.uuid4().hex[:8]}"
    messages = sum(ends.values())
    deadline = time.monotonic() + _RUN_S_MAX + messages / 1_000 * _RUN_S_PER_1000
    looked_at = Group(deployment.services.bootstrap, group, deployment.topic)
    with recording_endpoint(deployment.topic, deployment.partitions) as endpoint:
        process = child(deployment, endpoint, group, contender)
        process.start()
        try:
            while not looked_at.reached(ends):
                if not process.alive:
                    raise RuntimeError(f"{contender} has ended:\n{process.tail()}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{contender} has not ended in time:\n{process.tail()}")
            found = Run(cpu_s(process.pid), resident_mb_peak(process.pid), recorded(endpoint))
        finally:
            process.kill()
            looked_at.close()
    require_delivery(contender, found.recorded, messages)
    return found


def require_delivery(contender: str, written: Recorder, messages: int) -> None:
    """Raises RuntimeError where a message that was committed has not arrived."""
    if len(written.readable_ns) != messages:
        raise RuntimeError(
            f"{contender} committed {messages} messages and wrote {len(written.readable_ns)}"
        )


def require_bounded(found: Run, base: Run) -> None:
    """Raises RuntimeError where memory grew with the backlog. base: a tenth of the backlog."""
    limit_mb = min(RESIDENT_MB_MAX, RESIDENT_GROWTH_MAX * base.resident_mb)
    if found.resident_mb > limit_mb:
        raise RuntimeError(
            f"the worker reached {found.resident_mb:.0f} MB: the limit is {limit_mb:.0f}"
        )


def least(runs: Sequence[Run]) -> Run:
    """The round with the least processor time: disturbances only add."""
    return min(runs, key=lambda one: one.cpu_s)
