"""A world about freshness alone: workers that claim, and readers that are told how fresh a page is.

Bookkeeping, claims and reading are production code; the log, the flush and the clocks are played.
What a page says is held to the log: nothing appended before it may be missing (G11).
"""

import asyncio
import random as randomness
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from poste_restante.catch_up import ClaimsEvidence, as_datetime
from poste_restante.claims import WorkerClaims
from poste_restante.item import encode_bundle
from poste_restante.mailboxes import Mailboxes
from poste_restante.message import Message
from poste_restante.meter import Meter
from poste_restante.metrics import NO_METRICS
from poste_restante.page import Page
from poste_restante.partitioners import Partitioner, murmur2
from poste_restante.position import LogId, Position
from poste_restante.table import TableRecord
from poste_restante.testing.memory_store import MemoryStore
from tests.model.ledger import Violation
from tests.records import NEW_YEAR_MS, TOPIC, MadeRecord
from worker.assignment import Assignment, BatchLimits, RecordBatch
from worker.freshness import FreshnessTracker
from worker.progress import Progress

USERS = ("ann", "bob", "cid", "dan")
#: Milliseconds by which every clock may be off, one way or the other; a reader takes off both.
SKEW_MS = 300
#: Milliseconds from one event to the next.
PAUSES_MS = (0, 50, 100, 200, 600)
TABLE_ID = "table-1"


@dataclass
class Log:
    """One partition log. records: by offset, with their instants; the others are markers. stable:
    readers of committed records see what is below. follower: a follower's end."""

    records: dict[int, tuple[int, MadeRecord]] = field(default_factory=dict)
    end: int = 0
    stable: int = 0
    follower: int = 0
    #: Below it everything is durable, or was skipped.
    durable: int = 0
    skipped: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)


@dataclass
class Question:
    """Ends that a leader was asked for: the answer is on its way."""

    as_of_ms: int
    ends: dict[int, int]


class Worker:
    """A process with one partition. It goes on when another one has taken over: a zombie."""

    def __init__(self, log: LogId, position: int, partitions: int, skew_ms: int) -> None:
        self.log = log
        self.skew_ms = skew_ms
        self.partitions = partitions
        #: Where the client reads on, and what it has returned without anybody having taken it.
        self.position = position
        self.in_flight: list[MadeRecord] = []
        self.questions: list[Question] = []
        self.batches: list[RecordBatch] = []
        self.tracker = FreshnessTracker()
        self.assign(position)

    def assign(self, position: int) -> None:
        self.assignment = Assignment(
            [self.log.partition], limits=BatchLimits(records_max=3), clock=lambda: 0.0
        )
        self.assignment.open(
            self.log.partition, position,
            Progress(
                table_id=TABLE_ID, epoch=self.log.epoch, next=position, origin=0, written_at_ms=0
            ),
        )  # fmt: skip
        self.position = position
        self.in_flight, self.batches = [], []

    @property
    def partition(self) -> int:
        return self.log.partition


class Rules:
    """What the played parts do as production code does. A test leaves one of them out."""

    #: Which end a worker is told.
    def end(self, log: Log) -> int:
        return log.end

    #: Whether a position is known while what the client has returned is not taken.
    position_in_flight = False
    #: Whether a reader reads the claims before the mailbox.
    claims_first = True
    clock_skew_s = 2 * SKEW_MS / 1000


