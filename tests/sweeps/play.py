"""One run of a worker: parts of records, started again if it leaves; drained, stopped, audited."""

import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.child import Child
from tests.audit import AuditedMailboxes, AuditedProducer, Auditor, Journal, mailboxes_at
from tests.audit.journal import Produced
from tests.audit.observer import RawTable
from tests.deployment import Deployment
from tests.sweeps.report import Case, Run
from tests.sweeps.scenario import PARTS, part, users
from tests.sweeps.shared_services import SharedServices, until

#: Injections of a persistent fault after which it is cleared: more than one attempt has met it.
MET_UNTIL_CLEARED = 3
#: Parts of a run that goes on until all of several faults were met.
PARTS_MAX = 30
#: Starts of one part. A fault that ends the process is cleared as it ends.
STARTS_MAX = 4
#: Seconds until a part is materialized and committed: two starts, on a busy machine.
PART_S_MAX = 60.0
#: Seconds from SIGTERM to the end: the drain limit, the last resort and some more.
LEAVE_S_MAX = 25.0
#: What a worker says when it reads a partition.
_UP = "reading from offset"
#: Seconds between two looks at the fault, and at what is committed.
_LOOK_S, _WATCH_S = 0.03, 0.5


@dataclass
class Faults:
    """What a run needs to know of its fault.

    met: how often it was injected. clear_faults: it is injected no more. may_leave: given the exit
    status and the log of a worker that left by itself, what is wrong with that; "": nothing.
    """

    met: Callable[[], int]
    clear_faults: Callable[[], None]
    may_leave: Callable[[int, str], str]


@dataclass
class Play:
    """One run. first, again: start a worker, the first one and those after it. done: whether
    the usual parts are enough, or further ones are produced."""

    shared: SharedServices
    deployment: Deployment
    faults: Faults
    first: Callable[[], Child]
    again: Callable[[], Child]
    done: Callable[[], bool] = lambda: True
    starts_max: int = STARTS_MAX
    poisoned: bool = False
    rejecting: bool = False
    exits: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    journal: Journal = field(default_factory=Journal)
    _audit: dict[str, Any] = field(default_factory=dict)

    async def to_the_end(self) -> None:
        """Play all of it, and audit it."""
        auditor = Auditor(self.journal, self.deployment.environment)
        clearing = asyncio.ensure_future(self._clear_faults_in_time())
        try:
            async with auditor.watching(every_s=_WATCH_S):
                await self._parts()
            self._audit = (await auditor.verdict()).figures()
        finally:
            clearing.cancel()
            self.deployment.end()

    async def result(self, case: Case, number: int, injected: Mapping[str, int]) -> Run:
        """What it came to, at its end. A clean run keeps nothing on the services."""
        wrong = "; ".join(self.wrong)
        run = Run(case, number, injected, tuple(self.exits), wrong, self._audit)
        if run.clean:
            await self.shared.clear(self.deployment)
        return run

    async def _parts(self) -> None:
        bootstrap = self.shared.services.bootstrap
        worker = self.first()
        async with (
            AuditedProducer(self.journal, bootstrap, self.deployment.topic) as producer,
            mailboxes_at(self.shared.services.endpoint, self.deployment.table) as mailboxes,
        ):
            readers = AuditedMailboxes(self.journal, mailboxes)
            number = 0
            while number < PARTS or not self.done():
                if number == PARTS_MAX:
                    raise RuntimeError(f"not all was met in {PARTS_MAX} parts")
                produced = await producer.produce(
                    *part(number, poisoned=self.poisoned, rejecting=self.rejecting)
                )
                worker = await self._caught_up(worker, ends_of(produced))
                if number % PARTS != PARTS - 1:
                    await self._acknowledge(readers, number)
                number += 1
        self.faults.clear_faults()
        worker.signal(signal.SIGTERM)
        status = await asyncio.to_thread(worker.wait, LEAVE_S_MAX)
        self.exits.append(status)
        # What it leaves for may have been durable already: then it was all done as it began to end.
        if status != 0 and (wrong := self.faults.may_leave(status, worker.output())):
            self.wrong.append(f"status {status} after SIGTERM: {wrong}")

    async def _acknowledge(self, readers: AuditedMailboxes, number: int) -> None:
        """Every other user takes what is there: what is replayed later must not come back."""
        for user in users()[number % 2 :: 2]:
            page = await readers.fetch(user)
            await readers.ack(page)

    async def _caught_up(self, worker: Child, ends: Mapping[int, int]) -> Child:
        """The worker, or another one, once the group's offsets stand at the ends of the log."""
        left = asyncio.Event()

        async def caught_up_or_left() -> bool:
            if not worker.alive:
                left.set()
                return True
            # One that has nothing to do must be up, too, or SIGTERM finds no handler yet.
            return _UP in worker.output() and await self._has_come_to(ends)

        for _ in range(self.starts_max):
            left.clear()
            try:
                await until(caught_up_or_left, "all is materialized and committed", PART_S_MAX)
            except TimeoutError as error:
                raise TimeoutError(f"{error}: {ends}\n{self.deployment.log()[-3000:]}") from None
            if not left.is_set():
                return worker
            status = worker.wait()
            self.exits.append(status)
            if wrong := self.faults.may_leave(status, worker.output()):
                self.wrong.append(wrong)
            self.faults.clear_faults()
            await self.shared.evict_members(self.deployment)
            worker = self.again()
        raise RuntimeError(f"{self.starts_max} starts: {self.deployment.log()[-3000:]}")

    async def _has_come_to(self, ends: Mapping[int, int]) -> bool:
        """Progress stands there, and the group's offset: also where a worker left between the two
        and nothing comes any more, for the next one's opening brings it up."""
        table = RawTable(self.shared.client, self.deployment.table)
        progress = await table.progress(self.deployment.topic, ends)
        if {partition: found.next for partition, found in progress.items()} != ends:
            return False
        return await self.shared.committed(self.deployment) == ends

    async def _clear_faults_in_time(self) -> None:
        # Counted by another process, or by the endpoint's thread.
        while self.faults.met() < MET_UNTIL_CLEARED:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        self.faults.clear_faults()


def ends_of(produced: Iterable[Produced]) -> dict[int, int]:
    """The end of each partition's log behind what was produced last."""
    ends: dict[int, int] = {}
    for each in produced:
        assert each.place is not None, "the broker is never away in a sweep"
        partition, offset = each.place
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends
