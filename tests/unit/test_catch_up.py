"""Catching up at a reconnect: nothing on its way is missed, and no proof is wrong (G11)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante import MailboxError, Page, StoreUnavailable, UnreadableItem, claims_reader
from poste_restante.claims import CLAIMS_KEY, Freshness, combine
from poste_restante.partitioners import murmur2
from poste_restante.position import LogId
from poste_restante.testing import InMemoryMailboxes
from poste_restante.testing import mailboxes as mailboxes_fixture

mailboxes = mailboxes_fixture


async def shown(
    mailboxes: InMemoryMailboxes, user: str = "bob", **options: Any
) -> tuple[list[bytes], bool]:
    """The bodies that are shown, and whether that was proven complete."""
    catching_up = mailboxes.catch_up(user, **{"until": mailboxes.now} | options)
    bodies = [message.body async for page in catching_up for message in page.messages]
    return bodies, catching_up.complete


async def test_what_is_on_its_way_is_waited_for(mailboxes: InMemoryMailboxes) -> None:
    """A fetch at that instant is right, and misses it."""
    mailboxes.deliver("bob", b"there")
    mailboxes.deliver("bob", b"on its way", after_s=4)
    page = await mailboxes.fetch("bob", freshness=True)
    assert [message.body for message in page.messages] == [b"there"]
    assert page.fresh_as_of is not None
    assert page.fresh_as_of < mailboxes.now

    assert await shown(mailboxes) == ([b"there", b"on its way"], True)


async def test_a_page_says_up_to_when_it_is_complete(mailboxes: InMemoryMailboxes) -> None:
    """The claims' instant, with the clocks' difference taken off; and only where it is asked."""
    mailboxes.freshness_lag_s = 3
    page = await mailboxes.fetch("bob", freshness=True)
    assert page.fresh_as_of == mailboxes.now - timedelta(seconds=4)
    assert (await mailboxes.fetch("bob")).fresh_as_of is None
    mailboxes.freshness_lag_s = None
    mailboxes.advance(2)
    assert (await mailboxes.fetch("bob", freshness=True)).fresh_as_of is None


async def test_every_message_is_shown_once_and_in_order(mailboxes: InMemoryMailboxes) -> None:
    """Page by page, with mail that arrives in between, and acknowledged or not."""
    for n in range(7):
        mailboxes.deliver("bob", b"%d" % n)
    for n in range(7, 9):
        mailboxes.deliver("bob", b"%d" % n, after_s=n - 4)
    catching_up = mailboxes.catch_up("bob", until=mailboxes.now, limit=3)
    bodies: list[list[bytes]] = []
    async for page in catching_up:
        bodies.append([message.body for message in page.messages])
        if len(bodies) % 2:
            await mailboxes.ack("bob", page.receipt)
    assert [body for page in bodies for body in page] == [b"%d" % n for n in range(9)]
    assert max(map(len, bodies)) == 3
    assert catching_up.complete


async def test_nothing_is_acknowledged(mailboxes: InMemoryMailboxes) -> None:
    mailboxes.deliver("bob", b"hello")
    assert await shown(mailboxes) == ([b"hello"], True)
    assert await shown(mailboxes) == ([b"hello"], True)


async def test_it_reads_since_a_receipt_and_as_a_device(mailboxes: InMemoryMailboxes) -> None:
    mailboxes.deliver("bob", b"first")
    page = await mailboxes.fetch("bob")
    mailboxes.deliver("bob", b"second", after_s=1)
    assert await shown(mailboxes, since=page.receipt) == ([b"second"], True)
    await mailboxes.ack("bob", page.receipt)
    await mailboxes.add_device("bob", "phone", start="oldest")
    assert await shown(mailboxes, device="phone") == ([b"first", b"second"], True)
    assert await shown(mailboxes) == ([b"second"], True)


async def test_offsets_are_proven_without_a_clock(mailboxes: InMemoryMailboxes) -> None:
    """A producer's acknowledgement names partition and offset. No difference is taken off."""
    message = mailboxes.deliver("bob", b"on its way", after_s=2)
    position = message.position
    bodies, complete = await shown(mailboxes, until={position.partition: position.offset})
    assert (bodies, complete) == ([b"on its way"], True)
    mailboxes.deliver("bob", b"later", after_s=60)
    assert await shown(mailboxes, until={0: 0}, timeout_s=0) == ([b"on its way"], True)


