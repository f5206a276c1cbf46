"""A worker that stands still is dead: it says why and exits, and a supervisor starts it again.

Every so often one look is taken at what should be moving: the opening, reading, flushing and
committing of every partition, and the consumer's own turns. What stands at the same place in
`LOOKS_MAX` looks in a row stands still. Looks are counted, not seconds: while a process or its host
is stopped time passes and looks do not.

What somebody else holds up is no stall. A look is void while the broker does not answer;
flushes, commits and openings are not judged while the store or the broker is waited for.
Something to read lies between the consumer's position and the log's end as readers of committed
records see it: transaction markers and compacted records are behind the position.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, Protocol

from aiokafka.errors import KafkaError

from worker.assignment import Assignment
from worker.backoff import WaitTracker
from worker.errors import StalledError
from worker.logging_config import event
from worker.opening import Log

logger = logging.getLogger(__name__)

#: Looks at the same place that make a stall.
LOOKS_MAX = 4
#: Seconds that the consumer's thread gets to name its positions.
POSITIONS_S_MAX = 10.0

#: What should be moving, as it is said to the operator -> where it stands.
Moving = Mapping[str, int]

#: The consumer's fetching, among what should be moving: which turn it takes.
TURNS = "the consumer's loop"


class Watched(Protocol):
    """A consumer, as the watchdog sees it. turns: of its fetching loop, ever more."""

    @property
    def current(self) -> Assignment: ...
    @property
    def turns(self) -> int: ...
    async def positions(self) -> dict[int, int]:
        """Where the client library reads on, of open partitions; markers are behind it."""
        ...


class StallDetector:
    """Tells what has stood at the same place for too many looks in a row. Pure.

    patience: looks that something gets beyond `LOOKS_MAX`, by its name.
    """

    def __init__(self, patience: Mapping[str, int] | None = None) -> None:
        self._patience = dict(patience or {})
        self._looks: dict[str, tuple[int, int]] = {}

    def look(self, moving: Moving) -> dict[str, int]:
        """What stands still, and where, after one more look. What is not mentioned begins anew."""
        looks = {}
        for what, place in moving.items():
            before, count = self._looks.get(what, (place, 0))
            looks[what] = (place, count + 1 if place == before else 1)
        self._looks = looks
        return {
            what: place
            for what, (place, count) in looks.items()
            if count > LOOKS_MAX + self._patience.get(what, 0)
        }

    def forget(self) -> None:
        """A look that could not be taken: begin anew."""
        self._looks = {}


def moving(
    assignment: Assignment,
    *,
    positions: Mapping[int, int],
    ends: Mapping[int, int],
    waiting: bool,
) -> dict[str, int]:
    """What should be moving in the partitions of an assignment, and where each stands. Pure.

    positions, ends: of partitions, where known; an end is the stable one, up to which it can be
    read: what a transaction holds back is no stall. waiting: somebody waits for the
    store, or for the broker to take dead letters.
    """
    found: dict[str, int] = {}
    for partition, task in assignment.tasks.items():
        position = max(task.fetched, positions.get(partition, 0))
        if task.durable < task.fetched:
            waves = task.in_work.waves if task.in_work is not None else 0
            found[f"the flush of partition {partition}"] = task.durable + waves
        elif position < ends.get(partition, 0) and partition not in assignment.stuck:
            found[f"the reading of partition {partition}"] = position
        if task.committed < task.durable:
            found[f"the commit of partition {partition}"] = task.committed
    for partition in assignment.opening:
        found[f"the opening of partition {partition}"] = 0
    if waiting:
        return {what: place for what, place in found.items() if what.startswith("the reading")}
    return found


class Watchdog:
    """Takes the looks. log: asked where the partitions end. wait_tracker: who waits for whom.

    stalled_s: seconds of a stall before it counts. rebalance_s: seconds that a rebalance may
    take besides, in which the consumer takes no turn.
    """

    def __init__(
        self, *, log: Log, wait_tracker: WaitTracker, stalled_s: float, rebalance_s: float
    ) -> None:
        self._log = log
        self._wait_tracker = wait_tracker
        self.stalled_s = stalled_s
        self.every_s = stalled_s / LOOKS_MAX
        self._standing = StallDetector({TURNS: round(rebalance_s / self.every_s)})

    async def watch(
        self, consumer: Watched, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> NoReturn:
        """Raises Standstill when the worker has stood still for too long."""
        while True:
            await sleep(self.every_s)
            await self.look(consumer)

    async def look(self, consumer: Watched) -> None:
        """One look. Raises Standstill, saying what stands still."""
        assignment, turns = consumer.current, consumer.turns
        partitions = sorted(assignment.tasks)
        positions = await self._positions(consumer)
        try:
            # Of some partition even without any of our own: does the broker answer?
            states = await self._log.states(partitions or [0])
            await self._log.group_offsets(partitions)
        except (KafkaError, TimeoutError):
            self._standing.forget()
            return
        if assignment is not consumer.current:
            assignment = Assignment()
        ends = {partition: state.stable_end for partition, state in states.items()}
        still = self._standing.look(
            {
                TURNS: turns,
                **moving(
                    assignment, positions=positions, ends=ends, waiting=self._wait_tracker.any
                ),
            }
        )
        if still:
            where = ", ".join(f"{what} (at {place})" for what, place in still.items())
            raise StalledError(
                f"no progress for {self.stalled_s:g} s, though the services answer: {where}."
                " This worker is stalled and exits: start it again"
            )

    async def _positions(self, consumer: Watched) -> dict[int, int]:
        try:
            async with asyncio.timeout(POSITIONS_S_MAX):
                return await consumer.positions()
        except TimeoutError:  # it hangs, and takes no turns either
            return {}


class LoopGuard:
    """Ends the process when its event loop is blocked: no look is taken there any more.

    A thread of its own asks the loop for a sign of life every `every_s` seconds, and leaves with
    status 1 after `LOOKS_MAX` of its own turns without one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        every_s: float,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._loop = loop
        self._every_s = every_s
        self._leave = leave
        self._alive = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for the thread."""
        self._stopped.set()

    def _run(self) -> None:
        silent = 0
        while not self._stopped.wait(self._every_s):
            silent = 0 if self._alive.is_set() else silent + 1
            if silent > LOOKS_MAX:
                logger.critical(
                    "no progress for %g s: the event loop is blocked. This worker is stalled"
                    " and exits: start it again", silent * self._every_s,
                    extra=event("event_loop_blocked", seconds=silent * self._every_s),
                )  # fmt: skip
                self._leave(1)
                return
            self._alive.clear()
            try:
                self._loop.call_soon_threadsafe(self._alive.set)
            except RuntimeError:  # the loop is closed
                return
