"""The thin module is thin by structure: who imports whom."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.settings import setting_fields

ROOT = Path(__file__).parents[2]
PACKAGES = ("poste_restante", "worker")
#: What talks to one outside system, and what may know everything.
ADAPTERS, TOP = ("worker.kafka", "worker.dynamodb"), ("worker.cli", "worker.app", "worker.__main__")
#: What a gateway must not need.
HEAVY = frozenset({"aiokafka", "click", "faust", "mode", "pydantic", "pydantic_settings", "rich"})
#: Libraries of extras, and the only modules of the read module that import them.
EXTRAS = {
    "anyio": {"poste_restante/sync.py"},
    "opentelemetry": {"poste_restante/opentelemetry_metrics.py"},
    "prometheus_client": {"poste_restante/prometheus_metrics.py"},
}
#: All that leans on Faust, and the wiring.
FAUST_ONLY_IN = frozenset(
    {"worker/app.py", "worker/kafka/client_thread.py", "worker/kafka/consumer.py"}
)
#: What replaces a name that it gets as text, and a name that is private.
PATCHES = frozenset({"setattr", "delattr", "patch", "object", "multiple"})
PRIVATE = re.compile(r"([\w.]*\.)?_[A-Za-z0-9]\w*(\.[\w.]*)?")
#: It pins the private names of Faust that the worker relies on.
MAY_PATCH_PRIVATE_NAMES = frozenset({"tests/unit/test_faust_names.py"})


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module named in an import anywhere in a file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            yield ast.unparse(node.args[0]).strip("'\"")


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("package", PACKAGES)
def test_there_is_something_to_look_at(package: str) -> None:
    """The tests below look at every file of both packages (G8)."""
    assert len(files(package)) > 8
    assert {"poste_restante", package} & set().union(*map(tops, files(package)))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_in(module: str, *packages: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in packages)


def imports_of_names(path: Path) -> Iterator[str]:
    """As `imports`, and of `from package import name` also `package.name`."""
    yield from imports(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(module: str, imported: str) -> bool:
    """Whether a module of the worker may not import another one of it."""
    if is_in(module, *TOP):
        return False
    if is_in(module, *ADAPTERS):
        others = [each for each in ADAPTERS if not is_in(module, each)]
        return is_in(imported, *TOP, *others)
    return is_in(imported, *TOP, *ADAPTERS)


def test_the_pipeline_imports_no_adapter_and_adapters_not_each_other() -> None:
    """Kafka and DynamoDB stand in folders of their own, which only the wiring and the commands
    know; the rules between them are pure (G8)."""
    modules = {module_of(path): path for path in files("worker")}
    assert {"worker.flush", "worker.kafka.consumer", "worker.cli.arguments"} <= modules.keys()
    assert [
        f"{module} imports {imported}"
        for module, path in modules.items()
        for imported in imports_of_names(path)
        if forbidden(module, imported)
    ] == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("worker.flush", "worker.dynamodb.retrying_store"),
        ("worker.opening", "worker.kafka"),
        ("worker.kafka.consumer", "worker.dynamodb.retrying_store"),
        ("worker.kafka.tls", "worker.app"),
        ("worker.dynamodb.budget", "worker.cli"),
    ],
)
def test_an_import_in_the_wrong_direction_is_forbidden(module: str, imported: str) -> None:
    """The rule of the test above (G8)."""
    assert forbidden(module, imported)


def test_imports_go_from_the_worker_to_the_read_module_and_never_back() -> None:
    """Nor does it import what only the worker needs (G8)."""
    for path in files("poste_restante"):
        assert not tops(path) & (HEAVY | {"worker", "tests"}), path


@pytest.mark.parametrize("library", EXTRAS)
def test_the_library_of_an_extra_is_imported_in_one_module(library: str) -> None:
    """A gateway that does not name it does not need it (G8)."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in files("poste_restante")
        if library in tops(path)
    }
    assert found == EXTRAS[library]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_are_absolute(package: str) -> None:
    """So that the tests here see what they name (G8)."""
    for path in files(package):
        assert "" not in tops(path), path


