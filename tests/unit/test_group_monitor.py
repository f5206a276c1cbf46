"""What a worker does about its consumer group, check by check."""

import re
from itertools import pairwise

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownError,
)

from tests.operations_page import error_rows
from worker.group_errors import Code, Member, gave_up, refusal, unreadable, waits
from worker.kafka.group_membership import FencedError
from worker.kafka.group_monitor import (
    GONE_S,
    QUIET_S,
    REFUSED_S_MAX,
    SAY_S,
    GroupCheckResult,
    GroupWatch,
    TopicSeen,
    Verdict,
)

MEMBER = Member("undelivered", "workers", 4.0, "poste-1")


class Watching:
    """A watch, and its clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.watch = GroupWatch(MEMBER, clock=lambda: self.now_s)

    def judge(
        self, result: GroupCheckResult, *, joined: bool = False, after_s: float = 1.0
    ) -> Verdict:
        self.now_s += after_s
        return self.watch.judge(result, joined=joined)


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (Code.INCONSISTENT_GROUP_PROTOCOL, "another member uses a different assignment"),
        (Code.INVALID_GROUP_ID, "does not accept this kafka.group"),
        (Code.INVALID_SESSION_TIMEOUT, "kafka.session_timeout_s = 4:"),
        (Code.TOPIC_AUTHORIZATION_FAILED, "denies Read on the topic 'undelivered'"),
        (Code.GROUP_AUTHORIZATION_FAILED, "denies Read on the group 'workers'"),
        (Code.GROUP_MAX_SIZE_REACHED, "group.max.size"),
        (Code.FENCED_INSTANCE_ID, "'poste-1'"),
        (35, "error 35 (UnsupportedVersionError)"),
        (113, "error 113"),
    ],
)
def test_a_refusal_ends_the_worker_in_one_line(watching: Watching, code: int, said: str) -> None:
    """By the code of the answer, since aiokafka hides those that it does not know."""
    end = watching.judge(GroupCheckResult(error=KafkaError("UnknownError()"), code=code)).end

    assert end is not None
    assert said in str(end)
    assert "\n" not in str(end)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GroupAuthorizationFailedError("workers"), "denies Read on the group"),
        (TopicAuthorizationFailedError("undelivered"), "denies Read on the topic"),
        (FencedError(), "another process has taken"),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_an_error_with_a_code_of_its_own_is_named_by_it(
    watching: Watching, error: Exception, said: str, joined: bool
) -> None:
    """Of a look-up of the coordinator, or of a commit: the last answer is another one's."""
    end = watching.judge(GroupCheckResult(error=error, code=Code.NONE), joined=joined).end

    assert said in str(end)


@pytest.mark.parametrize(
    ("code", "waiting"),
    [
        (Code.NONE, "a rebalance is under way"),
        (Code.COORDINATOR_LOAD_IN_PROGRESS, "the group's coordinator is loading the group"),
        (Code.COORDINATOR_NOT_AVAILABLE, "the group's coordinator is not available"),
        (Code.NOT_COORDINATOR, "the group is moving to another broker"),
        (Code.REBALANCE_IN_PROGRESS, "a rebalance is under way"),
        (Code.MEMBER_ID_REQUIRED, "a rebalance is under way"),
    ],
)
def test_what_ends_by_itself_is_waited_for(watching: Watching, code: int, waiting: str) -> None:
    """And where the client stopped at it, it is let go on."""
    verdict = watching.judge(GroupCheckResult(code=code))
    stopped = watching.judge(GroupCheckResult(code=code, error=UnknownError()))

    assert (verdict.end, verdict.waiting, verdict.retry) == (None, waiting, False)
    if code != Code.NONE:
        assert (stopped.end, stopped.waiting, stopped.retry) == (None, waiting, True)


def test_a_wait_is_said_at_most_twice_a_minute(watching: Watching) -> None:
    """And not at all while it is as long as a join takes."""
    said = [watching.judge(GroupCheckResult(coordinator=False)).say for _ in range(120)]
    times = [second for second, line in enumerate(said, 1) if line is not None]

    assert times[0] >= QUIET_S
    assert all(b - a >= SAY_S for a, b in pairwise(times))
    assert len(times) == 4
    assert said[times[0] - 1] == (
        f"joining the group 'workers' for {times[0]} s: no coordinator of the group answers"
    )


def test_a_joined_worker_waits_for_nothing(watching: Watching) -> None:
    """A rebalance begins the time of joining anew."""
    for _ in range(100):
        verdict = watching.judge(GroupCheckResult(), joined=True)
        assert verdict == Verdict()
    said = [watching.judge(GroupCheckResult()).say for _ in range(int(QUIET_S))]

    assert said == [None] * len(said)


