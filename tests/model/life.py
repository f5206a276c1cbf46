"""One worker's life of one partition, made of production code: all but Faust and the clients."""

import asyncio
import random as randomness
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from poste_restante.memory import InMemoryTable
from poste_restante.message import Message
from poste_restante.position import LogId
from tests.model.stage import GatedClient, Stage
from tests.model.topic import Topic
from tests.records import TOPIC
from worker.bundles import BundleLimits
from worker.cloudevents import CloudEventsDecoder
from worker.dead_letters import DeadLetter
from worker.dynamodb import Store
from worker.errors import BadRecord, Reason
from worker.flush import Flusher
from worker.group_errors import Member
from worker.lives import Assignment, BatchLimits, Life
from worker.opening import Opened, Opener
from worker.progress import DynamoDBProgress
from worker.record import Record
from worker.resume import Start
from worker.transport import BatchConsumer, Rules
from worker.writer import DynamoDBWriter

TABLE = "mailboxes"


async def at_once(_: float) -> None:
    """No wait: the world says how often a call fails."""


def patient_store(client: Any) -> Store:
    return Store(client, sleep=at_once, random=lambda: 0.5, clock=lambda: 0.0)


@dataclass(frozen=True)
class Traits:
    """In what one worker differs from another: its settings, its version, its start."""

    start: Start
    bundles: BundleLimits
    batch_records: int
    dead_in_a_row_max: int
    decodes_badly: float
    rejects: float

    @classmethod
    def draw(
        cls, random: randomness.Random, start: Start, bundle_messages: Sequence[int]
    ) -> "Traits":
        return cls(
            start=start,
            bundles=BundleLimits(random.choice(bundle_messages), random.choice([700, 65536])),
            batch_records=random.randrange(1, 15),
            dead_in_a_row_max=random.choice([2, 1000, 1000]),
            decodes_badly=random.choice([0, 0, 0.5]),
            rejects=random.choice([0, 0, 0.5]),
        )


class Consumer:
    """What `worker.transport` decides without Faust: borrowed, not copied."""

    def __init__(self, worker: "Worker", rules: Rules) -> None:
        self._worker = worker
        self.rules = rules
        self._committing = asyncio.Lock()

    @property
    def current(self) -> Assignment:
        return self._worker.assignment

    # Faust's classes are Any to mypy, ours that inherit from them are not: hence the casts.

    async def _save(self, life: Life, now_ms: int) -> None:
        await BatchConsumer._save(cast("Any", self), life, now_ms)

    async def force_commit(self) -> None:
        await BatchConsumer.force_commit(cast("Any", self))

    async def _commit_durable(self) -> bool:
        return await BatchConsumer._commit_durable(cast("Any", self))

    async def follows(self, life: Life, records: Sequence[Record]) -> bool:
        return await BatchConsumer._follows(cast("Any", self), life, records)

    def _tp(self, partition: int) -> Any:
        return BatchConsumer._tp(cast("Any", self), partition)

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        return await self._worker.commit_group({tp.partition: o for tp, o in offsets.items()})


class Worker:
    """One process with one partition. It may live on when others have taken over: a zombie."""

    def __init__(
        self,
        name: str,
        partition: int,
        traits: Traits,
        *,
        stage: Stage,
        table: InMemoryTable,
        topic: Topic,
        wrote: Callable[[Mapping[str, Any]], None],
        committed: Callable[[LogId, int], None],
        random: randomness.Random,
        born: int,
    ) -> None:
        self.name = name
        self.partition = partition
        self.traits = traits
        self.born = born
        self.owns_group = False
        self._fetching = False
        self._stage = stage
        self._committed = committed
        self._topic = topic
        self.log = topic.current(partition)
        # A version decides the same about every record of its life, seen before or not.
        self._version = random.randrange(10**6)
        store = patient_store(GatedClient(stage, table, wrote, self._rejects))
        progress = DynamoDBProgress(store, TABLE, TOPIC)
        self.opener = Opener(
            topic=TOPIC, start=traits.start, progress=progress, log=topic, now_ms=lambda: 0
        )
        rules = Rules(
            topic=TOPIC, member=Member(TOPIC, "group"), consumer_options={}, opener=self.opener,
            progress=progress,
        )  # fmt: skip
        self.assignment = Assignment(
            [partition], limits=BatchLimits(records_max=traits.batch_records)
        )
        self.consumer = Consumer(self, rules)
        self._decoder = CloudEventsDecoder(timedelta(days=30))
        self.flusher = Flusher(
            topic=TOPIC,
            decoder=self._decode,
            limits=traits.bundles,
            mailboxes=DynamoDBWriter(store, TABLE),
            dead_letters=self,
            dead_letters_consecutive_max=traits.dead_in_a_row_max,
        )

    @property
    def life(self) -> Life | None:
        return self.assignment.lives.get(self.partition)

    # ---- what it does, each a coroutine for the stage

    async def open(self) -> bool:
        """Whether the partition was opened."""
        (answer,) = (await self.opener.open([self.partition])).values()
        if isinstance(answer, Opened):
            self.assignment.open(
                self.partition, answer.position, answer.progress, committed=answer.committed
            )
        return isinstance(answer, Opened)

    async def work(self, records_max: int) -> None:
        """Fetch, and flush what can be flushed now."""
        life = self.life
        assert life is not None
        if not self._fetching:  # there is one fetcher
            self._fetching = True
            records = self._topic.fetch(self.log, life.fetched, records_max)
            if records and await self.consumer.follows(life, records):
                self.assignment.add(self.partition, records, caught_up=False)
            self._fetching = False
        for batch in self.assignment.cut():
            with batch:  # as worker.app's flush
                flushed = await self.flusher.flush(
                    batch.records, epoch=life.epoch, dead_in_a_row=batch.dead_in_a_row
                )
                batch.dead_in_a_row = flushed.dead_in_a_row

    async def commit(self) -> None:
        await self.consumer.force_commit()

    async def commit_group(self, offsets: Mapping[int, int]) -> bool:
        await self._stage.gate("commit")
        if not self.owns_group or self.log.id.epoch != self._topic.epoch:
            return False  # fenced
        self._topic.groups.update(offsets)
        self._committed(self.log.id, offsets[self.partition])
        return True

    # ---- its version's and its store's opinions

    def _is(self, offset: int, what: str, chance: float) -> bool:
        if offset not in self.log.flaky:
            return False
        return randomness.Random(f"{self._version}{what}{offset}").random() < chance

    def _decode(self, record: Record, epoch: int) -> Sequence[Message]:
        if self._is(record.offset, "decode", self.traits.decodes_badly):
            raise BadRecord(Reason.MALFORMED_CLOUDEVENT, "this version thinks so")
        return self._decoder(record, epoch)

    def _rejects(self, request: Mapping[str, Any]) -> bool:
        return any(
            self._is(int(entry["M"]["o"]["N"]), "reject", self.traits.rejects)
            for entry in request["PutRequest"]["Item"]["messages"]["L"]
        )

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Dead letters, acknowledged one by one."""
        for letter in letters:
            await self._stage.gate("dead letter")
            log: LogId = self.log.id
            self._topic.dead.add((log, letter.record.offset))
