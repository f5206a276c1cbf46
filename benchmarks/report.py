"""benchmarks/README.md and its pictures, from the JSON of the parts. Pure, but for reading JSON.

A part is a module that says what it measures and how its page shows it. What it found stands in
`results/<part>.json`, with the machine and the size of the run; its tables and pictures are made
from that file alone.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmarks.made import made

HERE = Path(__file__).parent
PAGE, RESULTS = HERE / "README.md", HERE / "results"

Found = dict[str, Any]


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
    """A part's file: `machine`, `size` and `found`. Raises FileNotFoundError before its first
    run."""
    file: Found = json.loads((results / f"{part}.json").read_text())
    return file


def write(part: str, found: Found, *, machine: str, small: bool, results: Path = RESULTS) -> None:
    file = {"machine": machine, "size": "small" if small else "full", "found": found}
    (results / f"{part}.json").write_text(json.dumps(file, indent=1) + "\n")


def written(text: str, parts: Mapping[str, Part], results: Path = RESULTS) -> str:
    """The page with its tables made again. Besides its own, each part has `<part>_machine`: where
    it was measured. Raises KeyError for a table that no part makes, ValueError for one that two
    make."""
    tables: dict[str, Callable[[], str]] = {}
    for name, part in parts.items():
        file = read(name, results)
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
    said = f"Measured on {file['machine']}.\n"
    return said if file["size"] == "full" else f"**Provisional**, a small run. {said}"
