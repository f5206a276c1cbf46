"""Child processes that never outlive us: ended by pid, and by the kernel if we are killed."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Seconds a child may take to leave after SIGTERM before it is killed.
LEAVE_S_MAX = 20.0
#: Seconds between two looks at a condition.
_POLL_S = 0.05
#: Lines of a child's log that an error shows.
_TAIL_LINES = 15

_PR_SET_PDEATHSIG = 1  # prctl(2)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One child process; its output goes to a file. Can be started again after it ended."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        self.env = None if env is None else dict(env)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a session of its own, so that a Ctrl-C for us is not one for it."""
        assert not self.alive, "it runs already"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads are forked with
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, "never started"
        return self.process.pid

    def signal(self, number: int) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def wait(self, seconds: float = LEAVE_S_MAX) -> int:
        """The exit status. Raises TimeoutExpired when it does not end in time."""
        assert self.process is not None, "never started"
        return self.process.wait(seconds)

    def kill(self) -> None:
        """`kill -9`, and reap."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL past the limit; the exit status."""
        if self.process is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        return "\n".join(self.output().splitlines()[-_TAIL_LINES:])


def wait_until(
    condition: Callable[[], bool], *, what: str, seconds: float, child: Child | None = None
) -> None:
    """Wait for a condition. Raises RuntimeError, with the child's last lines, when it fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        tail = f":\n{child.tail()}" if child is not None else ""
        if child is not None and not child.alive:
            raise RuntimeError(f"{what}: the process ended{tail}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s{tail}")
        time.sleep(_POLL_S)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether something listens on a port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
