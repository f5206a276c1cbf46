"""docker-compose.yml, the Dockerfile and the requirement files, read as data.

CI has no Docker daemon: what can be known of them without one is tested here.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS
from local.docker import DYNAMODB_IMAGE, KAFKA_IMAGE
from local.lock_worker import worker_requirements
from worker.config_file import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
#: The services of docker-compose.yml that run our image.
OURS = ("init", "worker")
#: Seconds until the broker's health check must have ended.
DEADLINE_S = 20.0
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKER = tomllib.loads((ROOT / "worker" / "pyproject.toml").read_text())["project"]
LOCKS = ["worker", "dev", "image"]
#: What is installed on demand.
ON_DEMAND = ["java", "mutate", "docs", "audit"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The services of docker-compose.yml, by name."""
    services: dict[str, Any] = COMPOSE["services"]
    return services


# ---- docker-compose.yml


def test_the_images_are_the_ones_that_the_tests_use(compose: dict[str, Any]) -> None:
    """Pinned, and one version everywhere."""
    assert compose["kafka"]["image"] == KAFKA_IMAGE
    assert compose["dynamodb"]["image"] == DYNAMODB_IMAGE
    assert compose["worker"]["image"] == f"{PROJECT['name']}:{PROJECT['version']}"


def test_ports_are_open_to_this_host_alone(compose: dict[str, Any]) -> None:
    """None of the services asks for credentials."""
    ports = [port for service in compose.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_workers_can_be_many(compose: dict[str, Any]) -> None:
    """`--scale worker=2`: nothing of a worker may exist only once on the host."""
    assert not {"ports", "container_name", "hostname", "volumes"} & set(compose["worker"])


def test_the_order_of_a_start(compose: dict[str, Any]) -> None:
    """Healthy services, then `poste init` to its end, then workers."""
    healthy = {"condition": "service_healthy"}

    assert compose["init"]["depends_on"] == {"kafka": healthy, "dynamodb": healthy}
    assert compose["worker"]["depends_on"] == {
        "init": {"condition": "service_completed_successfully"}
    }
    assert compose["init"]["command"][0] == "init"
    assert compose["init"].get("restart") is None
    for name in ("kafka", "dynamodb", "worker"):
        assert compose[name]["healthcheck"]["test"], name


def test_one_service_builds_the_image_and_none_pulls_it(compose: dict[str, Any]) -> None:
    """Two services that build and name one image side by side fail where the second finds the name
    taken. Of the other one compose would ask a registry, and none has it."""
    assert [name for name in compose if "build" in compose[name]] == ["init"]
    assert compose["init"]["image"] == compose["worker"]["image"]
    assert compose["worker"]["pull_policy"] == "never"


def test_a_signal_reaches_our_services_from_their_first_moment(compose: dict[str, Any]) -> None:
    """The kernel drops a signal for a process 1 without a handler: an init is process 1, with
    compose and without it."""
    for name in OURS:
        assert compose[name]["init"] is True, name
        assert "stop_signal" not in compose[name]
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "install --yes --no-install-recommends tini" in last_stage
    assert 'ENTRYPOINT ["tini", "-s", "--", "poste"]\n' in last_stage
    assert "\nSTOPSIGNAL SIGTERM\n" in last_stage


def test_kafka_and_dynamodb_both_keep_their_data(compose: dict[str, Any]) -> None:
    """A table that is empty beside a topic that was kept has forgotten the acknowledgements (G4):
    each writes into a volume with a name, and nothing is in memory alone."""
    (kafka,), (dynamodb,) = (compose[name]["volumes"] for name in ("kafka", "dynamodb"))
    command = compose["dynamodb"]["command"]

    assert {volume.split(":")[0] for volume in (kafka, dynamodb)} == set(COMPOSE["volumes"])
    assert compose["kafka"]["environment"]["KAFKA_LOG_DIRS"] == kafka.split(":")[1]
    assert command[command.index("-dbPath") + 1] == dynamodb.split(":")[1]
    assert "-inMemory" not in command
    # A new volume belongs to root, unless the image has the folder; Kafka's has, and owns it.
    assert compose["dynamodb"]["user"] == "root"


def test_the_broker_logs_warnings_and_errors_alone(compose: dict[str, Any]) -> None:
    """Its own loggers: the image's variable for the root level takes the root's appenders away, and
    not even an error would be seen."""
    environment = compose["kafka"]["environment"]

    assert environment["KAFKA_LOG4J_LOGGERS"] == "kafka=WARN,org.apache.kafka=WARN"
    assert "KAFKA_LOG4J_ROOT_LOGLEVEL" not in environment


def test_a_slow_start_is_no_failure(compose: dict[str, Any]) -> None:
    """A failed check counts only after the start period; a worker waits for none of its own."""
    for name in ("kafka", "dynamodb", "worker"):
        assert float(compose[name]["healthcheck"]["start_period"].removesuffix("s")) >= 30, name


def test_the_broker_is_asked_on_its_inner_listener_and_starts_no_jvm(
    compose: dict[str, Any],
) -> None:
    """Every few seconds, for as long as it runs: a JVM takes a third of a core for that."""
    script = health_script(compose)

    assert "INSIDE://:19092" in compose["kafka"]["environment"]["KAFKA_LISTENERS"]
    assert "/dev/tcp/localhost/19092" in script
    assert "kafka" not in script
    assert "java" not in script


def health_script(compose: dict[str, Any]) -> str:
    """What bash gets, as compose hands it on: it makes one `$` of two."""
    kind, shell, option, script = compose["kafka"]["healthcheck"]["test"]
    assert (kind, shell, option) == ("CMD", "bash", "-c")
    return str(script).replace("$$", "$")


def metadata(correlation: bytes, brokers: int) -> bytes:
    """The first bytes of an answer to a Metadata request, and one byte more."""
    return b"\0\0\0\x2a" + correlation + brokers.to_bytes(4, "big") + b"\0"


@contextmanager
def broker(answer: bytes | None) -> Iterator[tuple[int, list[bytes]]]:
    """A port that takes a connection and answers with this; None: it hangs up. Yields the port,
    and what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("localhost", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(4096))
                if answer is not None:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join(DEADLINE_S)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the check is written for bash")
@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (metadata(b"post", 1), True),
        (metadata(b"post", 0), False),
        (metadata(b"else", 1), False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_broker_is_healthy_when_it_answers_and_counts_itself(
    compose: dict[str, Any], answer: bytes | None, healthy: bool
) -> None:
    """The script of docker-compose.yml, run here: that a port is open says nothing, since a broker
    listens before it takes part."""
    with broker(answer) as (port, asked):
        script = health_script(compose).replace("19092", str(port))
        done = subprocess.run(["bash", "-c", script], check=False, timeout=DEADLINE_S)

    assert (done.returncode == 0) is healthy
    # As local/ready.py asks: size, Metadata, version 1, correlation id, no client id, [].
    assert asked == [b"\0\0\0\x0e\0\x03\0\x01post\xff\xff\0\0\0\0"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="the check is written for bash")
def test_a_broker_that_does_not_listen_is_unhealthy(compose: dict[str, Any]) -> None:
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    script = health_script(compose).replace("19092", str(port))

    assert subprocess.run(["bash", "-c", script], check=False, timeout=DEADLINE_S).returncode != 0


def test_the_environment_is_a_configuration(compose: dict[str, Any]) -> None:
    """The product takes it, and finds both services of the network by it."""
    for name in ("init", "worker"):
        environment = compose[name]["environment"]
        settings = load_settings(None, environment)
        host, port = environment[KAFKA_ADDRESS].split(":")
        listeners = compose["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")

        assert environment[DYNAMODB_ADDRESS] == "http://dynamodb:8000"
        assert host == "kafka"
        assert f"INSIDE://{host}:{port}" in listeners
        assert settings.kafka.bootstrap_servers == environment[KAFKA_ADDRESS]
        # Python's SDK reads this name, and not AWS_REGION.
        assert environment["AWS_DEFAULT_REGION"]


def test_a_worker_may_drain_before_it_is_killed(compose: dict[str, Any]) -> None:
    """The grace period covers the drain limit, and leaving after it (G1, G8)."""
    settings = load_settings(None, compose["worker"]["environment"])
    grace = compose["worker"]["stop_grace_period"]

    assert float(grace.removesuffix("s")) > settings.drain_s + settings.leave_s


def test_health_is_asked_where_the_worker_answers(compose: dict[str, Any]) -> None:
    """The port is the setting's default, which the image exposes."""
    settings = load_settings(None, compose["worker"]["environment"])
    asked = " ".join(compose["worker"]["healthcheck"]["test"])

    assert f":{settings.http.port}/readyz" in asked
    assert f"EXPOSE {settings.http.port}\n" in DOCKERFILE


# ---- Dockerfile


def test_the_image_is_pinned_and_runs_as_a_user() -> None:
    """One base, to the last digit; not root; the command is `poste`."""
    bases = set(re.findall(r"(?m)^FROM (\S+)", DOCKERFILE))
    assert len(bases) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases.pop())
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"(?m)^USER [1-9]\d*$", last_stage)
    assert '"poste"]\nCMD ["worker"]\n' in last_stage
    # useradd warns of a system user with an id of 1000 or above.
    assert "RUN useradd --uid 10001 --create-home poste\n" in last_stage


