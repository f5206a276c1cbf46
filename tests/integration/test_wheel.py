"""Both wheels, and the module's in an empty environment, as a gateway has it."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What the wheels are made of.
SOURCES = ("pyproject.toml", "README.md", "poste_restante", "worker")
#: Distributions that only the worker needs.
WORKERS_OWN = ("faust-streaming", "mode-streaming", "aiokafka", "pydantic", "pydantic-settings",
               "click", "rich")  # fmt: skip

#: Seconds of one command: the dependencies come from a package registry.
COMMAND_S_MAX = 600.0

#: A gateway that names all types which a user names.
GATEWAY = (ROOT / "tests" / "typed_gateway.py").read_text()
WRONG = """
from poste_restante import Message
def length(message: Message) -> int:
    return message.body
"""


def run(*command: str | Path, directory: Path) -> str:
    """A child with nothing of this environment's Python settings; its output."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "VIRTUAL_"))}
    return _checked(command, directory, environment)


def _checked(
    command: tuple[str | Path, ...], directory: Path, environment: Mapping[str, str]
) -> str:
    done = subprocess.run(
        command, cwd=directory, env=environment, text=True, check=False, timeout=COMMAND_S_MAX,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.fail(f"{command}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels, by the name of their package. Built from a copy: a build leaves directories."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", directory, source,
        source / "worker", directory=directory)  # fmt: skip
    (module,) = directory.glob("poste_restante-*.whl")
    (worker,) = directory.glob("poste_restante_worker-*.whl")
    return {"poste_restante": module, "worker": worker}


@pytest.fixture(scope="module")
def gateway(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the module's wheel, its dependencies, and nothing else."""
    directory = tmp_path_factory.mktemp("gateway")
    run(sys.executable, "-m", "venv", directory / "venv", directory=directory)
    python = directory / "venv" / "bin" / "python"
    wheel = wheels["poste_restante"]
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel,
        directory=directory)  # fmt: skip
    return python


@pytest.mark.parametrize(
    ("package", "one_of_it"),
    [("poste_restante", "testing/memory_store.py"), ("worker", "cli/schemas/progress.json")],
)
def test_each_wheel_has_one_package_whole_with_its_types(
    wheels: dict[str, Path], package: str, one_of_it: str
) -> None:
    """Setuptools takes the packages that it is told of. Without the marker a type checker does not
    look (G9)."""
    names = set(zipfile.ZipFile(wheels[package]).namelist())
    written = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / package).rglob("*.*")
        if path.suffix in {".py", ".json"}
    }

    assert {top for name in names if not (top := name.partition("/")[0]).endswith("info")} == {
        package
    }
    assert f"{package}/{one_of_it}" in written
    assert written | {f"{package}/py.typed"} <= names


def test_the_command_is_of_the_workers_distribution(wheels: dict[str, Path]) -> None:
    scripts = {
        package: zipfile.Path(wheel, name).read_text()
        for package, wheel in wheels.items()
        for name in zipfile.ZipFile(wheel).namelist()
        if name.endswith("/entry_points.txt")
    }

    assert scripts == {"worker": "[console_scripts]\nposte = worker.__main__:main\n"}


def test_a_gateway_gets_neither_faust_nor_a_kafka_client(gateway: Path) -> None:
    """Nothing that only the worker needs comes with the read module (G8)."""
    listed = run(gateway, "-m", "pip", "list", "--format", "freeze", directory=gateway.parent)
    names = {line.partition("==")[0].lower() for line in listed.splitlines()}
    found = run(
        gateway, "-Ic",
        "import importlib.util as u; print([n for n in ('faust', 'aiokafka', 'pydantic', 'worker')"
        " if u.find_spec(n)])",
        directory=gateway.parent,
    )  # fmt: skip

    assert {"poste-restante", "aioboto3"} <= names
    assert not names & set(WORKERS_OWN)
    assert found.strip() == "[]"


def test_the_read_module_and_its_fake_work_there(gateway: Path, tmp_path: Path) -> None:
    """Without pytest too (G1, G4)."""
    program = tmp_path / "gateway.py"
    program.write_text(GATEWAY)
    run(gateway, "-I", program, directory=tmp_path)
    found = run(gateway, "-Ic", "import importlib.util as u; print(u.find_spec('pytest'))",
                directory=tmp_path)  # fmt: skip
    assert found.strip() == "None"


def test_a_type_checker_sees_its_types(gateway: Path, tmp_path: Path) -> None:
    """As a user of the installed package does (G9)."""
    (tmp_path / "right.py").write_text(GATEWAY)
    (tmp_path / "wrong.py").write_text(WRONG)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", gateway,
            "--config-file", os.devnull, "--cache-dir", tmp_path / "cache")  # fmt: skip
    run(*mypy, "right.py", directory=tmp_path)  # strict: also no name that is not exported
    judged = subprocess.run(
        [*mypy, "wrong.py"], cwd=tmp_path, text=True, capture_output=True, check=False
    )

    assert judged.returncode == 1
    assert 'Incompatible return value type (got "bytes", expected "int")' in judged.stdout
