"""The claims of freshness in a table: a worker's one item, written again and again."""

import asyncio
import time
from collections.abc import Callable

from poste_restante.claims import CLOCK_SKEW_S, EXPIRES_S, Freshness, WorkerClaims, combine
from poste_restante.claims_reader import claim_items
from poste_restante.table import TableRecord
from worker.dynamodb.retrying_store import RetryingStore, mailbox_store

#: Seconds that one attempt may take. The next round writes newer claims.
PUT_S_MAX = 2.0


class DynamoDBClaims:
    """The claims in one table. clock: epoch seconds."""

    def __init__(
        self, store: RetryingStore, table: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._table = table
        self._clock = clock

    async def put(self, claims: WorkerClaims) -> str:
        """Store a worker's claims, in one attempt. Return why it failed; empty: it did not."""
        try:
            async with asyncio.timeout(PUT_S_MAX):
                return await self._store.put_item_once(
                    TableName=self._table, Item=claims.encode(int(self._clock()) + EXPIRES_S)
                )
        except TimeoutError:
            return f"no answer within {PUT_S_MAX:g} s"

    async def read(self, table: TableRecord) -> Freshness:
        """Return what the claims of all workers say. Raises OperatorError."""
        items = await claim_items(mailbox_store(self._store, self._table))
        return combine(items, table, now_ms=self._clock() * 1000, skew_ms=CLOCK_SKEW_S * 1000)
