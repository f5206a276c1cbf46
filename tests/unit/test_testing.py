"""poste_restante.testing: what it gives to the tests of a gateway."""

import copy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poste_restante import InvalidReceipt, MailboxError, Mailboxes, StoreUnavailable
from poste_restante.position import LogId
from poste_restante.testing import BEGINNING, InMemoryMailboxes
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


NAIVE = BEGINNING.replace(tzinfo=None)

#: What a test may hand over by mistake, and a little that is right.
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.just(2**70), st.floats(), st.text(max_size=3),
    st.just("\ud800"), st.binary(max_size=3), st.just(b"x" * 400_000), st.datetimes(),
    st.just(BEGINNING), st.lists(st.tuples(st.text(max_size=2), st.none()), max_size=2),
    st.just([("a", "text")]), st.just([7]), st.builds(object), st.just(StoreUnavailable),
)  # fmt: skip
#: All logs of which ANYTHING is the epoch, the partition, or both.
LOGS = [LogId(epoch, partition) for epoch in range(1, 4) for partition in range(4)]
_OF_A_DELIVERY = ["body", "id", "source", "type", "time", "content_type", "headers", "expires_at",
                  "partition", "epoch"]  # fmt: skip
_OF_A_FETCH = ["limit", "max_bytes", "after"]
CALLS = st.one_of(
    st.tuples(st.just("deliver"), st.sampled_from(["bob", 7, b"bob", None, "", "x" * 1025]),
              st.dictionaries(st.sampled_from(_OF_A_DELIVERY), ANYTHING, max_size=2)),
    st.tuples(st.just("fetch"), ANYTHING | st.just("bob"),
              st.dictionaries(st.sampled_from(_OF_A_FETCH), ANYTHING, max_size=2)),
    st.tuples(st.just("ack"), ANYTHING | st.just("bob"),
              st.fixed_dictionaries({"receipt": ANYTHING})),
    st.tuples(st.just("fail_next"), ANYTHING, st.dictionaries(
        st.sampled_from(["operation", "calls"]), ANYTHING, min_size=1, max_size=2)),
    st.tuples(st.just("advance"), ANYTHING, st.just({})),
)  # fmt: skip


