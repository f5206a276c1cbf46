"""The Queries of one reading, in key order, and their limits.

The first one asks for few items: the cursor is among them, and the bundles that it hides are not
worth reading. After it the reading decides where to continue (`Reading.skip`): after the last item,
or above everything that the cursor hides.
"""

from dataclasses import dataclass, field

from poste_restante.item import Item
from poste_restante.mailbox_store import QUERY_ITEMS_MAX, MailboxStore, QueryResult
from poste_restante.prefetch import PrefetchedItems
from poste_restante.reading import Reading

#: Limit of a mailbox's first Query: the cursor, and one bundle, which shows whether acknowledged
#: ones come first. That costs least on the realistic day. 3 to 8 read more hidden bundles: 0.1 to
#: 3 % of the table's cost, with bodies of 10 KB 1 to 6 %. 1 returns the cursor alone and needs a
#: third Query. Without leftovers a larger limit saves a Query now and then (benchmarks/README.md,
#: "How many items the first Query asks for").
FIRST_ITEMS = 2
#: Further items in the first Query of a device. The cursors of other devices, some 60 bytes each,
#: sort between its own and the bundles. If the first Query returns cursors alone, the reading needs
#: a third one.
OTHER_DEVICES = 2
#: Limit of a Query while a following log may begin with bundles that the cursor hides, so that few
#: of those are read. 4 cost least on a day on which a partition was added.
LEFTOVER_ITEMS = 4
#: Limit of the first Query after a page. Most mailboxes have a visible bundle there, which is not
#: returned, so one is the cheapest.
LOOK_AHEAD_ITEMS = 1


@dataclass(slots=True)
class Scan:
    """The state of the Queries of one reading.

    key: the mailbox's partition key. limit: messages of the page; None: no limit. ahead: items of
    an earlier page's Queries, which replace a Query when the reading reaches them.
    """

    store: MailboxStore
    key: str
    limit: int | None = None
    ahead: PrefetchedItems | None = None
    #: The result of the last Query.
    found: QueryResult = field(default_factory=lambda: QueryResult([], None))
    #: Whether items of an earlier page's Queries were used.
    has_used_ahead: bool = False
    #: Whether a Query had no limit below the page's, or returned 1 MB.
    _has_asked_enough: bool = False
    _items_max: int | None = None
    _leftover_items_max: int = LEFTOVER_ITEMS

    async def begin(self, cursor: str | None = None) -> QueryResult:
        """Run the first Query, from the sort key of a device's cursor, or of the account's for
        None."""
        most = FIRST_ITEMS if self.limit is None else min(FIRST_ITEMS, self.limit + 1)
        if cursor is not None:
            most += OTHER_DEVICES
        self.found = await self._query(begin=cursor, limit=most)
        return self.found

    async def begin_behind(self, boundary: str) -> None:
        """Run the first Query of a reading that continues above a sort key."""
        if self.ahead is not None and self.ahead.boundary != boundary:
            self.ahead = None  # of another position
        if self.ahead is None:
            self._has_asked_enough = True
            self._items_max = None if self.limit is None else self.limit + 1
        self.found = await self._query(above=boundary, limit=self._items_max)

    async def read(self, reading: Reading) -> None:
        """Fold the results into a page. Query until there is a message, then only until it is known
        whether there is more."""
        reading.add_items(self.found.items)
        while self.found.last is not None and not reading.is_ended:
            last = self.found.last
            above = reading.skip(last["position"]["S"])
            self._items_max = self._next_items_max(reading, last, skips=above is not None)
            if above is None:
                self.found = await self._query(start=last, limit=self._items_max)
            else:
                self.found = await self._query(above=above, limit=self._items_max)
            reading.add_items(self.found.items)

    def _next_items_max(self, reading: Reading, last: Item, *, skips: bool) -> int | None:
        """Return the limit of the next Query in items; None: no limit.

        A page that is not full after enough items is closed. If all were hidden, each Query doubles
        the limit, so that a small one does not cause many Queries.
        """
        if self._has_asked_enough and reading.messages and not reading.is_closed:
            reading.close()
            return LOOK_AHEAD_ITEMS
        wanted = None if self.limit is None else self.limit + 1 - len(reading.messages)
        if self._has_asked_enough and self._items_max is not None:
            wanted = min(2 * self._items_max, QUERY_ITEMS_MAX)
        if reading.is_closed or not reading.may_have_leftovers(last["position"]["S"]):
            self._has_asked_enough = True
            return wanted
        self._leftover_items_max = LEFTOVER_ITEMS if skips else 2 * self._leftover_items_max
        if wanted is not None and wanted <= self._leftover_items_max:
            self._has_asked_enough = True
            return wanted
        return self._leftover_items_max

    async def _query(
        self,
        *,
        limit: int | None,
        begin: str | None = None,
        above: str | None = None,
        start: Item | None = None,
    ) -> QueryResult:
        """Run a Query, with the items kept ahead in its place when it reaches them."""
        ahead = self.ahead
        if ahead is None:
            found = await self.store.query(
                self.key, begin=begin, above=above, start=start, limit=limit
            )
            if limit is not None and found.last is not None and len(found.items) < limit:
                self._has_asked_enough = True  # it ended with 1 MB
            return found
        at = above or begin or ("" if start is None else start["position"]["S"])
        found = QueryResult([], None)
        if at < ahead.boundary:
            found = await self.store.query(
                self.key, begin=begin, above=above, start=start, limit=limit, up_to=ahead.boundary
            )
            if found.last is not None:
                return found  # the Query has not reached the kept items
        self.ahead = None
        kept = [item for item in ahead.items if item["position"]["S"] > at]
        if not kept:  # the cursor hides all of it
            return await self._query(begin=begin, above=above, start=start, limit=limit)
        self.has_used_ahead = True
        self._has_asked_enough = False  # it may be short of a page
        return QueryResult([*found.items, *kept], ahead.last)
