"""Trials: the unit tests of a module, once for each mutant, in forked children.

The start of pytest and the imports take most of the time of a trial. So the tests are collected
once, and each child changes the code of the functions that its mutant differs in. A mutant that
differs outside of functions (a constant, a default) is imported in the module's place instead.
No file changes.
"""

import gc
import importlib
import importlib.abc
import importlib.util
import inspect
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

#: CPU seconds and bytes of one trial: a mutant may loop, or grow, without end.
CPU_S, MEMORY_BYTES = 60, 3 * 1024**3
#: Seconds of one test, on a machine that is busy with other things: a mutant may wait without end.
TEST_S = 60

#: The same examples for every mutant, fewer than in the suite, and no search for the smallest one
#: that fails.
settings.register_profile(
    "mutation",
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
PLUGINS = ["pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin"]
for _name in (*PLUGINS, "aioboto3"):
    importlib.import_module(_name)  # once, for all trials
ARGUMENTS = [
    "-q", "-x", "--noconftest", "-p", "no:cacheprovider",
    *(f"-p{name}" for name in PLUGINS), f"--timeout={TEST_S}", "--hypothesis-profile=mutation",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
]  # fmt: skip


def survivals(module: str, sources: Sequence[str], tests: Sequence[str]) -> Iterator[bool]:
    """Whether the tests pass with each of these sources of the module, of which the first is the
    module's own. One after the other."""
    end, begin = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(end)
        _leave(lambda: _run(tests, _Trials(Path(module).resolve(), sources, begin)))
    os.close(begin)
    with os.fdopen(end) as read:
        results = read.read().split()
    os.waitpid(child, 0)
    if len(results) < len(sources):
        sys.exit(f"{module}: its unit tests cannot be collected")
    for source, result in zip(sources, results, strict=True):
        yield _passes_imported(module, source, tests) if result == "import" else result == "0"


class _Trials:
    """A pytest plugin: once the tests are collected, a child of its own runs them for each source.

    results: where a line is written for each: its exit status, or `import`.
    """

    def __init__(self, path: Path, sources: Sequence[str], results: int) -> None:
        self._path, self._sources, self._results = path, sources, results

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        original = _functions(compile(self._sources[0], str(self._path), "exec"))
        for source in self._sources:
            changed = _functions(compile(source, str(self._path), "exec"))
            differing = {key: code for key, code in changed.items() if code != original.get(key)}
            result = "import"
            if differing or source == self._sources[0]:
                child = os.fork()
                if child == 0:
                    self._change(differing)
                    return
                result = str(os.waitpid(child, 0)[1])
            os.write(self._results, f"{result}\n".encode())
        os._exit(0)

    def _change(self, differing: dict[tuple[str, int], CodeType]) -> None:
        """Give the functions of the module their mutant's code, wherever they are referred to."""
        _limit()
        for found in gc.get_objects():
            if isinstance(found, FunctionType) and Path(found.__code__.co_filename) == self._path:
                code = found.__code__
                key = code.co_qualname, code.co_firstlineno
                found.__code__ = differing.get(key, code)


def _functions(code: CodeType) -> dict[tuple[str, int], CodeType]:
    """The outermost functions in a code, by name and line."""
    found: dict[tuple[str, int], CodeType] = {}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & inspect.CO_NEWLOCALS:  # which a class body has not
                found[inner.co_qualname, inner.co_firstlineno] = inner
            else:
                found |= _functions(inner)
    return found


def _passes_imported(module: str, source: str, tests: Sequence[str]) -> bool:
    child = os.fork()
    if child == 0:
        _limit()
        sys.meta_path.insert(0, _Mutated(Path(module), source))
        _leave(lambda: _run(tests))
    return os.waitpid(child, 0)[1] == 0


class _Mutated(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    """Imports one module from a text instead of its file."""

    def __init__(self, module: Path, source: str) -> None:
        self._name = ".".join(module.with_suffix("").parts)
        self._path, self._source = str(module), source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._path, "exec"), module.__dict__)


def _leave(run: Callable[[], int]) -> NoReturn:
    """End a child with the exit code that `run` returns."""
    code = 70
    try:
        code = run()
    finally:
        os._exit(code)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _run(tests: Sequence[str], *plugins: object) -> int:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return int(pytest.main([*ARGUMENTS, *tests], plugins=plugins))