def test_faust_is_imported_where_all_that_leans_on_it_is() -> None:
    """An upgrade is judged in two files (G1)."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in files("worker")
        if tops(path) & {"faust", "mode"}
    }
    assert found == FAUST_ONLY_IN


@pytest.mark.parametrize("module", ["poste_restante", "poste_restante.testing"])
def test_a_gateway_loads_nothing_of_the_worker(module: str) -> None:
    """Whatever is installed beside it (G8)."""
    code = f"import {module}, sys; print(*sorted(sys.modules), sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-Ic", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    names = {name.partition(".")[0] for name in loaded}

    assert module in loaded
    assert not names & (HEAVY | EXTRAS.keys() | {"worker"})


def test_the_fake_can_be_used_without_pytest() -> None:
    """A development server has none (G8)."""
    code = """
import sys
sys.modules["pytest"] = None  # the import system's way to say: there is none
from poste_restante.testing import *
InMemoryMailboxes().deliver("bob", b"hello")
"""
    subprocess.run([sys.executable, "-Ic", code], check=True, timeout=60)


def patched_private_names(text: str) -> Iterator[str]:
    """The private names that a module replaces by their text, which ruff's SLF001 does not see."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func).rpartition(".")[2] not in PATCHES:
            continue
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            named = argument.value if isinstance(argument, ast.Constant) else None
            if isinstance(named, str) and PRIVATE.fullmatch(named):
                yield f"{node.lineno}: {named}"


def test_no_test_patches_a_private_name_by_its_text() -> None:
    """A test states what a module promises, so that what is inside can be written anew (G8)."""
    found = {
        path.relative_to(ROOT).as_posix(): names
        for folder in ("tests", "benchmarks")
        for path in files(folder)
        if (names := list(patched_private_names(path.read_text())))
    }
    assert {path: found[path] for path in found.keys() - MAY_PATCH_PRIVATE_NAMES} == {}


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr("worker.flush._send", 1)',
        'monkeypatch.setattr(made, "_reader", 1)',
        'monkeypatch.delattr(module, name="_POLL_S")',
        'setattr(object, "_name", 1)',
        'mock.patch("poste_restante.wire._BACKOFF_S")',
        'mock.patch.object(made, "_send")',
        'monkeypatch.setattr("worker._flush.send", 1)',
    ],
)
def test_a_private_name_that_is_patched_is_found(line: str) -> None:
    """As ruff finds one that is read (G8)."""
    assert len(list(patched_private_names(line))) == 1


@pytest.mark.parametrize("name", ["worker.flush.send", "__name__", "flush_", "a sentence._"])
def test_a_public_name_that_is_patched_is_none(name: str) -> None:
    """Nor is a dunder (G8)."""
    assert list(patched_private_names(f"monkeypatch.setattr({name!r}, 1)")) == []


def attributes_read(path: Path) -> Iterator[tuple[str, str]]:
    """Each attribute that a module reads, behind the name of what it is read from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = ast.unparse(node.value).rpartition(".")[2]
            yield owner.lstrip("_"), node.attr


def read_by_property(path: Path) -> dict[str, set[str]]:
    """The attributes that each function of a module reads of `self`."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            reads = [each for each in ast.walk(node) if isinstance(each, ast.Attribute)]
            found[node.name] = {each.attr for each in reads if ast.unparse(each.value) == "self"}
    return found


def test_every_setting_is_read() -> None:
    """One that nothing reads is a promise that nobody keeps (G8)."""
    own = ROOT / "worker" / "settings.py"
    modules = [path for folder in ("worker", "local") for path in files(folder) if path != own]
    read = {each for path in modules for each in attributes_read(path)}
    properties = read_by_property(own)
    unread = []
    for setting, _ in setting_fields():
        section, _, name = setting.rpartition(".")
        names = {name, *(method for method, reads in properties.items() if name in reads)}
        owners = {section or "settings", "settings"}
        if not any((owner, each) in read for owner in owners for each in names):
            unread.append(setting)
    assert unread == []
