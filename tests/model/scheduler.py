"""A scheduler of production coroutines, which stop before every call to the outside, at a gate.

The world lets them through one at a time and says what becomes of the call, so that any
interleaving of calls can be played, and played again.
"""

import asyncio
import random as randomness
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import Context, ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVarTuple

from botocore.exceptions import ReadTimeoutError

from tests.fake_table import InMemoryTable, client_error

#: Turns of the event loop until every coroutine has stopped again; more is an endless loop.
TURNS_MAX = 1_000

Answer = dict[str, Any]
Call = Callable[[], Awaitable[Answer]]


class Outcome(Enum):
    """What becomes of one call."""

    MADE = auto()
    THROTTLED = auto()
    ANSWER_LOST = auto()
    DENIED = auto()


@dataclass(eq=False)
class Actor:
    """A coroutine that is scheduled. owner: who it works for; None: nobody who could die."""

    name: str
    owner: object
    task: "asyncio.Task[Any]"
    done: Callable[[Any], None]


@dataclass(eq=False)
class Gate:
    """A call that waits to be made. late: makes it when its caller is gone; None: a reading."""

    actor: Actor | None
    what: str
    opened: "asyncio.Future[Outcome]"
    late: Call | None


_Ts = TypeVarTuple("_Ts")


class _CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that tells whether something was scheduled. scheduled: callbacks, ever."""

    scheduled = 0

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.scheduled += 1
        return super().call_soon(callback, *args, context=context)


class Scheduler:
    """Actors, their gates, and a loop that runs only when it is told to."""

    def __init__(self) -> None:
        self.loop = _CountingLoop()
        self.random = randomness.Random(0)
        self.gates: list[Gate] = []
        self.actors: list[Actor] = []
        self._actor: ContextVar[Actor | None] = ContextVar("actor", default=None)

    def spawn(
        self,
        name: str,
        work: Coroutine[Any, Any, Any],
        *,
        owner: object = None,
        done: Callable[[Any], None] = lambda _: None,
    ) -> Actor:
        """Begin a coroutine; it runs to its first gate. done: called with its result."""

        async def play() -> Any:
            self._actor.set(actor)
            return await work

        actor = Actor(name, owner, self.loop.create_task(play()), done)
        self.actors.append(actor)
        self.settle()
        return actor

    async def gate(self, what: str, late: Call | None = None) -> Outcome:
        """Stop here until the world says what becomes of the call."""
        gate = Gate(self._actor.get(), what, self.loop.create_future(), late)
        self.gates.append(gate)
        try:
            return await gate.opened
        finally:
            if gate in self.gates:
                self.gates.remove(gate)

    def open(self, gate: Gate, outcome: Outcome) -> None:
        """The call is made, or fails; everyone goes on to their next gate."""
        self.gates.remove(gate)
        gate.opened.set_result(outcome)
        self.settle()

    def settle(self) -> None:
        """Run until nobody can go on without a gate being opened."""
        for _ in range(TURNS_MAX):
            self.loop.call_soon(self.loop.stop)
            before = self.loop.scheduled
            self.loop.run_forever()  # one turn: what it schedules is for the next one
            if self.loop.scheduled == before:
                return
        raise AssertionError("it goes round in circles")

    def finished(self) -> list[Actor]:
        """Actors that have ended since this was last asked."""
        ended = [actor for actor in self.actors if actor.task.done()]
        for actor in ended:
            self.actors.remove(actor)
        return ended

    def cancel(self, actor: Actor) -> None:
        actor.task.cancel()
        self.settle()

    def finish(self, actor: Actor) -> None:
        """Let one actor through all its gates, with nothing in between."""
        while not actor.task.done():
            # A gate of nobody: a look at the table record that several wait for.
            own = [gate for gate in self.gates if gate.actor in {actor, None}]
            self.open((own or self.gates)[0], Outcome.MADE)

    def close(self) -> None:
        for actor in self.actors:
            actor.task.cancel()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.settle()
        for actor in self.actors:
            if not actor.task.cancelled():
                actor.task.exception()  # else asyncio logs that nobody asked
        self.loop.close()


class GatedClient:
    """A low-level DynamoDB client whose every call stops at a gate.

    BatchWriteItem is not atomic: each of its items has a gate of its own, in any order.
    wrote: told of each request that took effect. rejects: says whether an item is refused.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        table: InMemoryTable,
        wrote: Callable[[Mapping[str, Any]], None],
        rejects: Callable[[Mapping[str, Any]], bool] = lambda _: False,
    ) -> None:
        self._scheduler = scheduler
        self._table = table
        self._wrote = wrote
        self._rejects = rejects

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Answer]]:
        async def call(**arguments: Any) -> Answer:
            if operation in {"query", "get_item"}:
                return await self._one(operation, arguments, writes=False)
            return await self._one(operation, arguments, writes=True)

        return call

    async def _one(self, operation: str, arguments: Answer, *, writes: bool) -> Answer:
        async def make() -> Answer:
            answer: Answer = await getattr(self._table, operation)(**arguments)
            if writes:
                self._wrote(arguments)
            return answer

        outcome = await self._scheduler.gate(operation, make if writes else None)
        _refuse(outcome)
        answer = await make()
        _lose(outcome)
        return answer

    async def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> Answer:  # noqa: N803
        ((table, requests),) = RequestItems.items()
        if any(self._rejects(request) for request in requests):
            raise client_error("ValidationException", "Number overflow", "BatchWriteItem")
        left = list(requests)
        while left:
            request = left[self._scheduler.random.randrange(len(left))]

            async def make(request: Any = request) -> Answer:
                answer = await self._table.batch_write_item(RequestItems={table: [request]})
                self._wrote(request)
                return answer

            outcome = await self._scheduler.gate("batch_write_item", make)
            if outcome is Outcome.THROTTLED and len(left) < len(requests):
                return {"UnprocessedItems": {table: left}}
            _refuse(outcome)
            await make()
            left.remove(request)
            _lose(outcome)
        return {"UnprocessedItems": {}}


def _refuse(outcome: Outcome) -> None:
    if outcome is Outcome.THROTTLED:
        raise client_error("ProvisionedThroughputExceededException", "slower", "Operation")
    if outcome is Outcome.DENIED:
        raise client_error("AccessDeniedException", "no", "Operation")


def _lose(outcome: Outcome) -> None:
    if outcome is Outcome.ANSWER_LOST:
        raise ReadTimeoutError(endpoint_url="http://nowhere")
