"""The documents, as tests read them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
BESIDE = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES = [*BESIDE, *sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> str:
    """The text of one of `docs/`."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def tables(text: str) -> Iterator[list[list[str]]]:
    """Every table: its rows, the first being the header, each a list of cells."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [line.strip("|").split("|") for line in block.splitlines()]
        yield [[cell.strip() for cell in row] for row in rows if set("".join(row)) - set("- :")]


def table(text: str, *header: str) -> list[list[str]]:
    """The rows of the one table whose header begins with these cells."""
    ((_, *rows),) = [found for found in tables(text) if tuple(found[0][: len(header)]) == header]
    return rows


def code(cell: str) -> str:
    """What stands between the first backticks of a cell."""
    match = re.search(r"`([^`]+)`", cell)
    assert match is not None, cell
    return match[1]


def marked(text: str, kind: str) -> list[tuple[str, str]]:
    """The JSON blocks below a comment `<!-- kind: name -->`, with the name."""
    return re.findall(rf"<!-- {kind}: (.+?) -->\n```json\n(.*?)```", text, re.DOTALL)


def anchors(text: str) -> set[str]:
    """What a link may name of a page: its headings, as they are made into anchors."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"(?m)^#+ (.+)$", prose)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def tracked_files() -> list[Path]:
    """The files of the repository."""
    said = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in said.stdout.split("\0") if name]
    return [path for path in files if path.is_file()]  # one may be removed and not committed yet