def test_every_package_of_the_image_is_locked_by_hash() -> None:
    """The build backend too: what pip installs is of a lock, or was made here."""
    installs = re.findall(r"pip(?: --python \S+)? (?:install|wheel) [^\n]+", DOCKERFILE)
    locks = [match for line in installs for match in re.findall(r"-r (\S+)", line)]

    assert locks == ["requirements/build.txt", "requirements/image.txt"]
    assert len(installs) == 4
    for line in installs:
        assert "--require-hashes" in line or "--no-index" in line, line
    backend = (ROOT / "requirements" / "build.txt").read_text()
    assert "setuptools==" in backend
    assert "--hash=sha256:" in backend
    # The tokens of AWS MSK, which the Helm chart can ask for.
    assert "aws-msk-iam-sasl-signer-python" in pins("image")
    assert pins("image").items() <= pins("dev").items()


def test_nothing_in_the_image_installs_packages() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "venv --without-pip /opt/poste" in DOCKERFILE
    assert "pip uninstall --yes --root-user-action=ignore setuptools wheel pip" in last_stage
    python = re.search(r"python:(\d+\.\d+)", DOCKERFILE)
    assert python is not None
    assert f"rm -rf /usr/local/lib/python{python[1]}/ensurepip" in last_stage


def test_the_image_says_what_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]+)"', DOCKERFILE))
    base = re.search(r"(?m)^FROM (\S+)$", DOCKERFILE)

    assert base is not None
    assert labels["title"] == PROJECT["name"]
    assert labels["version"] == PROJECT["version"]
    assert labels["base.name"] == f"docker.io/library/{base[1]}"


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_image_is_healthy_while_the_worker_answers(status: int | None, healthy: bool) -> None:
    """The command of HEALTHCHECK, run here: it asks where a liveness probe asks, at the port of the
    setting."""
    found = re.search(r"HEALTHCHECK (.*) \\\n +CMD (\[.*\])\n", DOCKERFILE)
    assert found is not None
    program, *arguments = json.loads(found[2])
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            assert status is not None
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        if status is None:
            server.socket.close()
        else:
            thread.start()
        done = subprocess.run(
            [sys.executable, *arguments], check=False, timeout=DEADLINE_S, capture_output=True,
            env={"POSTE_HTTP__PORT": str(server.server_port)},
        )  # fmt: skip
        if status is not None:
            server.shutdown()
            thread.join(DEADLINE_S)

    assert program == "python"
    assert (done.returncode == 0) is healthy
    assert asked == ([] if status is None else ["/healthz"])
    assert f"'{load_settings(None, {}).http.port}'" in found[2]


