"""The worker's own client against every fault: what it makes of it, and what the table holds."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from poste_restante.position import progress_key
from tests.bundles import bundle_of
from tests.contract.faulty import (
    LASTING,
    MADE,
    PASSING,
    SILENT_TIMEOUT_S,
    THROTTLING,
    Faulty,
    Waited,
    ids,
    rounds,
    timeout_s,
)
from tests.fault_proxy import Fault, FaultyEndpoint, Landing, assert_met
from tests.mailbox_table import RECORD
from tests.records import TOPIC, message
from worker.bundles import Bundle
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.errors import ItemRefused, OperatorError, WorkerError
from worker.mailbox_writer import Rejected
from worker.progress import Progress
from worker.record import Fingerprint

WRITE = "BatchWriteItem"
PROGRESS_CALLS = ("GetItem", "PutItem", "UpdateItem")
#: Bundles of one write.
THREE = [(0, 0), (1, 1), (2, 2)]
FIRST = Progress(table_id=RECORD.table_id, epoch=1, next=100, origin=100, written_at_ms=1)
NEXT = replace(FIRST, next=250, last=Fingerprint(5, 6), group=100, written_at_ms=2)

#: What the worker logs that it waits for.
WHY = dict.fromkeys(THROTTLING, "throttled") | {
    Fault.UNPROCESSED: "unprocessed",
    Fault.INTERNAL_ERROR: "HTTP 500",
    Fault.UNAVAILABLE: "HTTP 503",
}


def bundles(user_id: str) -> list[Bundle]:
    return [bundle_of(message(offset, user_id)) for offset in range(3)]


@pytest.mark.parametrize("fault", ids([Fault.UNPROCESSED, *PASSING]))
async def test_a_write_waits_for_what_passes(faulty: Faulty, fault: Fault) -> None:
    """And is whole when it returns, whether the first attempt was made or not (G1, G9)."""
    at_the_wait: set[int] = set()
    waited = Waited()
    async with faulty.store(waited, timeout_s=timeout_s(fault)) as store:
        writer = DynamoDBWriter(store, faulty.table)
        for number in rounds(fault):
            user = f"user-{number}"

            async def look(user: str = user) -> None:
                at_the_wait.add(len(await faulty.mailbox_table.bundles(user)))

            waited.whys, waited.then = [], look
            faulty.apply_fault(fault, WRITE)
            assert await writer.write(bundles(user)) == []

            assert await faulty.mailbox_table.bundles(user) == THREE
            assert len(waited.whys) >= 1
            assert WHY.get(fault, "") in waited.whys[0]
            assert "hello" not in "".join(waited.whys)
    faulty.endpoint.flush()
    assert_met(faulty.endpoint, [(fault, WRITE)])
    assert faulty.endpoint.injected[fault, WRITE] == len(rounds(fault))
    for number in rounds(fault):
        assert await faulty.mailbox_table.bundles(f"user-{number}") == THREE

    if fault is Fault.UNPROCESSED:
        assert at_the_wait <= {0, 1, 2}
    elif fault in MADE:
        assert at_the_wait == {3 if MADE[fault] else 0}
    else:
        assert at_the_wait == {0, 3}


async def test_a_late_write_lands_after_its_retry(faulty: Faulty) -> None:
    """Also behind the delete that an acknowledgement makes: DynamoDB has no order (G4)."""
    landed_later = 0
    async with faulty.store() as store:
        writer = DynamoDBWriter(store, faulty.table)
        for number in range(6):
            user = f"user-{number}"
            faulty.apply_fault(Fault.LATE, WRITE)
            await writer.write(bundles(user))
            assert await faulty.mailbox_table.bundles(user) == THREE
            await empty(faulty, user)
            faulty.endpoint.flush()
            assert faulty.endpoint.landed == {Landing.RETRIED: number + 1}
            found = await faulty.mailbox_table.bundles(user)
            assert set(found) <= set(THREE)  # a batch is not atomic: one beside it meets a part
            landed_later += len(found) > 0
    assert landed_later > 0


async def empty(faulty: Faulty, user: str) -> None:
    requests = [
        {"DeleteRequest": {"Key": {n: item[n] for n in ("user_id", "position")}}}
        for item in await faulty.mailbox_table.items(user)
    ]
    await faulty.mailbox_table.store.batch_write_item(RequestItems={faulty.table: requests})


@pytest.mark.parametrize(
    ("begin", "finish"),
    [
        (FaultyEndpoint.outage, FaultyEndpoint.restored),
        (FaultyEndpoint.hang, FaultyEndpoint.resume),
    ],
    ids=["outage", "hang"],
)
async def test_an_outage_and_a_hanging_store_are_waited_for(
    faulty: Faulty,
    begin: Callable[[FaultyEndpoint], None],
    finish: Callable[[FaultyEndpoint], None],
) -> None:
    """Nobody listens, or somebody who does not answer, until that ends (G1)."""
    waited = Waited()

    async def ends() -> None:
        if len(waited.whys) == 2:
            finish(faulty.endpoint)

    waited.then = ends
    begin(faulty.endpoint)
    async with faulty.store(waited, timeout_s=SILENT_TIMEOUT_S) as store:
        await DynamoDBWriter(store, faulty.table).write(bundles("bob"))
    assert len(waited.whys) >= 2
    assert all("unreachable" in why for why in waited.whys)
    assert await faulty.mailbox_table.bundles() == THREE


@pytest.mark.parametrize("fault", ids([Fault.NO_TABLE, Fault.ACCESS_DENIED]))
async def test_what_lasts_is_the_operators(faulty: Faulty, fault: Fault) -> None:
    """Never bad input: nothing is written, nothing is a dead letter (G9)."""
    faulty.apply_fault(fault, WRITE, persistent=True)
    async with faulty.store() as store:
        with pytest.raises(OperatorError) as caught:
            await DynamoDBWriter(store, faulty.table).write(bundles("bob"))
    assert faulty.endpoint.injected == {(fault, WRITE): 1}
    expected = "poste init" if fault is Fault.NO_TABLE else "permissions"
    assert expected in str(caught.value)
    assert await faulty.mailbox_table.bundles() == []


async def test_a_rejected_item_is_found_among_others(faulty: Faulty) -> None:
    """Halved until it stands alone; the others are durable (G9)."""
    async with faulty.store() as store:
        writer = DynamoDBWriter(store, faulty.table)
        faulty.endpoint.poison(lambda item: item["position"]["S"].endswith(f"{1:019}"))
        (found,) = await writer.write(bundles("bob"))
        assert isinstance(found, Rejected)
        assert found.bundle == bundles("bob")[1]
        assert faulty.endpoint.injected == {(Fault.REJECTED_ITEM, WRITE): 3}
        assert await faulty.mailbox_table.bundles() == [(0, 0), (2, 2)]

        faulty.endpoint.poison(None)
        assert await writer.write(bundles("bob")) == []
        faulty.apply_fault(Fault.REJECTED_ITEM, WRITE)
        assert await writer.write(bundles("ann")) == []
    assert (
        await faulty.mailbox_table.bundles("bob")
        == await faulty.mailbox_table.bundles("ann")
        == THREE
    )


@pytest.mark.parametrize("fault", ids(PASSING))
async def test_progress_waits_for_what_passes(faulty: Faulty, fault: Fault) -> None:
    """It is made, raised and read as on a day without a fault (G1)."""
    waited = Waited()
    async with faulty.store(waited, timeout_s=timeout_s(fault)) as store:
        progress = DynamoDBProgress(store, faulty.table, TOPIC)
        for number in rounds(fault):
            faulty.apply_fault(fault, "GetItem")
            assert await progress.table() == RECORD
            faulty.apply_fault(fault, "GetItem")
            assert await progress.read(number) is None
            faulty.apply_fault(fault, "PutItem")
            assert await progress.create(number, FIRST) == FIRST
            faulty.apply_fault(fault, "UpdateItem")
            assert await progress.advance(number, FIRST, NEXT) == NEXT
            faulty.apply_fault(fault, "GetItem")
            assert await progress.read(number) == NEXT
    count = len(rounds(fault))
    assert {o: faulty.endpoint.injected[fault, o] for o in PROGRESS_CALLS} == {
        "GetItem": 3 * count, "PutItem": count, "UpdateItem": count,
    }  # fmt: skip
    # The answer to a write of progress says nothing: that it came is enough.
    damaged = fault in {Fault.MISSHAPEN, Fault.TRUNCATED}
    assert len(waited.whys) >= 3 * count if damaged else 5 * count
    # A first attempt that landed late is not above what was stored by then.
    faulty.endpoint.flush()
    for number in rounds(fault):
        (item,) = await faulty.mailbox_table.items_of(progress_key(TOPIC, number))
        assert Progress.decode(item) == NEXT


@pytest.mark.parametrize("fault", ids(LASTING))
async def test_progress_never_waits_for_what_lasts(faulty: Faulty, fault: Fault) -> None:
    """The process ends and says why; nothing is stored (G9)."""
    kind: type[WorkerError] = ItemRefused if fault is Fault.REJECTED_ITEM else OperatorError
    async with faulty.store() as store:
        progress = DynamoDBProgress(store, faulty.table, TOPIC)
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "PutItem": lambda: progress.create(0, FIRST),
            "UpdateItem": lambda: progress.advance(0, FIRST, NEXT),
            "GetItem": lambda: progress.read(0),
        }
        for operation, work in works.items():
            faulty.apply_fault(fault, operation)
            with pytest.raises(kind):
                await work()
            assert faulty.endpoint.injected[fault, operation] == 1
    assert await faulty.mailbox_table.items_of(progress_key(TOPIC, 0)) == []
