"""The contract of Mailboxes, on the fake table and on DynamoDB Local: fetch and page."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from poste_restante.errors import InvalidReceipt, UnreadableItem
from poste_restante.item import Item, encode_bundle
from poste_restante.position import BundleKey, LogId
from tests.mailbox_table import NEW_YEAR_S, RECORD, MailboxTable, offsets, open_admin_client
from tests.records import TOPIC, message
from tests.tables import READER_KINDS

LOG = LogId(1, 3)


@pytest.fixture(params=READER_KINDS)
async def admin(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[MailboxTable]:
    async with open_admin_client(request, table_name) as admin:
        yield admin


async def test_an_empty_mailbox_is_an_empty_page(admin: MailboxTable) -> None:
    """Nothing to return, nothing to acknowledge (G6)."""
    page = await admin.mailboxes.fetch("bob")

    assert (page.messages, page.receipt, page.more) == ((), None, False)
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.items() == []


async def test_everything_a_message_carries_is_returned(admin: MailboxTable) -> None:
    """Bodies, headers, nulls and repeated names, as the record had them (G1)."""
    sent = replace(
        message(7, body=b"\x00\xff"),
        id="m-1", source="/chat", type="sent", content_type="text/plain",
        time=datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC),
        expires_at=datetime(2026, 1, 2, tzinfo=UTC),
        headers=(("traceparent", b"00"), ("", None), ("a", b""), ("a", b"\xff")),
    )  # fmt: skip
    await admin.deliver(sent)
    await admin.deliver(message(8, body=b""))
    page = await admin.mailboxes.fetch("bob")

    assert page.messages == (sent, message(8, body=b""))
    assert not page.more


async def test_a_mailbox_is_read_in_log_order(admin: MailboxTable) -> None:
    """Whatever order the bundles came in; epochs and partitions after each other (G3)."""
    await admin.deliver_offsets(500, 600)
    await admin.deliver_offsets(3, 4, 9)
    await admin.deliver_offsets(1, epoch=2)
    await admin.deliver_offsets(7, partition=11)
    page = await admin.mailboxes.fetch("bob")

    assert [each.position for each in page.messages] == [
        (1, 3, 3), (1, 3, 4), (1, 3, 9), (1, 3, 500), (1, 3, 600), (1, 11, 7), (2, 3, 1),
    ]  # fmt: skip


async def test_pages_are_the_mailbox_piece_by_piece(admin: MailboxTable) -> None:
    """A limit cuts inside bundles too; `more` is exact; the last receipt covers all (G2, G5)."""
    for begin in (1, 4, 7):
        await admin.deliver_offsets(begin, begin + 1, begin + 2)
    await admin.deliver_offsets(1, partition=5)
    pages = [page async for page in admin.mailboxes.pages("bob", limit=4)]

    assert [offsets(page) for page in pages] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 1]]
    assert [page.more for page in pages] == [True, True, False]
    assert len(await admin.bundles()) == 4  # nothing was acknowledged
    await admin.mailboxes.ack("bob", pages[-1].receipt)
    assert await admin.unread() == []
    assert await admin.cursor() == {LOG: 9, LogId(1, 5): 1}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_more_is_exact(admin: MailboxTable, limit: int) -> None:
    """With a limit at, below and above what waits, with a cursor and without (G8)."""
    for offset in (1, 2, 3, 4):
        await admin.deliver_offsets(offset)
    page = await admin.mailboxes.fetch("bob", limit=limit)
    assert (offsets(page), page.more) == ([1, 2, 3, 4][:limit], limit < 4)

    await admin.mailboxes.ack("bob", (await admin.mailboxes.fetch("bob", limit=1)).receipt)
    page = await admin.mailboxes.fetch("bob", limit=limit)
    assert (offsets(page), page.more) == ([2, 3, 4][:limit], limit < 3)


async def test_a_limit_of_bytes_cuts_a_page(admin: MailboxTable) -> None:
    """At least one message is returned (G8)."""
    for offset in (1, 2, 3):
        await admin.deliver_offsets(offset, body=b"x" * 100)
    small = await admin.mailboxes.fetch("bob", max_bytes=1)
    two = await admin.mailboxes.fetch("bob", max_bytes=299)

    assert (offsets(small), small.more) == ([1], True)
    assert (offsets(two), two.more) == ([1, 2], True)
    assert offsets(await admin.mailboxes.fetch("bob", max_bytes=300)) == [1, 2, 3]


async def test_a_resend_is_shown_once_within_a_page(admin: MailboxTable) -> None:
    """And covered by its receipt (G5)."""
    sent = replace(message(1), source="/chat", id="m-1")
    await admin.deliver(sent)
    await admin.deliver(replace(sent, position=message(2).position), message(3))
    page = await admin.mailboxes.fetch("bob")

    assert offsets(page) == [1, 3]
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.unread() == []


async def test_an_expired_message_is_not_returned_but_acknowledged(admin: MailboxTable) -> None:
    """By the reader's clock, whatever DynamoDB's TTL does (G2)."""
    expires_at = datetime.fromtimestamp(NEW_YEAR_S, tz=UTC) + timedelta(seconds=10)
    await admin.deliver(replace(message(1), expires_at=expires_at))
    await admin.deliver(message(2))
    assert offsets(await admin.mailboxes.fetch("bob")) == [1, 2]

    admin.now_s += 10
    page = await admin.mailboxes.fetch("bob")
    assert offsets(page) == [2]
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.unread() == []


async def test_a_mailbox_of_expired_messages_is_an_empty_page(admin: MailboxTable) -> None:
    """With a receipt, so that they are skipped; never an empty page with more (G8)."""
    past = datetime.fromtimestamp(NEW_YEAR_S, tz=UTC)
    await admin.put(*(encode_bundle([replace(message(n), expires_at=past)], TOPIC)
                       for n in range(30)))  # fmt: skip
    page = await admin.mailboxes.fetch("bob", limit=2)

    assert (page.messages, page.more) == ((), False)
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.unread() == []


async def test_overlapping_bundles_are_read_as_one_log(admin: MailboxTable) -> None:
    """As replays with other flush borders leave them, within a page and across (G2, G5)."""
    for offsets_ in ([1, 2, 3], [1, 2], [2, 3, 4, 5], [4, 5], [3, 4, 5, 6], [6]):
        await admin.deliver_offsets(*offsets_)
    assert offsets(await admin.mailboxes.fetch("bob")) == [1, 2, 3, 4, 5, 6]

    pages = [offsets(page) async for page in admin.mailboxes.pages("bob", limit=2)]
    assert pages == [[1, 2], [3, 4], [5, 6]]


async def test_the_cursor_hides_what_a_replay_writes_again(admin: MailboxTable) -> None:
    """With the same borders or others (G4)."""
    await admin.deliver_offsets(1, 2, 3)
    await admin.mailboxes.ack("bob", (await admin.mailboxes.fetch("bob")).receipt)
    await admin.deliver_offsets(1, 2, 3)
    await admin.deliver_offsets(1, 2)
    again = await admin.mailboxes.fetch("bob")
    assert (again.messages, again.more) == ((), False)

    await admin.deliver_offsets(3, 4)
    page = await admin.mailboxes.fetch("bob")
    assert offsets(page) == [4]
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.unread() == []


def garbage(last: int, first: int) -> Item:
    """An item of a later version, of which only the key can be read."""
    key = BundleKey(*LOG, last=last, first=first).encode()
    return {"user_id": {"S": "bob"}, "position": {"S": key}, "v": {"N": "2"},
            "messages": {"B": b"packed"}}  # fmt: skip


async def test_a_bundle_below_the_cursor_is_never_parsed(admin: MailboxTable) -> None:
    """Its key says enough (G4)."""
    await admin.deliver_offsets(1, 2, 3)
    await admin.mailboxes.ack("bob", (await admin.mailboxes.fetch("bob")).receipt)
    await admin.put(garbage(3, 2), garbage(2, 1))
    await admin.deliver_offsets(4)
    page = await admin.mailboxes.fetch("bob")

    assert offsets(page) == [4]
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.unread() == []


async def test_an_unreadable_item_at_the_head_is_raised(admin: MailboxTable) -> None:
    """With the way past it, on which nothing of its log can be acknowledged (G2, G10)."""
    await admin.put(garbage(2, 1))
    await admin.deliver_offsets(3)
    await admin.deliver_offsets(8, partition=5)
    with pytest.raises(UnreadableItem, match="format version 2") as caught:
        await admin.mailboxes.fetch("bob")
    assert caught.value.key == garbage(2, 1)["position"]["S"]

    page = await admin.mailboxes.fetch("bob", after=caught.value.after)
    assert (offsets(page), page.more) == ([3, 8], False)
    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.cursor() == {LogId(1, 5): 8}
    assert await admin.unread() == [(1, 2), (3, 3)]


async def test_a_page_ends_before_an_unreadable_item(admin: MailboxTable) -> None:
    """What is before it is acknowledged; repaired, it and all behind it are returned (G1, G2)."""
    await admin.deliver_offsets(1)
    await admin.put(garbage(3, 2))
    await admin.deliver_offsets(4)
    page = await admin.mailboxes.fetch("bob")
    assert (offsets(page), page.more) == ([1], True)
    with pytest.raises(UnreadableItem) as caught:
        await admin.mailboxes.fetch("bob", after=page.receipt)

    behind = await admin.mailboxes.fetch("bob", after=caught.value.after)
    assert offsets(behind) == [4]
    await admin.mailboxes.ack("bob", behind.receipt)
    assert await admin.cursor() == {LOG: 1}
    await admin.deliver_offsets(2, 3)  # as a reader of the later version, or a replay, mends it
    assert offsets(await admin.mailboxes.fetch("bob")) == [2, 3, 4]


async def test_several_unreadable_items_are_passed_one_by_one(admin: MailboxTable) -> None:
    """The receipt of the way past one goes on to the next (G10)."""
    await admin.put(garbage(1, 1), garbage(2, 2))
    await admin.deliver_offsets(3)
    after = None
    for last in (1, 2):
        with pytest.raises(UnreadableItem) as caught:
            await admin.mailboxes.fetch("bob", after=after)
        assert caught.value.key == garbage(last, last)["position"]["S"]
        after = caught.value.after

    assert offsets(await admin.mailboxes.fetch("bob", after=after)) == [3]


@pytest.mark.parametrize(
    "user_id",
    ["!", "!!", "!bob", "!table", "!progress/undelivered-messages/3", "é" * 512, "\x00", " "],
)
async def test_every_user_id_has_a_mailbox(admin: MailboxTable, user_id: str) -> None:
    """Those that look like the system's own keys too (G5, G6)."""
    await admin.deliver_offsets(1, user_id=user_id)
    await admin.deliver_offsets(2, user_id=f"!{user_id}"[:512])
    page = await admin.mailboxes.fetch(user_id)
    assert [(each.user_id, each.position.offset) for each in page.messages] == [(user_id, 1)]

    await admin.mailboxes.ack(user_id, page.receipt)
    assert await admin.unread(user_id) == []
    assert len(await admin.bundles(f"!{user_id}"[:512])) == 1
    admin.now_s += 100
    assert (await admin.mailboxes.fetch(user_id)).messages == ()
    record = {name: RECORD.encode()[name] for name in ("user_id", "position")}
    answer = await admin.store.get_item(TableName=admin.table, Key=record, ConsistentRead=True)
    assert answer["Item"] == RECORD.encode()  # nobody's cursor


