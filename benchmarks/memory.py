"""What a worker holds within a limit of memory: `make memory`.

A backlog waits. The store answers no write for STALL_S seconds, so that all that may wait does,
then at once. Each worker runs in a cgroup of its own, of which it knows as in a container, and
has to come to the end of the backlog. Where no cgroup can be made, which is said, the worker is
told the limit by `memory_mb` and its peak is held against it: a limit on addresses (RLIMIT_AS)
would count what is only reserved.

Prints a line of JSON and the table of docs/operations.md. `--small`: that it works.
"""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from benchmarks.cgroup import Cgroup, limited
from benchmarks.contenders.arrived import CountingArrivals
from benchmarks.contenders.loads import Sent
from benchmarks.contenders.running import Task, environment
from benchmarks.contenders.stores import Instant
from benchmarks.contenders.topics import Group, filled, reached
from benchmarks.instant import instant_endpoint
from benchmarks.made import markdown
from benchmarks.process import cpu_s, resident_mb_peak
from tests.services import Services, ServicesMissing, start_services
from tests.services.child import Child
from tests.services.choose import LOCAL_AWS
from tests.services.interrupts import exit_status

#: Seconds that the store answers no write: longer than a call waits for an answer.
STALL_S = 12.0
#: Seconds that a run may take.
RUN_S_MAX = 600.0

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One run. memory_mb: of the cgroup. compression: of the producer, as librdkafka names it."""

    memory_mb: int
    partitions: int
    body_bytes: int
    records: int
    compression: str = "none"


#: Body sizes, and records of each: more than 1,024 MiB let be fetched.
BODIES = {300: 250_000, 10_000: 16_000, 300_000: 600}
#: The backlog of a large service in a small container.
LARGE = Case(256, 16, 300, 500_000)
MEMORIES_MB, PARTITIONS = (256, 512, 1024), (1, 16, 64, 256)
COMPRESSED = (("gzip", 16), ("zstd", 16), ("zstd", 64))


def cases(*, small: bool) -> Iterator[Case]:
    """What is run, in this order."""
    if small:
        yield Case(256, 4, 300, 5_000)
        return
    yield LARGE
    for memory_mb, partitions, (size, records) in product(MEMORIES_MB, PARTITIONS, BODIES.items()):
        yield Case(memory_mb, partitions, size, records)
    for compression, partitions in COMPRESSED:
        yield Case(256, partitions, 300, 300_000, compression)


def run(case: Case, services: Services) -> Found:
    """One worker, on a topic and an endpoint of its own."""
    sent = (
        Sent(b"user-%010d" % (n % max(1, case.records // 3)), case.body_bytes)
        for n in range(case.records)
    )
    topic = uuid.uuid4().hex[:8]
    with ExitStack() as stack:
        ends = stack.enter_context(
            filled(services.bootstrap, topic, case.partitions, sent, case.compression)
        )
        aws = LOCAL_AWS if services.dynamodb else {}
        address = stack.enter_context(
            instant_endpoint(CountingArrivals, services.endpoint, STALL_S)
        )
        store = Instant(address, services.endpoint, aws)
        task = Task(
            bootstrap=services.bootstrap, topic=topic, ends=ends, processes=1,
            directory=services.directory,
        )  # fmt: skip
        group = f"memory-{topic}"
        environ = environment(task, store, group, topic)
        stack.enter_context(store.table("worker", environ))
        command = [sys.executable, "-m", "worker", "worker"]
        cgroup = None
        try:
            cgroup = stack.enter_context(limited(case.memory_mb))
            command = cgroup.command(command)
        except RuntimeError as error:
            print(f"  {error}", file=sys.stderr)
            environ["POSTE_MEMORY_MB"] = str(case.memory_mb)
        worker = Child(command, log=services.directory / f"{topic}.log", env=environ)
        stack.callback(worker.kill)
        found = _watched(worker, cgroup, task, group)
    row = {**asdict(case), **found}
    print(f"  {row}", file=sys.stderr, flush=True)
    return row


def _watched(worker: Child, cgroup: Cgroup | None, task: Task, group: str) -> Found:
    """Until everything is committed, or the worker has ended."""
    began_s = time.monotonic()
    worker.start()
    looked_at = Group(task.bootstrap, group, task.topic)
    resident_mb = cpu = 0.0
    said = ""
    try:
        while not reached(looked_at, dict(task.ends)):
            if not worker.alive:
                killed = f", {cgroup.killed()} killed" if cgroup else ""
                said = f"ended after {time.monotonic() - began_s:.0f} s{killed}"
                break
            with suppress(RuntimeError):  # it has ended just now
                resident_mb, cpu = resident_mb_peak(worker.pid), cpu_s(worker.pid)
            if time.monotonic() - began_s > RUN_S_MAX:
                said = f"not at the end after {RUN_S_MAX:.0f} s"
                break
    finally:
        looked_at.close()
    return {
        "resident_mb": round(resident_mb), "cgroup_mb": round((cgroup and cgroup.peak_mb()) or 0),
        "seconds": round(time.monotonic() - began_s), "cpu_s": round(cpu, 1), "said": said,
    }  # fmt: skip


def table(rows: list[Found]) -> str:
    """Of the runs without compression: peaks by memory, partitions and body."""
    cells = {
        (row["memory_mb"], row["partitions"], row["body_bytes"]): _cell(row)
        for row in rows
        if row["compression"] == "none" and row["records"] == BODIES.get(row["body_bytes"])
    }
    header = ["`memory_mb`", "partitions", *(f"bodies of {size:,} B" for size in BODIES)]
    return markdown(header, [
        [f"{memory_mb:,}", str(partitions),
         *(cells.get((memory_mb, partitions, size), "") for size in BODIES)]
        for memory_mb, partitions in product(MEMORIES_MB, PARTITIONS)
    ])  # fmt: skip


def _cell(row: Found) -> str:
    return f"{row['resident_mb']}" if not row["said"] else f"**{row['said']}**"


def main(arguments: list[str]) -> int:
    """Exit status: 0 when every worker came to the end of its backlog, within its limit."""
    try:
        with start_services() as services:
            rows = [run(case, services) for case in cases(small="--small" in arguments)]
    except (ServicesMissing, RuntimeError) as error:
        print(f"make memory: {error}", file=sys.stderr)
        return 1
    print(json.dumps(rows))
    print(table(rows))
    for row in rows:
        if row["compression"] != "none" or row["records"] == LARGE.records:
            print({name: row[name] for name in (*asdict(LARGE), "resident_mb", "said")})
    above = [row for row in rows if row["said"] or row["resident_mb"] > row["memory_mb"]]
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(exit_status("make memory", lambda: main(sys.argv[1:])))
