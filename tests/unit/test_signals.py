"""Signals in the first second of a worker, in real processes; no service is needed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.signals import is_worker

#: Seconds until a process has loaded a module, or has ended; a hang fails the test.
_DEADLINE_S = 60.0
#: Modules in the order in which a start loads them, from the first one behind the handlers.
_LOADED = ("importlib.metadata", "click", "pydantic.main", "worker.settings", "aiohttp.web",
           "mode.services", "faust", "aiobotocore.session", "worker.app")  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["worker"], True),
        (["--config", "poste.toml", "worker"], True),
        (["--config=poste.toml", "worker"], True),
        (["worker", "--help"], True),
        (["send", "worker", "hello"], False),
        (["--config", "worker", "init"], False),
        (["--config", "worker"], False),
        ([], False),
    ],
)
def test_arguments_that_start_a_worker_are_told_apart(arguments: list[str], expected: bool) -> None:
    """A command that a signal ends must not report success."""
    assert is_worker(arguments) is expected


@contextmanager
def starting(log: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that says what it imports. No service answers it."""
    environment = {
        **os.environ,
        "POSTE_HTTP__PORT": "0",
        "POSTE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_loaded(log: Path, module: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not any(line.split("|")[-1].strip() == module for line in _lines(log)):
        assert time.monotonic() < deadline, f"{module} is not loaded:\n{log.read_text()[-2000:]}"
        time.sleep(0.005)


def _lines(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith("import time:")]


@pytest.mark.parametrize("module", _LOADED)
def test_sigterm_during_the_imports_ends_a_worker_with_0(tmp_path: Path, module: str) -> None:
    """Kubernetes may stop a pod that has just started: that is no crash."""
    log = tmp_path / "log"
    command = [sys.executable, "-X", "importtime", "-m", "worker", "worker"]
    with starting(log, command) as worker:
        wait_until_loaded(log, module)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(_DEADLINE_S) == 0, log.read_text()[-2000:]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_hang_up_during_the_imports_end_a_worker_with_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-X", "importtime", "-m", "worker", "worker"]
    with starting(log, command) as worker:
        wait_until_loaded(log, "click")
        worker.send_signal(number)
        assert worker.wait(_DEADLINE_S) == 0, log.read_text()[-2000:]


def test_a_hang_up_that_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["nohup", sys.executable, "-X", "importtime", "-m", "worker", "worker"]
    with starting(log, command) as worker:
        for module in ("click", "worker.app"):
            wait_until_loaded(log, module)
            worker.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + _DEADLINE_S
        while "waiting for DynamoDB" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        worker.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(1.0)


def test_sigterm_ends_another_command_as_before(tmp_path: Path) -> None:
    """`poste init` has not done its work: its status is not 0."""
    log = tmp_path / "log"
    with starting(log, [sys.executable, "-X", "importtime", "-m", "worker", "init"]) as command:
        wait_until_loaded(log, "click")
        command.send_signal(signal.SIGTERM)
        assert command.wait(_DEADLINE_S) == -signal.SIGTERM


def _has_namespaces() -> bool:
    try:
        made = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False, timeout=10
        )
    except OSError:
        return False
    return made.returncode == 0


@pytest.mark.skipif(not _has_namespaces(), reason="a process namespace needs root and unshare")
@pytest.mark.parametrize("module", ["click", "faust", "worker.app"])
def test_sigterm_during_the_imports_ends_process_1_with_0(tmp_path: Path, module: str) -> None:
    """The kernel drops a signal to process 1 of a container that has no handler for it."""
    log = tmp_path / "log"
    python = [sys.executable, "-X", "importtime", "-m", "worker", "worker"]
    with starting(
        log, ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *python]
    ) as parent:
        wait_until_loaded(log, module)
        os.kill(_child_of(parent.pid), signal.SIGTERM)
        assert parent.wait(_DEADLINE_S) == 0, log.read_text()[-2000:]


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])
