"""A worker that is stalled says so and exits; one that waits or idles goes on."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from local import Services
from local.child import Child
from tests.deployment import Deployment
from tests.preloaded import PreloadedChild

WORKER = Path(__file__).with_name("stalled_worker.py")
#: Seconds that make a stall, and limits that let a stalled worker leave soon.
LIMITS = {
    "POSTE_STALLED_S": "3", "POSTE_DYNAMODB__TIMEOUT_S": "1", "POSTE_DRAIN_S": "0",
    "POSTE_LEAVE_S": "5",
}  # fmt: skip
#: Stalls as they are told, by what hangs.
SAID = {
    "flush": "the flush of partition 0 (at 0)",
    "fetch": "the reading of partition 0 (at 0)",
    "loop": "the event loop is blocked",
}


@pytest.mark.parametrize("what", SAID)
async def test_a_stalled_worker_exits_and_a_restart_continues(
    deployment: Deployment, what: str
) -> None:
    """Whatever hangs inside the worker: it says what is stalled and exits non-zero, with nothing
    committed; a new start delivers all (G1, G8)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(100)])
    child = PreloadedChild(
        [sys.executable, str(WORKER)],
        log=deployment.directory / "stalled.log",
        env={**deployment.environment, **LIMITS, "STALL": what, "PYTHONPATH": str(Path.cwd())},
    )
    child.start()
    deployment.workers.append(child)

    assert await deployment.exited(child) == 1
    assert SAID[what] in child.output()
    assert "This worker is stalled" in child.output()
    assert "Traceback" not in child.output()
    assert deployment.progress()[0]["group_offset"] is None

    deployment.worker()
    await deployment.produce([("bob", b"100")])
    await deployment.drained()
    assert await deployment.bodies("bob") == [b"%d" % n for n in range(101)]


async def test_a_worker_that_waits_for_its_services_is_not_stalled(
    own: Services, own_deployment: Deployment
) -> None:
    """A store that hangs for longer than makes a stall, then a broker that does: both are
    waited for, by the same process (G1, G9)."""
    assert own.dynamodb is not None
    assert own.kafka is not None
    deployment = own_deployment
    deployment.init(partitions=2)
    worker = deployment.worker(**{**LIMITS, "POSTE_STALLED_S": "2.5"})
    await deployment.produce([("bob", b"1"), ("alice", b"1")])
    await deployment.drained()

    own.dynamodb.pause()
    await deployment.produce([("bob", b"2"), ("alice", b"2")])
    await deployment.until(lambda: _waited(worker) >= 2, "it has waited for half a minute")
    own.dynamodb.resume()
    await deployment.drained()

    own.kafka.pause()
    await asyncio.sleep(8)  # three times the seconds of a stall: nothing tells that a broker hangs
    own.kafka.resume()
    await deployment.produce([("bob", b"3")])
    await deployment.drained()

    assert worker.alive
    assert await deployment.bodies("bob") == [b"1", b"2", b"3"]
    assert "This worker is stalled" not in deployment.log()


def _waited(worker: Child) -> int:
    return worker.output().count("waiting for DynamoDB")


async def test_an_idle_worker_at_a_marker_is_not_stalled(deployment: Deployment) -> None:
    """The log of a transactional topic ends with a marker that no record ever reaches: it is no
    lag, and neither are records of a transaction that is open or was aborted (G8)."""
    deployment.init(partitions=1)
    worker = deployment.worker(**{**LIMITS, "POSTE_STALLED_S": "2.5"})
    await asyncio.to_thread(_transactions, deployment)
    await deployment.until(lambda: deployment.read("bob"), "the committed one is there")
    await asyncio.sleep(8)  # three times the seconds of a stall: nothing happens in an idle worker

    assert worker.alive
    assert [message.body for message in await deployment.read("bob")] == [b"committed"]
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0


def _transactions(deployment: Deployment) -> None:
    """One committed, one aborted, one left open."""
    bootstrap = deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    for number, (body, end) in enumerate(
        [(b"committed", "commit_transaction"), (b"aborted", "abort_transaction"), (b"open", "")]
    ):
        producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": f"{deployment.topic}-{number}"}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(deployment.topic, value=body, key=b"bob")
        producer.flush(30)
        if end:
            getattr(producer, end)(30)
