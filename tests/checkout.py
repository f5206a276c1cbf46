"""A copy of what `make run` starts the services from, without its cache."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: With these pip finds no package, anywhere.
NO_PACKAGES = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}


def without_cache(directory: Path) -> Path:
    """A folder in which `python -m local.run` has nothing that was brought before."""
    made = directory / "checkout"
    shutil.copytree(ROOT / "local", made / "local", ignore=shutil.ignore_patterns("__pycache__"))
    (made / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "java.txt", made / "requirements")
    return made
