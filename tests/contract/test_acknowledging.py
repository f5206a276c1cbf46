"""The contract of Mailboxes, on the fake table and on DynamoDB Local: acknowledge, and failures."""

from collections.abc import AsyncIterator

import pytest

from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
)
from poste_restante.item import encode_bundle
from poste_restante.position import LogId
from poste_restante.receipt import Reach, Receipt, Receipts
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
from tests.postoffice import RECORD, PostOffice, offsets, open_office, pass_on
from tests.records import TOPIC, message
from tests.tables import READER_KINDS

LOG = LogId(1, 3)


@pytest.fixture(params=READER_KINDS)
async def office(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[PostOffice]:
    async with open_office(request, table_name) as office:
        yield office


async def test_what_was_acknowledged_does_not_come_back(office: PostOffice) -> None:
    """What came meanwhile does (G4, G6)."""
    await office.deliver_offsets(1, 2)
    receipt = await office.receipt()
    await office.deliver_offsets(3)
    await office.mailboxes.ack("bob", receipt)

    assert await office.bundles() == [(1, 2), (3, 3)]
    assert await office.cursor() == {LOG: 2}
    assert offsets(await office.mailboxes.fetch("bob")) == [3]


async def test_an_acknowledgement_is_an_update_of_each_log(office: PostOffice) -> None:
    """And nothing else: no read, no delete; what was acknowledged before is left out (G4, G6)."""
    for partition in (1, 2):
        await office.put(*(encode_bundle([message(n, partition=partition)], TOPIC)
                           for n in range(20)))  # fmt: skip
    receipt = await office.receipt()
    calls = await office.calls_of(lambda: office.mailboxes.ack("bob", receipt))

    assert calls == ["update_item", "update_item"]
    assert await office.cursor() == {LogId(1, 1): 19, LogId(1, 2): 19}
    assert len(await office.bundles()) == 40
    await office.deliver_offsets(20, partition=2)
    receipt = await office.receipt()
    calls = await office.calls_of(lambda: office.mailboxes.ack("bob", receipt))
    assert calls == ["update_item"]
    assert await office.cursor() == {LogId(1, 1): 19, LogId(1, 2): 20}


async def test_several_partitions_and_epochs_are_acknowledged_each(office: PostOffice) -> None:
    """A cursor of one hides nothing of another (G3, G4, G10)."""
    for place in ({"partition": 1}, {"partition": 2}, {"partition": 1, "epoch": 2}):
        await office.deliver_offsets(5, 6, **place)
    await office.mailboxes.ack("bob", await office.receipt(limit=3))
    page = await office.mailboxes.fetch("bob")

    assert [tuple(each.position) for each in page.messages] == [(1, 2, 6), (2, 1, 5), (2, 1, 6)]
    await office.mailboxes.ack("bob", page.receipt)
    assert await office.cursor() == {LogId(1, 1): 6, LogId(1, 2): 6, LogId(2, 1): 6}
    await office.deliver_offsets(0, epoch=3, partition=1)
    assert offsets(await office.mailboxes.fetch("bob")) == [0]


async def test_acknowledging_twice_changes_nothing(office: PostOffice) -> None:
    """Nor does an older receipt, whoever has it (G6)."""
    await office.deliver_offsets(1)
    old = await office.receipt()
    await office.deliver_offsets(2)
    new = await office.receipt()
    for receipt in (new, new, old, new, old):
        await office.mailboxes.ack("bob", receipt)
        assert await office.cursor() == {LOG: 2}
        assert await office.unread() == []


async def test_an_older_receipt_acknowledges_no_more_than_it_covers(office: PostOffice) -> None:
    """What came after its fetch is still there (G2, G6)."""
    await office.deliver_offsets(1)
    old = await office.receipt()
    await office.deliver_offsets(1, 2)  # the same message again, in a bundle of a replay
    await office.mailboxes.ack("bob", old)

    assert offsets(await office.mailboxes.fetch("bob")) == [2]


async def test_a_receipt_covers_the_pages_that_it_was_fetched_behind(office: PostOffice) -> None:
    """A cursor is one offset: the README says so, for those who send two pages at a time (G6)."""
    await office.deliver_offsets(1)
    await office.deliver_offsets(2)
    await office.deliver_offsets(3)
    first = await office.mailboxes.fetch("bob", limit=1)
    second = await office.mailboxes.fetch("bob", limit=1, after=first.receipt)
    assert (offsets(first), offsets(second)) == ([1], [2])
    await office.mailboxes.ack("bob", second.receipt)

    assert offsets(await office.mailboxes.fetch("bob")) == [3]


async def test_a_limit_inside_a_bundle_leaves_it_whole(office: PostOffice) -> None:
    """Its second half is still to be read (G2)."""
    await office.deliver_offsets(1, 2, 3)
    await office.mailboxes.ack("bob", await office.receipt(limit=2))

    assert await office.bundles() == [(1, 3)]
    page = await office.mailboxes.fetch("bob")
    assert offsets(page) == [3]
    await office.mailboxes.ack("bob", page.receipt)
    assert await office.unread() == []


@pytest.mark.parametrize("keys", [(), ("key",)])
async def test_a_receipt_of_another_mailbox_or_table_is_refused(
    office: PostOffice, keys: tuple[str, ...]
) -> None:
    """Nothing is called with it but, perhaps, the table record (G6)."""
    office.mailboxes = office.reader(receipt_keys=keys)
    await office.deliver_offsets(1)
    await office.deliver_offsets(1, user_id="ann")
    made = Receipt("a", {LOG: Reach(1, 1)})
    foreign = Receipts(keys).encode(made, table_id="table-2", user_id="bob")
    for receipt in (await office.receipt("ann"), foreign, "", "nonsense"):
        with pytest.raises(InvalidReceipt):
            await office.mailboxes.ack("bob", receipt)

    assert set(office.client.made()) == {"query"}
    assert await office.bundles() == [(1, 1)]


@pytest.mark.parametrize(
    "made",
    [
        Receipt("a", {LOG: Reach(9, -2)}),  # covers less than nothing
        Receipt("a", {LogId(10_000, 3): Reach(9, 9)}),  # no log
        Receipt("", {LOG: Reach(9, 9)}),
    ],
)
async def test_a_forged_receipt_is_refused(office: PostOffice, made: Receipt) -> None:
    """Where receipts are not signed, it can still say only what a reading could (G6)."""
    await office.deliver_offsets(1, 2)
    with pytest.raises(InvalidReceipt, match="damaged"):
        await office.mailboxes.ack(
            "bob", Receipts().encode(made, table_id=RECORD.table_id, user_id="bob")
        )
    assert await office.bundles() == [(1, 2)]


async def test_signed_receipts_are_told_from_unsigned_ones(office: PostOffice) -> None:
    """With keys set, the first signs and all verify (G6)."""
    await office.deliver_offsets(1)
    unsigned = await office.receipt()
    old, new = office.reader(receipt_keys=["old"]), office.reader(receipt_keys=["new", "old"])
    signed = (await old.fetch("bob")).receipt
    with pytest.raises(InvalidReceipt, match="not signed"):
        await new.ack("bob", unsigned)
    with pytest.raises(InvalidReceipt, match="not ours"):
        await old.ack("bob", (await new.fetch("bob")).receipt)

    await new.ack("bob", signed)
    assert await office.unread() == []


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
async def test_an_update_that_is_not_confirmed_is_said(office: PostOffice, fault: Fault) -> None:
    """By the ack, of the first log or the second; it deletes nothing, and can be made again
    (G1, G4)."""
    office.mailboxes = office.reader(delete_acknowledged=True)
    for partition in (1, 2):
        await office.deliver_offsets(1, partition=partition)
    receipt = await office.receipt()
    for before in ([], [pass_on]):
        office.client.on["update_item"] = [*before, fault]
        with pytest.raises(MailboxError):
            await office.mailboxes.ack("bob", receipt)
        assert len(await office.bundles()) == 2

    await office.mailboxes.ack("bob", receipt)
    assert await office.unread() == []
