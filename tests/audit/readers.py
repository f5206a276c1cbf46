"""Readers that journal what they are shown: one at a time, or many at once at random."""

import asyncio
import itertools
import random
import zlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from poste_restante import (
    InvalidReceipt,
    Mailboxes,
    Page,
    StoreUnavailable,
    UnreadableItem,
)
from poste_restante.devices import DeviceStart
from tests.audit.journal import Fetch, Journal, Outcome
from tests.audit.keys import Log
from tests.audit.observer import dynamodb_client

#: Devices of every third mailbox. DESK is added with a cursor at the oldest message; PHONE gets its
#: cursor with its first acknowledgement, and reads from the account's until then.
DESK, PHONE = "desk", "phone"
#: The device of every other third. It is added as DESK is, keeps its receipt, reads since that, and
#: acknowledges nothing.
KEEPER = "keeper"
#: Share of the readings before which a guest is added: a device that reads once, and is removed.
_GUESTS = 0.05
#: Share of the readings in whose place a guest without a cursor holds its receipts back.
_OVERTAKEN = 0.05
#: Share of the readings that go on until nothing can be on its way.
_CATCHING_UP = 0.15
#: Receipts that are remembered for each user, to be acknowledged late.
_OLD_MAX = 5
#: Pages of one reading, before its reader turns to another mailbox.
_PAGES_MAX = 20
#: Seconds a reader rests between two readings, and after the store was away.
_REST_S, _AWAY_S = 0.01, 0.1
#: Seconds after which an acknowledgement is cancelled, at most: a call or two on this machine.
_CANCEL_S_MAX = 0.02
#: Seconds that the readers may take to end.
_END_S_MAX = 30.0

MailboxesFactory = Callable[[], AbstractAsyncContextManager[Mailboxes]]


@asynccontextmanager
async def mailboxes_at(
    url: str,
    table: str,
    *,
    timeout_s: float = 10.0,
    attempts: int = 2,
    kind: type[Mailboxes] = Mailboxes,
    delete_acknowledged: bool = False,
) -> AsyncIterator[Mailboxes]:
    """The product's mailboxes over a client of one address: the store's, or a faulty one's."""
    async with dynamodb_client(url, timeout_s=timeout_s, attempts=attempts) as client:
        yield kind(client, table=table, delete_acknowledged=delete_acknowledged)


@dataclass(frozen=True)
class Fetched:
    """A page, and its entry in the journal."""

    fetch: Fetch
    page: Page


