"""How the real services are had: the choice, the containers' definitions, children that end.

No service is started here; `tests/integration/test_services.py` starts them.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.errors import DockerException
from testcontainers.core import container
from testcontainers.core.config import testcontainers_config

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS, choose, start_services
from local.broker import ONE_NODE, QUICK_INTERVALS
from local.child import Child
from local.choose import DOCKER, FORCED
from local.docker import (
    DynamoDBInDocker,
    KafkaInDocker,
    as_variable,
    docker_answers,
)
from local.java import HERE, JARS, PACKAGES, java_with_maven
from local.jvm import Kafka, cluster_id
from local.ready import dynamodb_answers, free_ports, kafka_answers, wait_until
from tests.checkout import NO_PACKAGES, without_cache

ROOT = Path(__file__).parents[2]
#: Seconds until a condition must hold.
DEADLINE_S = 20.0


class Recorded:
    """A service that writes down what is done to it. fails: the call that raises."""

    bootstrap, endpoint = "kafka.test:9092", "http://dynamodb.test:8000"

    def __init__(self, *, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            if name == self.fails:
                raise RuntimeError(f"no {name}")

        return call


@contextmanager
def started_are(
    monkeypatch: pytest.MonkeyPatch, kafka: Recorded, dynamodb: Recorded
) -> Iterator[list[Path]]:
    """What `start_services` starts are these; yields the directories it made."""
    directories: list[Path] = []

    def made(service: Recorded) -> Callable[[Path], Recorded]:
        def make(directory: Path) -> Recorded:
            directories.append(directory)
            return service

        return make

    monkeypatch.setattr(choose, "new_kafka", made(kafka))
    monkeypatch.setattr(choose, "new_dynamodb", made(dynamodb))
    yield directories


# ---- the choice


def test_given_addresses_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started where both are given, and no credentials are made up."""
    kafka, dynamodb = Recorded(), Recorded()
    given = {KAFKA_ADDRESS: "a:1,b:2", DYNAMODB_ADDRESS: "http://c:3"}
    with started_are(monkeypatch, kafka, dynamodb), start_services(given) as services:
        assert services.environment == given
        assert (services.kafka, services.dynamodb) == (None, None)
    assert kafka.calls == dynamodb.calls == []


def test_one_given_address_leaves_the_other_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is had on its own, and only ours is stopped."""
    kafka, dynamodb = Recorded(), Recorded()
    with (
        started_are(monkeypatch, kafka, dynamodb) as directories,
        start_services({KAFKA_ADDRESS: "a:1"}) as services,
    ):
        assert (services.bootstrap, services.endpoint) == ("a:1", Recorded.endpoint)
        assert services.environment["AWS_ACCESS_KEY_ID"] == "local"
        assert services.environment["AWS_DEFAULT_REGION"]
        assert directories[0].is_dir()
    assert kafka.calls == []
    assert dynamodb.calls == ["start", "stop"]
    assert not directories[0].exists()


def test_nothing_is_left_when_a_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that runs already is stopped, and the directory is gone."""
    kafka, dynamodb = Recorded(), Recorded(fails="start")
    with started_are(monkeypatch, kafka, dynamodb) as directories:
        with pytest.raises(RuntimeError, match="no start"):
            start_services({})
        assert kafka.calls == ["start", "stop"]
        assert dynamodb.calls == ["start", "stop"]
        assert not directories[0].exists()


def test_one_that_cannot_be_stopped_does_not_keep_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every service is stopped, whatever becomes of the others."""
    kafka, dynamodb = Recorded(fails="stop"), Recorded(fails="stop")
    with started_are(monkeypatch, kafka, dynamodb) as directories:
        services = start_services({})
        with pytest.raises(RuntimeError, match="no stop"):
            services.stop()
        assert kafka.calls == dynamodb.calls == ["start", "stop"]
        assert not directories[0].exists()


def program(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("docker", "found"),
    [
        (None, False),
        ("exit 1", False),
        ("echo; exit 0", False),  # a client whose daemon does not answer may end with 0
        ("echo 28.2.2", True),
    ],
)
def test_a_docker_client_alone_is_no_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: str | None, found: bool
) -> None:
    """It is the daemon that has to answer."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if docker is not None:
        program(tmp_path, "docker", docker)
    assert docker_answers() is found


