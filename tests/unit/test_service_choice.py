"""Which way Kafka and DynamoDB are had, and what forces one; no service is started."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.config import testcontainers_config

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS, ServicesMissingError
from local.choose import FORCED, choose_way, given_addresses
from local.docker import DYNAMODB_IMAGE, KAFKA_IMAGE, why_no_images
from tests.checkout import NO_PACKAGES, without_cache

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
NO_DAEMON, NO_JAVA = "no Docker daemon answers", "there is no Java 17 with Maven"
NO_PYPI = "requirements/java.txt cannot be installed (no route)"
NO_IMAGE = "the image x cannot be pulled (no route)"


def choice(
    forced: str = "",
    *,
    docker: bool = False,
    images: str = "",
    jvm: bool = False,
    pypi: str = NO_PYPI,
) -> tuple[str, str]:
    """The way, and the one line that was said about it."""
    said: list[str] = []
    way = choose_way(
        forced,
        docker=lambda: docker,
        images=lambda: images,
        jvm=lambda: jvm,
        pypi=lambda: pypi,
        say=said.append,
    )
    (line,) = said
    assert "\n" not in line
    return way, line


@pytest.mark.parametrize(
    ("has", "way", "because"),
    [
        ({"docker": True, "jvm": True, "pypi": ""}, "docker", []),
        ({"docker": True}, "docker", []),
        ({"docker": True, "images": NO_IMAGE, "jvm": True, "pypi": ""}, "jvm", [NO_IMAGE]),
        ({"jvm": True, "pypi": ""}, "jvm", [NO_DAEMON]),
        ({"docker": True, "images": NO_IMAGE, "pypi": ""}, "pypi", [NO_IMAGE, NO_JAVA]),
        ({"pypi": ""}, "pypi", [NO_DAEMON, NO_JAVA]),
    ],
)
def test_the_first_way_that_is_there_is_taken_and_the_line_says_why(
    has: dict[str, Any], way: str, because: list[str]
) -> None:
    """Docker with images, Java with Maven, Java from PyPI: whoever waits for containers knows why
    there are none."""
    names = {"docker": "Docker", "jvm": "Maven", "pypi": "PyPI"}
    taken, line = choice(**has)

    assert taken == way
    assert names[way] in line.partition(": ")[0]
    assert line.partition(": ")[2] == ", ".join(because)


def test_why_no_address_is_used_stands_first() -> None:
    said: list[str] = []
    choose_way("", ("no address is given",), docker=lambda: False, jvm=lambda: True,
               say=said.append)  # fmt: skip

    assert said[0].endswith(f": no address is given, {NO_DAEMON}")


@pytest.mark.parametrize("forced", ["docker", "jvm", "pypi"])
def test_a_forced_way_is_taken(forced: str) -> None:
    way, line = choice(forced, docker=True, jvm=True, pypi="")

    assert way == forced
    assert line.endswith(f": SERVICES={forced}")


def test_given_leaves_the_choice_free_for_what_a_test_kills() -> None:
    """What a test kills is its own, also where the shared services are given."""
    assert choice("given", docker=True, jvm=True)[0] == "docker"


def test_nothing_is_installed_where_an_earlier_way_is_there() -> None:
    """Neither is an image pulled for a way that is not forced."""

    def never() -> str:
        raise AssertionError("asked")

    choose_way("", docker=lambda: True, images=lambda: "", pypi=never, say=lambda _: None)
    choose_way("", docker=lambda: False, images=never, jvm=lambda: True, pypi=never,
               say=lambda _: None)  # fmt: skip


@pytest.mark.parametrize(
    ("forced", "has", "words"),
    [
        ("", {}, [NO_DAEMON, NO_JAVA, NO_PYPI, "Docker", KAFKA_ADDRESS, DYNAMODB_ADDRESS]),
        ("", {"docker": True, "images": NO_IMAGE}, [NO_IMAGE, NO_JAVA, NO_PYPI]),
        ("docker", {"jvm": True, "pypi": ""}, ["SERVICES=docker", NO_DAEMON]),
        ("docker", {"docker": True, "images": NO_IMAGE, "jvm": True}, [NO_IMAGE]),
        ("jvm", {"docker": True, "pypi": ""}, ["SERVICES=jvm", NO_JAVA]),
        ("pypi", {"docker": True, "jvm": True}, ["SERVICES=pypi", NO_PYPI]),
    ],
)
def test_a_way_that_cannot_be_had_is_one_line(
    forced: str, has: dict[str, Any], words: list[str]
) -> None:
    """Nothing is skipped, and a way that is forced is not replaced: what is missing is said."""
    with pytest.raises(ServicesMissingError) as caught:
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
        ({**BOTH, FORCED: "pypi"}, {}),
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
        ({FORCED: "podman"}, "SERVICES='podman' must be docker, jvm, pypi or given"),
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
    with pytest.raises(ServicesMissingError) as caught:
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
    """`make run` where only this folder's programs are found, and no package."""
    checkout = without_cache(tmp_path)

    def run(**environ: str) -> subprocess.CompletedProcess[str]:
        kept = {n: v for n, v in os.environ.items() if n not in {*BOTH, FORCED}}
        return subprocess.run(
            [sys.executable, "-m", "local.run"],
            cwd=checkout, env={**kept, "PATH": str(tmp_path), **NO_PACKAGES, **environ},
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
    line = done.stderr.splitlines()[0]
    assert line.startswith("Kafka and DynamoDB run as JVM children, by this machine's Java")
    assert "cannot be pulled (Error response from daemon: failed to resolve reference)" in line


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({FORCED: "podman"}, "make run: SERVICES='podman' must be docker, jvm, pypi or given"),
        ({FORCED: "given"}, "make run: SERVICES=given, but no address in "),
        ({FORCED: "docker"}, "make run: SERVICES=docker, but the image "),
        ({FORCED: "jvm"}, "make run: SERVICES=jvm, but there is no Java 17 with Maven"),
        (
            {FORCED: "pypi"},
            "make run: SERVICES=pypi, but requirements/java.txt cannot be installed",
        ),
        ({}, "make run: no Kafka and DynamoDB: no address is given, the image "),
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
