"""The store, reader's side: the n-th call of one who fetches, pages and acknowledges fails."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from aiobotocore.config import AioConfig

from poste_restante import Mailboxes, StoreUnavailable
from poste_restante.errors import MailboxError, TableMismatch
from tests.audit import AuditedMailboxes
from tests.audit.readers import Fetched
from tests.fault_proxy import Fault, FaultyEndpoint, calm, nth
from tests.sweeps.mail import SMALL_MESSAGES, Mail
from tests.sweeps.play import MET_UNTIL_CLEARED
from tests.sweeps.report import Case, Run
from tests.sweeps.sweep import Sweep

#: Of the account, and of devices.
SWEEP, DEVICES = "reading", "devices"
#: Seconds that one call may take: a slow answer must be held longer than that, and a calm one on
#: a busy machine may not take it often.
TIMEOUT_S = 0.5
#: Seconds until a failed step is tried again; attempts of one step: a persistent fault is cleared
#: before that, and a port that refuses listens again.
REST_S, ATTEMPTS_MAX = 0.05, 60
#: Messages of a page.
LIMIT = 2
#: A device that keeps its receipt, between its addition and its removal; and one that acknowledges.
KEEPER, PHONE = "keeper", "phone"

#: What each kind may raise besides StoreUnavailable, which a busy machine's time-out is too.
RAISES: dict[Fault, tuple[type[MailboxError], ...]] = {
    Fault.NO_TABLE: (TableMismatch,),
    Fault.ACCESS_DENIED: (MailboxError,),
    Fault.REJECTED_ITEM: (MailboxError,),
}

T = TypeVar("T")


def reading_sweeps(mail: Mail, *, seed: int) -> Iterator[Sweep]:
    """Each kind of fault, transient and persistent."""
    run = ReadingRun(mail, seed)
    for sweep in (SWEEP, DEVICES):
        for fault in Fault:
            for persistent in (False, True):
                yield Sweep(Case(sweep, fault.value, persistent), run)


class ReadingRun:
    """Makes runs, each of a mailbox of its own. seed: of what a fault leaves open."""

    def __init__(self, mail: Mail, seed: int) -> None:
        self._mail = mail
        self._seed = seed
        self._users = iter(mail.small)

    async def __call__(self, case: Case, number: int) -> Run:
        fault, shared = Fault(case.kind), self._mail.shared
        operations = {"BatchWriteItem"} if fault is Fault.UNPROCESSED else None
        plan = nth(fault, number, persistent=case.persistent, operations=operations)
        config = AioConfig(
            connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S,
            retries={"total_max_attempts": 1},  # the SDK's own would hide the n-th failure
        )  # fmt: skip
        seed = self._seed * 1_000 + number
        with FaultyEndpoint(shared.services.endpoint, plan=plan, seed=seed) as endpoint:
            async with shared.session.client(
                "dynamodb", endpoint_url=endpoint.url, config=config
            ) as client:
                deletes = case.persistent or fault is Fault.UNPROCESSED
                mailboxes = Mailboxes(
                    client, table=self._mail.deployment.table, delete_acknowledged=deletes
                )
                reading = Reading(
                    AuditedMailboxes(self._mail.journal, mailboxes), next(self._users), fault,
                    on_failure=lambda: _clear_faults(endpoint),
                )  # fmt: skip
                await (reading.of_devices() if case.sweep == DEVICES else reading.of_account())
        injected = {f"{f.value} {operation}": n for (f, operation), n in endpoint.injected.items()}
        audit = {"clean": not reading.wrong, "attempts": reading.attempts}
        return Run(case, number, injected, (), "; ".join(reading.wrong), audit)


def _clear_faults(endpoint: FaultyEndpoint) -> None:
    if endpoint.injected.total() >= MET_UNTIL_CLEARED:
        endpoint.use(calm())


@dataclass
class Reading:
    """One mailbox read to its end, each step again until it goes well."""

    mailboxes: AuditedMailboxes
    user: str
    fault: Fault
    on_failure: Callable[[], None]
    attempts: int = 0
    wrong: list[str] = field(default_factory=list)

    async def of_account(self) -> None:
        """One page; two pages; all that is left; nothing. What is acknowledged is not shown."""
        first = await self._fetch(limit=LIMIT)
        await self._ack(first)
        await self._ack(first)
        second = await self._fetch(limit=LIMIT)
        third = await self._fetch(limit=LIMIT, after=second)
        await self._ack(third)
        rest = await self._insist(lambda: self.mailboxes.read(self.user))
        await self._ack(rest[-1])
        nothing = await self._fetch()
        self._expect((first, second, third, *rest), nothing, SMALL_MESSAGES)

    async def of_devices(self) -> None:
        """Each sees all of it and nothing again: since the receipt that it keeps, or behind what
        it has acknowledged."""
        await self._insist(lambda: self.mailboxes.add_device(self.user, KEEPER))
        begun = await self._fetch(limit=LIMIT, device=KEEPER)
        rest = await self._insist(
            lambda: self.mailboxes.read(self.user, device=KEEPER, since=begun.fetch)
        )
        nothing = await self._fetch(device=KEEPER, since=rest[-1])
        self._expect((begun, *rest), nothing, SMALL_MESSAGES)
        await self._insist(lambda: self.mailboxes.remove_device(self.user, KEEPER))
        first = await self._fetch(limit=LIMIT, device=PHONE)
        await self._ack(first)
        rest = await self._insist(
            lambda: self.mailboxes.catch_up(self.user, timeout_s=0, limit=LIMIT, device=PHONE)
        )
        await self._ack(rest[-1])
        nothing = await self._fetch(device=PHONE)
        self._expect((first, *rest), nothing, SMALL_MESSAGES)

    def _expect(self, pages: Sequence[Fetched], then: Fetched, messages: int) -> None:
        """So many messages on these pages, and none after that."""
        shown = sum(len(fetched.page.messages) for fetched in pages)
        if shown != messages or then.page.messages:
            whose = then.fetch.device or "the account"
            self.wrong.append(f"{shown} shown to {whose}, then {len(then.page.messages)}")

    async def _fetch(
        self,
        *,
        after: Fetched | None = None,
        since: Fetched | None = None,
        limit: int | None = None,
        device: str | None = None,
    ) -> Fetched:
        return await self._insist(
            lambda: self.mailboxes.fetch(
                self.user, after=after, limit=limit, device=device,
                since=None if since is None else since.fetch,
            )
        )  # fmt: skip

    async def _ack(self, fetched: Fetched) -> None:
        await self._insist(lambda: self.mailboxes.ack(fetched))

    async def _insist(self, step: Callable[[], Awaitable[T]]) -> T:
        for _ in range(ATTEMPTS_MAX):
            self.attempts += 1
            try:
                return await step()
            except MailboxError as error:
                if not isinstance(error, (StoreUnavailable, *RAISES.get(self.fault, ()))):
                    self.wrong.append(repr(error))
                self.on_failure()
                await asyncio.sleep(REST_S)
        raise AssertionError(f"{ATTEMPTS_MAX} attempts: {self.wrong}")
