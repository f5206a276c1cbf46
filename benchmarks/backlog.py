"""A backlog of a million records through one worker: resident memory, processor time, rate.

    make bench                      python -m benchmarks.backlog [RECORDS]

On the real services, which share the machine: DynamoDB Local is the bottleneck of the rate, so
what counts here is the memory, which must not grow with the backlog, and the worker's own
processor time. Exits with 1 when the peak is above the limit.
"""

import asyncio
import json
import logging
import os
import platform
import resource
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.progress import Progress

from tests.services import Services, start_services
from tests.services.child import Child
from worker.configuration import load_settings
from worker.operations import open_office

RECORDS, BODY_BYTES, USERS, PARTITIONS = 1_000_000, 300, 2_000, 8
#: Megabytes of resident memory that the worker may reach.
RESIDENT_MB_MAX = 300
#: Seconds until the backlog must be materialized.
DRAIN_S_MAX = 1_800.0
#: Sends that are awaited together.
_IN_FLIGHT = 10_000


def _peak_mb(pid: int) -> float:
    """Peak resident memory so far: VmHWM of proc(5)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this needs Linux's /proc")


def _cpu_s(pid: int) -> float:
    """User and system time so far: fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _produce(bootstrap: str, topic: str, records: int, console: Console) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    try:
        with Progress(console=console) as bar:
            task = bar.add_task(f"{records:,} records of {BODY_BYTES} bytes", total=records)
            pending = []
            for n in range(records):
                body = (b"%d " % n).ljust(BODY_BYTES, b"x")
                key = b"user-%d" % (n * 7919 % USERS)
                pending.append(await producer.send(topic, key=key, value=body))
                if len(pending) == _IN_FLIGHT:
                    await asyncio.gather(*pending)
                    bar.update(task, completed=n + 1)
                    pending.clear()
            await asyncio.gather(*pending)
            bar.update(task, completed=records)
    finally:
        await producer.stop()


async def _measure(services: Services, records: int, console: Console) -> dict[str, float]:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("POSTE_")},
        **services.environment,
        "POSTE_HTTP__PORT": "0",
    }
    os.environ.update(services.environment)
    poste = [sys.executable, "-m", "worker"]
    made = Child(
        [*poste, "init", "--partitions", str(PARTITIONS), "--replication-factor", "1"],
        log=services.directory / "init.log", env=environment,
    )  # fmt: skip
    made.start()
    if await asyncio.to_thread(made.wait, 60.0) != 0:
        raise RuntimeError(f"poste init:\n{made.tail()}")
    settings = load_settings(None, {k: v for k, v in environment.items() if k.startswith("POSTE_")})
    await _produce(services.bootstrap, settings.kafka.topic, records, console)
    worker = Child([*poste, "worker"], log=services.directory / "worker.log", env=environment)
    begin = time.monotonic()
    worker.start()
    try:
        with Progress(console=console) as bar:
            task = bar.add_task("materialized", total=records)
            async with open_office(settings) as office:
                done = 0
                while done < records:
                    standings = await office.standings()
                    done = sum(s.progress.next if s.progress else 0 for s in standings)
                    bar.update(task, completed=done)
                    if time.monotonic() - begin > DRAIN_S_MAX or not worker.alive:
                        raise RuntimeError(f"{done} of {records}:\n{worker.tail()}")
                    await asyncio.sleep(0.5)
        seconds = time.monotonic() - begin
        return {
            "records": records,
            "resident_mb_peak": round(_peak_mb(worker.pid), 1),
            "cpu_us_per_record": round(_cpu_s(worker.pid) * 1e6 / records, 1),
            "records_per_s": round(records / seconds),
        }
    finally:
        worker.kill()


def main() -> int:
    """Exit status: 0 when the memory stayed within its limit."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    with start_services() as services:
        found = asyncio.run(_measure(services, records, console))
    found["resident_mb_max"] = RESIDENT_MB_MAX
    print(json.dumps(found))
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};"
        f" this script's own peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB",
        highlight=False,
    )
    return 0 if found["resident_mb_peak"] <= RESIDENT_MB_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
