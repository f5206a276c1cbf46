"""The part `contenders`: scenario after scenario, contenders taking turns. See the README."""

import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from benchmarks.contenders.arrived import CountingArrivals
from benchmarks.contenders.loads import LOADS, Sent
from benchmarks.contenders.page import PICTURES, TABLES
from benchmarks.contenders.running import Run, Task, row, run
from benchmarks.contenders.scenarios import GROWN, START, Scenario, full
from benchmarks.contenders.scenarios import small as small_ones
from benchmarks.contenders.stores import Instant, Local, Store
from benchmarks.contenders.topics import filled
from benchmarks.instant import instant_endpoint
from tests.services import Services, start_services
from tests.services.choose import LOCAL_AWS

__all__ = ["PICTURES", "RESIDENT_MB_MAX", "TABLES", "measure"]

#: Megabytes that the worker may reach with a million records waiting, and how many times what it
#: reaches on the base (G8).
RESIDENT_MB_MAX, RESIDENT_GROWTH_MAX = 300, 1.15


def measure(*, small: bool) -> dict[str, Any]:
    """See `report.Part`. RuntimeError also when the worker's memory grew above its limit."""
    with ExitStack() as stack:
        services = stack.enter_context(start_services())
        aws = LOCAL_AWS if services.dynamodb else {}
        address = stack.enter_context(instant_endpoint(CountingArrivals, services.endpoint))
        stores: dict[bool, Store] = {
            False: Instant(address, services.endpoint, aws), True: Local(services.endpoint, aws),
        }  # fmt: skip
        scenarios = list(small_ones() if small else full())
        base = next(each for each in scenarios if each.load != START.load)
        return {"base": _named(base), "rows": list(_rows(scenarios, services, stores))}


def _rows(
    scenarios: Iterable[Scenario], services: Services, stores: Mapping[bool, Store]
) -> Iterator[dict[str, Any]]:
    """One per scenario and contender. The first scenario is the start."""
    started: dict[str, Run] = {}
    base: dict[str, Run] = {}
    for scenario in scenarios:
        _say(", ".join(f"{name} {value}" for name, value in _named(scenario).items()))
        rounds = all_rounds(scenario, services, stores[scenario.local])
        best = {contender: least(runs) for contender, runs in rounds.items()}
        starting = scenario.load == START.load
        if starting:
            started = best
        elif not base:
            base = best
        for contender, found in best.items():
            if scenario.records >= GROWN.records and contender == "worker":
                insist_on_bounded(found, base[contender])
            start = None if starting else started.get(contender)
            figures = row(found, start, scenario.processes, scenario.records, rounds[contender])
            yield {**_named(scenario), "contender": contender, **figures}


def _named(scenario: Scenario) -> dict[str, Any]:
    named = asdict(scenario)
    del named["contenders"]
    return named


def insist_on_bounded(found: Run, base: Run) -> None:
    """Raises RuntimeError when memory grew with the backlog. base: with a tenth of it."""
    limit_mb = min(RESIDENT_MB_MAX, RESIDENT_GROWTH_MAX * base.resident_mb)
    if found.resident_mb > limit_mb:
        raise RuntimeError(
            f"the worker reached {found.resident_mb:.0f} MB: the limit is {limit_mb:.0f}"
        )


def least(runs: Iterable[Run]) -> Run:
    """The round that took the least processor time."""
    return min(runs, key=lambda each: each.cpu_s)


def all_rounds(scenario: Scenario, services: Services, store: Store) -> dict[str, list[Run]]:
    """Contenders take turns."""
    found: dict[str, list[Run]] = {contender: [] for contender in scenario.contenders}
    topic = uuid.uuid4().hex[:8]
    with filled(services.bootstrap, topic, scenario.partitions, sent(scenario)) as ends:
        task = Task(
            bootstrap=services.bootstrap, topic=topic, ends=ends,
            processes=scenario.processes, directory=services.directory,
        )  # fmt: skip
        for name in scenario.contenders * scenario.rounds:
            found[name].append(run(name, task, store))
            _say(f"  {name}: {found[name][-1]}")
    return found


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def sent(scenario: Scenario) -> Iterable[Sent]:
    """The messages of a scenario; one in each partition for the start."""
    if scenario.load == START.load:
        return one_in_each(scenario.partitions, scenario.body_bytes)
    return LOADS[scenario.load](scenario.records, scenario.body_bytes)


def one_in_each(partitions: int, body_bytes: int) -> list[Sent]:
    """A message in each partition."""
    found: dict[int, Sent] = {}
    for each in LOADS["each to another"](1_000 * partitions, body_bytes):
        found.setdefault(each.partition(partitions), each)
    assert len(found) == partitions
    return list(found.values())
