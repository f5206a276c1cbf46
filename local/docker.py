"""Kafka and DynamoDB Local as containers, where a Docker daemon answers."""

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

#: The versions of `*.pom.xml` and docker-compose.yml (a test holds them together), so that both
#: ways to have the services are the same services.
KAFKA_IMAGE = "apache/kafka:4.3.1"
DYNAMODB_IMAGE = "amazon/dynamodb-local:3.3.1"
#: Seconds until a service must answer; its image is there before.
START_S_MAX = 120.0
#: Seconds that the daemon may take for an answer, and an image to be pulled.
ANSWER_S_MAX, PULL_S_MAX = 15.0, 600.0
#: Characters of the reason that an error repeats.
REASON_MAX = 200
#: Inside the containers. The tools run there, and need an address that is right there.
_KAFKA_PORT, _CONTROLLER_PORT, _TOOLS_PORT, _DYNAMODB_PORT = 9092, 9093, 19092, 8000
_SECURED_PORT = 9094
#: Lines of a container's log that an error shows.
_TAIL_LINES = 15


def docker_answers() -> bool:
    """Whether a Docker daemon answers; the client alone is no engine."""
    try:
        done = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True, check=False, timeout=ANSWER_S_MAX,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def why_no_images() -> str:
    """Why an image that the services need can be neither found nor pulled, in one line; or ""."""
    from testcontainers.core.config import testcontainers_config

    reaper = () if testcontainers_config.ryuk_disabled else (testcontainers_config.ryuk_image,)
    for image in (KAFKA_IMAGE, DYNAMODB_IMAGE, *reaper):
        if _docker("image", "inspect", "--format", "{{.Id}}", image, seconds=ANSWER_S_MAX) == "":
            continue
        if reason := _docker("pull", "--quiet", image, seconds=PULL_S_MAX):
            return f"the image {image} cannot be pulled ({reason})"
    return ""


def _docker(*arguments: str, seconds: float) -> str:
    """Run Docker's client: "", or the last line of why it failed."""
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
        # By its loggers, as in docker-compose.yml.
        "KAFKA_LOG4J_LOGGERS": "kafka=WARN,org.apache.kafka=WARN",
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
        """Start, or start again on the same data and port; returns when it answers.

        Raises RuntimeError where Docker refuses, or the service does not answer.
        """
        from docker.errors import DockerException

        try:
            if self._container is None:
                self._container = self._prepared()
                self._container.start()
            else:
                self._docker.start()
        except (DockerException, OSError) as error:  # requests' errors are of OSError
            raise RuntimeError(f"{self.image}: Docker does not start it: {error}") from error
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

    @property
    def tool(self) -> KafkaTool:
        """Kafka's own command-line tools, in the container."""
        command = ("docker", "exec", "-i", "-e", f"KAFKA_HEAP_OPTS={TOOL_HEAP}", self._docker.id,
                   "/opt/kafka/bin/kafka-run-class.sh")  # fmt: skip
        return KafkaTool(command, f"localhost:{_TOOLS_PORT}")


class DynamoDBInDocker(_InDocker):
    """As `jvm.DynamoDBLocal`: in memory."""

    image = DYNAMODB_IMAGE

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _prepared(self) -> Any:
        container = _container(self.image, self.port, _DYNAMODB_PORT)
        container.with_env("DDB_LOCAL_TELEMETRY", "0")
        return container.with_command(f"{DYNAMODB_HEAP} -jar DynamoDBLocal.jar -inMemory -sharedDb")

    def _answers(self) -> bool:
        return dynamodb_answers(self.port)