@pytest.mark.parametrize("until", [{0: 99}, {7: 0}, {0: 0, 7: 0}], ids=str)
async def test_offsets_that_do_not_exist_are_not_proven(
    mailboxes: InMemoryMailboxes, until: dict[int, int]
) -> None:
    mailboxes.deliver("bob", b"hello")
    assert await shown(mailboxes, until=until, timeout_s=5) == ([b"hello"], False)


async def test_an_instant_of_the_future_is_proven_when_it_has_passed(
    mailboxes: InMemoryMailboxes,
) -> None:
    soon = mailboxes.now + timedelta(seconds=4)
    assert await shown(mailboxes, until=soon, timeout_s=30) == ([], True)
    assert mailboxes.now > soon
    late = mailboxes.now + timedelta(seconds=60)
    assert await shown(mailboxes, until=late, timeout_s=10) == ([], False)


async def test_a_timeout_ends_it_without_a_proof(mailboxes: InMemoryMailboxes) -> None:
    """What arrived until then is shown."""
    mailboxes.freshness_lag_s = None
    mailboxes.deliver("bob", b"late", after_s=9)
    began = mailboxes.now
    assert await shown(mailboxes, timeout_s=10) == ([b"late"], False)
    assert (mailboxes.now - began).total_seconds() == 10


async def test_a_timeout_of_0_reads_once(mailboxes: InMemoryMailboxes) -> None:
    mailboxes.deliver("bob", b"hello")
    began = mailboxes.now
    assert await shown(mailboxes, timeout_s=0) == ([b"hello"], False)
    assert mailboxes.now == began
    assert await shown(mailboxes, timeout_s=0, until=began - timedelta(seconds=2)) == (
        [b"hello"], True,
    )  # fmt: skip


async def test_two_of_one_user_do_not_disturb_each_other(mailboxes: InMemoryMailboxes) -> None:
    for n in range(5):
        mailboxes.deliver("bob", b"%d" % n, after_s=n)
    found = await asyncio.gather(*(shown(mailboxes, limit=2) for _ in range(2)))
    assert found == [([b"%d" % n for n in range(5)], True)] * 2


async def test_a_store_that_is_away_is_waited_for(mailboxes: InMemoryMailboxes) -> None:
    """In the middle of a reading as well; nothing is shown twice."""
    for n in range(4):
        mailboxes.deliver("bob", b"%d" % n)
    catching_up = mailboxes.catch_up("bob", until=mailboxes.now, limit=2)
    first = await anext(catching_up)
    mailboxes.fail_next(StoreUnavailable("away"), operation="Query", calls=2)
    rest = [page async for page in catching_up]
    bodies = [message.body for page in [first, *rest] for message in page.messages]
    assert (bodies, catching_up.complete) == ([b"0", b"1", b"2", b"3"], True)


async def test_a_store_that_stays_away_is_raised_at_the_timeout(
    mailboxes: InMemoryMailboxes,
) -> None:
    mailboxes.fail_next(StoreUnavailable("away"), operation="Query", calls=99)
    catching_up = mailboxes.catch_up("bob", until=mailboxes.now, timeout_s=5)
    with pytest.raises(StoreUnavailable):
        await anext(catching_up)
    assert not catching_up.complete


async def test_an_unreadable_item_is_raised_and_proves_nothing(
    mailboxes: InMemoryMailboxes,
) -> None:
    """It may be a message that `until` asks for."""
    mailboxes.deliver("bob", b"hello")
    key = LogId(1, 0).head + "0000000000000000009.0000000000000000009"
    mailboxes.memory.put({
        "user_id": {"S": "bob"}, "position": {"S": key}, "v": {"N": "99"},
    })  # fmt: skip
    catching_up = mailboxes.catch_up("bob", until=mailboxes.now)
    assert [m.body for m in (await anext(catching_up)).messages] == [b"hello"]
    with pytest.raises(UnreadableItem):
        await anext(catching_up)
    assert not catching_up.complete