@pytest.mark.parametrize(
    ("java", "maven", "found"),
    [
        ('openjdk version "17.0.9" 2023-10-17', True, True),
        ('openjdk version "21" 2023-09-19', True, True),
        ('java version "1.8.0_392"', True, False),
        ('openjdk version "11.0.21" 2023-10-17', True, False),
        ('openjdk version "17.0.9" 2023-10-17', False, False),
        (None, True, False),
    ],
)
def test_java_must_be_recent_and_have_maven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, java: str | None, maven: bool, found: bool
) -> None:
    """DynamoDB Local and Kafka need Java 17."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if java is not None:
        program(tmp_path, "java", f"echo '{java}' >&2")
    if maven:
        program(tmp_path, "mvn", "")
    assert java_with_maven() is found


def bare(tmp_path: Path) -> dict[str, str]:
    """An environment in which no program is found, and pip finds no package."""
    kept = {n: v for n, v in os.environ.items() if n not in {KAFKA_ADDRESS, DYNAMODB_ADDRESS}}
    return {**kept, "PATH": str(tmp_path), **NO_PACKAGES}


def test_a_run_of_tests_without_services_fails_in_one_line(tmp_path: Path) -> None:
    """Not skipped, and not an error for every test."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "services",
         "tests/contract/test_fake_table.py"],
        cwd=ROOT, env={**bare(tmp_path), FORCED: DOCKER},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    said = [line for line in done.stdout.splitlines() if "no Docker daemon answers" in line]
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(said) == 1
    assert "skipped" not in done.stdout
    assert "Traceback" not in done.stdout


