"""Option A: a partition per user. What a broker needs for each thousand of them.

One broker, one copy of each partition, no record in any: the least that a partition costs. It is
created in steps, stopped by SIGTERM at each size, and started again.
"""

import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    NewPartitions,
    NewTopic,
)

from benchmarks.process import cpu_s, memory_maps, open_files, resident_mb
from benchmarks.why_not_kafka.broker import live_mb, new_broker
from tests.services.jvm import Kafka
from tests.services.ready import wait_until

#: Partitions asked for in one request: the controller takes a request as one batch of at most
#: 10,000 records, and a request of some thousands holds up its heartbeats.
STEP = 1_000
#: Seconds that one request, or the leaders of what it made, may take.
STEP_S_MAX = 120.0
_TOPIC = "a-partition-per-user"


def measure(directory: Path, sizes: list[int], *, seconds_max: float) -> dict[str, Any]:
    """A point per size, until the time is up or the broker refuses; `stopped` says which."""
    kafka = new_broker(directory / "partitions")
    points: list[dict[str, float]] = []
    stopped = "every size was made"
    begin = time.monotonic()
    kafka.start()
    try:
        empty = _held(kafka)
        admin = _admin(kafka)
        made = 0
        for size in sizes:
            if time.monotonic() - begin > seconds_max:
                stopped = f"{seconds_max:.0f} s were up"
                break
            created = _grow(kafka, admin, made, size)
            started = _restart(kafka, size)
            points.append({"partitions": size, **created, **started, **_held(kafka)})
            made = size
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        stopped = str(error).splitlines()[0]
    finally:
        kafka.stop()
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    maps_max = int(Path("/proc/sys/vm/max_map_count").read_text())
    return {
        "empty": empty, "points": points, "stopped": stopped,
        "files_max": files_max, "maps_max": maps_max,
    }  # fmt: skip


def _held(kafka: Kafka) -> dict[str, float]:
    pid = kafka.pid
    # First: what is resident behind it is not what the collector had no reason yet to give back.
    heap_mb = live_mb(kafka)
    return {
        "heap_mb": round(heap_mb, 1),
        "resident_mb": round(resident_mb(pid), 1),
        "open_files": open_files(pid),
        "maps": memory_maps(pid),
    }


def _grow(kafka: Kafka, admin: Any, made: int, size: int) -> dict[str, float]:
    """Seconds and the broker's processor time per thousand that were created."""
    begin, used = time.monotonic(), cpu_s(kafka.pid)
    for total in range(made + STEP, size + 1, STEP):
        if total == STEP:
            futures = admin.create_topics([NewTopic(_TOPIC, STEP, 1)], request_timeout=STEP_S_MAX)
        else:
            wanted = [NewPartitions(_TOPIC, total)]
            futures = admin.create_partitions(wanted, request_timeout=STEP_S_MAX)
        for future in futures.values():
            try:
                future.result(STEP_S_MAX)
            except KafkaException as error:
                raise RuntimeError(f"{total:,} partitions were refused: {error}") from error
    _led(kafka, admin, size)
    thousands = (size - made) / 1000
    return {
        "create_s_per_thousand": round((time.monotonic() - begin) / thousands, 2),
        "create_cpu_s_per_thousand": round((cpu_s(kafka.pid) - used) / thousands, 2),
    }


def _admin(kafka: Kafka) -> Any:
    # Quiet: it says each second that a broker which is being started is not there.
    return AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})


def _restart(kafka: Kafka, size: int) -> dict[str, float]:
    """A clean stop; then seconds and processor time until it leads every partition again."""
    kafka.leave(STEP_S_MAX)
    begin = time.monotonic()
    kafka.start()
    # A new client: the old one asks at the pace that it backed off to.
    _led(kafka, _admin(kafka), size)
    return {
        "start_s": round(time.monotonic() - begin, 2),
        "start_cpu_s": round(cpu_s(kafka.pid), 2),
    }


def _led(kafka: Kafka, admin: Any, size: int) -> None:
    """Returns when each of so many partitions has a leader, which has opened its log."""

    def led() -> bool:
        try:
            found = admin.list_topics(_TOPIC, timeout=STEP_S_MAX).topics[_TOPIC].partitions
        except KafkaException:  # it is just being started
            return False
        leaders = sum(1 for partition in found.values() if partition.leader >= 0)
        return leaders == size and open_files(kafka.pid) >= size

    wait_until(led, what="a leader for every partition", seconds=STEP_S_MAX, child=kafka)


class Slope(NamedTuple):
    """What a thousand partitions more take: by least squares over all sizes, and the least and the
    most between two neighbours, which are the same where all sizes stand on one line; whether it
    is steeper between the last two than between the first."""

    each: float
    least: float
    most: float
    rising: bool


def slope(points: Sequence[tuple[float, float]]) -> Slope:
    """points: partitions, and what they take. Raises ValueError where there is but one."""
    if len(points) < 2:
        raise ValueError("one size is no line")
    between = [1000 * (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairwise(points)]
    xs, ys = zip(*points, strict=True)
    line = statistics.linear_regression(xs, ys)
    return Slope(1000 * line.slope, min(between), max(between), between[-1] > between[0])


def slopes(points: Sequence[dict[str, float]]) -> dict[str, Slope]:
    """By quantity, of those that every point has."""
    names = ("heap_mb", "resident_mb", "open_files", "maps", "start_cpu_s")
    found = {
        name: slope([(p["partitions"], p[name]) for p in points])
        for name in names if all(name in p for p in points)
    }  # fmt: skip
    made, seconds, created = 0.0, 0.0, [(0.0, 0.0)]
    for point in points:
        seconds += point["create_s_per_thousand"] * (point["partitions"] - made) / 1000
        made = point["partitions"]
        created.append((made, seconds))
    return {**found, "create_s": slope(created)}
