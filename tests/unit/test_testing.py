"""poste_restante.testing: what it gives to the tests of a gateway."""

from datetime import UTC, datetime, timedelta

import pytest

from poste_restante import InvalidReceipt, Mailboxes, StoreUnavailable
from poste_restante.testing import InMemoryMailboxes
from poste_restante.testing import mailboxes as mailboxes_fixture

mailboxes = mailboxes_fixture


async def test_what_is_delivered_is_fetched(mailboxes: InMemoryMailboxes) -> None:
    """As the message says that `deliver` returns (G1)."""
    first = mailboxes.deliver("bob", b"hello")
    second = mailboxes.deliver(
        "bob", b"", id="m-2", source="/chat", type="sent", content_type="text/plain",
        time=datetime(2026, 1, 2, tzinfo=UTC), headers=[("a", b"1"), ("a", None)],
        partition=4, epoch=2,
    )  # fmt: skip
    mailboxes.deliver("ann", b"not bob's")
    page = await mailboxes.fetch("bob")

    assert page.messages == (first, second)
    assert first.id == "undelivered-messages/1/0/0"
    assert tuple(second.position) == (2, 4, 0)
    await mailboxes.ack("bob", page.receipt)
    assert (await mailboxes.fetch("bob")).messages == ()


async def test_it_is_a_mailboxes(mailboxes: InMemoryMailboxes) -> None:
    """A gateway that takes Mailboxes takes it (G6)."""
    assert isinstance(mailboxes, Mailboxes)
    assert isinstance(mailboxes, InMemoryMailboxes)


async def test_time_passes_when_it_is_told_to(mailboxes: InMemoryMailboxes) -> None:
    """So expiry can be tested (G2)."""
    mailboxes.deliver("bob", b"soon gone", expires_at=mailboxes.now + timedelta(seconds=5))
    mailboxes.deliver("bob", b"stays")
    mailboxes.advance(4.9)
    assert len((await mailboxes.fetch("bob")).messages) == 2

    mailboxes.advance(0.1)
    assert [each.body for each in (await mailboxes.fetch("bob")).messages] == [b"stays"]


async def test_deliver_returns_what_a_fetch_will(mailboxes: InMemoryMailboxes) -> None:
    """Also where a moment has more digits than are stored (G1)."""
    soon = mailboxes.now + timedelta(hours=1, microseconds=1_234)
    message = mailboxes.deliver("bob", b"hello", time=soon, expires_at=soon)

    assert (await mailboxes.fetch("bob")).messages == (message,)
    assert message.expires_at == mailboxes.now + timedelta(hours=1, milliseconds=1)


@pytest.mark.parametrize("seconds", [0, 60])
async def test_a_look_at_the_table_takes_no_ordered_failure(
    mailboxes: InMemoryMailboxes, seconds: float
) -> None:
    """Two failures are two fetches, also of the first ones, and of those after a minute, beside
    which the table record is looked at (G8)."""
    mailboxes.deliver("bob", b"hello")
    if seconds:
        await mailboxes.fetch("bob")
        mailboxes.advance(seconds)
    mailboxes.fail_next(StoreUnavailable("away"), operation="Query", calls=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await mailboxes.fetch("bob")

    assert len((await mailboxes.fetch("bob")).messages) == 1


async def test_failures_can_be_ordered(mailboxes: InMemoryMailboxes) -> None:
    """Of any operation or of one, so many times (G1)."""
    mailboxes.deliver("bob", b"hello")
    await mailboxes.fetch("bob")
    mailboxes.fail_next(StoreUnavailable("away", throttled=True), operation="UpdateItem")
    mailboxes.fail_next(StoreUnavailable("away"), operation="Query", calls=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await mailboxes.fetch("bob")
    page = await mailboxes.fetch("bob")
    with pytest.raises(StoreUnavailable) as caught:
        await mailboxes.ack("bob", page.receipt)
    assert caught.value.throttled

    mailboxes.fail_next(OSError())
    with pytest.raises(StoreUnavailable):
        await mailboxes.fetch("bob")
    await mailboxes.ack("bob", page.receipt)
    assert (await mailboxes.fetch("bob")).messages == ()


async def test_queries_can_be_made_small() -> None:
    """So that several pages are seen without megabytes (G8)."""
    mailboxes = InMemoryMailboxes(page_bytes=300)
    for n in range(10):
        mailboxes.deliver("bob", b"%d" % n)
    pages = [page async for page in mailboxes.pages("bob")]

    assert len(pages) > 2
    assert b"".join(m.body for page in pages for m in page.messages) == b"0123456789"


async def test_receipts_are_checked_as_the_real_ones_are() -> None:
    """Signed with keys, and bound to these mailboxes (G6)."""
    one, two = InMemoryMailboxes(receipt_keys=["key"]), InMemoryMailboxes(receipt_keys=["key"])
    for each in (one, two):
        each.deliver("bob", b"hello")
    receipt = (await one.fetch("bob")).receipt
    with pytest.raises(InvalidReceipt):
        await two.ack("bob", receipt)


@pytest.mark.parametrize(
    ("user_id", "body"), [("", b""), ("x" * 1025, b""), ("bob", b"x" * 400_000)]
)
def test_what_the_worker_would_not_put_into_a_mailbox_is_refused(user_id: str, body: bytes) -> None:
    """Its record becomes a dead letter (G9)."""
    mailboxes = InMemoryMailboxes()
    with pytest.raises(ValueError, match=r"user id|fit an item"):
        mailboxes.deliver(user_id, body)

    assert mailboxes.deliver("bob").position.offset == 0
