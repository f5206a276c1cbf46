"""Audited readers: they do what users do, journal all of it, and are clean over a sound table."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from poste_restante import Mailboxes, Page, StoreUnavailable
from poste_restante.devices import Cursors, DeviceStart
from poste_restante.item import Item
from poste_restante.position import CURSOR_KEY
from poste_restante.reading import Reading
from poste_restante.testing import InMemoryMailboxes
from poste_restante.tidying import common_cursor
from tests.audit import AuditedMailboxes, AuditedReaders, Journal
from tests.audit.auditor import kept_pages
from tests.audit.journal import Fetch, Outcome, Outgoing
from tests.audit.judge import FinalMailbox, judge, judge_readings
from tests.audit.keys import Log, Mailbox
from tests.audit.log import Truth, log_record
from tests.audit.verdict import Verdict, ViolationKind

USERS = ("bob", "eve", "!mallory")
SEED = 11
#: Fetches until a run has seen enough; and seconds that it may take.
FETCHES, RUN_S_MAX = 400, 60.0
#: Messages for each fetch: mailboxes are some pages long.
DELIVERED = 2


class AdminClient:
    """Mailboxes in memory, and the log that they were delivered from."""

    def __init__(self, *, delete_acknowledged: bool = False) -> None:
        self.mailboxes = InMemoryMailboxes(  # a page is several Queries
            page_bytes=700, delete_acknowledged=delete_acknowledged
        )
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
    and large, of accounts and devices: all in the journal, and nothing wrong (G2 to G6, G12)."""
    admin, rng = AdminClient(), random.Random(SEED)
    readers = AuditedReaders(admin.journal, admin.opened, USERS, seed=SEED, rest_s=0.0)
    async with asyncio.timeout(RUN_S_MAX), readers:
        delivered = 0
        while len(admin.journal.fetches) < FETCHES:
            await asyncio.sleep(0)
            while delivered < DELIVERED * (1 + len(admin.journal.fetches)):
                admin.deliver(rng.choice(USERS), b"%d" % delivered)
                delivered += 1
                if rng.random() < 0.02:
                    operation = rng.choice(("Query", "UpdateItem"))
                    admin.mailboxes.fail_next(StoreUnavailable("away"), operation=operation)
    verdict = judge_readings(admin.journal, admin.truth)

    assert not verdict.counts, f"seed {SEED}: {verdict.line()}"
    outcomes = {ack.outcome for ack in admin.journal.acks}
    assert outcomes == {Outcome.CONFIRMED, Outcome.UNKNOWN}
    assert verdict.unanswered > 0
    assert any(fetch.after is not None for fetch in admin.journal.fetches)
    assert any(fetch.since for fetch in admin.journal.fetches)
    assert {"desk", "phone"} <= {ack.of.device for ack in admin.journal.acks}
    assert any(device.startswith("guest") for _, device in admin.journal.removed)
    assert all(fetch.ended is not None for fetch in admin.journal.fetches)


async def test_an_unexpected_error_ends_the_readers_and_is_raised() -> None:
    """A fault of ours, or of the product, is not taken for a store that is away."""
    admin = AdminClient()
    admin.mailboxes.fail_next(ZeroDivisionError("ours"), operation="Query")

    async def run() -> None:
        async with AuditedReaders(admin.journal, admin.opened, USERS, seed=SEED):
            await asyncio.sleep(0)

    with pytest.raises(ZeroDivisionError):
        await run()


async def test_a_page_of_nothing_has_nothing_to_acknowledge() -> None:
    """And what follows it is a reading of its own (G6)."""
    admin = AdminClient()
    mailboxes = AuditedMailboxes(admin.journal, admin.mailboxes)
    nothing = await mailboxes.fetch("bob")
    await mailboxes.ack(nothing)
    admin.deliver("bob", b"x")
    page = await mailboxes.fetch("bob", after=nothing)

    assert admin.journal.acks == []
    assert page.fetch.after is None
    assert list(page.fetch.offsets[Log(1, 0)]) == [0]


async def test_a_reader_that_forgets_the_cursor_is_seen() -> None:
    """The store loses an acknowledged cursor, and what it covered is shown again (G4)."""
    admin = AdminClient()
    for body in (b"1", b"2"):
        admin.deliver("bob", body)
    mailboxes = AuditedMailboxes(admin.journal, admin.mailboxes)
    (page,) = await mailboxes.read("bob")
    before = admin.mailboxes.memory.items["bob"].copy()
    await mailboxes.ack(page)
    admin.mailboxes.memory.items["bob"].update(before)  # the bundles come back, as after a replay
    await mailboxes.read("bob")
    assert not judge_readings(admin.journal, admin.truth).counts
    admin.mailboxes.memory.items["bob"] = before  # and now without the cursor
    await mailboxes.read("bob")

    assert judge_readings(admin.journal, admin.truth).counts[ViolationKind.ECHOED] == 1


async def desk_and_keeper(admin: AdminClient) -> Verdict:
    """A device acknowledges a part beside the account, and another one keeps its receipt."""
    for number in range(4):
        admin.deliver("bob", b"%d" % number)
    mailboxes = AuditedMailboxes(admin.journal, admin.mailboxes)
    for device in ("desk", "keeper"):
        await mailboxes.add_device("bob", device)
    await mailboxes.ack(await mailboxes.fetch("bob", limit=2, device="desk"))
    await mailboxes.ack(await mailboxes.fetch("bob", limit=3))
    kept = await mailboxes.fetch("bob", limit=2, device="keeper")
    since = await mailboxes.read("bob", device="keeper", since=kept.fetch)
    readings = {
        "desk": (await mailboxes.read("bob", device="desk"))[-1].fetch,
        "keeper": since[-1].fetch,
    }
    return await final_verdict(admin, mailboxes, readings)


