"""A worker in the confinement of deploy/helm and deploy/systemd: no file to write, no privilege."""

import signal
import subprocess
import sys

import aiohttp
import pytest

from local.child import Child
from local.ready import free_ports
from tests.deployment import Deployment, expected
from tests.health import ask_health
from tests.optional import need

#: Every file system read-only; no capabilities, and none to be had; then the program below.
CONFINED = """
set -e
mount --options remount,bind,ro /
mount --types tmpfs --options ro tmpfs /dev/shm
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
#: MemoryDenyWriteExecute, as the kernel has it (PR_SET_MDWE), for what is run from here.
NO_NEW_CODE = (
    "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0;"
    " os.execv(sys.argv[1], sys.argv[1:])"
)
RECORDS = [("bob", b"one"), ("bob", b"two")]


def confined(*command: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", CONFINED, "sh",
            sys.executable, "-c", NO_NEW_CODE, *command]  # fmt: skip


def needed() -> None:
    need("unshare", "setpriv")
    if subprocess.run(confined("/bin/true"), check=False, capture_output=True).returncode:
        pytest.skip("needs root, and a kernel that can deny write and execute")


def test_nothing_can_be_written_there() -> None:
    """Else the test below would show nothing."""
    needed()
    for place in ("/tmp", "/var/tmp", "/dev/shm", "."):
        done = subprocess.run(
            confined("/bin/sh", "-c", f"echo x > {place}/poste-writes"),
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert "Read-only file system" in done.stderr, place


async def test_a_worker_delivers_without_a_file_to_write(deployment: Deployment) -> None:
    """It reads, writes to sockets and ends in order; its process metrics are whole (G8)."""
    needed()
    deployment.init(partitions=1)
    (port,) = free_ports(1)
    worker = Child(
        confined(sys.executable, "-m", "worker", "worker"),
        log=deployment.directory / "confined.log",
        env={**deployment.environment, "POSTE_HTTP__PORT": str(port)},
    )
    deployment.workers.append(worker)
    worker.start()
    await deployment.produce(RECORDS)
    await deployment.drained()

    assert await deployment.bodies("bob") == expected(RECORDS, "bob")
    assert (await ask_health(f"http://127.0.0.1:{port}/readyz"))[0] == 200
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert "\nprocess_start_time_seconds 1." in await answer.text()
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0
    assert "Read-only" not in worker.output()
