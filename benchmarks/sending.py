"""A load with a schedule, sent by a process of its own, and how long its messages wait.

    python -m benchmarks.sending        an order as a line of JSON in, the outcome as JSON out

The schedule is made beforehand, by the producer and by the measuring process alike. A message waits
from the moment it is due, also where the producer, the broker or the worker is late (no coordinated
omission). It is readable when the endpoint has its write.
"""

import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import median, quantiles
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.endpoint import recorded
from benchmarks.loads import ZIPF_EXPONENT, ZIPF_USERS, body
from benchmarks.workers import Deployment

#: Seconds from an order to its begin: the producer starts, connects and makes its schedule.
_LEAD_S = 2.0
#: Seconds that everything may take to be readable, and acknowledged, after the last was due.
READABLE_S_MAX = 30.0
#: Messages between two looks at the broker's answers, where the schedule leaves no pause.
_POLL_EVERY = 16
#: Seconds before a message is due in which the producer does nothing but wait for that.
_NEAR_S = 0.005


@dataclass(frozen=True, slots=True)
class Load:
    """seconds: how long, per_s: messages a second, evenly. chatty: few users have most messages;
    else each message goes to another user."""

    seconds: float
    per_s: float
    chatty: bool = False

    @property
    def messages(self) -> int:
        return round(self.seconds * self.per_s)


def schedule(load: Load) -> list[tuple[float, str]]:
    """When each message is due, in seconds from the begin, and its user."""
    numbers = list(range(load.messages))
    if load.chatty:
        weights = list(accumulate(n**-ZIPF_EXPONENT for n in range(1, ZIPF_USERS + 1)))
        numbers = random.Random(7).choices(range(ZIPF_USERS), cum_weights=weights, k=load.messages)
    return [(n / load.per_s, f"user-{who:010}") for n, who in enumerate(numbers)]


def percentile(waits: Sequence[float], per_thousand: int) -> float | None:
    """None for too few: fewer than ten values above it are one message's luck."""
    if len(waits) * (1000 - per_thousand) < 10_000:
        return None
    return quantiles(waits, n=1000, method="inclusive")[per_thousand - 1]


@dataclass(frozen=True, slots=True)
class Waits:
    """Milliseconds of a load's messages. broker_p99: of the broker's answers to the producer.
    late_p99: by which the producer itself missed its schedule."""

    messages: int
    p50: float
    p99: float | None
    p999: float | None
    longest: float
    broker_p99: float | None
    late_p99: float | None


def waits(deployment: Deployment, endpoint: str, load: Load) -> Waits:
    """Sends the load and waits until all of it is readable. Raises RuntimeError where it is not,
    or the producer failed."""
    recorded(endpoint)
    begin_ns = time.monotonic_ns() + int(_LEAD_S * 1e9)
    order = {"bootstrap": deployment.services.bootstrap, "topic": deployment.topic,
             "begin_ns": begin_ns, "load": asdict(load)}  # fmt: skip
    producer = subprocess.run(
        [sys.executable, "-m", "benchmarks.sending"],
        input=json.dumps(order) + "\n", stdout=subprocess.PIPE, text=True, check=False,
        timeout=_LEAD_S + load.seconds + 2 * READABLE_S_MAX,
    )  # fmt: skip
    if producer.returncode != 0:
        raise RuntimeError("the producer failed")
    said = json.loads(producer.stdout)
    readable_ns = recorded(endpoint).readable_ns
    deadline = time.monotonic() + READABLE_S_MAX
    while len(readable_ns) < load.messages and time.monotonic() < deadline:
        time.sleep(0.5)
        readable_ns = recorded(endpoint).readable_ns | readable_ns
    if said["failed"] or len(readable_ns) != load.messages:
        raise RuntimeError(
            f"of {load.messages} messages {len(readable_ns)} were readable, and the broker refused"
            f" {said['failed']}"
        )
    found = [(readable_ns[n] - begin_ns) / 1e6 - 1000 * at_s
             for n, (at_s, _) in enumerate(schedule(load))]  # fmt: skip
    return Waits(
        len(found), median(found), percentile(found, 990), percentile(found, 999), max(found),
        said["broker_p99"], said["late_p99"],
    )  # fmt: skip


def send(order: dict[str, Any]) -> dict[str, Any]:
    """Keeps the schedule. begin_ns: on the monotonic clock, which the processes of a Linux machine
    share."""
    producer = Producer({
        "bootstrap.servers": order["bootstrap"], "linger.ms": 0, "acks": "all",
        "queue.buffering.max.messages": 1_000_000,
    })  # fmt: skip
    producer.list_topics(order["topic"], timeout=READABLE_S_MAX)  # connected before the begin
    messages = schedule(Load(**order["load"]))
    answered_ms: list[float] = []
    late_ms: list[float] = []
    failed = 0

    def delivered(error: KafkaError | None, message: Message) -> None:
        nonlocal failed
        if error is None:
            answered_ms.append(1000 * message.latency())
        else:
            failed += 1

    gc.collect()
    gc.freeze()
    begin_s = order["begin_ns"] / 1e9
    for number, (at_s, user) in enumerate(messages):
        due_s = begin_s + at_s
        if due_s > time.monotonic():
            # A poll may end late, a sleep does not.
            while (wait_s := due_s - _NEAR_S - time.monotonic()) > 0:
                producer.poll(wait_s)
            producer.poll(0)
            time.sleep(max(0.0, due_s - time.monotonic()))
        elif number % _POLL_EVERY == 0:
            producer.poll(0)
        late_ms.append(1000 * (time.monotonic() - due_s))
        producer.produce(order["topic"], key=user, value=body(number), on_delivery=delivered)
    failed += producer.flush(READABLE_S_MAX)
    return {"failed": failed, "broker_p99": percentile(answered_ms, 990),
            "late_p99": percentile(late_ms, 990)}  # fmt: skip


if __name__ == "__main__":
    json.dump(send(json.loads(sys.stdin.readline())), sys.stdout)
