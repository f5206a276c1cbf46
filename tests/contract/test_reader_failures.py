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
from tests.postoffice import RECORD, PostOffice, offsets, pass_on
from tests.records import TOPIC, message
from tests.tables import KINDS, open_table

LOG = LogId(1, 3)


@pytest.fixture(params=KINDS)
async def office(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[PostOffice]:
    async with open_table(request, table_name) as client:
        office = PostOffice(client, table_name)
        await office.open()
        yield office


class Standstill:
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
    office: PostOffice, work: Callable[[], Coroutine[Any, Any, None]], nth: int, *, made: bool
) -> bool:
    """Cancel some work in its nth call. False: it has fewer calls, and was done."""
    still = Standstill(made=made)
    office.client.faults = [*[pass_on] * nth, still]
    task = asyncio.create_task(work())
    reached = asyncio.ensure_future(still.reached.wait())
    async with asyncio.timeout(30):
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        stopped = not task.done()
        task.cancel()
        await asyncio.wait({task})
    office.client.faults = []
    assert task.cancelled() is stopped
    return stopped


async def filled(office: PostOffice, user_id: str) -> None:
    """30 bundles in each of two partitions: an ack of two updates, three Queries, four deletes."""
    for partition in (1, 2):
        await office.put(*(encode_bundle([message(n, user_id, partition=partition)], TOPIC)
                           for n in range(30)))  # fmt: skip


@pytest.mark.parametrize("made", [False, True])
async def test_a_fetch_can_be_cancelled_anywhere(office: PostOffice, made: bool) -> None:
    """Nothing changes by it, and no call is left under way (G1, G2)."""
    await filled(office, "bob")
    before = await office.items()
    after = await office.receipt(limit=7)

    async def fetch() -> None:
        await office.mailboxes.fetch("bob", limit=7, after=after)

    for nth in range(10):
        office.mailboxes = office.reader()  # which has not seen the table record
        if not await cancelled_at(office, fetch, nth, made=made):
            break
        assert await office.items() == before
        assert offsets(await office.mailboxes.fetch("bob", limit=3, after=after)) == [7, 8, 9]
    assert nth == 3


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("nth", range(10))
async def test_an_ack_can_be_cancelled_anywhere(office: PostOffice, made: bool, nth: int) -> None:
    """What is deleted is below the cursor; the rest is still there, and can be acked (G1, G4)."""
    await filled(office, "bob")
    office.mailboxes = office.reader(delete_acknowledged=True)
    receipt = await office.receipt()
    stopped = await cancelled_at(
        office, lambda: office.mailboxes.ack("bob", receipt), nth, made=made
    )
    assert stopped == (nth < 9)
    assert office.client.in_flight == 0

    raised = await office.cursor()
    visible = {each.position for each in (await office.mailboxes.fetch("bob")).messages}
    assert visible == {
        (*log, n) for log in (LogId(1, 1), LogId(1, 2)) if log not in raised for n in range(30)
    }
    assert len(await office.bundles()) == 60 or len(raised) == 2
    await office.mailboxes.ack("bob", receipt)
    assert await office.unread() == []
    assert (await office.mailboxes.fetch("bob")).messages == ()


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
    office: PostOffice, fault: Fault, throttled: bool
) -> None:
    """At the table record, the cursor or the items; the next fetch is whole (G1, G4, G9)."""
    await office.deliver_offsets(1)
    await office.deliver_offsets(2)
    after = await office.receipt(limit=1)
    for nth in range(3):
        office.mailboxes = office.reader()
        office.client.faults = [pass_on] * nth + [fault]
        with pytest.raises(StoreUnavailable) as caught:
            await office.mailboxes.fetch("bob", after=after)

        assert caught.value.throttled is throttled
        assert "hello" not in str(caught.value)
        assert offsets(await office.mailboxes.fetch("bob", after=after)) == [2]


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnrecognizedClientException", "New"])
async def test_any_other_refusal_is_the_operators(office: PostOffice, code: str) -> None:
    """Trying again would not help (G9)."""
    office.client.on["query"] = [refuses(code, "not you")] * 2
    with pytest.raises(MailboxError, match="not you") as caught:
        await office.mailboxes.fetch("bob")
    assert type(caught.value) is MailboxError


