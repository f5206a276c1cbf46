"""A table in memory that charges every call by DynamoDB's rules: units, and bytes that are stored.

Each mailbox stands in an `InMemoryTable` of its own, which the contract suites hold to DynamoDB
Local. A Query is handed the items that it can reach, since such a table looks at all it has.
"""

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from poste_restante.item import READ_UNIT_BYTES, Item, item_bytes, write_units
from poste_restante.memory import PAGE_BYTES, InMemoryTable
from poste_restante.position import CURSOR_KEY, SYSTEM_PREFIX

TABLE = "mailboxes"
#: Seconds behind its expiry until TTL has removed an item, for nothing: "within a few days"
#: (developer guide, "How it works: TTL").
TTL_LAG_S = 86_400.0
#: Bytes of index that are billed with each stored item (developer guide, "Item sizes and formats").
STORED_ITEM_OVERHEAD_BYTES = 100


@dataclass
class Counted:
    """What was asked so far. Units: bundles that were put, cursors raised, bundles deleted, and
    read. Bytes: that Queries brought, and of them bundles that an earlier Query had brought.
    stored_byte_s: bytes by seconds, of items that were put while `CountedTable.charges_storage`."""

    bundles: int = 0
    bundle_units: float = 0.0
    ack_units: float = 0.0
    delete_units: float = 0.0
    progress_units: float = 0.0
    queries: int = 0
    read_units: float = 0.0
    read_bytes: int = 0
    again_bytes: int = 0
    stored_byte_s: float = 0.0

    @property
    def write_units(self) -> float:
        return self.bundle_units + self.ack_units + self.delete_units + self.progress_units

    def since(self, before: "Counted") -> "Counted":
        """What was asked between two looks."""
        return Counted(**{
            name: value - getattr(before, name) for name, value in vars(self).items()
        })  # fmt: skip


@dataclass
class _Mailbox:
    """keys: sort keys in order. expiring: when TTL removes which of them, as they were put.
    charged: up to when the storage of an item is in the sum. sizes: bytes. read: what a Query has
    brought."""

    table: InMemoryTable = field(default_factory=lambda: InMemoryTable(TABLE))
    keys: list[str] = field(default_factory=list)
    expiring: deque[tuple[float, str]] = field(default_factory=deque)
    charged: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)


