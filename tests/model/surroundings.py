"""The topic, the clock, and the operator with the deliberate moves."""

from collections.abc import Callable, Coroutine
from typing import Any

from poste_restante.position import mailbox_key
from tests.model.playing import Playing
from tests.model.scheduler import GatedClient
from tests.model.topic import EXPIRY_S, USERS
from tests.model.worker import TABLE, patient_store
from tests.records import NEW_YEAR_MS, TOPIC
from worker.cli.admin_client import AdminClient, MovePlan
from worker.dynamodb.claim_store import DynamoDBClaims
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.settings import Settings


class Surroundings(Playing):
    """Events that neither workers nor readers bring about."""

    # ---- the log and the clock

    def produce(self) -> None:
        log = self.topic.current(self.random.randrange(self.partitions))
        for _ in range(self.random.randrange(1, 8)):
            log.append(self.random)

    def retention(self) -> None:
        """The log's start moves, mostly below progress."""
        log = self.topic.current(self.random.randrange(self.partitions))
        limit = self.truth.reached[log.id]
        if self.random.random() < self.profile.unread:
            limit += 4
        if limit > log.start:
            step = self.random.randrange(1, self.profile.retention_step)
            log.start = min(log.start + step, limit, log.end)
            self._note(f"log {log.id} starts at {log.start}")

    def time(self) -> None:
        """Messages expire, and DynamoDB removes some items of which all did."""
        if self.truth.now_s < EXPIRY_S:
            self.truth.now_s = EXPIRY_S
        expired = [
            key
            for key, item in self.table.items.items()
            if "expires_at" in item
            and int(item["expires_at"]["N"]) <= NEW_YEAR_MS // 1000 + self.truth.now_s
        ]
        for key in expired[: self.random.randrange(4)]:
            del self.table.items[key]
            self._note(f"removed {key}")
        for user in USERS:
            self.truth.changed(mailbox_key(user))

    # ---- the operator

    def rewind(self) -> None:
        self._move(self._rewind)

    def skip(self) -> None:
        self._move(self._skip)

    def epoch(self) -> None:
        """The topic is made anew; the opening of an epoch may need more than one attempt."""
        if not self.epoch_is_due:
            for actor in [a for a in self.scheduler.actors if a.name.startswith("operator")]:
                self.scheduler.cancel(actor)
            for worker in list(self.workers):
                if worker.task is None or self.random.random() < 0.7:
                    self._end(worker)  # the others go on as zombies with what they have fetched
            self.epoch_is_due = True
            self.topic.epoch += 1
            self.topic.begin_incarnation()
            self._note(f"epoch {self.topic.epoch} of the topic begins")
        self._move(self._epoch)

    def _move(self, move: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        if any(actor.name.startswith("operator") for actor in self.scheduler.actors):
            return
        partition = self.random.randrange(self.partitions)
        if self.epoch_is_due != (move == self._epoch):
            return
        if move != self._epoch:  # workers are stopped for a move
            for worker in [w for w in self.workers if w.partition == partition]:
                self._end(worker)
        self._begin(f"operator: {move.__name__} of {partition}", move(partition))

    async def _office(self) -> AdminClient:
        store = patient_store(GatedClient(self.scheduler, self.table, self._wrote))
        progress = DynamoDBProgress(store, TABLE, TOPIC)
        return AdminClient(
            settings=Settings(), groups=self.topic, log=self.topic, progress=progress,
            claims=DynamoDBClaims(store, TABLE), table=await progress.table(),
            partitions=tuple(range(self.partitions)),
        )  # fmt: skip

    async def _rewind(self, partition: int) -> None:
        admin = await self._office()
        log = self.topic.current(partition)
        known = self.truth.progress.get(log.id)
        to = self.random.randrange((0 if known is None else known.next) + 1)
        plan = await admin.rewind_to([partition], str(to), 0)
        self._say(plan)
        self.truth.reached_again[log.id] = 0
        await admin.apply(plan)

    async def _skip(self, partition: int) -> None:
        admin = await self._office()
        log = self.topic.current(partition)
        known = self.truth.progress.get(log.id)
        begin = 0 if known is None else known.next
        to = min(begin + self.random.randrange(10), log.end)
        plan = await admin.skip(partition, str(to), 0)
        self._say(plan)
        self.truth.skipping[log.id] = to
        await admin.apply(plan)

    async def _epoch(self, partition: int) -> None:
        admin = await self._office()
        plan = await admin.epoch(0)
        self._say(plan)
        await admin.apply(plan)
        self.epoch_is_due = False

    def _say(self, plan: MovePlan) -> None:
        for line in plan.lines():
            self._note(f"    {line}")
