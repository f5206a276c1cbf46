"""Put the documents where mkdocs takes them from, each at its own place: `make docs`.

A link to a file that is no page, such as a test, becomes plain text: pages stand without the
repository.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: `docs_dir` of mkdocs.yml.
SOURCE = ROOT / ".cache" / "docs" / "source"
_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def documents() -> set[Path]:
    """The pages, and the pictures that they show."""
    beside = {ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")}
    inside = {path for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".svg", ".png")}
    return beside | inside | {ROOT / "benchmarks" / "README.md"}


def without_links_to(path: Path, text: str, pages: set[Path]) -> str:
    """The text of a page, whose links to anything but pages and other hosts are plain text."""

    def kept(link: re.Match[str]) -> str:
        elsewhere = "://" in link[2] or (path.parent / link[2]).resolve() in pages
        return link[0] if elsewhere else link[1]

    return _LINK.sub(kept, text)


def main() -> int:
    """Write them all again."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    pages = documents()
    for path in pages:
        to = SOURCE / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            to.write_text(without_links_to(path, path.read_text(), pages))
        else:
            shutil.copy(path, to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
