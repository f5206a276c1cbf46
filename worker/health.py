"""What `/readyz` knows: the worker's phase, its partitions, and whether the services answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn, Protocol

from aiokafka.errors import KafkaError

from worker.assignment import Assignment
from worker.errors import OperatorError
from worker.readiness import Readiness, ReadinessNote, readiness
from worker.status import Phase, WorkerStatus

#: Seconds at most between two checks of a service, and until an unanswered check is abandoned and
#: repeated.
CHECK_EVERY_S, CHECK_S_MAX = 5.0, 10.0


class LastWait:
    """Remembers why a service is waited for, and explains the phase that waits for it."""

    def __init__(self, status: WorkerStatus, phase: Phase) -> None:
        self._status = status
        self._phase = phase
        self._why = ""

    def __call__(self, why: str) -> None:
        self._why = why
        self._status.explain(self._phase, why)

    def last(self) -> str:
        return self._why


class ServiceCheck:
    """Checks one service again and again.

    name: of the service, for people. ask: one check; it raises KafkaError, OSError, TimeoutError or
    OperatorError if the service does not answer or refuses. cause: why it does not answer, if the
    client knows. unready_after_s: seconds without an answer that make a worker unready.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], Awaitable[object]],
        *,
        unready_after_s: float,
        cause: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._ask = ask
        self._unready_after_s = unready_after_s
        self._cause = cause
        self._clock = clock
        self._answered_s = clock()
        self._failure = ""
        self.every_s = min(CHECK_EVERY_S, unready_after_s / 3)

    async def watch(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> NoReturn:
        """Check until the worker ends."""
        while True:
            await self.check()
            await sleep(self.every_s)

    async def check(self) -> None:
        """Check once. A failure changes only what `problem` says."""
        try:
            async with asyncio.timeout(CHECK_S_MAX):
                await self._ask()
        except TimeoutError:
            self._failure = self._cause() or f"no answer within {CHECK_S_MAX:g} s"
        except (KafkaError, OSError, OperatorError) as error:
            self._failure = str(error) or type(error).__name__
        else:
            self._answered_s, self._failure = self._clock(), ""

    def problem(self) -> str | None:
        """Return one line if the service has not answered for too long."""
        silent_s = self._clock() - self._answered_s
        if silent_s < self._unready_after_s:
            return None
        why = self._failure or self._cause()
        return f"{self._name} has not answered for {silent_s:.0f} s{why and ': '}{why}"


class Check(Protocol):
    """A condition that can make a joined worker unready."""

    def problem(self) -> str | None:
        """Return one line if it does."""


class Health:
    """Answers `/readyz` in every phase. Before the services answer, only the phase counts."""

    def __init__(self, status: WorkerStatus) -> None:
        self.status = status
        self._assignment: Callable[[], Assignment] = Assignment
        self._checks: Sequence[Check] = ()
        self._notes: Callable[[], Sequence[ReadinessNote]] = tuple

    def include(
        self,
        *,
        assignment: Callable[[], Assignment],
        checks: Sequence[Check],
        notes: Callable[[], Sequence[ReadinessNote]],
    ) -> None:
        """From here on, judge the current assignment, the checks and the notes too."""
        self._assignment, self._checks, self._notes = assignment, checks, notes

    def assignment(self) -> Assignment:
        """Return the current assignment; an empty one while there is none."""
        return self._assignment()

    def readiness(self) -> Readiness:
        """Return the present readiness, without asking a service."""
        problems = [found for check in self._checks if (found := check.problem()) is not None]
        return readiness(self.status, self._assignment(), problems=problems, notes=self._notes())
