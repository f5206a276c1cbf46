"""A worker in trouble with its consumer group ends with one line, or says what it waits for."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from confluent_kafka import Consumer

from local.child import Child
from local.ready import free_ports
from tests.deployment import DEADLINE_S, Deployment
from tests.integration.conftest import SecuredDeployment


def only_trouble(child: Child) -> str:
    """The one line of a worker's log at WARNING or above; that there is but one is asserted."""
    said = child.output()
    lines = [line for line in said.splitlines() if not re.match(r"\S+ (INFO|DEBUG) ", line)]
    assert len(lines) == 1, said
    return lines[0]


@contextmanager
def other_consumer(deployment: Deployment, **config: str) -> Iterator[None]:
    """A consumer of another library in the deployment's group, polling until the end."""
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
            "group.id": deployment.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **config,
        }
    )
    assigned, over = threading.Event(), threading.Event()

    def poll() -> None:
        while not over.is_set():
            consumer.poll(0.1)

    consumer.subscribe([deployment.topic], on_assign=lambda *_: assigned.set())
    thread = threading.Thread(target=poll)
    thread.start()
    try:
        assert assigned.wait(60)
        yield
    finally:
        over.set()
        thread.join()
        consumer.close()


async def answer(port: int) -> tuple[int, dict[str, object]]:
    """What /readyz says; (0, {}) where nobody answers."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/readyz") as response,
        ):
            return response.status, json.loads(await response.text())
    except aiohttp.ClientError:
        return 0, {}


async def test_another_assignment_strategy_in_the_group_ends_the_worker(
    deployment: Deployment,
) -> None:
    """The broker refuses the join, and goes on doing so."""
    deployment.init()
    with other_consumer(deployment, **{"partition.assignment.strategy": "range"}):
        child = deployment.worker()
        assert await deployment.exited(child) == 1

    assert "another member uses a different assignment" in only_trouble(child)


async def test_a_session_timeout_that_the_broker_refuses_ends_the_worker(
    deployment: Deployment,
) -> None:
    """Its limits are the broker's own, and not knowable to `config check`."""
    deployment.init()
    child = deployment.worker(POSTE_KAFKA__SESSION_TIMEOUT_S="4")
    assert await deployment.exited(child) == 1

    assert "does not accept kafka.session_timeout_s = 4:" in only_trouble(child)


# ---- permissions


def allow_all(deployment: SecuredDeployment, *without: str) -> None:
    """What docs/operations.md lists for a worker, without some resources."""
    if "topic" not in without:
        deployment.allow(["READ", "DESCRIBE"], "TOPIC", deployment.topic)
    deployment.allow(["WRITE", "DESCRIBE"], "TOPIC", f"{deployment.topic}.dead-letters")
    if "group" not in without:
        deployment.allow(["READ", "DESCRIBE"], "GROUP", deployment.group)


async def test_a_worker_that_may_not_read_its_group_ends(
    secured_deployment: SecuredDeployment,
) -> None:
    """At the start, whether it may describe the group or not."""
    deployment = secured_deployment
    deployment.init()
    allow_all(deployment, "group")
    neither = deployment.worker(**deployment.as_user)
    assert await deployment.exited(neither) == 1
    deployment.allow(["DESCRIBE"], "GROUP", deployment.group)
    described = deployment.worker(**deployment.as_user)
    assert await deployment.exited(described) == 1

    for child in (neither, described):
        assert f"denies Read on the group '{deployment.group}'" in only_trouble(child)


async def test_a_group_that_is_denied_to_a_running_worker_ends_it(
    secured_deployment: SecuredDeployment,
) -> None:
    """The client stops its heartbeats for good; a worker that is started when the permission is
    back reads on."""
    deployment = secured_deployment
    deployment.init()
    allow_all(deployment)
    await deployment.produce([("bob", b"before")])
    child = deployment.worker(**deployment.as_user)
    await deployment.drained()
    deployment.take_back(["READ"], "GROUP", deployment.group)
    assert await deployment.exited(child) == 1
    await deployment.produce([("bob", b"meanwhile")])
    deployment.allow(["READ"], "GROUP", deployment.group)
    deployment.worker(**deployment.as_user)
    await deployment.drained()

    assert f"denies Read on the group '{deployment.group}'" in only_trouble(child)
    assert await deployment.bodies("bob") == [b"before", b"meanwhile"]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_worker_that_may_not_read_its_topic_ends(
    secured_deployment: SecuredDeployment, begun: bool
) -> None:
    """Refused is not unanswered, of a topic without progress and of one with it."""
    deployment = secured_deployment
    deployment.init()
    allow_all(deployment, "topic")
    deployment.allow(["DESCRIBE"], "TOPIC", deployment.topic)
    if begun:
        await deployment.produce([("bob", b"hello"), ("alice", b"hello")])
        await _read_all(deployment)
    child = deployment.worker(**deployment.as_user)
    assert await deployment.exited(child) == 1

    assert f"denies Read on the topic '{deployment.topic}'" in only_trouble(child)


