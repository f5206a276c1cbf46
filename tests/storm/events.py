"""How each event of a storm is made, and which of them may overlap."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from local import KafkaService
from tests.deployment import Deployment
from tests.fault_proxy import FaultyEndpoint
from tests.storm.fault_rates import refusing, workers_fault_rates
from tests.storm.group import rewind, until_empty
from tests.storm.script import REWINDS, Event, EventKind
from tests.storm.supervisor import Slot, Supervisor

#: What an event has to itself while it lasts. The others overlap as they come.
_TAKES: dict[EventKind, frozenset[str]] = {
    **dict.fromkeys((EventKind.BROKER_KILLED, EventKind.BROKER_HUNG), frozenset({"broker"})),
    **dict.fromkeys(
        (EventKind.STORE_OUTAGE, EventKind.STORE_HUNG, EventKind.ACCESS_DENIED),
        frozenset({"store"}),
    ),
    EventKind.READERS_OUTAGE: frozenset({"readers"}),
    # A rewind stops all workers and needs a broker that answers; the store may be away.
    **dict.fromkeys(REWINDS, frozenset({"broker", "group"})),
}
#: What must not be taken when an event begins. Frozen workers wake up in a group that is being
#: moved: that is a zombie, and welcome.
_NEEDS: dict[EventKind, frozenset[str]] = {
    **_TAKES,
    **dict.fromkeys(
        (EventKind.JOIN, EventKind.TERMINATE, EventKind.KILL, EventKind.FREEZE),
        frozenset({"group"}),
    ),
}

#: How a worker is taken out of the group for a rewind: told to, killed, or frozen, so that it
#: wakes up as a zombie in the group that was moved.
_WAYS_OUT = ("terminate", "terminate", "kill", "freeze")
#: Seconds that such a zombie sleeps on behind the move.
_SLEEPS_ON_S = (0.0, 6.0)
#: Seconds until there is a worker to do something to: they are started again within seconds.
_AWAKE_S_MAX, _LOOK_S = 10.0, 0.2
#: Share of these events that hit a worker which reads; the others hit starts, too.
_READS_SHARE = 0.8


@dataclass
class Events:
    """Makes the events. records: how many the topic has, about. say: prints one line. begun: the
    kinds that have begun; done: those that have happened, and how often."""

    deployment: Deployment
    kafka: KafkaService
    workers_store: FaultyEndpoint
    readers_store: FaultyEndpoint
    supervisor: Supervisor
    seed: int
    partitions: int
    records: Callable[[], int]
    say: Callable[[str], None]
    begun: set[EventKind] = field(default_factory=set)
    done: Counter[EventKind] = field(default_factory=Counter)
    _running: dict[asyncio.Task[None], frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        #: What makes each kind. False: there was nobody to do it to.
        self._how: dict[EventKind, Callable[[Event], Awaitable[bool | None]]] = {
            EventKind.JOIN: self._join,
            EventKind.TERMINATE: self._terminate,
            EventKind.KILL: self._kill,
            EventKind.FREEZE: self._freeze,
            EventKind.BROKER_KILLED: self._broker_killed,
            EventKind.BROKER_HUNG: self._broker_hung,
            EventKind.STORE_OUTAGE: self._store_outage,
            EventKind.STORE_HUNG: self._store_hung,
            EventKind.ACCESS_DENIED: self._access_denied,
            EventKind.READERS_OUTAGE: self._readers_outage,
            **dict.fromkeys(REWINDS, self._rewind),
        }

    async def begin(self, event: Event) -> None:
        """Start an event, as soon as nothing that it needs is taken; does not wait for its end.

        Raises what an event before it raised: the harness has failed then, not the product.
        """
        while self._taken() & _NEEDS[event.kind]:
            await self._one_ends()
        self._raise_failures()
        self.say(str(event))
        self.begun.add(event.kind)
        task = asyncio.create_task(self._make(event))
        self._running[task] = _TAKES.get(event.kind, frozenset())

    async def end(self) -> None:
        """Wait until all that began have ended. Raises as `begin` does."""
        while self._running:
            await self._one_ends()

    def _taken(self) -> frozenset[str]:
        return frozenset().union(
            *(takes for task, takes in self._running.items() if not task.done())
        )

    async def _one_ends(self) -> None:
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        self._raise_failures()

    def _raise_failures(self) -> None:
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            task.result()

    async def _make(self, event: Event) -> None:
        if await self._how[event.kind](event) is False:
            self.say(f"event {event.number}: nobody to {event.kind}")
            return
        self.done[event.kind] += 1

    # ---- workers

    async def _join(self, _: Event) -> bool:
        return self.supervisor.join() is not None

    async def _terminate(self, event: Event) -> bool:
        """One leaves for good, unless it is the last; or is replaced, as in a deployment."""
        slot = await self._any_awake(event.draws)
        if slot is None:
            return False
        if event.draws.random() < 0.5 and len(self.supervisor.wanted()) > 1:
            slot.wanted = False
        self.supervisor.terminate(slot)
        return True

    async def _kill(self, event: Event) -> bool:
        slot = await self._any_awake(event.draws)
        if slot is None:
            return False
        self.supervisor.kill(slot)
        return True

    async def _freeze(self, event: Event) -> bool:
        """A zombie: another one takes its partitions over, then it wakes up."""
        slot = await self._any_awake(event.draws)
        if slot is None:
            return False
        if len(self.supervisor.awake()) == 1:
            self.supervisor.join()
        child = slot.child
        self.supervisor.freeze(slot)
        await asyncio.sleep(event.lasts_s)
        if slot.child is child:
            self.supervisor.thaw(slot)
        return True

    async def _any_awake(self, draws: random.Random) -> Slot | None:
        """One of the workers that run, mostly one that reads. None: there is none in time."""
        must_read = draws.random() < _READS_SHARE
        slots: list[Slot] = []
        for _ in range(int(_AWAKE_S_MAX / _LOOK_S)):
            slots = [s for s in self.supervisor.awake() if s.terminated_s is None]
            wanted = [s for s in slots if s.reads] if must_read else slots
            if wanted:
                return draws.choice(wanted)
            await asyncio.sleep(_LOOK_S)
        return draws.choice(slots) if slots else None

    # ---- the broker and the stores

    async def _broker_killed(self, event: Event) -> None:
        self.kafka.kill()
        await asyncio.sleep(event.lasts_s)
        await asyncio.to_thread(self.kafka.start)

    async def _broker_hung(self, event: Event) -> None:
        self.kafka.pause()
        await asyncio.sleep(event.lasts_s)
        self.kafka.resume()

    async def _store_outage(self, event: Event) -> None:
        self.workers_store.outage()
        await asyncio.sleep(event.lasts_s)
        self.workers_store.restored()

    async def _readers_outage(self, event: Event) -> None:
        self.readers_store.outage()
        await asyncio.sleep(event.lasts_s)
        self.readers_store.restored()

    async def _store_hung(self, event: Event) -> None:
        self.workers_store.hang()
        await asyncio.sleep(event.lasts_s)
        self.workers_store.resume()

    async def _access_denied(self, event: Event) -> None:
        """Every worker that calls the store leaves, and is started again, until it is over."""
        self.workers_store.use(refusing(event.draws))
        await asyncio.sleep(event.lasts_s)
        self.workers_store.use(workers_fault_rates(self.seed))

    # ---- the group

    async def _rewind(self, event: Event) -> None:
        """All leave, the group is moved, all come back; the readers go on all the time."""
        supervisor, draws = self.supervisor, event.draws
        supervisor.may_start.clear()
        asleep: list[Slot] = []
        for slot in supervisor.slots:
            match draws.choice(_WAYS_OUT):
                case "terminate":
                    supervisor.terminate(slot)
                case "kill":
                    supervisor.kill(slot)
                case "freeze" if slot.awake and slot.terminated_s is None and not asleep:
                    supervisor.freeze(slot)
                    asleep.append(slot)
                case _:
                    supervisor.terminate(slot)
        await until_empty(self.deployment)
        how = await rewind(
            self.deployment, event.kind, draws, partitions=self.partitions, records=self.records()
        )
        self.say(f"event {event.number}: {how}")
        supervisor.may_start.set()
        for slot in asleep:
            await asyncio.sleep(draws.uniform(*_SLEEPS_ON_S))
            supervisor.thaw(slot)
