"""A table in memory that charges every call by DynamoDB's rules: units, and bytes that are stored.

Each mailbox stands in an `InMemoryTable` of its own, which the contract suites hold to DynamoDB
Local. A Query is handed the items that it can reach, since such a table looks at all it has.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from typing import Any

from poste_restante.item import READ_UNIT_BYTES, Item, item_bytes, write_units
from poste_restante.position import CURSOR_KEY, SYSTEM_PREFIX
from tests.fake_table import InMemoryTable

TABLE = "mailboxes"
#: Seconds behind its expiry until TTL has removed an item, for nothing: "within a few days"
#: (developer guide, "How it works: TTL").
TTL_LAG_S = 86_400.0
#: Bytes of index that are billed with each stored item (developer guide, "Item sizes and formats").
STORED_ITEM_OVERHEAD_BYTES = 100


@dataclass
class Counted:
    """What was asked so far. Units: bundles that were put, cursors raised, bundles deleted, and
    read. stored_byte_s: bytes by seconds, of items that were put while
    `CountedTable.charges_storage`."""

    bundles: int = 0
    bundle_units: float = 0.0
    ack_units: float = 0.0
    delete_units: float = 0.0
    progress_units: float = 0.0
    queries: int = 0
    read_units: float = 0.0
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
    """sizes: bytes of each item. expiring: when TTL removes it. charged: items whose storage until
    then is in the sum. All by sort key."""

    table: InMemoryTable = field(default_factory=lambda: InMemoryTable(TABLE))
    sizes: dict[str, int] = field(default_factory=dict)
    expiring: dict[str, float] = field(default_factory=dict)
    charged: set[str] = field(default_factory=set)


class CountedTable:
    """A low-level client, as far as the worker's writer and progress and `Mailboxes` call it.

    now_s: epoch seconds, for TTL. Reads of the table record are not counted: a process reads it
    every 60 s, however many users come.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.counted = Counted()
        self.charges_storage = True
        self._mailboxes: dict[str, _Mailbox] = defaultdict(_Mailbox)

    def _mailbox(self, key: str) -> _Mailbox:
        """What TTL has left of a mailbox."""
        mailbox = self._mailboxes[key]
        for position in [one for one, at_s in mailbox.expiring.items() if at_s <= self.now_s]:
            self._remove(mailbox, key, position)
        return mailbox

    def _remove(self, mailbox: _Mailbox, key: str, position: str) -> int:
        """Removes an item, and the rest of its storage from the sum. Returns its bytes, or 0."""
        if mailbox.table.items.pop((key, position), None) is None:
            return 0
        size = mailbox.sizes.pop(position)
        left_s = max(0.0, mailbox.expiring.pop(position, 0.0) - self.now_s)
        if position in mailbox.charged:
            mailbox.charged.remove(position)
            self.counted.stored_byte_s -= (size + STORED_ITEM_OVERHEAD_BYTES) * left_s
        return size

    def put(self, item: Item) -> None:
        """Writes a bundle."""
        key, position = item["user_id"]["S"], item["position"]["S"]
        mailbox = self._mailbox(key)
        before = self._remove(mailbox, key, position)
        mailbox.sizes[position] = size = item_bytes(item)
        mailbox.table.items[key, position] = item
        self.counted.bundle_units += write_units(max(size, before))
        self.counted.bundles += 1
        mailbox.expiring[position] = int(item["expires_at"]["N"]) + TTL_LAG_S
        if self.charges_storage:
            mailbox.charged.add(position)
            stored_s = mailbox.expiring[position] - self.now_s
            self.counted.stored_byte_s += (size + STORED_ITEM_OVERHEAD_BYTES) * stored_s

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
                size = self._remove(self._mailbox(user), user, position)
                self.counted.delete_units += write_units(size)
        return {"UnprocessedItems": {}}

    async def update_item(self, *, Key: Mapping[str, Any], **more: Any) -> dict[str, Any]:  # noqa: N803
        key, position = Key["user_id"]["S"], Key["position"]["S"]
        mailbox = self._mailbox(key)
        before = mailbox.sizes.get(position, 0)
        try:
            return await mailbox.table.update_item(Key=dict(Key), **more)
        finally:  # a refused condition is billed as well
            size = item_bytes(mailbox.table.items.get((key, position), {}))
            mailbox.sizes[position] = size
            if key.startswith(SYSTEM_PREFIX):
                self.counted.progress_units += write_units(max(before, size))
            else:
                assert position == CURSOR_KEY
                self.counted.ack_units += write_units(max(before, size))

    async def query(self, **arguments: Any) -> dict[str, Any]:
        values = arguments["ExpressionAttributeValues"]
        key = values[":user"]["S"]
        mailbox = self._mailbox(key)
        reached = InMemoryTable(TABLE)
        for position in self._reachable(mailbox, arguments):
            reached.items[key, position] = mailbox.table.items[key, position]
        answer = await reached.query(**arguments)
        if not key.startswith(SYSTEM_PREFIX):
            size = sum(mailbox.sizes[item["position"]["S"]] for item in answer["Items"])
            self.counted.queries += 1
            self.counted.read_units += max(1, ceil(size / READ_UNIT_BYTES))  # an empty one, too
        return answer

    @staticmethod
    def _reachable(mailbox: _Mailbox, arguments: Mapping[str, Any]) -> Iterable[str]:
        """Sort keys that a Query may bring, and one more: `InMemoryTable` looks at all it has."""
        values = arguments["ExpressionAttributeValues"]
        keys = sorted(position for _, position in mailbox.table.items)
        if (
            not arguments.get("ScanIndexForward", True)
            or "<" in arguments["KeyConditionExpression"]
        ):
            return keys
        start = arguments.get("ExclusiveStartKey", {}).get("position", {}).get("S", "")
        low = max(start, values.get(":low", values.get(":key", {})).get("S", ""))
        limit = arguments.get("Limit")
        # The first may be the item that the Query begins behind.
        return islice((key for key in keys if key >= low), None if limit is None else limit + 2)

    async def put_item(self, *, Item: Any, **more: Any) -> dict[str, Any]:  # noqa: N803
        mailbox = self._mailbox(Item["user_id"]["S"])
        answer = await mailbox.table.put_item(Item=Item, **more)
        mailbox.sizes[Item["position"]["S"]] = item_bytes(Item)
        return answer

    async def get_item(self, *, Key: Any, **more: Any) -> dict[str, Any]:  # noqa: N803
        return await self._mailbox(Key["user_id"]["S"]).table.get_item(Key=Key, **more)
