"""What this project costs, measured: `make bench`, part after part.

    python -m benchmarks [--small] [PART ...]

Writes benchmarks/results/<part>.json, and from all of them the tables and pictures of
benchmarks/README.md. Parts that are not named keep the figures they have. --small: that it works;
its figures say that they are provisional.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import idle, latency, live, machine, reading, report, targets, units, write_path
from benchmarks.contenders import part as contenders
from benchmarks.report import Across, Part
from tests.services import ServicesMissing
from tests.services.interrupts import exit_status

#: In the order of the page.
PARTS: dict[str, Part] = {
    "contenders": contenders, "write_path": write_path, "latency": latency, "live": live,
    "idle": idle,
    "reading": reading, "units": units,
}  # fmt: skip
#: What takes part in each, beside our own code: its versions stand with the figures.
SOFTWARE: dict[str, tuple[str, ...]] = {
    "contenders": (
        "Kafka", "DynamoDB Local", "aiokafka", "aiobotocore", "confluent-kafka", "boto3",
        "faust-streaming",
    ),
    "write_path": ("aiobotocore",),
    "latency": ("Kafka", "DynamoDB Local", "aiokafka", "aiobotocore", "confluent-kafka"),
    "live": ("Kafka", "aiokafka", "aiobotocore", "confluent-kafka", "faust-streaming"),
    "idle": ("Kafka", "aiokafka", "aiobotocore"),
    "reading": ("DynamoDB Local", "aiobotocore", "boto3"),
    "units": ("Kafka", "DynamoDB Local", "aiokafka", "aiobotocore"),
}  # fmt: skip
#: Tables of several parts.
ACROSS: dict[str, Across] = {"targets": targets.table}


def run(
    names: Sequence[str],
    parts: Mapping[str, Part],
    *,
    small: bool,
    page: Path = report.PAGE,
    results: Path = report.RESULTS,
    across: Mapping[str, Across] = ACROSS,
) -> list[str]:
    """Measures these parts, each written as soon as it is found. Returns those that failed."""
    # The code is that of the begin, whatever is committed meanwhile.
    here, commit = machine.machine(), machine.commit()
    failed = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found = parts[name].measure(small=small)
        except (RuntimeError, ServicesMissing) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        taken = {
            "machine": here, "software": machine.software(SOFTWARE.get(name, ())),
            "commit": commit, "date": machine.today(),
        }  # fmt: skip
        report.write(name, found, taken=taken, small=small, results=results)
    page.write_text(report.written(page.read_text(), parts, results, across))
    for file, drawn in report.pictures(parts, results).items():
        (results / file).write_text(drawn)
    return failed


def main() -> int:
    """Exit status: 0 when every part was measured and the page is written."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--small", action="store_true", help="that it works")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return 1 if run(given.parts or list(PARTS), PARTS, small=given.small) else 0


if __name__ == "__main__":
    sys.exit(exit_status("make bench", main))
