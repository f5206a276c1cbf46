"""The client's membership of the consumer group: its errors, a fenced static member, its commits.

Nothing here knows Faust. It relies on undocumented parts of aiokafka's group coordination, which
tests/unit/test_faust_names.py holds. Two facts about that coordination determine what is done:

* The coordination keeps an error that it cannot handle for the next call that asks for one, and
  stops until then. Faust's calls bypass those that ask, so a task of the client's thread checks.
* Heartbeats and commits carry no instance id. A static member whose place was taken therefore
  receives UNKNOWN_MEMBER_ID, rejoins, and takes the place back: two such members would displace
  each other for ever. So the member asks with the id before it rejoins.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata

from worker.group_errors import Code
from worker.kafka.group_monitor import GroupCheckResult, TopicSeen

#: Seconds that the broker gets for one commit, which is repeated at the next interval. Without a
#: limit, a commit for a deleted topic would block the thread's queue of calls for ever.
COMMIT_ANSWER_S_MAX = 5.0


class FencedError(Exception):
    """Another process has taken this static member's place.

    It is no KafkaError, because aiokafka must not treat it as passing and rejoin.
    """

    errno = Code.FENCED_INSTANCE_ID


class GroupMembership:
    """The membership of a started client; all of it in the client's own event loop.

    client: aiokafka's consumer, whose coordinator's answers are watched from now on. topic: the one
    consumed.
    """

    def __init__(self, client: aiokafka.AIOKafkaConsumer, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._coordinator = client._coordinator
        self._answered: int = Code.NONE.value
        self._refused_commit: BaseException | None = None
        self._send = self._coordinator._send_req
        self._coordinator._send_req = self._send_noting

    def check(self) -> GroupCheckResult:
        """Check the coordination, without clearing its error."""
        cluster = self._client._client.cluster
        seen, partitions = TopicSeen.THERE, self._client.partitions_for_topic(self._topic)
        if self._topic in cluster.unauthorized_topics:
            seen = TopicSeen.DENIED
        elif partitions is None:
            seen = TopicSeen.MISSING
        return GroupCheckResult(
            error=self._refused_commit or self.error(),
            died=self._coordinator._coordination_task.done(),
            code=self._answered,
            coordinator=self._coordinator.coordinator_id is not None,
            topic=seen,
            partitions=len(partitions or ()),
        )

    def error(self) -> BaseException | None:
        """Return the error at which the coordination ended or stopped, without clearing it."""
        task = self._coordinator._coordination_task
        if task.done() and not task.cancelled() and task.exception() is not None:
            return task.exception()  # type: ignore[no-any-return]
        error: BaseException | None = self._coordinator._pending_exception
        return error

    def retry(self) -> None:
        """Let a coordination that stopped at an error continue and rejoin."""
        self._refused_commit = None
        if self._coordinator._pending_exception is not None:
            with suppress(KafkaError):
                self._coordinator.check_errors()
            # Only a join restarts a failed heartbeat.
            self._coordinator.request_rejoin()

    def retrieve_errors(self) -> None:
        """Retrieve the errors of the coordination's tasks, before the client stops.

        aiokafka retrieves the error of one task and stops the coordination. If another task fails
        after that, asyncio logs a traceback for its error.
        """
        coordinator = self._coordinator
        for task in (coordinator._heartbeat_task, coordinator._commit_refresh_task):
            if task is not None and task.done() and not task.cancelled():
                task.exception()

    def leave_at_stop(self) -> None:
        """Leave the group when the client stops. aiokafka never removes a static member from its
        group: the others would wait for its restart or its session time-out."""
        self._coordinator._group_instance_id = None

    async def _send_noting(self, request: Any) -> Any:
        coordinator = self._coordinator
        member = coordinator.generation, coordinator.member_id
        response = await self._send(request)
        codes = set()
        if isinstance(request, JoinGroupRequest | SyncGroupRequest | HeartbeatRequest):
            self._answered = response.error_code
            codes = {response.error_code}
        elif isinstance(request, OffsetCommitRequest):
            codes = {code for _, partitions in response.topics for _, code in partitions}
        if Code.UNKNOWN_MEMBER_ID in codes and coordinator._group_instance_id is not None:
            await self._raise_if_fenced(*member)
        return response

    async def _raise_if_fenced(self, generation: int, member_id: str) -> None:
        if not member_id:
            return
        coordinator = self._coordinator
        group, instance = coordinator.group_id, coordinator._group_instance_id
        asked = SyncGroupRequest(group, generation, member_id, instance, [])
        fenced = (await self._send(asked)).error_code == Code.FENCED_INSTANCE_ID
        if fenced and coordinator.member_id == member_id:  # else this worker itself rejoined
            raise FencedError("another process has our group instance id")

    async def commit(self, offsets: Mapping[tuple[str, int], int]) -> bool:
        """Commit offsets by topic and partition. Faust's own commit logs a traceback, and waits for
        ever for a deleted topic.

        False: not committed. The group has moved on, the broker does not answer, or it refuses; the
        next check of the group handles a refusal.
        """
        wanted = {TopicPartition._make(tp): offset for tp, offset in offsets.items()}
        if not wanted.keys() <= self._client.assignment():
            return False
        try:
            async with asyncio.timeout(COMMIT_ANSWER_S_MAX):
                await self._client.commit(
                    {tp: OffsetAndMetadata(offset, "") for tp, offset in wanted.items()}
                )
        except (CommitFailedError, IllegalStateError, TimeoutError):
            return False
        except (KafkaError, FencedError) as error:
            self._refused_commit = error
            return False
        return True
