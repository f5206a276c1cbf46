"""Processes that need not import: forked from a server that has imported what they run.

A start of `poste` takes a second of the processor, most of it for imports. A forked program is a
process like another one: it has a session, an environment, arguments and an output of its own, runs
as `__main__`, and ends as Python ends. What it does not show is the start itself, and variables
that are read by an import.

Run as a program this is the server: `python -m tests.preloaded SOCKET`.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from local.child import Child, Process, die_with
from local.ready import wait_until
from tests.sdk_data import load_sdk_data, share_sdk_data

#: What the programs import, the commands as well when they run.
MODULES = (
    "rich.console", "rich.table", "worker.app", "worker.cli", "worker.cli.admin_client",
    "worker.cli.mailboxes", "worker.cli.provisioning", "worker.cli.sending",
)  # fmt: skip
#: Seconds until the server has imported, on a busy machine.
READY_S_MAX = 60.0

#: A process id, then an exit status.
_NUMBER = struct.Struct("q")


class Forked:
    """A forked process, with what is used of `subprocess.Popen`."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], outputs: Sequence[int]
    ) -> None:
        """command: of Python, without the interpreter. outputs: descriptors of both outputs."""
        order = json.dumps({"command": list(command), "env": dict(env), "cwd": str(Path.cwd())})
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(server())
        socket.send_fds(self._connection, [order.encode() + b"\n"], list(outputs))
        self.args = command
        self.pid = self._number()
        self.returncode: int | None = None

    def _number(self) -> int:
        (number,) = _NUMBER.unpack(self._connection.recv(_NUMBER.size, socket.MSG_WAITALL))
        return int(number)

    def poll(self) -> int | None:
        """The exit status; None: it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises TimeoutExpired."""
        if self.returncode is None:
            ready, _, _ = select.select([self._connection], [], [], timeout)
            if not ready:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = self._number()
            self._connection.close()
        return self.returncode


class PreloadedChild(Child):
    """As `Child`, for a command of this interpreter."""

    def _start_process(self, output: int) -> Process:
        return Forked(self.command[1:], os.environ if self.env is None else self.env, [output] * 2)


def run_preloaded(
    command: Sequence[str], env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, with both outputs, for a command of this interpreter. Raises
    TimeoutExpired."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Forked(command[1:], env, [out.fileno(), err.fileno()])
        try:
            status = process.wait(timeout_s)
        except BaseException:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            raise
        texts = [(file.seek(0), file.read())[1] for file in (out, err)]
    return subprocess.CompletedProcess(command, status, *texts)


@cache
def server() -> str:
    """The address of this process's server, which the first call starts. It ends with the thread
    that starts it, so that is the main one."""
    assert threading.current_thread() is threading.main_thread(), "call it there first"
    directory = Path(tempfile.mkdtemp(prefix="preloaded-"))
    address = directory / "socket"
    # Unbuffered, as all children of the tests are.
    child = Child([sys.executable, "-u", "-m", __name__, str(address)], log=directory / "log")
    child.start()
    atexit.register(_end, child, directory)
    wait_until(address.exists, what="the preloaded server", seconds=READY_S_MAX, child=child)
    return str(address)


def _end(child: Child, directory: Path) -> None:
    child.kill()
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def _serve(address: Path) -> list[str]:
    """Returns in each process that was asked for, with the command that it is to run."""
    for name in MODULES:
        importlib.import_module(name)
    share_sdk_data()
    load_sdk_data()
    gc.collect()
    gc.freeze()
    server_pid = os.getpid()
    new = address.with_suffix(".new")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(new))
        listener.listen()
        new.rename(address)
        while True:
            connection, _ = listener.accept()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass  # attendants that have ended
            if os.fork() == 0:
                break
            connection.close()
    die_with(server_pid)
    return _attended(connection)


def _attended(connection: socket.socket) -> list[str]:
    """Fork the process, and say how it ends; returns in it."""
    line, outputs, _, _ = socket.recv_fds(connection, 1 << 16, 2)
    while not line.endswith(b"\n"):
        line += connection.recv(1 << 16)
    attendant_pid = os.getpid()
    if (pid := os.fork()) != 0:
        for output in outputs:
            os.close(output)
        connection.sendall(_NUMBER.pack(pid))
        _, status = os.waitpid(pid, 0)
        with suppress(OSError):  # nobody asks any more
            connection.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))
        os._exit(0)
    die_with(attendant_pid)
    connection.close()
    os.setsid()
    for output, number in zip(outputs, (1, 2), strict=True):
        os.dup2(output, number)
        os.close(output)
    order = json.loads(line)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    command: list[str] = order["command"]
    return command


def _run(command: list[str]) -> None:
    """As `python -m MODULE ...` and `python FILE ...` do."""
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    _run(_serve(Path(sys.argv[1])))
