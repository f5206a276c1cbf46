"""The tables of docs/operations.md, as tests read them."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.pages import table

PAGE = Path(__file__).parent.parent / "docs" / "operations.md"
_ROW = re.compile(r"^\| ``(?P<line>.+?)`` \|.*\| (?P<status>\d+|goes on) \|$")


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One line of the tables of errors. status: None: a worker logs it and goes on. section: the
    heading above its table."""

    line: str
    status: int | None
    section: str = ""

    def pattern(self) -> str:
        """The line as a regular expression: `…` stands for anything."""
        return ".+".join(re.escape(part) for part in self.line.split("…"))


def error_rows() -> dict[str, ErrorRow]:
    """Every row of "Errors and what to do", by its line."""
    text = PAGE.read_text().partition("\n## Errors and what to do\n")[2].partition("\n## ")[0]
    rows, section = [], ""
    for line in text.splitlines():
        section = line.removeprefix("### ") if line.startswith("### ") else section
        if match := _ROW.match(line):
            status = None if match["status"] == "goes on" else int(match["status"])
            rows.append(ErrorRow(match["line"], status, section))
    assert len(rows) > 20, "the tables are there"
    return {row.line: row for row in rows}


def further_lines() -> list[ErrorRow]:
    """Every row of "Reasons and fatal lines", without a status."""
    below = PAGE.read_text().partition("\n### Reasons and fatal lines\n")[2]
    return [ErrorRow(row[0].strip("`"), None) for row in table(below, "line", "cause")]
