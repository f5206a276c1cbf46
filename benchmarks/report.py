"""Results of the parts as JSON, and the tables of benchmarks/README.md from that JSON.

`results/<part>.json` says where and of what a part was measured, and has its tables as the page
shows them and its figures, which the targets and the capacity model read.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmarks.md_tables import fill, markdown

HERE = Path(__file__).parent
PAGE, RESULTS = HERE / "README.md", HERE / "results"

Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the page, cell by cell."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Found:
    """What a part measured.

    tables: by the name in the page's mark, unique over the page. figures: by `group/where`.
    """

    tables: Mapping[str, Table]
    figures: Mapping[str, float] = field(default_factory=dict)


class Part(Protocol):
    """A module that measures. SOFTWARE: services and packages whose versions matter to it."""

    @property
    def SOFTWARE(self) -> Sequence[str]: ...  # noqa: N802 - a constant of the module

    def measure(self, *, small: bool) -> Found:
        """small: only shows that it works, in about a minute. Raises RuntimeError with one line
        that says why it could not be measured."""


def read(part: str, results: Path = RESULTS) -> Results:
    """The results of a part. Raises FileNotFoundError before its first run."""
    found: Results = json.loads((results / f"{part}.json").read_text())
    return found


def write(
    part: str, found: Found, *, taken: Mapping[str, str], small: bool, results: Path = RESULTS
) -> None:
    """taken: machine, software, commit and date."""
    file = {**taken, "size": "small" if small else "full", **asdict(found)}
    (results / f"{part}.json").write_text(json.dumps(file, indent=1) + "\n")


def figures(results: Results, group: str) -> dict[str, float]:
    """The figures of a group, by where they were measured. Raises KeyError where there is none."""
    found = {
        name.partition("/")[2]: value
        for name, value in results["figures"].items()
        if name.partition("/")[0] == group
    }
    if not found:
        raise KeyError(group)
    return found


def written(
    text: str,
    parts: Iterable[str],
    results: Path = RESULTS,
    targets: Callable[[Mapping[str, Results]], str] | None = None,
) -> str:
    """The page with its tables replaced: those of the parts, a `<part>_machine` for each, and
    `targets`. Raises KeyError for a mark without a table."""
    files = {part: read(part, results) for part in parts}
    tables: dict[str, Callable[[], str]] = {}
    if targets is not None:
        tables["targets"] = partial(targets, files)
    for part, file in files.items():
        more: dict[str, Callable[[], str]] = {f"{part}_machine": partial(_machine, file)}
        for name, table in file["tables"].items():
            more[name] = partial(markdown, table["header"], table["rows"])
        assert not tables.keys() & more.keys(), "two parts have a table of one name"
        tables.update(more)
    return fill(text, tables)


def _machine(file: Results) -> str:
    said = f"Measured on {file['machine']}"
    if software := file.get("software"):
        said += f"; {software}"
    if "commit" in file:
        said += f". Commit {file['commit']}, {file['date']}"
    return f"{said}.\n" if file["size"] == "full" else f"**Provisional**, a small run. {said}.\n"
