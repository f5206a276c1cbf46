"""One contender on one topic: started, watched until all is written and committed, and judged."""

import os
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders.scenarios import FETCHERS
from benchmarks.contenders.stores import Store, Written
from benchmarks.contenders.topics import Group, reached
from benchmarks.process import cpu_s, resident_mb_peak
from tests.services.child import Child

#: Seconds that a contender may take: a fixed part, and a thousand messages', five times what the
#: slowest of them takes on two busy cores.
_RUN_S_MAX, _RUN_S_PER_1000 = 90.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """topic: filled, with so many messages in each partition. processes: of a contender."""

    bootstrap: str
    topic: str
    ends: Mapping[int, int]
    processes: int
    directory: Path

    @property
    def messages(self) -> int:
        return sum(self.ends.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """cpu_s: of all its processes, from their start. resident_mb: of the largest, at its peak."""

    cpu_s: float
    resident_mb: float
    written: Written


def environment(task: Task, store: Store, group: str, table: str) -> dict[str, str]:
    """What a child finds both services by."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("POSTE_")},
        **store.environment,
        "POSTE_KAFKA__BOOTSTRAP_SERVERS": task.bootstrap,
        "POSTE_KAFKA__TOPIC": task.topic,
        "POSTE_KAFKA__GROUP": group,
        "POSTE_DYNAMODB__TABLE": table,
        "POSTE_HTTP__PORT": "0",
    }


def commands(task: Task, group: str, table: str) -> dict[str, list[str]]:
    """How each contender is started."""
    module = [sys.executable, "-m"]
    given = [task.bootstrap, task.topic, group]
    return {
        "worker": [*module, "worker", "worker"],
        "plain": [*module, "benchmarks.contenders.plain", *given, table],
        "confluent": [*module, "benchmarks.contenders.confluent", *given, table],
        "stock": [*module, "benchmarks.contenders.stock", "worker", "--without-web"],
        "fetch aiokafka": [*module, "benchmarks.contenders.floors", "aiokafka", *given],
        "fetch confluent": [*module, "benchmarks.contenders.floors", "confluent", *given],
    }


def run(contender: str, task: Task, store: Store) -> Run:
    """Raises RuntimeError when it ends, takes too long, or has not written what it committed."""
    group, table = f"{contender.replace(' ', '-')}-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:8]
    environ = environment(task, store, group, table)
    stock = {
        "STOCK_BOOTSTRAP": task.bootstrap, "STOCK_TOPIC": task.topic, "STOCK_GROUP": group,
        "STOCK_TABLE": table, "STOCK_DATA": str(task.directory / group),
    }  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(store.table(contender, environ))
        children = [
            Child(
                commands(task, group, table)[contender],
                log=task.directory / f"{group}-{n}.log", env={**environ, **stock},
            )
            for n in range(task.processes)
        ]  # fmt: skip
        for child in children:
            stack.callback(child.kill)
            child.start()
        _watch(contender, children, task, group, store)
        found = Run(
            cpu_s=sum(cpu_s(child.pid) for child in children),
            resident_mb=max(resident_mb_peak(child.pid) for child in children),
            written=store.written(table),
        )
    if contender not in FETCHERS:
        judge(contender, found.written, task.messages)
    return found


def _watch(contender: str, children: list[Child], task: Task, group: str, store: Store) -> None:
    """Returns when the group has committed everything."""
    looked_at = Group(task.bootstrap, group, task.topic)
    deadline = time.monotonic() + _RUN_S_MAX + task.messages / 1_000 * _RUN_S_PER_1000
    try:
        while not reached(looked_at, dict(task.ends)):
            store.watch()
            for child in children:
                if not child.alive:
                    raise RuntimeError(f"{contender} has ended:\n{child.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{contender} has not ended in time:\n{children[0].tail()}")
    finally:
        looked_at.close()


def judge(contender: str, written: Written, messages: int) -> None:
    """Raises RuntimeError when a message that was committed has not arrived."""
    if written.messages != messages:
        raise RuntimeError(
            f"{contender} committed {messages} messages and wrote {written.messages} of them"
        )


def row(
    run: Run, start: Run | None, processes: int, messages: int, rounds: Iterable[Run]
) -> dict[str, Any]:
    """The figures of a run. start: of the same contender, whose processor time is taken off, once
    for each process. rounds: all of which this one is the least."""
    started_s = start.cpu_s * processes if start else 0.0
    written = run.written

    def cpu_us(each: Run) -> float:
        return round((each.cpu_s - started_s) * 1e6 / messages, 1)

    def per_thousand(count: int, digits: int) -> float | None:
        return round(1000 * count / messages, digits) if written.counted else None

    return {
        "cpu_us_per_message": cpu_us(run),
        "cpu_us_per_message_rounds": [cpu_us(each) for each in rounds],
        "cpu_s": round(run.cpu_s, 2),
        "write_units_per_1000": per_thousand(written.write_units, 1),
        "calls_per_1000": per_thousand(written.calls, 2),
        "again": written.again,
        "messages_per_s": round(messages / written.seconds) if written.seconds else None,
        "resident_mb": round(run.resident_mb, 1),
    }
