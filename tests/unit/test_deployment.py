"""docker-compose.yml, the Dockerfile and the requirement files, read as data.

CI has no Docker daemon: what can be known of them without one is tested here.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services import DYNAMODB_ADDRESS, KAFKA_ADDRESS
from tests.services.docker import DYNAMODB_IMAGE, KAFKA_IMAGE
from worker.configuration import load_settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ["worker", "dev"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The services of docker-compose.yml, by name."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
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
    assert 'ENTRYPOINT ["poste"]\nCMD ["worker"]\n' in last_stage
    assert "--require-hashes -r requirements/worker.txt" in DOCKERFILE


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


# ---- requirement files


def pins(name: str) -> dict[str, str]:
    """The pinned versions of a requirement file, by distribution."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", text))


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_by_hash(name: str) -> None:
    """And says no address of an index, and no folder: those are the machine's own."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]

    assert len(blocks) == len(pins(name)) > 20
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
    wanted = "\n".join(PROJECT["optional-dependencies"]["worker"])
    exact = dict(re.findall(r"(?m)^([a-z-]+)(?:\[.*\])?==(\S+)$", wanted))

    assert set(exact) == {"faust-streaming", "mode-streaming", "aiokafka"}
    assert exact.items() <= pins(name).items()


def test_the_locks_hold_everything_that_is_wanted() -> None:
    """No dependency was added without `make lock`."""
    wanted = [
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["worker"],
        *PROJECT["optional-dependencies"]["dev"],
    ]
    names = {re.split(r"[\[<>=!~ ]", text)[0] for text in wanted}

    assert names <= set(pins("dev"))