async def test_claims_that_cannot_be_read_delay_nothing_but_the_proof(
    mailboxes: InMemoryMailboxes, caplog: pytest.LogCaptureFixture
) -> None:
    """And one line says so, not one per call."""
    query = mailboxes.memory.query

    async def refuses(key: str, **arguments: Any) -> Any:
        if key == CLAIMS_KEY:
            raise MailboxError("the store refuses: AccessDeniedException")
        return await query(key, **arguments)

    mailboxes.memory.query = refuses  # type: ignore[method-assign]
    mailboxes.deliver("bob", b"hello")
    assert await shown(mailboxes, timeout_s=5) == ([b"hello"], False)
    (line,) = caplog.messages
    assert line == (
        "no proof of freshness: cannot read the claims of freshness: the store refuses:"
        " AccessDeniedException"
    )


async def test_what_was_read_ahead_hides_nothing_that_came_since() -> None:
    """A page that ended before the claims were read has left items of one log; all others are read
    anew."""
    mailboxes = InMemoryMailboxes(partitions=2)
    for n in range(3):
        mailboxes.deliver("bob", b"%d" % n, partition=1)
    first = await mailboxes.fetch("bob", limit=1)  # keeps what it read beyond the page
    assert len(first.messages) == 1
    mailboxes.deliver("bob", b"between", partition=0)
    page = await mailboxes.fetch("bob", limit=9, freshness=True)
    assert [m.body for m in page.messages] == [b"between", b"0", b"1", b"2"]


async def test_the_claims_are_read_before_the_mailbox(mailboxes: InMemoryMailboxes) -> None:
    """What becomes durable and claimed between the two is not taken for read."""
    asked: list[str] = []
    query = mailboxes.memory.query

    async def noted(key: str, **arguments: Any) -> Any:
        asked.append(key)
        if key == "bob":
            mailboxes.deliver("bob", b"in between")
        return await query(key, **arguments)

    mailboxes.memory.query = noted  # type: ignore[method-assign]
    await mailboxes.fetch("bob", freshness=True)
    assert asked.index(CLAIMS_KEY) < asked.index("bob")


async def test_one_read_of_the_claims_serves_everybody(mailboxes: InMemoryMailboxes) -> None:
    asked: list[str] = []
    query = mailboxes.memory.query

    async def noted(key: str, **arguments: Any) -> Any:
        asked.append(key)
        await asyncio.sleep(0)
        return await query(key, **arguments)

    mailboxes.memory.query = noted  # type: ignore[method-assign]
    await mailboxes.fetch("bob")
    assert CLAIMS_KEY not in asked
    await asyncio.gather(*(mailboxes.fetch(f"u{n}", freshness=True) for n in range(50)))
    assert asked.count(CLAIMS_KEY) == 1
    mailboxes.advance(1)
    await mailboxes.fetch("bob", freshness=True)
    assert asked.count(CLAIMS_KEY) == 2


async def test_what_one_read_says_is_worked_out_once(mailboxes: InMemoryMailboxes) -> None:
    """Not for each of those who ask: they may be ten thousand (G8)."""
    combined: list[Freshness] = []

    def counting(*arguments: Any, **more: Any) -> Freshness:
        combined.append(combine(*arguments, **more))
        return combined[-1]

    with patch.object(claims_reader, "combine", counting):
        for n in range(20):
            await mailboxes.fetch(f"u{n}", freshness=True)
        mailboxes.advance(1)
        await mailboxes.fetch("bob", freshness=True)
    assert len(combined) == 2


