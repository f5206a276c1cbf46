"""Audited readers: they do what users do, journal all of it, and are clean over a sound table."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from poste_restante import Mailboxes, StoreUnavailable
from poste_restante.testing import InMemoryMailboxes
from tests.audit import AuditedMailboxes, AuditedReaders, Journal
from tests.audit.journal import Outcome, Outgoing
from tests.audit.judge import judge_readings
from tests.audit.keys import Log
from tests.audit.log import Truth, log_record
from tests.audit.verdict import Kind

USERS = ("bob", "eve", "!mallory")
SEED = 11
#: Fetches until a run has seen enough; and seconds that it may take.
FETCHES, RUN_S_MAX = 400, 60.0
#: Messages for each fetch: mailboxes are some pages long.
DELIVERED = 2


class Office:
    """Mailboxes in memory, and the log that they were delivered from."""

    def __init__(self) -> None:
        self.mailboxes = InMemoryMailboxes(page_bytes=700)  # a page is several Queries
        self.journal = Journal()
        self.truth = Truth()

    def deliver(self, user: str, body: bytes) -> None:
        sent = self.journal.sending(Outgoing(key=user.encode(), value=body))
        message = self.mailboxes.deliver(user, body)
        offset = message.position.offset
        headers = [("audit", b"%d" % sent.number)]
        self.truth.records.setdefault(0, {})[offset] = log_record(
            user.encode(), body, headers, 1, self.journal.produced
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Mailboxes]:
        yield self.mailboxes


async def test_readers_do_everything_and_are_clean() -> None:
    """Whole and partial acknowledgements, late, twice, cancelled and failed ones, of pages small
    and large: all in the journal, and nothing wrong (G2 to G6)."""
    office, rng = Office(), random.Random(SEED)
    readers = AuditedReaders(office.journal, office.opened, USERS, seed=SEED, rest_s=0.0)
    async with asyncio.timeout(RUN_S_MAX), readers:
        delivered = 0
        while len(office.journal.fetches) < FETCHES:
            await asyncio.sleep(0)
            while delivered < DELIVERED * (1 + len(office.journal.fetches)):
                office.deliver(rng.choice(USERS), b"%d" % delivered)
                delivered += 1
                if rng.random() < 0.02:
                    operation = rng.choice(("Query", "UpdateItem"))
                    office.mailboxes.fail_next(StoreUnavailable("away"), operation=operation)
    verdict = judge_readings(office.journal, office.truth)

    assert not verdict.counts, f"seed {SEED}: {verdict.line()}"
    outcomes = {ack.outcome for ack in office.journal.acks}
    assert outcomes == {Outcome.CONFIRMED, Outcome.UNKNOWN}
    assert verdict.unanswered > 0
    assert any(fetch.after is not None for fetch in office.journal.fetches)
    assert all(fetch.ended is not None for fetch in office.journal.fetches)


async def test_an_unexpected_error_ends_the_readers_and_is_raised() -> None:
    """A fault of ours, or of the product, is not taken for a store that is away."""
    office = Office()
    office.mailboxes.fail_next(ZeroDivisionError("ours"), operation="Query")

    async def run() -> None:
        async with AuditedReaders(office.journal, office.opened, USERS, seed=SEED):
            await asyncio.sleep(0)

    with pytest.raises(ZeroDivisionError):
        await run()


async def test_a_page_of_nothing_has_nothing_to_acknowledge() -> None:
    """And what follows it is a reading of its own (G6)."""
    office = Office()
    mailboxes = AuditedMailboxes(office.journal, office.mailboxes)
    nothing = await mailboxes.fetch("bob")
    await mailboxes.ack(nothing)
    office.deliver("bob", b"x")
    page = await mailboxes.fetch("bob", after=nothing)

    assert office.journal.acks == []
    assert page.fetch.after is None
    assert list(page.fetch.offsets[Log(1, 0)]) == [0]


async def test_a_reader_that_forgets_the_cursor_is_seen() -> None:
    """The store loses an acknowledged cursor, and what it covered is shown again (G4)."""
    office = Office()
    for body in (b"1", b"2"):
        office.deliver("bob", body)
    mailboxes = AuditedMailboxes(office.journal, office.mailboxes)
    (page,) = await mailboxes.read("bob")
    before = dict(office.mailboxes.memory.items)
    await mailboxes.ack(page)
    office.mailboxes.memory.items.update(before)  # the bundles come back, as after a replay
    await mailboxes.read("bob")
    assert not judge_readings(office.journal, office.truth).counts
    office.mailboxes.memory.items = before  # and now without the cursor
    await mailboxes.read("bob")

    assert judge_readings(office.journal, office.truth).counts[Kind.ECHOED] == 1
