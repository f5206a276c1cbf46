"""Live load: processor time per message and the wait until readable, the worker beside plain.

Kafka, a producer with a schedule of its own, an endpoint that answers at once, and one contender at
a time under load, in turns; the others idle. Processor time is that of the contender's process
during the load: its start is not in it.
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.endpoint import recording_endpoint
from benchmarks.md_tables import number
from benchmarks.process import cpu_s
from benchmarks.report import Found, Table
from benchmarks.sending import Load, Waits, waits
from benchmarks.workers import Deployment, child, new_deployment, running_worker
from local import Services, start_services
from worker.settings import BatchSettings

SOFTWARE = ("Kafka", "aiokafka", "aiobotocore", "confluent-kafka", "faust-streaming")
PARTITIONS = 4
RATES_PER_S = (600, 1_000)
#: `batch.linger_s`: off, the default, and one that is longer than the target allows. None: plain.
DEFAULT_LINGER_S = BatchSettings().linger_s
LINGERS_S = (None, 0.0, DEFAULT_LINGER_S, 0.5)
#: Rounds in turns, of which the least processor time counts, and its waits; seconds of each load.
ROUNDS, SECONDS = 2, 10.0
#: Before the first round: the group is joined, and both JVMs have compiled what they do often.
_WARM = Load(8.0, 600)


@dataclass(frozen=True, slots=True)
class _Contender:
    """linger_s: the worker's; None: the plain script."""

    linger_s: float | None
    deployment: Deployment
    endpoint: str
    pid: int

    @property
    def name(self) -> str:
        return "plain" if self.linger_s is None else f"worker, linger {self.linger_s:g} s"


def measure(*, small: bool) -> Found:
    """See `report.Part`."""
    rates, rounds = (RATES_PER_S[:1], 1) if small else (RATES_PER_S, ROUNDS)
    loads = [Load(2.0 if small else SECONDS, per_s) for per_s in rates]
    best: dict[tuple[float, float | None], tuple[float, Waits]] = {}
    with start_services() as services, ExitStack() as stack:
        lingers_s = dict.fromkeys(LINGERS_S)  # the default may be 0
        contenders = [_started(stack, services, linger_s) for linger_s in lingers_s]
        for one in contenders:
            waits(one.deployment, one.endpoint, _WARM)
        for load in loads * rounds:
            for one in contenders:
                begin_s = cpu_s(one.pid)
                found = waits(one.deployment, one.endpoint, load)
                cpu_us = (cpu_s(one.pid) - begin_s) * 1e6 / load.messages
                print(f"  {load.per_s} a second, {one.name}: {cpu_us:.0f} µs, {found}",
                      file=sys.stderr, flush=True)  # fmt: skip
                key = load.per_s, one.linger_s
                best[key] = min(best.get(key, (cpu_us, found)), (cpu_us, found))
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    for per_s in rates:
        plain_us, _ = best[per_s, None]
        for one in contenders:
            cpu_us, found = best[per_s, one.linger_s]
            cells = ["" if value is None else number(value)
                     for value in (found.p50, found.p99, found.longest)]  # fmt: skip
            rows.append(
                [f"{per_s:,}", one.name, number(cpu_us), f"{cpu_us / plain_us:.2f}", *cells]
            )
            if one.linger_s == DEFAULT_LINGER_S:
                figures[f"of plain/{per_s:,} a second"] = cpu_us / plain_us
                figures[f"p99 ms/{per_s:,} a second"] = round(found.p99 or found.longest, 1)
    header = ("messages a second", "contender", "CPU µs a message", "of plain", "p50 ms", "p99 ms",
              "longest ms")  # fmt: skip
    return Found({"live": Table(header, rows)}, figures)


def _started(stack: ExitStack, services: Services, linger_s: float | None) -> _Contender:
    settings = {} if linger_s is None else {"POSTE_BATCH__LINGER_S": str(linger_s)}
    deployment = new_deployment(services, PARTITIONS, settings)
    endpoint = stack.enter_context(recording_endpoint(deployment.topic, PARTITIONS))
    if linger_s is None:
        process = child(deployment, endpoint, f"plain-{deployment.topic}", "plain")
        process.start()
        stack.callback(process.kill)
    else:
        process = stack.enter_context(running_worker(deployment, endpoint))
    return _Contender(linger_s, deployment, endpoint, process.pid)
