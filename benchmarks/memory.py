"""What a worker holds within a limit of memory: `make memory`.

A backlog waits. The store answers no write for STALL_S seconds, so that as much waits as may, then
at once. Each worker runs in a cgroup of its own, which it reads its limit from as in a container,
and has to reach the end of the backlog. Where no cgroup can be made the worker gets the limit by
`memory_mb`, and its peak is compared with it. (RLIMIT_AS would count what is only reserved.)

Prints a line of JSON and the table of docs/operations.md. `--small` only shows that it works.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from benchmarks.cgroup import Cgroup, limited
from benchmarks.endpoint import recording_endpoint
from benchmarks.loads import body
from benchmarks.md_tables import markdown
from benchmarks.process import cpu_s, resident_mb_peak
from benchmarks.topics import Group, fill
from benchmarks.workers import child, new_deployment
from local import Services, ServicesMissingError, start_services
from local.child import Child
from local.interrupts import exit_status

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


#: Body sizes, and records of each: more than a limit of 1,024 MiB lets the worker fetch at once.
BODIES = {300: 250_000, 10_000: 16_000, 300_000: 600}
#: The backlog of a large service in a small container.
LARGE = Case(256, 16, 300, 500_000)
MEMORIES_MB, PARTITIONS = (256, 512, 1024), (1, 16, 64, 256)
COMPRESSED = (("gzip", 16), ("zstd", 16), ("zstd", 64))


def cases(*, small: bool) -> Iterator[Case]:
    """The runs, in order."""
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
    users = max(1, case.records // 3)
    messages = ((b"user-%010d" % (n % users), body(n, case.body_bytes))
                for n in range(case.records))  # fmt: skip
    deployment = new_deployment(services, case.partitions)
    ends = fill(services.bootstrap, deployment.topic, messages, case.compression)
    group = f"memory-{deployment.topic}"
    with ExitStack() as stack:
        endpoint = stack.enter_context(
            recording_endpoint(deployment.topic, case.partitions, stall_s=STALL_S)
        )
        worker = child(deployment, endpoint, group)
        cgroup = None
        try:
            cgroup = stack.enter_context(limited(case.memory_mb))
            worker.command = cgroup.command(worker.command)
        except RuntimeError as error:
            print(f"  {error}", file=sys.stderr)
            assert worker.env is not None
            worker.env["POSTE_MEMORY_MB"] = str(case.memory_mb)
        stack.callback(worker.kill)
        looked_at = Group(services.bootstrap, group, deployment.topic)
        stack.callback(looked_at.close)
        row = {**asdict(case), **_watched(worker, cgroup, looked_at, ends)}
    print(f"  {row}", file=sys.stderr, flush=True)
    return row


def _watched(worker: Child, cgroup: Cgroup | None, group: Group, ends: dict[int, int]) -> Found:
    """Until everything is committed, or the worker has ended."""
    began_s = time.monotonic()
    worker.start()
    resident_mb = cpu = 0.0
    said = ""
    while not group.reached(ends):
        if not worker.alive:
            killed = f", {cgroup.killed()} killed" if cgroup else ""
            said = f"ended after {time.monotonic() - began_s:.0f} s{killed}"
            break
        with suppress(RuntimeError):  # it has ended just now
            resident_mb, cpu = resident_mb_peak(worker.pid), cpu_s(worker.pid)
        if time.monotonic() - began_s > RUN_S_MAX:
            said = f"not at the end after {RUN_S_MAX:.0f} s"
            break
    return {
        "resident_mb": round(resident_mb), "cgroup_mb": round((cgroup and cgroup.peak_mb()) or 0),
        "seconds": round(time.monotonic() - began_s), "cpu_s": round(cpu, 1), "said": said,
    }  # fmt: skip


def table(rows: list[Found]) -> str:
    """Peaks by memory, partitions and body, of the runs without compression."""
    cells = {
        (row["memory_mb"], row["partitions"], row["body_bytes"]): (
            f"**{row['said']}**" if row["said"] else f"{row['resident_mb']}"
        )
        for row in rows
        if row["compression"] == "none" and row["records"] == BODIES.get(row["body_bytes"])
    }
    header = ["`memory_mb`", "partitions", *(f"bodies of {size:,} B" for size in BODIES)]
    return markdown(header, [
        [f"{memory_mb:,}", str(partitions),
         *(cells.get((memory_mb, partitions, size), "") for size in BODIES)]
        for memory_mb, partitions in product(MEMORIES_MB, PARTITIONS)
    ])  # fmt: skip


def main(arguments: list[str]) -> int:
    """Exit status: 0 when every worker reached the end of its backlog, within its limit."""
    try:
        with start_services() as services:
            rows = [run(case, services) for case in cases(small="--small" in arguments)]
    except (ServicesMissingError, RuntimeError) as error:
        print(f"make memory: {error}", file=sys.stderr)
        return 1
    print(json.dumps(rows))
    print(table(rows))
    for row in rows:
        if row["compression"] != "none" or row["records"] == LARGE.records:
            print({name: row[name] for name in (*asdict(LARGE), "resident_mb", "said")})
    return 1 if any(row["said"] or row["resident_mb"] > row["memory_mb"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(exit_status("make memory", lambda: main(sys.argv[1:])))
