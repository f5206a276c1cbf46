"""Deep mailboxes, on the fake table and on DynamoDB Local: what draining one reads."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from poste_restante.item import Item, encode_bundle, item_bytes
from poste_restante.position import LogId
from tests.fake_table import InMemoryTable
from tests.faults import Answer
from tests.mailbox_table import MailboxTable, ReaderClient, as_opened, offsets
from tests.records import TOPIC, message
from tests.tables import KINDS, open_table

#: A mailbox of 4 MB, so of several Queries (1 MB each): bundles of 50 messages, as full as a writer
#: makes them (64 KiB).
BUNDLES, BUNDLE_MESSAGES, BODY = 64, 50, b"x" * 1_250
#: Messages of one page, which is two bundles.
LIMIT = 100
#: What the cursor's Queries read besides, a page: one unit of 4 KB each.
PAGES = BUNDLES * BUNDLE_MESSAGES // LIMIT
READ_UNIT_BYTES = 4096


class MeteredClient(ReaderClient):
    """Sums the read units that Queries consume."""

    units = 0.0

    async def _call(self, operation: str, arguments: Answer) -> Answer:
        if operation != "query":
            return await super()._call(operation, arguments)
        answer = await super()._call(operation, arguments | {"ReturnConsumedCapacity": "TOTAL"})
        self.units += answer["ConsumedCapacity"]["CapacityUnits"]
        return answer


class DeepMailbox(MailboxTable):
    """bytes: of all bundles."""

    client: MeteredClient
    bytes = 0

    def __init__(self, client: Any, table: str) -> None:
        super().__init__(client, table)
        self.client = MeteredClient(as_opened(client))
        self.mailboxes = self.reader()

    async def fill(self, bundles: int = BUNDLES, *, shift: int = 0) -> None:
        items = [bundle(n * BUNDLE_MESSAGES + shift) for n in range(bundles)]
        self.bytes = sum(map(item_bytes, items))
        await self.put(*items)
        await self.mailboxes.fetch("ann")
        self.client.units = 0.0

    @property
    def read_bytes(self) -> float:
        return self.client.units * READ_UNIT_BYTES


def bundle(first: int) -> Item:
    return encode_bundle([message(first + n, body=BODY) for n in range(BUNDLE_MESSAGES)], TOPIC)


@pytest.fixture(params=KINDS)
async def deep(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[DeepMailbox]:
    async with open_table(request, table_name) as client:
        mailbox_table = DeepMailbox(client, table_name)
        await mailbox_table.open()
        yield mailbox_table


async def acknowledging(deep: DeepMailbox) -> list[int]:
    """Fetch, acknowledge, fetch, ..."""
    found: list[int] = []
    more = True
    while more:
        page = await deep.mailboxes.fetch("bob", limit=LIMIT)
        found += offsets(page)
        more = page.more
        await deep.mailboxes.ack("bob", page.receipt)
    assert await deep.unread() == []
    return found


async def going_on(deep: DeepMailbox) -> list[int]:
    """Each page behind the one before; acknowledged at the end."""
    return [n async for page in deep.mailboxes.pages("bob", limit=LIMIT) for n in offsets(page)]


@pytest.mark.parametrize("shift", [0, 7], ids=["pages end with bundles", "pages end within"])
@pytest.mark.parametrize(("drain", "read_max"), [(acknowledging, 1.6), (going_on, 1.1)])
async def test_draining_a_deep_mailbox_reads_it_once(
    deep: DeepMailbox,
    drain: Callable[[DeepMailbox], Awaitable[list[int]]],
    read_max: float,
    shift: int,
) -> None:
    """4 MB in pages of 100 messages: 4 MB, and the cursor with each page (G7, G8).

    Where each page is acknowledged, a bundle that the cursor hides comes with it.
    """
    await deep.fill(shift=shift)
    if shift:
        first = await deep.mailboxes.fetch("bob", limit=shift)
        await deep.mailboxes.ack("bob", first.receipt)
    found = await drain(deep)

    assert found == list(range(2 * shift, BUNDLES * BUNDLE_MESSAGES + shift))
    assert deep.bytes > 4_000_000
    # Of 1 MB that a Query brings the last bundle may be cut by the page, and none is read twice.
    assert deep.read_bytes < read_max * deep.bytes
    assert len(deep.client.made()) < 4 * PAGES


async def test_messages_that_come_while_it_is_drained_are_in_the_next_pages(
    deep: DeepMailbox,
) -> None:
    """Behind what was read ahead, in another log before it, and in a replay's bundle (G2, G5)."""
    await deep.fill(8)
    page = await deep.mailboxes.fetch("bob", limit=60)
    await deep.mailboxes.ack("bob", page.receipt)
    await deep.deliver_offsets(5, partition=1)  # sorts before all of it
    await deep.deliver_offsets(*range(100, 110))  # cuts a bundle that was read ahead
    await deep.deliver_offsets(400)
    page = await deep.mailboxes.fetch("bob", limit=60)
    assert offsets(page) == [5, *range(60, 119)]

    await deep.mailboxes.ack("bob", page.receipt)
    found = []
    async for page in deep.mailboxes.pages("bob", limit=60):
        found += offsets(page)
    assert found == list(range(119, 401))


