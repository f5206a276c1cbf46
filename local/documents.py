"""Copy the documents to the folder of mkdocs: `make docs`.

A link to a file that is no page, such as a test, becomes plain text, because the site has no
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
    """Return the pages and their pictures."""
    beside = {ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")}
    inside = {path for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".svg", ".png")}
    return beside | inside | {ROOT / "benchmarks" / "README.md"}


def remove_links(path: Path, text: str, pages: set[Path]) -> str:
    """Replace links to anything but pages and other hosts by their text."""

    def replace_link(link: re.Match[str]) -> str:
        elsewhere = "://" in link[2] or (path.parent / link[2]).resolve() in pages
        return link[0] if elsewhere else link[1]

    return _LINK.sub(replace_link, text)


def main() -> int:
    """Copy all documents."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    pages = documents()
    for path in pages:
        to = SOURCE / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            to.write_text(remove_links(path, path.read_text(), pages))
        else:
            shutil.copy(path, to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
