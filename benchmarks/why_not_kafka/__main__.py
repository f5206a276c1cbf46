"""The experiment: `make why-not-kafka`, ten to fifteen minutes. One service runs at a time.

    python -m benchmarks.why_not_kafka [--small] [partitions] [scan] [table] [mailbox]

Writes benchmarks/results/why_not_kafka.json, and from it the tables and the picture of
docs/why-not-kafka.md. Parts that are not named keep the figures they have. --small: that it works,
in a minute or two; its figures say that they are provisional.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.why_not_kafka import mailbox, page, partitions, rebuilt, routed, scan
from benchmarks.why_not_kafka.broker import about, new_broker
from tests.services import DYNAMODB_ADDRESS, ServicesMissing
from tests.services.choose import LOCAL_AWS
from tests.services.interrupts import exit_status
from tests.services.jvm import DynamoDBLocal, java_with_maven

#: Partitions, messages and users of each point. Full: what fifteen minutes bear. Rebalanced: so
#: many that a half takes as long to restore as the session time-out, or longer.
FULL: dict[str, Any] = {
    "partitions": [1_000, 2_000, 4_000, 8_000, 16_000], "partitions_s_max": 240.0,
    "scan": [10_000, 100_000, 1_000_000, 10_000_000],
    "restored": [1_000, 10_000, 100_000], "floor": [10_000, 100_000, 1_000_000],
    "rebalanced": 200_000, "mailbox": [1_000, 10_000, 100_000, 1_000_000],
}  # fmt: skip
SMALL: dict[str, Any] = {
    "partitions": [1_000, 2_000], "partitions_s_max": 60.0,
    "scan": [1_000, 10_000, 100_000],
    "restored": [1_000, 10_000], "floor": [1_000, 10_000, 100_000],
    "rebalanced": 4_000, "mailbox": [1_000, 10_000, 100_000],
}  # fmt: skip


def _partitions(directory: Path, sizes: dict[str, Any]) -> Any:
    return partitions.measure(directory, sizes["partitions"], seconds_max=sizes["partitions_s_max"])


def _scan(directory: Path, sizes: dict[str, Any]) -> Any:
    kafka = new_broker(directory / "scan")
    kafka.start()
    try:
        scan.fill(kafka.bootstrap, sizes["scan"])
        return scan.measure(kafka.bootstrap, kafka.pid, sizes["scan"])
    finally:
        kafka.stop()


def _table(directory: Path, sizes: dict[str, Any]) -> Any:
    kafka = new_broker(directory / "table")
    kafka.start()
    try:
        return {
            "floor": rebuilt.floor(kafka.bootstrap, directory, sizes["floor"]),
            "restored": rebuilt.restored(kafka.bootstrap, directory, sizes["restored"]),
            "routed": routed.measure(kafka.bootstrap, directory),
            "rebalanced": [
                rebuilt.rebalanced(kafka.bootstrap, directory, sizes["rebalanced"], standbys)
                for standbys in (0, 1)
            ],
        }
    finally:
        kafka.stop()


def _mailbox(directory: Path, sizes: dict[str, Any]) -> Any:
    dynamodb = DynamoDBLocal(directory / "dynamodb")
    dynamodb.start()
    os.environ.update({**LOCAL_AWS, DYNAMODB_ADDRESS: dynamodb.endpoint})
    try:
        return asyncio.run(mailbox.measure(sizes["mailbox"]))
    finally:
        dynamodb.stop()


PARTS: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "partitions": _partitions, "scan": _scan, "table": _table, "mailbox": _mailbox,
}  # fmt: skip


def run(part: str, sizes: dict[str, Any]) -> Any:
    """What a part found."""
    if not java_with_maven():
        # A broker's memory and files are read of its own process, which a container hides.
        raise ServicesMissing("Java 17 with Maven is needed: the broker is a child process")
    print(f"{part} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="why-not-kafka-") as directory:
        return PARTS[part](Path(directory), sizes)


def write(part: str, found: Any, *, small: bool) -> None:
    """Beside what was known of the others; the page and its picture with it."""
    known = page.results() if page.RESULTS.exists() else {}
    known |= {
        part: found,
        "machine": machine.machine(), "commit": machine.commit(), "date": machine.today(),
    }  # fmt: skip
    if part in page.OF_KAFKA:
        known.setdefault("kafka", {})[part] = about()
    known.setdefault("sizes", {})[part] = "small" if small else "full"
    page.RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    page.PAGE.write_text(page.written(page.PAGE.read_text(), known))
    page.PICTURE.write_text(page.picture(known))


def main() -> int:
    """Exit status: 0 when every part was run and the page is written."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.why_not_kafka")
    parser.add_argument("--small", action="store_true", help="that it works")
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    failed = False
    for part in given.parts or PARTS:
        try:
            write(part, run(part, SMALL if given.small else FULL), small=given.small)
        except (ServicesMissing, RuntimeError) as error:
            print(f"why-not-kafka: {part}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(exit_status("make why-not-kafka", main))
