"""Reads the claims of the workers, for all who ask how fresh a mailbox is.

The claims have to be read before the mailbox: then whatever a claim covers was durable when the
mailbox's Query began. An old claim is a true one, so the read is eventually consistent, and shared.
"""

import logging
from collections.abc import Callable

from poste_restante.claims import CLAIMS_KEY, Freshness, combined
from poste_restante.errors import MailboxError
from poste_restante.item import Item
from poste_restante.mailbox_store import MailboxStore
from poste_restante.shared_call import SharedCall
from poste_restante.table import TableRecord

logger = logging.getLogger(__name__)

#: Seconds for which one read of the claims serves everybody who asks.
FRESHNESS_READ_S = 1.0
#: Queries of one read: 1 MB each. The claims of 10,000 partitions take 250 KB.
READ_QUERIES_MAX = 4
#: Seconds between two log lines about the same claims that cannot be used.
SAY_S = 60.0


class FreshnessCheck:
    """The claims about one table. skew_s: seconds by which clocks may differ. clock: epoch seconds.

    One read is under way at a time and serves all who ask within FRESHNESS_READ_S; where nobody
    asks, nothing is read.
    """

    def __init__(self, store: MailboxStore, skew_s: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._skew_ms = skew_s * 1000
        self._clock = clock
        self._items: list[Item] = []
        self._read_at_s = -FRESHNESS_READ_S
        self._read = SharedCall(self._read_items)
        self._said_at_s = -SAY_S

    def due_in_s(self) -> float:
        """Seconds until the claims are read again for the next who asks."""
        age_s = self._clock() - self._read_at_s
        return max(0.0, FRESHNESS_READ_S - age_s) if age_s >= 0 else 0.0

    async def freshness(self, record: TableRecord) -> Freshness:
        """What the claims say, at most FRESHNESS_READ_S old. No claims where they cannot be read:
        that is logged."""
        if self.due_in_s() <= 0:
            try:
                await self._read.result()
            except MailboxError as error:
                self._say(f"cannot read the claims of freshness: {error}")
                return combined([], record, now_ms=0, skew_ms=0)
        return combined(
            self._items, record, now_ms=self._clock() * 1000, skew_ms=self._skew_ms,
            on_unusable=self._say,
        )  # fmt: skip

    async def _read_items(self) -> None:
        now_s = self._clock()
        items: list[Item] = []
        start: Item | None = None
        for _ in range(READ_QUERIES_MAX):
            found = await self._store.query(CLAIMS_KEY, start=start, consistent=False)
            items += found.items
            start = found.last
            if start is None:
                break
        self._items, self._read_at_s = items, now_s

    def _say(self, line: str) -> None:
        """Log one line, at most once in SAY_S: it may be found at every read."""
        now_s = self._clock()
        if not 0 <= now_s - self._said_at_s < SAY_S:
            self._said_at_s = now_s
            logger.warning("no proof of freshness: %s", line)

    async def close(self) -> None:
        """End a read that nobody waits for any more."""
        await self._read.close()
