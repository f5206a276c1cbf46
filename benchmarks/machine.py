"""Where and of what figures were taken: the machine, versions of what takes part, the commit."""

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

from tests import services
from tests.services import DYNAMODB_ADDRESS, KAFKA_ADDRESS

_HERE = Path(__file__).parent
_MAVEN = "{http://maven.apache.org/POM/4.0.0}"
#: By name: what pins it, its artifact there, and under which name the address of another is given.
_SERVICES = {
    "Kafka": ("kafka.pom.xml", "kafka_2.13", KAFKA_ADDRESS),
    "DynamoDB Local": ("dynamodb.pom.xml", "DynamoDBLocal", DYNAMODB_ADDRESS),
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


def software(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> str:
    """Services and packages with their versions. A service whose address is given is not ours:
    nobody knows its version."""
    return ", ".join(f"{name} {_version(name, environ)}" for name in names)


def _version(name: str, environ: Mapping[str, str]) -> str:
    if name not in _SERVICES:
        return version(name)
    file, artifact, address = _SERVICES[name]
    return "of a given address" if environ.get(address) else pinned(file, artifact)


def pinned(file: str, artifact: str) -> str:
    """The version in one of the services' Maven files. Raises KeyError where it is not there."""
    assert services.__file__ is not None
    tree = ET.parse(Path(services.__file__).parent / file)
    for dependency in tree.iter(f"{_MAVEN}dependency"):
        found = dependency.findtext(f"{_MAVEN}version")
        if found and dependency.findtext(f"{_MAVEN}artifactId") == artifact:
            return found
    raise KeyError(artifact)


def commit(directory: Path = _HERE) -> str:
    """The short hash of the code that runs, said to be changed where it is; "unknown" without a
    repository or git."""
    try:
        said = _git(directory, "rev-parse", "--short", "HEAD")
        # Of the code alone: a run writes its own results beside it.
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
    """UTC."""
    return datetime.now(UTC).date().isoformat()
