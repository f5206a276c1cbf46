"""Kafka and DynamoDB Local as containers."""

import subprocess
from collections.abc import Mapping
from typing import Any

from local import access
from local.broker import (
    COMPILED_ONCE,
    DYNAMODB_HEAP,
    KAFKA_HEAP,
    ONE_NODE,
    QUICK_INTERVALS,
    TOOL_HEAP,
)
from local.ready import dynamodb_answers, free_ports, kafka_answers, wait_until
from local.tool import KafkaTool

#: The versions of `*.pom.xml` and docker-compose.yml, which a test compares, so that all ways have
#: the same services.
KAFKA_IMAGE = "apache/kafka:4.3.1"
DYNAMODB_IMAGE = "amazon/dynamodb-local:3.3.1"
#: Seconds until a service must answer, without the pull of its image.
START_S_MAX = 120.0
#: Seconds for an answer of the daemon, and for the pull of an image.
ANSWER_S_MAX, PULL_S_MAX = 15.0, 600.0
#: Characters of the reason in an error.
REASON_MAX = 200
#: Ports inside the containers. The tools run there, and need an address that is valid there.
_KAFKA_PORT, _CONTROLLER_PORT, _TOOLS_PORT, _DYNAMODB_PORT = 9092, 9093, 19092, 8000
_SECURED_PORT = 9094
#: Lines of a container's log in an error.
_TAIL_LINES = 15


def docker_answers() -> bool:
    """Return whether a Docker daemon answers, not only its client."""
    try:
        done = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True, check=False, timeout=ANSWER_S_MAX,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def why_no_images() -> str:
    """Return why a needed image can be neither found nor pulled, in one line; or ""."""
    from testcontainers.core.config import testcontainers_config

    reaper = () if testcontainers_config.ryuk_disabled else (testcontainers_config.ryuk_image,)
    for image in (KAFKA_IMAGE, DYNAMODB_IMAGE, *reaper):
        if _docker("image", "inspect", "--format", "{{.Id}}", image, seconds=ANSWER_S_MAX) == "":
            continue
        if reason := _docker("pull", "--quiet", image, seconds=PULL_S_MAX):
            return f"the image {image} cannot be pulled ({reason})"
    return ""


def _docker(*arguments: str, seconds: float) -> str:
    """Run Docker's client; return "", or the last line of its error."""
    try:
        done = subprocess.run(
            ["docker", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done after {seconds:.0f} s"
    said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    if len(said) > REASON_MAX:
        said = f"... {said[-REASON_MAX:]}"  # the cause stands last
    return "" if done.returncode == 0 else said


def as_variable(name: str) -> str:
    """Return the variable of a server property for `apache/kafka` (its docker/README)."""
    return "KAFKA_" + name.replace("-", "___").replace("_", "__").replace(".", "_").upper()


def kafka_environment(
    port: int,
    secured: int | None = None,
    *,
    properties: Mapping[str, str] = {},
    users: Mapping[str, str] = {},
) -> dict[str, str]:
    """Return the variables of `apache/kafka` as one KRaft node, advertised on a port of the host.

    secured: the host's port of the second listener, with users (`access`).

    `KafkaContainer` of testcontainers is made for another image and does not start this one.
    """
    listeners = f"PLAINTEXT://:{_KAFKA_PORT},TOOLS://:{_TOOLS_PORT}"
    advertised = f"PLAINTEXT://127.0.0.1:{port},TOOLS://localhost:{_TOOLS_PORT}"
    protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TOOLS:PLAINTEXT"
    if users:
        listeners += f",{access.SECURED}://:{_SECURED_PORT}"
        advertised += f",{access.SECURED}://127.0.0.1:{secured}"
        protocols += f",{access.SECURED}:{access.PROTOCOL}"
    further = {**ONE_NODE, **QUICK_INTERVALS, **access.access_properties(users), **properties}
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"{listeners},CONTROLLER://:{_CONTROLLER_PORT}",
        "KAFKA_ADVERTISED_LISTENERS": advertised,
        "KAFKA_INTER_BROKER_LISTENER_NAME": "TOOLS",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": protocols,
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{_CONTROLLER_PORT}",
        "KAFKA_HEAP_OPTS": KAFKA_HEAP,
        "KAFKA_JVM_PERFORMANCE_OPTS": COMPILED_ONCE,
        # As in docker-compose.yml.
        "KAFKA_LOG4J_LOGGERS": "kafka=WARN,org.apache.kafka=WARN",
        **{as_variable(name): value for name, value in further.items()},
    }


def _container(image: str, port: int, to: int) -> Any:
    """Return a container whose port `to` is bound to a port of the host's loopback alone."""
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(image)
    # with_bind_ports would bind every address of this host.
    container.ports[f"{to}/tcp"] = ("127.0.0.1", port)
    return container


class _DockerService:
    """A container that can be killed, restarted, paused and removed.

    testcontainers' reaper removes it if we are killed.
    """

    image: str

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._container: Any = None

    def _create_container(self) -> Any:
        raise NotImplementedError

    def _is_answering(self) -> bool:
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
        """Start, or restart with the same data and port; returns when it answers.

        Raises RuntimeError if Docker refuses, or the service does not answer.
        """
        from docker.errors import DockerException

        try:
            if self._container is None:
                self._container = self._create_container()
                self._container.start()
            else:
                self._docker.start()
        except (DockerException, OSError) as error:  # requests' errors are of OSError
            raise RuntimeError(f"{self.image}: Docker does not start it: {error}") from error
        wait_until(self._is_answering, what=self.image, seconds=START_S_MAX, child=self)

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


class KafkaInDocker(_DockerService):
    """Kafka in a container, as `jvm.Kafka`."""

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

    def _create_container(self) -> Any:
        container = _container(self.image, self.port, _KAFKA_PORT)
        if self._secured_port is not None:
            container.ports[f"{_SECURED_PORT}/tcp"] = ("127.0.0.1", self._secured_port)
        environment = kafka_environment(
            self.port, self._secured_port, properties=self._properties, users=self._users
        )
        for name, value in environment.items():
            container = container.with_env(name, value)
        return container

    def _is_answering(self) -> bool:
        return kafka_answers(self.port)

    @property
    def tool(self) -> KafkaTool:
        """Return Kafka's command-line tools in the container."""
        command = ("docker", "exec", "-i", "-e", f"KAFKA_HEAP_OPTS={TOOL_HEAP}", self._docker.id,
                   "/opt/kafka/bin/kafka-run-class.sh")  # fmt: skip
        return KafkaTool(command, f"localhost:{_TOOLS_PORT}")


class DynamoDBInDocker(_DockerService):
    """DynamoDB Local in a container, in memory."""

    image = DYNAMODB_IMAGE

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _create_container(self) -> Any:
        container = _container(self.image, self.port, _DYNAMODB_PORT)
        container.with_env("DDB_LOCAL_TELEMETRY", "0")
        return container.with_command(
            f"{DYNAMODB_HEAP} {COMPILED_ONCE} -jar DynamoDBLocal.jar -inMemory -sharedDb"
        )

    def _is_answering(self) -> bool:
        return dynamodb_answers(self.port)
