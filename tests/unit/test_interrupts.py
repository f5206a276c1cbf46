"""How commands that start children end when they are interrupted: real processes, no services."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS
from local.child import Child
from local.choose import DOCKER, FORCED
from local.example import PORT
from local.ready import free_ports, wait_until

ROOT = Path(__file__).parents[2]
#: Seconds until a condition must hold, on a busy machine.
DEADLINE_S = 60.0

#: A command in `asyncio.run` whose children are ended by a `finally`, once it may await again.
COMMAND = """\
import asyncio, signal, sys
from local.interrupts import exit_status

async def work():
    print("at work", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("all ended", flush=True)

signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
sys.exit(exit_status("make it", lambda: asyncio.run(work())))
"""
#: Every command of the Makefile that starts services, as it is started there.
COMMANDS = {
    "make demo": ["benchmarks.demo"],
    "make bench": ["benchmarks", "latency"],
    "make availability": ["benchmarks.availability"],
    "make freshness": ["benchmarks.freshness"],
    "make memory": ["benchmarks.memory"],
    "make sweep": ["tests.sweeps"],
    "make storm": ["tests.storm", "--seconds", "10", "--seed", "1"],
    "make reconnect": ["tests.reconnect", "--messages", "10"],
    "make run": ["local.run"],
    "make example": ["local.example"],
}


@pytest.mark.parametrize(
    ("number", "ctrl_c"),
    [
        (signal.SIGINT, "default_int_handler"),
        (signal.SIGTERM, "default_int_handler"),
        (signal.SIGHUP, "default_int_handler"),
        (signal.SIGTERM, "SIG_IGN"),
    ],
)
def test_an_interrupted_command_ends_its_work_and_says_one_line(
    tmp_path: Path, number: signal.Signals, ctrl_c: str
) -> None:
    """What a shell starts in the background ignores Ctrl-C, and ends by the others all the same."""
    child = Child([sys.executable, "-c", COMMAND, ctrl_c], log=tmp_path / "log")
    child.start()
    try:
        wait_until(
            lambda: "at work" in child.output(), what="its work", seconds=DEADLINE_S, child=child
        )
        child.signal(number)
        assert child.wait(DEADLINE_S) == 128 + number
    finally:
        child.kill()
    assert child.output().splitlines() == ["at work", "all ended", "make it: interrupted"]


def test_a_command_without_services_says_one_line(tmp_path: Path) -> None:
    """As `make run` does, also one that does not look for it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.storm"], cwd=ROOT,
        env={**_environ(tmp_path), FORCED: DOCKER},
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()

    assert done.returncode == 1
    assert line == "make storm: SERVICES=docker, but no Docker daemon answers"


def test_the_example_refuses_a_port_that_it_cannot_have(tmp_path: Path) -> None:
    """In one line, before any service is started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = str(server.getsockname()[1])
        said = {}
        for port in (taken, "0", "65536", "http"):
            done = subprocess.run(
                [sys.executable, "-m", "local.example"], cwd=ROOT,
                env={**_environ(tmp_path), PORT: port},
                capture_output=True, text=True, check=False, timeout=DEADLINE_S,
            )  # fmt: skip
            assert done.returncode == 1
            (said[port],) = done.stderr.splitlines()

    assert said.pop(taken) == (
        f"make example: cannot listen on port {taken}: Address already in use;"
        " set CHAT_PORT to another one"
    )
    for port, line in said.items():
        assert line == f"make example: CHAT_PORT={port!r} must be a port, 1 to 65535"


def _environ(path: Path) -> dict[str, str]:
    """An environment where only this folder's programs are found."""
    kept = {n: v for n, v in os.environ.items() if n not in {KAFKA_ADDRESS, DYNAMODB_ADDRESS}}
    (port,) = free_ports(1)
    return {**kept, "PATH": str(path), FORCED: "", "TMPDIR": str(path), PORT: str(port)}


def test_every_command_of_the_makefile_that_starts_services_is_here() -> None:
    """The capacity page is arithmetic, mutants run unit tests; nor do locks and pages start any."""
    without = {
        "benchmarks.capacity_page",
        "tests.mutation",
        "local.lock_jars",
        "local.lock_worker",
        "local.documents",
    }
    recipes = re.findall(
        r"/python -m ((?:benchmarks|local|tests)\S*)", (ROOT / "Makefile").read_text()
    )

    assert {module for module, *_ in COMMANDS.values()} == {*recipes} - without


@pytest.mark.parametrize(
    ("name", "number"),
    [*((name, signal.SIGINT) for name in COMMANDS), ("make demo", signal.SIGTERM)],
)
def test_a_command_that_is_interrupted_while_services_start_says_one_line_at_most(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    """No traceback, and the status that a shell expects; its children and folders are gone."""
    for program in ("docker", "java"):  # a daemon, or a Java, that takes its time
        path = tmp_path / program
        path.write_text(f"#!/bin/sh\n: > {tmp_path}/asked\nexec /bin/sleep 60\n")
        path.chmod(0o755)
    (tmp_path / "mvn").write_text("")
    (tmp_path / "mvn").chmod(0o755)
    child = Child(
        [sys.executable, "-m", *COMMANDS[name]], log=tmp_path / "log", env=_environ(tmp_path)
    )
    child.start()
    try:
        wait_until(
            (tmp_path / "asked").exists, what="the question", seconds=DEADLINE_S, child=child
        )
        child.signal(number)
        assert child.wait(DEADLINE_S) == 128 + number, child.output()
    finally:
        child.kill()
    assert "Traceback" not in child.output()
    assert "KeyboardInterrupt" not in child.output()
    assert list(tmp_path.glob("poste-restante-*")) == []