class FreshnessWorld:
    """One history."""

    def __init__(self, random: randomness.Random, rules: Rules) -> None:
        self.random = random
        self.rules = rules
        self.now_ms = NEW_YEAR_MS
        self.epoch = 1
        self.partitions = random.choice([1, 2, 3])
        #: Those that some stored item has named: producers use them from then on.
        self.used = self.partitions
        self.record = self._record()
        self.logs = {LogId(1, p): Log() for p in range(self.partitions)}
        self.workers: list[Worker] = []
        self.puts: list[WorkerClaims] = []
        self.acked: dict[str, set[Position]] = {user: set() for user in USERS}
        self.history: list[str] = []
        #: How often operators act, and whether the log of an earlier epoch is still there, in the
        #: cluster that was left.
        self.operations = random.choice([0, 1.5, 8])
        self.left_cluster = random.random() < 0.5
        #: Pages and readings that were said to be fresh as of some instant.
        self.proofs = 0
        self.store = MemoryStore(before=self._between)
        self.store.put(self.record.encode())
        #: The producers' partitioner, and whether readers know it.
        self.partitioner: Partitioner = murmur2
        self.reader_ms = random.randrange(-SKEW_MS, SKEW_MS + 1)
        self.reader = PlayedMailboxes(
            self.store, self._reader_s, murmur2 if random.random() < 0.5 else None, rules
        )  # fmt: skip
        self._busy = False

    def _record(self) -> TableRecord:
        return TableRecord(
            table_id=TABLE_ID, topic=TOPIC, partitions=self.partitions, epoch=self.epoch
        )

    def _reader_s(self) -> float:
        return (self.now_ms + self.reader_ms) / 1000

    # ---- running

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            await self.step()

    async def step(self) -> None:
        """One event of somebody but the reader, or of the reader."""
        self.now_ms += self.random.choice(PAUSES_MS)
        await self.random.choices(
            [self.produce, self.move, self.assign, self.fetch, self.flush, self.claim, self.put,
             self.read, self.kill, self.operate],
            [12, 4, 6, 24, 24, 30, 14, 12, 1, self.operations],
        )[0]()  # fmt: skip

    async def _between(self, operation: str, key: str) -> None:
        """Before each of a reader's calls anything else may happen."""
        if operation != "Query" or self._busy:
            return
        self._busy = True
        for _ in range(self.random.choice([0, 0, 3, 40])):
            self.now_ms += self.random.choice(PAUSES_MS) // 10
            await self.random.choice(
                [self.produce, self.fetch, self.flush, self.flush, self.claim, self.claim, self.put]
            )()
        self._busy = False

    def _note(self, text: str) -> None:
        self.history.append(f"{self.now_ms - NEW_YEAR_MS:6} {text}")

    def _current(self) -> list[LogId]:
        return [log for log in self.logs if log.epoch == self.epoch]

    # ---- the log

    async def produce(self) -> None:
        user = self.random.choice(USERS)
        # Producers notice late that partitions were added.
        known = self.random.randrange(self.record.partitions, self.used + 1)
        log_id = LogId(self.epoch, self.partitioner(user.encode(), known))
        log = self.logs[log_id]
        record = MadeRecord(
            key=user.encode(), value=b"x", headers=[], offset=log.end, timestamp=self.now_ms,
            partition=log_id.partition, topic=TOPIC,
        )  # fmt: skip
        log.records[log.end] = self.now_ms, record
        log.end += 1
        if self.random.random() < 0.75 and log.stable == log.end - 1:
            log.stable = log.end  # else a transaction is open
        self._note(f"{user}: {tuple(log_id)} {record.offset}")

    async def move(self) -> None:
        """A transaction ends, with a marker; a follower follows."""
        log = self.logs[self.random.choice(self._current())]
        if log.stable < log.end:
            log.end += 1
            log.stable = log.end
        log.follower = self.random.randrange(log.follower, log.end + 1)

    # ---- workers

    def _worker(self) -> Worker | None:
        return self.random.choice(self.workers) if self.workers else None

    async def assign(self) -> None:
        """A worker begins at what is durable, or below it; another one may live on."""
        log_id = self.random.choice(self._current())
        log = self.logs[log_id]
        position = log.durable
        if self.random.random() < 0.3:
            position = self.random.randrange(log.durable + 1)
        worker = self._worker()
        if worker is not None and worker.log == log_id and self.random.random() < 0.5:
            worker.assignment.end()
            worker.assign(position)  # the same process, and the same tracker
        else:
            skew_ms = self.random.randrange(-SKEW_MS, SKEW_MS + 1)
            self.workers.append(Worker(log_id, position, self.partitions, skew_ms))
        self._note(f"{tuple(log_id)} is assigned from {position}")
        del self.workers[:-5]

    async def fetch(self) -> None:
        """The client returns records and moves its position; they are taken a moment later."""
        worker = self._worker()
        if worker is None:
            return
        if worker.in_flight:
            worker.assignment.add(worker.partition, worker.in_flight, caught_up=False)
            worker.in_flight = []
            return
        log = self.logs[worker.log]
        end = min(log.stable, worker.position + self.random.randrange(1, 5))
        offsets = range(worker.position, end)
        worker.in_flight = [log.records[o][1] for o in offsets if o in log.records]
        worker.position = max(worker.position, end)

    async def flush(self) -> None:
        """A batch is begun, or becomes durable, or fails."""
        worker = self._worker()
        if worker is None:
            return
        if not worker.batches:
            worker.batches = worker.assignment.cut()
            for batch in worker.batches:
                worker.assignment.flush_started(batch, None)
            return
        batch = worker.batches.pop()
        if self.random.random() < 0.05:
            worker.assignment.flush_finished(batch, OSError("away"))
            return
        log = self.logs[worker.log]
        for record in batch.records:
            self._store(worker.log, record.key or b"", record.offset)
            log.stored.add(record.offset)
        worker.assignment.flush_finished(batch, None)
        while log.durable < log.end and (
            log.durable in log.stored | log.skipped or log.durable not in log.records
        ):
            log.durable += 1

    def _store(self, log: LogId, key: bytes, offset: int) -> None:
        message = Message(
            user_id=key.decode(), id="", source=None, type=None,
            time=datetime.fromtimestamp(0, tz=UTC), content_type=None, body=b"x", headers=(),
            expires_at=None, position=Position(*log, offset),
        )  # fmt: skip
        self.store.put(encode_bundle([message], TOPIC))

    async def claim(self) -> None:
        """A leader is asked; its answer comes; what is reached is claimed; an item is sent."""
        worker = self._worker()
        if worker is None:
            return
        what = self.random.random()
        current = worker.log.epoch == self.epoch or self.left_cluster
        if what < 0.35 and current:
            ends = {worker.partition: self.rules.end(self.logs[worker.log])}
            worker.questions.append(Question(self.now_ms + worker.skew_ms, ends))
        elif what < 0.6 and worker.questions:
            question = worker.questions.pop(0)
            worker.tracker.add_ends(worker.assignment, question.ends, question.as_of_ms)
        elif what < 0.85:
            positions = {}
            if not worker.in_flight or self.rules.position_in_flight:
                positions = {worker.partition: worker.position}
            worker.tracker.claim_reached(worker.assignment, positions)
        elif claims := worker.tracker.claims(worker.assignment):
            self.puts.append(WorkerClaims(
                table_id=TABLE_ID, epoch=worker.log.epoch, partitions=worker.partitions,
                claims=claims,
            ))  # fmt: skip

    async def put(self) -> None:
        """An item arrives, late, or once more."""
        if self.puts:
            index = self.random.randrange(len(self.puts))
            claims = self.puts[index]
            if self.random.random() < 0.9:
                del self.puts[index]
            self.store.put(claims.encode(0))
            if claims.epoch == self.epoch:
                self.used = max(self.used, claims.partitions)
            self._note(f"claimed: {dict(claims.claims)} of epoch {claims.epoch}")

    async def kill(self) -> None:
        if self.workers:
            self.workers.remove(self.random.choice(self.workers))

    async def operate(self) -> None:
        """Partitions are added; records are skipped; an epoch is opened."""
        what = self.random.random()
        if what < 0.6 and self.partitions < 6:
            self.logs[LogId(self.epoch, self.partitions)] = Log()
            self.partitions += 1
            self._note(f"{self.partitions} partitions")
            for worker in self.workers:
                if self.random.random() < 0.7:
                    worker.partitions = self.partitions
        elif what < 0.85:
            log = self.logs[self.random.choice(self._current())]
            log.skipped.update(range(log.durable, log.stable))
            log.durable = max(log.durable, log.stable)
        elif not self._busy:
            self.epoch += 1  # workers are stopped; one of them does not know it
            del self.workers[1:]
            self.logs |= {LogId(self.epoch, p): Log() for p in range(self.partitions)}
            self.used = self.partitions
            self.record = self._record()
            self.store.put(self.record.encode())
            self.reader.forget_record()
            self._note(f"epoch {self.epoch}")

    # ---- readers

    async def read(self) -> None:
        """One page, with or without a limit, or a reading that catches up once."""
        if self._busy:
            return
        user = self.random.choice(USERS)
        limit = self.random.choice([None, 1, 3])
        if self.random.random() < 0.4:
            await self.reader.fetch(user, limit=limit)  # leaves something read ahead
        if self.random.random() < 0.5:
            page = await self.reader.fetch(user, limit=limit, freshness=True)
            if not page.more:
                self._check(user, [page], page.fresh_as_of)
            if self.random.random() < 0.5:
                await self.reader.ack(user, page.receipt)
                self.acked[user].update(message.position for message in page.messages)
        else:
            until = datetime.fromtimestamp(self._reader_s(), tz=UTC)
            found = self.reader.catch_up(user, until=until, limit=limit, timeout_s=0)
            pages = [page async for page in found]
            self._check(user, pages, found.fresh_as_of)

    def _check(self, user: str, pages: Iterable[Page], fresh_as_of: datetime | None) -> None:
        if fresh_as_of is None:
            return
        self.proofs += 1
        self._note(f"{user} is fresh as of {fresh_as_of}")
        seen = {message.position for page in pages for message in page.messages}
        seen |= self.acked[user]
        for log_id in self._current():
            log = self.logs[log_id]
            for offset, (appended_ms, record) in log.records.items():
                appended = datetime.fromtimestamp(appended_ms / 1000, tz=UTC)
                if (
                    record.key == user.encode()
                    and appended < fresh_as_of
                    and Position(*log_id, offset) not in seen
                    and offset not in log.skipped
                ):
                    tail = "\n".join(self.history[-60:])
                    raise Violation("FALSE-PROOF", f"{user} {tuple(log_id)} {offset}\n{tail}")


