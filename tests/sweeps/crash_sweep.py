"""Crashes: a worker's process ends at a step of the flush, the first, second and third time."""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.endpoint import FaultyEndpoint
from tests.scene import Scene
from tests.services import DYNAMODB_ADDRESS
from tests.services.child import Child
from tests.sweeps.ground import Ground
from tests.sweeps.orders import CRASHED, Order
from tests.sweeps.play import Faults, Play
from tests.sweeps.report import Case, Run
from tests.sweeps.scenario import PARTITIONS, PARTS, POISON
from tests.sweeps.steps import FLUSH_STEPS, names
from tests.sweeps.sweep import Sweep

SWEEP = "crash"


def crash_sweeps(ground: Ground) -> Iterator[Sweep]:
    """Each step of the flush, until it was passed three times (a first start: once a partition)."""
    run = CrashRun(ground)
    for step in names(FLUSH_STEPS):
        last = PARTITIONS if step.startswith("0-") else PARTS
        yield Sweep(Case(SWEEP, step), run, last=last)


class CrashRun:
    """Makes runs."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def __call__(self, case: Case, number: int) -> Run:
        scene = await self._ground.scene(SWEEP, partitions=PARTITIONS)
        order = Order(case.kind, number, persistent=False, directory=str(scene.directory))
        with FaultyEndpoint(self._ground.services.endpoint) as endpoint:
            endpoint.poison(is_poisoned)
            address = {DYNAMODB_ADDRESS: endpoint.url}
            play = Play(
                self._ground, scene,
                Faults(
                    met=lambda: order.met().total(), heal=order.heal, may_leave=_crashed,
                ),
                first=lambda: patched_worker(scene, order, **address),
                again=lambda: scene.worker(**address),
                poisoned=True,
            )  # fmt: skip
            audit = await play.to_the_end()
        run = Run(case, number, order.met(), tuple(play.exits), "; ".join(play.wrong), audit)
        if run.clean:
            await self._ground.clear(scene)
        return run


def _crashed(status: int, log: str) -> str:
    return "" if status == CRASHED else f"the worker left with {status}: {log[-1500:]}"


def is_poisoned(item: dict[str, Any]) -> bool:
    """Whether one of the messages of a bundle, in DynamoDB JSON, holds POISON."""
    messages = item.get("messages", {}).get("L", ())
    return any(POISON in base64.b64decode(message["M"]["b"]["B"]) for message in messages)


def patched_worker(scene: Scene, order: Order, **env: str) -> Child:
    """A worker that does as it is ordered; it is ended with the scene."""
    child = Child(
        [sys.executable, "-m", "tests.sweeps.patched_worker"],
        log=Path(scene.directory) / f"worker-{len(scene.workers)}.log",
        env={**scene.environment, **order.environment(), **env},
    )
    child.start()
    scene.workers.append(child)
    return child
