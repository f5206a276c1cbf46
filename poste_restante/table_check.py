"""Checks that the table is still the one that was opened: at opening, and at the first call after
TABLE_RECORD_TRUSTED_S."""

from collections.abc import Callable

from poste_restante.errors import TableMismatch
from poste_restante.mailbox_store import MailboxStore
from poste_restante.position import TABLE_RECORD_KEY
from poste_restante.shared_call import SharedCall
from poste_restante.table import TableRecord

#: Seconds for which a read of the table record is trusted. The next call after that reads it again.
#: A table is replaced with gateways stopped.
TABLE_RECORD_TRUSTED_S = 60.0


class TableCheck:
    """The record of one table. clock: epoch seconds.

    Concurrent callers share one read of the record, which is one item of one partition that all
    gateways read. Callers that have a cached record do not wait for it, unless the last read
    failed.
    """

    def __init__(self, store: MailboxStore, table: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._table = table
        self._clock = clock
        self._record: TableRecord | None = None
        self._read_at_s = 0.0
        self._shared_read = SharedCall(self._refresh)
        self._last_read_failed = False

    def cached(self) -> TableRecord | None:
        """Return the record if it was read within the last TABLE_RECORD_TRUSTED_S, or a read is
        under way."""
        if 0 <= self._clock() - self._read_at_s < TABLE_RECORD_TRUSTED_S:
            return self._record
        return (
            self._record if self._shared_read.is_under_way and not self._last_read_failed else None
        )

    async def record(self) -> TableRecord:
        """Return the record, and read it if that is due.

        Raises TableMismatch for a missing, foreign or replaced table, and as a Query does.
        """
        record = self.cached()
        return await self._shared_read.result() if record is None else record

    async def close(self) -> None:
        """Wait for a read that was cancelled with its last caller."""
        await self._shared_read.close()

    async def _refresh(self) -> TableRecord:
        try:
            record = await self._read()
        except Exception:
            self._last_read_failed = True
            raise
        self._last_read_failed = False
        return record

    async def _read(self) -> TableRecord:
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
        self._record, self._read_at_s = record, now_s
        return record
