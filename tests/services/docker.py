"""Kafka and DynamoDB Local as containers, where a Docker daemon answers."""

import subprocess
from dataclasses import dataclass, field
from typing import Any

from tests.services.child import answers, free_port, wait_until

#: Tags are pinned; docker-compose.yml names the same ones (a test holds them together).
KAFKA_IMAGE = "apache/kafka:4.1.1"
DYNAMODB_IMAGE = "amazon/dynamodb-local:3.1.0"
#: Seconds, the pull of an image apart: testcontainers waits for that without a limit of ours.
START_S_MAX = 120.0
#: The listener for other containers' sake; ours is on the host's port.
_KAFKA_PORT, _CONTROLLER_PORT, _DYNAMODB_PORT = 9092, 9093, 8000


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


def kafka_environment(port: int) -> dict[str, str]:
    """`apache/kafka` as one KRaft node that advertises itself on a port of the host.

    `KafkaContainer` of testcontainers is made for another image and does not start this one.
    """
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{_KAFKA_PORT},CONTROLLER://:{_CONTROLLER_PORT}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{_CONTROLLER_PORT}",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS": "1000",
    }


def _container(image: str) -> Any:
    from testcontainers.core.container import DockerContainer

    return DockerContainer(image)


@dataclass
class KafkaInDocker:
    """The part of `jvm.Kafka` that needs no hand on the process."""

    port: int = field(default_factory=free_port)
    container: Any = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        container = _container(KAFKA_IMAGE).with_bind_ports(_KAFKA_PORT, self.port)
        for name, value in kafka_environment(self.port).items():
            container = container.with_env(name, value)
        self.container = container.start()
        wait_until(lambda: answers(self.port), what=KAFKA_IMAGE, seconds=START_S_MAX)

    def stop(self) -> None:
        if self.container is not None:
            self.container.stop()


@dataclass
class DynamoDBInDocker:
    """The part of `jvm.DynamoDBLocal` that needs no hand on the process."""

    port: int = field(default_factory=free_port)
    container: Any = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        container = _container(DYNAMODB_IMAGE).with_bind_ports(_DYNAMODB_PORT, self.port)
        self.container = container.with_command("-jar DynamoDBLocal.jar -inMemory -sharedDb").start()
        wait_until(lambda: answers(self.port), what=DYNAMODB_IMAGE, seconds=START_S_MAX)

    def stop(self) -> None:
        if self.container is not None:
            self.container.stop()
