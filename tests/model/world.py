"""A world of workers, zombies, readers and operators around one table. See the package's page.

Every method named in `EVENTS` is one event, drawn with the randomness it is given: hypothesis'
or a seeded one. After each the truth is checked.
"""

import random as randomness
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from poste_restante import position
from poste_restante.errors import MailboxError
from poste_restante.mailboxes import Mailboxes
from poste_restante.memory import InMemoryTable
from poste_restante.position import LogId, mailbox_key, progress_key
from poste_restante.table import TableRecord
from tests.model.life import TABLE, Traits, Worker, patient_store
from tests.model.profiles import Profile
from tests.model.stage import Actor, Call, Gate, GatedClient, Outcome, Stage
from tests.model.topic import EXPIRY_S, USERS, Topic
from tests.model.truth import Chain, Truth, Violation
from tests.records import NEW_YEAR_MS, TOPIC
from worker.errors import OperatorError
from worker.operations import Office, Plan
from worker.progress import DynamoDBProgress
from worker.resume import Beginning, Start
from worker.settings import Settings

READERS_MAX, CHAINS_MAX = 3, 6
#: What ends a process or a request on purpose; anything else that is raised is a finding.
EXPECTED = (OperatorError, MailboxError)
RECORD = TableRecord(table_id="table-1", topic=TOPIC, partitions=2, epoch=1)