async def test_a_mailbox_up_to_1_mb_is_one_query_or_two(admin: MailboxTable) -> None:
    """Whatever else the table holds; the table record is looked at once a minute (G7)."""
    await admin.put(*(encode_bundle([message(n, body=b"x" * 100_000)], TOPIC) for n in range(10)))
    await admin.put(*(encode_bundle([message(n, f"user-{n}")], TOPIC) for n in range(100)))
    await admin.mailboxes.fetch("ann")
    admin.now_s += 59
    admin.client.calls.clear()
    page = await admin.mailboxes.fetch("bob")

    assert (len(page.messages), page.more) == (10, False)
    assert admin.client.made() == ["query", "query"]
    assert all(arguments["ConsistentRead"] is True for _, arguments in admin.client.calls)
    await admin.deliver_offsets(1, user_id="cem")
    assert await admin.calls_of(lambda: admin.mailboxes.fetch("cem")) == ["query"]


async def test_a_mailbox_above_1_mb_is_delivered_whole(admin: MailboxTable) -> None:
    """Page after page, each of about one Query and a look behind it (G2, G8)."""
    await admin.put(*(encode_bundle([message(n, body=b"x" * 150_000)], TOPIC) for n in range(20)))
    pages = [page async for page in admin.mailboxes.pages("bob")]

    assert [offset for page in pages for offset in offsets(page)] == list(range(20))
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert len(pages) == 3
    await admin.mailboxes.ack("bob", pages[-1].receipt)
    assert await admin.items() != []  # the cursor
    assert await admin.unread() == []


