"""A worker of one partition, made of production code: all but Faust and the clients."""

import random as randomness
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from poste_restante.message import Message
from poste_restante.position import LogId
from tests.fake_table import InMemoryTable
from tests.model.scheduler import GatedClient, Scheduler
from tests.model.topic import Topic
from tests.records import TOPIC
from tests.store_client import store_on
from worker.assignment import Assignment, BatchLimits, PartitionTask
from worker.bundles import BundleLimits
from worker.cloudevents import CloudEventsDecoder
from worker.committer import Committer
from worker.continuity import follows
from worker.dead_letters import DeadLetter
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.dynamodb.retrying_store import RetryingStore
from worker.errors import BadRecord, DeadLetterReason
from worker.flush import Flusher
from worker.opening import OpenedPartition, PartitionOpener
from worker.record import Record
from worker.resume import StartSetting

TABLE = "mailboxes"


async def at_once(_: float) -> None:
    """No wait: the world says how often a call fails."""


def patient_store(client: Any) -> RetryingStore:
    return store_on(client, sleep=at_once, random=lambda: 0.5, clock=lambda: 0.0)


@dataclass(frozen=True)
class Traits:
    """In what one worker differs from another: its settings, its version, its start."""

    start: StartSetting
    bundles: BundleLimits
    batch_records: int
    consecutive_dead_letters_max: int
    decodes_badly: float
    rejects: float

    @classmethod
    def draw(
        cls, random: randomness.Random, start: StartSetting, bundle_messages: Sequence[int]
    ) -> "Traits":
        return cls(
            start=start,
            bundles=BundleLimits(random.choice(bundle_messages), random.choice([700, 65536])),
            batch_records=random.randrange(1, 15),
            consecutive_dead_letters_max=random.choice([2, 1000, 1000]),
            decodes_badly=random.choice([0, 0, 0.5]),
            rejects=random.choice([0, 0, 0.5]),
        )


class Worker:
    """One process with one partition. It may live on when others have taken over: a zombie."""

    def __init__(
        self,
        name: str,
        partition: int,
        traits: Traits,
        *,
        scheduler: Scheduler,
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
        self._scheduler = scheduler
        self._committed = committed
        self._topic = topic
        self.log = topic.current(partition)
        # A version decides the same about every record that it reads, seen before or not.
        self._version = random.randrange(10**6)
        store = patient_store(GatedClient(scheduler, table, wrote, self._rejects))
        progress = DynamoDBProgress(store, TABLE, TOPIC)
        self.opener = PartitionOpener(
            topic=TOPIC, start=traits.start, progress=progress, log=topic, now_ms=lambda: 0
        )
        self.assignment = Assignment(
            [partition], limits=BatchLimits(records_max=traits.batch_records)
        )
        self.committer = Committer(progress, self.commit_group)
        self._decoder = CloudEventsDecoder(timedelta(days=30))
        self.flusher = Flusher(
            topic=TOPIC,
            decoder=self._decode,
            limits=traits.bundles,
            mailboxes=DynamoDBWriter(store, TABLE),
            dead_letters=self,
            dead_letters_consecutive_max=traits.consecutive_dead_letters_max,
        )

    @property
    def task(self) -> PartitionTask | None:
        return self.assignment.tasks.get(self.partition)

    # ---- what it does, each a coroutine for the scheduler

    async def open(self) -> bool:
        """Whether the partition was opened."""
        (answer,) = (await self.opener.open([self.partition])).values()
        if isinstance(answer, OpenedPartition):
            self.assignment.open(
                self.partition, answer.position, answer.progress, committed=answer.committed
            )
        return isinstance(answer, OpenedPartition)

    async def work(self, records_max: int) -> None:
        """Fetch, and flush what can be flushed now."""
        task = self.task
        assert task is not None
        if not self._fetching:  # there is one fetcher
            self._fetching = True
            records = self._topic.fetch(self.log, task.fetched, records_max)
            if records and await follows(task, records, self._topic):
                self.assignment.add(self.partition, records, caught_up=False)
            self._fetching = False
        for batch in self.assignment.cut():
            with batch:  # as worker.app's flush
                flushed = await self.flusher.flush(
                    batch.records,
                    epoch=task.epoch,
                    consecutive_dead_letters=batch.consecutive_dead_letters,
                )
                batch.consecutive_dead_letters = flushed.consecutive_dead_letters

    async def commit(self) -> None:
        await self.committer.commit(lambda: self.assignment)

    async def commit_group(self, offsets: Mapping[int, int]) -> bool:
        await self._scheduler.gate("commit")
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
            raise BadRecord(DeadLetterReason.MALFORMED_CLOUDEVENT, "this version thinks so")
        return self._decoder(record, epoch)

    def _rejects(self, request: Mapping[str, Any]) -> bool:
        return any(
            self._is(int(entry["M"]["o"]["N"]), "reject", self.traits.rejects)
            for entry in request["PutRequest"]["Item"]["messages"]["L"]
        )

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Dead letters, acknowledged one by one."""
        for letter in letters:
            await self._scheduler.gate("dead letter")
            log: LogId = self.log.id
            self._topic.dead.add((log, letter.record.offset))
