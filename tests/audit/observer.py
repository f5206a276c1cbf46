"""Raw reads of the table and of the group's offsets: no product code, no faulty endpoint."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from botocore.exceptions import BotoCoreError, ClientError

from tests.audit.asking import REQUEST_MS_MAX, Questions
from tests.audit.keys import (
    Log,
    Mailbox,
    Progress,
    mailbox_key,
    parse_progress,
    progress_key,
    sort_key_end,
    sort_key_from,
)

#: Seconds that one raw call may take: the store is on this machine, which may be busy.
CALL_S_MAX = 10.0

#: What a look may fail with while a service is away: it is missed, and says nothing.
AWAY = (KafkaError, ClientError, BotoCoreError, OSError, TimeoutError)


def dynamodb_client(url: str, *, timeout_s: float = CALL_S_MAX, attempts: int = 2) -> Any:
    """A context manager of a low-level client of one address."""
    config = AioConfig(
        connect_timeout=timeout_s, read_timeout=timeout_s,
        retries={"total_max_attempts": attempts, "mode": "standard"}, max_pool_connections=50,
    )  # fmt: skip
    return aioboto3.Session().client("dynamodb", endpoint_url=url, config=config)


class RawTable:
    """Consistent reads of one table."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    async def progress(self, topic: str, partitions: Iterable[int]) -> dict[int, Progress]:
        """Of those partitions that have any."""
        found = {}
        for partition in partitions:
            item = await self._get(progress_key(topic, partition), "!")
            if item is not None:
                found[partition] = parse_progress(item)
        return found

    async def mailbox(self, user: str) -> Mailbox:
        """All of it."""
        mailbox = Mailbox()
        values = {":user": {"S": mailbox_key(user)}}
        async for items in self._query("user_id = :user", values):
            mailbox.add(items)
        return mailbox

    async def behind(self, user: str, lowest: Mapping[Log, int]) -> Mailbox:
        """The bundles that end at or behind an offset of each log, and then the cursor.

        In this order: whoever deletes a bundle has raised the cursor before, so what was deleted
        before the first read is covered by the second.
        """
        mailbox = Mailbox()
        for log, offset in lowest.items():
            values = {
                ":user": {"S": mailbox_key(user)},
                ":from": {"S": sort_key_from(log, offset)},
                ":end": {"S": sort_key_end(log)},
            }
            condition = "user_id = :user AND #position BETWEEN :from AND :end"
            async for items in self._query(condition, values):
                mailbox.add(items)
        cursor = await self._get(mailbox_key(user), "!")
        if cursor is not None:
            mailbox.add([cursor])
        return mailbox

    async def _get(self, user_id: str, position: str) -> Any:
        answer = await self._client.get_item(
            TableName=self._table,
            Key={"user_id": {"S": user_id}, "position": {"S": position}},
            ConsistentRead=True,
        )
        return answer.get("Item")

    async def _query(self, condition: str, values: dict[str, Any]) -> AsyncIterator[list[Any]]:
        arguments: dict[str, Any] = {
            "TableName": self._table, "ConsistentRead": True,
            "KeyConditionExpression": condition, "ExpressionAttributeValues": values,
        }  # fmt: skip
        if "#position" in condition:
            arguments["ExpressionAttributeNames"] = {"#position": "position"}
        while True:
            answer = await self._client.query(**arguments)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


@asynccontextmanager
async def raw_table(url: str, table: str) -> AsyncIterator[RawTable]:
    async with dynamodb_client(url) as client:
        yield RawTable(client, table)


class GroupOffsets:
    """The group's committed offsets. Connects at the first question, anew after a failure.

    One question at a time: two would each make a client, and one of them would be forgotten.
    """

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._topic = topic
        self._admin: AIOKafkaAdminClient | None = None
        self._questions = Questions()
        self._asking = asyncio.Lock()

    async def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """Of those partitions that have any. Raises one of AWAY."""
        wanted = [TopicPartition(self._topic, partition) for partition in partitions]
        return await self._questions.ask(self._committed(wanted))

    async def _committed(self, wanted: list[TopicPartition]) -> dict[int, int]:
        async with self._asking:
            known, self._admin = self._admin, None
            admin = known or AIOKafkaAdminClient(
                bootstrap_servers=self._bootstrap, request_timeout_ms=REQUEST_MS_MAX
            )
            try:
                if known is None:
                    await admin.start()
                found = await admin.list_consumer_group_offsets(self._group, partitions=wanted)
            except BaseException:
                await admin.close()
                raise
            self._admin = admin
        return {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0}

    async def stop(self) -> None:
        await self._questions.end()
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()
