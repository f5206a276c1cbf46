"""A table behind an endpoint that goes wrong, and the clients of the product that call it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aioboto3
import pytest

from local import DYNAMODB_ADDRESS
from poste_restante.table import TABLE_SCHEMA
from tests.fault_proxy import Fault, FaultyEndpoint, nth
from tests.mailbox_table import MailboxTable
from worker.dynamodb.retrying_store import RetryingStore, open_store

#: Seconds that the clients wait for an answer: a machine that stands still for a while is no fault.
TIMEOUT_S = 20.0
#: The same where none comes, as an answer that is held until they give up.
SILENT_TIMEOUT_S = 2.0

THROTTLING = [Fault.PROVISIONED_THROUGHPUT, Fault.THROTTLED, Fault.REQUEST_LIMIT]
#: What a worker waits for, and a gateway tells its caller of, on whatever call.
PASSING = [
    *THROTTLING, Fault.INTERNAL_ERROR, Fault.UNAVAILABLE, Fault.REFUSED, Fault.CUT_BEFORE,
    Fault.CUT_AFTER, Fault.LATE, Fault.SLOW, Fault.MISSHAPEN, Fault.TRUNCATED,
]  # fmt: skip
#: What somebody has to look at.
LASTING = [Fault.REJECTED_ITEM, Fault.NO_TABLE, Fault.ACCESS_DENIED]
#: Whether DynamoDB has the call when the client sees the fault. Not here: either way.
MADE = dict.fromkeys([*THROTTLING, *LASTING], False) | {
    Fault.UNAVAILABLE: False,
    Fault.REFUSED: False,
    Fault.CUT_BEFORE: False,
    Fault.LATE: False,
    Fault.CUT_AFTER: True,
    Fault.SLOW: True,
    Fault.MISSHAPEN: True,
    Fault.TRUNCATED: True,
}
#: Rounds of a fault: what has several manners (a reset or a close, which of the wrong shapes, ...)
#: is met in most of them; what costs a time-out, once.
ROUNDS = {Fault.SLOW: 1, Fault.REFUSED: 2, Fault.MISSHAPEN: 12, Fault.TRUNCATED: 9}
ROUNDS_OTHERWISE = 4


def rounds(fault: Fault) -> range:
    return range(ROUNDS.get(fault, ROUNDS_OTHERWISE))


def timeout_s(fault: Fault) -> float:
    """A client's, that meets it."""
    return SILENT_TIMEOUT_S if fault is Fault.SLOW else TIMEOUT_S


#: One for all tests: what it reads of the service's description takes longer than most of them.
_SESSION = aioboto3.Session()


@dataclass
class Waited:
    """What a store was told while it waited. then: is awaited at each wait."""

    whys: list[str] = field(default_factory=list)
    then: Callable[[], Awaitable[None]] | None = None

    def kind(self) -> type[RetryingStore]:
        waited = self

        class Watched(RetryingStore):
            def say_waiting(self, what: str, why: str, for_s: float) -> None:
                waited.whys.append(why)

            def __init__(self, *arguments: Any, **settings: Any) -> None:
                super().__init__(*arguments, **settings)
                really = self.sleep

                async def sleep(delay_s: float) -> None:
                    if waited.then is not None:
                        await waited.then()
                    await really(delay_s)

                self.sleep = sleep

        return Watched


@dataclass
class Faulty:
    """mailbox_table: a table of its own, which the test asks past the endpoint. The product's
    clients are led to the endpoint."""

    table: str
    mailbox_table: MailboxTable
    endpoint: FaultyEndpoint

    def apply_fault(self, fault: Fault, operation: str, *, persistent: bool = False) -> None:
        """The next call of this operation, or every one from now on."""
        self.endpoint.use(nth(fault, 1, operations=[operation], persistent=persistent))

    @asynccontextmanager
    async def store(
        self, waited: Waited | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> AsyncIterator[RetryingStore]:
        """The worker's."""
        kind = RetryingStore if waited is None else waited.kind()
        async with open_store(timeout_s=timeout_s, kind=kind) as store:
            yield store


@asynccontextmanager
async def faulty_table(
    upstream: str, table: str, patch: pytest.MonkeyPatch
) -> AsyncIterator[Faulty]:
    async with _SESSION.client("dynamodb", endpoint_url=upstream) as client:
        await client.create_table(TableName=table, **TABLE_SCHEMA)
        mailbox_table = MailboxTable(client, table)
        await mailbox_table.open()
        with FaultyEndpoint(upstream) as endpoint:
            patch.setenv(DYNAMODB_ADDRESS, endpoint.url)
            yield Faulty(table, mailbox_table, endpoint)
        await client.delete_table(TableName=table)


def ids(faults: Sequence[Fault]) -> list[Any]:
    """Parameters with readable names."""
    return [pytest.param(fault, id=fault.name.lower()) for fault in faults]
