"""`make mutate`: mutants of the pure modules against their unit tests.

Exit code 1: a survivor is not explained, or an explanation has no survivor.
"""

import argparse
import sys
import tomllib
from pathlib import Path

from tests.mutation.mutants import mutants
from tests.mutation.trial import survivals

CONFIG = Path(__file__).with_name("modules.toml")
#: Module, definition, line, changed line.
Explanation = tuple[str, str, str, str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("modules", nargs="*", help="names such as reading; default: all")
    parser.add_argument("--every", type=int, default=1, help="try each n-th mutant: a sample")
    wanted = parser.parse_args()
    config = tomllib.loads(CONFIG.read_text())
    listed = {
        (each["module"], each["in"], each["line"], mutant)
        for each in config["equivalent"]
        for mutant in each["mutants"]
    }
    failed = False
    for module, tests in config["modules"].items():
        if not wanted.modules or Path(module).stem in wanted.modules:
            failed |= not _report(module, tests, listed, wanted.every)
    return int(failed)


def _report(module: str, tests: list[str], listed: set[Explanation], every: int) -> bool:
    """Try the mutants of one module and print what survives. True: all of it is explained."""
    source = Path(module).read_text()
    tried = list(mutants(module, source))[::every]
    survivors: set[Explanation] = set()
    killed = unexplained = 0
    results = survivals(module, [source, *(mutant.source for mutant in tried)], tests)
    if not next(results):
        sys.exit(f"{module}: its unit tests fail without a mutant")
    for mutant, survived in zip(tried, results, strict=True):
        key = (module, mutant.definition, mutant.line, mutant.changed)
        if not survived:
            killed += 1
        else:
            survivors.add(key)
            if key not in listed:
                unexplained += 1
                print(f"SURVIVED {mutant}", flush=True)
    stale = {key for key in listed - survivors if key[0] == module and every == 1}
    for key in sorted(stale):
        print(f"STALE {key[0]} in {key[1]}: no such survivor\n    - {key[2]}\n    + {key[3]}")
    print(
        f"{module}: {len(tried)} mutants, {killed} killed, {len(tried) - killed - unexplained}"
        f" equivalent, unexplained survivors: {unexplained}",
        flush=True,
    )
    return not unexplained and not stale


if __name__ == "__main__":
    sys.exit(main())
