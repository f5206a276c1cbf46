"""A worker's health endpoints and signals, from its first second on."""

import signal
from typing import Any

import pytest

from local import Services
from local.child import Child
from local.ready import free_ports
from tests.deployment import Deployment
from tests.health import ask_health

#: Phases in which a start waits, by the variable that leads to nobody.
WAITS = {
    "AWS_ENDPOINT_URL_DYNAMODB": ("waiting_for_dynamodb", "http://127.0.0.1:{}"),
    "POSTE_KAFKA__BOOTSTRAP_SERVERS": ("waiting_for_kafka", "127.0.0.1:{}"),
}


class Served:
    """A worker with an HTTP server."""

    def __init__(self, deployment: Deployment, **env: str) -> None:
        self._deployment = deployment
        (port,) = free_ports(1)
        self.port = port
        self.worker: Child = deployment.worker(POSTE_HTTP__PORT=str(port), **env)

    async def ask(self, path: str) -> tuple[int, Any]:
        return await ask_health(f"http://127.0.0.1:{self.port}/{path}")

    async def until_ready(self, status: int, *words: str) -> Any:
        """Wait until `/readyz` answers so, with these words in its body; the body."""
        last: list[Any] = [None]

        async def is_so() -> bool:
            found, body = await self.ask("readyz")
            last[0] = body
            return found == status and all(word in str(body) for word in words)

        await self._deployment.until(is_so, f"/readyz answers {status} and says {words}")
        return last[0]


@pytest.mark.parametrize("variable", WAITS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_worker_that_waits_is_alive_and_unready_and_ends_with_0(
    deployment: Deployment, variable: str, number: signal.Signals
) -> None:
    """A liveness probe must not kill a worker that waits for a service, and a supervisor that stops
    it must not take it for a crash (G8)."""
    phase, address = WAITS[variable]
    (nobody,) = free_ports(1)
    deployment.init(partitions=1)
    served = Served(deployment, **{variable: address.format(nobody)})

    body = await served.until_ready(503, phase, str(nobody))
    assert (await served.ask("healthz")) == (200, {"alive": True})
    assert (body["ready"], body["phase"], body["partitions"]) == (False, phase, {})
    served.worker.signal(number)
    assert await deployment.exited(served.worker) == 0
    assert "Traceback" not in served.worker.output()


async def test_a_wait_is_logged_at_most_twice_a_minute(deployment: Deployment) -> None:
    """The broker is asked every few seconds; its absence is said once, then each half minute
    (G8)."""
    (nobody,) = free_ports(1)
    deployment.init(partitions=1)
    served = Served(deployment, POSTE_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{nobody}")
    await deployment.said("waiting for Kafka at")
    since = (await served.until_ready(503, "waiting_for_kafka"))["phase_since"]
    await deployment.produce([])  # a moment in which it has asked again
    assert (await served.until_ready(503, "waiting_for_kafka"))["phase_since"] == since
    assert served.worker.output().count("waiting for Kafka at") == 1


async def test_a_second_worker_on_a_taken_port_ends_with_one_line(deployment: Deployment) -> None:
    """It says which port, and which setting (G8)."""
    deployment.init(partitions=1)
    first = Served(deployment)
    await first.until_ready(200)
    second = deployment.worker(POSTE_HTTP__PORT=str(first.port), POSTE_LOG_LEVEL="WARNING")

    assert await deployment.exited(second) == 1
    (line,) = second.output().splitlines()
    assert f"port {first.port}" in line
    assert "POSTE_HTTP__PORT" in line
    assert (await first.ask("healthz"))[0] == 200


async def test_partitions_above_the_limit_make_a_worker_unready_each_with_its_state(
    deployment: Deployment,
) -> None:
    """Programs read the states; the worker reads what it may (G8)."""
    deployment.init(partitions=2)
    served = Served(deployment, POSTE_KAFKA__PARTITIONS_MAX="1")
    body = await served.until_ready(503, "'state': 'reading'", "'state': 'surplus'")
    assert body["phase"] == "joined"
    states = {p: found["state"] for p, found in body["partitions"].items()}
    assert states == {"0": "reading", "1": "surplus"}
    assert len(body["reasons"]) == 1


async def test_a_hang_up_drains_like_sigterm(deployment: Deployment) -> None:
    """What was delivered is committed, and the status is 0 (G1)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(100)])
    served = Served(deployment, POSTE_KAFKA__COMMIT_INTERVAL_S="3600", POSTE_STALLED_S="3601")
    await served.until_ready(200)
    await deployment.until(lambda: _has_all(deployment), "all is delivered")
    served.worker.signal(signal.SIGHUP)
    assert await deployment.exited(served.worker) == 0
    assert deployment.progress()[0]["group_offset"] == 100


async def _has_all(deployment: Deployment) -> bool:
    return len(await deployment.bodies("bob")) == 100


async def test_services_that_stop_answering_make_a_worker_unready_until_they_answer(
    own: Services, own_deployment: Deployment
) -> None:
    """Alive all the while, and ready again without a restart (G8, G9)."""
    assert own.kafka is not None
    assert own.dynamodb is not None
    own_deployment.init(partitions=1)
    served = Served(own_deployment, POSTE_UNREADY_AFTER_S="3", POSTE_DYNAMODB__TIMEOUT_S="1")
    await served.until_ready(200)
    services: list[tuple[Any, str]] = [(own.dynamodb, "DynamoDB"), (own.kafka, "Kafka")]
    for service, name in services:
        service.pause()
        try:
            await served.until_ready(503, f"{name} has not answered for")
            assert (await served.ask("healthz"))[0] == 200
        finally:
            service.resume()
        await served.until_ready(200)
    assert served.worker.alive
