"""The contract of Mailboxes, on the fake table and on DynamoDB Local: failures, cancellation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
    StoreUnavailable,
    TableMismatch,
    UnreadableItem,
)
from poste_restante.item import encode_bundle
from poste_restante.mailboxes import Mailboxes
from poste_restante.position import LogId
from poste_restante.table import TableRecord
from tests.faults import (
    Answer,
    Fault,
    answer_broken_off,
    answer_empty,
    answer_lost,
    answer_misshapen,
    answers,
    not_reached,
    refuses,
)
from tests.mailbox_table import RECORD, MailboxTable, offsets, pass_on
from tests.records import TOPIC, message
from tests.tables import KINDS, open_table

LOG = LogId(1, 3)


@pytest.fixture(params=KINDS)
async def mailbox_table(
    request: pytest.FixtureRequest, table_name: str
) -> AsyncIterator[MailboxTable]:
    async with open_table(request, table_name) as client:
        mailbox_table = MailboxTable(client, table_name)
        await mailbox_table.open()
        yield mailbox_table


class StalledError:
    """A call that stands still, before it is made or after, until it is cancelled."""

    def __init__(self, *, made: bool) -> None:
        self.made = made
        self.reached = asyncio.Event()

    async def __call__(self, make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
        if self.made:
            await make(**arguments)
        self.reached.set()
        await asyncio.Event().wait()
        raise AssertionError("woken up")


async def cancelled_at(
    mailbox_table: MailboxTable,
    work: Callable[[], Coroutine[Any, Any, None]],
    nth: int,
    *,
    made: bool,
) -> bool:
    """Cancel some work in its nth call. False: it has fewer calls, and was done."""
    still = StalledError(made=made)
    mailbox_table.client.faults = [*[pass_on] * nth, still]
    task = asyncio.create_task(work())
    reached = asyncio.ensure_future(still.reached.wait())
    async with asyncio.timeout(30):
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        stopped = not task.done()
        task.cancel()
        await asyncio.wait({task})
    mailbox_table.client.faults = []
    assert task.cancelled() is stopped
    return stopped


async def filled(mailbox_table: MailboxTable, user_id: str) -> None:
    """30 bundles in each of two partitions: an ack of two updates, three Queries, four deletes."""
    for partition in (1, 2):
        await mailbox_table.put(*(encode_bundle([message(n, user_id, partition=partition)], TOPIC)
                           for n in range(30)))  # fmt: skip


@pytest.mark.parametrize("made", [False, True])
async def test_a_fetch_can_be_cancelled_anywhere(mailbox_table: MailboxTable, made: bool) -> None:
    """Nothing changes by it, and no call is left under way (G1, G2)."""
    await filled(mailbox_table, "bob")
    before = await mailbox_table.items()
    after = await mailbox_table.receipt(limit=7)

    async def fetch() -> None:
        await mailbox_table.mailboxes.fetch("bob", limit=7, after=after)

    for nth in range(10):
        mailbox_table.mailboxes = mailbox_table.reader()  # which has not seen the table record
        if not await cancelled_at(mailbox_table, fetch, nth, made=made):
            break
        assert await mailbox_table.items() == before
        assert offsets(await mailbox_table.mailboxes.fetch("bob", limit=3, after=after)) == [
            7,
            8,
            9,
        ]
    assert nth == 3


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("nth", range(10))
async def test_an_ack_can_be_cancelled_anywhere(
    mailbox_table: MailboxTable, made: bool, nth: int
) -> None:
    """What is deleted is below the cursor; the rest is still there, and can be acked (G1, G4)."""
    await filled(mailbox_table, "bob")
    mailbox_table.mailboxes = mailbox_table.reader(delete_acknowledged=True)
    receipt = await mailbox_table.receipt()
    stopped = await cancelled_at(
        mailbox_table, lambda: mailbox_table.mailboxes.ack("bob", receipt), nth, made=made
    )
    assert stopped == (nth < 9)
    assert mailbox_table.client.in_flight == 0

    raised = await mailbox_table.cursor()
    visible = {each.position for each in (await mailbox_table.mailboxes.fetch("bob")).messages}
    assert visible == {
        (*log, n) for log in (LogId(1, 1), LogId(1, 2)) if log not in raised for n in range(30)
    }
    assert len(await mailbox_table.bundles()) == 60 or len(raised) == 2
    await mailbox_table.mailboxes.ack("bob", receipt)
    assert await mailbox_table.unread() == []
    assert (await mailbox_table.mailboxes.fetch("bob")).messages == ()


@pytest.mark.parametrize(
    ("fault", "throttled"),
    [
        (refuses("ProvisionedThroughputExceededException"), True),
        (refuses("ThrottlingException"), True),
        (refuses("RequestLimitExceeded"), True),
        (refuses("InternalServerError", status=500), False),
        (refuses("503", status=503), False),
        (refuses("429", status=429), False),
        (refuses("400", '{"__type":"com.amaz'), False),  # cut off on the way
        (not_reached, False),
        (answer_lost, False),
        (answer_broken_off, False),
        (answer_empty, False),
        (answer_misshapen, False),
        (answers({"Items": None}), False),
        (answers({"Items": {"a": 1}}), False),
        (answers({"Items": [{}]}), False),
        (answers({"Items": [{"position": {"N": "1"}}]}), False),
        (answers({"Items": [{"position": {"S": "b"}}, {"position": {"S": "a"}}]}), False),
        (answers({"Items": [], "LastEvaluatedKey": "?"}), False),
        (answers({"Items": [], "LastEvaluatedKey": {"position": {"S": "9"}}}), False),
        (answers({"Items": [{"position": {"S": "b"}}],
                  "LastEvaluatedKey": {"position": {"S": "a"}}}), False),
    ],
)  # fmt: skip
async def test_a_store_that_is_away_is_said(
    mailbox_table: MailboxTable, fault: Fault, throttled: bool
) -> None:
    """At the table record, the cursor or the items; the next fetch is whole (G1, G4, G9)."""
    await mailbox_table.deliver_offsets(1)
    await mailbox_table.deliver_offsets(2)
    after = await mailbox_table.receipt(limit=1)
    for nth in range(3):
        mailbox_table.mailboxes = mailbox_table.reader()
        mailbox_table.client.faults = [pass_on] * nth + [fault]
        with pytest.raises(StoreUnavailable) as caught:
            await mailbox_table.mailboxes.fetch("bob", after=after)

        assert caught.value.throttled is throttled
        assert "hello" not in str(caught.value)
        assert offsets(await mailbox_table.mailboxes.fetch("bob", after=after)) == [2]


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnrecognizedClientException", "New"])
async def test_any_other_refusal_is_the_operators(mailbox_table: MailboxTable, code: str) -> None:
    """Trying again would not help (G9)."""
    mailbox_table.client.on["query"] = [refuses(code, "not you")] * 2
    with pytest.raises(MailboxError, match="not you") as caught:
        await mailbox_table.mailboxes.fetch("bob")
    assert type(caught.value) is MailboxError


async def test_a_store_that_does_not_go_on_is_not_followed_for_ever(
    mailbox_table: MailboxTable,
) -> None:
    """An answer that ends where the one before ended (G8)."""
    await mailbox_table.deliver_offsets(1)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
    cursor, _ = await mailbox_table.items()
    again = {"Items": [cursor], "LastEvaluatedKey": {n: cursor[n] for n in ("user_id", "position")}}
    mailbox_table.client.on["query"] = [answers(again)] * 100
    with pytest.raises(StoreUnavailable, match="out of order"):
        await mailbox_table.mailboxes.fetch("bob")
    assert len(mailbox_table.client.on["query"]) == 98


async def test_an_item_that_could_not_be_read_is_read_again(mailbox_table: MailboxTable) -> None:
    """From the store, where it may have been mended meanwhile (G10)."""
    good = encode_bundle([message(2)], TOPIC)
    await mailbox_table.deliver_offsets(1)
    await mailbox_table.deliver_offsets(3)
    await mailbox_table.put(good | {"v": {"N": "99"}})
    page = await mailbox_table.mailboxes.fetch("bob", limit=5)
    assert (offsets(page), page.more) == ([1], True)
    await mailbox_table.put(good)

    assert offsets(await mailbox_table.mailboxes.fetch("bob", limit=5, after=page.receipt)) == [
        2,
        3,
    ]


async def test_a_damaged_cursor_is_not_taken_for_none(mailbox_table: MailboxTable) -> None:
    """What was acknowledged would come back (G4)."""
    await mailbox_table.deliver_offsets(1)
    await mailbox_table.put(
        {"user_id": {"S": "bob"}, "position": {"S": "!"}, "0001.00003": {"S": "1"}}
    )
    for work in (
        mailbox_table.mailboxes.fetch("bob"),
        mailbox_table.mailboxes.fetch("bob", device="phone"),
    ):
        with pytest.raises(MailboxError, match="cursor cannot be read"):
            await work


async def test_a_replaced_table_is_noticed_within_a_minute(mailbox_table: MailboxTable) -> None:
    """By fetch and ack, until it is opened again (G6)."""
    await mailbox_table.deliver_offsets(1)
    receipt = await mailbox_table.receipt()
    await mailbox_table.open(TableRecord(table_id="other", topic=TOPIC, partitions=12, epoch=1))
    mailbox_table.now_s += 59
    assert offsets(await mailbox_table.mailboxes.fetch("bob")) == [1]

    mailbox_table.now_s += 1
    for _ in range(2):
        with pytest.raises(TableMismatch, match="replaced"):
            await mailbox_table.mailboxes.fetch("bob")
        with pytest.raises(TableMismatch, match="replaced"):
            await mailbox_table.mailboxes.ack("bob", receipt)
    assert await mailbox_table.bundles() == [(1, 1)]
    with pytest.raises(InvalidReceipt, match="another mailbox or table"):
        await mailbox_table.reader().ack("bob", receipt)


async def test_a_moved_epoch_is_no_other_table(mailbox_table: MailboxTable) -> None:
    """`poste epoch` may be used under readers at work (G4)."""
    receipt_before = await mailbox_table.mailboxes.fetch("bob")
    assert receipt_before.receipt is None
    await mailbox_table.open(
        TableRecord(table_id=RECORD.table_id, topic=TOPIC, partitions=24, epoch=2)
    )
    mailbox_table.now_s += 100
    await mailbox_table.deliver_offsets(1, epoch=2)

    assert offsets(await mailbox_table.mailboxes.fetch("bob")) == [1]


async def test_a_table_that_is_missing_or_not_ours_is_said(
    mailbox_table: MailboxTable, table_name: str
) -> None:
    """With what to do about it (G9)."""
    missing = Mailboxes(mailbox_table.client, table=f"no-{table_name}")
    with pytest.raises(TableMismatch, match="poste init"):
        await missing.fetch("bob")
    await mailbox_table.put(RECORD.encode() | {"v": {"N": "2"}})
    with pytest.raises(TableMismatch, match="format version 2, not 1"):
        await mailbox_table.mailboxes.fetch("bob")
    key = {name: RECORD.encode()[name] for name in ("user_id", "position")}
    await mailbox_table.store.batch_write_item(
        RequestItems={table_name: [{"DeleteRequest": {"Key": key}}]}
    )
    with pytest.raises(TableMismatch, match="poste init"):
        await mailbox_table.mailboxes.fetch("bob")


async def test_the_way_past_an_unreadable_item_is_bound_to_its_mailbox(
    mailbox_table: MailboxTable,
) -> None:
    """As every receipt (G6)."""
    await mailbox_table.put({"user_id": {"S": "bob"}, "position": {"S": "later"}})
    with pytest.raises(UnreadableItem) as caught:
        await mailbox_table.mailboxes.fetch("bob")
    with pytest.raises(InvalidReceipt):
        await mailbox_table.mailboxes.fetch("ann", after=caught.value.after)

    page = await mailbox_table.mailboxes.fetch("bob", after=caught.value.after)
    assert (page.messages, page.more) == ((), False)