class PlayedMailboxes(Mailboxes):
    """Mailboxes over a store in memory, whose table record is looked at when a test says so."""

    def __init__(
        self,
        store: MemoryStore,
        clock: Callable[[], float],
        partitioner: Partitioner | None,
        rules: Rules,
    ) -> None:
        self._played = store, clock, partitioner
        self._rules = rules
        self.forget_record()

    def forget_record(self) -> None:
        store, clock, partitioner = self._played
        self._assemble(
            store, table="mailboxes", receipt_keys=(), clock=clock, delete_acknowledged=False,
            partitioner=partitioner, clock_skew_s=self._rules.clock_skew_s, sleep=asyncio.sleep,
            monotonic=clock, meter=Meter(NO_METRICS),
        )  # fmt: skip

    async def _fetch(self, request: Any, **options: Any) -> Any:
        if self._rules.claims_first or not request.freshness:
            return await super()._fetch(request, **options)
        page, _ = await super()._fetch(replace(request, freshness=False), **options)
        claimed = await super()._read_claims()
        partitions = frozenset(range(claimed.partitions))
        as_of = as_datetime(claimed.as_of_ms(partitions), self._rules.clock_skew_s)
        return replace(page, fresh_as_of=as_of), ClaimsEvidence(claimed, partitions)
