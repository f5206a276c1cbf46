"""The group's errors, as the client's thread sees them; the client itself is a fake."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from faust.types import TP

import worker.kafka.client_thread
from tests.unit.test_consumer import Stage
from tests.unit.test_opening import progress
from worker.group_errors import Code
from worker.kafka.client_thread import BatchConsumerThread, FencedError
from worker.kafka.group_monitor import Look, TopicSeen

TOPIC = "undelivered"


class Coordinator:
    """aiokafka's, as far as it is looked at. answers: error codes by the kind of request."""

    group_id, generation, member_id, coordinator_id = "group", 3, "one-1", 1

    def __init__(self, instance_id: str | None = None) -> None:
        self._group_instance_id = instance_id
        self._coordination_task: Any = asyncio.get_running_loop().create_future()
        self._pending_exception: Exception | None = None
        self.answers: dict[type, int] = {}
        self.sent: list[Any] = []
        self.rejoins = 0

    async def _send_req(self, request: Any) -> Any:
        self.sent.append(request)
        code = self.answers.get(type(request), 0)
        if isinstance(request, OffsetCommitRequest):
            return SimpleNamespace(topics=[(TOPIC, [(0, code)])])
        return SimpleNamespace(error_code=code)

    def check_errors(self) -> None:
        error, self._pending_exception = self._pending_exception, None
        if error is not None:
            raise error

    def request_rejoin(self) -> None:
        self.rejoins += 1


class Client:
    """aiokafka's consumer, as far as it is used here."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._client = SimpleNamespace(cluster=SimpleNamespace(unauthorized_topics=set()))
        self.partitions: set[int] | None = {0}
        self.fails: Exception | None = None
        self.hangs = False

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return self.partitions

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(TOPIC, 0)}

    async def commit(self, offsets: Any) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails


@pytest.fixture
async def thread(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BatchConsumerThread]:
    made = Stage(monkeypatch, progress(40)).consumer._thread
    use(made, Coordinator())
    yield made
    made.thread_loop.close()


def use(thread: BatchConsumerThread, coordinator: Coordinator) -> Client:
    """Give the thread this client; `thread.client` of the tests."""
    client: Any = Client(coordinator)
    thread._consumer = client
    thread._answered, thread._refused_commit = Code.NONE.value, None
    thread._note_answers(coordinator)
    return client  # type: ignore[no-any-return]


async def ended(error: Exception) -> Any:
    future = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


async def test_a_look_sees_what_the_coordination_stands_at(thread: BatchConsumerThread) -> None:
    """And leaves it there: whoever consumes it lets the client join anew."""
    coordinator = Coordinator()
    client: Any = use(thread, coordinator)
    well = thread._look(client)
    coordinator._pending_exception = error = KafkaError("refused")
    thread._answered = 23
    stands = thread._look(client)

    assert well == Look()
    assert stands == Look(error=error, code=23)
    assert coordinator._pending_exception is error


async def test_a_look_sees_a_coordination_that_has_died(thread: BatchConsumerThread) -> None:
    """Its exception is the cause; one that has ended with the client has none."""
    coordinator = Coordinator()
    client: Any = use(thread, coordinator)
    error = KafkaError("Unexpected error during coordination")
    coordinator._coordination_task = await ended(error)

    assert thread._look(client) == Look(error=error, died=True)


async def test_a_look_sees_the_topic_and_the_coordinator(thread: BatchConsumerThread) -> None:
    """As the client's last metadata have them."""
    coordinator = Coordinator()
    client: Any = use(thread, coordinator)
    coordinator.coordinator_id = None  # type: ignore[assignment]
    client.partitions = None
    missing = thread._look(client)
    client._client.cluster.unauthorized_topics.add(TOPIC)
    denied = thread._look(client)

    assert missing == Look(coordinator=False, topic=TopicSeen.MISSING)
    assert denied.topic is TopicSeen.DENIED


