"""Reads the workers' claims, once for all callers of a process.

The claims are read before the mailbox, so that everything they cover was durable when the mailbox's
Query began. An old claim stays true, so the read is eventually consistent and shared.
"""

import logging
from collections.abc import Callable

from poste_restante.claims import CLAIMS_KEY, Freshness, combine
from poste_restante.errors import MailboxError
from poste_restante.item import Item
from poste_restante.mailbox_store import MailboxStore, query_pages
from poste_restante.shared_call import SharedCall
from poste_restante.table import TableRecord

logger = logging.getLogger(__name__)

#: Seconds for which one read of the claims serves all callers.
CLAIMS_READ_S = 1.0
#: Queries of one read, 1 MB each. The claims of 10,000 partitions take 250 KB.
CLAIMS_QUERIES_MAX = 4
#: Seconds between two log lines about unusable claims.
LOG_EVERY_S = 60.0


async def claim_items(store: MailboxStore) -> list[Item]:
    """Return the items of all workers' claims, of at most CLAIMS_QUERIES_MAX pages."""
    pages = query_pages(store, CLAIMS_KEY, consistent=False, pages_max=CLAIMS_QUERIES_MAX)
    return [item async for page in pages for item in page.items]


class ClaimsReader:
    """Reads the claims about one table, on demand.

    One read serves every caller for CLAIMS_READ_S. skew_s: seconds by which clocks may differ.
    clock: epoch seconds.
    """

    def __init__(self, store: MailboxStore, skew_s: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._skew_ms = skew_s * 1000
        self._clock = clock
        self._items: list[Item] = []
        #: The combined items for a table; None: the items were read since.
        self._cached: tuple[TableRecord, Freshness] | None = None
        self._read_at_s = -CLAIMS_READ_S
        self._shared_read = SharedCall(self._read_items)
        self._logged_at_s = -LOG_EVERY_S

    def due_in_s(self) -> float:
        """Return the seconds until the next caller causes a read."""
        age_s = self._clock() - self._read_at_s
        return max(0.0, CLAIMS_READ_S - age_s) if age_s >= 0 else 0.0

    async def freshness(self, record: TableRecord) -> Freshness:
        """Return the combined claims, at most CLAIMS_READ_S old. If the read fails, it is
        logged, and no partition has a claim."""
        if self.due_in_s() <= 0:
            try:
                await self._shared_read.result()
            except MailboxError as error:
                self._warn(f"cannot read the claims of freshness: {error}")
                return combine([], record, now_ms=0, skew_ms=0)
        if self._cached is None or self._cached[0] != record:
            found = combine(
                self._items, record, now_ms=self._clock() * 1000, skew_ms=self._skew_ms,
                on_unusable=self._warn,
            )  # fmt: skip
            self._cached = record, found
        return self._cached[1]

    async def _read_items(self) -> None:
        now_s = self._clock()
        self._items, self._read_at_s = await claim_items(self._store), now_s
        self._cached = None

    def _warn(self, line: str) -> None:
        """Log one line, at most once in LOG_EVERY_S, because every read may cause it."""
        now_s = self._clock()
        if not 0 <= now_s - self._logged_at_s < LOG_EVERY_S:
            self._logged_at_s = now_s
            logger.warning("no proof of freshness: %s", line)

    async def close(self) -> None:
        """Wait for a read that was cancelled with its last caller."""
        await self._shared_read.close()
