"""A table in memory with DynamoDB's semantics, as far as this project's calls go.

The contract suites run on it and on DynamoDB Local; where the two differ, this one is wrong.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from poste_restante.item import READ_UNIT_BYTES, Item, item_bytes, write_units
from poste_restante.table import TABLE_SCHEMA
from tests.fake_table.condition import Condition

#: Limits of DynamoDB (API reference: Query, BatchWriteItem, Constraints).
PAGE_BYTES, CALL_ITEMS_MAX, ITEM_BYTES = 1024 * 1024, 25, 400 * 1024

Key = tuple[str, str]


def client_error(code: str, text: str, operation: str, **more: Any) -> ClientError:
    """An error as botocore raises it."""
    answer: Any = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": 400},
        **more,
    }
    return ClientError(answer, operation)


class InMemoryTable:
    """One table, as the low-level client of aiobotocore shows it. Every call is atomic.

    name: calls for another table are refused. page_bytes: what one Query takes at most; smaller
    in tests, to see pages.
    """

    def __init__(self, name: str = "mailboxes", *, page_bytes: int = PAGE_BYTES) -> None:
        self.name = name
        self.page_bytes = page_bytes
        self.items: dict[Key, Item] = {}
        #: Called before each operation is made, with its name, and with the partition key of a
        #: Query, which is empty for any other; may raise.
        self.before: Callable[[str, str], None] = lambda _operation, _key: None

    def _check(self, operation: str, table: str, key: str = "") -> None:
        self.before(operation, key)
        if table != self.name:
            raise client_error(
                "ResourceNotFoundException", "Cannot do operations on a non-existent table",
                operation,
            )  # fmt: skip

    async def describe_table(self, *, TableName: str) -> dict[str, Any]:  # noqa: N803 - AWS's
        self._check("DescribeTable", TableName)
        return {"Table": {"TableStatus": "ACTIVE", **TABLE_SCHEMA}}

    async def get_item(
        self,
        *,
        TableName: str,  # noqa: N803
        Key: Item,  # noqa: N803
        ReturnConsumedCapacity: str = "NONE",  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        self._check("GetItem", TableName)
        item = self.items.get(_key(Key))
        answer: dict[str, Any] = {} if item is None else {"Item": copy.deepcopy(item)}
        if ReturnConsumedCapacity != "NONE":
            answer["ConsumedCapacity"] = {"TableName": TableName}
        return answer

    async def put_item(self, *, TableName: str, Item: Item, **conditions: Any) -> dict[str, Any]:  # noqa: N803
        self._check("PutItem", TableName)
        self._hold_to(conditions, _key(Item), "PutItem")
        self._store(Item, "PutItem")
        return {}

    async def update_item(
        self,
        *,
        TableName: str,  # noqa: N803
        Key: Item,  # noqa: N803
        UpdateExpression: str = "",  # noqa: N803
        ReturnValues: str = "NONE",  # noqa: N803
        ReturnConsumedCapacity: str = "NONE",  # noqa: N803
        **conditions: Any,
    ) -> dict[str, Any]:
        self._check("UpdateItem", TableName)
        self._hold_to(conditions, _key(Key), "UpdateItem")
        before = item_bytes(self.items.get(_key(Key), {}))
        item = copy.deepcopy(self.items.get(_key(Key), dict(Key)))
        names, values = _names(conditions)
        updated: Item = {}
        for clause, body in re.findall(
            r"(SET|REMOVE)\s+(.*?)(?=\s+(?:SET|REMOVE)\s|$)", UpdateExpression
        ):
            for part in body.split(","):
                name, _, value = (word.strip() for word in part.partition("="))
                if clause == "SET":
                    updated[names.get(name, name)] = copy.deepcopy(values[value])
                else:
                    item.pop(names.get(name, name), None)
        self._store(item | updated, "UpdateItem")
        answer: dict[str, Any] = {}
        if ReturnValues == "UPDATED_NEW":
            answer["Attributes"] = updated
        elif ReturnValues == "ALL_NEW":
            answer["Attributes"] = copy.deepcopy(item | updated)
        if ReturnConsumedCapacity != "NONE":
            units = write_units(max(before, item_bytes(item | updated)))
            answer["ConsumedCapacity"] = _consumed(TableName, units)
        return answer

    async def batch_write_item(
        self,
        *,
        RequestItems: Mapping[str, Any],  # noqa: N803
        ReturnConsumedCapacity: str = "NONE",  # noqa: N803
    ) -> dict[str, Any]:
        operation = "BatchWriteItem"
        units = 0
        for table, requests in RequestItems.items():
            self._check(operation, table)
            keys = [
                _key(r["PutRequest"]["Item"] if "PutRequest" in r else r["DeleteRequest"]["Key"])
                for r in requests
            ]
            if not 1 <= len(keys) <= CALL_ITEMS_MAX:
                raise client_error(
                    "ValidationException",
                    "Too many items requested for the BatchWriteItem call", operation,
                )  # fmt: skip
            if len(set(keys)) < len(keys):
                raise client_error(
                    "ValidationException",
                    "Provided list of item keys contains duplicates", operation,
                )  # fmt: skip
            for request in requests:
                if "PutRequest" in request:
                    _refuse_large(request["PutRequest"]["Item"], operation)
            for key, request in zip(keys, requests, strict=True):
                put = request["PutRequest"]["Item"] if "PutRequest" in request else {}
                units += write_units(max(item_bytes(put), item_bytes(self.items.get(key, {}))))
                if "PutRequest" in request:
                    self._store(request["PutRequest"]["Item"], operation)
                else:
                    self.items.pop(key, None)
        answer: dict[str, Any] = {"UnprocessedItems": {}}
        if ReturnConsumedCapacity != "NONE":
            answer["ConsumedCapacity"] = [_consumed(self.name, units)]
        return answer

    async def query(
        self,
        *,
        TableName: str,  # noqa: N803
        KeyConditionExpression: str,  # noqa: N803
        Limit: int | None = None,  # noqa: N803
        ExclusiveStartKey: Item | None = None,  # noqa: N803
        ScanIndexForward: bool = True,  # noqa: N803
        ProjectionExpression: str | None = None,  # noqa: N803
        ConsistentRead: bool = False,  # noqa: N803
        ReturnConsumedCapacity: str = "NONE",  # noqa: N803
        **conditions: Any,
    ) -> dict[str, Any]:
        names, values = _names(conditions)
        # Every condition of a Query begins with the partition key, and its values do with that.
        self._check("Query", TableName, next(iter(values.values()))["S"])
        start = None if ExclusiveStartKey is None else _bytes(_key(ExclusiveStartKey))
        condition = Condition(KeyConditionExpression, names, values)
        found: list[Item] = []
        size, more = 0, False
        for key in sorted(self.items, key=_bytes, reverse=not ScanIndexForward):
            item = self.items[key]
            if start is not None and (
                _bytes(key) <= start if ScanIndexForward else _bytes(key) >= start
            ):
                continue
            if not condition.holds(item):
                continue
            if size >= self.page_bytes:  # known only when there is a further item
                more = True
                break
            found.append(copy.deepcopy(item))
            size += item_bytes(item)
            if len(found) == Limit:  # whether or not there is a further item
                more = True
                break
        answer: dict[str, Any] = {"Items": found, "Count": len(found)}
        if ProjectionExpression is not None:
            attributes = [names.get(n.strip(), n.strip()) for n in ProjectionExpression.split(",")]
            answer["Items"] = [{n: item[n] for n in attributes if n in item} for item in found]
        if more:
            answer["LastEvaluatedKey"] = {n: found[-1][n] for n in ("user_id", "position")}
        if ReturnConsumedCapacity != "NONE":
            units = _read_units(size) * (1 if ConsistentRead else 0.5)
            answer["ConsumedCapacity"] = _consumed(TableName, units)
        return answer

    def _hold_to(self, conditions: Mapping[str, Any], key: Key, operation: str) -> None:
        expression = conditions.get("ConditionExpression")
        if expression is None:
            return
        names, values = _names(conditions)
        stored = self.items.get(key, {})
        if not Condition(expression, names, values).holds(stored):
            more = {}
            if conditions.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and stored:
                more = {"Item": copy.deepcopy(stored)}
            raise client_error(
                "ConditionalCheckFailedException", "The conditional request failed",
                operation, **more,
            )  # fmt: skip

    def _store(self, item: Item, operation: str) -> None:
        _refuse_large(item, operation)
        self.items[_key(item)] = copy.deepcopy(dict(item))


def _key(item: Mapping[str, Any]) -> Key:
    return item["user_id"]["S"], item["position"]["S"]


def _bytes(key: Key) -> tuple[bytes, bytes]:
    return key[0].encode(), key[1].encode()  # DynamoDB sorts by UTF-8


def _names(conditions: Mapping[str, Any]) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    return (
        conditions.get("ExpressionAttributeNames", {}),
        conditions.get("ExpressionAttributeValues", {}),
    )


def _consumed(table: str, units: float) -> dict[str, Any]:
    return {"TableName": table, "CapacityUnits": float(units)}


def _read_units(size: int) -> int:
    return -(-size // READ_UNIT_BYTES)


def _refuse_large(item: Mapping[str, Any], operation: str) -> None:
    if item_bytes(item) > ITEM_BYTES:
        raise client_error(
            "ValidationException", "Item size has exceeded the maximum allowed size", operation
        )