class World:
    """One history. Use it as a context manager: it patches the window size while it lives."""

    def __init__(self, profile: Profile, random: randomness.Random) -> None:
        self.profile = profile
        self.random = random
        self.stage = Stage()
        self.table = InMemoryTable(TABLE, page_bytes=random.choice([200, 600, 2000, 10**6]))
        self.partitions = random.choice(profile.partitions)
        self.window = random.choice(profile.windows)
        self.topic = Topic(self.stage, self.partitions)
        self.truth = Truth(self.topic, self.table)
        self.workers: list[Worker] = []
        self.late: list[tuple[str, Call]] = []
        self.chains = {user: [Chain()] for user in USERS}
        self.reader = Mailboxes(
            GatedClient(self.stage, self.table, self._wrote),
            table=TABLE,
            clock=lambda: self.truth.now().timestamp(),
        )
        self.epoch_is_due = False
        self.history: list[str] = []
        self._patches = ExitStack()

    def __enter__(self) -> Self:
        self._patches.enter_context(patch.object(position, "WINDOW_SIZE", self.window))
        item = {**RECORD.encode(), "partitions": {"N": str(self.partitions)}}
        self.table.items[item["user_id"]["S"], item["position"]["S"]] = item
        for log in self.topic.logs.values():
            for _ in range(self.random.randrange(self.profile.records)):
                log.append(self.random)
        self._at_once("look", self.reader.fetch(USERS[0]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._patches.close()
        self.stage.close()

    # ---- running

    def run(self, steps: int) -> None:
        """Random events. Raises Violation."""
        names = list(self.profile.weights)
        weights = list(self.profile.weights.values())
        for _ in range(steps):
            self.event(self.random.choices(names, weights)[0], self.random)

    def event(self, name: str, random: randomness.Random) -> None:
        """One event, and the checks. Raises Violation, with the history."""
        self.random = self.stage.random = random
        self.truth.step += 1
        try:
            getattr(self, name)()
            self._reap()
            self.truth.check()
        except Violation as violation:
            violation.args = (f"{violation.args[0]}\n{self.describe()}",)
            raise

    def describe(self) -> str:
        logs = {f"{i.epoch}/{i.partition}": (g.start, g.end) for i, g in self.topic.logs.items()}
        keys = [f"{k[0]} {k[1]}" for k in sorted(self.table.items)]
        progress = [f"{log}: {p.next} from {p.origin}" for log, p in self.truth.progress.items()]
        return "\n".join(
            [*self.history, f"windows of {self.window}, logs {logs}", *progress, *keys]
        )

    def _note(self, text: str) -> None:
        self.history.append(f"{self.truth.step:4} {text}")

    def _begin(
        self,
        name: str,
        work: Coroutine[Any, Any, Any],
        owner: object = None,
        done: Callable[[Any], None] = lambda _: None,
    ) -> Actor:
        """It runs on for no call, some, or to its end; others may begin meanwhile."""
        self._note(name)
        actor = self.stage.spawn(name, work, owner=owner, done=done)
        self._go_on(actor, self.random.choice(self.profile.calls_at_first))
        return actor

    def _go_on(self, actor: Actor, calls: int) -> None:
        """Some next calls of one actor are made, or fail."""
        for _ in range(calls):
            own = [gate for gate in self.stage.gates if gate.actor is actor]
            if not own:
                return
            self._through(self.random.choice(own))

    def _at_once(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        """With nothing in between. Nobody else's gate is opened."""
        self._note(name)
        actor = self.stage.spawn(name, work)
        self.stage.finish(actor)
        self.stage.actors.remove(actor)
        return actor.task.result()

    def _reap(self) -> None:
        for actor in self.stage.finished():
            if actor.task.cancelled():
                continue
            error = actor.task.exception()
            if error is None:
                actor.done(actor.task.result())
                continue
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._note(f"{actor.name} ends: {type(error).__name__}: {str(error)[:120]}")
            if not isinstance(error, EXPECTED):
                raise Violation("RAISED", f"{actor.name}: {error!r}") from error
            if isinstance(actor.owner, Worker):
                self._end(actor.owner)
        for worker in list(self.workers):
            if worker.assignment.broken is not None:
                self._end(worker)

    def _wrote(self, arguments: Mapping[str, Any], worker: Worker | None = None) -> None:
        """A writing call took effect."""
        put = arguments.get("PutRequest", {}).get("Item") or arguments.get("Item")
        key = put or arguments.get("Key") or arguments["DeleteRequest"]["Key"]
        self._note(f"    {'put' if put else 'write'} {key['user_id']['S']} {key['position']['S']}")
        self.truth.changed(key["user_id"]["S"])
        if worker is not None and put is not None and "messages" in put:
            self.truth.stored(put, worker.born)

    # ---- the log and the clock

    def produce(self) -> None:
        log = self.topic.current(self.random.randrange(self.partitions))
        for _ in range(self.random.randrange(1, 8)):
            log.append(self.random)

    def retention(self) -> None:
        """The log's start moves, mostly below progress."""
        log = self.topic.current(self.random.randrange(self.partitions))
        progress = self.truth.progress.get(log.id)
        limit = 0 if progress is None else progress.next
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

    # ---- workers

    def assign(self) -> None:
        """A worker is given a partition, whoever else believes to have it."""
        partition = self.random.randrange(self.partitions)
        if self.epoch_is_due:
            return
        if len(self.workers) >= self.profile.workers_max:
            self._end(self.random.choice(self.workers))
        if self.random.random() < self.profile.lower_starts:
            self._set_group(partition)
        beginning = self.random.choice(self.profile.beginnings)
        if self.topic.groups[partition] is None and beginning is Beginning.GROUP:
            beginning = Beginning.EARLIEST
        start = Start(beginning)
        worker = Worker(
            f"w{self.truth.step}", partition, Traits.draw(self.random, start),
            stage=self.stage, table=self.table, topic=self.topic, random=self.random,
            born=self.truth.step,
            wrote=lambda arguments: self._wrote(arguments, worker),
        )  # fmt: skip
        self.workers.append(worker)

        def opened(is_open: bool) -> None:
            if not is_open or worker.life is None:
                self._end(worker)
                return
            self._note(f"{worker.name} begins at {worker.life.fetched}")
            self.truth.first_start(worker.log.id, worker.life.stored.origin)
            for other in self.workers:
                if other.partition == partition:
                    other.owns_group = other is worker

        self._note(f"{worker.name}: {worker.traits}")
        self._begin(f"{worker.name} opens {partition}", worker.open(), worker, opened)

    def _some(self) -> Worker | None:
        found = [worker for worker in self.workers if worker.life is not None]
        return self.random.choice(found) if found else None

    def work(self) -> None:
        worker = self._some()
        if worker is not None and not self._busy(worker, "works"):
            count = self.random.randrange(1, 15)
            self._begin(f"{worker.name} works on {count}", worker.work(count), worker)

    def commit(self) -> None:
        worker = self._some()
        if worker is not None and not self._busy(worker, "commits"):
            self._begin(f"{worker.name} commits", worker.commit(), worker)

    def _busy(self, worker: Worker, what: str) -> bool:
        own = [actor for actor in self.stage.actors if actor.owner is worker]
        at_most = self.profile.works_at_once if what == "works" else 1
        return sum(f" {what}" in actor.name for actor in own) >= at_most

    def kill(self) -> None:
        if self.workers:
            self._end(self.random.choice(self.workers))

    def _end(self, worker: Worker) -> None:
        """The process is gone; what it had sent may still arrive, once or more than once."""
        if worker in self.workers:
            self.workers.remove(worker)
            self._note(f"{worker.name} is gone")
        for actor in [actor for actor in self.stage.actors if actor.owner is worker]:
            for gate in [gate for gate in self.stage.gates if gate.actor is actor]:
                if gate.late is not None and self.random.random() < 0.5:
                    self.late.append((f"{gate.what} of {worker.name}", gate.late))
            self.stage.cancel(actor)

    def arrive(self) -> None:
        """A call of one who is gone, or a repeated one, takes effect now."""
        if not self.late:
            return
        index = self.random.randrange(len(self.late))
        name, call = self.late[index]
        if self.random.random() < 0.7:
            del self.late[index]
        self._note(f"late: {name}")

        async def attempt() -> None:
            try:
                await call()
            except Exception as error:
                self._note(f"    refused: {error}")

        self._at_once("late", attempt())

    # ---- the calls

    def advance(self) -> None:
        """Somebody's calls are made, or fail."""
        for _ in range(self.random.randrange(1, 7)):
            if not self.stage.gates:
                return
            gate = self.random.choice(self.stage.gates)
            self._through(gate)

    def hurry(self) -> None:
        """One actor's next calls are made, or fail."""
        if self.stage.actors:
            self._go_on(self.random.choice(self.stage.actors), self.random.randrange(1, 12))

    def _through(self, gate: Gate) -> None:
        outcome = Outcome.MADE
        if gate.what in {"query", "get_item", "put_item", "update_item", "batch_write_item"}:
            chance = self.random.random()
            if chance < self.profile.failures:
                outcome = self.random.choice([*Outcome][1:])
                self._note(f"    {outcome.name}: {gate.what} of {gate.actor and gate.actor.name}")
        if gate.late is not None and self.random.random() < self.profile.repeats:
            self.late.append((f"{gate.what} again", gate.late))
        self.stage.open(gate, outcome)
        self._reap()
        self.truth.check()

    # ---- the group and the operator

    def group(self) -> None:
        """Kafka's own tools move the group's offset; or it expires."""
        self._set_group(self.random.randrange(self.partitions))

    def _set_group(self, partition: int) -> None:
        log = self.topic.current(partition)
        known = self.truth.progress.get(log.id)
        offset: int | None = None
        if self.random.random() < 0.8:
            offset = self.random.randrange((log.end if known is None else known.next) + 1)
        elif self.random.random() < 0.7:
            offset = self.random.randrange(log.end + 1)
        self.topic.groups[partition] = offset
        self._note(f"the group's offset of {partition} is {offset}")

    def rewind(self) -> None:
        self._move(self._rewind)

    def skip(self) -> None:
        self._move(self._skip)

    def epoch(self) -> None:
        """The topic is made anew; the opening of an epoch may need more than one attempt."""
        if not self.epoch_is_due:
            for actor in [a for a in self.stage.actors if a.name.startswith("operator")]:
                self.stage.cancel(actor)
            for worker in list(self.workers):
                if worker.life is None or self.random.random() < 0.7:
                    self._end(worker)  # the others go on as zombies with what they have fetched
            self.epoch_is_due = True
            self.topic.epoch += 1
            self.topic.begin_life()
            self._note(f"the topic's life {self.topic.epoch} begins")
        self._move(self._epoch)

    def _move(self, move: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        if any(actor.name.startswith("operator") for actor in self.stage.actors):
            return
        partition = self.random.randrange(self.partitions)
        if self.epoch_is_due != (move == self._epoch):
            return
        if move != self._epoch:  # workers are stopped for a move
            for worker in [w for w in self.workers if w.partition == partition]:
                self._end(worker)
        self._begin(f"operator: {move.__name__} of {partition}", move(partition))

    async def _office(self) -> Office:
        store = patient_store(GatedClient(self.stage, self.table, self._wrote))
        progress = DynamoDBProgress(store, TABLE, TOPIC)
        return Office(
            settings=Settings(), groups=self.topic, log=self.topic, progress=progress,
            table=await progress.table(), partitions=tuple(range(self.partitions)),
        )  # fmt: skip

    async def _rewind(self, partition: int) -> None:
        office = await self._office()
        log = self.topic.current(partition)
        known = self.truth.progress.get(log.id)
        to = self.random.randrange((0 if known is None else known.next) + 1)
        plan = await office.rewind_to([partition], str(to), 0)
        self._say(plan)
        self.truth.reached_again[log.id] = 0
        await office.make(plan)

    async def _skip(self, partition: int) -> None:
        office = await self._office()
        log = self.topic.current(partition)
        known = self.truth.progress.get(log.id)
        begin = 0 if known is None else known.next
        to = min(begin + self.random.randrange(10), log.end)
        plan = await office.skip(partition, str(to), 0)
        self._say(plan)
        self.truth.skipping[log.id] = to
        await office.make(plan)

    async def _epoch(self, partition: int) -> None:
        office = await self._office()
        plan = await office.epoch(0)
        self._say(plan)
        await office.make(plan)
        self.epoch_is_due = False

    def _say(self, plan: Plan) -> None:
        for line in plan.lines():
            self._note(f"    {line}")

    # ---- readers

    def fetch(self) -> None:
        """A page, from the beginning or behind another one, while others are at work."""
        if sum(a.owner is self.reader for a in self.stage.actors) < READERS_MAX:
            user, chain, limits = self._wanted()
            at = dict(self.truth.mailboxes[user].cursor)
            self._begin(
                f"{user} fetches {limits} behind {chain.shown[-1:]}",
                self.reader.fetch(user, after=chain.token, **limits),
                self.reader,
                lambda page: self._paged(user, chain, page, at),
            )

    def look(self) -> None:
        """A page with nothing in between, which must be exact."""
        user, chain, limits = self._wanted()
        limits.pop("max_bytes", None)
        name = f"{user} looks {limits} behind {chain.shown[-1:]}"
        page = self._at_once(name, self.reader.fetch(user, after=chain.token, **limits))
        self.truth.undisturbed(user, chain, limits.get("limit"), page)
        self._paged(user, chain, page, self.truth.mailboxes[user].cursor)

    def _wanted(self) -> tuple[str, Chain, dict[str, int]]:
        user = self.random.choice(USERS)
        chain = Chain() if self.random.random() < 0.4 else self.random.choice(self.chains[user])
        limits = {}
        if self.random.random() < 0.8:
            limits["limit"] = self.random.randrange(1, 8)
        if self.random.random() < 0.2:
            limits["max_bytes"] = self.random.randrange(1, 60)
        return user, chain, limits

    def _paged(self, user: str, chain: Chain, page: Any, at: Mapping[LogId, int]) -> None:
        receipts = self.reader._receipts
        end = None
        if page.receipt is not None:
            end = receipts.decode(page.receipt, table_id=RECORD.table_id, user_id=user)
        after = self.truth.page(user, chain, page, end, dict(at))
        self._note(f"    {user} has {[place[1] for place in after.shown]}, more: {page.more}")
        self.chains[user] = [*self.chains[user], after][-CHAINS_MAX:]

    def ack(self) -> None:
        user = self.random.choice(USERS)
        chain = self.random.choice(self.chains[user])
        if chain.token is not None and chain.receipt is not None:
            covered = {tuple(log): reach.covered for log, reach in chain.receipt.logs.items()}
            name = f"{user} acknowledges {covered}"
            self._begin(name, self.reader.ack(user, chain.token), self.reader)

    def give_up(self) -> None:
        """A request is cut off, a move interrupted, or a flush cancelled by nobody knows whom."""
        found = [a for a in self.stage.actors if not self._is_opening(a)]
        if found:
            actor = self.random.choice(found)
            self._note(f"cut off: {actor.name}")
            self.stage.cancel(actor)

    def _is_opening(self, actor: Actor) -> bool:
        return isinstance(actor.owner, Worker) and actor.owner.life is None


__all__ = ["World", "progress_key"]
