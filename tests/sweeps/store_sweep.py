"""The store, worker side: the n-th call of a worker to DynamoDB fails."""

from collections.abc import Iterator

from local import DYNAMODB_ADDRESS
from local.child import Child
from poste_restante.claims import CLAIMS_KEY
from poste_restante.position import TABLE_RECORD_KEY
from tests.fault_proxy import Call, Fault, FaultyEndpoint, calm, nth
from tests.sweeps.play import Faults, Play
from tests.sweeps.report import Case, Run
from tests.sweeps.scenario import PARTITIONS
from tests.sweeps.shared_services import SharedServices
from tests.sweeps.sweep import Sweep

SWEEP = "store"
#: Operations that a fault of a batch can be applied to.
_BATCHES = {"BatchWriteItem"}

#: What a worker says that leaves, with status 1, by fault. No other fault makes it leave, of
#: whatever duration: a store that throttles or is away is waited for.
LEAVES = {
    Fault.NO_TABLE: ("the table does not exist",),
    Fault.ACCESS_DENIED: ("DynamoDB refuses",),
    # Of a batch it is about an item, which becomes a dead letter; of any other call it is ours.
    Fault.REJECTED_ITEM: ("ItemRefused",),
    # An answer that was made `{}` on the way says of a look-up: there is no such item.
    Fault.MISSHAPEN: ("has no table record", "has no progress any more"),
    Fault.TRUNCATED: ("has no table record", "has no progress any more"),
}
#: Those that end a worker, but for the calls that only observe (`ends_worker`).
ALWAYS = frozenset({Fault.NO_TABLE, Fault.ACCESS_DENIED})


def store_sweeps(shared: SharedServices, *, seed: int) -> Iterator[Sweep]:
    """Each kind of fault, transient and persistent."""
    run = StoreRun(shared, seed)
    for fault in Fault:
        for persistent in (False, True):
            yield Sweep(Case(SWEEP, fault.value, persistent), run)


class StoreRun:
    """Makes runs. seed: of what a fault leaves open."""

    def __init__(self, shared: SharedServices, seed: int) -> None:
        self._shared = shared
        self._seed = seed

    async def __call__(self, case: Case, number: int) -> Run:
        fault = Fault(case.kind)
        deployment = await self._shared.deployment(SWEEP, partitions=PARTITIONS)
        operations = _BATCHES if fault is Fault.UNPROCESSED else None
        plan = nth(fault, number, persistent=case.persistent, operations=operations)
        seed = self._seed * 1_000 + number
        with FaultyEndpoint(self._shared.services.endpoint, plan=plan, seed=seed) as endpoint:

            def start() -> Child:
                return deployment.worker(**{DYNAMODB_ADDRESS: endpoint.url})

            play = Play(
                self._shared, deployment,
                Faults(
                    met=endpoint.injected.total,
                    clear_faults=lambda: endpoint.use(calm()),
                    may_leave=lambda status, log: left_wrongly(fault, status, log),
                ),
                first=start, again=start, rejecting=fault is Fault.REJECTED_ITEM,
            )  # fmt: skip
            await play.to_the_end()
        injected = {f"{f.value} {operation}": n for (f, operation), n in endpoint.injected.items()}
        ended = any(
            ends_worker(fault, call) for call in endpoint.called if call.number in endpoint.faulted
        )
        if ended and 1 not in play.exits:
            play.wrong.append("the worker went on")
        return await play.result(case, number, injected)


def ends_worker(fault: Fault, call: Call) -> bool:
    """Whether the worker must leave. After a failed put of claims the next one follows; a failed
    look at the table record may be that of the health check, which makes the worker unready."""
    about = [item["user_id"]["S"] for item in call.puts()]
    if "Key" in call.body:
        about.append(call.body["Key"]["user_id"]["S"])
    return fault in ALWAYS and not {CLAIMS_KEY, TABLE_RECORD_KEY}.intersection(about)


def left_wrongly(fault: Fault, status: int, log: str) -> str:
    """What is wrong with a worker that left by itself; "": that is how it must be."""
    if fault not in LEAVES:
        return f"the worker left with {status}: {log[-1500:]}"
    if status != 1:
        return f"the worker left with {status}, not 1"
    if not any(line in log for line in LEAVES[fault]):
        return f"the worker left without saying why: {log[-1500:]}"
    return ""
