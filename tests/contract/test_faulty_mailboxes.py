"""A gateway's own client against every fault: what fetch and ack make of it, and what the table
holds then. In all of them botocore's own attempts come first; most tests give it one."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress

import pytest

from poste_restante import (
    MailboxError,
    Mailboxes,
    StoreUnavailable,
    TableMismatch,
    open_mailboxes,
    table_check,
)
from poste_restante.position import LogId
from tests.contract.faulty import (
    LASTING,
    MADE,
    PASSING,
    THROTTLING,
    Faulty,
    ids,
    rounds,
    timeout_s,
)
from tests.fault_proxy import Fault, assert_met, nth
from tests.mailbox_table import offsets
from tests.records import message

LOG = LogId(1, 3)
THREE = [(0, 0), (1, 1), (2, 2)]
FETCH, RAISE, DELETE = "Query", "UpdateItem", "BatchWriteItem"
#: More than a gateway keeps after the calls of one fetch.
CONNECTIONS_MAX = 4


def opened(
    faulty: Faulty, fault: Fault, attempts: int = 1, *, deletes: bool = False
) -> AbstractAsyncContextManager[Mailboxes]:
    return open_mailboxes(
        table=faulty.table,
        timeout_s=timeout_s(fault),
        attempts=attempts,
        delete_acknowledged=deletes,
    )


async def delivered(faulty: Faulty, mailboxes: Mailboxes, user: str) -> str:
    """Three bundles; the receipt of all."""
    for offset in range(3):
        await faulty.mailbox_table.deliver(message(offset, user))
    page = await mailboxes.fetch(user)
    assert offsets(page) == [0, 1, 2]
    assert page.receipt is not None
    return page.receipt


async def over(fault: Fault, faulty: Faulty, mailboxes: Mailboxes) -> None:
    """The fault is over for this gateway: at once after a refusal.

    That has reset each connection that was kept, and one whose end the loop has not come to see
    yet still fails the call that takes it. They are used up, all at the same time.
    """

    async def used_up() -> None:
        with suppress(StoreUnavailable):
            await mailboxes.fetch("nobody")

    faulty.endpoint.restored()
    if fault is Fault.REFUSED:
        await asyncio.gather(*(used_up() for _ in range(CONNECTIONS_MAX)))


def meant(fault: Fault) -> type[MailboxError]:
    if fault in LASTING:
        return TableMismatch if fault is Fault.NO_TABLE else MailboxError
    return StoreUnavailable


def said(error: MailboxError, fault: Fault) -> None:
    """The error is exactly what the fault means to a gateway."""
    assert type(error) is meant(fault)
    if isinstance(error, StoreUnavailable):
        assert error.throttled is (fault in THROTTLING)
    assert "hello" not in str(error)


@pytest.mark.parametrize("fault", ids([*PASSING, *LASTING]))
async def test_a_fetch_says_what_befell_it(
    faulty: Faulty, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the table record, the cursor or the items; the next one is whole (G2, G4, G9)."""
    monkeypatch.setattr(table_check, "TABLE_RECORD_TRUSTED_S", 0.0)  # each fetch reads the record
    async with opened(faulty, fault) as mailboxes:
        await delivered(faulty, mailboxes, "bob")
        after = (await mailboxes.fetch("bob", limit=1)).receipt
        for number in rounds(fault):
            faulty.endpoint.use(nth(fault, number % 3 + 1))
            with pytest.raises(MailboxError) as caught:
                await mailboxes.fetch("bob", after=after)
            said(caught.value, fault)
            assert faulty.endpoint.injected == {(fault, FETCH): number + 1}
            await over(fault, faulty, mailboxes)
            assert offsets(await mailboxes.fetch("bob", after=after)) == [1, 2]
    assert await faulty.mailbox_table.bundles() == THREE
    assert await faulty.mailbox_table.cursor() == {}