@pytest.mark.parametrize("code", [Code.UNKNOWN_MEMBER_ID, Code.ILLEGAL_GENERATION])
def test_a_join_that_is_refused_for_ever_ends_the_worker(watching: Watching, code: int) -> None:
    """What a member joins anew after is no reason to end it; but not without a limit."""
    ends = [watching.judge(GroupCheckResult(code=code)).end for _ in range(int(REFUSED_S_MAX) + 1)]

    assert ends[:-1] == [None] * int(REFUSED_S_MAX)
    assert code.name in str(ends[-1])  # type: ignore[attr-defined]


def test_an_answer_between_two_refusals_begins_their_time_anew(watching: Watching) -> None:
    """Only what is answered always is for ever."""
    for _ in range(2):
        for _ in range(int(REFUSED_S_MAX)):
            assert watching.judge(GroupCheckResult(code=Code.UNKNOWN_MEMBER_ID)).end is None
        watching.judge(GroupCheckResult())


def test_a_client_that_has_given_up_ends_the_worker(watching: Watching) -> None:
    """Whatever it was: nothing brings its coordination back."""
    dead = KafkaError("Unexpected error during coordination AssertionError()")
    ended = watching.judge(GroupCheckResult(error=dead, died=True)).end
    passing = watching.judge(
        GroupCheckResult(error=KafkaError("x"), died=True, code=Code.REBALANCE_IN_PROGRESS)
    ).end

    for end in (ended, passing):
        assert "the Kafka client gave up the group 'workers'" in str(end)
    assert "AssertionError" in str(ended)


def test_a_topic_that_is_gone_is_a_problem_of_a_joined_worker(watching: Watching) -> None:
    """Once it was there, and not for a moment's sake; the worker goes on."""
    before = watching.judge(
        GroupCheckResult(topic=TopicSeen.MISSING), joined=True, after_s=2 * GONE_S
    )
    watching.judge(GroupCheckResult(), joined=True)
    moment = watching.judge(
        GroupCheckResult(topic=TopicSeen.MISSING), joined=True, after_s=GONE_S - 1
    )
    gone = watching.judge(GroupCheckResult(topic=TopicSeen.MISSING), joined=True, after_s=1.0)
    back = watching.judge(GroupCheckResult(), joined=True)

    assert (before, moment, back) == (Verdict(), Verdict(), Verdict())
    assert gone.end is None
    assert "'undelivered' no longer exists" in gone.problem
    assert gone.say == gone.problem


def test_a_topic_that_goes_before_the_first_check_is_a_problem(watching: Watching) -> None:
    """The worker has joined: the topic was there."""
    watching.judge(GroupCheckResult(topic=TopicSeen.MISSING), joined=True)
    gone = watching.judge(GroupCheckResult(topic=TopicSeen.MISSING), joined=True, after_s=GONE_S)

    assert "'undelivered' no longer exists" in gone.problem


def test_a_topic_that_may_not_be_described_any_more_ends_the_worker(watching: Watching) -> None:
    """The broker refuses it; that it is gone would be a guess."""
    end = watching.judge(GroupCheckResult(topic=TopicSeen.DENIED), joined=True).end

    assert "denies Read on the topic" in str(end)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TopicAuthorizationFailedError("undelivered"), "denies Read on the topic 'undelivered'"),
        (OffsetOutOfRangeError({0: 7}), "no longer has a record at the next offset"),
        (KafkaError("corrupt"), "cannot read the topic 'undelivered': KafkaError: corrupt"),
    ],
)
def test_a_fetch_that_is_refused_is_one_line(error: Exception, said: str) -> None:
    """It is the broker's word, or the client's."""
    assert said in unreadable(error, MEMBER)


def test_every_line_of_the_page_is_one_of_these(watching: Watching) -> None:
    """And the other way round: what ends a worker is explained."""
    ends = [refusal(code, MEMBER) for code in (*Code, 35) if not waits(code)]
    ends += [refusal(Code.UNKNOWN_MEMBER_ID, MEMBER), gave_up(KafkaError("x"), MEMBER)]
    ends += [unreadable(error, MEMBER) for error in (OffsetOutOfRangeError({}), KafkaError("x"))]
    watching.judge(GroupCheckResult())
    goes_on = [watching.judge(GroupCheckResult(), after_s=QUIET_S).say]
    goes_on += [watching.judge(GroupCheckResult(topic=TopicSeen.MISSING), after_s=SAY_S).say]
    rows = [row for row in error_rows().values() if row.section == "The consumer group"]

    assert all(any(re.fullmatch(row.pattern(), line) for row in rows) for line in ends)
    for row in rows:
        lines = goes_on if row.status is None else ends
        assert any(re.fullmatch(row.pattern(), line or "") for line in lines), row.line
