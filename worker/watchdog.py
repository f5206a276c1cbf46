"""Ends a worker that is stalled: it logs the reason and exits, and a supervisor restarts it.

At intervals the watchdog checks what should be moving: the opening, reading, flushing and
committing of every partition, and the consumer's fetch loop. What is unchanged in
`UNCHANGED_CHECKS_MAX` consecutive checks is stalled. The watchdog counts checks, not seconds: time
passes while a process or its host is suspended, but no check happens.

A wait for a service is no stall. A check is void while the broker does not answer; flushes, commits
and openings are not judged while the worker waits for the store or the broker. Records to read are
those between the consumer's position and the log's end for readers of committed records:
transaction markers and compacted records are below the position.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NoReturn, Protocol

from aiokafka.errors import KafkaError

from worker.assignment import Assignment
from worker.backoff import WaitTracker
from worker.errors import OperatorError, StalledError
from worker.logging_config import event
from worker.opening import Log

logger = logging.getLogger(__name__)

#: Consecutive checks without a change that make a stall.
UNCHANGED_CHECKS_MAX = 4
#: Seconds that the client's thread gets to report its positions.
POSITIONS_S_MAX = 10.0

#: What should be moving, in words for the operator -> its present value.
Moving = Mapping[str, int]

#: The name of the consumer's fetch loop among what should be moving.
FETCH_LOOP = "the consumer's loop"


class Watched(Protocol):
    """A consumer, as the watchdog sees it. iterations: of its fetch loop; only increases."""

    @property
    def current(self) -> Assignment: ...
    @property
    def iterations(self) -> int: ...
    async def positions(self) -> dict[int, int]:
        """Return where the client library reads on, for open partitions; markers are below it."""
        ...


class StallDetector:
    """Detects what is unchanged for too many consecutive checks. Pure.

    patience: additional checks beyond `UNCHANGED_CHECKS_MAX`, by name.
    """

    def __init__(self, patience: Mapping[str, int] | None = None) -> None:
        self._patience = dict(patience or {})
        #: Per name, the value and the number of consecutive checks that found it.
        self._unchanged: dict[str, tuple[int, int]] = {}

    def check(self, moving: Moving) -> dict[str, int]:
        """Return what is stalled, and where, after one more check. The count of anything not
        mentioned restarts."""
        unchanged = {}
        for what, place in moving.items():
            before, count = self._unchanged.get(what, (place, 0))
            unchanged[what] = (place, count + 1 if place == before else 1)
        self._unchanged = unchanged
        return {
            what: place
            for what, (place, count) in unchanged.items()
            if count > UNCHANGED_CHECKS_MAX + self._patience.get(what, 0)
        }

    def forget(self) -> None:
        """Restart all counts, because a check failed."""
        self._unchanged = {}


def moving(
    assignment: Assignment,
    *,
    positions: Mapping[int, int],
    ends: Mapping[int, int],
    waiting: bool,
) -> dict[str, int]:
    """Return what should be moving in the partitions of an assignment, and its values. Pure.

    positions, ends: of partitions, if known. An end is the stable one: what a transaction holds
    back is no stall. waiting: a caller waits for the store, or for the broker to accept dead
    letters.
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
    """Runs the checks. log: asked for the ends of partitions. waits: count the waiting callers.

    ask_anew: asks the broker through a new client; raises OperatorError if it does not answer.
    stalled_s: seconds of a stall before it counts. rebalance_s: additional seconds for a rebalance,
    during which the fetch loop makes no iteration.
    """

    def __init__(
        self,
        *,
        log: Log,
        waits: Sequence[WaitTracker],
        stalled_s: float,
        rebalance_s: float,
        ask_anew: Callable[[], Awaitable[object]],
    ) -> None:
        self._ask_anew = ask_anew
        self._silent = 0
        self._log = log
        self._waits = waits
        self.stalled_s = stalled_s
        self.every_s = stalled_s / UNCHANGED_CHECKS_MAX
        self._stall_detector = StallDetector({FETCH_LOOP: round(rebalance_s / self.every_s)})

    async def watch(
        self, consumer: Watched, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> NoReturn:
        """Check until the worker stalls. Raises StalledError then."""
        while True:
            await sleep(self.every_s)
            await self.check(consumer)

    async def check(self, consumer: Watched) -> None:
        """Check once. Raises StalledError, naming what is stalled."""
        assignment, iterations = consumer.current, consumer.iterations
        waiting = any(waits.count for waits in self._waits)
        partitions = sorted(assignment.tasks)
        positions = await self._positions(consumer)
        try:
            # Ask about some partition even without an assignment: does the broker answer?
            states = await self._log.states(partitions or [0])
            await self._log.group_offsets(partitions)
        except (KafkaError, TimeoutError):
            self._stall_detector.forget()
            await self._check_silence()
            return
        self._silent = 0
        if assignment is not consumer.current:
            assignment = Assignment()
        ends = {partition: state.stable_end for partition, state in states.items()}
        stalled = self._stall_detector.check(
            {
                FETCH_LOOP: iterations,
                **moving(assignment, positions=positions, ends=ends, waiting=waiting),
            }
        )
        if stalled:
            where = ", ".join(f"{what} (at {place})" for what, place in stalled.items())
            raise StalledError(
                f"no progress for {self.stalled_s:g} s, though the services answer: {where}."
                " This worker is stalled and exits: start it again"
            )

    async def _check_silence(self) -> None:
        """Raise StalledError if the broker answers a new client and, for long, not this worker's.

        aiokafka never asks for the brokers again when a client's first answer named none.
        """
        self._silent += 1
        if self._silent < UNCHANGED_CHECKS_MAX:
            return
        try:
            await self._ask_anew()
        except OperatorError:
            return  # it is the broker
        raise StalledError(
            f"Kafka has not answered this worker for {self.stalled_s:g} s, and answers a new"
            " connection. This worker is stalled and exits: start it again"
        )

    async def _positions(self, consumer: Watched) -> dict[int, int]:
        try:
            async with asyncio.timeout(POSITIONS_S_MAX):
                return await consumer.positions()
        except TimeoutError:  # it hangs, and its loop makes no iteration either
            return {}


class Stop(Protocol):
    """What the guard uses of a `threading.Event`."""

    def set(self) -> None: ...

    def wait(self, timeout: float) -> bool: ...


class LoopGuard:
    """Ends the process when its event loop is blocked, in which no check can run.

    A thread of its own posts a callback to the loop every `every_s` seconds, and exits with status
    1 after `UNCHANGED_CHECKS_MAX` intervals without a reaction. stopped: ends the thread, and is
    its clock.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        every_s: float,
        leave: Callable[[int], object] = os._exit,
        stopped: Stop | None = None,
    ) -> None:
        self._loop = loop
        self._every_s = every_s
        self._leave = leave
        self._alive = threading.Event()
        self._stopped: Stop = stopped or threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, without waiting for the thread."""
        self._stopped.set()

    def _run(self) -> None:
        silent = 0
        while not self._stopped.wait(self._every_s):
            silent = 0 if self._alive.is_set() else silent + 1
            if silent >= UNCHANGED_CHECKS_MAX:
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
