"""The group's errors, fencing and commits, as the client's membership sees them; the client is a
fake."""

import asyncio
import gc
from typing import Any

import pytest
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from tests.unit.fake_client import TOPIC, Client, Coordinator, tp
from worker.kafka import group_membership
from worker.kafka.group_membership import FencedError, GroupMembership
from worker.kafka.group_monitor import GroupCheckResult, TopicSeen


class Member:
    """A membership of a client; `instance_id`: a static one."""

    def __init__(self, instance_id: str | None = None) -> None:
        self.coordinator = Coordinator(instance_id)
        self.client: Any = Client({0: 40}, coordinator=self.coordinator)
        self.membership = GroupMembership(self.client, TOPIC)


@pytest.fixture
async def member() -> Member:
    return Member()


async def test_a_check_sees_the_error_of_the_coordination(member: Member) -> None:
    """And leaves it there: whoever consumes it lets the client join anew."""
    well = member.membership.check()
    member.coordinator.answers = {HeartbeatRequest: 23}
    await member.coordinator.ask(HeartbeatRequest("group", 3, "one-1"))
    error = KafkaError("refused")
    member.coordinator.stop_at(error)
    stopped = member.membership.check()

    assert well == GroupCheckResult(partitions=1)
    assert stopped == GroupCheckResult(error=error, code=23, partitions=1)
    assert member.membership.error() is error
    assert member.coordinator.stopped_at is error


async def test_a_check_sees_a_coordination_that_has_died(member: Member) -> None:
    """Its exception is the cause; one that has ended with the client has none."""
    error = KafkaError("Unexpected error during coordination")
    member.coordinator.die_of(error)

    assert member.membership.check() == GroupCheckResult(error=error, died=True, partitions=1)


@pytest.mark.parametrize("retrieved", [True, False])
async def test_a_heartbeat_that_fails_after_another_error_logs_no_traceback(
    member: Member, retrieved: bool
) -> None:
    """If its error is retrieved before the stop: aiokafka retrieves only the first one."""
    logged: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: logged.append(context))
    member.coordinator.stop_at(GroupAuthorizationFailedError("group"))
    await member.coordinator.fail_heartbeat(GroupAuthorizationFailedError("group"))
    if retrieved:
        member.membership.retrieve_errors()
    member.coordinator.forget_heartbeat()
    gc.collect()

    assert bool(logged) is not retrieved


async def test_a_check_sees_the_topic_and_the_coordinator(member: Member) -> None:
    """As the client's last metadata have them."""
    member.coordinator.coordinator_id = None  # type: ignore[assignment]
    member.client.partitions = None
    missing = member.membership.check()
    member.client.cluster.unauthorized_topics.add(TOPIC)
    denied = member.membership.check()

    assert missing == GroupCheckResult(coordinator=False, topic=TopicSeen.MISSING)
    assert denied.topic is TopicSeen.DENIED


async def test_a_coordination_that_is_let_go_on_joins_anew(member: Member) -> None:
    """A failed heartbeat is begun again by a join alone."""
    member.membership.retry()
    assert member.coordinator.rejoins == 0

    member.coordinator.stop_at(KafkaError("passing"))
    member.membership.retry()
    assert (member.coordinator.stopped_at, member.coordinator.rejoins) == (None, 1)


async def test_a_member_that_leaves_at_its_stop_is_no_longer_static() -> None:
    """aiokafka removes no static member from its group (G8)."""
    member = Member("poste-1")
    member.membership.leave_at_stop()

    assert member.coordinator.instance_id is None


# ---- fencing


@pytest.mark.parametrize(
    "request_",
    [
        HeartbeatRequest("group", 3, "one-1"),
        OffsetCommitRequest("group", 3, "one-1", -1, [(TOPIC, [(0, 5, "")])]),
    ],
    ids=["heartbeat", "commit"],
)
async def test_a_static_member_that_is_unknown_asks_with_its_id(request_: Any) -> None:
    """Before aiokafka joins anew, which would take the place back from the other process."""
    coordinator = Member("poste-1").coordinator
    coordinator.answers = {type(request_): 25, SyncGroupRequest: 82}

    with pytest.raises(FencedError):
        await coordinator.ask(request_)
    assert not issubclass(FencedError, KafkaError), "aiokafka would try again"
    assert isinstance(coordinator.sent[-1], SyncGroupRequest)


@pytest.mark.parametrize(
    ("instance_id", "heartbeat", "sync"),
    [("poste-1", 25, 25), ("poste-1", 27, 82), (None, 25, 82)],
    ids=["expired", "rebalance", "dynamic"],
)
async def test_a_member_that_is_not_fenced_goes_on(
    instance_id: str | None, heartbeat: int, sync: int
) -> None:
    """One whose session is over joins anew, as a dynamic one does."""
    member = Member(instance_id)
    member.coordinator.answers = {HeartbeatRequest: heartbeat, SyncGroupRequest: sync}
    answer = await member.coordinator.ask(HeartbeatRequest("group", 3, "one-1"))

    assert answer.error_code == heartbeat
    assert member.membership.check().code == heartbeat


async def test_a_member_that_has_joined_anew_meanwhile_is_not_fenced() -> None:
    """The answer is about the member that it was."""
    coordinator = Member("poste-1").coordinator
    coordinator.answers = {HeartbeatRequest: 25, SyncGroupRequest: 82}
    coordinator.joined_as = "one-2"

    assert (await coordinator.ask(HeartbeatRequest("group", 3, "one-1"))).error_code == 25
    assert isinstance(coordinator.sent[-1], SyncGroupRequest)


async def test_a_member_without_an_id_is_not_asked_for(member: Member) -> None:
    """It has not joined yet: there is no place that another one could have taken."""
    coordinator = Member("poste-1").coordinator
    coordinator.member_id = ""
    coordinator.answers = {HeartbeatRequest: 25, SyncGroupRequest: 82}

    assert (await coordinator.ask(HeartbeatRequest("group", 3, ""))).error_code == 25
    assert not isinstance(coordinator.sent[-1], SyncGroupRequest)


# ---- commits


def offsets(*partitions: int) -> dict[tuple[str, int], int]:
    return {(TOPIC, partition): 42 for partition in partitions}


async def test_a_commit_is_made(member: Member) -> None:
    assert await member.membership.commit(offsets(0))
    assert member.client.committed == {tp(0): 42}


@pytest.mark.parametrize(
    "error",
    [
        CommitFailedError(), FencedError(), GroupAuthorizationFailedError("group"),
        TopicAuthorizationFailedError(TOPIC),
    ],
)  # fmt: skip
async def test_a_commit_that_fails_is_not_made(member: Member, error: Exception) -> None:
    """A refusal is for the next check, until the group is tried again; that it has moved on is
    none."""
    member.client.failure = error

    assert not await member.membership.commit(offsets(0))
    refused = None if isinstance(error, CommitFailedError) else error
    assert member.membership.check().error is refused
    member.membership.retry()
    assert member.membership.check().error is None


async def test_a_commit_of_a_partition_that_was_taken_is_not_made(member: Member) -> None:
    """Nothing of it is: what is durable is confirmed as a whole."""
    assert not await member.membership.commit(offsets(0, 1))
    assert member.client.committed == {}


async def test_a_commit_without_an_answer_ends(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold one of the two places in the thread's queue of calls."""
    monkeypatch.setattr(group_membership, "COMMIT_ANSWER_S_MAX", 0.01)
    member.client.hangs = True

    async with asyncio.timeout(30):
        assert not await member.membership.commit(offsets(0))
    assert member.membership.check().error is None
