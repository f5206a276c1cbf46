"""Watches while workers run, and gives the verdict when all is drained."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS
from poste_restante import MailboxError
from tests.audit.journal import Fetch, Journal
from tests.audit.judge import FinalMailbox, judge
from tests.audit.keys import Log, Mailbox, Progress
from tests.audit.log import Truth
from tests.audit.observer import AWAY, GroupOffsets, RawTable, raw_table
from tests.audit.readers import AuditedMailboxes, Fetched, mailboxes_at
from tests.audit.tail import LogTail, log_tail
from tests.audit.verdict import Verdict, ViolationKind

#: Seconds that one look may take; a service that is away makes it a missed one.
LOOK_S_MAX = 30.0
#: Mailboxes of one look: newest records first, since they are the ones that may not be durable.
LOOK_USERS_MAX = 100
#: Queries at a time.
_QUERIES_MAX = 16
#: Seconds that the final reading may take in all, and attempts of one mailbox's.
FINAL_S_MAX, _ATTEMPTS_MAX = 600.0, 5
#: Seconds until the drain must be over, unless the caller says so.
DRAINED_S_MAX = 120.0
#: Seconds between two looks at the drain.
_DRAIN_LOOK_S = 0.2


@dataclass
class _Pending:
    """Records below what was committed, that no look has found durable yet."""

    #: Per user, per log: offsets, ascending.
    of: dict[str, dict[Log, set[int]]] = field(default_factory=dict)
    #: Per log: below this, every record is or was pending.
    to: dict[Log, int] = field(default_factory=dict)

    def add(self, truth: Truth, log: Log, bound: int) -> None:
        begin = max(self.to.get(log, 0), truth.origins.get(log.partition, 0))
        records = truth.records.get(log.partition, {})
        for offset in range(begin, bound):
            record = records.get(offset)
            if record is not None:
                user = record.user if record.user is not None else ""
                self.of.setdefault(user, {}).setdefault(log, set()).add(offset)
        self.to[log] = max(self.to.get(log, 0), bound)

    def newest(self, count: int) -> list[str]:
        """Users with the newest pending records: half of them; and the oldest, so that none is
        pending for ever."""
        users = sorted(self.of, key=lambda u: max(max(o) for o in self.of[u].values()))
        return users if len(users) <= count else [*users[-count // 2 :], *users[: count // 2]]


class _Eyes(NamedTuple):
    """What one look is made with; its own connections, so that several may look at a time."""

    tail: LogTail
    table: RawTable
    offsets: GroupOffsets


class Auditor:
    """One topic, table and group, in their first epoch.

    environment: of a deployment: names them, Kafka's address, and the store's own. origins: per
    partition, below which nothing is expected (a skip, a later start). The topic must exist; its
    partitions may not be added to.
    """

    def __init__(
        self,
        journal: Journal,
        environment: Mapping[str, str],
        *,
        origins: Mapping[int, int] | None = None,
    ) -> None:
        self.journal = journal
        self.bootstrap = environment[KAFKA_ADDRESS]
        self.store = environment[DYNAMODB_ADDRESS]
        self.topic = environment["POSTE_KAFKA__TOPIC"]
        self.table = environment["POSTE_DYNAMODB__TABLE"]
        self.group = environment["POSTE_KAFKA__GROUP"]
        self.origins = dict(origins or {})
        #: What the looks have found; the verdict includes it.
        self.seen = Verdict()
        self._pending = _Pending()

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[_Eyes]:
        async with AsyncExitStack() as stack:
            tail = await stack.enter_async_context(
                log_tail(
                    Truth(origins=self.origins), self.journal, self.bootstrap, self.topic,
                    f"{self.topic}.dead-letters",
                )
            )  # fmt: skip
            table = await stack.enter_async_context(raw_table(self.store, self.table))
            offsets = GroupOffsets(self.bootstrap, self.group, self.topic)
            stack.push_async_callback(offsets.stop)
            yield _Eyes(tail, table, offsets)

    # ---- watching

    @asynccontextmanager
    async def watching(self, every_s: float = 1.0) -> AsyncIterator[Verdict]:
        """Looks every so often while it is open; what it yields has the violations so far.

        Services may be away: a look that cannot be had is counted as missed.
        """
        before = self.seen.observations
        async with self._looking() as eyes:
            stopping = asyncio.Event()
            job = asyncio.create_task(self._watch(eyes, every_s, stopping))
            try:
                yield self.seen
            finally:
                stopping.set()
                await asyncio.wait({job})  # a look has its own limit
            job.result()
            if self.seen.observations == before:
                # The run was shorter than one look, or both services were away all the time.
                await self._look(eyes)
        self.seen.blind |= self.seen.observations == before

    async def _watch(self, eyes: _Eyes, every_s: float, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            next_s = time.monotonic() + every_s
            await self._look(eyes)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), max(0.0, next_s - time.monotonic()))

    async def _look(self, eyes: _Eyes) -> None:
        try:
            async with asyncio.timeout(LOOK_S_MAX):
                await self._observe(eyes)
        except AWAY as error:
            self.seen.missed += 1
            self.seen.missed_why[type(error).__name__] += 1
        else:
            self.seen.observations += 1

    async def _observe(self, eyes: _Eyes) -> None:
        """First what is committed; then the log up to there, and the dead letters; then what is
        durable. Whatever is committed was durable before the first question."""
        tail = eyes.tail
        committed = await eyes.offsets.committed(tail.partitions)
        progress = await eyes.table.progress(self.topic, tail.partitions)
        await tail.catch_up()
        for partition in tail.partitions:
            bound = max(committed.get(partition, 0), _next(tail.truth, progress.get(partition)))
            self._pending.add(tail.truth, Log(tail.truth.epoch, partition), bound)
        users = self._pending.newest(LOOK_USERS_MAX)
        limit = asyncio.Semaphore(_QUERIES_MAX)
        async with asyncio.TaskGroup() as queries:
            for user in users:
                queries.create_task(self._check(tail.truth, eyes.table, user, limit))

    async def _check(
        self, truth: Truth, table: RawTable, user: str, limit: asyncio.Semaphore
    ) -> None:
        wanted = self._pending.of[user]
        mailbox = Mailbox()
        if user:
            async with limit:
                began = self.journal.tick()
                mailbox = await table.behind(user, {log: min(o) for log, o in wanted.items()})
                self.journal.cursor_seen(user, mailbox.cursor, began)
        for log, offsets in wanted.items():
            for offset in not_durable(truth, mailbox, log, offsets):
                self.seen.found(
                    ViolationKind.COMMITTED_PAST,
                    f"{user!r} {log} offset {offset}: committed or progressed past, and in no"
                    f" bundle, above the cursor {mailbox.cursor.get(log)}, no dead letter",
                )
            self.seen.checked += len(offsets)
        del self._pending.of[user]

    # ---- the end

    async def drained(self, seconds: float = DRAINED_S_MAX) -> None:
        """Returns when progress and the group's offset of every partition are behind its last
        record. Raises AssertionError when they are not in time."""
        state = "nothing could be asked"
        deadline_s = time.monotonic() + seconds
        async with self._looking() as eyes:
            tail = eyes.tail
            while time.monotonic() < deadline_s:
                with suppress(*AWAY):
                    async with asyncio.timeout(LOOK_S_MAX):
                        await tail.catch_up()
                        last = tail.last_records()
                        committed = await eyes.offsets.committed(tail.partitions)
                        progress = await eyes.table.progress(self.topic, tail.partitions)
                    nexts = {p: _next(tail.truth, progress.get(p)) for p in last}
                    short = {
                        p: (committed.get(p), nexts[p], offset + 1)
                        for p, offset in last.items()
                        if min(committed.get(p, 0), nexts[p]) <= offset
                    }
                    if not short:
                        return
                    state = f"partition: (group, progress, wanted): {short}"
                await asyncio.sleep(_DRAIN_LOOK_S)
        raise AssertionError(f"not drained within {seconds:.0f} s: {state}")

    async def verdict(self) -> Verdict:
        """The final reading of everything, and the judgement of all that was journaled.

        Workers have drained, readers are closed, both services answer, if late: what fails is
        asked again until FINAL_S_MAX. Raises TimeoutError past it.
        """
        async with asyncio.timeout(FINAL_S_MAX), self._looking() as eyes:
            while not await _done(eyes.tail.catch_up()):  # noqa: ASYNC110 - asked again
                await asyncio.sleep(_DRAIN_LOOK_S)
            await self._look(eyes)
            truth = eyes.tail.truth
            users = {r.user for records in truth.records.values() for r in records.values()}
            users |= {fetch.user for fetch in self.journal.fetches}
            async with mailboxes_at(self.store, self.table) as opened:
                mailboxes = AuditedMailboxes(self.journal, opened)
                finals = await self._finals(eyes.table, mailboxes, {u for u in users if u})
        verdict = judge(self.journal, truth, finals)
        verdict.add(self.seen)
        verdict.observations, verdict.missed = self.seen.observations, self.seen.missed
        verdict.checked, verdict.blind = self.seen.checked, self.seen.blind
        verdict.missed_why = self.seen.missed_why
        return verdict

    async def _finals(
        self, table: RawTable, mailboxes: AuditedMailboxes, users: Iterable[str]
    ) -> dict[str, FinalMailbox]:
        finals: dict[str, FinalMailbox] = {}
        devices = kept_pages(self.journal)
        limit = asyncio.Semaphore(_QUERIES_MAX)

        async def read(user: str) -> None:
            async with limit:
                reading = await self._reading(mailboxes, user)
                final = finals[user] = FinalMailbox(await table.mailbox(user), reading)
                for device, kept in devices.get(user, {}).items():
                    final.devices[device] = await self._reading(mailboxes, user, device, kept)

        async with asyncio.TaskGroup() as reads:
            for user in users:
                reads.create_task(read(user))
        return finals

    async def _reading(
        self,
        mailboxes: AuditedMailboxes,
        user: str,
        device: str | None = None,
        since: Fetch | None = None,
    ) -> Fetch | None:
        """The last page of a whole reading, or of as much of it as could be had."""
        pages: list[Fetched] = []
        for _ in range(_ATTEMPTS_MAX):
            with suppress(MailboxError):
                while not pages or pages[-1].page.more:
                    after = pages[-1] if pages else None
                    page = await mailboxes.fetch(
                        user, after=after, since=None if pages else since, device=device
                    )
                    pages.append(page)
                break
        return pages[-1].fetch if pages else None


def kept_pages(journal: Journal) -> dict[str, dict[str, Fetch | None]]:
    """Per user, the devices there are, and the page whose receipt each keeps. None: it keeps none,
    and acknowledges. Pure."""
    found: dict[str, dict[str, Fetch | None]] = {}
    for added in journal.additions:
        if (added.user, added.device) not in journal.removed:
            found.setdefault(added.user, {})[added.device] = None
    for fetch in journal.fetches:  # also where none was answered: the device is read in the end
        if fetch.device is not None and (fetch.user, fetch.device) not in journal.removed:
            found.setdefault(fetch.user, {}).setdefault(fetch.device)
    for fetch in journal.returned():
        user, device = fetch.user, fetch.device
        if device is not None and (user, device) not in journal.removed:
            devices = found.setdefault(user, {})
            keeps = fetch.since and fetch.receipt is not None
            devices[device] = fetch if keeps else devices.get(device)
    return found


def _next(truth: Truth, progress: Progress | None) -> int:
    return progress.next if progress is not None and progress.epoch == truth.epoch else 0


async def _done(question: Awaitable[None]) -> bool:
    """Whether it was answered; else a service was away, or late."""
    try:
        await question
    except AWAY:
        return False
    return True


def not_durable(truth: Truth, mailbox: Mailbox, log: Log, offsets: Iterable[int]) -> list[int]:
    """Of records that are committed: those neither in a bundle, nor at or below the cursor, nor
    among the dead letters. The mailbox was read after the commit, and its cursor last. Pure."""
    held = {o for bundle in mailbox.bundles if bundle.log == log for o in bundle.bodies}
    cursor = mailbox.cursor.get(log, -1)
    return [
        offset
        for offset in sorted(offsets)
        if offset not in held and offset > cursor and (log.partition, offset) not in truth.dead
    ]
