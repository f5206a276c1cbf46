"""A worker that stands still is dead, says so and exits; one that waits or idles is not."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.scene import Scene
from tests.services import Services
from tests.services.child import Child

WORKER = Path(__file__).with_name("standing_worker.py")
#: Seconds until a standstill is one, and limits that let a dead worker leave soon.
LIMITS = {
    "POSTE_STALLED_S": "3", "POSTE_DYNAMODB__TIMEOUT_S": "1", "POSTE_DRAIN_S": "0",
    "POSTE_LEAVE_S": "5",
}  # fmt: skip
#: Standstills as they are told, by what hangs.
SAID = {
    "flush": "the flush of partition 0 (at 0)",
    "fetch": "the reading of partition 0 (at 0)",
    "loop": "the event loop is blocked",
}


@pytest.mark.parametrize("what", SAID)
async def test_a_standstill_ends_the_process_and_a_restart_goes_on(scene: Scene, what: str) -> None:
    """Whatever hangs inside the worker: it says what stands still and exits non-zero, with nothing
    committed; a new start delivers all (G1, G8)."""
    scene.init(partitions=1)
    await scene.produce([("bob", b"%d" % n) for n in range(100)])
    child = Child(
        [sys.executable, str(WORKER)],
        log=scene.directory / "standing.log",
        env={**scene.environment, **LIMITS, "STANDSTILL": what, "PYTHONPATH": str(Path.cwd())},
    )
    child.start()
    scene.workers.append(child)

    assert await scene.exited(child) == 1
    assert SAID[what] in child.output()
    assert "This worker is stalled" in child.output()
    assert "Traceback" not in child.output()
    assert scene.progress()[0]["group_offset"] is None

    scene.worker()
    await scene.produce([("bob", b"100")])
    await scene.drained()
    assert await scene.bodies("bob") == [b"%d" % n for n in range(101)]


async def test_a_worker_that_waits_for_its_services_is_not_dead(
    own: Services, own_scene: Scene
) -> None:
    """A store that hangs for longer than a standstill lasts, then a broker that does: both are
    waited for, by the same process (G1, G9)."""
    assert own.dynamodb is not None
    assert own.kafka is not None
    scene = own_scene
    scene.init(partitions=2)
    worker = scene.worker(**{**LIMITS, "POSTE_STALLED_S": "2.5"})
    await scene.produce([("bob", b"1"), ("alice", b"1")])
    await scene.drained()

    own.dynamodb.pause()
    await scene.produce([("bob", b"2"), ("alice", b"2")])
    await scene.until(lambda: _waited(worker) >= 2, "it has waited for half a minute")
    own.dynamodb.resume()
    await scene.drained()

    own.kafka.pause()
    await asyncio.sleep(8)  # three times a standstill: nothing tells that a broker hangs
    own.kafka.resume()
    await scene.produce([("bob", b"3")])
    await scene.drained()

    assert worker.alive
    assert await scene.bodies("bob") == [b"1", b"2", b"3"]
    assert "This worker is stalled" not in scene.log()


def _waited(worker: Child) -> int:
    return worker.output().count("waiting for DynamoDB")


async def test_an_idle_worker_at_a_marker_is_not_dead(scene: Scene) -> None:
    """The log of a transactional topic ends with a marker that no record ever reaches: it is no
    lag, and neither are records of a transaction that is open or was aborted (G8)."""
    scene.init(partitions=1)
    worker = scene.worker(**{**LIMITS, "POSTE_STALLED_S": "2.5"})
    await asyncio.to_thread(_transactions, scene)
    await scene.until(lambda: scene.read("bob"), "the committed one is there")
    await asyncio.sleep(8)  # three times a standstill: nothing happens in an idle worker

    assert worker.alive
    assert [message.body for message in await scene.read("bob")] == [b"committed"]
    worker.signal(signal.SIGTERM)
    assert await scene.exited(worker) == 0


def _transactions(scene: Scene) -> None:
    """One committed, one aborted, one left open."""
    bootstrap = scene.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    for number, (body, end) in enumerate(
        [(b"committed", "commit_transaction"), (b"aborted", "abort_transaction"), (b"open", "")]
    ):
        producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": f"{scene.topic}-{number}"}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(scene.topic, value=body, key=b"bob")
        producer.flush(30)
        if end:
            getattr(producer, end)(30)