async def test_partitions_in_which_the_mailbox_has_mail_count_whatever_the_partitioner_says() -> (
    None
):
    """A partitioner that is not the producers' proves less."""
    mailboxes = InMemoryMailboxes(partitions=2, partitioner=lambda key, partitions: 0)
    mailboxes.deliver("bob", b"elsewhere", partition=1)
    mailboxes.deliver("ann", b"on its way", partition=1, after_s=5)
    began = mailboxes.now
    assert await shown(mailboxes, until=began) == ([b"elsewhere"], True)
    assert (mailboxes.now - began).total_seconds() >= 5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"until": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the point
        ({"until": 5}, "must be a datetime"),
        ({"until": {}}, "must name a partition"),
        ({"until": {-1: 0}}, "at least 0"),
        ({"until": {0: -1}}, "at least 0"),
        ({"until": {"0": 1}}, "must be an int"),
        ({"until": {0: 2**63}}, "at most"),
        ({"timeout_s": -1}, "above 0"),
        ({"timeout_s": "9"}, "number of seconds"),
        ({"limit": 0}, "at least 1"),
        ({"device": "no such/name"}, "a device's name"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_used_are_named(
    mailboxes: InMemoryMailboxes, options: dict[str, Any], error: str
) -> None:
    """Before anything is called."""
    with pytest.raises((TypeError, ValueError), match=error):
        mailboxes.catch_up("bob", **{"until": datetime.now(UTC), **options})


async def test_a_page_behind_another_one_has_no_freshness(mailboxes: InMemoryMailboxes) -> None:
    """Messages may have arrived in front of it."""
    mailboxes.deliver("bob", b"hello")
    page = await mailboxes.fetch("bob", limit=1)
    with pytest.raises(ValueError, match="proves nothing"):
        await mailboxes.fetch("bob", after=page.receipt, freshness=True)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"partitioner": "fnv"}, "one of 'murmur2', 'crc32', or a callable"),
        ({"clock_skew_s": -1}, "clock_skew_s must be above 0"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        InMemoryMailboxes(**options)


async def test_it_may_be_cancelled_anywhere(mailboxes: InMemoryMailboxes) -> None:
    """At every await: nothing is left behind, and it is not complete."""
    for n in range(4):
        mailboxes.deliver("bob", b"%d" % n, after_s=n)
    until = mailboxes.now + timedelta(seconds=5)
    for awaits in range(200):
        catching_up = mailboxes.catch_up("bob", until=until, limit=1, timeout_s=60)
        task = asyncio.create_task(_drain(catching_up))
        for _ in range(awaits):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not catching_up.complete
    assert catching_up.complete


async def _drain(pages: AsyncIterator[Page]) -> list[Page]:
    return [page async for page in pages]


#: A message: its partition, seconds before the next one, and seconds until it is in the mailbox.
MAIL = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 6))


@given(
    st.lists(MAIL, max_size=12), st.integers(0, 12), st.integers(1, 4), st.integers(0, 4),
    st.sampled_from([None, "murmur2"]),
)  # fmt: skip
def test_a_proof_is_never_wrong(
    mail: list[tuple[int, int, int]], at: int, limit: int, lag_s: int, partitioner: str | None
) -> None:
    """Whatever is in flight in whichever partition when a user comes."""

    async def history() -> None:
        mailboxes = InMemoryMailboxes(partitions=3, partitioner=partitioner)
        mailboxes.freshness_lag_s = lag_s
        before: list[bytes] = []
        came: datetime | None = None
        for n, (partition, pause_s, after_s) in enumerate(mail):
            if n == at:
                came = mailboxes.now
                mailboxes.advance(0.001)
            if partitioner is not None:
                partition = murmur2(b"bob", 3)  # noqa: PLW2901 - all of bob's mail is there
            mailboxes.deliver("bob", b"%d" % n, partition=partition, after_s=after_s)
            if came is None:
                before.append(b"%d" % n)
            mailboxes.advance(pause_s)
        until = mailboxes.now if came is None else came + timedelta(milliseconds=1)
        mailboxes.advance(0.001)
        bodies, complete = await shown(mailboxes, until=until, limit=limit, timeout_s=60)
        assert complete
        assert set(before) <= set(bodies)
        assert len(bodies) == len(set(bodies))

    asyncio.run(history())