async def test_a_coordination_that_is_let_go_on_joins_anew(thread: BatchConsumerThread) -> None:
    """A failed heartbeat is begun again by a join alone."""
    coordinator = Coordinator()
    use(thread, coordinator)
    thread._retry_group()
    assert coordinator.rejoins == 0

    coordinator._pending_exception = KafkaError("passing")
    thread._retry_group()
    assert (coordinator._pending_exception, coordinator.rejoins) == (None, 1)


# ---- fencing


@pytest.mark.parametrize(
    "request_",
    [
        HeartbeatRequest("group", 3, "one-1"),
        OffsetCommitRequest("group", 3, "one-1", -1, [(TOPIC, [(0, 5, "")])]),
    ],
    ids=["heartbeat", "commit"],
)
async def test_a_static_member_that_is_unknown_asks_with_its_id(
    thread: BatchConsumerThread, request_: Any
) -> None:
    """Before aiokafka joins anew, which would take the place back from the other process."""
    coordinator = Coordinator("poste-1")
    use(thread, coordinator)
    coordinator.answers = {type(request_): 25, SyncGroupRequest: 82}

    with pytest.raises(FencedError):
        await coordinator._send_req(request_)
    assert not issubclass(FencedError, KafkaError), "aiokafka would try again"
    assert isinstance(coordinator.sent[-1], SyncGroupRequest)


@pytest.mark.parametrize(
    ("instance_id", "heartbeat", "sync"),
    [("poste-1", 25, 25), ("poste-1", 27, 82), (None, 25, 82)],
    ids=["expired", "rebalance", "dynamic"],
)
async def test_a_member_that_is_not_fenced_goes_on(
    thread: BatchConsumerThread, instance_id: str | None, heartbeat: int, sync: int
) -> None:
    """One whose session is over joins anew, as a dynamic one does."""
    coordinator = Coordinator(instance_id)
    use(thread, coordinator)
    coordinator.answers = {HeartbeatRequest: heartbeat, SyncGroupRequest: sync}
    answer = await coordinator._send_req(HeartbeatRequest("group", 3, "one-1"))

    assert answer.error_code == heartbeat
    assert thread._answered == heartbeat


async def test_a_member_that_has_joined_anew_meanwhile_is_not_fenced(
    thread: BatchConsumerThread,
) -> None:
    """The answer is about the member that it was."""
    coordinator = Coordinator("poste-1")
    use(thread, coordinator)
    coordinator.answers = {HeartbeatRequest: 25, SyncGroupRequest: 82}
    asking = asyncio.ensure_future(
        thread._raise_if_fenced(coordinator._send_req, coordinator, 3, "one-0")
    )

    await asking


# ---- commits


def offsets(partition: int = 0) -> dict[TP, int]:
    return {TP(TOPIC, partition): 42}


async def test_a_commit_is_made(thread: BatchConsumerThread) -> None:
    assert await thread._commit(offsets())


@pytest.mark.parametrize(
    "error",
    [
        CommitFailedError(), FencedError(), GroupAuthorizationFailedError("group"),
        TopicAuthorizationFailedError(TOPIC),
    ],
)  # fmt: skip
async def test_a_commit_that_fails_is_not_made(
    thread: BatchConsumerThread, error: Exception
) -> None:
    """A refusal is for the next look; that the group has moved on is none."""
    client: Any = use(thread, Coordinator())
    client.fails = error

    assert not await thread._commit(offsets())
    refused = None if isinstance(error, CommitFailedError) else error
    assert thread._look(client).error is refused


async def test_a_commit_of_a_partition_that_was_taken_is_not_made(
    thread: BatchConsumerThread,
) -> None:
    """Nothing of it is: what is durable is confirmed as a whole."""
    assert not await thread._commit({**offsets(), **offsets(1)})


async def test_a_commit_without_an_answer_ends(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold one of the two places in the thread's queue of calls."""
    monkeypatch.setattr(worker.kafka.client_thread, "COMMIT_ANSWER_S_MAX", 0.01)
    client: Any = use(thread, Coordinator())
    client.hangs = True

    assert not await thread._commit(offsets())
    assert thread._look(client).error is None