async def test_a_store_that_does_not_go_on_is_not_followed_for_ever(office: PostOffice) -> None:
    """An answer that ends where the one before ended (G8)."""
    await office.deliver_offsets(1)
    await office.mailboxes.ack("bob", await office.receipt())
    cursor, _ = await office.items()
    again = {"Items": [cursor], "LastEvaluatedKey": {n: cursor[n] for n in ("user_id", "position")}}
    office.client.on["query"] = [answers(again)] * 100
    with pytest.raises(StoreUnavailable, match="out of order"):
        await office.mailboxes.fetch("bob")
    assert len(office.client.on["query"]) == 98


async def test_an_item_that_could_not_be_read_is_read_again(office: PostOffice) -> None:
    """From the store, where it may have been mended meanwhile (G10)."""
    good = encode_bundle([message(2)], TOPIC)
    await office.deliver_offsets(1)
    await office.deliver_offsets(3)
    await office.put(good | {"v": {"N": "99"}})
    page = await office.mailboxes.fetch("bob", limit=5)
    assert (offsets(page), page.more) == ([1], True)
    await office.put(good)

    assert offsets(await office.mailboxes.fetch("bob", limit=5, after=page.receipt)) == [2, 3]


async def test_a_damaged_cursor_is_not_taken_for_none(office: PostOffice) -> None:
    """What was acknowledged would come back (G4)."""
    await office.deliver_offsets(1)
    await office.put({"user_id": {"S": "bob"}, "position": {"S": "!"}, "0001.00003": {"S": "1"}})
    for work in (office.mailboxes.fetch("bob"), office.mailboxes.fetch("bob", device="phone")):
        with pytest.raises(MailboxError, match="cursor cannot be read"):
            await work


async def test_a_replaced_table_is_noticed_within_a_minute(office: PostOffice) -> None:
    """By fetch and ack, until it is opened again (G6)."""
    await office.deliver_offsets(1)
    receipt = await office.receipt()
    await office.open(TableRecord(table_id="other", topic=TOPIC, partitions=12, epoch=1))
    office.now_s += 59
    assert offsets(await office.mailboxes.fetch("bob")) == [1]

    office.now_s += 1
    for _ in range(2):
        with pytest.raises(TableMismatch, match="replaced"):
            await office.mailboxes.fetch("bob")
        with pytest.raises(TableMismatch, match="replaced"):
            await office.mailboxes.ack("bob", receipt)
    assert await office.bundles() == [(1, 1)]
    with pytest.raises(InvalidReceipt, match="another mailbox or table"):
        await office.reader().ack("bob", receipt)


async def test_a_moved_epoch_is_no_other_table(office: PostOffice) -> None:
    """`poste epoch` may be used under readers at work (G4)."""
    receipt_before = await office.mailboxes.fetch("bob")
    assert receipt_before.receipt is None
    await office.open(TableRecord(table_id=RECORD.table_id, topic=TOPIC, partitions=24, epoch=2))
    office.now_s += 100
    await office.deliver_offsets(1, epoch=2)

    assert offsets(await office.mailboxes.fetch("bob")) == [1]


async def test_a_table_that_is_missing_or_not_ours_is_said(
    office: PostOffice, table_name: str
) -> None:
    """With what to do about it (G9)."""
    missing = Mailboxes(office.client, table=f"no-{table_name}")
    with pytest.raises(TableMismatch, match="poste init"):
        await missing.fetch("bob")
    await office.put(RECORD.encode() | {"v": {"N": "2"}})
    with pytest.raises(TableMismatch, match="format version 2, not 1"):
        await office.mailboxes.fetch("bob")
    key = {name: RECORD.encode()[name] for name in ("user_id", "position")}
    await office.store.batch_write_item(
        RequestItems={table_name: [{"DeleteRequest": {"Key": key}}]}
    )
    with pytest.raises(TableMismatch, match="poste init"):
        await office.mailboxes.fetch("bob")


async def test_the_way_past_an_unreadable_item_is_bound_to_its_mailbox(
    office: PostOffice,
) -> None:
    """As every receipt (G6)."""
    await office.put({"user_id": {"S": "bob"}, "position": {"S": "later"}})
    with pytest.raises(UnreadableItem) as caught:
        await office.mailboxes.fetch("bob")
    with pytest.raises(InvalidReceipt):
        await office.mailboxes.fetch("ann", after=caught.value.after)

    page = await office.mailboxes.fetch("bob", after=caught.value.after)
    assert (page.messages, page.more) == ((), False)
