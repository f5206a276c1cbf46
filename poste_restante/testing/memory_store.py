"""The mailbox store in memory, for tests without a network."""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import eq, ge, gt, le, lt

from poste_restante.item import Item, item_bytes
from poste_restante.mailbox_store import (
    DELETES_PER_CALL_MAX,
    QUERY_ITEMS_MAX,
    CursorMissingError,
    QueryResult,
)
from poste_restante.position import LogId
from poste_restante.table import PURGED_AT_ATTRIBUTE, TTL_ATTRIBUTE

#: Bytes of one Query's items (API reference, Query).
PAGE_BYTES = 1024 * 1024


async def _pass(_operation: str, _key: str) -> None:
    """Let a call pass."""


class MemoryStore:
    """`MailboxStore` in memory.

    page_bytes: of one Query's items; small in tests, for several pages.
    before: awaited before each call, with its AWS name (Query, UpdateItem or BatchWriteItem) and
        its partition key. Its errors are the call's.
    """

    def __init__(
        self,
        *,
        page_bytes: int = PAGE_BYTES,
        before: Callable[[str, str], Awaitable[None]] = _pass,
    ) -> None:
        #: Items by partition key and sort key.
        self.items: dict[str, dict[str, Item]] = {}
        self._page_bytes = page_bytes
        self._before = before

    def put(self, item: Item) -> None:
        """Store an item, in place of one with the same keys. The store owns it."""
        self.items.setdefault(item["user_id"]["S"], {})[item["position"]["S"]] = item

    async def query(
        self,
        key: str,
        *,
        limit: int | None = None,
        only: str | None = None,
        begin: str | None = None,
        above: str | None = None,
        below: str | None = None,
        up_to: str | None = None,
        start: Item | None = None,
        keys_only: bool = False,
        backwards: bool = False,
        consistent: bool = True,  # noqa: ARG002 - what is written here is seen at once
    ) -> QueryResult:
        await self._before("Query", key)
        behind = None if start is None else start["position"]["S"]
        bounds = (
            (eq, only), (ge, begin), (gt, above), (lt, below), (le, up_to),
            (lt if backwards else gt, behind),
        )  # fmt: skip
        mailbox = self.items.get(key, {})
        # Python sorts by code points, which is the order of UTF-8 and of DynamoDB.
        within = [
            position
            for position in sorted(mailbox, reverse=backwards)
            if all(bound is None or holds(position, bound) for holds, bound in bounds)
        ]
        items_max = None if limit is None else min(limit, QUERY_ITEMS_MAX)
        found: list[Item] = []
        size = 0
        for position in within[:items_max]:
            if size >= self._page_bytes:
                break
            found.append(copy.deepcopy(mailbox[position]))
            size += item_bytes(found[-1])
        # After `limit` items DynamoDB does not check whether there are more.
        more = len(found) < len(within) or len(found) == items_max
        last = _keys(key, found[-1]["position"]["S"]) if more else None
        if keys_only:
            found = [_keys(key, item["position"]["S"]) for item in found]
        return QueryResult(found, last)

    async def raise_cursor(
        self, key: str, cursor: str, log: LogId, offset: int, *, existing: bool = False
    ) -> None:
        await self._before("UpdateItem", key)
        item = self.items.get(key, {}).get(cursor)
        if item is None:
            if existing:
                raise CursorMissingError(cursor)
            item = _keys(key, cursor)
        raised = item.get(log.encode())
        # A damaged offset is not compared, and stays.
        if raised is None or ("N" in raised and int(raised["N"]) < offset):
            purged = (TTL_ATTRIBUTE, PURGED_AT_ATTRIBUTE)
            kept = {name: value for name, value in item.items() if name not in purged}
            self.put({**kept, **_offsets({log: offset})})

    async def create_cursor(self, key: str, cursor: str, offsets: Mapping[LogId, int]) -> bool:
        await self._before("UpdateItem", key)
        if cursor in self.items.get(key, {}):
            return False
        self.put({**_keys(key, cursor), **_offsets(offsets)})
        return True

    async def delete(self, key: str, positions: Sequence[str]) -> int:
        for begin in range(0, len(positions), DELETES_PER_CALL_MAX):
            await self._before("BatchWriteItem", key)
            for position in positions[begin : begin + DELETES_PER_CALL_MAX]:
                self.items.get(key, {}).pop(position, None)
        return len(positions)


def _keys(key: str, position: str) -> Item:
    return {"user_id": {"S": key}, "position": {"S": position}}


def _offsets(offsets: Mapping[LogId, int]) -> Item:
    return {log.encode(): {"N": str(offset)} for log, offset in offsets.items()}
