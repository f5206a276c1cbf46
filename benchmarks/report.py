"""benchmarks/README.md and its pictures, from the JSON of the parts. Pure, but for reading JSON.

A part is a module that says what it measures and how its page shows it. What it found stands in
`results/<part>.json`, with the machine and the size of the run; its tables and pictures are made
from that file alone.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from benchmarks.made import made

HERE = Path(__file__).parent
PAGE, RESULTS = HERE / "README.md", HERE / "results"

Found = dict[str, Any]
#: A table of what several parts found, by their names.
Across = Callable[[Mapping[str, Found]], str]


class Part(Protocol):
    """What a part's module has.

    TABLES: by the name in the page's mark, a table of what was found, as Markdown; names are
    unique over the page. PICTURES: by file name in `results/`, an SVG.
    """

    TABLES: Mapping[str, Callable[[Found], str]]
    PICTURES: Mapping[str, Callable[[Found], str]]

    def measure(self, *, small: bool) -> Found:
        """What was found, as JSON bears it. small: only that it works, in less than a minute.

        Raises RuntimeError, with one line that says why, where it could not be measured.
        """


def read(part: str, results: Path = RESULTS) -> Found:
    """A part's file: `machine`, `size`, `found`, and where it says so `software`, `commit` and
    `date`. Raises FileNotFoundError before its first run."""
    file: Found = json.loads((results / f"{part}.json").read_text())
    return file


def write(
    part: str, found: Found, *, taken: Mapping[str, str], small: bool, results: Path = RESULTS
) -> None:
    """taken: where and of what, as `read` names it."""
    file = {**taken, "size": "small" if small else "full", "found": found}
    (results / f"{part}.json").write_text(json.dumps(file, indent=1) + "\n")


def written(
    text: str,
    parts: Mapping[str, Part],
    results: Path = RESULTS,
    across: Mapping[str, Across] = MappingProxyType({}),
) -> str:
    """The page with its tables made again. Besides its own, each part has `<part>_machine`: where
    and of what it was measured. across: tables of what several parts found. Raises KeyError for a
    table that nothing makes, ValueError for one that two parts make."""
    files = {name: read(name, results) for name in parts}
    found = {name: file["found"] for name, file in files.items()}
    tables: dict[str, Callable[[], str]] = {
        name: partial(make, found) for name, make in across.items()
    }
    for name, part in parts.items():
        file = files[name]
        more = {table: partial(make, file["found"]) for table, make in part.TABLES.items()}
        more[f"{name}_machine"] = partial(_machine, file)
        if twice := tables.keys() & more.keys():
            raise ValueError(f"made by two parts: {', '.join(sorted(twice))}")
        tables.update(more)
    return made(text, tables)


def pictures(parts: Mapping[str, Part], results: Path = RESULTS) -> dict[str, str]:
    """Every picture, by its file name in `results/`."""
    return {
        file: draw(read(name, results)["found"])
        for name, part in parts.items()
        for file, draw in part.PICTURES.items()
    }


def _machine(file: Found) -> str:
    said = f"Measured on {file['machine']}"
    if software := file.get("software"):
        said += f"; {software}"
    if "commit" in file:
        said += f". Commit {file['commit']}, {file['date']}"
    return f"{said}.\n" if file["size"] == "full" else f"**Provisional**, a small run. {said}.\n"
