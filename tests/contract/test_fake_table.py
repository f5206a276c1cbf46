"""The table in memory against DynamoDB Local: the same calls, the same answers."""

from collections.abc import AsyncIterator
from typing import Any

import aioboto3
import pytest
from botocore.exceptions import ClientError

from poste_restante.table import TABLE_SCHEMA
from tests.fake_table import InMemoryTable
from tests.mailbox_table import RECORD

pytestmark = pytest.mark.services

Call = tuple[str, dict[str, Any]]
KEY = {"user_id": {"S": "bob"}, "position": {"S": "!"}}
NAMES = {"#p": "position"}


class Both:
    """A table in memory and a real one, which get the same calls."""

    def __init__(self, client: Any, table: str) -> None:
        self.table = table
        self.clients = {"memory": InMemoryTable(table), "real": client}

    async def call(self, operation: str, **arguments: Any) -> Any:
        """The answer of both. Fails where they differ."""
        if operation != "batch_write_item":
            arguments["TableName"] = self.table
        answers = {name: await _answer(client, operation, arguments)
                   for name, client in self.clients.items()}  # fmt: skip
        assert answers["memory"] == answers["real"], (operation, arguments)
        return answers["real"]

    async def update(self, key: dict[str, Any], expression: str, **arguments: Any) -> Any:
        return await self.call("update_item", Key=key, UpdateExpression=expression, **arguments)

    async def query(
        self, condition: str = "user_id = :u", user_id: str = "bob", **arguments: Any
    ) -> Any:
        values = {":u": {"S": user_id}} | arguments.pop("values", {})
        if "#p" in condition:
            arguments["ExpressionAttributeNames"] = NAMES
        return await self.call("query", KeyConditionExpression=condition, ConsistentRead=True,
                               ExpressionAttributeValues=values, **arguments)  # fmt: skip

    async def batch(self, *requests: dict[str, Any]) -> Any:
        return await self.call("batch_write_item", RequestItems={self.table: list(requests)})


