"""Crashes: a worker's process ends at a step of the flush, the first, second and third time."""

import sys
from collections.abc import Iterator
from pathlib import Path

from local import DYNAMODB_ADDRESS
from local.child import Child
from tests.deployment import Deployment
from tests.fault_proxy import FaultyEndpoint, has_body
from tests.preloaded import PreloadedChild
from tests.sweeps.orders import CRASHED, Order
from tests.sweeps.play import Faults, Play
from tests.sweeps.report import Case, Run
from tests.sweeps.scenario import PARTITIONS, PARTS, POISON
from tests.sweeps.shared_services import SharedServices
from tests.sweeps.steps import FLUSH_STEPS, names
from tests.sweeps.sweep import Sweep

SWEEP = "crash"


def crash_sweeps(shared: SharedServices) -> Iterator[Sweep]:
    """Each step of the flush, until it was passed three times (a first start: once a partition)."""
    run = CrashRun(shared)
    for step in names(FLUSH_STEPS):
        last = PARTITIONS if step.startswith("0-") else PARTS
        yield Sweep(Case(SWEEP, step), run, last=last)


class CrashRun:
    """Makes runs."""

    def __init__(self, shared: SharedServices) -> None:
        self._shared = shared

    async def __call__(self, case: Case, number: int) -> Run:
        deployment = await self._shared.deployment(SWEEP, partitions=PARTITIONS)
        order = Order(case.kind, number, persistent=False, directory=str(deployment.directory))
        with FaultyEndpoint(self._shared.services.endpoint) as endpoint:
            endpoint.poison(has_body(POISON))
            address = {DYNAMODB_ADDRESS: endpoint.url}
            play = Play(
                self._shared, deployment,
                Faults(
                    met=lambda: order.met().total(), clear_faults=order.clear_faults,
                    may_leave=_crashed,
                ),
                first=lambda: patched_worker(deployment, order, **address),
                again=lambda: deployment.worker(**address),
                poisoned=True,
            )  # fmt: skip
            await play.to_the_end()
        return await play.result(case, number, order.met())


def _crashed(status: int, log: str) -> str:
    return "" if status == CRASHED else f"the worker left with {status}: {log[-1500:]}"


def patched_worker(deployment: Deployment, order: Order, **env: str) -> Child:
    """A worker that does as it is ordered; it is ended with the deployment."""
    child = PreloadedChild(
        [sys.executable, "-m", "tests.sweeps.patched_worker"],
        log=Path(deployment.directory) / f"worker-{len(deployment.workers)}.log",
        env={**deployment.environment, **order.environment(), **env},
    )
    child.start()
    deployment.workers.append(child)
    return child