class CountedTable:
    """A low-level client, as far as the worker's writer and progress and `Mailboxes` call it.

    now_s: epoch seconds, for TTL. What is read of the table record is not counted: a process
    reads it every 60 s, whoever comes.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.counted = Counted()
        self.charges_storage = True
        self._mailboxes: dict[str, _Mailbox] = defaultdict(_Mailbox)

    def positions(self, key: str) -> list[str]:
        """Sort keys of one partition key, without what TTL has removed."""
        return list(self._mailbox(key).keys)

    def _mailbox(self, key: str) -> _Mailbox:
        mailbox = self._mailboxes[key]
        while mailbox.expiring and mailbox.expiring[0][0] <= self.now_s:
            _, position = mailbox.expiring.popleft()
            item = mailbox.table.items.get((key, position))
            if item is not None and _removed_at(item) <= self.now_s:
                self._remove(mailbox, key, position)
        return mailbox

    @staticmethod
    def _remove(mailbox: _Mailbox, key: str, position: str) -> None:
        del mailbox.table.items[key, position]
        del mailbox.keys[bisect_left(mailbox.keys, position)]

    def put(self, item: Item) -> None:
        """Write a bundle."""
        key, position = item["user_id"]["S"], item["position"]["S"]
        mailbox = self._mailbox(key)
        before = self._delete(mailbox, key, position)
        mailbox.sizes[position] = size = item_bytes(item)
        self.counted.bundle_units += write_units(max(size, before))
        self.counted.bundles += 1
        mailbox.table.items[key, position] = item
        insort(mailbox.keys, position)
        if "expires_at" in item:
            mailbox.expiring.append((_removed_at(item), position))
            if self.charges_storage:
                mailbox.charged[position] = _removed_at(item)
                stored_s = _removed_at(item) - self.now_s
                self.counted.stored_byte_s += (size + STORED_ITEM_OVERHEAD_BYTES) * stored_s

    def _delete(self, mailbox: _Mailbox, key: str, position: str) -> int:
        """Take an item away, if it is there. Returns its bytes."""
        item = mailbox.table.items.get((key, position))
        if item is None:
            return 0
        self._remove(mailbox, key, position)
        size = mailbox.sizes[position]
        left_s = mailbox.charged.pop(position, self.now_s) - self.now_s
        self.counted.stored_byte_s -= (size + STORED_ITEM_OVERHEAD_BYTES) * left_s
        return size

    async def batch_write_item(
        self,
        *,
        RequestItems: Mapping[str, Any],  # noqa: N803 - AWS's
        **_: Any,
    ) -> dict[str, Any]:
        for request in RequestItems[TABLE]:
            if "PutRequest" in request:
                self.put(dict(request["PutRequest"]["Item"]))
            else:
                key = request["DeleteRequest"]["Key"]
                user, position = key["user_id"]["S"], key["position"]["S"]
                size = self._delete(self._mailbox(user), user, position)
                self.counted.delete_units += write_units(size)
        return {"UnprocessedItems": {}}

    async def update_item(self, *, Key: Mapping[str, Any], **more: Any) -> dict[str, Any]:  # noqa: N803
        key, position = Key["user_id"]["S"], Key["position"]["S"]
        mailbox = self._mailbox(key)
        items = mailbox.table.items
        before = mailbox.sizes.get(position, 0) if (key, position) in items else 0
        try:
            return await mailbox.table.update_item(Key=dict(Key), **more)
        finally:  # a refused condition is billed as well
            if (key, position) in items and not before:
                insort(mailbox.keys, position)
            mailbox.sizes[position] = item_bytes(items.get((key, position), {}))
            units = write_units(max(before, mailbox.sizes[position]))
            if key.startswith(SYSTEM_PREFIX):
                self.counted.progress_units += units
            else:
                assert position == CURSOR_KEY
                self.counted.ack_units += units

    async def query(self, **arguments: Any) -> dict[str, Any]:
        values = arguments["ExpressionAttributeValues"]
        key = values[":user"]["S"]
        mailbox = self._mailbox(key)
        reached = InMemoryTable(TABLE)
        for position in self._reachable(mailbox, arguments):
            reached.items[key, position] = mailbox.table.items[key, position]
        answer = await reached.query(**arguments)
        if not key.startswith(SYSTEM_PREFIX):
            self._charge_query(mailbox, [
                (position, mailbox.sizes[position])
                for position in (item["position"]["S"] for item in answer["Items"])
            ])  # fmt: skip
        return answer

    def _reachable(self, mailbox: _Mailbox, arguments: Mapping[str, Any]) -> list[str]:
        """Sort keys from the first that a Query may bring to one more than it can bring."""
        values = arguments["ExpressionAttributeValues"]
        condition = arguments["KeyConditionExpression"]
        if not arguments.get("ScanIndexForward", True) or "<" in condition:
            return mailbox.keys
        start = arguments.get("ExclusiveStartKey", {}).get("position", {}).get("S", "")
        low = values.get(":low", values.get(":key", {})).get("S", "")
        first = bisect_left(mailbox.keys, max(start, low))
        found, sizes, limit = [], 0, arguments.get("Limit")
        for position in mailbox.keys[first:]:
            found.append(position)
            # The first may be the item that the Query begins behind, and one more is looked at.
            if sizes >= PAGE_BYTES or (limit is not None and len(found) > limit + 1):
                break
            sizes += mailbox.sizes[position] if len(found) > 1 else 0
        return found

    def _charge_query(self, mailbox: _Mailbox, brought: list[tuple[str, int]]) -> None:
        size = sum(one for _, one in brought)
        bundles = [(position, one) for position, one in brought if position != CURSOR_KEY]
        self.counted.queries += 1
        self.counted.read_units += max(1, ceil(size / READ_UNIT_BYTES))  # an empty one, too
        self.counted.read_bytes += size
        self.counted.again_bytes += sum(one for at, one in bundles if at in mailbox.read)
        mailbox.read.update(position for position, _ in bundles)

    async def put_item(self, *, Item: Any, **more: Any) -> dict[str, Any]:  # noqa: N803
        mailbox = self._mailbox(Item["user_id"]["S"])
        answer = await mailbox.table.put_item(Item=Item, **more)
        if Item["position"]["S"] not in mailbox.keys:
            insort(mailbox.keys, Item["position"]["S"])
        mailbox.sizes[Item["position"]["S"]] = item_bytes(Item)
        return answer

    async def get_item(self, *, Key: Any, **more: Any) -> dict[str, Any]:  # noqa: N803
        return await self._mailbox(Key["user_id"]["S"]).table.get_item(Key=Key, **more)


def _removed_at(item: Item) -> float:
    return int(item["expires_at"]["N"]) + TTL_LAG_S


__all__ = ["TABLE", "Counted", "CountedTable"]
