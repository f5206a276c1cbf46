"""A deployment with an endpoint, a journal and an auditor: where a control is played twice.

A control is a scenario with something broken in it, which the auditor must see, and the same one
with nothing broken, which must be clean. Both are played side by side, in deployments of their own.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from local import DYNAMODB_ADDRESS
from local.child import Child
from tests.audit.auditor import Auditor
from tests.audit.journal import Journal, Outgoing
from tests.audit.producer import AuditedProducer
from tests.audit.verdict import Verdict, ViolationKind, assert_clean
from tests.deployment import Deployment
from tests.fault_proxy import FaultyEndpoint
from tests.preloaded import PreloadedChild


@dataclass
class Control:
    """broken: what is broken in it; "": nothing. Workers call the store through the endpoint."""

    deployment: Deployment
    endpoint: FaultyEndpoint
    broken: str
    journal: Journal = field(default_factory=Journal)
    auditor: Auditor = field(init=False)

    def __post_init__(self) -> None:
        self.auditor = Auditor(self.journal, self.deployment.environment)

    async def init(self, partitions: int = 1) -> None:
        await asyncio.to_thread(self.deployment.init, partitions)

    def worker(self, program: Path, **env: str) -> Child:
        """The broken one, where something of a worker is broken; else the product's."""
        env[DYNAMODB_ADDRESS] = self.endpoint.url
        if not self.broken:
            return self.deployment.worker(**env)
        child = PreloadedChild(
            [sys.executable, str(program)],
            log=self.deployment.directory / f"broken-{len(self.deployment.workers)}.log",
            env={
                **self.deployment.environment, **env,
                "BROKEN": self.broken, "PYTHONPATH": str(Path.cwd()),
            },
        )  # fmt: skip
        child.start()
        self.deployment.workers.append(child)
        return child

    async def stopped(self, worker: Child) -> None:
        """Ends it as an operator does: it leaves its group."""
        worker.signal(signal.SIGTERM)
        await self.deployment.exited(worker)

    async def produce(self, *records: Outgoing | tuple[str, bytes]) -> None:
        """In one batch of the producer's, as far as it fits."""
        async with AuditedProducer(
            self.journal, self.auditor.bootstrap, self.deployment.topic, linger_ms=50
        ) as producer:
            sent = await producer.produce_all(records)
        assert all(produced.place is not None for produced in sent)

    async def looks(self, count: int) -> None:
        """Waits for further looks of the auditor, which is watching."""
        until = self.auditor.seen.observations + count
        await self.deployment.until(
            lambda: self.auditor.seen.observations >= until, f"{count} further looks"
        )


Scenario = Callable[[Control], Awaitable[Verdict]]


async def control(
    deployment: Deployment, broken: str, scenario: Scenario, *kinds: ViolationKind
) -> None:
    """Plays a scenario with the breach and without: the one is caught, the other is clean.

    kinds: the breach shows as all of these, and may show as others.
    """
    # Their commands ask the store itself; only what a test says goes through the endpoint.
    upstream = os.environ[DYNAMODB_ADDRESS]
    with ExitStack() as stack:
        controls = []
        for number, breach in enumerate((broken, "")):
            endpoint = stack.enter_context(FaultyEndpoint(upstream, seed=number))
            twin = _twin(deployment, f"{number}")
            stack.callback(twin.end)
            controls.append(Control(twin, endpoint, breach))
        verdicts = await asyncio.gather(*map(scenario, controls))
    caught, clean = verdicts
    print(f"{broken}: {caught.line()}\nnothing broken: {clean.line()}")
    assert_clean(clean)
    missed = [kind.value for kind in kinds if not caught.counts[kind]]
    assert not missed, f"the auditor did not see {missed}: {caught.line()}"


def _twin(deployment: Deployment, suffix: str) -> Deployment:
    """A deployment beside another one, with nothing in common but the services."""
    topic, table, group = (
        f"{name}-{suffix}" for name in (deployment.topic, deployment.table, deployment.group)
    )
    directory = deployment.directory / suffix
    directory.mkdir()
    environment = {
        **deployment.environment,
        "POSTE_KAFKA__TOPIC": topic,
        "POSTE_KAFKA__GROUP": group,
        "POSTE_DYNAMODB__TABLE": table,
    }
    return replace(
        deployment, environment=environment, directory=directory, topic=topic, table=table,
        group=group, workers=[],
    )  # fmt: skip
