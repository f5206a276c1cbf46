"""Setting traps into a worker of a deployment, and what tests of traps ask of it."""

import re
import sys
from pathlib import Path

from local.child import Child
from tests.deployment import Deployment
from tests.preloaded import PreloadedChild

WORKER = Path(__file__).with_name("trapped_worker.py")
ROOT = Path(__file__).parents[2]


def trapped(deployment: Deployment, *traps: str, **env: str) -> Child:
    """Start a worker with these traps set; it is ended with the deployment."""
    child = PreloadedChild(
        [sys.executable, str(WORKER)],
        log=deployment.directory / f"trapped-{len(deployment.workers)}.log",
        env={
            **deployment.environment, **env, "PYTHONPATH": str(ROOT),
            "TRAPS": ",".join(traps), "TRAPS_IN": str(deployment.directory),
        },
    )  # fmt: skip
    child.start()
    deployment.workers.append(child)
    return child


def hold(deployment: Deployment, name: str) -> Path:
    """What waits for this file waits until `unlink()`."""
    file = deployment.directory / name
    file.touch()
    return file


def assigned(child: Child) -> list[list[int]]:
    """The partitions of each assignment of a worker, in order."""
    found = re.findall(r"assigned: partitions \[([\d, ]*)\]", child.output())
    return [[int(n) for n in each.split(", ") if n] for each in found]


def last(child: Child) -> list[int]:
    """The partitions of its last assignment."""
    return (assigned(child) or [[]])[-1]


async def has(deployment: Deployment, user: str, *bodies: bytes) -> bool:
    """Whether a mailbox holds exactly these."""
    return await deployment.bodies(user) == list(bodies)


def peak_resident_bytes(child: Child) -> int:
    """Peak resident memory so far: VmHWM of proc(5)."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) * 1024
