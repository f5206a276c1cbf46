"""A worker that catches up leaves acknowledgements their room on a table that throttles.

Real Kafka, a real worker process, and DynamoDB Local behind an endpoint that takes so many write
units a second and refuses the rest (`tests/fault_proxy/throttling.py`). The store goes away, a
backlog gathers, the store comes back; from then on a gateway acknowledges at an even pace
until the backlog is written: once with a write budget, once without.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aioboto3
from aiobotocore.config import AioConfig

from local import DYNAMODB_ADDRESS
from poste_restante import Mailboxes, StoreUnavailable
from poste_restante.mailboxes import ATTEMPTS, CONNECTIONS
from tests.conftest import Address
from tests.deployment import Deployment
from tests.fault_proxy.throttling import ACKS, BUNDLES, ThrottlingEndpoint

PARTITIONS = 4
#: Fetches at a time, before the store goes away: what DynamoDB Local is quickest with.
FETCHES_MAX = 32
#: Seconds until a phase must be over.
PHASE_S_MAX = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """table_units_per_s: that the table takes. budget_units_per_s: of the worker, in the run with
    one; what is left is for acknowledgements, of a unit each. backlog: messages, each to another
    user."""

    table_units_per_s: float = 500.0
    budget_units_per_s: float = 200.0
    acks_per_s: float = 80.0
    backlog: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """acks: asked for while the worker caught up. failed: of them, to the gateway that asked.
    refused_acks, refused_bundles: by the table, attempt by attempt. seconds: until
    the backlog was written."""

    acks: int
    failed: int
    refused_acks: int
    refused_bundles: int
    seconds: float


async def catch_up(
    deployment: Deployment, endpoint: ThrottlingEndpoint, load: Load, *, budget: bool, run: str
) -> CaughtUp:
    """One run. deployment: its workers call the endpoint. run: names the users, who are its own."""
    limit = {"POSTE_DYNAMODB__WRITE_UNITS_PER_S_MAX": f"{load.budget_units_per_s:g}"}
    worker = deployment.worker(**(limit if budget else {}))
    seconds = load.backlog / (load.budget_units_per_s if budget else load.table_units_per_s)
    # Half as many again as are acknowledged if all goes well; where they run out, none follow.
    gateway_users = [f"{run}-here-{n}" for n in range(int(1.5 * seconds * load.acks_per_s))]
    endpoint.limit(None)
    written = endpoint.units[BUNDLES]
    async with _gateway(deployment, endpoint) as mailboxes:
        await deployment.produce([(user, b"hello") for user in gateway_users])
        await _written(deployment, endpoint, written + len(gateway_users))
        receipts: list[tuple[str, str | None]] = []
        for n in range(0, len(gateway_users), FETCHES_MAX):
            users = gateway_users[n : n + FETCHES_MAX]
            pages = await asyncio.gather(*map(mailboxes.fetch, users))
            receipts += zip(users, (page.receipt for page in pages), strict=True)

        endpoint.outage()
        await deployment.produce([(f"{run}-away-{n}", b"hello") for n in range(load.backlog)])
        await deployment.said("waiting for DynamoDB")
        endpoint.refused.clear()
        endpoint.limit(load.table_units_per_s)
        endpoint.restored()
        begun_s = time.monotonic()
        acking = _Acking(mailboxes, receipts)
        async with asyncio.TaskGroup() as tasks:
            pace = tasks.create_task(acking.go(load.acks_per_s))
            await _written(deployment, endpoint, written + len(gateway_users) + load.backlog)
            took_s = time.monotonic() - begun_s
            pace.cancel()
    found = CaughtUp(
        acks=acking.asked, failed=acking.failed, refused_acks=endpoint.refused[ACKS],
        refused_bundles=endpoint.refused[BUNDLES], seconds=took_s,
    )  # fmt: skip
    endpoint.limit(None)
    worker.signal(signal.SIGTERM)
    await deployment.exited(worker, PHASE_S_MAX)
    return found


async def _written(deployment: Deployment, endpoint: ThrottlingEndpoint, units: int) -> None:
    """Returns when so many bundles, of a unit each, were taken since the endpoint began."""
    await deployment.until(lambda: endpoint.units[BUNDLES] >= units, f"{units} units", PHASE_S_MAX)


@asynccontextmanager
async def _gateway(
    deployment: Deployment, endpoint: ThrottlingEndpoint
) -> AsyncIterator[Mailboxes]:
    """With the defaults of `open_mailboxes`, but for the address."""
    config = AioConfig(
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
    )
    session = aioboto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    )
    async with session.client("dynamodb", endpoint_url=endpoint.url, config=config) as client:
        yield Mailboxes(client, table=deployment.table)


class _Acking:
    """Acknowledgements at an even pace, each on its own."""

    def __init__(self, mailboxes: Mailboxes, receipts: list[tuple[str, str | None]]) -> None:
        self._mailboxes = mailboxes
        self._receipts = receipts
        self.asked = self.failed = 0

    async def go(self, per_s: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            for user, receipt in self._receipts:
                tasks.create_task(self._one(user, receipt))
                await asyncio.sleep(1 / per_s)

    async def _one(self, user: str, receipt: str | None) -> None:
        self.asked += 1
        try:
            await self._mailboxes.ack(user, receipt)
        except StoreUnavailable:
            self.failed += 1


#: Messages of the backlog: enough for the table to be short for seconds, and what a budget needs
#: seconds for.
FREE, HELD = Load(backlog=4_000), Load(backlog=1_200)


async def test_a_budget_keeps_a_catch_up_from_throttling_acknowledgements(
    deployment: Deployment, dynamodb: Address, tmp_path: Path
) -> None:
    """After an outage of the store, on a table of so many units a second: without a budget the
    table refuses acknowledgements, with one it refuses none (G7, G8)."""
    deployment.init(partitions=4)
    with ThrottlingEndpoint(dynamodb.endpoint) as endpoint:
        deployment.environment[DYNAMODB_ADDRESS] = endpoint.url
        free = await catch_up(deployment, endpoint, FREE, budget=False, run="free")
        held = await catch_up(deployment, endpoint, HELD, budget=True, run="held")

    assert free.refused_acks > 0
    assert free.refused_bundles > 0
    assert held.acks > 0
    assert (held.failed, held.refused_acks) == (0, 0)
    assert held.refused_bundles == 0
