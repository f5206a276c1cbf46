"""Which way Kafka and DynamoDB are had, and what forces one; no service is started."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.config import testcontainers_config

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS, ServicesMissing
from local.choose import FORCED, choose_way, given_addresses
from local.docker import DYNAMODB_IMAGE, KAFKA_IMAGE, why_no_images

ROOT = Path(__file__).parents[2]
BOTH = {KAFKA_ADDRESS: "a:1", DYNAMODB_ADDRESS: "http://c:3"}
#: A client of Docker whose daemon answers, and reaches no registry. Each call is written down.
NO_REGISTRY = """\
echo "$@" >> "$0.calls"
case "$1" in
  info) echo 28.5.2 ;;
  image) echo "Error response from daemon: No such image: $5" >&2; exit 1 ;;
  *) echo "Error response from daemon: failed to resolve reference" >&2; exit 1 ;;
esac
"""
DOCKER_ALONE = "Docker is not used, since the image "


def choice(
    forced: str = "", *, docker: bool = False, images: str = "", jvm: bool = False
) -> tuple[str, list[str]]:
    """The way, and what was said about it."""
    said: list[str] = []
    way = choose_way(
        forced, docker=lambda: docker, images=lambda: images, jvm=lambda: jvm, say=said.append
    )
    return way, said


@pytest.mark.parametrize(
    ("docker", "jvm", "way"),
    [(True, True, "docker"), (True, False, "docker"), (False, True, "jvm")],
)
def test_docker_comes_before_java(docker: bool, jvm: bool, way: str) -> None:
    """A Docker daemon that answers and has the images is used, else Java with Maven."""
    assert choice(docker=docker, jvm=jvm) == (way, [])


def test_a_daemon_without_images_leaves_it_to_java_and_says_so() -> None:
    """In one line, with the reason: whoever waits for containers knows why there are none."""
    way, (line,) = choice(docker=True, images="the image x cannot be pulled (no route)", jvm=True)

    assert way == "jvm"
    assert "\n" not in line
    assert "the image x cannot be pulled (no route)" in line
    assert "JVM" in line


@pytest.mark.parametrize(
    ("forced", "has", "way"),
    [
        ("jvm", {"docker": True, "jvm": True}, "jvm"),
        ("docker", {"docker": True, "jvm": True}, "docker"),
        # What a test kills is its own, also where the shared services are given.
        ("given", {"docker": True, "jvm": True}, "docker"),
    ],
)
def test_a_forced_way_is_taken(forced: str, has: dict[str, Any], way: str) -> None:
    assert choice(forced, **has) == (way, [])


@pytest.mark.parametrize(
    ("forced", "has", "words"),
    [
        ("", {}, ["Docker", "Java 17", "Maven", KAFKA_ADDRESS, DYNAMODB_ADDRESS]),
        ("", {"docker": True, "images": "no image"}, ["no image", "Java 17", "Maven"]),
        ("docker", {"jvm": True}, ["SERVICES=docker", "no Docker daemon answers"]),
        ("docker", {"docker": True, "images": "no image", "jvm": True}, ["no image"]),
        ("jvm", {"docker": True}, ["SERVICES=jvm", "Java 17", "Maven"]),
    ],
)
def test_a_way_that_cannot_be_had_is_one_line(
    forced: str, has: dict[str, Any], words: list[str]
) -> None:
    """Nothing is skipped, and a way that is forced is not replaced: what is missing is said."""
    with pytest.raises(ServicesMissing) as caught:
        choice(forced, **has)

    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "used"),
    [
        ({}, {}),
        (BOTH, BOTH),
        ({**BOTH, FORCED: "given"}, BOTH),
        ({**BOTH, FORCED: "jvm"}, {}),
        ({**BOTH, FORCED: "docker"}, {}),
        ({KAFKA_ADDRESS: "a:1", DYNAMODB_ADDRESS: ""}, {KAFKA_ADDRESS: "a:1"}),
    ],
)
def test_given_addresses_are_used_unless_another_way_is_forced(
    environ: dict[str, str], used: dict[str, str]
) -> None:
    assert given_addresses(environ) == used


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({FORCED: "podman"}, "SERVICES='podman' must be docker, jvm or given"),
        (
            {FORCED: "given"},
            f"SERVICES=given, but no address in {KAFKA_ADDRESS} and {DYNAMODB_ADDRESS}",
        ),
        (
            {FORCED: "given", KAFKA_ADDRESS: "a:1"},
            f"SERVICES=given, but no address in {DYNAMODB_ADDRESS}",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_is_one_line(environ: dict[str, str], line: str) -> None:
    with pytest.raises(ServicesMissing) as caught:
        given_addresses(environ)
    assert str(caught.value) == line


# ---- as a command, with a client of Docker of the test's own


def docker_client(directory: Path, script: str) -> Path:
    path = directory / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`make run` where only this folder's programs are found."""

    def run(**environ: str) -> subprocess.CompletedProcess[str]:
        kept = {n: v for n, v in os.environ.items() if n not in {*BOTH, FORCED}}
        return subprocess.run(
            [sys.executable, "-m", "local.run"],
            cwd=ROOT, env={**kept, "PATH": str(tmp_path), **environ},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("disabled", [False, True])
def test_an_image_that_is_there_is_not_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disabled: bool
) -> None:
    """A daemon without a network runs what it has; testcontainers' reaper, unless switched off."""
    client = docker_client(tmp_path, 'echo "$@" >> "$0.calls"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", disabled)

    assert why_no_images() == ""
    calls = (tmp_path / f"{client.name}.calls").read_text().splitlines()
    reaper = [] if disabled else [testcontainers_config.ryuk_image]
    assert all(call.startswith("image inspect ") for call in calls)
    assert [call.split()[-1] for call in calls] == [KAFKA_IMAGE, DYNAMODB_IMAGE, *reaper]


def test_an_image_that_cannot_be_pulled_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = docker_client(tmp_path, NO_REGISTRY)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert why_no_images() == (
        f"the image {KAFKA_IMAGE} cannot be pulled"
        " (Error response from daemon: failed to resolve reference)"
    )
    assert f"pull --quiet {KAFKA_IMAGE}" in (tmp_path / f"{client.name}.calls").read_text()


def test_a_long_reason_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's client names the call first, and the cause last."""
    docker_client(tmp_path, f"echo '{'x' * 1000}: no such host' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert why_no_images().endswith("x: no such host)")
    assert len(why_no_images()) < 300


def test_make_run_with_a_daemon_that_cannot_pull_takes_the_next_way(
    tmp_path: Path, make_run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """It says so in one line. Here the next way, a Java that Maven brings nothing for, fails."""
    docker_client(tmp_path, NO_REGISTRY)
    for name, script in {"java": "echo 'openjdk version \"17.0.9\"' >&2", "mvn": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = make_run()

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith(DOCKER_ALONE)]


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({FORCED: "podman"}, "make run: SERVICES='podman' must be docker, jvm or given"),
        ({FORCED: "given"}, "make run: SERVICES=given, but no address in "),
        ({FORCED: "docker"}, "make run: SERVICES=docker, but the image "),
        ({FORCED: "jvm"}, "make run: SERVICES=jvm, but there is no Java 17 with Maven"),
        ({}, "make run: no Kafka and DynamoDB: the image "),
    ],
)
def test_make_run_that_cannot_have_services_is_one_line(
    tmp_path: Path,
    make_run: Callable[..., subprocess.CompletedProcess[str]],
    environ: dict[str, str],
    line: str,
) -> None:
    docker_client(tmp_path, NO_REGISTRY)
    done = make_run(**environ)

    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(line)
