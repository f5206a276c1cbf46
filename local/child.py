"""Child processes that never outlive us: ended by pid, or by the kernel if we are killed.

The kernel ends them on Linux only (prctl, PR_SET_PDEATHSIG). Elsewhere a child survives a `kill -9`
of us.
"""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

#: Seconds from SIGTERM to SIGKILL.
LEAVE_S_MAX = 20.0
#: Lines of a child's log that an error shows.
_TAIL_LINES = 15

_PR_SET_PDEATHSIG = 1  # prctl(2)
#: Loaded here, because a child must do little between fork and exec.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it ends. For `preexec_fn`."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended between fork and prctl: no signal will come
            os._exit(1)


class Process(Protocol):
    """The used part of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Child:
    """One child process, with its output in a file. It can be started again after its end."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        self.env = None if env is None else dict(env)
        self.process: Process | None = None

    def start(self) -> None:
        """Start it in a session of its own, which our Ctrl-C does not reach.

        Call it in a thread that outlives the child: Linux takes the end of that thread for ours.
        """
        assert not self.alive, "it runs already"
        with self.log.open("ab") as output:
            self.process = self._start_process(output.fileno())
        atexit.register(self.kill)

    def _start_process(self, output: int) -> Process:
        """Start the process, with its output to this descriptor."""
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self.env,
            start_new_session=True,
            preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - it takes no lock
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
        """Return the exit status. Raises TimeoutExpired."""
        assert self.process is not None, "never started"
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Send SIGKILL, and reap."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        atexit.unregister(self.kill)

    def stop(self) -> int | None:
        """Send SIGTERM, then SIGKILL after the limit; return the exit status."""
        if self.process is None:
            return None
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.wait()
        self.kill()
        return self.process.returncode

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        return "\n".join(self.output().splitlines()[-_TAIL_LINES:])