async def test_another_device_may_acknowledge_between_two_pages(admin: MailboxTable) -> None:
    """What it acknowledged does not come back, deleted or not (G4)."""
    for offset in (1, 2, 3, 4):
        await admin.deliver_offsets(offset)
    first = await admin.mailboxes.fetch("bob", limit=1)
    other = await admin.mailboxes.fetch("bob", limit=3)
    await admin.mailboxes.ack("bob", other.receipt)
    await admin.deliver_offsets(2, 3)  # a replay at work
    second = await admin.mailboxes.fetch("bob", after=first.receipt)

    assert (offsets(second), second.more) == ([4], False)
    await admin.mailboxes.ack("bob", first.receipt)
    assert await admin.cursor() == {LOG: 3}


async def test_a_page_goes_on_behind_a_writer_at_work(admin: MailboxTable) -> None:
    """New messages and overlapping bundles between two pages: none lost, none twice (G2, G5)."""
    await admin.deliver_offsets(1, 2, 3)
    first = await admin.mailboxes.fetch("bob", limit=2)
    await admin.deliver_offsets(2, 3, 4)
    await admin.deliver_offsets(5)
    second = await admin.mailboxes.fetch("bob", after=first.receipt)

    assert (offsets(first), offsets(second)) == ([1, 2], [3, 4, 5])


@pytest.mark.parametrize("after", ["", "nonsense", "A" * 100_000])
async def test_going_on_from_no_receipt_is_refused(admin: MailboxTable, after: str) -> None:
    """A client's text is checked before it is believed (G6)."""
    with pytest.raises(InvalidReceipt):
        await admin.mailboxes.fetch("bob", after=after)
