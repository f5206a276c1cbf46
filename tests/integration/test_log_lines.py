"""What the log of a real worker says of its records, and of itself, on a real broker."""

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from local import Services, new_kafka
from local.child import Child
from tests.deployment import Deployment
from tests.integration.conftest import deployment_on


def events(worker: Child, name: str = "") -> list[dict[str, Any]]:
    """The JSON lines of a worker that are events, of one name or of any."""
    lines = [json.loads(line) for line in worker.output().splitlines()]
    return [line for line in lines if "event" in line and name in {"", line["event"]}]


async def test_a_producer_that_is_half_bad_is_seen(deployment: Deployment) -> None:
    """Counts by reason, partition and offsets in few WARNINGs, all of them counted; neither keys
    nor bodies."""
    deployment.init(partitions=2)
    worker = deployment.worker(POSTE_LOG_FORMAT="json", POSTE_DEAD_LETTERS_CONSECUTIVE_MAX="100000")
    sent: Counter[tuple[int, str]] = Counter()
    ends: dict[int, int] = {}
    for _ in range(10):  # so that there are flushes one after the other
        placed = await deployment.produce(
            {"key": f"user-{n}", "value": None if n % 2 else b"private-body"} for n in range(40)
        )
        for n, (partition, offset) in enumerate(placed):
            if n % 2:
                sent[partition, "no_body"] += 1
                ends[partition] = max(ends.get(partition, 0), offset)
        await asyncio.sleep(0.3)
    await deployment.drained()
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0

    said: Counter[tuple[int, str]] = Counter()
    lines = events(worker, "dead_letters_sent")
    for line in lines:
        assert line["level"] == "WARNING"
        said.update({(line["partition"], reason): n for reason, n in line["reasons"].items()})
    assert said == sent
    assert {p: max(x["last_offset"] for x in lines if x["partition"] == p) for p in ends} == ends
    assert len(lines) <= 8  # of some twenty flushes or more: the run is shorter than 30 s
    assert "user-" not in worker.output()
    assert "private-body" not in worker.output()


async def test_producers_that_partition_differently_are_noticed_once(
    deployment: Deployment,
) -> None:
    """aiokafka's murmur2 and librdkafka's default, CRC32: five of six users are in two of six
    partitions. One WARNING without a key, no error, and nothing is lost."""
    deployment.init(partitions=6)
    worker = deployment.worker(POSTE_LOG_FORMAT="json")
    keys = [f"user-{n}" for n in range(30)]
    await deployment.produce((key, b"murmur2") for key in keys)
    await deployment.drained()
    assert events(worker, "key_in_two_partitions") == []

    producer = Producer(
        {"bootstrap.servers": deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]}
    )
    for _ in range(5):
        for key in keys:
            producer.produce(deployment.topic, key=key, value=b"crc32")
        await asyncio.to_thread(producer.flush, 30)
        await deployment.drained()

    (line,) = events(worker, "key_in_two_partitions")
    assert line["level"] == "WARNING"
    assert "partitioner=murmur2_random" in line["message"]
    assert "user-" not in worker.output()
    assert worker.alive
    for key in keys:
        assert sorted(await deployment.bodies(key)) == [b"crc32"] * 5 + [b"murmur2"]


async def test_producers_that_partition_alike_are_not_warned_of(deployment: Deployment) -> None:
    """librdkafka told to use murmur2."""
    deployment.init(partitions=6)
    worker = deployment.worker(POSTE_LOG_FORMAT="json")
    keys = [f"user-{n}" for n in range(30)]
    await deployment.produce((key, b"murmur2") for key in keys)
    producer = Producer({
        "bootstrap.servers": deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
        "partitioner": "murmur2_random",
    })  # fmt: skip
    for _ in range(5):
        for key in keys:
            producer.produce(deployment.topic, key=key, value=b"alike")
        await asyncio.to_thread(producer.flush, 30)
        await deployment.drained()

    assert events(worker, "key_in_two_partitions") == []


_TEXT_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d) (?P<level>[A-Z]+) (?P<rest>.+)"
)


@pytest.fixture
def on_a_fresh_broker(
    services: Services, dynamodb: object, tmp_path: Path, unique: str
) -> Iterator[Deployment]:
    """On a broker that no group has ever been on, and on the shared DynamoDB."""
    kafka = new_kafka(tmp_path / "fresh")
    try:
        kafka.start()
        on = replace(services, bootstrap=kafka.bootstrap, tool=kafka.tool)
        made = deployment_on(on, tmp_path, unique, Deployment)
        made.fresh = True
        yield made
        made.end()
    finally:
        kafka.stop()


async def test_a_healthy_start_on_a_fresh_broker_has_no_error(
    on_a_fresh_broker: Deployment,
) -> None:
    """Start, join, consume, a second worker, SIGTERM. No group has ever been on this broker, so its
    first coordinator is not there yet. Every line has a time with a zone, and in JSON every line
    of ours an event."""
    deployment = on_a_fresh_broker
    deployment.init(partitions=2)
    first = deployment.worker(POSTE_LOG_FORMAT="json")
    await deployment.until(
        lambda: first.output().count("reading from offset") == 2, "it reads both"
    )
    second = deployment.worker(POSTE_LOG_FORMAT="text")
    await deployment.until(lambda: "reading from offset" in second.output(), "each reads one")
    await deployment.produce([("bob", b"1"), ("alice", b"1")])
    await deployment.drained()
    for worker in (first, second):
        worker.signal(signal.SIGTERM)
    for worker in (first, second):
        assert await deployment.exited(worker) == 0

    in_json = [json.loads(line) for line in first.output().splitlines()]
    for line in in_json:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert "event" in line or not line["logger"].startswith("worker"), line
        assert line["level"] == "INFO", line
    in_text = [_TEXT_LINE.fullmatch(line) for line in second.output().splitlines()]
    assert in_text
    for match in in_text:
        assert match, second.output()
        assert match["level"] == "INFO", match.string
    names = [line["event"] for line in events(first)]
    assert names[0] == "worker_started"
    assert names[-1] == "worker_stopped"
    assert {"partitions_assigned", "partition_opened", "partitions_revoked"} <= set(names)


async def test_what_ends_a_worker_is_one_event(deployment: Deployment) -> None:
    """A missing table: one line, an ERROR with its event, and no traceback."""
    worker = deployment.worker(POSTE_LOG_FORMAT="json")

    assert await deployment.exited(worker) == 1
    (line,) = events(worker, "worker_failed")
    assert (line["level"], line["error"]) == ("ERROR", "OperatorError")
    assert "poste init" in line["message"]
    assert "exception" not in line
    assert [json.loads(each)["level"] for each in worker.output().splitlines()].count("ERROR") == 1
