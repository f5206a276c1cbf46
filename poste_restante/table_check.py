"""The table record, looked at on opening and every minute: is it still the table we opened?"""

import asyncio
from collections.abc import Callable

from poste_restante.errors import TableMismatch
from poste_restante.lifetime import ENDING_S_MAX
from poste_restante.mailbox_store import MailboxStore
from poste_restante.position import TABLE_RECORD_KEY
from poste_restante.table import TableRecord

#: Seconds until the table record is looked at again: a table is replaced with gateways stopped.
TABLE_CHECK_S = 60.0


class TableCheck:
    """The record of one table. clock: epoch seconds.

    However many ask at a time, one look at the record is under way: it is one item of one
    partition, which all gateways share. Those who know the record from before do not wait for
    it, unless the last look ended badly.
    """

    def __init__(self, store: MailboxStore, table: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._table = table
        self._clock = clock
        self._record: TableRecord | None = None
        self._looked_at_s = 0.0
        self._look: asyncio.Task[TableRecord] | None = None
        self._waiting = 0
        self._doubted = False
        #: Looks that are cancelled, until they have let go of their connections.
        self._ending: set[asyncio.Task[TableRecord]] = set()

    def known(self) -> TableRecord | None:
        """The record, where it was looked at within the last TABLE_CHECK_S, or is just now."""
        if 0 <= self._clock() - self._looked_at_s < TABLE_CHECK_S:
            return self._record
        return None if self._look is None or self._doubted else self._record

    async def record(self) -> TableRecord:
        """The record, looked at where that is due.

        Raises TableMismatch for no table of ours or another one than before, and as a Query does.
        """
        known = self.known()
        if known is not None:
            return known
        if self._look is None:
            self._look = asyncio.create_task(self._looked())
            self._look.add_done_callback(self._end)
        look = self._look
        self._waiting += 1
        try:
            await asyncio.wait({look})  # one who is cancelled leaves the look to the others
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._look = None
                look.cancel()  # nobody waits: no call is left behind
                if not look.done():
                    self._ending.add(look)
        return look.result()

    async def close(self) -> None:
        """End a look that nobody waits for any more."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=ENDING_S_MAX)

    def _end(self, look: asyncio.Task[TableRecord]) -> None:
        self._ending.discard(look)
        if self._look is look:
            self._look = None
        if not look.cancelled():
            self._doubted = look.exception() is not None  # those who wait raise it

    async def _looked(self) -> TableRecord:
        now_s = self._clock()
        items = (await self._store.query(TABLE_RECORD_KEY)).items
        if not items:
            raise TableMismatch(f"the table {self._table!r} has no table record: run `poste init`")
        try:
            record = TableRecord.decode(items[0])
        except ValueError as error:
            raise TableMismatch(f"cannot use the table {self._table!r}: {error}") from None
        if self._record is not None and record.table_id != self._record.table_id:
            raise TableMismatch(
                f"the table {self._table!r} was replaced while it was open: open it again"
            )
        self._record, self._looked_at_s = record, now_s
        return record