def test_what_is_copied_is_in_the_build_context() -> None:
    """`.dockerignore` lets through what the Dockerfile copies, and nothing else."""
    let_through = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", DOCKERFILE)
        for source in line.split()[:-1]
    }

    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


# ---- distributions, and requirement files


def test_the_distributions_are_of_one_version() -> None:
    """Another release's module may know another format than the worker's."""
    assert WORKER["version"] == PROJECT["version"]
    assert f"{PROJECT['name']}=={PROJECT['version']}" in WORKER["dependencies"]
    assert WORKER["requires-python"] == PROJECT["requires-python"]


def test_the_locked_requirements_are_the_workers_without_the_module() -> None:
    extras = WORKER["optional-dependencies"]
    module = f"{PROJECT['name']}=={PROJECT['version']}"

    assert {*worker_requirements([]), module} == set(WORKER["dependencies"])
    assert worker_requirements(["msk-iam"]) == [*worker_requirements([]), *extras["msk-iam"]]


def pins(name: str) -> dict[str, str]:
    """The pinned versions of a requirement file, by distribution."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", text))


@pytest.mark.parametrize("name", [*LOCKS, *ON_DEMAND])
def test_every_requirement_is_locked_by_hash(name: str) -> None:
    """And says no address of an index, and no folder: those are the machine's own."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]

    assert len(blocks) == len(pins(name)) > 10
    for block in blocks:
        assert "--hash=sha256:" in block, block
    for word in ("://", "--index-url", "--find-links", "--trusted-host", " @ "):
        assert word not in text


def test_the_locks_agree() -> None:
    """What is tested is what is installed."""
    assert pins("worker").items() <= pins("dev").items()


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_hold_what_is_pinned(name: str) -> None:
    """The versions that the guarantees lean on; `make lock` was run after the last change."""
    wanted = "\n".join(worker_requirements([]))
    exact = dict(re.findall(r"(?m)^([a-z-]+)(?:\[.*\])?==(\S+)$", wanted))

    assert set(exact) == {"faust-streaming", "mode-streaming", "aiokafka"}
    assert exact.items() <= pins(name).items()


def test_the_locks_hold_everything_that_is_wanted() -> None:
    """No dependency was added without `make lock`."""
    wanted = [
        *PROJECT["dependencies"],
        *worker_requirements([]),
        *PROJECT["optional-dependencies"]["dev"],
    ]
    names = {re.split(r"[\[<>=!~ ]", text)[0] for text in wanted}

    assert names <= set(pins("dev"))