class AuditedMailboxes:
    """Mailboxes whose every fetch and ack is journaled. Raises what the product raises."""

    def __init__(self, journal: Journal, mailboxes: Mailboxes) -> None:
        self._journal = journal
        self._mailboxes = mailboxes

    async def fetch(
        self,
        user: str,
        *,
        after: Fetched | None = None,
        since: Fetch | None = None,
        limit: int | None = None,
        max_bytes: int | None = None,
        device: str | None = None,
    ) -> Fetched:
        """One page, from the head of the mailbox, behind another page, or since one."""
        before = since if after is None else after.fetch
        # A page that passed nothing has no receipt: what follows it is a reading of its own.
        token = None if before is None else before.receipt
        if token is None:
            before = None
        fetch = self._journal.fetch_begins(
            user, before, device=device, since=before is not None and after is None
        )
        try:
            page = await self._mailboxes.fetch(
                user, limit=limit, max_bytes=max_bytes, device=device,
                after=None if fetch.since else token, since=token if fetch.since else None,
                freshness=token is None or fetch.since,
            )  # fmt: skip
        except BaseException as error:
            self._journal.fetch_fails(fetch, type(error).__name__)
            raise
        self._journal.fetch_ends(
            fetch, _messages(page), more=page.more, receipt=page.receipt,
            fresh_us=None if page.fresh_as_of is None else int(page.fresh_as_of.timestamp() * 1e6),
        )  # fmt: skip
        return Fetched(fetch, page)

    async def read(
        self,
        user: str,
        *,
        limit: int | None = None,
        device: str | None = None,
        since: Fetch | None = None,
    ) -> list[Fetched]:
        """Every page, to the mailbox's end, without acknowledging."""
        pages = [await self.fetch(user, limit=limit, device=device, since=since)]
        while pages[-1].page.more:
            pages.append(await self.fetch(user, after=pages[-1], limit=limit, device=device))
        return pages

    async def catch_up(
        self, user: str, *, timeout_s: float, limit: int | None = None, device: str | None = None
    ) -> list[Fetched]:
        """Every page until what had been sent before is proven to be among them, or a time-out.

        In the journal each page is since the one before, because a new reading may have begun in
        between. A last one without messages says up to when all of them are complete.
        """
        until = datetime.now(UTC)
        found = self._mailboxes.catch_up(
            user, until=until, timeout_s=timeout_s, limit=limit, device=device
        )
        pages: list[Fetched] = []
        while True:
            before = pages[-1].fetch if pages else None
            fetch = self._journal.fetch_begins(user, before, device=device, since=bool(pages))
            try:
                page = await anext(found)
            except StopAsyncIteration:
                break
            except BaseException as error:
                self._journal.fetch_fails(fetch, type(error).__name__)
                raise
            self._journal.fetch_ends(fetch, _messages(page), more=page.more, receipt=page.receipt)
            pages.append(Fetched(fetch, page))
        fresh_us = int(until.timestamp() * 1e6) if found.complete else None
        receipt = pages[-1].page.receipt if pages else None
        self._journal.fetch_ends(fetch, (), more=False, receipt=receipt, fresh_us=fresh_us)
        return pages

    async def add_device(self, user: str, device: str, start: DeviceStart = "oldest") -> None:
        addition = self._journal.addition_begins(user, device, start)
        try:
            await self._mailboxes.add_device(user, device, start)
        except BaseException:
            self._journal.addition_ends(addition, Outcome.UNKNOWN)
            raise
        self._journal.addition_ends(addition, Outcome.CONFIRMED)

    async def remove_device(self, user: str, device: str) -> None:
        """The device is not read any more."""
        self._journal.removal_begins(user, device)
        await self._mailboxes.remove_device(user, device)

    async def ack(self, fetched: Fetched) -> None:
        """By the receipt of a page: all that its reading has passed."""
        if fetched.page.receipt is None:
            return
        ack = self._journal.ack_begins(fetched.fetch)
        try:
            await self._mailboxes.ack(
                fetched.fetch.user, fetched.page.receipt, device=fetched.fetch.device
            )
        except (InvalidReceipt, ValueError):
            self._journal.ack_ends(ack, Outcome.REFUSED)
            raise
        except BaseException:
            self._journal.ack_ends(ack, Outcome.UNKNOWN)
            raise
        self._journal.ack_ends(ack, Outcome.CONFIRMED)


def _messages(page: Page) -> Iterator[tuple[Log, int, int]]:
    """As the journal has them."""
    for message in page.messages:
        yield Log(*message.position.log), message.position.offset, zlib.crc32(message.body)


