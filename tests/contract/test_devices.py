"""The contract of devices and of `since`, on the fake table and on DynamoDB Local."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from poste_restante.devices import Device
from poste_restante.errors import InvalidReceipt, MailboxError, StoreUnavailable, UnreadableItem
from poste_restante.item import Item, encode_bundle
from poste_restante.position import LogId
from poste_restante.receipt import LogReach, Receipt, Receipts
from tests.faults import Fault, answer_empty, answer_lost, not_reached, refuses, unprocessed
from tests.mailbox_table import RECORD, MailboxTable, offsets, pass_on
from tests.records import TOPIC, message
from tests.tables import KINDS, open_table

LOG, OTHER = LogId(1, 3), LogId(1, 5)


@pytest.fixture(params=KINDS)
async def mailbox_table(
    request: pytest.FixtureRequest, table_name: str
) -> AsyncIterator[MailboxTable]:
    async with open_table(request, table_name) as client:
        mailbox_table = MailboxTable(client, table_name)
        await mailbox_table.open()
        yield mailbox_table


async def seen(mailbox_table: MailboxTable, device: str | None = None) -> list[int]:
    return offsets(await mailbox_table.mailboxes.fetch("bob", device=device))


async def test_no_device_disturbs_another(mailbox_table: MailboxTable) -> None:
    """Each acknowledges for itself; what one had, the others still get (G12)."""
    for offset in (1, 2, 3):
        await mailbox_table.deliver_offsets(offset)
    phone = await mailbox_table.mailboxes.fetch("bob", device="phone", limit=2)
    pad = await mailbox_table.mailboxes.fetch("bob", device="pad", limit=1)
    await mailbox_table.mailboxes.ack("bob", phone.receipt, device="phone")
    await mailbox_table.mailboxes.ack("bob", pad.receipt, device="pad")
    assert (await seen(mailbox_table, "phone"), await seen(mailbox_table, "pad")) == ([3], [2, 3])
    assert await seen(mailbox_table) == [1, 2, 3]

    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
    assert (await seen(mailbox_table, "phone"), await seen(mailbox_table, "pad")) == ([3], [2, 3])
    await mailbox_table.mailboxes.remove_device("bob", "phone")
    assert (await seen(mailbox_table, "phone"), await seen(mailbox_table, "pad")) == ([], [2, 3])
    assert await mailbox_table.mailboxes.devices("bob") == (Device("pad", {LOG: 1}),)


async def test_a_device_without_a_cursor_reads_from_the_accounts(
    mailbox_table: MailboxTable,
) -> None:
    """Its first acknowledgement makes one, whole: nothing that the account had comes back, and
    nothing that it acknowledged since is hidden (G4, G12)."""
    for partition in (3, 5):
        await mailbox_table.deliver_offsets(1, partition=partition)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
    await mailbox_table.deliver_offsets(2)
    page = await mailbox_table.mailboxes.fetch("bob", device="phone")
    assert [tuple(m.position) for m in page.messages] == [(1, 3, 2)]
    await mailbox_table.deliver_offsets(2, partition=5)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
    calls = await mailbox_table.calls_of(
        lambda: mailbox_table.mailboxes.ack("bob", page.receipt, device="phone")
    )

    assert calls == ["update_item", "query", "update_item"]
    assert await mailbox_table.cursor(device="phone") == {LOG: 2, OTHER: 1}
    again = await mailbox_table.mailboxes.fetch("bob", device="phone")
    assert [tuple(m.position) for m in again.messages] == [(1, 5, 2)]
    await mailbox_table.mailboxes.ack("bob", again.receipt, device="phone")
    assert await mailbox_table.cursor(device="phone") == {LOG: 2, OTHER: 2}


@pytest.mark.parametrize("made_by", ["an old receipt", "an addition"])
@pytest.mark.parametrize("handed", ["after", "since"])
async def test_an_acknowledgement_holds_where_the_account_was_ahead_of_the_page(
    mailbox_table: MailboxTable, handed: str, made_by: str
) -> None:
    """A device without a cursor reads behind what the account has acknowledged, and its cursor is
    made below that meanwhile. What it was shown and acknowledges does not come back, and what it
    was not shown is not hidden (G4, G12)."""
    mailboxes = mailbox_table.mailboxes
    for offset in range(6):
        await mailbox_table.deliver_offsets(offset)
    old = await mailboxes.fetch("bob", device="phone", limit=1)
    first = await mailboxes.fetch("bob", device="phone", limit=3)
    await mailboxes.ack("bob", await mailbox_table.receipt())
    last = await mailboxes.fetch("bob", device="phone", **{handed: first.receipt})  # type: ignore[arg-type]
    assert (offsets(first), offsets(last)) == ([0, 1, 2], [])
    if made_by == "an old receipt":
        await mailboxes.ack("bob", old.receipt, device="phone")
        assert await seen(mailbox_table, "phone") == [1, 2, 3, 4, 5]
    else:
        await mailboxes.add_device("bob", "phone", start="oldest")
        assert await seen(mailbox_table, "phone") == [0, 1, 2, 3, 4, 5]
    await mailboxes.ack("bob", last.receipt, device="phone")

    assert await seen(mailbox_table, "phone") == [3, 4, 5]
    assert await mailbox_table.cursor(device="phone") == {LOG: 2}


async def test_a_page_that_was_overtaken_by_the_account_makes_its_devices_cursor(
    mailbox_table: MailboxTable,
) -> None:
    """With what the account had acknowledged, so that it does not come back; then a removal forgets
    it (G4, G12)."""
    mailboxes = mailbox_table.mailboxes
    for offset in range(6):
        await mailbox_table.deliver_offsets(offset)
    first = await mailboxes.fetch("bob", device="phone", limit=3)
    await mailboxes.ack("bob", await mailbox_table.receipt())
    last = await mailboxes.fetch("bob", device="phone", after=first.receipt)
    await mailboxes.ack("bob", last.receipt, device="phone")
    assert await mailbox_table.cursor(device="phone") == {LOG: 5}

    await mailboxes.remove_device("bob", "phone")
    await mailboxes.add_device("bob", "phone", start="oldest")
    assert await seen(mailbox_table, "phone") == [0, 1, 2, 3, 4, 5]
    await mailboxes.ack("bob", last.receipt, device="phone")
    assert await mailbox_table.cursor(device="phone") == {LOG: 2}


@pytest.mark.parametrize(("added", "cursor", "left"), [(False, 4, [6]), (True, 1, [3, 4, 6])])
async def test_behind_an_unreadable_item_a_device_acknowledges_its_own(
    mailbox_table: MailboxTable, added: bool, cursor: int, left: list[int]
) -> None:
    """What the account has acknowledged there neither comes back nor is hidden (G2, G12)."""
    mailboxes, readable = mailbox_table.mailboxes, encode_bundle([message(3)], TOPIC)
    await mailbox_table.deliver_offsets(1)
    await mailbox_table.put({**readable, "v": {"N": "99"}})
    await mailbox_table.deliver_offsets(4)
    page = await mailboxes.fetch("bob", device="phone")
    with pytest.raises(UnreadableItem) as met:
        await mailboxes.fetch("bob", device="phone", after=page.receipt)
    await mailbox_table.put(readable)
    await mailboxes.ack("bob", await mailbox_table.receipt())
    await mailbox_table.deliver_offsets(6)
    last = await mailboxes.fetch("bob", device="phone", after=met.value.after)
    assert (offsets(page), offsets(last)) == ([1], [6])
    if added:
        await mailboxes.add_device("bob", "phone", start="oldest")
    await mailboxes.ack("bob", last.receipt, device="phone")

    assert await mailbox_table.cursor(device="phone") == {LOG: cursor}
    assert await seen(mailbox_table, "phone") == left


async def test_acknowledging_twice_and_late_changes_nothing(mailbox_table: MailboxTable) -> None:
    """For a device as for the account (G6)."""
    await mailbox_table.deliver_offsets(1)
    old = (await mailbox_table.mailboxes.fetch("bob", device="phone")).receipt
    await mailbox_table.deliver_offsets(2)
    new = (await mailbox_table.mailboxes.fetch("bob", device="phone")).receipt
    for receipt in (new, new, old, new, old):
        await mailbox_table.mailboxes.ack("bob", receipt, device="phone")
        assert await mailbox_table.cursor(device="phone") == {LOG: 2}
    assert await mailbox_table.cursor() == {}


async def test_two_processes_make_a_devices_cursor_at_a_time(mailbox_table: MailboxTable) -> None:
    """The later one raises what the other has made (G6, G12)."""
    await mailbox_table.deliver_offsets(1)
    first = (await mailbox_table.mailboxes.fetch("bob", device="phone")).receipt
    await mailbox_table.deliver_offsets(1, partition=5)
    second = (await mailbox_table.mailboxes.fetch("bob", device="phone")).receipt
    await asyncio.gather(
        *(mailbox_table.mailboxes.ack("bob", r, device="phone") for r in (first, second, first))
    )

    assert await mailbox_table.cursor(device="phone") == {LOG: 1, OTHER: 1}


@pytest.mark.parametrize(
    ("nth", "fault"),
    [
        (0, not_reached),
        (0, refuses("AccessDeniedException")),
        (1, not_reached),
        (1, answer_lost),
        (1, answer_empty),
        (1, refuses("Throttling")),
    ],
)
async def test_an_acknowledgement_that_fails_can_be_made_again(
    mailbox_table: MailboxTable, nth: int, fault: Fault
) -> None:
    """At the update that finds no cursor, or at the one that makes it (G1, G6)."""

    await mailbox_table.deliver_offsets(1)
    receipt = (await mailbox_table.mailboxes.fetch("bob", device="phone")).receipt
    mailbox_table.client.on["update_item"] = [*[pass_on] * nth, fault]
    with pytest.raises(MailboxError):
        await mailbox_table.mailboxes.ack("bob", receipt, device="phone")
    assert await seen(mailbox_table) == [1]

    await mailbox_table.mailboxes.ack("bob", receipt, device="phone")
    assert await seen(mailbox_table, "phone") == []
    assert await mailbox_table.cursor(device="phone") == {LOG: 1}


async def test_a_device_is_added_where_it_is_told_to_begin(mailbox_table: MailboxTable) -> None:
    """Once: a second time changes nothing (G12)."""
    for partition in (3, 5):
        for offset in (1, 2):
            await mailbox_table.deliver_offsets(offset, partition=partition)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt(limit=1))
    for device, cursor, left in (
        ("oldest", {}, [1, 2, 1, 2]),
        ("newest", {LOG: 2, OTHER: 2}, []),
        ("account", {LOG: 1}, [2, 1, 2]),
    ):
        assert await mailbox_table.mailboxes.add_device("bob", device, device)  # type: ignore[arg-type]
        assert not await mailbox_table.mailboxes.add_device("bob", device, "oldest")
        assert await mailbox_table.cursor(device=device) == cursor
        assert await seen(mailbox_table, device) == left
    found = await mailbox_table.mailboxes.devices("bob")
    assert [device.name for device in found] == ["account", "newest", "oldest"]


async def test_a_device_that_begins_at_the_oldest_keeps_what_the_account_had(
    mailbox_table: MailboxTable,
) -> None:
    """An empty cursor is not a missing one; nor does a receipt of before it hide what it carried
    (G12)."""
    for partition in (3, 5):
        await mailbox_table.deliver_offsets(1, partition=partition)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
    await mailbox_table.deliver_offsets(2, partition=5)
    before = (await mailbox_table.mailboxes.fetch("bob", device="phone")).receipt
    await mailbox_table.mailboxes.add_device("bob", "phone", start="oldest")
    assert await seen(mailbox_table, "phone") == [1, 1, 2]

    await mailbox_table.mailboxes.ack("bob", before, device="phone")
    assert await mailbox_table.cursor(device="phone") == {OTHER: 2}
    assert await seen(mailbox_table, "phone") == [1]


async def test_the_newest_is_found_without_reading_bundles(mailbox_table: MailboxTable) -> None:
    """A Query for each epoch and partition, of one key, and one of what was purged; what is gone
    counts by its cursor, and an item of a later version is not passed (G7, G10, G12)."""
    logs = [LogId(1, 1), LogId(1, 9), LogId(2, 1)]
    await mailbox_table.put(*(
        encode_bundle([message(n, epoch=log.epoch, partition=log.partition)], TOPIC)
                       for log in logs for n in range(30)))  # fmt: skip
    later: Item = {"user_id": {"S": "bob"}, "position": {"S": "0001.00009.x"}, "v": {"N": "9"}}
    gone: Item = {"user_id": {"S": "bob"}, "position": {"S": "!pad"}, "0001.00004": {"N": "77"}}
    damaged: Item = {"user_id": {"S": "bob"}, "position": {"S": "!tv"}, "0001.00004": {"S": "?"}}
    await mailbox_table.put(later, gone, damaged)
    await mailbox_table.mailboxes.fetch("ann")
    calls = await mailbox_table.calls_of(
        lambda: mailbox_table.mailboxes.add_device("bob", "phone", start="newest")
    )

    assert calls == ["query"] * 7 + ["update_item"]
    assert await mailbox_table.cursor(device="phone") == dict.fromkeys(logs, 29) | {LogId(1, 4): 77}


async def test_a_damaged_cursor_disturbs_its_device_alone(mailbox_table: MailboxTable) -> None:
    """It is said; the others read and acknowledge as ever (G4, G12)."""
    await mailbox_table.deliver_offsets(1)
    damaged: Item = {"user_id": {"S": "bob"}, "position": {"S": "!pad"}, "0001.00003": {"S": "1"}}
    await mailbox_table.put(damaged)
    with pytest.raises(MailboxError, match="cursor of the device 'pad' cannot be read"):
        await mailbox_table.mailboxes.fetch("bob", device="pad")
    for device in ("phone", None):
        page = await mailbox_table.mailboxes.fetch("bob", device=device)
        assert offsets(page) == [1]
        await mailbox_table.mailboxes.ack("bob", page.receipt, device=device)
        assert await seen(mailbox_table, device) == []
    assert await mailbox_table.mailboxes.devices("bob") == (
        Device("pad", None), Device("phone", {LOG: 1}),
    )  # fmt: skip

    await mailbox_table.mailboxes.remove_device("bob", "pad")
    assert await mailbox_table.mailboxes.add_device("bob", "pad", start="oldest")
    assert await seen(mailbox_table, "pad") == [1]


async def test_many_devices_are_no_hindrance(mailbox_table: MailboxTable) -> None:
    """Their cursors stand before the bundles (G7, G12)."""
    await mailbox_table.deliver_offsets(1)
    names = [f"device-{n:02}" for n in range(30)]
    for name in names:
        await mailbox_table.mailboxes.add_device("bob", name, start="oldest")
    assert [device.name for device in await mailbox_table.mailboxes.devices("bob")] == names
    for device, queries in ((None, 2), ("device-00", 2), ("device-29", 1), ("device-3", 2)):
        calls = await mailbox_table.calls_of(lambda device=device: seen(mailbox_table, device))  # type: ignore[misc]
        assert len(calls) <= queries + 1, device
        assert await seen(mailbox_table, device) == [1]


async def test_a_receipt_of_another_device_is_refused(mailbox_table: MailboxTable) -> None:
    """By fetch and ack, and it is said (G6, G12)."""
    await mailbox_table.deliver_offsets(1)
    mine = (await mailbox_table.mailboxes.fetch("bob", device="phone")).receipt
    for device in (None, "pad"):
        with pytest.raises(InvalidReceipt, match="another device"):
            await mailbox_table.mailboxes.ack("bob", mine, device=device)
        for argument in ("after", "since"):
            with pytest.raises(InvalidReceipt, match="another device"):
                await mailbox_table.mailboxes.fetch("bob", device=device, **{argument: mine})  # type: ignore[arg-type]
    assert "update_item" not in mailbox_table.client.made()


async def test_a_removal_that_is_not_made_is_said(mailbox_table: MailboxTable) -> None:
    """It can be made again; one that was never there is no error (G9)."""
    await mailbox_table.mailboxes.add_device("bob", "phone", start="oldest")
    for fault in (not_reached, unprocessed(1)):
        mailbox_table.client.on["batch_write_item"] = [fault]
        with pytest.raises(StoreUnavailable):
            await mailbox_table.mailboxes.remove_device("bob", "phone")
        assert len(await mailbox_table.mailboxes.devices("bob")) == 1
    for _ in range(2):
        await mailbox_table.mailboxes.remove_device("bob", "phone")
        assert await mailbox_table.mailboxes.devices("bob") == ()


# ---- since


async def test_a_client_that_keeps_its_receipt_needs_no_acknowledgement(
    mailbox_table: MailboxTable,
) -> None:
    """It sees new mail in every log, and nothing is written (G4, G12)."""
    await mailbox_table.deliver_offsets(5, partition=5)
    receipt = None
    for partition, offset in ((None, 5), (3, 1), (9, 1), (5, 6), (3, 2)):
        if partition is not None:
            await mailbox_table.deliver_offsets(offset, partition=partition)
        page = await mailbox_table.mailboxes.fetch("bob", since=receipt)
        assert offsets(page) == [offset]
        receipt = page.receipt
    empty = await mailbox_table.mailboxes.fetch("bob", since=receipt)
    assert empty.messages == ()
    assert empty.receipt is not None

    assert set(mailbox_table.client.made()) == {"query"}
    assert len(await seen(mailbox_table)) == 5  # for the others, all of it still waits
    await mailbox_table.mailboxes.ack("bob", empty.receipt)
    assert await seen(mailbox_table) == []


async def test_since_an_old_receipt_the_cursor_counts(mailbox_table: MailboxTable) -> None:
    """The greater of both, in each log; page by page as well (G4)."""
    for partition in (3, 5):
        for offset in (1, 2, 3):
            await mailbox_table.deliver_offsets(offset, partition=partition)
    old = await mailbox_table.receipt(limit=4)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt(limit=2))
    pages = [page async for page in mailbox_table.mailboxes.pages("bob", since=old, limit=1)]

    assert [m.position for page in pages for m in page.messages] == [(1, 5, 2), (1, 5, 3)]
    with pytest.raises(ValueError, match="not both"):
        await mailbox_table.mailboxes.fetch("bob", since=old, after=old)


async def test_since_a_receipt_of_another_table_is_refused(mailbox_table: MailboxTable) -> None:
    """As every receipt (G6)."""
    made = Receipt("a", {LOG: LogReach(1, 1)})
    foreign = Receipts().encode(made, table_id="table-2", user_id="bob")
    earlier = Receipts().encode(made, table_id=RECORD.table_id, user_id="ann")
    for receipt in (foreign, earlier, "", "nonsense"):
        with pytest.raises(InvalidReceipt):
            await mailbox_table.mailboxes.fetch("bob", since=receipt)


@pytest.mark.parametrize(("limit", "counted"), [(1, 1), (4, 4), (5, 5), (6, 5), (1000, 5)])
async def test_what_waits_is_counted_up_to_a_limit(
    mailbox_table: MailboxTable, limit: int, counted: int
) -> None:
    """For the account and for a device; nothing is kept for a page that nobody asks for (G8)."""
    await mailbox_table.deliver_offsets(1, 2, 3)
    await mailbox_table.deliver_offsets(4, 5, 6)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt(limit=1))
    page = await mailbox_table.mailboxes.fetch("bob", device="phone", limit=3)
    await mailbox_table.mailboxes.ack("bob", page.receipt, device="phone")
    reader = mailbox_table.reader()

    assert await reader.count("bob", limit=limit) == counted
    assert await reader.count("bob", device="phone", limit=limit) == min(limit, 2)
    assert await reader.count("nobody") == 0
    with pytest.raises(ValueError, match="at least 1"):
        await reader.count("bob", limit=0)
    first = await reader.fetch("bob", limit=1)
    await reader.count("bob", limit=1)
    mailbox_table.client.calls.clear()
    await reader.fetch("bob", after=first.receipt, limit=1)
    assert mailbox_table.client.made() == ["query", "query"]
