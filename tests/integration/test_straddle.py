"""A fetch that straddles a rebalance: the trap that loses records without a trace."""

import asyncio
import sys
from pathlib import Path

from tests.deployment import Deployment
from tests.preloaded import PreloadedChild

#: Marks sent until one is seen.
ATTEMPTS = 10
WORKER = Path(__file__).with_name("straddling_worker.py")


async def _missing(deployment: Deployment, *, undo: str) -> int:
    """Messages that are not in their mailboxes after two rebalances with held fetches."""
    deployment.init(partitions=2)
    child = PreloadedChild(
        [sys.executable, str(WORKER)],
        log=deployment.directory / "straddling.log",
        env={**deployment.environment, "UNDO": undo, "PYTHONPATH": str(Path.cwd())},
    )
    child.start()
    deployment.workers.append(child)
    await deployment.until(lambda: "reading from offset" in child.output(), "it reads")
    joining = deployment.worker()
    await deployment.until(lambda: "assigned: partitions" in joining.output(), "another joins")
    bodies = [b"%d" % n for n in range(400)]
    await deployment.produce([(f"user-{n % 40}", body) for n, body in enumerate(bodies)])
    joining.kill()
    await deployment.until(
        lambda: child.output().count("held a fetch") >= 2, "two fetches are held"
    )
    for attempt in range(ATTEMPTS):  # a fetch that is not undone may swallow the first ones too
        mark = b"mark %d" % attempt
        await deployment.produce(
            [{"key": "mark", "value": mark, "partition": partition} for partition in range(2)]
        )
        if await _seen(deployment, [mark, mark]):
            break
    await deployment.drained()
    return len(bodies) - sum([len(await deployment.read(f"user-{n}")) for n in range(40)])


async def _seen(deployment: Deployment, wanted: list[bytes]) -> bool:
    """Whether both marks arrive soon: everything before them in their partitions was passed."""
    for _ in range(30):
        if (await deployment.bodies("mark")).count(wanted[0]) == len(wanted):
            return True
        await asyncio.sleep(0.1)
    return False


async def test_what_a_straddling_fetch_moved_is_taken_back(deployment: Deployment) -> None:
    """Every record is delivered, though fetches returned after the assignment they began in
    (G1)."""
    assert await _missing(deployment, undo="1") == 0


async def test_the_control_loses_records(deployment: Deployment) -> None:
    """Without taking the move back records are lost and committed: the test can see it (G1)."""
    assert await _missing(deployment, undo="0") > 0
