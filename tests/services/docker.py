"""Kafka and DynamoDB Local as containers, where a Docker daemon answers."""

import subprocess
from collections.abc import Mapping
from typing import Any

from tests.services import access
from tests.services.ready import dynamodb_answers, free_ports, kafka_answers, wait_until

#: The versions of `*.pom.xml` and docker-compose.yml (a test holds them together), so that both
#: ways to have the services are the same services.
KAFKA_IMAGE = "apache/kafka:4.3.1"
DYNAMODB_IMAGE = "amazon/dynamodb-local:3.3.1"
#: Seconds, the pull of an image apart: testcontainers waits for that without a limit of ours.
START_S_MAX = 120.0
#: Inside the containers. The tools run there, and need an address that is right there.
_KAFKA_PORT, _CONTROLLER_PORT, _TOOLS_PORT, _DYNAMODB_PORT = 9092, 9093, 19092, 8000
_SECURED_PORT = 9094
#: Lines of a container's log that an error shows.
_TAIL_LINES = 15
#: Seconds that one of Kafka's own command-line tools may take.
TOOL_S_MAX = 60.0


def docker_answers() -> bool:
    """Whether a Docker daemon answers; the client alone is no engine."""
    try:
        done = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True, check=False, timeout=15,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def as_variable(name: str) -> str:
    """The variable by which `apache/kafka` takes a server property (its docker/README)."""
    return "KAFKA_" + name.replace("-", "___").replace("_", "__").replace(".", "_").upper()


def kafka_environment(
    port: int,
    secured: int | None = None,
    *,
    properties: Mapping[str, str] = {},
    users: Mapping[str, str] = {},
) -> dict[str, str]:
    """`apache/kafka` as one KRaft node that advertises itself on a port of the host.

    secured: the host's port of the second listener, where there are users; see `access`.

    `KafkaContainer` of testcontainers is made for another image and does not start this one.
    """
    listeners = f"PLAINTEXT://:{_KAFKA_PORT},TOOLS://:{_TOOLS_PORT}"
    advertised = f"PLAINTEXT://127.0.0.1:{port},TOOLS://localhost:{_TOOLS_PORT}"
    protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TOOLS:PLAINTEXT"
    if users:
        listeners += f",{access.SECURED}://:{_SECURED_PORT}"
        advertised += f",{access.SECURED}://127.0.0.1:{secured}"
        protocols += f",{access.SECURED}:{access.PROTOCOL}"
    further = {**access.access_properties(users), **properties}
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"{listeners},CONTROLLER://:{_CONTROLLER_PORT}",
        "KAFKA_ADVERTISED_LISTENERS": advertised,
        "KAFKA_INTER_BROKER_LISTENER_NAME": "TOOLS",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": protocols,
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{_CONTROLLER_PORT}",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS": "1000",
        **{as_variable(name): value for name, value in further.items()},
    }


def _container(image: str, port: int, to: int) -> Any:
    """A container whose port `to` is a port of this host's loopback, and of no other address."""
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(image)
    # with_bind_ports would bind every address of this host.
    container.ports[f"{to}/tcp"] = ("127.0.0.1", port)
    return container


class _InDocker:
    """A container that can be killed and started again, stopped in its tracks, and removed.

    When we are killed the reaper of testcontainers removes it.
    """

    image: str

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._container: Any = None

    def _prepared(self) -> Any:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    @property
    def _docker(self) -> Any:
        assert self._container is not None, "never started"
        return self._container.get_wrapped_container()

    @property
    def alive(self) -> bool:
        self._docker.reload()
        return bool(self._docker.status not in {"exited", "dead"})

    def tail(self) -> str:
        return str(self._docker.logs(tail=_TAIL_LINES).decode(errors="replace"))

    def start(self) -> None:
        """Start, or start again on the same data and port; returns when it answers."""
        if self._container is None:
            self._container = self._prepared()
            self._container.start()
        else:
            self._docker.start()
        wait_until(self._answers, what=self.image, seconds=START_S_MAX, child=self)

    def kill(self) -> None:
        self._docker.kill()

    def pause(self) -> None:
        self._docker.pause()

    def resume(self) -> None:
        self._docker.unpause()

    def stop(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None


class KafkaInDocker(_InDocker):
    """As `jvm.Kafka`."""

    image = KAFKA_IMAGE

    def __init__(
        self, *, properties: Mapping[str, str] = {}, users: Mapping[str, str] = {}
    ) -> None:
        super().__init__()
        self._properties, self._users = properties, users
        self._secured_port = free_ports(1)[0] if users else None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def secured(self) -> str:
        return f"127.0.0.1:{self._secured_port}"

    def _prepared(self) -> Any:
        container = _container(self.image, self.port, _KAFKA_PORT)
        if self._secured_port is not None:
            container.ports[f"{_SECURED_PORT}/tcp"] = ("127.0.0.1", self._secured_port)
        environment = kafka_environment(
            self.port, self._secured_port, properties=self._properties, users=self._users
        )
        for name, value in environment.items():
            container = container.with_env(name, value)
        return container

    def _answers(self) -> bool:
        return kafka_answers(self.port)

    def tool(self, main: str, *arguments: str, text: str | None = None) -> str:
        """Run one of Kafka's own command-line tools; what it printed. Raises RuntimeError."""
        command = ["docker", "exec", "-i", self._docker.id,
                   "/opt/kafka/bin/kafka-run-class.sh", main,
                   "--bootstrap-server", f"localhost:{_TOOLS_PORT}", *arguments]  # fmt: skip
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=TOOL_S_MAX
        )
        if done.returncode != 0:
            raise RuntimeError(f"{main}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout


class DynamoDBInDocker(_InDocker):
    """As `jvm.DynamoDBLocal`: in memory."""

    image = DYNAMODB_IMAGE

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _prepared(self) -> Any:
        container = _container(self.image, self.port, _DYNAMODB_PORT)
        container.with_env("DDB_LOCAL_TELEMETRY", "0")
        return container.with_command("-jar DynamoDBLocal.jar -inMemory -sharedDb")

    def _answers(self) -> bool:
        return dynamodb_answers(self.port)