class AuditedReaders:
    """Concurrent readers of many mailboxes, at random from a seed, while it is open.

    They read whole and page by page, and acknowledge: all, a part, twice, late, and cancelled in
    the middle. One third of the mailboxes is the account's alone; in another third devices
    acknowledge beside it, and in the last one a device keeps its receipt.

    readers: at a time. acknowledging: the share of readings that are acknowledged. expected:
    errors that are the store's and only journaled; any other ends the readers and is raised on
    leaving.
    """

    def __init__(
        self,
        journal: Journal,
        mailboxes_factory: MailboxesFactory,
        users: Sequence[str],
        *,
        seed: int,
        readers: int = 4,
        acknowledging: float = 0.6,
        rest_s: float = _REST_S,
        expected: tuple[type[Exception], ...] = (StoreUnavailable, UnreadableItem),
    ) -> None:
        self._journal = journal
        self._factory = mailboxes_factory
        self._users = list(users)
        self._seed = seed
        self._readers = readers
        self._acknowledging = acknowledging
        self._rest_s = rest_s
        self._expected = expected
        self._old: defaultdict[tuple[str, str | None], deque[Fetched]] = defaultdict(
            lambda: deque(maxlen=_OLD_MAX)
        )
        #: What each keeper keeps.
        self._kept: dict[str, Fetched] = {}
        self._added: set[tuple[str, str]] = set()
        self._guests = itertools.count()
        self._stopping = asyncio.Event()
        self._jobs: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._jobs = [
            asyncio.create_task(self._run(random.Random(f"{self._seed} reader {number}")))
            for number in range(self._readers)
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        _, pending = await asyncio.wait(self._jobs, timeout=_END_S_MAX)
        for job in pending:
            job.cancel()
        results = await asyncio.gather(*self._jobs, return_exceptions=True)
        if kind is None:
            for result in results:
                if isinstance(result, Exception):
                    raise result
            assert not pending, f"readers did not end within {_END_S_MAX:.0f} s"

    async def _run(self, rng: random.Random) -> None:
        while not self._stopping.is_set():
            try:
                async with self._factory() as opened:
                    await self._read_on(rng, AuditedMailboxes(self._journal, opened))
            except self._expected:  # opening them reads the table record
                await asyncio.sleep(_AWAY_S)

    async def _read_on(self, rng: random.Random, mailboxes: AuditedMailboxes) -> None:
        while not self._stopping.is_set():
            number = rng.randrange(len(self._users))
            user = self._users[number]
            device = rng.choice(((None,), (None, DESK, PHONE), (None, KEEPER))[number % 3])
            try:
                chance = rng.random()
                if chance < _GUESTS:
                    await self._guest(rng, mailboxes, user)
                elif chance < _GUESTS + _OVERTAKEN:
                    await self._overtaken(rng, mailboxes, user)
                elif chance < _GUESTS + _OVERTAKEN + _CATCHING_UP and device != KEEPER:
                    await self._catch_up(rng, mailboxes, user, device)
                elif device == KEEPER:
                    await self._keep(rng, mailboxes, user)
                else:
                    await self._read(rng, mailboxes, user, device)
            except self._expected:
                await asyncio.sleep(_AWAY_S)
            await asyncio.sleep(rng.random() * 2 * self._rest_s)

    async def _read(
        self, rng: random.Random, mailboxes: AuditedMailboxes, user: str, device: str | None
    ) -> None:
        """One reading, and perhaps an acknowledgement."""
        if device == DESK:
            await self._add(mailboxes, user, device)
        pages = await self._pages(rng, mailboxes, user, device)
        if rng.random() < self._acknowledging:
            await self._acknowledge(rng, mailboxes, self._old[user, device], pages)

    async def _catch_up(
        self, rng: random.Random, mailboxes: AuditedMailboxes, user: str, device: str | None
    ) -> None:
        """As a gateway at a reconnect."""
        if device == DESK:
            await self._add(mailboxes, user, device)
        pages = await mailboxes.catch_up(
            user, timeout_s=rng.choice((0.0, 0.5, 3.0)), limit=rng.choice((None, 3, 50)),
            device=device,
        )  # fmt: skip
        if pages and rng.random() < self._acknowledging:
            await mailboxes.ack(pages[-1])

    async def _keep(self, rng: random.Random, mailboxes: AuditedMailboxes, user: str) -> None:
        """One reading since the receipt that is kept, and its own receipt in the place of that."""
        await self._add(mailboxes, user, KEEPER)
        kept = self._kept.get(user)
        pages = await self._pages(rng, mailboxes, user, KEEPER, kept)
        if pages[-1].page.receipt is not None:
            self._kept[user] = pages[-1]

    async def _guest(self, rng: random.Random, mailboxes: AuditedMailboxes, user: str) -> None:
        """A device that comes, reads, acknowledges perhaps, and goes."""
        guest = f"guest-{next(self._guests)}"
        try:
            await mailboxes.add_device(user, guest, rng.choice(("oldest", "account")))
            await self._read(rng, mailboxes, user, guest)
        finally:
            await mailboxes.remove_device(user, guest)

    async def _overtaken(self, rng: random.Random, mailboxes: AuditedMailboxes, user: str) -> None:
        """A device without a cursor reads, and the account acknowledges all of that. The device
        gets its cursor below its page, and acknowledges the page then."""
        guest = f"guest-{next(self._guests)}"
        try:
            old = await mailboxes.fetch(user, limit=1, device=guest)
            page = await mailboxes.fetch(user, limit=rng.choice((2, 3, 7)), device=guest)
            await mailboxes.ack((await mailboxes.read(user))[-1])
            if rng.random() < 0.5:
                late = await mailboxes.fetch(user, after=page, device=guest)
            else:
                late = await mailboxes.fetch(user, since=page.fetch, device=guest)
            if rng.random() < 0.5:
                await mailboxes.ack(old)
            else:
                await mailboxes.add_device(user, guest, "oldest")
            await mailboxes.ack(late)
            await mailboxes.read(user, device=guest)
        finally:
            await mailboxes.remove_device(user, guest)

    async def _add(self, mailboxes: AuditedMailboxes, user: str, device: str) -> None:
        if (user, device) not in self._added:
            await mailboxes.add_device(user, device)
            self._added.add((user, device))

    async def _pages(
        self,
        rng: random.Random,
        mailboxes: AuditedMailboxes,
        user: str,
        device: str | None,
        since: Fetched | None = None,
    ) -> list[Fetched]:
        """One reading, or the beginning of one, with limits of its own."""
        limit = rng.choice((None, None, 1, 2, 3, 7, 20, 100))
        size = rng.choice((None, None, None, 50, 1_000))
        pages_max = rng.choice((1, 2, _PAGES_MAX))
        kept = None if since is None else since.fetch
        page = await mailboxes.fetch(user, limit=limit, max_bytes=size, device=device, since=kept)
        pages = [page]
        while pages[-1].page.more and len(pages) < pages_max and not self._stopping.is_set():
            page = await mailboxes.fetch(
                user, after=pages[-1], limit=limit, max_bytes=size, device=device
            )
            pages.append(page)
        self._old[user, device].append(rng.choice(pages))
        return pages

    async def _acknowledge(
        self,
        rng: random.Random,
        mailboxes: AuditedMailboxes,
        old: Sequence[Fetched],
        pages: list[Fetched],
    ) -> None:
        match rng.choice(("all", "all", "part", "twice", "old", "cancelled", "both")):
            case "all":
                await mailboxes.ack(pages[-1])
            case "part":
                await mailboxes.ack(rng.choice(pages))
            case "twice":
                await mailboxes.ack(pages[-1])
                await mailboxes.ack(pages[-1])
            case "old":
                await mailboxes.ack(rng.choice(old))
            case "cancelled":
                await self._cancelled(rng, mailboxes, pages[-1])
            case "both":  # two at a time
                both = (mailboxes.ack(pages[-1]), mailboxes.ack(rng.choice(old)))
                for result in await asyncio.gather(*both, return_exceptions=True):
                    if isinstance(result, BaseException):
                        raise result

    @staticmethod
    async def _cancelled(rng: random.Random, mailboxes: AuditedMailboxes, fetched: Fetched) -> None:
        job = asyncio.ensure_future(mailboxes.ack(fetched))
        await asyncio.wait({job}, timeout=rng.random() * _CANCEL_S_MAX)
        job.cancel()
        result = (await asyncio.gather(job, return_exceptions=True))[0]
        if isinstance(result, Exception):
            raise result
