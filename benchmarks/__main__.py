"""What this project costs, measured: `make bench`, part after part.

    python -m benchmarks [--small] [PART ...]

Writes benchmarks/results/<part>.json and, from all results, the tables of benchmarks/README.md.
Parts that are not named keep their figures. --small shows that a part works; the page marks its
figures as provisional.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import (
    contenders,
    latency,
    live,
    machine,
    reading,
    report,
    targets,
    units,
    write_path,
)
from benchmarks.report import Part
from local import ServicesMissingError
from local.interrupts import exit_status

#: In the order of the page.
PARTS: dict[str, Part] = {
    "contenders": contenders, "write_path": write_path, "latency": latency, "live": live,
    "reading": reading, "units": units,
}  # fmt: skip


def run(
    names: Sequence[str],
    parts: Mapping[str, Part],
    *,
    small: bool,
    page: Path = report.PAGE,
    results: Path = report.RESULTS,
) -> list[str]:
    """Measures these parts and writes each result at once. Returns the parts that failed."""
    # Looked up before the first part: a commit made meanwhile is not what runs.
    taken = {"machine": machine.machine(), "commit": machine.commit(), "date": machine.today()}
    failed = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found = parts[name].measure(small=small)
        except (RuntimeError, ServicesMissingError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        software = machine.software(parts[name].SOFTWARE)
        report.write(
            name, found, taken={**taken, "software": software}, small=small, results=results
        )
    all_targets = targets.table if parts is PARTS else None
    page.write_text(report.written(page.read_text(), parts, results, all_targets))
    return failed


def main() -> int:
    """Exit status: 0 when every part was measured and the page is written."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--small", action="store_true", help="only show that it works")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return 1 if run(given.parts or list(PARTS), PARTS, small=given.small) else 0


if __name__ == "__main__":
    sys.exit(exit_status("make bench", main))