@given(st.lists(CALLS, max_size=8))
@example([("deliver", "bob", {"body": b"x" * 400_000})])
@example([("fail_next", StoreUnavailable("away"), {"calls": "many"})])
async def test_a_method_that_raises_leaves_everything_as_it_was(
    calls: list[tuple[str, Any, dict[str, Any]]],
) -> None:
    """What is half stored makes every later fetch fail, far from the mistake (G2)."""
    mailboxes = InMemoryMailboxes()
    first = mailboxes.deliver("bob", b"first")
    delivered = Counter([first.position.log])
    for name, argument, more in calls:
        before = copy.deepcopy(mailboxes.memory.items), mailboxes.now
        try:
            done = getattr(mailboxes, name)(argument, **more)
            if name in {"fetch", "ack"}:
                await done
        except (TypeError, ValueError, OverflowError, MailboxError):
            assert (mailboxes.memory.items, mailboxes.now) == before, (name, argument, more)
        else:
            delivered.update([done.position.log] if name == "deliver" else [])
    mailboxes.now = BEGINNING
    page = await mailboxes.fetch("bob")  # no failure was ordered either

    assert first in page.messages
    for log in LOGS:
        message = mailboxes.deliver("ann", epoch=log.epoch, partition=log.partition)
        assert message.position.offset == delivered[log]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m: m.deliver("eve", "text"), TypeError, "body must be bytes, not str: encode it"),
        (lambda m: m.deliver(b"eve"), TypeError, "user_id must be a str, not bytes: decode it"),
        (lambda m: m.deliver("eve", id=7), TypeError, "id must be a str, not int"),
        (lambda m: m.deliver("eve", id=""), ValueError, "id must not be empty"),
        (lambda m: m.deliver("eve", time=NAIVE), ValueError,
         "time must have a time zone"),
        (lambda m: m.deliver("eve", expires_at=NAIVE), ValueError,
         "expires_at must have a time zone"),
        (lambda m: m.deliver("eve", expires_at=60), TypeError, "expires_at must be a datetime"),
        (lambda m: m.deliver("eve", headers={"a": b"1"}), TypeError, "an element of headers"),
        (lambda m: m.deliver("eve", headers=[("a", "1")]), TypeError,
         "the value of 'a' in headers must be bytes"),
        (lambda m: m.deliver("eve", partition=-1), ValueError, "partition must be at least 0"),
        (lambda m: m.deliver("eve", epoch=0), ValueError, "epoch must be at least 1, not 0"),
        (lambda m: m.fail_next(StoreUnavailable), TypeError, "an exception that was made"),
        (lambda m: m.fail_next(OSError(), operation="query"), ValueError, "one of Query, "),
        (lambda m: m.fail_next(OSError(), calls=0), ValueError, "calls must be at least 1"),
        (lambda m: setattr(m, "now", NAIVE), ValueError,
         "now must have a time zone"),
        (lambda m: m.advance("60"), TypeError, "seconds must be a number, not str"),
        (lambda _: InMemoryMailboxes(topic=""), ValueError, "topic must not be empty"),
        (lambda _: InMemoryMailboxes(page_bytes=0), ValueError, "page_bytes must be at least 1"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(
    call: Callable[[InMemoryMailboxes], object], error: type[Exception], says: str
) -> None:
    """In one line, with what to give, before anything is stored (G9)."""
    mailboxes = InMemoryMailboxes()
    before = copy.deepcopy(mailboxes.memory.items)
    with pytest.raises(error, match=says) as caught:
        call(mailboxes)

    assert "\n" not in str(caught.value)
    assert mailboxes.memory.items == before


async def test_bytes_that_can_change_are_copied(mailboxes: InMemoryMailboxes) -> None:
    """What was delivered stays (G1)."""
    body = bytearray(b"hello")
    mailboxes.deliver("bob", body)  # type: ignore[arg-type]
    body.clear()

    assert (await mailboxes.fetch("bob")).messages[0].body == b"hello"


async def test_messages_in_flight_arrive_in_the_order_of_their_log(
    mailboxes: InMemoryMailboxes,
) -> None:
    """One that is on its way holds up those behind it in its partition, and no others (G2)."""
    mailboxes.deliver("bob", b"first", after_s=5)
    mailboxes.deliver("bob", b"second")
    mailboxes.deliver("bob", b"elsewhere", partition=1)
    assert [m.body for m in (await mailboxes.fetch("bob")).messages] == [b"elsewhere"]
    mailboxes.advance(5)
    page = await mailboxes.fetch("bob")
    assert [m.body for m in page.messages] == [b"first", b"second", b"elsewhere"]


async def test_it_is_opened_and_closed_as_the_real_one() -> None:
    """In place of `open_mailboxes`: behind its block calls are refused (G8)."""
    async with InMemoryMailboxes() as opened:
        opened.deliver("bob", b"hello")
        assert len((await opened.fetch("bob")).messages) == 1
    with pytest.raises(RuntimeError, match="closed"):
        await opened.fetch("bob")


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_the_fixture_works_in_every_mode_of_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    """As a gateway's own tests use it, in a process of their own (G8)."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["poste_restante.testing"]\n')
    (tmp_path / "test_gateway.py").write_text(
        "import pytest\n"
        "@pytest.mark.asyncio\n"
        "async def test_bob(mailboxes):\n"
        "    mailboxes.deliver('bob', b'hello', after_s=1)\n"
        "    found = mailboxes.catch_up('bob', until=mailboxes.now)\n"
        "    assert [len(p.messages) async for p in found] == [1] and found.complete\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o",
         f"asyncio_mode={mode}", "--rootdir", tmp_path, tmp_path],
        capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5"])
def test_seconds_that_cannot_be_used_are_named(mailboxes: InMemoryMailboxes, seconds: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="after_s"):
        mailboxes.deliver("bob", b"hello", after_s=seconds)
    with pytest.raises((ValueError, TypeError), match="freshness_lag_s"):
        mailboxes.freshness_lag_s = seconds
