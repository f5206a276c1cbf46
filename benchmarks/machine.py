"""Where and of what figures were taken: the machine, versions of what takes part, the commit."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS
from local.docker import DYNAMODB_IMAGE, KAFKA_IMAGE

_HERE = Path(__file__).parent
#: Services by name: the variable that gives the address of another one, and the pinned image.
_SERVICES = {
    "Kafka": (KAFKA_ADDRESS, KAFKA_IMAGE),
    "DynamoDB Local": (DYNAMODB_ADDRESS, DYNAMODB_IMAGE),
}
#: Seconds that git may take.
_GIT_S_MAX = 10.0


def machine() -> str:
    """Cores, memory, kernel and Python."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {_model()} ({platform.machine()}), {memory_gib:.1f} GiB,"
        f" {platform.system()} {platform.release().partition('-')[0]},"
        f" Python {platform.python_version()}"
    )


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"


def software(names: Iterable[str]) -> str:
    """Services and packages with their versions; the version of a given service is not known."""
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    if name not in _SERVICES:
        return version(name)
    address, image = _SERVICES[name]
    return "of a given address" if os.environ.get(address) else image.rpartition(":")[2]


def commit(directory: Path = _HERE) -> str:
    """The short hash of the code that runs, marked where code was changed since; "unknown" without
    a repository or git."""
    try:
        said = _git(directory, "rev-parse", "--short", "HEAD")
        changed = _git(directory, "status", "--porcelain", "--", ":/*.py")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{said}, with changes" if changed else said


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments],
        capture_output=True, text=True, check=True, timeout=_GIT_S_MAX,
    )  # fmt: skip
    return done.stdout.strip()


def today() -> str:
    """The date in UTC."""
    return datetime.now(UTC).date().isoformat()
