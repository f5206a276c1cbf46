"""A thin selection of the worker's sweeps: every kind of fault and every step, in a few runs.

A start of a worker is what a run costs. So one run meets several: where a fault ends the process
the one that is started again meets the next; where it goes on, the next call does.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from local import DYNAMODB_ADDRESS
from local.child import Child
from tests.fault_proxy import Call, Fault, FaultyEndpoint, has_body
from tests.fault_proxy.plans import can_apply
from tests.sweeps.crash_sweep import patched_worker
from tests.sweeps.kafka_faults import KAFKA_FAULTS
from tests.sweeps.kafka_sweep import kafka_left_wrongly
from tests.sweeps.orders import CRASHED, Order
from tests.sweeps.play import Faults, Play
from tests.sweeps.report import Case, Run
from tests.sweeps.scenario import PARTITIONS, POISON
from tests.sweeps.shared_services import SharedServices
from tests.sweeps.store_sweep import ALWAYS, ends_worker, left_wrongly

#: Calls to the store that are left alone between two faults, so that some of each go well.
CALM_CALLS = 2


def shuffled(kinds: Sequence[str], *, seed: int) -> list[str]:
    """In an order from a seed, but a first start's steps first: there is one first start."""
    mixed = random.Random(f"{seed} chain").sample(list(kinds), len(kinds))
    return sorted(mixed, key=lambda kind: not kind.startswith("0-"))


@dataclass
class OrderChain:
    """One run of patched workers, each ordered what is next in `orders`; the last is ordered
    nothing. An order of several kinds, separated by commas, is one that the worker survives."""

    shared: SharedServices
    orders: Sequence[str]
    given: list[Order] = field(default_factory=list)
    #: Whether the worker runs that is ordered nothing: all before it have left.
    last_runs: bool = False

    async def __call__(self, case: Case, number: int) -> Run:
        deployment = await self.shared.deployment(f"{case.sweep}-chain", partitions=PARTITIONS)
        wanted = {kind for order in self.orders for kind in order.split(",")}
        survived = "," in self.orders[-1]
        with FaultyEndpoint(self.shared.services.endpoint) as endpoint:
            endpoint.poison(has_body(POISON))
            address = {DYNAMODB_ADDRESS: endpoint.url}

            def start() -> Child:
                if len(self.given) == len(self.orders):
                    self.last_runs = True
                    return deployment.worker(**address)
                directory = deployment.directory / f"order-{len(self.given)}"
                directory.mkdir()
                what = self.orders[len(self.given)]
                order = Order(what, number, persistent=False, directory=str(directory))
                self.given.append(order)
                return patched_worker(deployment, order, **address)

            play = Play(
                self.shared, deployment,
                # A chain ends its faults itself.
                Faults(met=lambda: 0, clear_faults=lambda: None, may_leave=self._left_wrongly),
                first=start, again=start, poisoned=True,
                done=lambda: self.last_runs or (survived and wanted <= self.met().keys()),
                starts_max=len(self.orders) + 1,
            )  # fmt: skip
            await play.to_the_end()
        if missed := wanted - self.met().keys():
            play.wrong.append(f"never met: {sorted(missed)}")
        return await play.result(case, number, self.met())

    def met(self) -> Counter[str]:
        return sum((order.met() for order in self.given), Counter())

    def _left_wrongly(self, status: int, log: str) -> str:
        order = self.given[-1]
        if not order.met():
            return f"the worker left with {status} before {order.what}: {log[-1500:]}"
        if order.what in KAFKA_FAULTS:
            return kafka_left_wrongly(KAFKA_FAULTS[order.what], status, log)
        return "" if status == CRASHED else f"the worker left with {status}: {log[-1500:]}"


@dataclass
class StoreChain:
    """One run in which calls to the store meet one fault after the other. Each that always ends a
    worker meets one of its own: the drain of one that ends would hide the second."""

    shared: SharedServices
    faults: Sequence[Fault]
    seed: int

    async def __call__(self, case: Case, number: int) -> Run:
        deployment = await self.shared.deployment(f"{case.sweep}-chain", partitions=PARTITIONS)
        left, calm = list(self.faults), CALM_CALLS
        met_before = 0  # faults that were met before the latest worker started

        def met_by_this_worker() -> list[Fault]:
            return list(endpoint.faulted.values())[met_before:]

        def plan(call: Call) -> Fault | None:
            nonlocal calm
            calm -= 1
            last = bool(ALWAYS.intersection(met_by_this_worker()))
            possible = [
                fault
                for fault in left
                if can_apply(fault, call.operation)
                and (fault not in ALWAYS or (ends_worker(fault, call) and not last))
            ]
            if calm >= 0 or not possible:
                return None
            calm = CALM_CALLS
            left.remove(possible[0])
            return possible[0]

        with FaultyEndpoint(self.shared.services.endpoint, plan=plan, seed=self.seed) as endpoint:

            def start() -> Child:
                nonlocal met_before
                met_before = len(endpoint.faulted)
                return deployment.worker(**{DYNAMODB_ADDRESS: endpoint.url})

            def may_leave(status: int, log: str) -> str:
                # One of the faults that this worker met is the cause. Its drain may have met more.
                met = reversed(met_by_this_worker())
                said = [left_wrongly(fault, status, log) for fault in met]
                return min(said, key=len, default=f"the worker left with {status}: {log[-1500:]}")

            def done() -> bool:
                # A worker that met its end and was told to stop would leave with 0.
                return not left and play.exits.count(1) >= len(ALWAYS.intersection(self.faults))

            play = Play(
                self.shared, deployment,
                Faults(met=lambda: 0, clear_faults=lambda: None, may_leave=may_leave),
                first=start, again=start, rejecting=True, done=done,
                starts_max=len(self.faults) + 1,
            )  # fmt: skip
            await play.to_the_end()
        return await play.result(case, number, endpoint.by_fault())
