"""Bundles into mailboxes, through BatchWriteItem.

One call takes at most 25 items, stores some of them and hands back the rest.
Only the rest is sent again. A call whose outcome is not known is sent again whole: a key holds
the same content whoever writes it, and however often.
"""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Iterator, Sequence
from typing import Any

from poste_restante.item import write_units
from worker.bundles import Bundle
from worker.dynamodb import coalescing
from worker.dynamodb.budget import WriteBudget, consumed_units
from worker.dynamodb.coalescing import item_key
from worker.dynamodb.encoding import EncodedPut, PreparedWrite, encode_put
from worker.dynamodb.store import Store, Waiting
from worker.errors import ItemRefused
from worker.flush_waits import current_flush
from worker.mailbox_writer import Rejected


class DynamoDBWriter:
    """The MailboxWriter of a table. store: its calls wait for a store that is away. budget: what
    its calls may cost; None: they are limited in number alone."""

    def __init__(self, store: Store, table: str, budget: WriteBudget | None = None) -> None:
        self._store = store
        self._table = table
        self._budget = budget

    async def write(self, bundles: Sequence[Bundle]) -> list[Rejected]:
        rejected: list[Rejected] = []
        puts: list[EncodedPut] = []
        for bundle in bundles:
            try:
                puts.append(encode_put(bundle))
            except Exception as error:  # noqa: BLE001 - our own fault, on one record of many
                rejected.append(Rejected(bundle, f"not encoded: {type(error).__name__}: {error}"))
        for found in await _together(self._write(call) for call in calls(puts)):
            rejected += found
        return rejected

    async def _write(self, puts: list[EncodedPut]) -> list[Rejected]:
        """One call's worth. A refused item refuses the call: halve, until it stands alone."""
        left = {put.key: put for put in puts}
        try:
            await self._put_all(left)
        except ItemRefused as refused:
            remaining = list(left.values())
            if len(remaining) == 1:
                return [Rejected(remaining[0].bundle, str(refused))]
            middle = len(remaining) // 2
            return [
                *await self._write(remaining[:middle]),
                *await self._write(remaining[middle:]),
            ]
        return []

    async def _put_all(self, left: dict[tuple[str, str], EncodedPut]) -> None:
        """Sends, and sends again, what is left in `left`, and takes out what is durable."""
        with self._store.waiting("batch_write_item") as waiting:
            await self._put_left(left, waiting)

    async def _put_left(self, left: dict[tuple[str, str], EncodedPut], waiting: Waiting) -> None:
        while left:
            answer = await self._send(left.values())
            unprocessed = self._unprocessed(answer)
            if unprocessed is None or not unprocessed <= left.keys():
                await waiting.wait("malformed response")
                continue
            taken = left.keys() - unprocessed
            for key in taken:
                del left[key]
            if taken:
                current_flush().moved()
            if left:
                await waiting.wait("throttled (unprocessed items)")

    async def _send(self, puts: Collection[EncodedPut]) -> dict[str, Any]:
        """The answer of one call, within the budget.

        The budget counts a call once, however many attempts it takes: those that are refused, or
        do not arrive, cost nothing.
        """
        requests = PreparedWrite(self._table, list(puts))
        if self._budget is None:
            return await self._store.call("batch_write_item", RequestItems=requests)
        reserved = sum(write_units(put.bundle.bytes_max) for put in puts)
        await self._budget.reserve(reserved)
        try:
            answer = await self._store.call(
                "batch_write_item", RequestItems=requests, ReturnConsumedCapacity="TOTAL"
            )
        except ItemRefused:
            self._budget.settle(reserved, 0)
            raise
        self._budget.settle(reserved, consumed_units(answer, otherwise=reserved))
        return answer

    def _unprocessed(self, answer: dict[str, Any]) -> set[tuple[str, str]] | None:
        """Keys of the items that were not taken. None: an answer cut off or of another shape.

        An answer without the member is no answer: DynamoDB always sends it, if only empty.
        """
        try:
            tables = answer["UnprocessedItems"]
            if not tables.keys() <= {self._table}:
                return None
            return {item_key(r["PutRequest"]["Item"]) for r in tables.get(self._table, ())}
        except (AttributeError, KeyError, TypeError):
            return None


def calls(puts: Iterable[EncodedPut]) -> Iterator[list[EncodedPut]]:
    """Cuts items into calls of at most the limits of one call."""
    call: list[EncodedPut] = []
    size = 0
    for put in puts:
        more = put.bundle.bytes_max
        if call and (
            len(call) == coalescing.CALL_ITEMS_MAX or size + more > coalescing.CALL_BYTES_MAX
        ):
            yield call
            call, size = [], 0
        call.append(put)
        size += more
    if call:
        yield call


async def _together(jobs: Iterable[Awaitable[list[Rejected]]]) -> list[list[Rejected]]:
    """All results, in order. The first failure cancels the others and is raised as it is.

    How many are in flight is the store's limit; how many there are, the batch's.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # none outlives its flush
