"""How a history is played: events, actors that run and fail, calls that arrive late."""

import random as randomness
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from poste_restante import position
from poste_restante.errors import MailboxError
from poste_restante.mailboxes import Mailboxes
from poste_restante.receipt import Receipts
from poste_restante.table import TableRecord
from tests.fake_table import InMemoryTable
from tests.model.ledger import DEVICES, Chain, Violation
from tests.model.profiles import Profile
from tests.model.scheduler import Actor, Call, Gate, GatedClient, Outcome, Scheduler
from tests.model.topic import USERS, Topic
from tests.model.truth import Truth
from tests.model.worker import TABLE, Worker
from tests.records import TOPIC
from worker.errors import OperatorError

#: What ends a process or a request on purpose; anything else that is raised is a finding.
EXPECTED = (OperatorError, MailboxError)
RECORD = TableRecord(table_id="table-1", topic=TOPIC, partitions=2, epoch=1)


class Playing:
    """What all events rest on. A context manager: it patches the window size while it is open."""

    def __init__(self, profile: Profile, random: randomness.Random) -> None:
        self.profile = profile
        self.random = random
        self.scheduler = Scheduler()
        self.table = InMemoryTable(TABLE, page_bytes=random.choice([200, 600, 2000, 10**6]))
        self.partitions = random.choice(profile.partitions)
        self.window = random.choice(profile.windows)
        self.topic = Topic(self.scheduler, self.partitions)
        self.truth = Truth(self.topic, self.table)
        self.workers: list[Worker] = []
        self.late: list[tuple[str, Call]] = []
        self.truth.devices = profile.devices
        self.chains = {(user, device): [Chain()] for user in USERS for device in (None, *DEVICES)}
        self.deletes = random.random() < profile.deletes
        self.reader = Mailboxes(
            GatedClient(self.scheduler, self.table, self._wrote),
            table=TABLE,
            clock=lambda: self.truth.now().timestamp(),
            delete_acknowledged=self.deletes,
        )
        self.receipts = Receipts()  # as the reader's: without keys
        self.epoch_is_due = False
        self.history: list[str] = []
        self._patches = ExitStack()

    def __enter__(self) -> Self:
        self._patches.enter_context(patch.object(position, "WINDOW_SIZE", self.window))
        item = {**RECORD.encode(), "partitions": {"N": str(self.partitions)}}
        self.table.items[item["user_id"]["S"], item["position"]["S"]] = item
        for log in self.topic.logs.values():
            for _ in range(self.random.randrange(*self.profile.records)):
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
        self.scheduler.close()

    # ---- running

    def run(self, steps: int) -> None:
        """Random events. Raises Violation."""
        names = list(self.profile.weights)
        weights = list(self.profile.weights.values())
        for _ in range(steps):
            self.event(self.random.choices(names, weights)[0], self.random)

    def event(self, name: str, random: randomness.Random) -> None:
        """One event, and the checks. Raises Violation, with the history."""
        self.random = self.scheduler.random = random
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
        actor = self.scheduler.spawn(name, work, owner=owner, done=done)
        self._go_on(actor, self.random.choice(self.profile.calls_at_first))
        return actor

    def _go_on(self, actor: Actor, calls: int) -> None:
        """Some next calls of one actor are made, or fail."""
        for _ in range(calls):
            own = [gate for gate in self.scheduler.gates if gate.actor is actor]
            if not own:
                return
            self._through(self.random.choice(own))

    def _at_once(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        """With nothing in between. Nobody else's gate is opened."""
        self._note(name)
        actor = self.scheduler.spawn(name, work)
        self.scheduler.finish(actor)
        self.scheduler.actors.remove(actor)
        error = actor.task.exception()
        if error is not None:
            raise self._finding(actor, error)
        return actor.task.result()

    def _reap(self) -> None:
        """Take leave of those who have ended: well, on purpose, or with a finding."""
        for actor in self.scheduler.finished():
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
                raise self._finding(actor, error)
            if isinstance(actor.owner, Worker):
                self._end(actor.owner)
        for worker in list(self.workers):
            if worker.assignment.broken is not None:
                self._end(worker)

    def _finding(self, actor: Actor, error: BaseException) -> Violation:
        if isinstance(error, Violation):
            return error
        found = Violation("RAISED", f"{actor.name}: {error!r}")
        found.__cause__ = error
        return found

    def _wrote(self, arguments: Mapping[str, Any], worker: Worker | None = None) -> None:
        """A writing call took effect."""
        put = arguments.get("PutRequest", {}).get("Item") or arguments.get("Item")
        key = put or arguments.get("Key") or arguments["DeleteRequest"]["Key"]
        self._note(f"    {'put' if put else 'write'} {key['user_id']['S']} {key['position']['S']}")
        self.truth.changed(key["user_id"]["S"])
        if "DeleteRequest" in arguments and not key["position"]["S"].startswith("!"):
            self.truth.deletes(key["user_id"]["S"], key["position"]["S"])
        if worker is not None and put is not None and "messages" in put:
            self.truth.stored(put, worker.born)

    def _end(self, worker: Worker) -> None:
        """The process is gone; what it had sent may still arrive, once or more than once."""
        if worker in self.workers:
            self.workers.remove(worker)
            self._note(f"{worker.name} is gone")
        for actor in [actor for actor in self.scheduler.actors if actor.owner is worker]:
            for gate in [gate for gate in self.scheduler.gates if gate.actor is actor]:
                if gate.late is not None and self.random.random() < 0.5:
                    self.late.append((f"{gate.what} of {worker.name}", gate.late))
            self.scheduler.cancel(actor)

    # ---- the calls

    def advance(self) -> None:
        """Somebody's calls are made, or fail."""
        for _ in range(self.random.randrange(1, 7)):
            if not self.scheduler.gates:
                return
            gate = self.random.choice(self.scheduler.gates)
            self._through(gate)

    def hurry(self) -> None:
        """One actor's next calls are made, or fail."""
        if self.scheduler.actors:
            self._go_on(self.random.choice(self.scheduler.actors), self.random.randrange(1, 12))

    def _through(self, gate: Gate) -> None:
        outcome = Outcome.MADE
        if gate.what in {"query", "get_item", "put_item", "update_item", "batch_write_item"}:
            chance = self.random.random()
            if chance < self.profile.failures:
                outcome = self.random.choice([*Outcome][1:])
                self._note(f"    {outcome.name}: {gate.what} of {gate.actor and gate.actor.name}")
        if gate.late is not None and self.random.random() < self.profile.repeats:
            self.late.append((f"{gate.what} again", gate.late))
        self.scheduler.open(gate, outcome)
        self._reap()
        self.truth.check()

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

    def give_up(self) -> None:
        """A request is cut off, a move interrupted, or a flush cancelled by nobody knows whom."""
        found = [a for a in self.scheduler.actors if not self._is_opening(a)]
        if found:
            actor = self.random.choice(found)
            self._note(f"cut off: {actor.name}")
            self.scheduler.cancel(actor)

    def _is_opening(self, actor: Actor) -> bool:
        return isinstance(actor.owner, Worker) and actor.owner.task is None
