"""What a worker costs that has nothing to do, and one with a message a minute.

Each is a real worker with its default settings on a Kafka and an endpoint of its own; they run
side by side, since what is measured is each process's own: processor time, calls to the store,
requests to the broker, resident memory.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.counted_worker import FILE
from benchmarks.latency.noting import noted, noting_endpoint
from benchmarks.made import markdown, number
from benchmarks.one_worker import Place, new_place, reading_worker
from benchmarks.process import cpu_s, resident_mb
from tests.services import Services, start_services
from tests.services.child import Child

#: Workers: partitions, and messages a minute.
CASES = ((8, 0), (256, 0), (8, 1))
#: Seconds until a new worker has done what its start brings: imports, opening, first commits.
SETTLE_S = 10.0
SECONDS, SECONDS_SMALL = 60.0, 5.0
#: Seconds that a worker may take to say what it has counted.
_ANSWER_S_MAX = 10.0

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Idle:
    """One worker. place: where it works. requests: the file that it counts into."""

    per_minute: int
    place: Place
    endpoint: str
    worker: Child
    requests: Path

    def requested(self) -> Counter[str]:
        """What was asked of the broker since the worker's start. Raises RuntimeError."""
        self.requests.unlink(missing_ok=True)
        self.worker.signal(signal.SIGRTMIN)
        deadline = time.monotonic() + _ANSWER_S_MAX
        while not self.requests.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the worker does not say what it counted: {self.worker.tail()}")
            time.sleep(0.05)
        return Counter(json.loads(self.requests.read_text()))


@contextmanager
def _idle(services: Services, partitions: int, per_minute: int) -> Iterator[Idle]:
    place = new_place(services, partitions)
    requests = services.directory / f"{place.topic}.requests"
    place = replace(place, environment={**place.environment, FILE: str(requests)})
    with (
        noting_endpoint(place.topic, partitions) as endpoint,
        reading_worker(services, place, endpoint, ("-m", "benchmarks.counted_worker")) as worker,
    ):
        yield Idle(per_minute, place, endpoint, worker, requests)


def measure(*, small: bool) -> Found:
    """Raises RuntimeError."""
    seconds = SECONDS_SMALL if small else SECONDS
    with start_services() as services, ExitStack() as opened:
        idle = [opened.enter_context(_idle(services, *case)) for case in CASES]
        time.sleep(1.0 if small else SETTLE_S)
        before = []
        for one in idle:
            noted(one.endpoint)
            before.append((one.requested(), cpu_s(one.worker.pid), time.monotonic()))
        for one in idle:
            _send(services, one)
        time.sleep(seconds)
        rows = [_row(one, *then) for one, then in zip(idle, before, strict=True)]
    return {"seconds": seconds, "workers": rows}


def _send(services: Services, one: Idle) -> None:
    """Its messages of the time that is measured, which is a minute at most."""
    producer = Producer({"bootstrap.servers": services.bootstrap, "linger.ms": 0})
    for n in range(one.per_minute):
        producer.produce(one.place.topic, key=f"user-{n}", value=b"000000000000 hello")
    producer.flush(_ANSWER_S_MAX)


def _row(one: Idle, requests: Counter[str], cpu_before_s: float, since_s: float) -> Found:
    for_s = time.monotonic() - since_s
    cpu = cpu_s(one.worker.pid) - cpu_before_s
    asked = one.requested() - requests
    return {
        "partitions": one.place.partitions,
        "per_minute": one.per_minute,
        "cpu_ms_per_minute": round(cpu * 1000 * 60 / for_s),
        "store_calls": dict(noted(one.endpoint).calls),
        "requests_per_s": {name: round(n / for_s, 2) for name, n in asked.most_common()},
        "resident_mb": round(resident_mb(one.worker.pid), 1),
    }


def _table(found: Found) -> str:
    header = ["partitions", "messages a minute", "CPU ms a minute",
              f"calls to the store in {found['seconds']:g} s", "requests to the broker a second",
              "resident MB"]  # fmt: skip
    return markdown(header, [
        [
            f"{row['partitions']}",
            f"{row['per_minute']}",
            number(row["cpu_ms_per_minute"]),
            ", ".join(f"{n} {name}" for name, n in row["store_calls"].items()) or "none",
            _requests(row["requests_per_s"]),
            number(row["resident_mb"]),
        ]
        for row in found["workers"]
    ])  # fmt: skip


def _requests(per_s: Mapping[str, float]) -> str:
    """The sum, and what it is made of."""
    each = ", ".join(
        f"{name.partition('Request')[0].lower()} {number(value)}"
        for name, value in per_s.items() if value
    )  # fmt: skip
    return f"{number(sum(per_s.values()))} ({each})"


TABLES: Mapping[str, Callable[[Found], str]] = {"idle": _table}
PICTURES: Mapping[str, Callable[[Found], str]] = {}
