"""`make example`: the services, `poste init`, one worker, and the chat gateway. Ctrl-C ends all.

Worker and gateway are restarted after a signal has ended them, so that both can be killed.
"""

import os
import socket
import subprocess
import sys
import time

from local.child import Child
from local.choose import Services, start_services
from local.interrupts import exit_status
from local.ready import free_ports, wait_until

#: Where the gateway listens.
PORT = "CHAT_PORT"
DEFAULT_PORT = "8080"
#: Seconds until the gateway must listen.
UP_S_MAX = 60.0
#: Seconds between two checks of worker and gateway.
_POLL_S = 0.5


def main() -> int:
    """Return the exit status: 1, with a line, if worker or gateway cannot run."""
    try:
        port = _require_free_port(os.environ.get(PORT) or DEFAULT_PORT)
        print("starting the services (the first time brings their jars or images) ...", flush=True)
        with start_services() as services:
            return _run(services, port)
    except RuntimeError as error:
        print(f"make example: {error}", file=sys.stderr)
        return 1


def _require_free_port(given: str) -> str:
    """Return a free port. Raises RuntimeError, before any service is started."""
    if not given.isdecimal() or not 0 < int(given) < 1 << 16:
        raise RuntimeError(f"{PORT}={given!r} must be a port, 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # one that was used a moment ago
        try:
            probe.bind(("127.0.0.1", int(given)))
        except OSError as error:
            raise RuntimeError(
                f"cannot listen on port {given}: {error.strerror}; set {PORT} to another one"
            ) from None
    return given


def _run(services: Services, port: str) -> int:
    poste = [sys.executable, "-m", "worker"]
    (worker_port,) = free_ports(1)
    environment = {
        **os.environ, **services.environment,
        "POSTE_HTTP__PORT": str(worker_port), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    init = [*poste, "init", "--partitions", "4", "--replication-factor", "1"]
    if (made := subprocess.run(init, env=environment, check=False)).returncode != 0:
        return made.returncode
    chat = [sys.executable, "-m", "examples.chat", "--port", port]
    chat += ["--worker", f"http://127.0.0.1:{worker_port}"]
    worker = Child([*poste, "worker"], log=services.directory / "worker.log", env=environment)
    gateway = Child(chat, log=services.directory / "chat.log", env=environment)
    try:
        worker.start()
        gateway.start()
        wait_until(
            lambda: "chat: http" in gateway.output(),
            what="the chat gateway", seconds=UP_S_MAX, child=gateway,
        )  # fmt: skip
        print(_instructions(port, worker, gateway), flush=True)
        return _supervise({"worker": worker, "gateway": gateway})
    finally:
        gateway.stop()
        worker.stop()


def _instructions(port: str, worker: Child, gateway: Child) -> str:
    return f"""
Open  http://127.0.0.1:{port}/  and write as Alice and as Bob; take devices offline and online.

    kill -9 {worker.pid}        # the worker: mail waits for the next one, and none is missing
    kill -9 {gateway.pid}        # the gateway: clients connect again

Both are started again. Their logs: {worker.log}, {gateway.log}
Ctrl-C stops everything that was started.
"""


def _supervise(children: dict[str, Child]) -> int:
    while True:
        for name, child in children.items():
            if child.alive:
                continue
            if child.wait() >= 0:
                print(f"make example: the {name} has ended:\n{child.tail()}", file=sys.stderr)
                return 1
            child.start()
            print(f"the {name} was killed, and is started again: {child.pid}", flush=True)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(exit_status("make example", main))
