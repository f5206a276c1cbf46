"""The list of equivalent mutants, which `make mutate` reads."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = tomllib.loads((ROOT / "tests" / "mutation" / "modules.toml").read_text())


def test_every_module_that_is_mutated_has_unit_tests() -> None:
    """A file that is renamed is renamed in the list as well."""
    for module, tests in LIST["modules"].items():
        assert (ROOT / module).is_file(), module
        assert tests
        assert all((ROOT / test).is_file() for test in tests), tests


def test_every_equivalent_mutant_changes_a_line_of_its_module() -> None:
    """A reason is given for a line that is still there."""
    for entry in LIST["equivalent"]:
        lines = (ROOT / entry["module"]).read_text().splitlines()
        assert entry["line"] in {" ".join(line.split()) for line in lines}, entry
        assert entry["line"] not in entry["mutants"]
        assert entry["reason"].endswith(".")
