"""The store port of a reader: its calls on one table of mailboxes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple, Protocol

from poste_restante.errors import MailboxError
from poste_restante.item import Item
from poste_restante.position import LogId

#: The largest `limit` of a Query: more items than 1 MB holds of the smallest (some 150 bytes), and
#: within the 32 bits of DynamoDB's `Limit`.
QUERY_ITEMS_MAX = 10_000
#: Items that one call deletes (API reference, BatchWriteItem).
DELETES_PER_CALL_MAX = 25


class CursorMissingError(MailboxError):
    """The cursor to raise does not exist. Never leaves this package."""


class QueryResult(NamedTuple):
    """The items of one Query. last: the start key of the next Query. None: there are no more
    items."""

    items: list[Item]
    last: Item | None


class MailboxStore(Protocol):
    """One table. `key` is the partition key of a mailbox.

    A consistent Query sees every write that was confirmed before it began. A cursor is created or
    raised atomically. Every call may be repeated. Calls raise StoreUnavailable, TableMismatch or
    MailboxError as `errors` describes. A write that raises StoreUnavailable, or is cancelled, may
    have been applied.
    """

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
        consistent: bool = True,
    ) -> QueryResult:
        """Query a partition key, in key order: about 1 MB of items.

        The result ends with the item that reaches 1 MB, or with the last one of `limit`. Its `last`
        is None if no item follows. After `limit` items it may be set in that case too.

        limit: items, at most QUERY_ITEMS_MAX.
        only, begin, above, below, up_to: sort keys: only this one; from `begin` on or above
            `above`, and up to `up_to`; or below `below`. Other combinations are not allowed. The
            lower bound is not above the upper one. With `up_to`, no item has the key `above`.
        start: the `last` of the Query that this one continues.
        keys_only: return keys alone, at the same cost.
        backwards: from the highest key down.
        consistent: False halves the cost, and may miss recent writes.

        The caller may change the returned items.
        """
        ...

    async def raise_cursor(
        self, key: str, cursor: str, log: LogId, offset: int, *, existing: bool = False
    ) -> None:
        """Raise a mailbox's cursor at the sort key `cursor`. A cursor that is further is success.

        Returns when the store has confirmed it. A raised cursor no longer expires, as a purged one
        does. existing: raise CursorMissingError instead of creating the cursor.
        """
        ...

    async def create_cursor(self, key: str, cursor: str, offsets: Mapping[LogId, int]) -> bool:
        """Create a cursor. Returns False, and changes nothing, if it exists."""
        ...

    async def delete(self, key: str, positions: Sequence[str]) -> int:
        """Delete items by their sort keys, which differ. Returns the number of confirmed deletes.

        An item that does not exist counts as deleted. Unprocessed deletes are not repeated. More
        than DELETES_PER_CALL_MAX take several calls, so an error may leave a part deleted.
        """
        ...


async def query_pages(
    store: MailboxStore,
    key: str,
    *,
    begin: str | None = None,
    above: str | None = None,
    up_to: str | None = None,
    consistent: bool = True,
    pages_max: int | None = None,
) -> AsyncIterator[QueryResult]:
    """Query a partition key to its end, or for `pages_max` pages. Arguments and errors are those of
    `MailboxStore.query`."""
    start: Item | None = None
    for number in count(1):
        found = await store.query(
            key, begin=begin, above=above, up_to=up_to, start=start, consistent=consistent
        )
        yield found
        start = found.last
        if start is None or number == pages_max:
            return
