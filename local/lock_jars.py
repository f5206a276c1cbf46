"""Write the lock files of jars from the poms, with Maven: `make lock-jars`."""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from local.fetch import Jar
from local.java import bring_by_maven, lock, pom

_HEADER = "# Every jar of {pom}, by `make lock-jars`.\n"


def resolve_jars(name: str) -> Iterator[Jar]:
    """Yield a service's resolved jars."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bring_by_maven(name, folder, "-Dmdep.useRepositoryLayout=true")
        for path in folder.rglob("*"):
            if path.is_file() and path.name.startswith(f"{path.parts[-3]}-{path.parts[-2]}"):
                yield _jar(path, folder)  # others are Maven's own notes


def _jar(path: Path, folder: Path) -> Jar:
    *group, artifact, version, filename = path.relative_to(folder).parts
    ending = filename.removeprefix(f"{artifact}-{version}")
    if not ending.startswith("."):
        raise SystemExit(f"{filename} has a classifier, for which a lock file has no place")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Jar(".".join(group), artifact, ending[1:], version, digest)


def main() -> int:
    """Write them."""
    for name in ("kafka", "dynamodb"):
        lines = sorted(map(str, resolve_jars(name)))
        lock(name).write_text(_HEADER.format(pom=pom(name).name) + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
