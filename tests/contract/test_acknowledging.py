"""The contract of Mailboxes, on the fake table and on DynamoDB Local: acknowledge, and failures."""

from collections.abc import AsyncIterator

import pytest

from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
)
from poste_restante.item import encode_bundle
from poste_restante.position import LogId
from poste_restante.receipt import LogReach, Receipt, Receipts
from tests.faults import (
    Fault,
    answer_broken_off,
    answer_empty,
    answer_lost,
    answer_misshapen,
    answers,
    not_reached,
    refuses,
)
from tests.mailbox_table import RECORD, MailboxTable, offsets, open_admin_client, pass_on
from tests.records import TOPIC, message
from tests.tables import READER_KINDS

LOG = LogId(1, 3)


@pytest.fixture(params=READER_KINDS)
async def admin(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[MailboxTable]:
    async with open_admin_client(request, table_name) as admin:
        yield admin


async def test_what_was_acknowledged_does_not_come_back(admin: MailboxTable) -> None:
    """What came meanwhile does (G4, G6)."""
    await admin.deliver_offsets(1, 2)
    receipt = await admin.receipt()
    await admin.deliver_offsets(3)
    await admin.mailboxes.ack("bob", receipt)

    assert await admin.bundles() == [(1, 2), (3, 3)]
    assert await admin.cursor() == {LOG: 2}
    assert offsets(await admin.mailboxes.fetch("bob")) == [3]


async def test_an_acknowledgement_is_an_update_of_each_log(admin: MailboxTable) -> None:
    """And nothing else: no read, no delete; what was acknowledged before is left out (G4, G6)."""
    for partition in (1, 2):
        await admin.put(*(encode_bundle([message(n, partition=partition)], TOPIC)
                           for n in range(20)))  # fmt: skip
    receipt = await admin.receipt()
    calls = await admin.calls_of(lambda: admin.mailboxes.ack("bob", receipt))

    assert calls == ["update_item", "update_item"]
    assert await admin.cursor() == {LogId(1, 1): 19, LogId(1, 2): 19}
    assert len(await admin.bundles()) == 40
    await admin.deliver_offsets(20, partition=2)
    receipt = await admin.receipt()
    calls = await admin.calls_of(lambda: admin.mailboxes.ack("bob", receipt))
    assert calls == ["update_item"]
    assert await admin.cursor() == {LogId(1, 1): 19, LogId(1, 2): 20}


async def test_several_partitions_and_epochs_are_acknowledged_each(admin: MailboxTable) -> None:
    """A cursor of one hides nothing of another (G3, G4, G10)."""
    for place in ({"partition": 1}, {"partition": 2}, {"partition": 1, "epoch": 2}):
        await admin.deliver_offsets(5, 6, **place)
    await admin.mailboxes.ack("bob", await admin.receipt(limit=3))
    page = await admin.mailboxes.fetch("bob")

    assert [tuple(each.position) for each in page.messages] == [(1, 2, 6), (2, 1, 5), (2, 1, 6)]
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.cursor() == {LogId(1, 1): 6, LogId(1, 2): 6, LogId(2, 1): 6}
    await admin.deliver_offsets(0, epoch=3, partition=1)
    assert offsets(await admin.mailboxes.fetch("bob")) == [0]


async def test_acknowledging_twice_changes_nothing(admin: MailboxTable) -> None:
    """Nor does an older receipt, whoever has it (G6)."""
    await admin.deliver_offsets(1)
    old = await admin.receipt()
    await admin.deliver_offsets(2)
    new = await admin.receipt()
    for receipt in (new, new, old, new, old):
        await admin.mailboxes.ack("bob", receipt)
        assert await admin.cursor() == {LOG: 2}
        assert await admin.unread() == []


async def test_an_older_receipt_acknowledges_no_more_than_it_covers(admin: MailboxTable) -> None:
    """What came after its fetch is still there (G2, G6)."""
    await admin.deliver_offsets(1)
    old = await admin.receipt()
    await admin.deliver_offsets(1, 2)  # the same message again, in a bundle of a replay
    await admin.mailboxes.ack("bob", old)

    assert offsets(await admin.mailboxes.fetch("bob")) == [2]


async def test_a_receipt_covers_the_pages_that_it_was_fetched_behind(admin: MailboxTable) -> None:
    """A cursor is one offset: the README says so, for those who send two pages at a time (G6)."""
    await admin.deliver_offsets(1)
    await admin.deliver_offsets(2)
    await admin.deliver_offsets(3)
    first = await admin.mailboxes.fetch("bob", limit=1)
    second = await admin.mailboxes.fetch("bob", limit=1, after=first.receipt)
    assert (offsets(first), offsets(second)) == ([1], [2])
    await admin.mailboxes.ack("bob", second.receipt)

    assert offsets(await admin.mailboxes.fetch("bob")) == [3]


async def test_a_limit_inside_a_bundle_leaves_it_whole(admin: MailboxTable) -> None:
    """Its second half is still to be read (G2)."""
    await admin.deliver_offsets(1, 2, 3)
    await admin.mailboxes.ack("bob", await admin.receipt(limit=2))

    assert await admin.bundles() == [(1, 3)]
    page = await admin.mailboxes.fetch("bob")
    assert offsets(page) == [3]
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.unread() == []


@pytest.mark.parametrize("keys", [(), ("key",)])
async def test_a_receipt_of_another_user_or_table_is_refused(
    admin: MailboxTable, keys: tuple[str, ...]
) -> None:
    """Nothing is called with it but, perhaps, the table record (G6)."""
    admin.mailboxes = admin.reader(receipt_keys=keys)
    await admin.deliver_offsets(1)
    await admin.deliver_offsets(1, user_id="ann")
    made = Receipt("a", {LOG: LogReach(1, 1)})
    foreign = Receipts(keys).encode(made, table_id="table-2", user_id="bob")
    for receipt in (await admin.receipt("ann"), foreign, "", "nonsense"):
        with pytest.raises(InvalidReceipt):
            await admin.mailboxes.ack("bob", receipt)

    assert set(admin.client.made()) == {"query"}
    assert await admin.bundles() == [(1, 1)]


@pytest.mark.parametrize(
    "made",
    [
        Receipt("a", {LOG: LogReach(9, -2)}),  # covers less than nothing
        Receipt("a", {LogId(10_000, 3): LogReach(9, 9)}),  # no log
        Receipt("", {LOG: LogReach(9, 9)}),
    ],
)
async def test_a_forged_receipt_is_refused(admin: MailboxTable, made: Receipt) -> None:
    """Where receipts are not signed, it can still say only what a reading could (G6)."""
    await admin.deliver_offsets(1, 2)
    with pytest.raises(InvalidReceipt, match="damaged"):
        await admin.mailboxes.ack(
            "bob", Receipts().encode(made, table_id=RECORD.table_id, user_id="bob")
        )
    assert await admin.bundles() == [(1, 2)]


async def test_signed_receipts_are_told_from_unsigned_ones(admin: MailboxTable) -> None:
    """With keys set, the first signs and all verify (G6)."""
    await admin.deliver_offsets(1)
    unsigned = await admin.receipt()
    old, new = admin.reader(receipt_keys=["old"]), admin.reader(receipt_keys=["new", "old"])
    signed = (await old.fetch("bob")).receipt
    with pytest.raises(InvalidReceipt, match="not signed"):
        await new.ack("bob", unsigned)
    with pytest.raises(InvalidReceipt, match="no receipt key"):
        await old.ack("bob", (await new.fetch("bob")).receipt)

    await new.ack("bob", signed)
    assert await admin.unread() == []


UNCONFIRMED: list[Fault] = [
    refuses("ThrottlingException"),
    refuses("InternalServerError", status=500),
    refuses("AccessDeniedException"),
    not_reached,
    answer_lost,
    answer_broken_off,
    answer_empty,
    answer_misshapen,
    answers({"Attributes": None}),
    answers({"Attributes": {"0001.00009": {"N": "1"}}}),
]


@pytest.mark.parametrize("fault", UNCONFIRMED)
async def test_an_update_that_is_not_confirmed_is_said(admin: MailboxTable, fault: Fault) -> None:
    """By the ack, of the first log or the second; it deletes nothing, and can be made again
    (G1, G4)."""
    admin.mailboxes = admin.reader(delete_acknowledged=True)
    for partition in (1, 2):
        await admin.deliver_offsets(1, partition=partition)
    receipt = await admin.receipt()
    for before in ([], [pass_on]):
        admin.client.on["update_item"] = [*before, fault]
        with pytest.raises(MailboxError):
            await admin.mailboxes.ack("bob", receipt)
        assert len(await admin.bundles()) == 2

    await admin.mailboxes.ack("bob", receipt)
    assert await admin.unread() == []
