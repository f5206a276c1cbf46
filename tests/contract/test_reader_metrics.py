"""What a gateway's metrics say of calls to DynamoDB, and of the faults on the way to it."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from poste_restante import MailboxError, open_mailboxes
from poste_restante.metrics import Operation, Outcome, StoreOperation, StoreOutcome
from poste_restante.prometheus_metrics import PrometheusMetrics
from tests.contract.faulty import THROTTLING, Faulty, ids, timeout_s
from tests.fault_proxy import Fault
from tests.mailbox_table import MailboxTable, offsets, open_admin_client
from tests.recorded_metrics import RecordedMetrics
from tests.records import message
from tests.tables import READER_KINDS

FETCH, ACK = Operation.FETCH, Operation.ACK
QUERY, UPDATE, DELETE = StoreOperation
OK = StoreOutcome.OK


@pytest.fixture(params=READER_KINDS)
async def mailbox_table(
    request: pytest.FixtureRequest, table_name: str
) -> AsyncIterator[MailboxTable]:
    async with open_admin_client(request, table_name) as admin:
        yield admin


async def test_a_reconnect_is_reported_with_its_units(mailbox_table: MailboxTable) -> None:
    """Of each client that mailboxes may have, and of the synchronous module (G7)."""
    metrics = RecordedMetrics()
    reader = mailbox_table.reader(metrics=metrics, delete_acknowledged=True)
    for offset in range(3):
        await mailbox_table.deliver(message(offset, body=b"x" * 5_000))
    page = await reader.fetch("bob", limit=2)
    rest = await reader.fetch("bob", limit=2, after=page.receipt)
    await reader.ack("bob", rest.receipt)

    assert (offsets(page), offsets(rest)) == ([0, 1], [2])
    assert metrics.ended() == [(FETCH, Outcome.OK)] * 2 + [(ACK, Outcome.OK)]
    sizes = [(size.messages, size.bytes) for size in metrics.pages() if size]
    assert sizes == [(2, 10_000), (1, 5_000)]
    assert {outcome for _, outcome in metrics.stored()} == {OK}
    made = [operation for operation, _ in metrics.stored()]
    assert (made.count(UPDATE), made.count(DELETE)) == (1, 1)
    units = [call.read_units for call in metrics.store_calls if call.operation is QUERY]
    # 1 unit for each 4 KB of a Query; DynamoDB Local counts a Query of nothing as one.
    assert sum(units) >= 15_000 // 4_096
    (update,) = [call for call in metrics.store_calls if call.operation is UPDATE]
    (delete,) = [call for call in metrics.store_calls if call.operation is DELETE]
    assert (update.read_units, update.write_units) == (0, 1)
    assert delete.write_units >= 15
    assert metrics.reasons == []


@pytest.mark.parametrize("fault", ids(THROTTLING))
async def test_a_throttled_attempt_that_is_repeated_is_counted(
    faulty: Faulty, fault: Fault
) -> None:
    """Nobody else notices it: the fetch succeeds (G9)."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)

    def sample(name: str, **labels: str) -> float:
        found = registry.get_sample_value(name, labels)
        assert found is not None
        return found

    await faulty.mailbox_table.deliver_offsets(0)
    async with open_mailboxes(table=faulty.table, attempts=2, metrics=metrics) as mailboxes:
        assert sample("poste_reader_store_calls_limit") == 200
        faulty.apply_fault(fault, "Query")
        assert offsets(await mailboxes.fetch("bob")) == [0]
        assert faulty.endpoint.injected == {(fault, "Query"): 1}
    throttles = [
        found.value
        for family in registry.collect()
        for found in family.samples
        if found.name == "poste_reader_store_throttles_total" and found.value
    ]
    assert throttles == [1]
    assert sample("poste_reader_calls_total", operation="fetch", outcome="ok") == 1
    throttled = {"operation": "Query", "outcome": "throttled"}
    assert sample("poste_reader_store_calls_total", **throttled) == 0
    assert sample("poste_reader_store_calls_limit") == 0  # closed


async def test_mailboxes_that_cannot_be_opened_are_closed(faulty: Faulty) -> None:
    """The call that failed is reported; their connections count no more (G9)."""
    metrics = RecordedMetrics()
    faulty.apply_fault(Fault.ACCESS_DENIED, "Query")
    with pytest.raises(MailboxError):
        await open_mailboxes(table=faulty.table, metrics=metrics).__aenter__()
    assert metrics.stored() == [(QUERY, StoreOutcome.REFUSED)]
    assert metrics.loads == []


#: Faults of one attempt, and the outcome of the call that meets them.
OUTCOMES = {
    Fault.PROVISIONED_THROUGHPUT: Outcome.THROTTLED,
    Fault.UNAVAILABLE: Outcome.UNAVAILABLE,
    Fault.CUT_BEFORE: Outcome.UNAVAILABLE,
    Fault.SLOW: Outcome.UNAVAILABLE,
    Fault.TRUNCATED: Outcome.UNAVAILABLE,
    Fault.MISSHAPEN: Outcome.UNAVAILABLE,
    Fault.NO_TABLE: Outcome.TABLE_MISMATCH,
    Fault.ACCESS_DENIED: Outcome.REFUSED,
}


@pytest.mark.parametrize("fault", ids(list(OUTCOMES)))
async def test_a_fetch_and_an_ack_are_reported_with_their_outcomes(
    faulty: Faulty, fault: Fault
) -> None:
    """As their errors have it; the call to DynamoDB beside them (G9)."""
    metrics = RecordedMetrics()
    await faulty.mailbox_table.deliver_offsets(0)
    async with open_mailboxes(
        table=faulty.table, attempts=1, timeout_s=timeout_s(fault), metrics=metrics
    ) as mailboxes:
        receipt = (await mailboxes.fetch("bob")).receipt
        metrics.forget()
        for operation in ("Query", "UpdateItem"):
            faulty.apply_fault(fault, operation)
            with pytest.raises(MailboxError):
                await (
                    mailboxes.fetch("bob")
                    if operation == "Query"
                    else mailboxes.ack("bob", receipt)
                )
    outcome = OUTCOMES[fault]
    assert metrics.ended() == [(FETCH, outcome), (ACK, outcome)]
    stored = StoreOutcome(outcome)
    assert metrics.stored() == [(QUERY, stored), (UPDATE, stored)]
    assert len(metrics.reasons) == (2 if outcome is Outcome.THROTTLED else 0)
    assert metrics.loads == []