def test_make_run_without_services_fails_in_one_line(tmp_path: Path) -> None:
    """What to install, and status 1."""
    done = subprocess.run(
        [sys.executable, "-m", "local.run"], cwd=without_cache(tmp_path), env=bare(tmp_path),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("make run: no Kafka and DynamoDB: ")
    for reason in ("no Docker daemon", "no Java 17 with Maven", "requirements/java.txt cannot be"):
        assert reason in line


# ---- containers, without a daemon


class FakeContainer:
    """What docker-py gives for a container."""

    id = "f00"

    def __init__(self) -> None:
        self.status = "running"
        self.calls: list[str] = []

    def reload(self) -> None:
        self.calls.append("reload")

    def logs(self, *, tail: int) -> bytes:
        return b"the last words\n" * min(tail, 2)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda **_: self.calls.append(name)


class FakeDaemon:
    """Docker's client, as testcontainers uses it. It runs this one container, as `asked`."""

    def __init__(self) -> None:
        self.container = FakeContainer()
        self.calls = self.container.calls
        self.asked: dict[str, Any] = {}
        self.client = self

    def create(self, image: str, **asked: Any) -> FakeContainer:
        self.asked = {"image": image, **asked}
        self.calls.append("create")
        return self.container

    def start(self, created: FakeContainer) -> None:
        created.start()

    def close(self) -> None:
        """As a connection is."""


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    """Testcontainers with this client, and with services that answer."""
    fake = FakeDaemon()
    monkeypatch.setattr(container, "DockerClient", lambda **_: fake)
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    monkeypatch.setattr("local.docker.kafka_answers", lambda port: True)
    monkeypatch.setattr("local.docker.dynamodb_answers", lambda port: True)
    return fake


def test_kafka_in_docker_is_one_node_that_advertises_a_port_of_this_host(
    daemon: FakeDaemon,
) -> None:
    """Clients are sent back to the address they came by, on the loopback alone."""
    kafka = KafkaInDocker()
    kafka.start()

    assert re.fullmatch(r"apache/kafka:\d+\.\d+\.\d+", daemon.asked["image"])
    assert daemon.asked["ports"] == {"9092/tcp": ("127.0.0.1", kafka.port)}
    assert kafka.bootstrap == f"127.0.0.1:{kafka.port}"
    environment = daemon.asked["environment"]
    assert f"PLAINTEXT://{kafka.bootstrap}" in environment["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert environment["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS"] == "0"
    for replicated in ("OFFSETS_TOPIC_REPLICATION_FACTOR", "TRANSACTION_STATE_LOG_MIN_ISR",
                       "TRANSACTION_STATE_LOG_REPLICATION_FACTOR"):  # fmt: skip
        assert environment[f"KAFKA_{replicated}"] == "1"
    protocols = dict(
        pair.split(":") for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    )
    listeners = {part.split(":")[0] for part in environment["KAFKA_LISTENERS"].split(",")}
    assert listeners == set(protocols), "every listener has a protocol"


def test_kafka_in_docker_with_users_has_a_second_listener(daemon: FakeDaemon) -> None:
    """As the JVM child has it: the same properties, by the image's own names for them."""
    kafka = KafkaInDocker(properties={"group.max.size": "1"}, users={"bob": "secret"})
    kafka.start()
    environment = daemon.asked["environment"]

    assert daemon.asked["ports"]["9094/tcp"] == ("127.0.0.1", int(kafka.secured.split(":")[1]))
    assert f"SECURED://{kafka.secured}" in environment["KAFKA_ADVERTISED_LISTENERS"].split(",")
    protocols = environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    assert "SECURED:SASL_PLAINTEXT" in protocols
    assert environment["KAFKA_SUPER_USERS"] == "User:ANONYMOUS"
    login = environment["KAFKA_LISTENER_NAME_SECURED_PLAIN_SASL_JAAS_CONFIG"]
    assert 'user_bob="secret"' in login
    assert environment["KAFKA_GROUP_MAX_SIZE"] == "1"


def test_dynamodb_in_docker_is_in_memory_on_the_loopback(daemon: FakeDaemon) -> None:
    """As the JVM child is: nothing is kept, nothing is sent home."""
    dynamodb = DynamoDBInDocker()
    dynamodb.start()

    assert re.fullmatch(r"amazon/dynamodb-local:\d+\.\d+\.\d+", daemon.asked["image"])
    assert daemon.asked["ports"] == {"8000/tcp": ("127.0.0.1", dynamodb.port)}
    assert dynamodb.endpoint == f"http://127.0.0.1:{dynamodb.port}"
    java = "-Xmx768m -XX:TieredStopAtLevel=1"
    assert daemon.asked["command"] == f"{java} -jar DynamoDBLocal.jar -inMemory -sharedDb"
    assert daemon.asked["environment"] == {"DDB_LOCAL_TELEMETRY": "0"}


def test_a_broker_has_the_same_properties_in_docker_and_as_a_jvm_child(
    daemon: FakeDaemon, tmp_path: Path
) -> None:
    """A test waits as long for the one as for the other; the heap is the same as well."""
    child = Kafka(tmp_path)
    lines = (tmp_path / "server.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    KafkaInDocker().start()
    environment = daemon.asked["environment"]

    for name in {**ONE_NODE, **QUICK_INTERVALS}:
        assert properties[name] == environment[as_variable(name)], name
    assert environment["KAFKA_HEAP_OPTS"] in child.command
    assert environment["KAFKA_JVM_PERFORMANCE_OPTS"] in child.command
    assert "WARN" in environment["KAFKA_LOG4J_LOGGERS"]


@pytest.mark.parametrize("error", [DockerException("no space left"), OSError("reset by peer")])
def test_a_container_that_docker_does_not_start_is_one_line(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Its caller knows RuntimeError, and not every error of Docker's client."""

    def refuse(_: Any) -> None:
        raise error

    monkeypatch.setattr(daemon, "start", refuse)
    with pytest.raises(
        RuntimeError, match=rf"^apache/kafka:\S+ Docker does not start it: {error}$"
    ):
        KafkaInDocker().start()


def test_a_container_that_was_killed_is_started_again(daemon: FakeDaemon) -> None:
    """The same one, with its data; a new one is made only after it was removed."""
    kafka = KafkaInDocker()
    kafka.start()
    kafka.kill()
    kafka.start()
    kafka.pause()
    kafka.resume()
    kafka.stop()
    kafka.stop()

    assert daemon.calls == ["create", "start", "kill", "start", "pause", "unpause", "remove"]


def test_a_container_that_ended_says_its_last_words(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why a start failed is in its log."""
    kafka = KafkaInDocker()
    monkeypatch.setattr("local.docker.kafka_answers", lambda port: False)
    daemon.container.status = "exited"
    with pytest.raises(RuntimeError, match=r"apache/kafka.*ended:\nthe last words"):
        kafka.start()


@pytest.mark.parametrize(
    ("service", "group", "artifact"),
    [(KafkaInDocker, "kafka", "kafka_2.13"), (DynamoDBInDocker, "dynamodb", "DynamoDBLocal")],
)
def test_both_ways_have_the_same_version(service: Any, group: str, artifact: str) -> None:
    """What passes on one passes on the other."""
    pom = (HERE / f"{group}.pom.xml").read_text()
    version = re.search(rf"<artifactId>{artifact}</artifactId><version>(.+?)</version>", pom)

    assert version is not None
    assert service.image.endswith(f":{version[1]}")


@pytest.mark.parametrize("first", range(0, 256, 4))
def test_a_cluster_id_is_no_option(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Kafka's tool refuses one with a dash in front: one start in 64 failed."""
    made = uuid.UUID(bytes=bytes([first]) + b"\xff" * 15)
    monkeypatch.setattr(uuid, "uuid4", lambda: made)

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", cluster_id())


# ---- readiness


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port that takes connections and says this; None: says nothing, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                if answer is not None:
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(DEADLINE_S)


def metadata(correlation: int, brokers: int) -> bytes:
    return b"".join(n.to_bytes(4, "big") for n in (8, correlation, brokers))


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (None, False),
        (b"", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (metadata(0x706F7374, 0), False),
        (metadata(0x706F7374, 1), True),
    ],
)
def test_a_port_that_takes_connections_is_no_kafka(answer: bytes | None, ready: bool) -> None:
    """A broker is ready when it counts itself in; Docker's proxy only takes the connection."""
    with listening(answer) as port:
        assert kafka_answers(port) is ready


@pytest.mark.parametrize(
    ("answer", "ready"),
    [(None, False), (b"what?", False), (b"HTTP/1.1 400 Bad Request\r\n\r\n", True)],
)
def test_a_port_that_takes_connections_is_no_dynamodb(answer: bytes | None, ready: bool) -> None:
    """It is ready when it answers in HTTP, whatever it answers."""
    with listening(answer) as port:
        assert dynamodb_answers(port) is ready


def test_nobody_listens() -> None:
    """An answer, not an error."""
    (port,) = free_ports(1)
    assert not kafka_answers(port)
    assert not dynamodb_answers(port)


def test_free_ports_differ() -> None:
    """Kafka's two listeners never get one port."""
    assert len(set(free_ports(20))) == 20


# ---- children


def child(directory: Path, script: str) -> Child:
    return Child([sys.executable, "-uc", script], log=directory / "child.log")


def test_a_wait_has_an_end_and_shows_the_log(tmp_path: Path) -> None:
    """Whether it ended or is only slow, its last lines are shown."""
    slow = child(tmp_path, "import time; print('still at it'); time.sleep(60)")
    slow.start()
    wait_until(lambda: "still" in slow.output(), what="output", seconds=DEADLINE_S, child=slow)
    with pytest.raises(RuntimeError, match="it: not within 0 s:\nstill at it"):
        wait_until(lambda: False, what="it", seconds=0, child=slow)
    slow.kill()
    assert not slow.alive
    assert slow.wait() == -signal.SIGKILL
    with pytest.raises(RuntimeError, match="it: the process ended:\nstill at it"):
        wait_until(lambda: False, what="it", seconds=DEADLINE_S, child=slow)


def test_a_child_can_be_started_again_and_is_asked_first(tmp_path: Path) -> None:
    """SIGTERM comes before SIGKILL, and a second life writes to the same log."""
    # Not signal.pause(): one that comes just before it would be waited for without end.
    script = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up')\n"
        "while True: time.sleep(0.02)"
    )
    polite = child(tmp_path, script)
    for task in (1, 2):
        polite.start()
        wait_until(
            lambda task=task: polite.output().count("up") == task,  # type: ignore[misc]
            what="output", seconds=DEADLINE_S, child=polite,
        )  # fmt: skip
        assert polite.stop() == 7
    polite.kill()  # of one that ended: nothing


#: A parent with a child, whose pid it prints; then it ends, or waits to be killed.
_PARENT = """
import sys, time
from pathlib import Path
from local.child import Child
child = Child(["sleep", "60"], log=Path(sys.argv[1]) / "log")
child.start()
print(child.pid, flush=True)
{then}
"""


def gone(pid: int) -> bool:
    """Whether a process has ended: there is none, or one that only waits to be reaped."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's alone")
@pytest.mark.parametrize("then", ["time.sleep(60)", "pass", "raise SystemExit(3)"])
def test_a_child_does_not_outlive_its_parent(tmp_path: Path, then: str) -> None:
    """Not even one that was killed by `kill -9`, or that forgot to stop it."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT.format(then=then), str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if "sleep" in then:
            parent.kill()
        parent.wait(DEADLINE_S)
    wait_until(lambda: gone(pid), what="the end of the child", seconds=DEADLINE_S)


def test_jars_are_kept_inside_the_checkout() -> None:
    """Where `make clean` removes them, and the folder above is not written to."""
    assert JARS == ROOT / ".cache" / "jars"
    assert PACKAGES == ROOT / ".cache" / "java"