@pytest.mark.parametrize("fault", ids([*PASSING, *LASTING]))
async def test_an_ack_says_what_befell_it(faulty: Faulty, fault: Fault) -> None:
    """Nothing is deleted whose acknowledgement is not confirmed; the next ack is whole, and
    nothing comes back, also where the first lands behind it (G1, G4, G6)."""
    raised_at_once: set[bool] = set()
    async with opened(faulty, fault) as mailboxes:
        for number in rounds(fault):
            user = f"user-{number}"
            receipt = await delivered(faulty, mailboxes, user)
            faulty.apply_fault(fault, RAISE)
            with pytest.raises(MailboxError) as caught:
                await mailboxes.ack(user, receipt)
            said(caught.value, fault)
            assert await faulty.mailbox_table.bundles(user) == THREE

            cursor = await faulty.mailbox_table.cursor(user)
            assert cursor in ({}, {LOG: 2})
            raised_at_once.add(bool(cursor))
            await over(fault, faulty, mailboxes)
            seen = offsets(await mailboxes.fetch(user))
            assert seen == ([] if cursor else [0, 1, 2])
            await mailboxes.ack(user, receipt)
            faulty.endpoint.flush()
            assert await faulty.mailbox_table.cursor(user) == {LOG: 2}
            assert await faulty.mailbox_table.unread(user) == []
            assert offsets(await mailboxes.fetch(user)) == []
    assert faulty.endpoint.injected == {(fault, RAISE): len(rounds(fault))}
    assert raised_at_once == ({MADE[fault]} if fault in MADE else {False, True})


@pytest.mark.parametrize("fault", ids([Fault.UNPROCESSED, *PASSING, *LASTING]))
async def test_a_delete_that_fails_is_harmless(faulty: Faulty, fault: Fault) -> None:
    """The ack has succeeded, what is left is hidden, and goes later (G4, G6)."""
    left: list[Sequence[tuple[int, int]]] = []
    async with opened(faulty, fault, deletes=True) as mailboxes:
        for number in rounds(fault):
            user = f"user-{number}"
            receipt = await delivered(faulty, mailboxes, user)
            faulty.apply_fault(fault, DELETE)
            await mailboxes.ack(user, receipt)
            assert await faulty.mailbox_table.cursor(user) == {LOG: 2}
            left.append(await faulty.mailbox_table.bundles(user))

            await over(fault, faulty, mailboxes)
            page = await mailboxes.fetch(user)
            assert offsets(page) == []
            assert page.receipt is None
            faulty.endpoint.flush()
            await mailboxes.tidy(user)
            assert await faulty.mailbox_table.bundles(user) == []
    assert faulty.endpoint.injected == {(fault, DELETE): len(rounds(fault))}
    if fault in MADE and fault is not Fault.LATE:
        assert all(found == ([] if MADE[fault] else THREE) for found in left)
    elif fault is Fault.UNPROCESSED:
        assert all(1 <= len(found) <= 3 for found in left)


@pytest.mark.parametrize(
    "fault",
    ids([*THROTTLING, Fault.INTERNAL_ERROR, Fault.UNAVAILABLE, Fault.CUT_BEFORE, Fault.CUT_AFTER,
         Fault.LATE, Fault.SLOW]),
)  # fmt: skip
async def test_one_fault_is_not_seen_by_a_gateway(faulty: Faulty, fault: Fault) -> None:
    """By default a call has two attempts; the second one confirms what the first had made (G6)."""
    async with opened(faulty, fault, attempts=2) as mailboxes:
        receipt = await delivered(faulty, mailboxes, "bob")
        faulty.apply_fault(fault, FETCH)
        assert offsets(await mailboxes.fetch("bob")) == [0, 1, 2]
        faulty.apply_fault(fault, RAISE)
        await mailboxes.ack("bob", receipt)
        assert await faulty.mailbox_table.cursor() == {LOG: 2}
        assert await faulty.mailbox_table.unread() == []
        faulty.endpoint.flush()
        assert offsets(await mailboxes.fetch("bob")) == []
    assert_met(faulty.endpoint, [(fault, FETCH), (fault, RAISE)])


async def test_an_outage_is_said_and_passes(faulty: Faulty) -> None:
    """At the opening too; with a store that is back, all is as before (G1)."""
    async with opened(faulty, Fault.REFUSED) as mailboxes:
        receipt = await delivered(faulty, mailboxes, "bob")
        faulty.endpoint.outage()
        for work in (mailboxes.fetch("bob"), mailboxes.ack("bob", receipt)):
            with pytest.raises(StoreUnavailable):
                await work
        with pytest.raises(StoreUnavailable):
            await opened(faulty, Fault.REFUSED).__aenter__()
        faulty.endpoint.restored()
        assert offsets(await mailboxes.fetch("bob")) == [0, 1, 2]
        await mailboxes.ack("bob", receipt)
    assert await faulty.mailbox_table.unread() == []
