"""How long a proof of freshness takes, what it costs, and how long none comes: `make freshness`.

For each interval of claims: one worker on an idle topic, and reconnects at random moments. Seconds
from a reconnect to its proof, by the instant of the reconnect, and by the offset of a message that
was acknowledged just before. Then two workers with the defaults, of which one is killed: the
greatest age of what a gateway can prove, of the killed worker's partitions and of the others.

Prints the tables of benchmarks/README.md.
"""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.md_tables import markdown
from local import Services, ServicesMissingError, start_services
from local.interrupts import exit_status
from poste_restante import Mailboxes
from poste_restante.partitioners import murmur2
from tests.deployment import Deployment, deployment_environment

PARTITIONS, RECONNECTS = 8, 40
INTERVALS_S = (0.25, 0.5, 1.0, 2.0, 5.0)
#: Dollars of a million write units on demand (us-east-1, 2025), and seconds of a month.
DOLLARS, MONTH_S = 0.625, 30 * 24 * 3600
#: Seconds before the kill, and from then on; between two looks.
CALM_S, KILLED_S, LOOK_S = 15.0, 40.0, 0.2
#: A test's deployment is quicker.
DEFAULTS = {"POSTE_KAFKA__COMMIT_INTERVAL_S": "5", "POSTE_KAFKA__SESSION_TIMEOUT_S": "10"}


@contextmanager
def deployed(services: Services, directory: Path, name: str) -> Iterator[Deployment]:
    """A topic, a table and a group; its workers end with the block."""
    (directory / name).mkdir()
    environment = deployment_environment(services.environment, topic=name, table=name, group=name)
    made = Deployment(environment, directory / name, services.tool, name, name, name)
    made.init(partitions=PARTITIONS)
    try:
        yield made
    finally:
        made.end()


async def interval(deployment: Deployment, every_s: float) -> list[str]:
    """One row."""
    deployment.worker(POSTE_FRESHNESS_S=f"{every_s:g}", **DEFAULTS)
    by_instant, by_offset = [], []
    async with deployment.mailboxes(partitioner="murmur2") as mailboxes:
        await proof_s(mailboxes, datetime.now(UTC))
        for _ in range(RECONNECTS):
            await asyncio.sleep(random.random() * max(1.0, every_s))
            by_instant.append(await proof_s(mailboxes, datetime.now(UTC)))
            await asyncio.sleep(random.random() * max(1.0, every_s))
            ((partition, offset),) = await deployment.produce([("bob", b"hello")])
            by_offset.append(await proof_s(mailboxes, {partition: offset}))
    millions = MONTH_S / every_s / 1e6
    figures = [f"{f(found):.1f}" for found in (by_instant, by_offset)
               for f in (statistics.median, max)]  # fmt: skip
    return [f"{every_s:g}", *figures, f"{millions:.1f}", f"{millions * DOLLARS:.2f}"]


async def proof_s(mailboxes: Mailboxes, until: Any) -> float:
    """Seconds until a proof."""
    began_s = time.monotonic()
    catching_up = mailboxes.catch_up("bob", until=until, timeout_s=60)
    async for _ in catching_up:
        pass
    if not catching_up.complete:
        raise RuntimeError("no proof within a minute: look at the workers' logs")
    return time.monotonic() - began_s


async def killed(deployment: Deployment) -> list[list[str]]:
    """One row before a worker is killed, one after."""
    first = deployment.worker(**DEFAULTS)
    await deployment.said("assigned: partitions [0, 1, 2, 3, 4, 5, 6, 7]")
    deployment.worker(**DEFAULTS)
    await deployment.until(lambda: "assigned: partitions" in deployment.workers[1].output(), "two")
    lines = [line for line in first.output().splitlines() if "assigned: partitions" in line]
    owned = {int(text) for text in lines[-1].partition("[")[2].strip("]").split(", ")}
    users = {p: next(u for u in map(str, count()) if murmur2(u.encode(), PARTITIONS) == p)
             for p in range(PARTITIONS)}  # fmt: skip
    rows = []
    async with deployment.mailboxes(partitioner="murmur2") as mailboxes:
        for what, seconds in (("two workers", CALM_S), ("one of them is killed", KILLED_S)):
            if what != "two workers":
                first.kill()
            oldest: defaultdict[bool, float] = defaultdict(float)
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                for partition, user in users.items():
                    fresh = (await mailboxes.fetch(user, freshness=True)).fresh_as_of
                    if fresh is not None:
                        age_s = (datetime.now(UTC) - fresh).total_seconds()
                        oldest[partition in owned] = max(oldest[partition in owned], age_s)
                await asyncio.sleep(LOOK_S)
            rows.append([what, f"{oldest[True]:.1f}", f"{oldest[False]:.1f}"])
    return rows


def main() -> int:
    """Exit status: 0 when every proof came."""
    try:
        with start_services() as services, tempfile.TemporaryDirectory() as temporary:
            os.environ.update(services.environment)
            rows = []
            for every_s in INTERVALS_S:
                name = f"every-{every_s:g}"
                with deployed(services, Path(temporary), name) as deployment:
                    rows.append(asyncio.run(interval(deployment, every_s)))
            print(markdown(
                ("`freshness_s`", "by instant, median s", "max s", "by offset, median s", "max s",
                 "million units a month and worker", "dollars"), rows,
            ))  # fmt: skip
            with deployed(services, Path(temporary), "killed") as deployment:
                header = ("", "oldest proof in the first one's partitions, s", "in the others, s")
                print(markdown(header, asyncio.run(killed(deployment))))
    except (ServicesMissingError, RuntimeError) as error:
        print(f"make freshness: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("make freshness", main))
