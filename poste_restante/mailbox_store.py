"""The port of a reader: the calls that it makes on one table of mailboxes."""

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
    """What one Query returned. last: the start key of the next Query; None: there are no more."""

    items: list[Item]
    last: Item | None


class MailboxStore(Protocol):
    """One table. A mailbox is named by its partition key, `key`.

    A Query sees every write that was confirmed before it began, unless it is told otherwise. A
    cursor is created or raised as a whole. Every call may be repeated. It raises StoreUnavailable,
    TableMismatch or MailboxError as `errors` says. A write that raises StoreUnavailable, or is
    cancelled, may have been made.
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
        """One Query of a partition key, in key order: about 1 MB of items.

        It ends with the item that reaches 1 MB, or with the last one of `limit`. The result's
        `last` is None where no item follows. After `limit` items it may be given there as well.

        limit: items; more than QUERY_ITEMS_MAX count as so many. Sort keys: `only` one; from
        `begin` on, or `above` one, and `up_to` one, or `below` one. Others are not combined, and
        the lower bound is not above the upper one. Where `above` and `up_to` are both given,
        `above` must be no item's key. start: the `last` of the Query that this one continues.
        keys_only: items have their keys alone; they cost as much. backwards: from the highest key
        down. consistent: False: a write that was confirmed a moment ago may be missing, and the
        Query costs half. The caller may change the items that are returned.
        """
        ...

    async def raise_cursor(
        self, key: str, cursor: str, log: LogId, offset: int, *, existing: bool = False
    ) -> None:
        """Raise a mailbox's cursor at the sort key `cursor`. A cursor that is further is success.

        Returns when the store has confirmed it. A cursor that is raised no longer expires, as one
        that was purged does. existing: raise an existing cursor only, and
        CursorMissingError where there is none.
        """
        ...

    async def create_cursor(self, key: str, cursor: str, offsets: Mapping[LogId, int]) -> bool:
        """Create a cursor. False: the cursor exists, and stays as it is."""
        ...

    async def delete(self, key: str, positions: Sequence[str]) -> int:
        """Delete items by their sort keys, which differ. Returns how many deletes are confirmed.

        An item that does not exist counts as deleted. Deletes that are left over are not repeated.
        More than DELETES_PER_CALL_MAX are several calls: an error may leave a part deleted.
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
