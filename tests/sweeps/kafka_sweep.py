"""Kafka: the n-th commit of the group's offsets, or the n-th dead letter, of a worker fails."""

from collections.abc import Iterator

from tests.sweeps.crash_sweep import patched_worker
from tests.sweeps.kafka_faults import KAFKA_FAULTS, KafkaFault
from tests.sweeps.orders import Order
from tests.sweeps.play import Faults, Play
from tests.sweeps.report import Case, Run
from tests.sweeps.scenario import PARTITIONS
from tests.sweeps.shared_services import SharedServices
from tests.sweeps.sweep import Sweep

SWEEP = "kafka"


def kafka_sweeps(shared: SharedServices) -> Iterator[Sweep]:
    """Each kind of failure, transient and persistent."""
    run = KafkaRun(shared)
    for name in KAFKA_FAULTS:
        for persistent in (False, True):
            yield Sweep(Case(SWEEP, name, persistent), run)


class KafkaRun:
    """Makes runs."""

    def __init__(self, shared: SharedServices) -> None:
        self._shared = shared

    async def __call__(self, case: Case, number: int) -> Run:
        fault = KAFKA_FAULTS[case.kind]
        deployment = await self._shared.deployment(SWEEP, partitions=PARTITIONS)
        order = Order(
            case.kind, number, persistent=case.persistent, directory=str(deployment.directory)
        )
        play = Play(
            self._shared, deployment,
            Faults(
                met=lambda: order.met().total(), clear_faults=order.clear_faults,
                may_leave=lambda status, log: kafka_left_wrongly(fault, status, log),
            ),
            first=lambda: patched_worker(deployment, order), again=deployment.worker,
        )  # fmt: skip
        await play.to_the_end()
        if order.met() and fault.leaves is not None and not any(play.exits):
            play.wrong.append("the worker went on")
        return await play.result(case, number, order.met())


def kafka_left_wrongly(fault: KafkaFault, status: int, log: str) -> str:
    """What is wrong with a worker that left by itself; "": that is how it must be."""
    if fault.leaves is None:
        return f"the worker left with {status}: {log[-1500:]}"
    if status != 1:
        return f"the worker left with {status}, not 1"
    return "" if fault.leaves in log else f"the worker left without saying why: {log[-1500:]}"