async def _answer(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
    """What a caller sees of an answer, errors by their code and item."""
    try:
        answer = await getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response.get("Item")
    members = ["Items", "Item", "LastEvaluatedKey", "Attributes", "UnprocessedItems"]
    if operation in {"query", "batch_write_item"}:  # of which the units are looked at
        members.append("ConsumedCapacity")
    return {name: answer[name] for name in members if name in answer}


@pytest.fixture
async def both(dynamodb: Any, table_name: str) -> AsyncIterator[Both]:
    async with aioboto3.Session().client("dynamodb", endpoint_url=dynamodb.endpoint) as client:
        await client.create_table(TableName=table_name, **TABLE_SCHEMA)
        yield Both(client, table_name)
        await client.delete_table(TableName=table_name)


def put(position: str, user_id: str = "bob", **attributes: Any) -> dict[str, Any]:
    item = {"user_id": {"S": user_id}, "position": {"S": position}, **attributes}
    return {"PutRequest": {"Item": item}}


def delete(position: str, user_id: str = "bob") -> dict[str, Any]:
    key = {"user_id": {"S": user_id}, "position": {"S": position}}
    return {"DeleteRequest": {"Key": key}}


async def test_queries_end_where_dynamodbs_do(both: Both) -> None:
    """By count, whether or not more follows; by key; by one mailbox (G7)."""
    await both.batch(*(put(name) for name in ("!", "!phone", "0001", "0002", "é", "z", "😀")))
    await both.batch(put("0001", "ann"), put("0001", "bob2"), put("0001", "bo"))
    assert len((await both.query())["Items"]) == 7
    for limit in range(1, 9):
        answer = await both.query(Limit=limit)
        while "LastEvaluatedKey" in answer:
            answer = await both.query(Limit=limit, ExclusiveStartKey=answer["LastEvaluatedKey"])
    for key in ("!", "!phone", "0", "0001", "0001~", "z", "\U0010ffff"):
        for operator in (">", ">=", "<", "<=", "="):
            await both.query(f"user_id = :u AND #p {operator} :k", values={":k": {"S": key}})
    await both.query("user_id = :u AND #p BETWEEN :k AND :l",
                     values={":k": {"S": "!"}, ":l": {"S": "0001"}})  # fmt: skip
    await both.query(ExclusiveStartKey={"user_id": {"S": "bob"}, "position": {"S": "00015"}})
    assert "LastEvaluatedKey" in await both.query(user_id="bob2", Limit=1)  # the table's last item
    assert await both.query(user_id="nobody") == {"Items": []}


async def test_queries_go_backwards_and_bring_what_is_asked_for_as_dynamodbs(both: Both) -> None:
    """A new device begins behind what is stored (G7, G12)."""
    await both.batch(*(put(name, a={"N": "1"}) for name in ("!", "!phone", "0001", "0002", "é")))
    for limit in (1, 2, 6):
        arguments: dict[str, Any] = {"Limit": limit, "ScanIndexForward": False}
        answer = await both.query(**arguments)
        while "LastEvaluatedKey" in answer:
            start = answer["LastEvaluatedKey"]
            answer = await both.query(**arguments, ExclusiveStartKey=start)
    for key in ("!", "0", "0002", "z"):
        await both.query(
            "user_id = :u AND #p < :k", values={":k": {"S": key}}, ScanIndexForward=False, Limit=1,
            ProjectionExpression="user_id, #p", ReturnConsumedCapacity="TOTAL",
        )  # fmt: skip


async def test_an_item_of_its_key_alone_is_made_as_dynamodbs(both: Both) -> None:
    """The cursor of a device that has acknowledged nothing (G12)."""
    for values in ("ALL_NEW", "UPDATED_NEW", "NONE"):
        for position in ("!", "!phone"):
            for more in ({}, {"UpdateExpression": "SET a = :one, b = :one"}):
                used = {"ExpressionAttributeValues": {":one": {"N": "1"}}} if more else {}
                await both.call(
                    "update_item", Key=KEY | {"position": {"S": position}}, ReturnValues=values,
                    ConditionExpression="attribute_not_exists(#p)", ExpressionAttributeNames=NAMES,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD", **more, **used,
                )  # fmt: skip
    assert len((await both.query())["Items"]) == 2
    for position in ("!phone", "!pad"):
        await both.call(
            "update_item", Key=KEY | {"position": {"S": position}}, ReturnValues="UPDATED_NEW",
            UpdateExpression="SET a = :one",
            ConditionExpression="attribute_exists(#p) AND (attribute_not_exists(a) OR a < :one)",
            ExpressionAttributeNames=NAMES, ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )  # fmt: skip


@pytest.mark.parametrize("size", [60_000, 104_857 - 16, 104_858 - 16, 150_000, 349_000, 399_900])
async def test_queries_end_at_1_mb_where_dynamodbs_do(both: Both, size: int) -> None:
    """With the item that goes above it, where one is behind (G7)."""
    for n in range(2_400_000 // size):
        await both.batch(put(f"{n:02}", b={"B": b"x" * size}))
    answer = await both.query()
    while "LastEvaluatedKey" in answer:
        answer = await both.query(ExclusiveStartKey=answer["LastEvaluatedKey"])


async def test_an_update_of_the_cursor_is_dynamodbs(both: Both) -> None:
    """It makes the item, raises, and refuses to go back; numbers, not texts (G4, G6)."""
    for offset in (5, 5, 4, 40, 9, 41):
        await both.update(
            KEY, "SET #log = :offset",
            ConditionExpression="attribute_not_exists(#log) OR #log < :offset",
            ExpressionAttributeNames={"#log": "0001.00003"},
            ExpressionAttributeValues={":offset": {"N": str(offset)}},
            ReturnValues="UPDATED_NEW",
        )  # fmt: skip
    answer = await both.query()
    assert answer["Items"][0]["0001.00003"] == {"N": "41"}


@pytest.mark.parametrize("old", ["NONE", "ALL_OLD"])
@pytest.mark.parametrize(
    "condition",
    [
        "attribute_not_exists(user_id)",
        "attribute_exists(user_id)",
        "#a = :one",
        "#a <> :one",
        "#a > :one",
        "#b = :one",
        "#b <> :one",
        "#b < :one",
        "#a = :text",
        "#a < :text",
        "#a = :one AND #c = :text",
        "(#a = :one OR #a = :ten) AND attribute_not_exists(#b)",
        "#a = :ten OR #a = :one AND attribute_exists(#b)",
        "(attribute_not_exists(#b) OR #b <= :one) AND #a BETWEEN :one AND :ten",
    ],
)
async def test_conditions_mean_what_dynamodb_means(both: Both, condition: str, old: str) -> None:
    """On an item and on none, for updates and puts (G2)."""
    await both.batch(put("!", a={"N": "1"}, c={"S": "10"}))
    words = {"#a": "a", "#b": "b", "#c": "c"}
    values = {":one": {"N": "1.0"}, ":ten": {"N": "10"}, ":text": {"S": "10"}}
    used: dict[str, Any] = {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {n: v for n, v in words.items() if n in condition},
        "ExpressionAttributeValues": {n: v for n, v in values.items() if n in condition},
        "ReturnValuesOnConditionCheckFailure": old,
    }
    used = {name: value for name, value in used.items() if value}
    for position in ("!", "none"):
        key = KEY | {"position": {"S": position}}
        await both.call("put_item", Item=key | {"a": {"N": "1"}, "c": {"S": "10"}}, **used)
        set_d = {"ExpressionAttributeValues": used.get("ExpressionAttributeValues", {})
                 | {":d": {"N": "4"}}}  # fmt: skip
        await both.update(key, "SET d = :d REMOVE c", **used | set_d)
        await both.call("get_item", Key=key, ConsistentRead=True)


async def test_batches_are_dynamodbs(both: Both) -> None:
    """Puts and deletes, their number, their sizes, their keys (G1, G8)."""
    await both.batch(put("a"), put("b"), put("c", "ann"))
    assert await both.batch(delete("a"), delete("none"), put("d")) == {"UnprocessedItems": {}}
    await both.batch(*(put(f"{n:02}") for n in range(25)))
    refused = [
        [put(f"{n:02}") for n in range(26)],
        [put("a"), put("a")],
        [put("a"), delete("a")],
        [put("e"), put("f", b={"B": b"x" * 410_000})],
    ]
    for requests in refused:
        code, _ = await both.batch(*requests)
        assert code == "ValidationException"
    answer = await both.query()
    assert len(answer["Items"]) == 27


async def test_what_init_writes_is_read_back(both: Both) -> None:
    """Numbers, texts, bytes, lists, maps and nulls as they were (G1)."""
    nested = {"L": [{"M": {"b": {"B": b"\x00\xff"}, "n": {"N": "-7"}}}, {"NULL": True}, {"S": ""}]}
    await both.call("put_item", Item=RECORD.encode() | {"extra": nested})
    answer = await both.query(user_id="!table")

    assert answer["Items"] == [RECORD.encode() | {"extra": nested}]


async def test_a_table_that_is_not_there_is_said_alike(both: Both) -> None:
    """Readers tell it by the code (G9)."""
    both.table = "no-such-table"
    assert await both.query() == ("ResourceNotFoundException", None)
    assert (await both.batch(put("a")))[0] == "ResourceNotFoundException"
    assert (await both.call("get_item", Key=KEY))[0] == "ResourceNotFoundException"


async def test_capacity_is_counted_as_dynamodb_counts_it(both: Both) -> None:
    """A write per KB of the larger item, a delete as its item, a Query per 4 KB in all (G7)."""
    asked = {"ReturnConsumedCapacity": "TOTAL"}

    async def batch(*requests: dict[str, Any]) -> Any:
        return await both.call("batch_write_item", RequestItems={both.table: requests}, **asked)

    large: dict[str, Any] = {"b": {"B": b"x" * 2_500}}
    small: dict[str, Any] = {"b": {"B": b"x" * 100}}
    await both.query(**asked)  # of nothing
    for requests in (
        [put("1", **large), put("2", **large), put("3", **small)],
        [put("1", **small), put("3", **large), put("4", **small)],
        [delete("3"), delete("4")],
    ):
        assert (await batch(*requests))["ConsumedCapacity"][0]["CapacityUnits"] > 0
        await both.query(**asked)
        await both.query(Limit=1, **asked)
