"""A table in memory that counts what every call costs, by DynamoDB's rules.

Mailboxes do not know of each other, so each stands in a table of its own
(`poste_restante.memory`, which looks at all its items for every Query).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poste_restante.item import READ_UNIT_BYTES, item_bytes, write_units
from poste_restante.memory import InMemoryTable
from poste_restante.position import CURSOR_KEY, SYSTEM_PREFIX

TABLE = "mailboxes"
#: Seconds behind its expiry until TTL has removed an item, for nothing: "within a few days"
#: (developer guide, "How it works: TTL"); as `deletion.TTL_LAG_DAYS`.
TTL_LAG_S = 86_400.0


@dataclass
class Counted:
    """What was asked so far. Units: bundles that were put, cursors raised, bundles deleted, and
    read; bytes: that Queries brought."""

    calls: int = 0
    bundles: int = 0
    bundle_units: float = 0.0
    ack_units: float = 0.0
    delete_units: float = 0.0
    progress_units: float = 0.0
    queries: int = 0
    read_units: float = 0.0
    read_bytes: int = 0

    @property
    def write_units(self) -> float:
        return self.bundle_units + self.ack_units + self.delete_units + self.progress_units

    def since(self, before: "Counted") -> "Counted":
        """What was asked between two looks."""
        return Counted(**{
            name: value - getattr(before, name) for name, value in vars(self).items()
        })  # fmt: skip


class CountedTable:
    """A low-level client, as far as the worker's writer and progress and `Mailboxes` call it.

    now_s: epoch seconds, for TTL. What is read of the table record is not counted: a process
    reads it every 60 s, whoever comes.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.counted = Counted()
        self._mailboxes: dict[str, InMemoryTable] = defaultdict(lambda: InMemoryTable(TABLE))

    def mailbox(self, key: str) -> InMemoryTable:
        """The table of one partition key, without what TTL has removed."""
        table = self._mailboxes[key]
        gone = [
            place for place, item in table.items.items()
            if "expires_at" in item and int(item["expires_at"]["N"]) + TTL_LAG_S <= self.now_s
        ]  # fmt: skip
        for place in gone:
            del table.items[place]
        return table

    async def batch_write_item(
        self,
        *,
        RequestItems: Mapping[str, Any],  # noqa: N803 - AWS's
        **_: Any,
    ) -> dict[str, Any]:
        self.counted.calls += 1
        by_mailbox: dict[str, list[Any]] = defaultdict(list)
        for request in RequestItems[TABLE]:
            key = request["PutRequest"]["Item"] if "PutRequest" in request else (
                request["DeleteRequest"]["Key"])  # fmt: skip
            by_mailbox[key["user_id"]["S"]].append(request)
        for mailbox, requests in by_mailbox.items():
            for request in requests:
                answer = await self.mailbox(mailbox).batch_write_item(
                    RequestItems={TABLE: [request]}, ReturnConsumedCapacity="TOTAL"
                )
                units = answer["ConsumedCapacity"][0]["CapacityUnits"]
                if "PutRequest" in request:
                    self.counted.bundle_units += units
                    self.counted.bundles += 1
                else:
                    self.counted.delete_units += units
        return {"UnprocessedItems": {}}

    async def update_item(self, *, Key: Mapping[str, Any], **more: Any) -> dict[str, Any]:  # noqa: N803
        self.counted.calls += 1
        mailbox = Key["user_id"]["S"]
        table = self.mailbox(mailbox)
        place = mailbox, Key["position"]["S"]
        before = item_bytes(table.items.get(place, {}))
        try:
            return await table.update_item(Key=dict(Key), **more)
        finally:  # a refused condition is billed as well
            units = write_units(max(before, item_bytes(table.items.get(place, {}))))
            if mailbox.startswith(SYSTEM_PREFIX):
                self.counted.progress_units += units
            else:
                assert place[1] == CURSOR_KEY
                self.counted.ack_units += units

    async def query(self, **arguments: Any) -> dict[str, Any]:
        mailbox = arguments["ExpressionAttributeValues"][":user"]["S"]
        answer = await self.mailbox(mailbox).query(**arguments, ReturnConsumedCapacity="TOTAL")
        if not mailbox.startswith(SYSTEM_PREFIX):
            self.counted.calls += 1
            self.counted.queries += 1
            # An empty Query is billed, too.
            self.counted.read_units += max(1.0, answer["ConsumedCapacity"]["CapacityUnits"])
            self.counted.read_bytes += sum(map(item_bytes, answer["Items"]))
        return answer

    async def put_item(self, *, Item: Any, **more: Any) -> dict[str, Any]:  # noqa: N803
        return await self.mailbox(Item["user_id"]["S"]).put_item(Item=Item, **more)

    async def get_item(self, *, Key: Any, **more: Any) -> dict[str, Any]:  # noqa: N803
        return await self.mailbox(Key["user_id"]["S"]).get_item(Key=Key, **more)


__all__ = ["READ_UNIT_BYTES", "TABLE", "Counted", "CountedTable"]
