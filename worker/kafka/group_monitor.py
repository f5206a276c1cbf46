"""Judges the state of the worker's consumer group, check by check. Pure.

The client's thread checks the coordination of the group every `CHECK_S` seconds, whatever the
fetching does. Nothing else notices its errors: aiokafka keeps one for the next call that asks for
it, and the worker's calls bypass those that do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from worker.errors import OperatorError
from worker.group_errors import (
    WAITED_FOR_BRIEFLY,
    Code,
    Member,
    code_of,
    gave_up,
    refusal,
    waiting_reason,
    waits,
)

#: Seconds between two checks.
CHECK_S = 1.0
#: Seconds between two lines about a wait.
SAY_S = 30.0
#: Seconds of waiting before the first line: a join takes a moment, a rebalance a session time-out.
QUIET_S = 15.0
#: Seconds of joins all answered with one of `WAITED_FOR_BRIEFLY`, after which the worker ends.
REFUSED_S_MAX = 120.0
#: Seconds that a topic is missing from the broker's metadata before it counts as gone: an answer
#: may leave it out while its leaders move.
GONE_S = 5.0


class TopicSeen(Enum):
    """What the client's latest metadata says about the topic."""

    THERE = auto()
    MISSING = auto()
    DENIED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCheckResult:
    """The result of one check.

    error: at which the coordination, or a commit, ended or stopped; None: it runs. died: the
    coordination has ended for good. code: of the last answer to a join, a sync or a heartbeat.
    coordinator: the client knows one, and is connected to it. partitions: number of the topic's in
    the client's metadata; 0: it is not known.
    """

    error: BaseException | None = None
    died: bool = False
    code: int = Code.NONE
    coordinator: bool = True
    topic: TopicSeen = TopicSeen.THERE
    partitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do after a check.

    end: with this error. retry: the client stopped at an error that is waited for. waiting: what a
    join waits for, in words. problem: what makes a joined worker unready. say: a line for the log;
    None: nothing to log now.
    """

    end: OperatorError | None = None
    retry: bool = False
    waiting: str = ""
    problem: str = ""
    say: str | None = None


class GroupWatch:
    """Judges the checks. clock: monotonic seconds."""

    def __init__(self, member: Member, clock: Callable[[], float] = time.monotonic) -> None:
        self._member = member
        self._clock = clock
        self._joining_since = clock()
        self._joined = False
        self._said_at = float("-inf")
        self._refused_since: float | None = None
        self._topic_there_at: float | None = None

    def judge(self, result: GroupCheckResult, *, joined: bool) -> Verdict:
        """Return what to do. joined: the group has given the worker an assignment."""
        now = self._clock()
        if joined != self._joined:
            self._joined, self._joining_since = joined, now
            if joined and self._topic_there_at is None:
                self._topic_there_at = now  # a group that assigns partitions has seen the topic
        if (end := self._end(result, now)) is not None:
            return Verdict(end=end)
        retry = result.error is not None
        problem = self._topic_problem(result, now)
        if problem:
            return Verdict(retry=retry, problem=problem, say=self._say(problem, now))
        if joined:
            return Verdict(retry=retry)
        waiting = waiting_reason(result.code) or "a rebalance is under way"
        if not result.coordinator:
            waiting = "no coordinator of the group answers"
        waited_s = now - self._joining_since
        say = None
        if waited_s >= QUIET_S:
            say = self._say(
                f"joining the group {self._member.group!r} for {waited_s:.0f} s: {waiting}", now
            )
        return Verdict(retry=retry, waiting=waiting, say=say)

    def _end(self, result: GroupCheckResult, now: float) -> OperatorError | None:
        member = self._member
        if result.topic is TopicSeen.DENIED:
            return OperatorError(refusal(Code.TOPIC_AUTHORIZATION_FAILED, member))
        if result.error is not None:
            code = code_of(result.error) or result.code
            if result.died and waits(code):
                return OperatorError(gave_up(result.error, member))
            if code == Code.NONE:
                return OperatorError(gave_up(result.error, member))
            if not waits(code):
                return OperatorError(refusal(code, member))
        if self._joined or result.code not in WAITED_FOR_BRIEFLY:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        elif now - self._refused_since >= REFUSED_S_MAX:
            return OperatorError(refusal(result.code, member))
        return None

    def _topic_problem(self, result: GroupCheckResult, now: float) -> str:
        if result.topic is TopicSeen.THERE:
            self._topic_there_at = now
        if self._topic_there_at is None or now - self._topic_there_at < GONE_S:
            return ""
        return (
            f"the topic {self._member.topic!r} no longer exists: it was deleted, or this user may"
            " not Describe it; after it is re-created, stop the workers and run `poste epoch`"
        )

    def _say(self, line: str, now: float) -> str | None:
        if now - self._said_at < SAY_S:
            return None
        self._said_at = now
        return line