async def test_what_another_device_acknowledged_does_not_come_from_what_was_read_ahead(
    deep: DeepMailbox,
) -> None:
    """The cursor is read with every page (G4)."""
    await deep.fill(8)
    first = await deep.mailboxes.fetch("bob", limit=60)
    other = await deep.reader().fetch("bob", limit=250)
    await deep.mailboxes.ack("bob", other.receipt)

    assert offsets(await deep.mailboxes.fetch("bob", limit=10)) == list(range(250, 260))
    behind = await deep.mailboxes.fetch("bob", limit=10, after=first.receipt)
    assert offsets(behind) == list(range(250, 260))


async def test_a_page_that_is_not_acknowledged_comes_again(deep: DeepMailbox) -> None:
    """Whatever was read ahead of it (G1)."""
    await deep.fill(4)
    for _ in range(3):
        assert offsets(await deep.mailboxes.fetch("bob", limit=60)) == list(range(60))
    page = await deep.mailboxes.fetch("bob", limit=60)
    for _ in range(3):
        behind = await deep.mailboxes.fetch("bob", limit=60, after=page.receipt)
        assert offsets(behind) == list(range(60, 120))
    assert offsets(await deep.mailboxes.fetch("bob")) == list(range(200))


async def test_a_page_without_a_limit_is_one_query_whatever_was_read_ahead(
    deep: DeepMailbox,
) -> None:
    """No larger than any other reader's (G7, G8)."""
    await deep.fill(40)
    await deep.mailboxes.fetch("bob", limit=60)
    deep.client.units = 0.0
    page = await deep.mailboxes.fetch("bob")

    assert offsets(page) == offsets(await deep.reader().fetch("bob"))
    assert page.more


@pytest.mark.parametrize("limit", [None, 100])
async def test_mail_behind_a_month_of_acknowledged_mail_costs_two_queries(
    deep: DeepMailbox, limit: int | None
) -> None:
    """However much it is: what the cursor hides is skipped, not read (G7)."""
    on_the_fake = isinstance(deep.store, InMemoryTable)
    count = 100_000 if on_the_fake and limit is None else 2_000
    items = (encode_bundle([message(n, body=b"x" * 300)], TOPIC) for n in range(count + 1))
    if isinstance(deep.store, InMemoryTable):
        deep.store.items |= {("bob", item["position"]["S"]): item for item in items}
    else:
        await deep.put(*items)
    await deep.mailboxes.fetch("ann")
    await deep.put(
        {"user_id": {"S": "bob"}, "position": {"S": "!"}, "0001.00003": {"N": str(count - 1)}}
    )
    deep.client.units = 0.0
    deep.client.calls.clear()
    page = await deep.mailboxes.fetch("bob", limit=limit)

    assert (offsets(page), page.more) == ([count], False)
    assert deep.client.made() == ["query", "query"]
    assert deep.client.units <= 2.0


@pytest.mark.parametrize("limit", [None, 7, 100])
async def test_leftovers_of_many_logs_cost_a_query_each(
    deep: DeepMailbox, limit: int | None
) -> None:
    """Few of them are read, wherever mail waits (G2, G3, G7)."""
    logs = [LogId(1, 1), LogId(1, 4), LogId(2, 1), LogId(2, 6)]
    items = [
        encode_bundle([message(n, epoch=log.epoch, partition=log.partition)], TOPIC)
        for log in logs
        for n in range(60)
    ]
    await deep.put(*items)
    cursor = {log.encode(): {"N": "59" if log.partition == 1 else "56"} for log in logs}
    await deep.put({"user_id": {"S": "bob"}, "position": {"S": "!"}, **cursor})
    await deep.mailboxes.fetch("ann")
    deep.client.units = 0.0
    deep.client.calls.clear()
    found = [
        each.position
        async for page in deep.mailboxes.pages("bob", limit=limit)
        for each in page.messages
    ]

    assert found == [
        (1, 4, 57), (1, 4, 58), (1, 4, 59), (2, 6, 57), (2, 6, 58), (2, 6, 59),
    ]  # fmt: skip
    assert len(deep.client.made()) <= 8
    assert deep.client.units <= 10.0