async def test_a_topic_that_is_denied_to_a_running_worker_ends_it(
    secured_deployment: SecuredDeployment,
) -> None:
    """Whatever notices it first: the fetch, or the commit."""
    deployment = secured_deployment
    deployment.init()
    allow_all(deployment)
    child = deployment.worker(**deployment.as_user)
    await deployment.said("reading from offset")
    deployment.take_back(["READ"], "TOPIC", deployment.topic)
    assert await deployment.exited(child) == 1

    assert f"denies Read on the topic '{deployment.topic}'" in only_trouble(child)


async def _read_all(deployment: Deployment) -> None:
    """By a worker that may do everything, and leaves."""
    child = deployment.worker()
    await deployment.drained()
    child.signal(signal.SIGTERM)
    assert await deployment.exited(child) == 0


# ---- the topic


async def test_a_topic_that_is_deleted_is_named_and_the_worker_unready(
    deployment: Deployment,
) -> None:
    """It goes on, and knows the topic that is made in its place for another one."""
    (port,) = free_ports(1)
    deployment.init()
    await deployment.produce([("bob", b"hello")] * 5)
    child = deployment.worker(POSTE_HTTP__PORT=str(port))
    await deployment.drained()
    deployment.delete_topic()
    await deployment.said("no longer exists")
    status, body = await answer(port)
    deployment.create_topic(2)
    await deployment.said("above the log's end")
    later, _ = await answer(port)

    assert child.alive
    assert "Traceback" not in deployment.log()
    assert status == 503
    assert any(deployment.topic in reason for reason in body["reasons"])  # type: ignore[attr-defined]
    assert later == 503


# ---- static membership


async def test_a_worker_whose_instance_id_is_taken_ends(deployment: Deployment) -> None:
    """The older of the two; the newer one has its partitions."""
    deployment.init()
    mine = {"POSTE_KAFKA__GROUP_INSTANCE_ID": "poste-{hostname}"}
    older = deployment.worker(**mine)
    await deployment.until(lambda: older.output().count("reading from offset") == 2, "it reads")
    newer = deployment.worker(**mine)
    assert await deployment.exited(older) == 1
    await deployment.until(lambda: newer.output().count("reading from offset") == 2, "it reads")
    await deployment.produce([("bob", b"hello")])
    await deployment.drained()

    assert "another process has taken this worker's place" in only_trouble(older)
    assert newer.alive
    assert "taken" not in newer.output()


async def test_a_static_member_that_is_killed_keeps_its_partitions(deployment: Deployment) -> None:
    """If it is back within the session time-out the other one is not asked to rejoin. One that
    ends in order leaves, and the other has all at once."""
    deployment.init()
    slow = {"POSTE_KAFKA__SESSION_TIMEOUT_S": str(2 * DEADLINE_S)}
    first = {"POSTE_KAFKA__GROUP_INSTANCE_ID": "first", **slow}
    second = deployment.worker(POSTE_KAFKA__GROUP_INSTANCE_ID="second", **slow)
    await deployment.said("reading from offset")
    one = deployment.worker(**first)
    await deployment.until(lambda: "reading from offset" in one.output(), "both have a partition")
    await deployment.until(lambda: second.output().count("assigned:") == 2, "both have a partition")
    await deployment.produce([(f"user-{n}", b"hello") for n in range(20)])
    one.signal(signal.SIGKILL)
    assert await deployment.exited(one) == -signal.SIGKILL
    again = deployment.worker(**first)
    await deployment.until(lambda: "reading from offset" in again.output(), "it is back")
    await deployment.drained()
    assert second.output().count("assigned:") == 2

    again.signal(signal.SIGTERM)
    assert await deployment.exited(again) == 0
    await deployment.until(lambda: "assigned: partitions [0, 1]" in _last_of(second), "it has all")


def _last_of(child: Child) -> str:
    """What it said last of its partitions."""
    return [line for line in child.output().splitlines() if "assigned:" in line][-1]


# ---- a spare worker


async def test_a_worker_without_a_partition_is_ready(deployment: Deployment) -> None:
    """An empty assignment is one."""
    ports = free_ports(2)
    deployment.init(partitions=1)
    for port in ports:
        deployment.worker(POSTE_HTTP__PORT=str(port))

    async def both_ready() -> bool:
        return [(await answer(port))[0] for port in ports] == [200, 200]

    await deployment.until(both_ready, "both are ready")
    assert "assigned: partitions []" in deployment.log()
