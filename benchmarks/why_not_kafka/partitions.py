"""Option A: a partition per user. What a broker needs for each thousand of them.

One broker, one copy of each partition, no record in any: the least that a partition costs. It is
created in steps, stopped by SIGTERM at each size, and started again.
"""

import resource
import subprocess
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    NewPartitions,
    NewTopic,
)

from benchmarks.process import cpu_s, memory_maps, open_files, resident_mb
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
    kafka = Kafka(directory / "partitions")
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
    return {
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


def extrapolated(found: dict[str, Any], users: float) -> dict[str, float]:
    """What so many would take, if each went on to cost what the last thousands did.

    A straight line through the first and the last size: an extrapolation, not a measurement.
    Raises ValueError where there is but one.
    """
    first, last = found["points"][0], found["points"][-1]
    if first is last:
        raise ValueError("one size is no line")
    span = last["partitions"] - first["partitions"]

    def each(name: str) -> float:
        return float((last[name] - first[name]) / span)

    return {
        "resident_gb": each("resident_mb") * users / 1024,
        "open_files": each("open_files") * users,
        "create_days": last["create_s_per_thousand"] / 1000 * users / 86_400,
        "start_cpu_h": each("start_cpu_s") * users / 3_600,
        "brokers": users / last["partitions"],
    }
