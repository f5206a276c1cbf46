"""Print the worker's requirements without `poste-restante`, for pip-compile: `make lock`.

pip-compile would look for `poste-restante` in an index. Arguments: the worker's extras to include.
"""

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "worker" / "pyproject.toml"
MODULE = "poste-restante=="


def worker_requirements(extras: list[str]) -> list[str]:
    """Return the requirements of the worker and these extras. Raises KeyError."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [line for line in wanted if not line.startswith(MODULE)]


if __name__ == "__main__":
    print(*worker_requirements(sys.argv[1:]), sep="\n")