async def phone(admin: AdminClient) -> Verdict:
    """The account overtakes a page of a device without a cursor, and an older page makes one."""
    for number in range(4):
        admin.deliver("bob", b"%d" % number)
    mailboxes = AuditedMailboxes(admin.journal, admin.mailboxes)
    old, overtaken = [await mailboxes.fetch("bob", limit=n, device="phone") for n in (1, 3)]
    await mailboxes.ack(await mailboxes.fetch("bob"))
    late = await mailboxes.fetch("bob", after=overtaken, device="phone")
    for page in (old, late):
        await mailboxes.ack(page)
    readings = {"phone": (await mailboxes.read("bob", device="phone"))[-1].fetch}
    return await final_verdict(admin, mailboxes, readings)


async def final_verdict(
    admin: AdminClient, mailboxes: AuditedMailboxes, readings: dict[str, Fetch]
) -> Verdict:
    """On bob's mailbox as it stands, and the last reading of each of its devices."""
    raw = Mailbox()
    raw.add(item for _, item in sorted(admin.mailboxes.memory.items["bob"].items()))
    final = FinalMailbox(raw, (await mailboxes.read("bob"))[-1].fetch, {**readings})
    return judge(admin.journal, admin.truth, {"bob": final})


async def test_devices_that_see_what_their_own_cursor_leaves_are_clean() -> None:
    """Each is a reader of its own (G12)."""
    for devices in (desk_and_keeper, phone):
        assert not (await devices(AdminClient())).counts


def acks_for_the_account(patch: pytest.MonkeyPatch) -> None:
    raise_to = Cursors.raise_to

    async def wrong(self: Cursors, key: str, device: str | None, logs: Any) -> None:
        await raise_to(self, key, None, logs)

    patch.setattr(Cursors, "raise_to", wrong)


def acks_for_every_device(patch: pytest.MonkeyPatch) -> None:
    raise_to = Cursors.raise_to

    async def wrong(self: Cursors, key: str, device: str | None, logs: Any) -> None:
        for each in (device, *(found.name for found in await self.devices(key))):
            await raise_to(self, key, each, logs)

    patch.setattr(Cursors, "raise_to", wrong)


def adds_behind_everything(patch: pytest.MonkeyPatch) -> None:
    add = Cursors.add

    async def wrong(self: Cursors, key: str, device: str, start: DeviceStart) -> bool:
        return await add(self, key, device, "newest")

    patch.setattr(Cursors, "add", wrong)


def forgets_since(patch: pytest.MonkeyPatch) -> None:
    fetch = Mailboxes.fetch

    async def wrong(self: Mailboxes, user: str, **arguments: Any) -> Page:
        return await fetch(self, user, **{**arguments, "since": None})

    patch.setattr(Mailboxes, "fetch", wrong)


def skips_one_more_since(patch: pytest.MonkeyPatch) -> None:
    def wrong(**arguments: Any) -> Reading:
        since = arguments["since"]
        if since is not None:
            logs = {log: replace(r, ackable_to=r.ackable_to + 1) for log, r in since.logs.items()}
            arguments["since"] = replace(since, logs=logs)
        return Reading(**arguments)

    patch.setattr("poste_restante.mailboxes.Reading", wrong)


def takes_what_the_account_has_for_its_own(patch: pytest.MonkeyPatch) -> None:
    def wrong(**arguments: Any) -> Reading:
        return Reading(**{**arguments, "inherited": False})

    patch.setattr("poste_restante.mailboxes.Reading", wrong)


def deletes_what_a_device_has_not_passed(patch: pytest.MonkeyPatch) -> None:
    def wrong(cursors: Iterable[Item]) -> Any:
        return common_cursor(c for c in cursors if c["position"]["S"] == CURSOR_KEY)

    patch.setattr("poste_restante.tidying.common_cursor", wrong)


@pytest.mark.parametrize(
    ("breach", "devices", "seen"),
    [
        (acks_for_the_account, desk_and_keeper, {ViolationKind.HIDDEN, ViolationKind.ECHOED}),
        (acks_for_every_device, desk_and_keeper, {ViolationKind.HIDDEN}),
        (adds_behind_everything, desk_and_keeper, {ViolationKind.HIDDEN}),
        (forgets_since, desk_and_keeper, {ViolationKind.DOUBLED}),
        (skips_one_more_since, desk_and_keeper, {ViolationKind.HIDDEN}),
        (takes_what_the_account_has_for_its_own, phone, {ViolationKind.ECHOED}),
        (
            deletes_what_a_device_has_not_passed,
            desk_and_keeper,
            {ViolationKind.HIDDEN, ViolationKind.LOST},
        ),
    ],
)
async def test_a_broken_rule_of_devices_is_seen(
    breach: Callable[[pytest.MonkeyPatch], None],
    devices: Callable[[AdminClient], Awaitable[Verdict]],
    seen: set[ViolationKind],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever one device does that another one notices (G12), and a receipt that does not count
    for what it covers (G2, G4)."""
    breach(monkeypatch)
    verdict = await devices(AdminClient(delete_acknowledged=True))

    assert {kind for kind in ViolationKind if verdict.counts[kind]} >= seen, verdict.line()


def test_a_device_that_was_never_answered_is_read_in_the_end() -> None:
    """Else all that waits for it would count as lost, or nothing of it would be judged (G12)."""
    journal = Journal()
    journal.fetch_fails(journal.fetch_begins("bob", device="phone"), "StoreUnavailable")
    journal.removal_begins("eve", "guest")
    journal.fetch_fails(journal.fetch_begins("eve", device="guest"), "StoreUnavailable")

    assert kept_pages(journal) == {"bob": {"phone": None}}
