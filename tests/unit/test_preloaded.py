"""A forked program is a process like another one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.child import Child
from local.ready import wait_until
from tests.preloaded import PreloadedChild, run_preloaded

PROGRAM = """\
import os, sys, time
if __name__ == "__main__":
    print("out", sys.argv[1:], os.environ["ONE"], "HOME" in os.environ, os.getcwd(), flush=True)
    print("err", os.getsid(0) == os.getpid(), file=sys.stderr)
    if sys.argv[1] == "wait":
        time.sleep(3600)
    sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_arguments_environment_outputs_and_status_are_its_own(program: Path) -> None:
    """As of `subprocess.run`, without a shell's or the server's environment."""
    done = run_preloaded([sys.executable, str(program), "3", "x y"], {"ONE": "1"}, 60)

    assert done.returncode == 3
    assert done.stdout == f"out ['3', 'x y'] 1 False {Path.cwd()}\n"
    assert done.stderr == "err True\n"


def test_a_module_is_run_as_main() -> None:
    """As `python -m`."""
    done = run_preloaded([sys.executable, "-m", "worker", "--version"], {}, 60)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("poste, version ")


def test_an_exception_is_a_traceback_and_status_1(program: Path) -> None:
    """As Python ends."""
    done = run_preloaded([sys.executable, str(program), "none"], {"ONE": "1"}, 60)

    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        "ValueError: invalid literal for int() with base 10: 'none'"
    )


def test_one_that_takes_too_long_is_ended(program: Path) -> None:
    """The caller goes on with the error of `subprocess.run`."""
    with pytest.raises(subprocess.TimeoutExpired):
        run_preloaded([sys.executable, str(program), "wait"], {"ONE": "1"}, 0.1)


def test_a_signal_is_its_status(program: Path, tmp_path: Path) -> None:
    """And it can be started again, into the same log."""
    child = PreloadedChild(
        [sys.executable, str(program), "wait"], log=tmp_path / "log", env={"ONE": "1"}
    )
    for times in (1, 2):
        child.start()
        wait_until(lambda: child.output().count("out") == times, what="it runs", seconds=60)  # noqa: B023
        assert child.alive
        child.signal(signal.SIGTERM)
        assert child.wait() == -signal.SIGTERM
        assert not child.alive


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's alone")
def test_it_ends_when_the_process_that_asked_for_it_is_killed(
    program: Path, tmp_path: Path
) -> None:
    """So nothing is left behind by a test run that was killed."""
    asking = f"""
import pathlib, sys, time
from tests.preloaded import PreloadedChild
log = pathlib.Path({str(tmp_path / "log")!r})
child = PreloadedChild([sys.executable, {str(program)!r}, "wait"], log=log)
child.start()
print(child.pid, flush=True)
time.sleep(3600)
"""
    parent = Child(
        [sys.executable, "-c", asking], log=tmp_path / "parent.log", env={**os.environ, "ONE": "1"}
    )
    parent.start()
    wait_until(lambda: parent.output() != "", what="it has started one", seconds=60, child=parent)
    pid = int(parent.output())
    parent.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of it", seconds=60)
