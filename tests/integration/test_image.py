"""The build stage of the Dockerfile, its commands run here in folders of the test's own.

CI has no Docker daemon and cannot pull the base image: the last stage is read, not built
(tests/unit/test_packaging.py).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Seconds of one command: the packages come from a registry.
COMMAND_S_MAX = 600.0
#: Prints which of these can be imported, where the worker's token provider can be.
FOUND = """
import importlib.util, worker.kafka.msk_iam
print([name for name in ("pip", "setuptools", "wheel") if importlib.util.find_spec(name)])
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for the root of the build stage, after its last command."""
    directory = tmp_path_factory.mktemp("image")
    base = directory / "base"
    subprocess.run([sys.executable, "-m", "venv", base], check=True, timeout=COMMAND_S_MAX)
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "VIRTUAL_"))}
    environment["PATH"] = f"{base / 'bin'}:{environment['PATH']}"
    (directory / "src").mkdir()
    text = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[0]
    for line in re.findall(r"(?m)^((?:COPY|RUN) .*)$", text.replace("\\\n", " ")):
        kind, _, rest = line.partition(" ")
        if kind == "COPY":
            copy(rest.split(), directory / "src")
            continue
        command = rest.replace("/opt/", f"{directory}/opt/").replace("/src/", f"{directory}/src/")
        done = subprocess.run(
            ["sh", "-c", command], cwd=directory / "src", env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_S_MAX,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
    return directory


def copy(names: list[str], source: Path) -> None:
    *copied, target = names
    for name in copied:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / target, ignore=ignore)
        else:
            (source / target).mkdir(exist_ok=True)
            shutil.copy(ROOT / name, source / target)


def test_the_image_has_the_command_and_no_pip(stage: Path) -> None:
    """What the last stage copies is whole: the command runs, with tokens for AWS MSK."""
    bin_ = stage / "opt" / "poste" / "bin"
    version = subprocess.run(
        [bin_ / "poste", "--version"], capture_output=True, text=True, check=True
    )
    found = subprocess.run(
        [bin_ / "python", "-Ic", FOUND], capture_output=True, text=True, check=True, cwd=stage
    )

    assert version.stdout.strip()
    assert found.stdout.strip() == "[]"
    assert not list(bin_.glob("pip*"))
