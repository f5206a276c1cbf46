"""Stores and brokers that are away, at start and while running; processes that hang."""

import asyncio
import signal

from local import Services
from tests.deployment import DEADLINE_S, Deployment

#: Lines that a worker says of a broker that is away for seconds: aiokafka says 76 a second, of
#: which one of each kind passes in ten seconds.
LINES_MAX = 60


async def test_a_store_that_is_away_is_waited_for(
    own: Services, own_deployment: Deployment
) -> None:
    """While the store does not answer nothing is lost, nothing committed and nobody dead-lettered;
    when it answers again the worker goes on by itself (G1, G9)."""
    assert own.dynamodb is not None
    deployment = own_deployment
    deployment.init(partitions=2)
    worker = deployment.worker(POSTE_DYNAMODB__TIMEOUT_S="1")
    await deployment.produce([("bob", b"before")])
    await deployment.drained()
    own.dynamodb.pause()
    await deployment.produce([("bob", b"%d" % n) for n in range(500)])
    await deployment.said("waiting for DynamoDB")
    own.dynamodb.resume()
    await deployment.drained()

    assert worker.alive
    assert await deployment.bodies("bob") == [b"before", *(b"%d" % n for n in range(500))]
    assert not any(deployment.admin.ends(f"{deployment.topic}.dead-letters").values())


async def test_a_hung_store_cannot_hang_the_shutdown(
    own: Services, own_deployment: Deployment
) -> None:
    """Past the drain limit the process leaves with what was durable, and the rest is read again
    (G1, G8)."""
    assert own.dynamodb is not None
    deployment = own_deployment
    deployment.init(partitions=1)
    worker = deployment.worker(POSTE_DYNAMODB__TIMEOUT_S="1", POSTE_DRAIN_S="2", POSTE_LEAVE_S="15")
    await deployment.produce([("bob", b"before")])
    await deployment.drained()
    own.dynamodb.pause()
    await deployment.produce([("bob", b"after")])
    await deployment.said("waiting for DynamoDB")
    worker.signal(signal.SIGTERM)
    await deployment.exited(worker, 30)
    own.dynamodb.resume()

    assert "drain ended: the flushes of partitions [0] wait" in deployment.log()
    assert deployment.progress()[0]["next"] == 1
    deployment.worker()
    await deployment.drained()
    assert await deployment.bodies("bob") == [b"before", b"after"]


async def test_a_broker_restart_is_survived(own: Services, own_deployment: Deployment) -> None:
    """The broker is killed and comes back on the same data: the worker goes on by itself, and
    nothing is lost or doubled (G1, G5). Its log is not flooded meanwhile (G8)."""
    assert own.kafka is not None
    deployment = own_deployment
    deployment.init(partitions=2)
    worker = deployment.worker()
    records = [(f"user-{n % 10}", b"%d" % n) for n in range(2_000)]
    await deployment.produce(records[:1_000])
    await deployment.until(lambda: deployment.read("user-0"), "the first are there")
    own.kafka.kill()
    await asyncio.to_thread(own.kafka.start)
    await deployment.produce(records[1_000:])
    await deployment.drained()

    assert worker.alive
    assert worker.output().count("\n") < LINES_MAX
    for user in range(10):
        assert await deployment.bodies(f"user-{user}") == [
            b"%d" % n for n in range(user, 2_000, 10)
        ]


async def test_sigterm_while_the_broker_is_away_ends_in_time(
    own: Services, own_deployment: Deployment
) -> None:
    """aiokafka hangs for ever when it is stopped while the broker is away; the last resort ends
    the process, and nothing is lost (G1, G8)."""
    assert own.kafka is not None
    deployment = own_deployment
    deployment.init(partitions=1)
    quick = {"POSTE_DRAIN_S": "2", "POSTE_LEAVE_S": "6"}
    worker = deployment.worker(**quick)
    await deployment.produce([("bob", b"before")])
    await deployment.drained()
    own.kafka.kill()
    worker.signal(signal.SIGTERM)
    status = await deployment.exited(worker, 25)
    await asyncio.to_thread(own.kafka.start)

    assert status in {0, 1}
    await deployment.produce([("bob", b"after")])
    deployment.worker(**quick)
    # The group holds a member that is gone. Its session ends with the first 6 s; where the broker
    # misses that, the join ends with the rebalance time-out, 42 s here.
    await deployment.drained(DEADLINE_S + 30)
    assert await deployment.bodies("bob") == [b"before", b"after"]


async def test_services_that_are_away_at_start_are_waited_for(
    own: Services, own_deployment: Deployment
) -> None:
    """A worker that starts before its broker says so, and begins when it is there; SIGTERM ends
    the waiting at once (G1)."""
    assert own.kafka is not None
    deployment = own_deployment
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"1")])
    own.kafka.kill()
    worker = deployment.worker()
    await deployment.said("waiting for Kafka at")
    impatient = deployment.worker()
    await deployment.until(lambda: "waiting for Kafka" in impatient.output(), "the other waits too")
    impatient.signal(signal.SIGTERM)
    await deployment.exited(impatient, 15)
    await asyncio.to_thread(own.kafka.start)
    await deployment.drained()

    assert worker.alive
    assert await deployment.bodies("bob") == [b"1"]


async def test_a_zombie_that_wakes_up_harms_nobody(deployment: Deployment) -> None:
    """A worker stopped past its session time-out, whose partitions went to another, wakes up: what
    it writes has the keys and the content of its life, and it commits nothing of the new owner's
    (G1, G2, G5)."""
    deployment.init(partitions=2)
    records = [(f"user-{n % 10}", b"%d" % n) for n in range(4_000)]
    zombie = deployment.worker(POSTE_BATCH__RECORDS_MAX="50", POSTE_BUNDLE__MESSAGES_MAX="3")
    await deployment.produce(records[:2_000])
    await deployment.until(lambda: deployment.read("user-0"), "the first are there")
    zombie.signal(signal.SIGSTOP)
    other = deployment.worker(POSTE_BUNDLE__MESSAGES_MAX="7")
    await deployment.until(lambda: "assigned: partitions" in other.output(), "the other takes over")
    await deployment.produce(records[2_000:])
    await deployment.until(
        lambda: _has(deployment, "user-9", b"3999"), "the other has materialized all"
    )
    zombie.signal(signal.SIGCONT)
    await deployment.drained()

    for user in range(10):
        assert await deployment.bodies(f"user-{user}") == [
            b"%d" % n for n in range(user, 4_000, 10)
        ]


async def _has(deployment: Deployment, user: str, body: bytes) -> bool:
    return body in await deployment.bodies(user)
