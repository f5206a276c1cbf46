"""What a load costs: calls, items, bytes and write units, counted and never timed.

The figures stand here. A change that alters one says so, and why it is worth it.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from benchmarks.endpoint import Counted, Recorder, serving
from benchmarks.loads import batches, each_to_another, one_hot_user, skewed
from benchmarks.write_path import flush_all, flusher, worker_writer
from poste_restante.item import encode_bundle, item_bytes
from tests.faults import Answer
from tests.mailbox_table import RECORD, MailboxTable, ReaderClient
from tests.records import TOPIC, MadeRecord, message
from tests.store_client import store_on
from tests.tables import KINDS, open_table
from worker.assignment import Assignment
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.progress import Progress

#: Of bodies of 300 bytes. bytes: of the calls' bodies.
COSTS = {
    each_to_another: Counted(calls=80, items=2_000, bytes=1_376_120, write_units=2_000),
    skewed: Counted(calls=28, items=518, bytes=1_085_466, write_units=979),
    one_hot_user: Counted(calls=20, items=20, bytes=989_430, write_units=660),
}


@pytest.mark.parametrize(("load", "cost"), COSTS.items(), ids=[load.__name__ for load in COSTS])
async def test_two_thousand_messages_cost_what_they_did(
    load: Callable[[int], Sequence[bytes]], cost: Counted
) -> None:
    """Nothing is read, nothing else is called, nothing is written twice (G8)."""
    recorder = Recorder()
    async with serving(recorder) as address, AsyncExitStack() as stack:
        await flush_all(flusher(await worker_writer(stack, address)), batches(load(2_000)))

    assert recorder.calls == {"BatchWriteItem": cost}


class Meter(ReaderClient):
    """Sums the capacity that a reader's calls consume, as their answers say it."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.units: Counter[str] = Counter()
        self.bytes = 0

    async def _call(self, operation: str, arguments: Answer) -> Answer:
        answer = await super()._call(operation, arguments | {"ReturnConsumedCapacity": "TOTAL"})
        consumed = answer["ConsumedCapacity"]
        for table in consumed if isinstance(consumed, list) else [consumed]:
            self.units[operation] += table.get("CapacityUnits", 0.0)
        self.bytes += sum(map(item_bytes, answer.get("Items", ())))
        return answer

    def reset(self) -> None:
        self.units.clear()
        self.calls.clear()
        self.bytes = 0


class MeteredMailboxTable(MailboxTable):
    """A post metered whose reader's calls are metered, and has looked at the table record."""

    meter: Meter

    async def begin(self) -> None:
        self.client = self.meter = Meter(self.store)
        self.mailboxes = self.reader()
        await self.mailboxes.fetch("ann")
        self.meter.reset()

    def asked(self) -> dict[str, tuple[int, float]]:
        """Calls and units of each operation since this was last called."""
        calls = Counter(self.meter.made())
        found = {name: (calls[name], float(self.meter.units[name])) for name in calls}
        self.meter.reset()
        return found


@pytest.fixture(params=KINDS)
async def metered(
    request: pytest.FixtureRequest, table_name: str
) -> AsyncIterator[MeteredMailboxTable]:
    async with open_table(request, table_name) as client:
        metered = MeteredMailboxTable(client, table_name)
        await metered.open()
        yield metered


async def test_what_an_acknowledgement_costs(metered: MeteredMailboxTable) -> None:
    """One update: what was acknowledged is left to TTL, and skipped (G6, G7)."""
    await metered.deliver(message(1, body=b"x" * 300))
    await metered.deliver(message(2, body=b"x" * 3_000))
    await metered.begin()
    page = await metered.mailboxes.fetch("bob")
    assert metered.asked() == {"query": (2, 1.0)}  # both; behind them
    await metered.mailboxes.ack("bob", page.receipt)
    assert metered.asked() == {"update_item": (1, 1.0)}

    empty = await metered.mailboxes.fetch("bob")
    assert metered.asked() == {"query": (2, 1.0)}  # the cursor and a bundle; behind both
    await metered.mailboxes.ack("bob", empty.receipt)
    assert metered.asked() == {}

    for offset in range(3, 33):
        await metered.deliver_offsets(offset)
    page = await metered.mailboxes.fetch("bob")
    await metered.mailboxes.ack("bob", page.receipt)
    assert metered.asked() == {"query": (2, 2.0), "update_item": (1, 1.0)}


async def test_what_deleting_with_an_acknowledgement_costs(metered: MeteredMailboxTable) -> None:
    """Of each bundle its size again; 25 deletes are a call (G6, G7)."""
    await metered.deliver(message(1, body=b"x" * 300))
    await metered.deliver(message(2, body=b"x" * 3_000))
    for offset in range(3, 33):
        await metered.deliver_offsets(offset)
    await metered.begin()
    metered.mailboxes = metered.reader(delete_acknowledged=True)
    page = await metered.mailboxes.fetch("bob")
    metered.asked()
    await metered.mailboxes.ack("bob", page.receipt)

    asked = metered.asked()
    assert asked.pop("query")[0] == 2  # the cursors, and the keys of what they have passed
    assert asked == {"update_item": (1, 1.0), "batch_write_item": (2, 1.0 + 4.0 + 30.0)}


async def test_what_draining_a_deep_mailbox_costs(metered: MeteredMailboxTable) -> None:
    """10 MB of full bundles in pages of 100 messages, each page acknowledged (G7, G8)."""
    bundles, messages = 160, 50
    body = b"x" * 1_250
    items = [
        encode_bundle([message(n * messages + m, body=body) for m in range(messages)], TOPIC)
        for n in range(bundles)
    ]
    await metered.put(*items)
    await metered.begin()
    pages, more, read = 0, True, 0
    while more:
        page = await metered.mailboxes.fetch("bob", limit=100)
        await metered.mailboxes.ack("bob", page.receipt)
        pages, more, read = pages + 1, page.more, read + len(page.messages)

    stored = sum(map(item_bytes, items))
    assert (pages, read, stored) == (80, bundles * messages, 10_107_385)
    # The rest: the cursor, with each page, and a bundle that it hides.
    assert metered.meter.bytes == 15_096_304
    asked = metered.asked()
    queries, units = asked.pop("query")
    assert queries == 99
    # DynamoDB Local's size of a number is not to the byte that of the developer guide.
    assert units == pytest.approx(3_744, abs=1)
    assert asked == {"update_item": (80, 80.0)}


async def test_only_a_partition_that_moved_writes_progress(metered: MeteredMailboxTable) -> None:
    """One unit for each, once a commit interval; an idle worker's commits write nothing (G8)."""
    await metered.begin()
    progress = DynamoDBProgress(store_on(metered.meter), metered.table, TOPIC)
    begin = Progress(table_id=RECORD.table_id, epoch=1, next=7, origin=0, written_at_ms=0)
    assignment = Assignment(range(8))
    for partition in range(8):
        assignment.open(partition, 7, await progress.create(partition, begin))
    metered.meter.reset()

    async def commit() -> None:
        """As the consumer does."""
        for task in assignment.to_commit():
            task.stored = await progress.advance(task.partition, task.stored, task.progress(1))
            task.confirm(task.durable)

    await commit()
    assert metered.asked() == {}
    for partition in (2, 5):
        assignment.add(partition, [MadeRecord(offset=7, partition=partition)], caught_up=True)
    for batch in assignment.cut():
        with batch:
            pass
    await commit()
    assert metered.asked() == {"update_item": (2, 2.0)}
    await commit()
    assert metered.asked() == {}
